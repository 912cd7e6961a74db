//! A company on disk that has nothing wrong with it, to be broken one edit at a time.

use countersign_core::id::Timestamp;
use countersign_posture::evals::load_evals;
use countersign_posture::{Deployment, Finding, Loaded, link, load_deployment, load_posture};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

pub(crate) const POSTURE: &str = r#"organisation: Acme Freight
identity:
  claims: { subject: /sub, actor: /client_id, tenant: /tenant, session: /sid, person: /sub, agent_build: /agent_build, model: /model }
  attributes: { depots: /depots }
limits: { per_session: 200, per_minute: 60, per_hour: 600, identical_per_minute: 5 }
tenant_limits: { per_minute: 600, per_hour: 6000 }
"#;

pub(crate) const AGENT: &str = r#"agent: support-copilot
purpose: Answers account questions.
owner: { team: customer-operations, contact: custops-oncall@acme.example }
identity: { client_id: support-copilot, issuer: "https://login.acme.example" }
vendor: meridian
stage: production
grants:
  - { tool: get_account_usage, reason: "Usage questions are most tickets." }
  - tool: list_parcels
    reason: Tickets ask where parcels are.
    reviewed_by: security@acme.example
    reviewed_on: 2026-11-20
    limits: { per_minute: 7 }
limits: { per_session: 40 }
"#;

pub(crate) const USAGE: &str = r#"tool: get_account_usage
description: Daily usage of one account.
effect: read
input:
  account_id: { type: string, enum: [acct_alpha, acct_bravo] }
  days: { type: integer, minimum: 1, maximum: 365, description: "How many days back." }
scope:
  account_id: { equals: caller.tenant }
  tenant: { bind: caller.tenant }
limits: { per_minute: 10 }
call:
  system: freight-db
  sql: select day, units from usage where account_id = :account_id and tenant = :tenant limit :days
  rows: 100
"#;

pub(crate) const PARCELS: &str = r#"tool: list_parcels
description: Where parcels are.
effect: read
input:
  depot: { type: string, pattern: "^[A-Z]{3}$" }
  parcels:
    type: array
    maxItems: 5
    items:
      type: object
      properties:
        id: { type: string, pattern: "^par_[0-9]{6}$", public: "Only parcels of the depot are found." }
        depot: { type: string, pattern: "^[A-Z]{3}$" }
        weight: { type: number, minimum: 0, maximum: 1.5, optional: true }
  express: { type: boolean, optional: true }
scope:
  depot: { in: caller.depots }
  parcels[].depot: { in: caller.depots }
call:
  system: freight-db
  sql: |
    -- where they are: :nobody
    select id, place from parcels
    where depot = :depot and express = :express and id in (select value from json_each(:parcels));
"#;

pub(crate) const SYSTEM: &str = "system: freight-db
sqlite: { database: freight-db }
timeout: 2s
rows: 200
bytes: 64KiB
concurrency: 2
";

pub(crate) const VENDOR: &str = r#"vendor: meridian
legal_name: Meridian Models Ltd
product: Meridian API
service: model_api
owner: { team: platform, contact: platform@acme.example }
purpose: The agents' model.
data:
  classes: [internal, confidential]
  training: { default: never }
  retention: { prompts: 30 days }
  regions: { processing: [EU] }
assessment:
  decision: approve
  approver: ciso@acme.example
  assessed_at: 2026-11-16
  review_by: 2027-11-16
  evidence: [{ url: "https://meridian.example/terms", retrieved_at: 2026-11-09 }]
"#;

pub(crate) const EVALS: &str = r#"suite: usage
caller: { agent: support-copilot, tenant: acct_alpha }
cases:
  - case: own-usage
    shows: Usage questions are answered.
    kind: normal
    script:
      - { call: get_account_usage, arguments: { account_id: acct_alpha, days: 3 }, as: usage, expect: completed }
"#;

pub(crate) const DEPLOYMENT: &str = r#"posture: posture
environment: development
listen: 127.0.0.1:8787
public_url: http://127.0.0.1:8787
allowed_hosts: [gateway.acme.example]
allowed_origins: []
issuers:
  - { issuer: "https://login.acme.example", audience: "https://countersign.acme.example", keys: issuer-keys.json, algorithms: [ES256] }
development_issuer: true
people:
  issuer: "https://login.acme.example"
  audience: countersign-people
  client_id: countersign-people
  claims: { person: /sub, address: /email, groups: /groups, tenants: /tenants }
  roles: { operator: [operators] }
  all_tenants: [operators]
store: { sqlite: state/journal.db, signing_key: state/journal.key }
exporters: [{ name: siem, file: siem.jsonl }]
notify: [{ name: room, webhook: { url: hook, template: slack }, alerts: true }]
sign_off:
  roles: [security, owner]
  evidence: [check]
  change: required
  reviewers:
    - { name: sec@acme.example, roles: [security, owner], key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti" }
    - { name: own@acme.example, roles: [owner], key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHE1Vd9VaJL2u6QbNt2//5tgN4BH1gAJHBo7w096Ee+V" }
references:
  freight-db: { value: data/freight.db }
  hook: { env: HOOK }
statement_logs: logs
"#;

/// 2026-11-22, when these files are read.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);

/// A temporary folder with `posture/` and `countersign.yaml`.
#[derive(Debug)]
pub(crate) struct Company(TempDir);

impl Company {
    pub(crate) fn new() -> Self {
        let company = Self(TempDir::new().unwrap());
        for folder in ["agents", "tools", "systems"] {
            fs::create_dir_all(company.path(&format!("posture/{folder}"))).unwrap();
        }
        company.write("posture/posture.yaml", POSTURE);
        company.write("posture/agents/support-copilot.yaml", AGENT);
        company.write("posture/tools/get_account_usage.yaml", USAGE);
        company.write("posture/tools/list_parcels.yaml", PARCELS);
        company.write("posture/systems/freight-db.yaml", SYSTEM);
        company.write("posture/vendors/meridian.yaml", VENDOR);
        company.write("posture/evals/usage.yaml", EVALS);
        company.write("posture/README.md", "For people.\n");
        company.write("posture/tools/.draft.yaml.swp", "an editor's");
        company.write("countersign.yaml", DEPLOYMENT);
        company
    }

    /// A copy of the posture and deployment in a folder.
    pub(crate) fn of(folder: &Path) -> Self {
        let company = Self(TempDir::new().unwrap());
        for inner in [
            "",
            "posture",
            "posture/agents",
            "posture/tools",
            "posture/systems",
            "posture/vendors",
            "posture/evals",
        ] {
            fs::create_dir_all(company.path(inner)).unwrap();
            for entry in fs::read_dir(folder.join(inner)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    let name = path.file_name().unwrap();
                    fs::copy(&path, company.path(inner).join(name)).unwrap();
                }
            }
        }
        company
    }

    /// Its YAML files.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = vec!["countersign.yaml".to_owned()];
        for folder in [
            "posture/",
            "posture/agents/",
            "posture/tools/",
            "posture/systems/",
            "posture/vendors/",
            "posture/evals/",
        ] {
            let Ok(entries) = fs::read_dir(self.path(folder)) else { continue };
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let ours = names.filter(|name| name.ends_with(".yaml") && !name.starts_with('.'));
            files.extend(ours.map(|name| format!("{folder}{name}")));
        }
        files.sort();
        files
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.text(path);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {path}");
        self.write(path, text.replace(from, to));
    }

    pub(crate) fn posture(&self) -> (Option<Loaded>, Vec<Finding>) {
        load_posture(&self.path("posture"))
    }

    pub(crate) fn deployment(&self) -> (Option<Deployment>, Vec<Finding>) {
        load_deployment(&self.path("countersign.yaml"))
    }

    /// All that is wrong, with posture, deployment and both together.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let (loaded, mut findings) = self.posture();
        findings.extend(load_evals(&self.path("posture"), loaded.as_ref()).1);
        let (deployment, more) = self.deployment();
        findings.extend(more);
        if let (Some(deployment), Some(loaded)) = (deployment, loaded) {
            findings.extend(link(&deployment, &loaded, NOW));
        }
        findings
    }
}
