//! The stated posture: 26 tools over an API, a database and an MCP server, 12 hand-written policies, an issuer
//! that signs with ES256, every kind of limit, a journal.

use crate::CALLERS_MAX;
use crate::Outcome;
use crate::upstream;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use countersign_core::port::Entropy;
use countersign_store::SqliteStore;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Tenants that the callers are spread over.
const TENANTS: usize = 8;
/// The free text among the arguments: with the others it makes them 1 KiB.
const TEXT_BYTES: usize = 930;
/// Of each kind; the two that are called are among them.
const HTTP_TOOLS: usize = 15;
const SQL_TOOLS: usize = 10;
/// Where a call's own number stands in a request, so that no two are alike: eight digits.
const NUMBER: &str = "10000000";

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "http://127.0.0.1:8787";
pub(crate) const HOST: &str = "127.0.0.1:8787";

/// What is called.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The API itself.
    Direct(SocketAddr),
    /// The MCP server itself.
    Upstream(SocketAddr),
    /// A tool, through the HTTP door.
    Http(SocketAddr, &'static str),
    /// A tool, through the MCP door.
    Mcp(SocketAddr, &'static str),
    /// A call that has to be approved.
    Draft(SocketAddr),
    /// A page of the console, with the cookie of who opens it.
    Page(SocketAddr, &'static str, String),
    /// Another gateway's MCP endpoint: its address, `Host` and path, and its bearer token.
    Peer(SocketAddr, String, String, String),
}

impl Target {
    pub(crate) const fn address(&self) -> SocketAddr {
        match self {
            Self::Direct(address)
            | Self::Upstream(address)
            | Self::Http(address, _)
            | Self::Mcp(address, _)
            | Self::Draft(address)
            | Self::Page(address, ..)
            | Self::Peer(address, ..) => *address,
        }
    }

    /// A request for a page, which has no number.
    pub(crate) fn request_of_page(&self) -> Request {
        request(self, "", "")
    }

    /// What every answer must hold to count as one.
    pub(crate) const fn mark(&self) -> &'static [u8] {
        match self {
            Self::Direct(_) => b"\"items\"",
            Self::Http(..) => b"\"completed\"",
            Self::Draft(_) => b"approval_required",
            Self::Page(..) => b"HTTP/1.1 200 OK",
            Self::Mcp(..) | Self::Upstream(_) | Self::Peer(..) => b"\"isError\":false",
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Direct(_) => "direct to the API".to_owned(),
            Self::Upstream(_) => "direct to the MCP server".to_owned(),
            Self::Http(_, tool) => format!("HTTP door, {}", behind(tool)),
            Self::Mcp(_, tool) => format!("MCP door, {}", behind(tool)),
            Self::Draft(_) => "a draft".to_owned(),
            Self::Page(_, path, _) => (*path).to_owned(),
            Self::Peer(..) => "the other gateway".to_owned(),
        }
    }
}

fn behind(tool: &str) -> &'static str {
    match tool {
        "search_orders" => "API",
        "find_orders" => "MCP server",
        _ => "SQLite",
    }
}

/// One request, whole, and where in it its number stands.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) number: std::ops::Range<usize>,
}

/// A deployment in a folder of its own.
#[derive(Debug)]
pub(crate) struct Deployment {
    folder: TempDir,
    tokens: Vec<String>,
}

#[derive(Debug)]
struct Random;

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}

impl Deployment {
    pub(crate) fn make(upstream: SocketAddr) -> Outcome<Self> {
        Self::made(&countersign(upstream), POSTURE, AGENT, &tools())
    }

    /// With people, and something that they have to agree to.
    pub(crate) fn with_people(upstream: SocketAddr) -> Outcome<Self> {
        let issuer = format!("client_id: bench, issuer: \"{ISSUER}\"");
        let mut tools = tools();
        tools.push(("pay_order".to_owned(), PAY_ORDER.to_owned()));
        let deployment = format!("{}{PEOPLE}", countersign(upstream));
        let posture = POSTURE.replace("session: /sid", "session: /sid, person: /sub");
        let agent = AGENT.replace("client_id: bench", &issuer);
        Self::made(&deployment, &posture, &agent, &tools)
    }

    fn made(
        deployment: &str,
        posture: &str,
        agent: &str,
        tools: &[(String, String)],
    ) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path();
        for name in ["agents", "tools", "systems", "pins", "policies"] {
            std::fs::create_dir_all(root.join("posture").join(name))?;
        }
        std::fs::create_dir(root.join("state"))?;
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text);
        write("countersign.yaml", deployment)?;
        write("posture/posture.yaml", posture)?;
        write("posture/systems/orders-api.yaml", API)?;
        write("posture/systems/orders-db.yaml", DATABASE)?;
        write("posture/systems/orders-mcp.yaml", SERVER)?;
        let pins = json!({ "system": "orders-mcp", "tools": [upstream::definition()] });
        write("posture/pins/orders-mcp.json", &format!("{pins:#}\n"))?;
        let mut grants = String::new();
        for (name, text) in tools {
            write(&format!("posture/tools/{name}.yaml"), text)?;
            writeln!(grants, "  - {{ tool: {name}, reason: \"It is measured.\" }}")?;
        }
        write("posture/agents/bench.yaml", &format!("{agent}{grants}"))?;
        write("posture/policies/rules.cedar", &rules())?;
        let (keys, tokens) = tokens()?;
        write("keys.json", &keys)?;
        database(&root.join("orders.db"))?;
        SqliteStore::create(
            &root.join("state/journal.db"),
            &root.join("state/journal.key"),
            &Random,
        )?;
        Ok(Self { folder, tokens })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Another gateway, by its URL.
    pub(crate) fn peer(&self, url: &str) -> Outcome<Target> {
        let rest = url.strip_prefix("http://").ok_or("the peer's URL must be http://…")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let token = std::env::var("PEER_TOKEN").unwrap_or_default();
        Ok(Target::Peer(host.parse()?, host.to_owned(), format!("/{path}"), token))
    }

    /// A request for each caller.
    pub(crate) fn requests(&self, target: &Target, callers: usize) -> Vec<Request> {
        let tokens = self.tokens.iter().enumerate().take(callers);
        tokens.map(|(caller, token)| request(target, &tenant(caller), token)).collect()
    }
}

fn tenant(caller: usize) -> String {
    format!("acct_{}", caller % TENANTS)
}

fn request(target: &Target, tenant: &str, token: &str) -> Request {
    let text = "pallets ".repeat(TEXT_BYTES.div_ceil(8));
    let text = text.get(..TEXT_BYTES).unwrap_or_default();
    let number: u64 = NUMBER.parse().unwrap_or_default();
    let arguments = json!({ "account_id": tenant, "after": number, "limit": 20, "text": text });
    let modern = |tool: &str| {
        let headers = format!(
            "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
             Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        );
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
            } },
        });
        (headers, body)
    };
    let ours = || (AUDIENCE.trim_start_matches("http://").to_owned(), token.to_owned());
    let ((host, token), path, (headers, body)) = match target {
        Target::Direct(address) => {
            let body = json!({ "after": number, "limit": 20, "text": text });
            let path = format!("/v1/accounts/{tenant}/search");
            ((address.to_string(), token.to_owned()), path, (String::new(), body))
        }
        Target::Http(_, tool) => {
            let body = json!({ "tool": tool, "arguments": arguments });
            (ours(), "/v1/calls".to_owned(), (String::new(), body))
        }
        Target::Draft(_) => {
            let body = json!({ "tool": "pay_order", "arguments": arguments });
            (ours(), "/v1/calls".to_owned(), (String::new(), body))
        }
        Target::Page(_, path, cookie) => {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n");
            return Request { bytes: head.into_bytes(), number: usize::MAX..usize::MAX };
        }
        Target::Mcp(_, tool) => (ours(), "/mcp".to_owned(), modern(tool)),
        Target::Upstream(address) => {
            ((address.to_string(), token.to_owned()), "/mcp".to_owned(), modern("orders_by_text"))
        }
        Target::Peer(_, host, path, token) => {
            ((host.clone(), token.clone()), path.clone(), modern("search_orders"))
        }
    };
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let at = head.len() + body.find(NUMBER).unwrap_or_default();
    let bytes = format!("{head}{body}").into_bytes();
    Request { bytes, number: at..at + NUMBER.len() }
}

fn countersign(upstream: SocketAddr) -> String {
    format!(
        "posture: posture\nenvironment: development\nlisten: 127.0.0.1:0\n\
         public_url: {AUDIENCE}\n\
         issuers:\n  - {{ issuer: \"{ISSUER}\", keys: keys.json, algorithms: [ES256] }}\n\
         store: {{ sqlite: state/journal.db, signing_key: state/journal.key }}\n\
         references:\n  orders-api: {{ value: \"http://{upstream}\" }}\n  \
         orders-db: {{ value: orders.db }}\n"
    )
}

const POSTURE: &str = "organisation: Bench
identity:
  claims: { subject: /sub, actor: /client_id, tenant: /tenant, session: /sid }
  attributes: { groups: /groups }
limits: { per_session: 1000000000, per_minute: 1000000000, per_hour: 1000000000, identical_per_minute: 5 }
tenant_limits: { per_minute: 1000000000, per_hour: 1000000000 }
";

const AGENT: &str = "agent: bench
purpose: Is measured.
owner: { team: platform, contact: platform@example.com }
identity: { client_id: bench }
grants:
";

const PEOPLE: &str = "development_issuer: true
people:
  audience: people
  client_id: people
  claims: { person: /sub, address: /email, address_verified: /email_verified, groups: /groups, tenants: /tenants }
  roles: { operator: [ops], auditor: [audit] }
  all_tenants: [payers]
";

const PAY_ORDER: &str = "tool: pay_order
description: Pays an order of one account.
effect: persistent
input:
  account_id: { type: string, pattern: \"^acct_[a-z0-9]{1,16}$\" }
  after: { type: integer, minimum: 1, maximum: 99999999 }
  limit: { type: integer, minimum: 1, maximum: 20 }
  text: { type: string, text: true, maxLength: 2000 }
scope:
  account_id: { equals: caller.tenant }
  tenant: { bind: caller.tenant }
gate:
  approvers: { group: payers }
  expires: 8h
  summary: Pay order {after} of {account_id}
call:
  system: orders-api
  post: \"/v1/accounts/{tenant}/pay\"
  body: { account: \"{account_id}\", after: \"{after}\", limit: \"{limit}\", text: \"{text}\" }
";

const API: &str = "system: orders-api
http: { origin: orders-api, networks: [127.0.0.1/32] }
timeout: 5s
rows: 50
bytes: 64KiB
concurrency: 32
";

const SERVER: &str = "system: orders-mcp
mcp: { origin: orders-api, networks: [127.0.0.1/32] }
timeout: 5s
rows: 50
bytes: 64KiB
concurrency: 32
";

const DATABASE: &str = "system: orders-db
sqlite: { database: orders-db }
timeout: 5s
rows: 50
bytes: 64KiB
concurrency: 4
";

const INPUT: &str = "effect: read
input:
  account_id: { type: string, pattern: \"^acct_[a-z0-9]{1,16}$\" }
  after: { type: integer, minimum: 1, maximum: 99999999, description: \"From which order on.\" }
  limit: { type: integer, minimum: 1, maximum: 20 }
  status: { type: string, enum: [open, shipped, returned], optional: true }
  text: { type: string, text: true, maxLength: 2000 }
scope:
  account_id: { equals: caller.tenant }
result: { account: caller.tenant }
call:
";

fn tools() -> Vec<(String, String)> {
    let things = [
        "orders",
        "invoices",
        "parcels",
        "drivers",
        "depots",
        "routes",
        "claims",
        "contracts",
        "tariffs",
        "vehicles",
        "customs",
        "returns",
        "pickups",
        "tickets",
        "quotes",
    ];
    let http = things.iter().take(HTTP_TOOLS).map(|thing| {
        let text = format!(
            "tool: search_{thing}\ndescription: Searches the {thing} of one account by their text, newest first.\n{INPUT}  \
             system: orders-api\n  post: \"/v1/accounts/{{account_id}}/search\"\n  \
             body: {{ after: \"{{after}}\", limit: \"{{limit}}\", status: \"{{status}}\", text: \"{{text}}\" }}\n  \
             result: /items\n  pick: {{ id: /id, account: /account, status: /status, placed_on: /placed_on, note: /note }}\n"
        );
        (format!("search_{thing}"), text)
    });
    let sql = things.iter().take(SQL_TOOLS).map(|thing| {
        let text = format!(
            "tool: list_{thing}\ndescription: Lists the {thing} of one account that come before a given one.\n{INPUT}  \
             system: orders-db\n  sql: |\n    select id, account, status, placed_on, note from orders\n    \
             where account = :account_id and number <= :after % 100 and (:status is null or status = :status)\n      \
             and instr(note, :text) = 0\n    order by number desc limit min(:limit, 1)\n"
        );
        (format!("list_{thing}"), text)
    });
    let find = format!(
        "tool: find_orders\ndescription: Finds orders of one account by their text, newest first.\n{INPUT}  \
         system: orders-mcp\n  tool: orders_by_text\n  result: /items\n  \
         pick: {{ id: /id, account: /account, status: /status, placed_on: /placed_on, note: /note }}\n"
    );
    http.chain(sql).chain([("find_orders".to_owned(), find)]).collect()
}

/// Twelve policies that bear on every call and forbid none of those that are made.
fn rules() -> String {
    let conditions = [
        "context.input.limit > 15 && principal.groups.contains(\"trainees\")",
        "principal.tenant == \"acct_closed\"",
        "principal.tenant == \"acct_frozen\" && context.input.limit > 5",
        "principal.subject == \"retired\" && context.input.limit > 1",
        "context.input.account_id like \"acct_test*\"",
        "context.weekday > 5 && principal.groups.contains(\"weekdays-only\")",
        "context.hour >= 22 && principal.groups.contains(\"day-shift\")",
        "principal.subject like \"intern-*\" && context.input.limit > 10",
        "principal.groups.contains(\"suspended\")",
        "context.input has status && context.input.status == \"returned\" && context.hour == 3 && context.minute > 58",
        "context.input.after > 99999990 && principal.groups.contains(\"externals\")",
        "context.input.text like \"*ignore all previous*\"",
    ];
    let rules = conditions.iter().enumerate().map(|(number, condition)| {
        format!(
            "@id(\"rule-{number}\")\n@reason(\"Rule {number} of the measurement.\")\n\
             forbid (principal, action, resource) when {{ {condition} }};\n\n"
        )
    });
    rules.collect()
}

/// The issuer's key set, and a token for each caller.
fn tokens() -> Outcome<(String, Vec<String>)> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
        .map_err(|_unspecified| "no key could be made")?;
    let key = EncodingKey::from_ec_der(pkcs8.as_ref());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
    jwk.common.key_id = Some("bench".to_owned());
    let keys = serde_json::to_string(&JwkSet { keys: vec![jwk] })?;
    let header = Header { kid: Some("bench".to_owned()), ..Header::new(Algorithm::ES256) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let token = |caller| -> Outcome<String> {
        let claims: Value = json!({
            "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 24 * 60 * 60,
            "sub": format!("user-{caller}"), "client_id": "bench", "tenant": tenant(caller),
            "sid": format!("session-{caller}"), "groups": ["dispatch", "north"],
        });
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    };
    Ok((keys, (0..CALLERS_MAX).map(token).collect::<Outcome<_>>()?))
}

fn database(path: &Path) -> Outcome<()> {
    let database = rusqlite::Connection::open(path)?;
    database.execute_batch(
        "create table orders (id text primary key, account text, number integer, status text,
           placed_on text, note text);
         create index orders_by_account on orders (account, number);",
    )?;
    let mut insert = database.prepare("insert into orders values (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for caller in 0..TENANTS {
        for number in 0..100 {
            let id = format!("ord_{caller}_{number}");
            let note = "two pallets, to be unloaded from the side; the driver calls before";
            insert.execute((id, tenant(caller), number, "shipped", "2026-11-20", note))?;
        }
    }
    Ok(())
}
