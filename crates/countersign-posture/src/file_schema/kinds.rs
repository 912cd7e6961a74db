//! The keys of every kind of file, in the order in which people would write them.

mod evals;
mod ladder;

use super::{Defined, FileKind, Form, Key, Shape};
use crate::agent::STAGES;
use crate::ask::{ASKS, ERRORS};
use crate::bound::{
    ALERT_SECONDS_MAX, ALERT_THRESHOLD_MAX, CACHE_MS_MAX, CONCURRENCY_MAX, DESCRIPTION_BYTES_MAX,
    DESTINATIONS_MAX, EXPORTERS_MAX, GATE_EXPIRES_SECONDS_MAX, LIMIT_MAX, LINE_BYTES_MAX,
    PATTERN_BYTES_MAX, POINTERS_MAX, PROGRAM_WORDS_MAX, RECHECK_MS_MAX, RESULT_BYTES_MAX,
    REVIEWERS_MAX, ROWS_MAX, SIGN_OFF_ROLES_MAX, STAGING_DAYS_MAX, STAGING_RUNS_MAX,
    STATEMENT_BYTES_MAX, TIMEOUT_MS_MAX,
};
use crate::deployment::ENVIRONMENTS;
use crate::email::ENCRYPTIONS as MAIL_ENCRYPTIONS;
use crate::gate::DURATIONS as SPANS;
use crate::input::FORMATS;
use crate::issuer::ALGORITHMS;
use crate::people::ROLES;
use crate::posture::{LIMITS, RESERVED};
use crate::relay::TEMPLATES;
use crate::request::{EMPTY, METHODS};
use crate::sign_off::{CHANGE, EVIDENCE};
use crate::system::{DURATIONS, ENCRYPTIONS, SETTING_BYTES_MAX, SIZES};
use crate::tool::EFFECTS;
use countersign_core::alert::Rule;
use countersign_core::bound::{
    BODY_BYTES_MAX, ID_BYTES_MAX, JSON_VALUES_MAX, RECIPIENTS_MAX, SAFE_INTEGER_MAX,
    TOOL_NAME_BYTES_MAX,
};
use countersign_core::call::CHECK_DRAFT;
use serde_json::{Value, json};

/// A kind of file.
pub(super) struct Kind {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
}

pub(super) fn kind(kind: FileKind) -> Kind {
    let (title, about, shape) = match kind {
        FileKind::Posture => (
            "posture/posture.yaml",
            "What holds for every agent: whose posture it is, what tokens say, and the limits.",
            Shape::Map(posture()),
        ),
        FileKind::Agent => (
            "posture/agents/NAME.yaml",
            "One agent: a non-human identity with an owner, a purpose and its grants. A tool that is not granted does not exist for it.",
            Shape::Map(agent()),
        ),
        FileKind::Tool => (
            "posture/tools/NAME.yaml",
            "One tool: what a model may ask for, whose data it may touch, and the statement, request or message that answers it.",
            Shape::Map(tool()),
        ),
        FileKind::System => (
            "posture/systems/NAME.yaml",
            "One production system: how it is reached, and what a call may take of it.",
            system(),
        ),
        FileKind::Eval => (
            "posture/evals/NAME.yaml",
            "Cases of the evaluation suite: what must stay true, whatever an agent does ([evaluation.md](evaluation.md)). They are no part of what is enforced or signed.",
            Shape::Map(evals::suite()),
        ),
        FileKind::Deployment => (
            "countersign.yaml",
            "The deployment: where the gateway runs and what it trusts. It stands outside the posture, so that nobody becomes trusted by editing what is reviewed. Paths are relative to this file.",
            Shape::Map(deployment()),
        ),
    };
    Kind { title, about, shape }
}

// ── keys ────────────────────────────────────────────────────────────────────────────────────────

const fn required(name: &'static str, about: &'static str, shape: Shape) -> Key {
    Key { name, required: true, about, shape }
}

const fn optional(name: &'static str, about: &'static str, shape: Shape) -> Key {
    Key { name, required: false, about, shape }
}

fn posture() -> Vec<Key> {
    let claims = vec![
        required("subject", "On whose behalf the agent calls.", pointer("/sub")),
        required(
            "actor",
            "Which agent calls: its OAuth client. Where several places are named, all that the token has must say the same.",
            pointers("/client_id"),
        ),
        required("tenant", "Whose data may be touched.", pointer("/tenant")),
        optional("session", "Limits `per_session` are counted by it.", pointer("/sid")),
        optional(
            "person",
            "The person behind the agent, as the issuer names people for good. Recorded with every call.",
            pointer("/oid"),
        ),
        optional(
            "scopes",
            "The OAuth scopes or roles, which `require_scope` asks for; `/scope` if left out.",
            pointers("/scp"),
        ),
        optional("agent_build", "Recorded with every call.", pointer("/agent_build")),
        optional("model", "Recorded with every call.", pointer("/model")),
    ];
    let own = format!("(?!(?:{})$)", RESERVED.join("|"));
    let attributes = Shape::Entries(vec![(format!("^{own}{IDENTIFIER}$"), pointer("/regions"))]);
    let identity = vec![
        required(
            "claims",
            "Which claim of a token says what, as JSON pointers (RFC 6901).",
            Shape::Map(claims),
        ),
        optional(
            "attributes",
            "Further claims, texts or lists of texts, which scope rules then know as `caller.NAME`.",
            attributes,
        ),
    ];
    let all = LIMITS.map(|name| limit(name, true)).into();
    let of_tenants = ["per_minute", "per_hour"].map(|name| limit(name, false)).into();
    vec![
        required("organisation", "Whose posture it is.", line("Example Ltd")),
        required("identity", "What a token says of its bearer.", Shape::Map(identity)),
        required(
            "limits",
            "The limits of every agent that does not say otherwise, per tenant it works for.",
            Shape::Map(all),
        ),
        optional("tenant_limits", "Limits of each tenant over all agents.", Shape::Map(of_tenants)),
        optional(
            "ladder",
            "The company's own step for each effect; the effects' own if left out.",
            ladder::steps(),
        ),
    ]
}

fn agent() -> Vec<Key> {
    let owner = vec![
        required("team", "Who answers for it.", line("customer-service")),
        required("contact", "How to reach them.", line("customer-service@example.com")),
    ];
    let client = required(
        "client_id",
        "The OAuth client that calls as this agent: the token's actor. One agent each.",
        printable("shop-assistant"),
    );
    let of_issuer = optional(
        "issuer",
        "Whose tokens it calls with: their `iss`. Where several issuers are trusted, every agent says so.",
        printable("https://login.example.com"),
    );
    let scope = || {
        let says = "an OAuth scope or role";
        pattern(says, r"^[!#-\[\]-~]+$", LINE_BYTES_MAX, "orders:read")
    };
    let grant = vec![
        required("tool", "The tool.", name("list_orders")),
        required(
            "reason",
            "Why it needs it.",
            line("Most questions are about the last few orders."),
        ),
        optional(
            "reviewed_by",
            "Who looked at this grant. A production deployment asks for it where the tool has an effect.",
            line("security@example.com"),
        ),
        optional("reviewed_on", "When.", date("2026-11-20")),
        optional("limits", "Limits of this agent's calls of this tool.", Shape::Map(limits())),
        optional("require_scope", "What the token must carry for this grant.", scope()),
        optional(
            "stage",
            "Where this grant exists; as its agent if left out, and never further.",
            choice(STAGES.iter().map(|(word, _)| *word)),
        ),
    ];
    vec![
        required("agent", "Its name, which is also the file's.", name("shop-assistant")),
        required(
            "purpose",
            "What it is for.",
            text(DESCRIPTION_BYTES_MAX, "Answers customers' questions about their orders."),
        ),
        required("owner", "The team behind it.", Shape::Map(owner)),
        required("identity", "How its calls are recognised.", Shape::Map(vec![client, of_issuer])),
        optional(
            "require_scope",
            "What the token must carry for every grant that does not say otherwise.",
            scope(),
        ),
        optional(
            "stage",
            "Where its grants exist: in development alone (`draft`, if left out), in staging too, or in production as well.",
            choice(STAGES.iter().map(|(word, _)| *word)),
        ),
        required("grants", "The tools it may call, and why.", list(Shape::Map(grant), 0)),
        optional(
            "limits",
            "Its own limits, key by key over those of `posture.yaml`.",
            Shape::Map(limits()),
        ),
    ]
}

fn tool() -> Vec<Key> {
    let mut keys = vec![
        required("tool", "Its name, which is also the file's.", tool_name("get_usage")),
        required(
            "description",
            "What the model reads with every request: what the tool answers, not what to do.",
            text(DESCRIPTION_BYTES_MAX, "Daily usage of the caller's account, newest day first."),
        ),
        required(
            "effect",
            "What a call does to the world. `read` changes nothing; `reversible` can be undone; `persistent` stays; `irreversible` cannot be taken back.",
            choice(EFFECTS.iter().map(|(word, _)| *word)),
        ),
        required("input", "The arguments that the model may send, by name.", arguments()),
        optional(
            "scope",
            "What ties a call to its caller, by argument: `account_id`, `parcel.account_id`, `parcels[].account_id`, `ids[]`; or by a name that the input does not have, for `bind`.",
            scope(),
        ),
        optional(
            "public",
            "Why everybody may read what this tool answers, or of an MCP server's do what it does, in a sentence; instead of `scope`.",
            line("Opening hours are on the website."),
        ),
        optional(
            "result",
            "What every row that comes back must carry, by column: one of the caller's own. Otherwise the whole result is withheld, and the record says so.",
            result(),
        ),
        optional("limits", "Limits of each agent's calls of this tool.", Shape::Map(limits())),
        required("call", "What answers a call.", call()),
        optional(
            "offer",
            "As what MCP clients are offered it, `tool` if left out: a `resource`, with `call.resource`, whose URI the client writes; or a `prompt`, with `call.prompt`, whose arguments are texts. Each call of either is one of this tool.",
            choice(ASKS.iter().map(|(word, _)| *word)),
        ),
    ];
    keys.extend(ladder::tool());
    keys
}

fn call() -> Shape {
    let statement = "select day, units from usage where account_id = :tenant limit :days";
    let ways = METHODS.map(|(key, _)| {
        let about = match key {
            "get" => "The path of a request to an API. An argument stands in it as a whole segment, `{name}`, and is encoded.",
            "post" => "The same for another method; for a read, a search with a body.",
            "delete" => "The same.",
            _ => "The same, with a body.",
        };
        optional(key, about, path_of_request("/v2/accounts/{account_id}/contacts"))
    });
    let sql = optional(
        "sql",
        "One statement. Arguments stand in it as `:name`: they are bound, never put into the text. An object or an array arrives as JSON.",
        text(STATEMENT_BYTES_MAX, statement),
    );
    let mut keys = vec![required("system", "The system that answers.", name("freight-db"))];
    keys.extend(parts());
    keys.extend(words());
    keys.push(optional(
        "rows",
        "Most rows of a result, instead of the system's.",
        count(ROWS_MAX, 100),
    ));
    let to = optional(
        "to",
        "The argument that says to whom a message goes, `{name}`: of `format: email`, or a list of up to 16 of these. `scope` must say where that may be, by `domains`, `allowed` or `owned`. Its effect is `irreversible`.",
        pattern("an argument", "^\\{.*\\}$", LINE_BYTES_MAX, "{to}"),
    );
    keys.extend(sent());
    let asks = ASKS.map(|(key, _)| {
        let (about, shape) = match key {
            "tool" => (
                "A tool of an MCP server, as `pins` have it.",
                line("search_issues"),
            ),
            "resource" => (
                "The URI of a resource of an MCP server, as `pins` have it or a template there. An argument stands in it as `{name}`, and is encoded.",
                line("docs://{id}"),
            ),
            _ => ("A prompt of an MCP server, as `pins` have it.", line("summary")),
        };
        optional(key, about, shape)
    });
    Shape::Kinds(keys, std::iter::once(sql).chain(ways).chain([to]).chain(asks).collect())
}

/// What belongs to a call of a definition.
fn sent() -> [Key; 2] {
    let any = leaf("JSON as YAML", json!({}), "{words}");
    [
        optional(
            "arguments",
            "What a tool or a prompt of an MCP server is sent, by its names. A text `{name}` stands for an argument as in a body; if left out, each argument and bound name is sent under its own name, as far as the pin knows it.",
            Shape::Entries(vec![(String::new(), any)]),
        ),
        optional(
            "errors",
            "What it means that an MCP server says a call failed: `nothing_done` if the server's word for it is taken. If left out, nobody knows what an effect then did.",
            choice(ERRORS.iter().map(|(word, _)| *word)),
        ),
    ]
}

/// What belongs to a message.
fn words() -> [Key; 2] {
    [
        optional(
            "subject",
            "The subject of a message. Arguments stand in it as `{name}`, and none may hold a line break; a brace that is meant is written twice.",
            line("Your parcel {parcel_id}"),
        ),
        optional(
            "text",
            "What a message says, as plain text, with arguments as in its subject.",
            text(STATEMENT_BYTES_MAX, "Dear customer,\n\n{message}"),
        ),
    ]
}

/// What belongs to a request.
fn parts() -> [Key; 6] {
    let words = ["string", "integer", "number", "boolean"];
    let scalar = json!({ "type": words, "pattern": LINE, "maxLength": LINE_BYTES_MAX });
    let scalars = |example: &str| {
        let says = "a text, a number, `true` or `false`, or an argument";
        Shape::Entries(vec![(String::new(), leaf(says, scalar.clone(), example))])
    };
    let body = json!({ "type": ["object", "array", "string", "integer", "number", "boolean"] });
    let column = pointer("/address/city");
    let empty = EMPTY.map(|(word, _)| optional(word, "", choice(["empty"])));
    [
        optional(
            "query",
            "Parameters of the URL, by name. One whose argument is left out is left out.",
            scalars("{limit}"),
        ),
        optional(
            "headers",
            "Further headers, by name. The system's own are not among them.",
            scalars("{tenant}"),
        ),
        optional(
            "body",
            "A JSON body. A text `{name}` stands for the argument as it is, with its type; a member whose argument is left out is left out, an element of a list is null.",
            leaf("JSON as YAML", body, json!({ "account": "{account_id}" })),
        ),
        optional(
            "result",
            "Where in the answer the result is, as a JSON pointer (RFC 6901); all of it if left out. An array's elements are the rows; anything else is one row. What is no object becomes one, with the member `value`.",
            pointer("/items"),
        ),
        optional(
            "pick",
            "The columns of a row, and where in it each stands. Without it a row is what the system sends.",
            Shape::Entries(vec![(format!("^{IDENTIFIER}$"), column)]),
        ),
        optional(
            "statuses",
            "Statuses, of `204`, `404` and `410`, that say that there is nothing: no rows, and no failure.",
            Shape::Map(empty.into()),
        ),
    ]
}

fn scope() -> Shape {
    let reference = format!(r"^caller\.{IDENTIFIER}$");
    let says = "`caller.tenant`, `caller.subject`, `caller.actor` or `caller.NAME` of an attribute";
    let caller = || pattern(says, &reference, LINE_BYTES_MAX, "caller.tenant");
    let rules = || {
        vec![
            optional("equals", "The argument must be the caller's one value.", caller()),
            optional("in", "The argument must be one of the caller's values.", caller()),
        ]
    };
    let mut of_names = rules();
    let bind = "The caller's value is put in under this name; the model neither sees nor sends it.";
    of_names.insert(0, optional("bind", bind, caller()));
    of_names.extend(look_ups());
    of_names.push(domains());
    let rules = || rules().into_iter().chain(look_ups()).chain([domains()]).collect();
    let path = format!(r"^{IDENTIFIER}(?:\[\])*(?:\.{IDENTIFIER}(?:\[\])*)*$");
    Shape::Entries(vec![
        (format!("^{IDENTIFIER}$"), Shape::One(of_names)),
        (format!(r"(?=.*[.\[]){path}"), Shape::One(rules())),
    ])
}

fn look_ups() -> [Key; 2] {
    let statement = |example| text(STATEMENT_BYTES_MAX, example);
    let rest = || {
        [
            optional("system", "The system that is asked, if not the tool's own.", name("shop-db")),
            optional(
                "cache",
                "How long an answer holds; without it every call asks.",
                quantity(&DURATIONS, CACHE_MS_MAX, "30s"),
            ),
        ]
    };
    let map = |sql: Key| Shape::Map(std::iter::once(sql).chain(rest()).collect());
    let one = required(
        "sql",
        "One read of one column that says whether the identifier, `:value`, is the caller's: by `1`, `true` or the identifier itself. No row, `0`, `false` or null say that it is not.",
        statement("select 1 from orders where id = :value and customer = :tenant"),
    );
    let list = required(
        "sql",
        "One read of one column: what the identifier may be.",
        statement("select code from depots where customer = :tenant"),
    );
    [
        optional("owned", "A system must know the identifier as the caller's.", map(one)),
        optional("allowed", "The identifier must be in a system's list.", map(list)),
    ]
}

fn domains() -> Key {
    optional(
        "domains",
        "The argument must be a mail address (`format: email`) of one of these domains; one below them is another.",
        list(domain(), 1),
    )
}

fn domain() -> Shape {
    pattern("a domain", r"^[^\s@.]+(?:\.[^\s@.]+)+$", LINE_BYTES_MAX, "example.com")
}

fn mail_address() -> Shape {
    pattern("a mail address", r"^[^\s@]+@[^\s@]+$", LINE_BYTES_MAX, "support@example.com")
}

fn result() -> Shape {
    let says = "`caller.tenant`, `caller.subject`, `caller.actor` or `caller.NAME` of an attribute";
    let reference = format!(r"^caller\.{IDENTIFIER}$");
    let caller = pattern(says, &reference, LINE_BYTES_MAX, "caller.tenant");
    Shape::Entries(vec![(format!("^{IDENTIFIER}$"), caller)])
}

fn system() -> Shape {
    let database = required(
        "database",
        "A reference of the deployment that stands for the database's file.",
        name("shop-db"),
    );
    let keys = vec![
        required("system", "Its name, which is also the file's.", name("shop-db")),
        required(
            "timeout",
            "How long a statement, a request or the sending of a message may take.",
            quantity(&DURATIONS, TIMEOUT_MS_MAX, "2s"),
        ),
        required(
            "rows",
            "Most rows of a result; further ones are cut off, and the answer says so.",
            count(ROWS_MAX, 100),
        ),
        required(
            "bytes",
            "Largest result; an API's whole answer, of which nothing can be cut; of a message, one row that says what was sent.",
            quantity(&SIZES, RESULT_BYTES_MAX, "64KiB"),
        ),
        optional(
            "concurrency",
            "Most statements, requests or messages at once; 4 if left out.",
            count(CONCURRENCY_MAX, 4),
        ),
    ];
    let backends = vec![
        optional("sqlite", "An SQLite database, opened for reading.", Shape::Map(vec![database])),
        optional("postgres", "A PostgreSQL database, asked in read-only transactions.", postgres()),
        optional("http", "An API that speaks JSON over HTTP.", http()),
        optional("email", "A mail server, which takes messages and answers nothing else.", email()),
        optional(
            "mcp",
            "An MCP server. Its tools, resources and prompts are called as they were reviewed: their definitions stand in `pins/NAME.json`, which `countersign import mcp` writes, and one that has changed since is withdrawn.",
            mcp(),
        ),
    ];
    Shape::Kinds(keys, backends)
}

fn postgres() -> Shape {
    let setting = format!(r"^(?=.{{1,{SETTING_BYTES_MAX}}}$)[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$");
    let says = "a setting of your own, with a dot in its name";
    Shape::Map(vec![
        required(
            "connection",
            "A reference of the deployment that stands for the connection: `postgres://user:password@host/database`.",
            name("shop-db"),
        ),
        optional(
            "shared",
            "Tables that hold nothing of any one tenant; `countersign doctor` asks of all others that row-level security keeps tenants apart.",
            list(line("depots"), 0),
        ),
        optional(
            "tenant_setting",
            "The setting that row-level security reads the caller's tenant from; `app.tenant` if left out.",
            pattern(says, &setting, LINE_BYTES_MAX, "app.tenant"),
        ),
        optional(
            "tls",
            "How it is spoken to. If left out: `none` on this machine, `verify-full` everywhere else, where nothing less is taken.",
            choice(ENCRYPTIONS.iter().map(|(word, _)| *word)),
        ),
        optional(
            "ca",
            "A reference of the deployment that stands for certificates to trust, as PEM, instead of the machine's own.",
            name("shop-ca"),
        ),
    ])
}

fn mcp() -> Shape {
    let variable = "A variable of its environment, which holds no others: a reference.";
    let environment = Shape::Entries(vec![(format!("^{IDENTIFIER}$"), name("tracker-token"))]);
    let words = Shape::List {
        of: Box::new(line("--stdio")),
        items_min: 0,
        items_max: Some(PROGRAM_WORDS_MAX),
    };
    let mut keys = vec![optional(
        "path",
        "The path of its endpoint; `/mcp` if left out.",
        path_of_request("/v1/mcp"),
    )];
    keys.extend(way());
    keys.extend([
        optional("arguments", "What the program is started with; no shell reads it.", words),
        optional("environment", variable, environment),
        optional(
            "user",
            "A reference of the deployment that stands for whom the program runs as, `uid:gid`; as the gateway does if left out.",
            name("tracker-user"),
        ),
        optional(
            "recheck",
            "How old the knowledge may be that its definitions are as they were reviewed; 10 s if left out, `0s` to look before every call.",
            none_or(quantity(&DURATIONS, RECHECK_MS_MAX, "30s")),
        ),
        optional(
            "shared",
            "Why it keeps nothing of a caller, in a sentence, so that one connection or process may serve all. If left out, one serves a tenant and principal alone.",
            line("Each of its answers rests on its request alone."),
        ),
    ]);
    let reach = vec![
        optional(
            "origin",
            "A reference of the deployment that stands for scheme, host and port.",
            name("tracker"),
        ),
        optional(
            "program",
            "A reference of the deployment that stands for the absolute path of a program on the machine, which is started and spoken to by its standard input and output.",
            name("tracker-server"),
        ),
    ];
    Shape::Kinds(keys, reach)
}

fn http() -> Shape {
    let origin = required(
        "origin",
        "A reference of the deployment that stands for scheme, host and port: `https://crm.example`. No argument changes them.",
        name("crm"),
    );
    Shape::Map(std::iter::once(origin).chain(way()).collect())
}

/// How a system is spoken to over HTTP.
fn way() -> [Key; 3] {
    let reference =
        |about, example| required(about, "A reference of the deployment.", name(example));
    let auth = vec![
        optional("bearer", "A bearer token: a reference of the deployment.", name("crm-token")),
        optional("basic", "A name and a password.", basic("crm-user", "crm-password")),
        optional(
            "header",
            "A header of its own.",
            Shape::Map(vec![
                required("name", "The header's name.", line("X-Api-Key")),
                reference("value", "crm-key"),
            ]),
        ),
    ];
    [
        optional(
            "auth",
            "What every request is authorised by; never the caller's token.",
            Shape::One(auth),
        ),
        optional(
            "networks",
            "The networks that its addresses may lie in, and no others. If left out, every public address will do, and none of this machine, of private networks, or where clouds keep credentials.",
            networks(),
        ),
        optional("plaintext", "Whether the origin may be `http://` on another machine.", boolean()),
    ]
}

fn email() -> Shape {
    Shape::Map(mail_server())
}

fn mail_server() -> Vec<Key> {
    let basic = required(
        "basic",
        "The name and the password by which it is used.",
        basic("mail-user", "mail-password"),
    );
    let from = vec![
        required("address", "The address.", mail_address()),
        optional("name", "What stands beside it.", line("Example Ltd")),
    ];
    vec![
        required(
            "server",
            "A reference of the deployment that stands for host and port: `smtp.example.com:587`.",
            name("mail"),
        ),
        required(
            "encryption",
            "How it is spoken to: `tls` from the first byte, `starttls` before anything is said, `none` for a server of this very machine. What is encrypted is verified down to the host's name.",
            choice(MAIL_ENCRYPTIONS.iter().map(|(word, _)| *word)),
        ),
        optional("auth", "What it is used by.", Shape::Map(vec![basic])),
        optional(
            "ca",
            "A reference of the deployment that stands for certificates to trust, as PEM, instead of the machine's own.",
            name("mail-ca"),
        ),
        required("from", "Whose messages they are. No argument changes it.", Shape::Map(from)),
        optional("reply_to", "To whom an answer goes, if not to `from`.", mail_address()),
        optional(
            "domains",
            "The only domains that anything is sent to, whatever a tool says.",
            list(domain(), 1),
        ),
        optional(
            "networks",
            "The networks that its addresses may lie in, as of `http`.",
            networks(),
        ),
    ]
}

/// References that stand for a name and a password.
fn basic(user: &str, password: &str) -> Shape {
    let reference = |key, example| required(key, "A reference of the deployment.", name(example));
    Shape::Map(vec![reference("user", user), reference("password", password)])
}

fn networks() -> Shape {
    let network =
        pattern("a network", r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$", LINE_BYTES_MAX, "10.1.0.0/16");
    list(network, 1)
}

fn issuer() -> Vec<Key> {
    vec![
        required(
            "issuer",
            "The tokens' `iss`; or a SPIFFE trust domain, as `spiffe://example.com`.",
            printable("https://login.example.com"),
        ),
        optional(
            "audience",
            "The tokens' `aud`; `public_url`, with or without `/mcp`, if left out.",
            line("https://countersign.example.com"),
        ),
        optional("keys", "A file with the issuer's JWK set (RFC 7517).", path("issuer-keys.json")),
        optional(
            "jwks_url",
            "Where the issuer's JWK set is fetched from, instead of `keys`.",
            line("https://login.example.com/keys"),
        ),
        optional(
            "discovery",
            "Whether the issuer's own metadata says where its JWK set is (OpenID Connect Discovery, RFC 8414), instead of `keys`.",
            boolean(),
        ),
        optional(
            "tenant",
            "The one tenant that all its tokens are for, whatever they say.",
            printable("acct_acme"),
        ),
        optional(
            "tenants",
            "The tenants that its tokens may be for; any if left out.",
            list(printable("acct_acme"), 1),
        ),
        optional(
            "require_at_jwt",
            "Whether its tokens must be of the type `at+jwt` (RFC 9068).",
            boolean(),
        ),
        required(
            "algorithms",
            "The algorithms accepted.",
            list(choice(ALGORITHMS.iter().map(|(word, _)| *word)), 1),
        ),
    ]
}

fn people() -> Vec<Key> {
    let claims = vec![
        required(
            "person",
            "Their immutable id: the same claim as `identity.claims.person` of the posture, so that nobody approves what was asked for on their own behalf.",
            pointer("/sub"),
        ),
        optional("address", "The address by which a tool names them.", pointer("/email")),
        optional(
            "address_verified",
            "What must be `true` for the address to count; `/email_verified` if left out.",
            pointer("/email_verified"),
        ),
        optional("groups", "Their groups: a text or a list.", pointer("/groups")),
        optional("tenants", "The tenants they decide for: a text or a list.", pointer("/tenants")),
    ];
    let about = |name| match name {
        "operator" => "Who switches off and on, withdraws, and says what came of unknown outcomes.",
        "auditor" => "Who reads the journal.",
        _ => "Who sees drafts, agents and what is switched off.",
    };
    let groups = || list(line("support-leads"), 0);
    let roles = ROLES.iter().map(|(name, _)| optional(name, about(name), groups())).collect();
    vec![
        optional(
            "issuer",
            "Where they sign in: one of `issuers`. If left out, the development issuer, or the one issuer there is.",
            printable("https://login.example.com"),
        ),
        required(
            "audience",
            "Their tokens' `aud`, which no agent's token has. Where it is the `client_id`, ID tokens are taken; otherwise access tokens for this audience.",
            line("countersign-people"),
        ),
        required(
            "client_id",
            "The public OAuth client by which `countersign login` signs them in. No agent's.",
            printable("countersign-people"),
        ),
        optional(
            "scopes",
            "The scopes that are asked for at sign-in; `openid` and `email` if left out.",
            list(line("openid"), 0),
        ),
        required("claims", "Which claim of their token says what.", Shape::Map(claims)),
        optional("roles", "The groups that have each role.", Shape::Map(roles)),
        optional("all_tenants", "The groups whose members decide for every tenant.", groups()),
    ]
}

fn tails() -> [Key; 3] {
    [
        optional("exporters", "What hands the journal on, line by line as JSON.", exporters()),
        optional(
            "alerts",
            "What people are told of at once. Every rule is on, and goes by what `docs/alerts.md` says, unless it is written here.",
            Shape::Map(alerts()),
        ),
        optional("notify", "Where people are told of drafts that wait and of alerts.", notify()),
    ]
}

fn exporters() -> Shape {
    let named = required("name", "Under it is kept how far it has come.", name("siem"));
    let to = vec![
        optional(
            "file",
            "To the end of this file, which may be renamed at any time.",
            path("state/journal.jsonl"),
        ),
        optional(
            "stdout",
            "To standard output.",
            leaf("`true`", json!({ "type": "boolean", "const": true }), true),
        ),
    ];
    let exporter = Shape::Kinds(vec![named], to);
    Shape::List { of: Box::new(exporter), items_min: 0, items_max: Some(EXPORTERS_MAX) }
}

fn notify() -> Shape {
    let keys = vec![
        required("name", "Under it is kept how far it has come.", name("support-room")),
        optional("drafts", "Whether it is told of drafts that wait.", boolean()),
        optional("alerts", "Whether it is told of alerts.", boolean()),
        optional(
            "tenants",
            "Of these alone; if left out, of all, and of what is of no tenant.",
            list(printable("acct_acme"), 1),
        ),
        optional(
            "remind",
            "How long a draft waits before it is told of once more; half its time if left out.",
            quantity(&SPANS, GATE_EXPIRES_SECONDS_MAX, "1h"),
        ),
    ];
    let webhook = vec![
        required(
            "url",
            "A reference of the deployment that stands for the address. Whoever knows it can write there.",
            name("support-hook"),
        ),
        required(
            "template",
            "What is sent: as Slack or Teams take it, or the message's members.",
            choice(TEMPLATES.iter().map(|(word, _)| *word)),
        ),
    ];
    let mut email = mail_server();
    let to =
        Shape::List { of: Box::new(mail_address()), items_min: 1, items_max: Some(RECIPIENTS_MAX) };
    email.push(required("to", "To whom.", to));
    let by = vec![
        optional("webhook", "By a request to an address.", Shape::Map(webhook)),
        optional("email", "By mail; the other keys are those of a system.", Shape::Map(email)),
    ];
    let of = Box::new(Shape::Kinds(keys, by));
    Shape::List { of, items_min: 0, items_max: Some(DESTINATIONS_MAX) }
}

fn alerts() -> Vec<Key> {
    let limits = |rule| {
        // Once will do: they are the same for each.
        let about = |text| if Rule::ALL.first() == Some(&rule) { text } else { "" };
        let span = |key, text, example| {
            optional(key, about(text), quantity(&SPANS, ALERT_SECONDS_MAX, example))
        };
        vec![
            optional("enabled", about("Whether the rule holds; it does if left out."), boolean()),
            span("window", "Over which time it counts.", "10m"),
            optional(
                "threshold",
                about(
                    "How many in that time are an alert; of `call_spike`, how many times what the agent usually does.",
                ),
                count(ALERT_THRESHOLD_MAX, 10),
            ),
            span("cool_down", "How long it then says nothing more about the same.", "1h"),
        ]
    };
    Rule::ALL.map(|rule| optional(rule.as_str(), rule.what(), Shape::Map(limits(rule)))).into()
}

fn sign_off() -> Vec<Key> {
    let list = |of, max| Shape::List { of: Box::new(of), items_min: 1, items_max: Some(max) };
    let roles = |about| required("roles", about, list(line("security"), SIGN_OFF_ROLES_MAX));
    let reviewer = vec![
        required("name", "As others write them.", line("sec@example.com")),
        roles("The roles they may sign in: one with each signature."),
        required(
            "key",
            "Their public key as OpenSSH writes it: ed25519 or ECDSA P-256, in a file or on a security key.",
            line(
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
            ),
        ),
    ];
    let number = |max: u32, example| between(0, i64::from(max), example);
    let staging = vec![
        required(
            "runs",
            "At least so many effects that went well; 0 asks for no evidence.",
            number(STAGING_RUNS_MAX, 50),
        ),
        required("days", "On at least so many days.", number(STAGING_DAYS_MAX, 5)),
    ];
    vec![
        roles("Each of these must have signed, each another person."),
        required(
            "evidence",
            "What a lock must name, of this very posture.",
            list(choice(EVIDENCE.iter().map(|(word, _)| *word)), EVIDENCE.len()),
        ),
        required(
            "change",
            "Whether a lock must name the ticket or pull request behind it.",
            choice(CHANGE.iter().map(|(word, _)| *word)),
        ),
        optional(
            "staging",
            "What a write must have done in staging before it stands at `production`; 20 runs on 2 days if left out.",
            Shape::Map(staging),
        ),
        required(
            "reviewers",
            "Whose signatures count.",
            Shape::List {
                of: Box::new(Shape::Map(reviewer)),
                items_min: 0,
                items_max: Some(REVIEWERS_MAX),
            },
        ),
    ]
}

fn references() -> Shape {
    let reference = vec![
        optional("value", "As it is.", line("data/shop.db")),
        optional("env", "The environment variable that holds it.", line("SHOP_DB")),
        optional("file", "The file that holds it.", path("/run/secrets/shop-db")),
    ];
    Shape::Entries(vec![(format!("^{NAME}$"), Shape::One(reference))])
}

fn deployment() -> Vec<Key> {
    let address = r"^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.%]+\]):[0-9]+$";
    let url = r"^https?://[^\s/?#@\\]+$";
    let tls = required("terminated_by", "What ends TLS before it.", line("the ingress"));
    let store = vec![
        required("sqlite", "The journal; made by `countersign init`.", path("state/journal.db")),
        required(
            "signing_key",
            "The key that signs the journal's heads. Keep it from whoever may write the journal.",
            path("state/journal.key"),
        ),
    ];
    let mut keys = vec![
        required("posture", "The posture's folder.", path("posture")),
        required(
            "environment",
            "What is at stake: `production` asks for more, and `staging` is where writes show what they do before.",
            choice(ENVIRONMENTS.iter().map(|(word, _)| *word)),
        ),
        required(
            "listen",
            "Where the doors listen.",
            pattern("an address and a port", address, LINE_BYTES_MAX, "127.0.0.1:8787"),
        ),
        required(
            "public_url",
            "How clients reach the gateway. Tokens must be meant for it (`aud`).",
            pattern("a URL without a path", url, LINE_BYTES_MAX, "http://127.0.0.1:8787"),
        ),
        optional(
            "tls",
            "For a listener beyond loopback in production, which speaks plain HTTP itself.",
            Shape::Map(vec![tls]),
        ),
        optional(
            "allowed_hosts",
            "Further `Host`s that are answered.",
            list(line("gateway.example.com"), 0),
        ),
        optional(
            "allowed_origins",
            "Further `Origin`s that are answered.",
            list(line("https://console.example.com"), 0),
        ),
        optional("issuers", "Whose tokens are accepted.", list(Shape::Map(issuer()), 0)),
        optional(
            "development_issuer",
            "Whether the gateway gives tokens to whoever asks: only with `environment: development`, on a loopback address.",
            boolean(),
        ),
        optional(
            "people",
            "How people sign in who approve, suspend and look on. Without it nobody can.",
            Shape::Map(people()),
        ),
        required("store", "The journal.", Shape::Map(store)),
        optional(
            "sign_off",
            "Who has to sign a posture before it runs in production ([sign-off.md](sign-off.md)). In production it must be there.",
            Shape::Map(sign_off()),
        ),
    ];
    keys.extend(tails());
    keys.extend([
        optional("references", "What the names that systems refer to stand for.", references()),
        optional(
            "statement_logs",
            "The folder where each SQLite system's statements are written down.",
            path("logs"),
        ),
    ]);
    keys
}

// ── arguments ───────────────────────────────────────────────────────────────────────────────────

/// The forms of an argument, or of an array's element.
pub(super) fn forms() -> Vec<Form> {
    let form = |title, word, keys, needs| Form { title, word, keys, needs };
    let number = |title, word, value: fn() -> Shape| {
        let mut keys = vec![
            optional("minimum", "Smallest value.", value()),
            optional("maximum", "Largest value.", value()),
        ];
        keys.extend(constants(value));
        if word == "integer" {
            let why = "Why everybody may name any of them, in a sentence: for a number whose name ends in `id` or `number`, and without a rule under `scope`.";
            keys.push(optional("public", why, line("Parcel numbers are printed on every parcel.")));
        }
        form(title, word, keys, &[&["minimum", "maximum"], &["enum"], &["const"]])
    };
    vec![
        form("a text from a list", "string", listed(), &[&["enum"], &["const"]]),
        form("an identifier", "string", identifier(), &[&["pattern"]]),
        form("a mail address", "string", mail(), &[&["format"]]),
        form("free text", "string", free_text(), &[]),
        number("a whole number", "integer", integer),
        number("a number", "number", decimal),
        form("true or false", "boolean", constants(boolean), &[]),
        form("a list", "array", array(), &[]),
        form(
            "an object",
            "object",
            vec![required("properties", "Its members, each an argument.", arguments())],
            &[],
        ),
    ]
}

/// The keys of every form.
pub(super) fn common(of: Defined, words: impl IntoIterator<Item = &'static str>) -> Vec<Key> {
    let leave_out = "Whether it may be left out; its statement then finds `null`.";
    let about = "What the model reads about it.";
    let mut keys = vec![
        required("type", "Its form.", choice(words)),
        optional("description", about, text(DESCRIPTION_BYTES_MAX, "How many days back.")),
    ];
    if of == Defined::Argument {
        keys.push(optional("optional", leave_out, boolean()));
    }
    keys
}

fn arguments() -> Shape {
    Shape::Entries(vec![(format!("^{IDENTIFIER}$"), Shape::Defined(Defined::Argument))])
}

fn constants(value: fn() -> Shape) -> Vec<Key> {
    vec![
        optional("enum", "The values that are taken.", list(value(), 1)),
        optional("const", "The one value that is taken.", value()),
    ]
}

fn lengths(max: Key) -> [Key; 2] {
    [optional("minLength", "Fewest characters.", size(0, BODY_BYTES_MAX)), max]
}

fn is_text(text: bool) -> Shape {
    leaf(format!("`{text}`"), json!({ "const": text }), text)
}

fn listed() -> Vec<Key> {
    let mut keys = constants(|| text(LINE_BYTES_MAX, "open"));
    keys.extend(lengths(optional("maxLength", "Most characters.", size(20, BODY_BYTES_MAX))));
    keys.push(optional("pattern", "", expression()));
    keys.push(optional("text", "", is_text(false)));
    keys
}

fn identifier() -> Vec<Key> {
    let mut keys = vec![optional(
        "pattern",
        "A regular expression of the linear-time kind that the whole text must match. `\\d` and `\\w` take ASCII only.",
        expression(),
    )];
    keys.extend(lengths(optional(
        "maxLength",
        "Most characters; required if the pattern has no end of its own.",
        size(20, BODY_BYTES_MAX),
    )));
    let why =
        "Why everybody may name any of them, in a sentence; otherwise `scope` must have a rule.";
    keys.push(optional("public", why, line("Parcel numbers are printed on every parcel.")));
    keys.push(optional("text", "", is_text(false)));
    keys
}

fn mail() -> Vec<Key> {
    let mut keys = vec![optional(
        "format",
        "One bare mail address: no name beside it, no comment, quotes or list, ASCII before the `@`, and a domain that mixes no scripts in one part.",
        choice(FORMATS.iter().map(|(word, _)| *word)),
    )];
    keys.extend(identifier());
    keys
}

fn free_text() -> Vec<Key> {
    let says = "Says that anything may be sent.";
    let mut keys = vec![required("text", says, is_text(true))];
    keys.extend(lengths(required("maxLength", "Most characters.", size(200, BODY_BYTES_MAX))));
    keys.push(optional(
        "pattern",
        "A regular expression that the whole text must match.",
        expression(),
    ));
    keys
}

fn array() -> Vec<Key> {
    vec![
        required(
            "items",
            "What each element is: as an argument, without `optional`.",
            Shape::Defined(Defined::Element),
        ),
        required("maxItems", "Most elements.", size(20, JSON_VALUES_MAX)),
        optional("minItems", "Fewest elements.", size(1, JSON_VALUES_MAX)),
        optional("uniqueItems", "Whether no two may be alike.", boolean()),
    ]
}

fn expression() -> Shape {
    text(PATTERN_BYTES_MAX, "^shp_[0-9]{6}$")
}

// ── what stands in one place ────────────────────────────────────────────────────────────────────

const IDENTIFIER: &str = "[A-Za-z_][A-Za-z0-9_]{0,63}";
const NAME: &str = "[A-Za-z0-9_-]{1,64}";
const POINTER: &str = r"^/(?:[^~\r\n]|~[01])+$";
const LINE: &str = r"^[^\r\n]*\S[^\r\n]*$";
const _: () = assert!(TOOL_NAME_BYTES_MAX == 64, "`IDENTIFIER` and `NAME` say so");

fn leaf(says: impl Into<String>, schema: Value, example: impl Into<Value>) -> Shape {
    let schema = schema.as_object().cloned().unwrap_or_default();
    Shape::Leaf { says: says.into(), schema, example: example.into() }
}

fn pattern(says: &str, pattern: &str, max: usize, example: &str) -> Shape {
    let schema = json!({ "type": "string", "pattern": pattern, "maxLength": max });
    leaf(says, schema, example)
}

fn line(example: &str) -> Shape {
    pattern("one line", LINE, LINE_BYTES_MAX, example)
}

fn path(example: &str) -> Shape {
    pattern("a path", LINE, LINE_BYTES_MAX, example)
}

fn path_of_request(example: &str) -> Shape {
    pattern("a path", "^/", LINE_BYTES_MAX, example)
}

fn text(max: usize, example: &str) -> Shape {
    pattern("text", r"\S", max, example)
}

fn name(example: &str) -> Shape {
    let name = format!("^{NAME}$");
    pattern("a name (letters, digits, `_`, `-`)", &name, TOOL_NAME_BYTES_MAX, example)
}

/// The name of a tool, which is none of the gateway's own.
fn tool_name(example: &str) -> Shape {
    let name = format!("^(?!{CHECK_DRAFT}$){NAME}$");
    pattern("a name (letters, digits, `_`, `-`)", &name, TOOL_NAME_BYTES_MAX, example)
}

fn printable(example: &str) -> Shape {
    let says = format!("text of up to {ID_BYTES_MAX} bytes");
    pattern(&says, r"^[^\x00-\x1f\x7f-\x9f]+$", ID_BYTES_MAX, example)
}

fn pointer(example: &str) -> Shape {
    pattern("a JSON pointer", POINTER, LINE_BYTES_MAX, example)
}

fn pointers(example: &str) -> Shape {
    let one = json!({ "type": "string", "pattern": POINTER, "maxLength": LINE_BYTES_MAX });
    let list = json!({ "type": "array", "items": one, "minItems": 1, "maxItems": POINTERS_MAX });
    leaf("a JSON pointer or a list of them", json!({ "anyOf": [one, list] }), example)
}

fn date(example: &str) -> Shape {
    let pattern = "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$";
    leaf("a date", json!({ "type": "string", "format": "date", "pattern": pattern }), example)
}

fn boolean() -> Shape {
    leaf("`true` or `false`", json!({ "type": "boolean" }), true)
}

fn between(min: i64, max: i64, example: i64) -> Shape {
    let schema = json!({ "type": "integer", "minimum": min, "maximum": max });
    leaf(format!("a whole number from {min} to {max}"), schema, example)
}

fn count(max: u32, example: i64) -> Shape {
    between(1, i64::from(max), example)
}

/// How long or how many, up to what one call could hold.
fn size(example: i64, max: usize) -> Shape {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": max });
    leaf("a whole number", schema, example)
}

fn integer() -> Shape {
    let (min, max) = (-SAFE_INTEGER_MAX, SAFE_INTEGER_MAX);
    leaf("a whole number", json!({ "type": "integer", "minimum": min, "maximum": max }), 7)
}

fn decimal() -> Shape {
    let (min, max) = (-SAFE_INTEGER_MAX, SAFE_INTEGER_MAX);
    leaf("a number", json!({ "type": "number", "minimum": min, "maximum": max }), 0.5)
}

fn choice(words: impl IntoIterator<Item = &'static str>) -> Shape {
    let words: Vec<_> = words.into_iter().collect();
    let says: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    let first = words.first().copied().unwrap_or_default();
    leaf(says.join(", "), json!({ "type": "string", "enum": words }), first)
}

fn list(of: Shape, items_min: usize) -> Shape {
    Shape::List { of: Box::new(of), items_min, items_max: None }
}

fn limits() -> Vec<Key> {
    LIMITS.map(|name| limit(name, false)).into()
}

fn limit(name: &'static str, required: bool) -> Key {
    let (about, example) = match name {
        "per_session" => ("Calls in one session.", 200),
        "per_minute" => ("Calls in one minute of the clock.", 60),
        "per_hour" => ("Calls in one hour of the clock.", 600),
        _ => ("Calls of one tool with the same arguments in one minute: breaks loops.", 5),
    };
    Key { name, required, about, shape: count(LIMIT_MAX, example) }
}

/// A number with a unit, `2s`: one pattern for each unit, so that a schema knows the maximum too.
fn quantity(units: &[(&'static str, u32)], max: u32, example: &str) -> Shape {
    let most = |factor: u32| max.checked_div(factor).unwrap_or(max);
    let patterns = units.iter().map(|&(unit, factor)| format!("(?:{}){unit}", up_to(most(factor))));
    let says = units.iter().map(|&(unit, factor)| format!("`{}{unit}`", most(factor)));
    let says = says.collect::<Vec<_>>().join(", ");
    let pattern = patterns.collect::<Vec<_>>().join("|");
    let schema = json!({ "type": "string", "pattern": format!("^(?:{pattern})$") });
    leaf(format!("a whole number and its unit, at most {says}"), schema, example)
}

/// A time that may also be none.
fn none_or(shape: Shape) -> Shape {
    let Shape::Leaf { says, mut schema, example } = shape else { return shape };
    if let Some(Value::String(pattern)) = schema.get_mut("pattern") {
        *pattern = format!("{pattern}|^0s$");
    }
    Shape::Leaf { says: format!("{says}, or `0s`"), schema, example }
}

/// A regular expression for the whole numbers from 1 to `max`.
fn up_to(max: u32) -> String {
    let digits = max.to_string();
    let mut forms = vec![digits.clone()];
    for (at, digit) in digits.bytes().enumerate() {
        let above = digits.get(..at).unwrap_or_default();
        let rest = digits.len().saturating_sub(at).saturating_sub(1);
        let first = if at == 0 { b'1' } else { b'0' };
        if digit > first {
            let (first, last) = (char::from(first), char::from(digit.saturating_sub(1)));
            forms.push(format!("{above}[{first}-{last}][0-9]{{{rest}}}"));
        }
        if at == 0 && rest > 0 {
            forms.push(format!("[1-9][0-9]{{0,{}}}", rest.saturating_sub(1)));
        }
    }
    forms.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pattern_for_numbers_up_to_a_maximum_takes_exactly_those(max in 1u32..20_000, number in 0u32..30_000) {
            let schema = json!({ "pattern": format!("^(?:{})$", up_to(max)) });
            let taken = jsonschema::is_valid(&schema, &json!(number.to_string()));
            prop_assert_eq!(taken, (1..=max).contains(&number));
        }
    }
}
