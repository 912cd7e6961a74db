//! Schemas and decoder driven with the same files: what one takes and the other refuses is a
//! mistake in one of them, unless it is beyond a schema.

use crate::codes::{CHANGES, EDITS};
use crate::folder::Company;
use crate::mistakes::BROKEN;
use countersign_posture::evals::load_evals;
use countersign_posture::file_schema::{BEYOND, FileKind, reference};
use countersign_posture::{Code, Finding, Severity};
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{cell::RefCell, fs};

static VALIDATORS: LazyLock<BTreeMap<&str, Validator>> = LazyLock::new(|| {
    let one = |kind: FileKind| (kind.as_str(), jsonschema::validator_for(&kind.schema()).unwrap());
    FileKind::ALL.map(one).into()
});

/// The kind of a file of the company, by its path.
fn kind(path: &str) -> FileKind {
    match path.split('/').nth(1) {
        None => FileKind::Deployment,
        Some("agents") => FileKind::Agent,
        Some("tools") => FileKind::Tool,
        Some("systems") => FileKind::System,
        Some("vendors") => FileKind::Vendor,
        Some("evals") => FileKind::Eval,
        Some(_) => FileKind::Posture,
    }
}

/// A file as an editor reads it: by another reader than ours. `None` if it is not plain data.
fn value(text: &str) -> Option<Value> {
    let [document] = <[_; 1]>::try_from(Yaml::load_from_str(text).ok()?).ok()?;
    plain(&document)
}

fn plain(node: &Yaml<'_>) -> Option<Value> {
    Some(match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(items) => items.iter().map(plain).collect::<Option<_>>()?,
        Yaml::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| Some((plain(key)?.as_str()?.to_owned(), plain(value)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// Whether it is about the file and its YAML, not about the data in it, which an editor's reader may
/// see otherwise than ours.
fn of_the_text(finding: &Finding) -> bool {
    const CODES: [Code; 12] = [
        Code::Unreadable,
        Code::UnexpectedFile,
        Code::SymlinkEscape,
        Code::TooLarge,
        Code::NotUtf8,
        Code::EmptyFile,
        Code::YamlSyntax,
        Code::YamlFeature,
        Code::YamlDepth,
        Code::DuplicateKey,
        Code::AmbiguousScalar,
        Code::HiddenCharacter,
    ];
    CODES.contains(&finding.code)
}

fn beyond(finding: &Finding) -> bool {
    BEYOND.iter().any(|(code, part, _)| *code == finding.code && finding.message.contains(part))
}

/// How schema and decoder disagree about a file.
fn disagreement(path: &str, value: &Value, findings: &[Finding]) -> Option<String> {
    let file = path.strip_prefix("posture/").unwrap_or(path);
    let errors = findings.iter().filter(|finding| finding.severity() == Severity::Error);
    let errors: Vec<_> = errors.filter(|finding| finding.place.source.path() == file).collect();
    if errors.iter().any(|finding| of_the_text(finding)) {
        return None;
    }
    let validator = &VALIDATORS[kind(path).as_str()];
    let refused: Vec<_> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    let told: Vec<_> = errors.iter().filter(|finding| !beyond(finding)).collect();
    match (refused.is_empty(), errors.is_empty()) {
        (false, true) => Some(format!("only the schema refuses {path}: {refused:?}\n{value:#}")),
        (true, false) if !told.is_empty() => {
            Some(format!("only the decoder refuses {path}: {}\n{value:#}", told[0]))
        }
        _ => None,
    }
}

/// Every file of a company that is there.
fn disagreements(company: &Company, what: &str) -> Vec<String> {
    let findings = company.findings();
    let files = company.files();
    let seen = files.iter().filter_map(|path| {
        let text = fs::read_to_string(company.path(path)).ok()?;
        let found = disagreement(path, &value(&text)?, &findings)?;
        Some(format!("{what}: {found}"))
    });
    seen.collect()
}

/// Files that use every key there is.
const FULL: &[(&str, &str)] = &[
    (
        "posture/posture.yaml",
        "organisation: Acme Freight
identity:
  claims: { subject: /sub, actor: [/client_id], tenant: /tenant, session: /sid, person: /oid, scopes: /scp, agent_build: /b, model: /m }
  attributes: { depots: /depots }
ladder: { owner: ciso@acme.example, read: 1, reversible: 2, persistent: 3, irreversible: 4 }
profile: mid-market
reviews: { on_expiry: warn, warn: 14d }
limits: { per_session: 200, per_minute: 60, per_hour: 600, identical_per_minute: 5 }
tenant_limits: { per_minute: 600, per_hour: 6000 }
",
    ),
    (
        "posture/tools/get_account_usage.yaml",
        r#"tool: get_account_usage
description: Daily usage of one account.
effect: irreversible
flow: { reads: internal, holds: public, sends: external }
rung: 4
exception: { rung: 2, reason: Only the sandbox., reviewed_by: security@acme.example, expires: 2027-12-31 }
gate:
  approvers: { named: [ann@acme.example, bob@acme.example] }
  expires: 4h
  summary: "Take the usage of {account_id} for {tenant} out"
  preview: { sql: select a from x where a = :tenant, system: freight-db }
  escalate: { after: 1h, to: { named: [cy@acme.example] } }
  delegates: [pat@acme.example]
check: { sql: "select count(*) = 0 from x where a = :tenant" }
affects: { max: 20, min: 0 }
budget: { days: 100 per day per tenant, "ints[]": 7 per hour per agent }
input:
  ints: { type: array, maxItems: 3, items: { type: integer, enum: [0, 1] } }
  account_id: { type: string, enum: [a, b], minLength: 1, maxLength: 9, pattern: "^[ab]$", text: false, description: "Whose." }
  kind: { type: string, const: x, optional: true }
  id: { type: string, pattern: "^[0-9]+$", minLength: 1, maxLength: 9, public: "Printed on every parcel." , text: false }
  note: { type: string, text: true, minLength: 1, maxLength: 200, pattern: "^.*$", optional: true }
  days: { type: integer, minimum: 1, maximum: 365, optional: true }
  unit: { type: integer, enum: [1, 2], const: 1 }
  share: { type: number, minimum: 0, maximum: 1.5, enum: [0.5, 1], const: 0.5 }
  flag: { type: boolean, enum: [true], const: true }
  tags: { type: array, minItems: 1, maxItems: 3, uniqueItems: true, items: { type: string, enum: [a], description: "A tag." } }
  rows: { type: array, maxItems: 3, items: { type: array, maxItems: 3, items: { type: object, properties: { n: { type: boolean, optional: true } } } } }
scope:
  account_id: { equals: caller.tenant }
  rows[][].n: { in: caller.depots }
  id: { owned: { sql: select 1 where :value = :tenant, system: freight-db, cache: 30s } }
  tags[]: { allowed: { sql: select a where b = :tenant, system: freight-db, cache: 1m } }
  tenant: { bind: caller.tenant }
result: { account_id: caller.tenant }
public: Nobody knows why this is public.
limits: { per_session: 1, per_minute: 2, per_hour: 3, identical_per_minute: 4 }
call: { system: freight-db, sql: "delete from x where a = :tenant", rows: 100 }
"#,
    ),
    (
        "posture/tools/list_parcels.yaml",
        "tool: list_parcels
description: Where parcels are.
effect: persistent
gate:
  approvers: { group: leads, subject: true }
  expires: 30d
  summary: Parcels go.
  preview: select a from parcels where tenant = :tenant
  decision: { system: crm, path: /access/v1/evaluation, timeout: 2s }
  escalate: { after: 1d, to: { group: heads } }
check: select count(*) = 0 from parcels where tenant = :tenant
input: {}
scope: { tenant: { bind: caller.tenant } }
call: { system: freight-db, sql: update parcels set a = 1 where tenant = :tenant }
",
    ),
    (
        "posture/vendors/meridian.yaml",
        r#"vendor: meridian
legal_name: Meridian Models Ltd
product: Meridian API
service: model_api
role: processor
owner: { team: platform, contact: platform@acme.example }
purpose: The model.
models: [a, b]
deployment: shared
data:
  classes: [public, internal, confidential]
  personal: names
  tenant_separation: by account
  training: { default: never, contractual: true, evidence_url: u, checked_at: 2026-11-09 }
  retention: { prompts: a, outputs: b, logs: c, abuse_monitoring: d, zero_retention: { eligible: true, approved: false, scope: s, exceptions: e } }
  human_review: nobody
  regions: { processing: [EU], storage: [EU], transfer: none }
  subprocessors: { list_url: u, list_sha256: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", notice_days: 30, checked_at: 2026-11-09 }
  encryption: e
  deletion: d
security:
  certifications: [{ name: n, scope: s, issuer: i, valid_until: 2027-06-30, report: r }]
  penetration_test: 2026-05-01
  bug_bounty: b
  sign_in: s
  authentication: a
  audit_export: a
  incident_notice_hours: 48
  service_level: s
  status_page: s
ai: { card_url: c, red_team: r, injection_defences: i, output_filtering: o, change_notice: c, indemnity: i, usage_limits: u }
contract: { dpa: { version: "3.1", date: 2026-10-01 }, terms: t, ai_addendum: a, liability: l, audit_right: a, exit_plan: e }
supply_chain: { package: p, version: "1.2", sha256: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", publisher: p, registry_verified: true, transport: stdio, definitions_sha256: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", scopes: [a], sandbox: s }
assessment:
  method: ai_caiq
  answers: a
  findings: [{ finding: f, severity: low, owner: o, due: 2027-02-28 }]
  risk: medium
  decision: conditional
  conditions: [{ condition: c, met_on: 2026-11-12, accepted_by: a }]
  approver: ciso@acme.example
  assessed_at: 2026-11-16
  review_by: 2027-11-16
  evidence: [{ url: u, file: f, sha256: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", retrieved_at: 2026-11-09 }]
"#,
    ),
    (
        "posture/systems/ledger-db.yaml",
        "system: ledger-db
vendor: [meridian]
postgres: { connection: a, tenant_setting: acme.account, tls: verify-full, ca: b, shared: [depots, ref.towns] }
timeout: 2s
rows: 1
bytes: 1KiB
concurrency: 1
",
    ),
    (
        "posture/systems/crm.yaml",
        "system: crm
http:
  origin: crm
  auth: { header: { name: X-Api-Key, value: a } }
  networks: [10.1.0.0/16, \"fd00:1::/32\"]
  plaintext: false
timeout: 1s
rows: 50
bytes: 64KiB
",
    ),
    (
        "posture/systems/crm-2.yaml",
        "system: crm-2
http: { origin: crm, auth: { basic: { user: a, password: b } } }
timeout: 1s
rows: 50
bytes: 64KiB
",
    ),
    (
        "posture/systems/crm-3.yaml",
        "system: crm-3
http: { origin: crm, auth: { bearer: a } }
timeout: 1s
rows: 50
bytes: 64KiB
",
    ),
    (
        "posture/tools/list_contacts.yaml",
        r#"tool: list_contacts
description: People to speak to.
effect: read
input:
  kind: { type: string, enum: [a, b] }
  limit: { type: integer, minimum: 1, maximum: 9, optional: true }
  tags: { type: array, maxItems: 3, items: { type: string, enum: [a] }, optional: true }
scope: { tenant: { bind: caller.tenant } }
call:
  system: crm
  post: "/v2/accounts/{tenant}/contacts:search"
  query: { limit: "{limit}", fixed: 7, on: true }
  headers: { X-Kind: "{kind}", X-Fixed: 1.5 }
  body: { tags: "{tags}", list: [1, null, "x"] }
  result: /items
  pick: { name: /name }
  statuses: { "404": empty, "410": empty, "204": empty }
  rows: 10
"#,
    ),
    (
        "posture/tools/get_contact.yaml",
        r#"tool: get_contact
description: One person to speak to.
effect: read
input: {}
scope: { tenant: { bind: caller.tenant } }
call: { system: crm-2, get: "/v2/contacts/{tenant}" }
"#,
    ),
    (
        "posture/tools/put_contact.yaml",
        r#"tool: put_contact
description: Writes one person down.
effect: reversible
check:
  get: "/v2/contacts/{tenant}"
  query: { a: b }
  headers: { X-Kind: a }
  result: /items
  pick: { name: /name }
  statuses: { "404": empty, "410": empty, "204": empty }
  expect: { /name: "{tenant}", /on: true, /no: 1.5, /none: null }
undo: { post: "/v2/contacts/{tenant}/undo", query: { a: b }, headers: { X-Kind: a }, body: { a: 1 }, result: /items, pick: { name: /name }, statuses: { "404": empty, "410": empty, "204": empty } }
input: {}
scope: { tenant: { bind: caller.tenant } }
call: { system: crm-2, put: "/v2/contacts/{tenant}", body: "{tenant}" }
"#,
    ),
    (
        "posture/tools/patch_contact.yaml",
        r#"tool: patch_contact
description: Changes what is written of one person.
effect: reversible
check: { get: "/v2/contacts/{tenant}", expect: { /a: b } }
undo: { put: "/v2/contacts/{tenant}" }
input: {}
scope: { tenant: { bind: caller.tenant } }
call: { system: crm-2, patch: "/v2/contacts/{tenant}" }
"#,
    ),
    (
        "posture/tools/delete_contact.yaml",
        r#"tool: delete_contact
description: Takes one person out.
effect: irreversible
gate: { approvers: { named: [ann@acme.example] }, expires: 4h, summary: One person less. }
undo: { patch: "/v2/contacts/{tenant}" }
check: { get: "/v2/contacts/{tenant}", expect: { /a: b } }
input: {}
scope: { tenant: { bind: caller.tenant } }
call: { system: crm-3, delete: "/v2/contacts/{tenant}" }
"#,
    ),
    (
        "posture/systems/mail.yaml",
        r#"system: mail
email:
  server: a
  encryption: starttls
  auth: { basic: { user: a, password: b } }
  ca: b
  from: { address: help@acme.example, name: Acme }
  reply_to: desk@acme.example
  domains: [acme.example]
  networks: [10.1.0.0/16]
timeout: 10s
rows: 1
bytes: 4KiB
"#,
    ),
    (
        "posture/tools/send_mail.yaml",
        r#"tool: send_mail
description: Writes to people.
effect: irreversible
gate: { approvers: { named: [ann@acme.example] }, expires: 4h, summary: "Write to {to}" }
budget: { recipients: 20 per day per tenant }
input:
  to: { type: array, maxItems: 16, items: { type: string, format: email, maxLength: 99, minLength: 3, pattern: "^.*$", text: false } }
  cause: { type: string, format: email, public: "Only named in the text.", optional: true }
scope:
  tenant: { bind: caller.tenant }
  to[]: { domains: [acme.example] }
call: { system: mail, to: "{to}", subject: "Of {tenant}", text: "Hello {cause}." }
"#,
    ),
    (
        "posture/systems/tracker.yaml",
        "system: tracker
mcp: { origin: a, path: /v1/mcp, auth: { bearer: a }, networks: [10.1.0.0/16], plaintext: false, recheck: 0s, shared: Each answer rests on its request. }
timeout: 10s
rows: 1
bytes: 4KiB
",
    ),
    (
        "posture/systems/files.yaml",
        "system: files
mcp: { program: a, arguments: [--stdio, b c], environment: { TOKEN: b }, user: a, recheck: 5m }
timeout: 10s
rows: 1
bytes: 4KiB
",
    ),
    (
        "posture/tools/find_issues.yaml",
        r#"tool: find_issues
description: What is still to be done.
effect: read
offer: tool
input: { words: { type: string, enum: [a] } }
scope: { tenant: { bind: caller.tenant } }
call: { system: tracker, tool: search, arguments: { q: "{words}", t: ["{tenant}", 7, null, { a: true }] }, result: /items, pick: { id: /id }, errors: nothing_done, rows: 10 }
"#,
    ),
    (
        "posture/tools/page.yaml",
        r#"tool: page
description: One page of the manual.
effect: read
offer: resource
public: The manual is on the website.
input: { page: { type: string, enum: [a] } }
call: { system: tracker, resource: "docs://{page}" }
"#,
    ),
    (
        "posture/tools/retrospect.yaml",
        r#"tool: retrospect
description: How to look back on a week.
effect: read
offer: prompt
public: The questions are the same for everybody.
input: { week: { type: string, enum: [a] } }
call: { system: tracker, prompt: retro, arguments: { week: "{week}", lang: en } }
"#,
    ),
    (
        "posture/evals/usage.yaml",
        r#"suite: usage
about: What is asked of usage.
caller: { agent: support-copilot, tenant: acct_alpha, user: ann, session: s, claims: { depots: [HAM] }, scopes: [a], token: valid }
answers:
  - { system: crm, method: POST, path: /a, query: { b: c }, status: 404, body: { a: [1] }, takes: 2s }
equivalents:
  - { mutant: One, because: Nobody could tell. }
cases:
  - case: own-usage
    shows: Usage questions are answered.
    kind: injection
    door: mcp
    message: How much?
    caller: { tenant: acct_alpha }
    plants:
      - { tool: get_account_usage, arguments: { days: 3 }, text: Obey. }
    goal: { sees: [acct_bravo] }
    script:
      - { call: get_account_usage, arguments: { days: "{n}" }, as: usage, times: 2, expect: completed, rows: 1, caller: { tenant: b } }
      - { approve: usage, by: { person: sam@acme.example, groups: [a], tenants: [b], signed_in: 10m }, expect: executed }
      - { reject: usage, by: { person: sam }, reason: No., expect: rejected }
      - { fail: freight-db }
      - { lose: freight-db }
      - { stand_in: kim@acme.example, by: { person: sam@acme.example }, expect: completed }
      - { wait: 2s }
    expect: { executed: { get_account_usage: 1 }, never: [list_parcels], contains: [a], lacks: [b], asked: 1, drafts: 0, alerts: [], changed: { freight-db.usage: 0 } }
  - case: gets-it
    shows: It is not paid.
    kind: approval
    goal: { does: list_parcels, with: { a: 1 } }
"#,
    ),
    (
        "countersign.yaml",
        r#"posture: posture
environment: production
listen: "[::1]:8787"
public_url: https://countersign.acme.example
tls: { terminated_by: the ingress }
allowed_hosts: [gateway.acme.example]
allowed_origins: [https://console.acme.example]
issuers:
  - { issuer: "https://login.acme.example", audience: a, keys: k.json, algorithms: [ES256, RS256, EdDSA], tenant: a, tenants: [a, b], require_at_jwt: true, discovery: false }
  - { issuer: "https://other.acme.example", jwks_url: "https://other.acme.example/keys", algorithms: [ES256] }
development_issuer: false
people:
  issuer: "https://login.acme.example"
  audience: countersign-people
  client_id: countersign-people
  scopes: [openid, email]
  claims: { person: /sub, address: /email, address_verified: /email_verified, groups: /groups, tenants: /tenants }
  roles: { operator: [operators], auditor: [auditors], viewer: [support] }
  all_tenants: [operators]
sign_off:
  roles: [security]
  evidence: [check, prove, eval, mutate]
  change: optional
  staging: { runs: 0, days: 3 }
  reviewers:
    - { name: sec@acme.example, roles: [security, owner], key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti" }
store: { sqlite: state/journal.db, signing_key: state/journal.key }
exporters:
  - { name: siem, file: state/journal.jsonl }
  - { name: pipe, stdout: true }
alerts:
  out_of_scope: { enabled: true, window: 10m, threshold: 10, cool_down: 1h }
  call_spike: { enabled: true, window: 5m, threshold: 4, cool_down: 1d }
  outside_approval_flow: { enabled: true, window: 1s, threshold: 1, cool_down: 1s }
  unknown_tool: { enabled: false, window: 7d, threshold: 1000, cool_down: 7d }
  outcome_unknown: { enabled: true, window: 1m, threshold: 1, cool_down: 1m }
  draft_expired: { enabled: true, window: 1m, threshold: 1, cool_down: 1m }
  foreign_rows: { enabled: true, window: 1m, threshold: 1, cool_down: 1m }
notify:
  - { name: room, webhook: { url: a, template: slack }, drafts: true, alerts: true, tenants: [a, b], remind: 1h }
  - name: desk
    email:
      server: a
      encryption: tls
      auth: { basic: { user: a, password: b } }
      ca: b
      from: { address: help@acme.example, name: Acme }
      reply_to: desk@acme.example
      domains: [acme.example]
      networks: [10.1.0.0/16]
      to: [desk@acme.example]
    alerts: true
references:
  freight-db: { value: data/freight.db }
  a: { env: A }
  b: { file: b }
statement_logs: logs
"#,
    ),
];

fn full() -> Company {
    let company = Company::new();
    for (path, text) in FULL {
        company.write(path, text);
    }
    company
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn both_take_the_examples_and_what_init_writes() {
    for folder in ["examples/acme", "crates/countersign/src/command/init/template"] {
        let company = Company::of(&root().join(folder));
        assert_eq!(disagreements(&company, folder), Vec::<String>::new());
        for path in company.files() {
            let value = value(&company.text(&path)).unwrap();
            assert!(VALIDATORS[kind(&path).as_str()].is_valid(&value), "{path}");
        }
    }
}

#[test]
fn both_agree_on_every_mistake_and_its_mended_twin() {
    let mut found = Vec::new();
    let mut run = |what: &str, change: &dyn Fn(&Company)| {
        let company = Company::new();
        change(&company);
        found.extend(disagreements(&company, what));
    };
    for (code, path, from, broken, mended) in EDITS {
        run(code.as_str(), &|company| company.edit(path, from, broken));
        run(code.as_str(), &|company| company.edit(path, from, mended));
    }
    for (code, broken, mended) in CHANGES {
        run(code.as_str(), broken);
        run(code.as_str(), mended);
    }
    run("forty mistakes", &|company| {
        BROKEN.iter().for_each(|(path, text)| company.write(path, text));
    });
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

// ── keys ────────────────────────────────────────────────────────────────────────────────────────

/// The schemas that may hold for a place: what `$ref` and `anyOf` lead to.
fn spread<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str() {
        return spread(root, root.pointer(name.strip_prefix('#').unwrap()).unwrap());
    }
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    let forms = forms.flat_map(|form| spread(root, form));
    std::iter::once(schema).chain(forms).collect()
}

/// The keys that the schema knows at a place, of which `step` is one way in from above.
fn below<'a>(root: &'a Value, schemas: &[&'a Value], step: &str) -> Vec<&'a Value> {
    let inner = schemas.iter().flat_map(|schema| {
        let named = schema["properties"].get(step);
        let patterns = schema["patternProperties"].as_object().into_iter().flat_map(Map::values);
        named.into_iter().chain(patterns).chain(schema.get("items"))
    });
    inner.flat_map(|schema| spread(root, schema)).collect()
}

fn names(schemas: &[&Value]) -> BTreeSet<String> {
    let named = schemas.iter().filter_map(|schema| schema["properties"].as_object());
    named.flat_map(|named| named.keys().cloned()).collect()
}

/// JSON pointers to every mapping in a value.
fn mappings(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            found.push(at.to_owned());
            entries.iter().for_each(|(key, inner)| mappings(inner, &format!("{at}/{key}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| mappings(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// The keys that the decoder says it knows where it met one that it does not know.
fn known(findings: &[Finding]) -> Option<BTreeSet<String>> {
    let unknown = findings.iter().find(|f| f.message.contains("`zzzzzzzzzzzz`"));
    let keys = unknown?.help.as_ref()?.strip_prefix("the keys are ")?;
    Some(keys.split(", ").map(|key| key.trim_matches('`').to_owned()).collect())
}

#[test]
fn at_every_place_both_know_the_same_keys() {
    let mut seen = BTreeSet::new();
    for company in [full(), Company::new()] {
        for path in company.files() {
            let whole = value(&company.text(&path)).unwrap();
            let schema = kind(&path).schema();
            let mut places = Vec::new();
            mappings(&whole, "", &mut places);
            for place in places {
                let mut edited = whole.clone();
                edited.pointer_mut(&place).unwrap()["zzzzzzzzzzzz"] = Value::Null;
                company.write(&path, edited.to_string());
                let steps = place.split('/').skip(1);
                let schemas = steps
                    .fold(spread(&schema, &schema), |schemas, step| below(&schema, &schemas, step));
                let of_schema = names(&schemas);
                let Some(of_decoder) = known(&company.findings()) else {
                    // The author's own keys stand there.
                    assert_eq!(of_schema, BTreeSet::new(), "{path} {place}");
                    continue;
                };
                assert_eq!(of_schema, of_decoder, "{path} at `{place}`");
                seen.extend(of_schema.into_iter().map(|key| (kind(&path).as_str(), key)));
            }
            company.write(&path, whole.to_string());
        }
    }
    for kind in FileKind::ALL {
        for name in names(&inside(&kind.schema()).iter().collect::<Vec<_>>()) {
            assert!(seen.contains(&(kind.as_str(), name.clone())), "no test uses `{name}`");
        }
    }
}

/// A schema and all schemas in it.
fn inside(schema: &Value) -> Vec<Value> {
    let named = ["properties", "patternProperties", "$defs"];
    let named = named.iter().filter_map(|key| schema[key].as_object()).flat_map(Map::values);
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    let inner = named.chain(forms).chain(schema.get("items"));
    std::iter::once(schema.clone()).chain(inner.flat_map(inside)).collect()
}

// ── mutations ───────────────────────────────────────────────────────────────────────────────────

/// Texts on both sides of every rule.
const WORDS: &[&str] = &[
    "",
    " ",
    "a",
    "a b",
    "a\nb",
    "é",
    "a-b",
    "a.b",
    "1",
    "_",
    "read",
    "irreversible",
    "string",
    "integer",
    "object",
    "array",
    "ES256",
    "production",
    "caller.tenant",
    "caller.x-y",
    "caller.",
    "/a",
    "/",
    "/a~2",
    "/a/~01",
    "2s",
    "0s",
    "02s",
    "300s",
    "301s",
    "5m",
    "6m",
    "300000ms",
    "4h",
    "720h",
    "721h",
    "30d",
    "31d",
    "64KiB",
    "16MiB",
    "16777216B",
    "17MiB",
    "2026-11-20",
    "2026-13-01",
    "2026-02-30",
    "127.0.0.1:8787",
    "300.0.0.1:1",
    "[::1]:1",
    "localhost:1",
    "https://x",
    "https://x/",
    "ftp://x",
    "a@b",
    "a@b@c",
    "@",
    "^a$",
    "{kind}",
    "{limit}",
    "/a/{kind}",
    "/a/..",
    "10.0.0.0/8",
    "10.0.0.1/8",
    "0.0.0.0/0",
    "X-Key",
    "Host",
    "empty",
    "a[]",
    "a[].b",
    "Everybody may see it.",
];

/// What is put where something else stood.
fn anything() -> impl Strategy<Value = Value> {
    let edges = [1i64, 4, 64, 256, 300_000, 100_000, 1_000_000_000, 4_294_967_295];
    let edges = edges.into_iter().flat_map(|edge| [edge, edge + 1, -edge]);
    let number = select(edges.chain([0, 9_007_199_254_740_991, i64::MAX]).collect::<Vec<_>>());
    let long = (select(vec![63usize, 64, 65, 256, 257, 1_024, 1_025, 4_096, 4_097]), "[aé]")
        .prop_map(|(length, c)| json!(c.repeat(length)));
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        4 => number.prop_map(Value::from),
        1 => (-2.0..2.0f64).prop_map(|value| json!((value * 4.0).round() / 4.0)),
        12 => select(WORDS).prop_map(Value::from),
        2 => long,
        1 => Just(json!([])),
        1 => Just(json!({})),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from),
            (select(keys()), inner).prop_map(|(key, value)| json!({ key: value })),
        ]
    })
}

/// Every key of every schema, and some that none knows.
fn keys() -> Vec<String> {
    let schemas = FileKind::ALL.map(FileKind::schema);
    let schemas: Vec<_> = schemas.iter().flat_map(inside).collect();
    let unknown = ["unknown", "a-b", "1a", "a.b", "a[].b"].map(str::to_owned);
    names(&schemas.iter().collect::<Vec<_>>()).into_iter().chain(unknown).collect()
}

#[derive(Debug, Clone)]
enum Mutation {
    Drop(Index),
    Add(Index, String, Value),
    Replace(Index, Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        1 => any::<Index>().prop_map(Mutation::Drop),
        1 => (any::<Index>(), select(keys()), anything())
            .prop_map(|(at, key, value)| Mutation::Add(at, key, value)),
        3 => (any::<Index>(), anything()).prop_map(|(at, value)| Mutation::Replace(at, value)),
    ]
}

fn mutate(whole: &mut Value, mutation: &Mutation) {
    let mut pointers = Vec::new();
    every(whole, "", &mut pointers);
    let (Mutation::Drop(at) | Mutation::Add(at, ..) | Mutation::Replace(at, _)) = mutation;
    let place = whole.pointer_mut(at.get(&pointers).as_str()).unwrap();
    match (mutation, place) {
        (Mutation::Drop(at), Value::Object(entries)) if !entries.is_empty() => {
            let keys: Vec<_> = entries.keys().cloned().collect();
            entries.remove(at.get(&keys).as_str());
        }
        (Mutation::Add(_, key, value), Value::Object(entries)) => {
            entries.insert(key.clone(), value.clone());
        }
        (Mutation::Add(_, _, value), Value::Array(items)) => items.push(value.clone()),
        (Mutation::Replace(_, value) | Mutation::Add(_, _, value), place) => *place = value.clone(),
        (Mutation::Drop(_), place) => *place = Value::Null,
    }
}

/// A key as a JSON pointer writes it.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// JSON pointers to every value.
fn every(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(key, inner)| every(inner, &format!("{at}/{}", escaped(key)), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| every(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]
    #[test]
    fn both_agree_on_files_with_mistakes_of_any_shape(
        file in any::<Index>(),
        mutations in prop::collection::vec(mutation(), 1..3),
    ) {
        thread_local! {
            static COMPANIES: RefCell<[Company; 2]> = RefCell::new([full(), Company::new()]);
        }
        COMPANIES.with_borrow(|companies| {
            let files: Vec<_> = companies
                .iter()
                .flat_map(|company| company.files().into_iter().map(move |path| (company, path)))
                .collect();
            let (company, path) = file.get(&files);
            let text = company.text(path);
            let mut edited = value(&text).unwrap();
            mutations.iter().for_each(|mutation| mutate(&mut edited, mutation));
            company.write(path, edited.to_string());
            let findings = match kind(path) {
                FileKind::Deployment => company.deployment().1,
                FileKind::Eval => load_evals(&company.path("posture"), None).1,
                _ => company.posture().1,
            };
            company.write(path, text);
            let found = disagreement(path, &edited, &findings);
            prop_assert!(found.is_none(), "{}", found.unwrap_or_default());
            Ok(())
        })?;
    }
}

#[test]
fn the_reference_is_what_the_code_says() {
    let written = fs::read_to_string(root().join("docs/posture.md")).unwrap();
    assert!(
        written == reference(),
        "run `cargo run -- schema --markdown > docs/posture.md` and read what changed"
    );
}
