//! One run tells everything: a folder with some forty mistakes in it, as a reader sees them.

use crate::folder::Company;
use std::fmt::Write as _;

#[test]
fn one_run_tells_all_mistakes() {
    let company = Company::new();
    for (path, text) in BROKEN {
        company.write(path, text);
    }
    let mut report = String::new();
    for finding in company.findings() {
        writeln!(report, "{finding}").unwrap();
        writeln!(report, "    {}", finding.place.text().lines().next().unwrap_or_default())
            .unwrap();
    }
    insta::assert_snapshot!(report);
}

pub(crate) const BROKEN: &[(&str, &str)] = &[
    (
        "posture/posture.yaml",
        r"organization: Acme Freight
identity:
  claims: { subject: sub, actor: /client_id, tenants: /tenant }
  attributes: { depots: /depots, actor: /act }
limits: { per_session: 0, per_minute: 060, identical_per_minute: many }
tenant_limits: { per_minute: 600, per_session: 9 }
",
    ),
    (
        "posture/agents/support-copilot.yaml",
        r#"agent: support_copilot
purpose:
owner: customer-operations
identity: { client_id: support-copilot, client_id: other }
grants:
  - { tool: get_account_usages, reason: "Usage questions are most tickets." }
  - { tool: list_parcels }
  - { tool: list_parcels, reason: twice, reviewed_on: yesterday }
  - { tool: "list parcels", reason: blank }
limits: { per_session: 4e1, per_second: 1 }
retired_on: 2027-05-01
"#,
    ),
    (
        "posture/agents/second.yaml",
        r"agent: second
purpose: &purpose Does as the first.
owner: { team: no, contact: yes }
identity: { client_id: support-copilot }
grants: []
",
    ),
    (
        "posture/tools/get_account_usage.yaml",
        r#"tool: get_account_usage
description: Daily usage of one account.
effect: write
input:
  account_id: { type: string }
  days: { type: integer, minimum: 400, maximum: 365 }
  account-name: { type: text, maxLength: 20 }
  tags: { type: array, items: { type: string, pattern: "(a)\\1" } }
  note: { type: string, maxLenght: 200, contentEncoding: base64 }
scope:
  acount_id: { equals: caller.tenant }
  days: { equals: caller.tenant, in: caller.depots }
  tenant: { bind: caller.tenent }
call:
  system: freightdb
  sql: select day from usage where account_id = :account_id and x = ? and y = :dys
  rows: 0
"#,
    ),
    (
        "posture/tools/list_parcels.yaml",
        r"tool: list_parcels
description: Where parcels are.
effect: read
input:
  depot: { type: string, pattern: par, optional: true }
scope:
  depot: { in: caller.depots }
call:
  system: freight-db
  sql: update parcels set seen = 1; select 1
",
    ),
    (
        "posture/systems/freight-db.yaml",
        "system: freight-db\nsqlite: { database: freight db }\ntimeout: 2 seconds\nrows: 1000000\nbytes: 64KB\n",
    ),
    ("posture/systems/empty.yaml", ""),
    ("posture/systems/notes.txt", ""),
    (
        "countersign.yaml",
        r"posture: posture
environment: production
listen: 0.0.0.0:8787
public_url: http://127.0.0.1:8787/gateway
issuers:
  - { issuer: https://login.acme.example, algorithms: [none] }
development_issuer: true
store: { sqlite: state/journal.db }
references:
  freight-db: { value: data/freight.db, env: FREIGHT }
",
    ),
];
