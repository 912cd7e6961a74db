//! What comes out of a posture that has nothing wrong with it.

use crate::codes::{USED, asks};
use crate::folder::{Company, NOW, SYSTEM};
use countersign_core::id::{ActorId, Digest, SystemName, Timestamp, ToolName};
use countersign_core::ladder::{
    Affects, Approvers, Budget, Check, DecisionPoint, Expected, Ladder, Per, Summed,
};
use countersign_core::principal::CallerRef;
use countersign_core::quota::{Limits, Window};
use countersign_core::scope::{ArgumentPath, LookUp, Query, ScopeRule};
use countersign_core::tool::{
    Effect, Flow, Holds, Method, Plan, Reads, ResultBounds, Rung, Sends, Tool,
};
use countersign_posture::bound::FILES_MAX;
use countersign_posture::{
    Algorithm, Backend, Code, Encryption, Environment, Loaded, Reference, link,
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

pub(crate) fn loaded(company: &Company) -> Loaded {
    let (loaded, findings) = company.posture();
    assert!(findings.is_empty(), "{findings:?}");
    loaded.unwrap()
}

/// The decision digests of the one agent, by tool.
pub(crate) fn decisions(company: &Company) -> BTreeMap<String, Digest> {
    let posture = loaded(company).posture;
    let agent = &posture.agents[&ActorId::new("support-copilot").unwrap()];
    agent.grants.iter().map(|(tool, grant)| (tool.to_string(), grant.decision_digest)).collect()
}

#[test]
fn a_tool_arrives_closed_bound_and_bounded() {
    let loaded = loaded(&Company::new());
    let agent = &loaded.posture.agents[&ActorId::new("support-copilot").unwrap()];
    let tool = &agent.grants[&ToolName::new("get_account_usage").unwrap()].tool;
    assert_eq!(
        json!(tool.input),
        json!({
            "type": "object",
            "properties": {
                "account_id": { "type": "string", "enum": ["acct_alpha", "acct_bravo"] },
                "days": {
                    "type": "integer", "minimum": 1, "maximum": 365,
                    "description": "How many days back.",
                },
            },
            "required": ["account_id", "days"],
            "additionalProperties": false,
        })
    );
    assert_eq!(tool.effect, Effect::Read);
    let Plan::Sql(plan) = &tool.plan else { panic!("a statement") };
    let parameters = plan.parameters.iter().map(|p| (p.name.as_str(), p.optional));
    let expected = [("account_id", false), ("tenant", false), ("days", false)];
    assert_eq!(parameters.collect::<Vec<_>>(), expected);
    assert_eq!(plan.timeout_ms, 2_000);
    assert_eq!(plan.bounds, ResultBounds { rows_max: 100, bytes_max: 65_536 });
    let [ScopeRule::Equals { path, caller }, ScopeRule::Bind { name, caller: bound }] =
        tool.scope.as_slice()
    else {
        panic!("{:?}", tool.scope)
    };
    assert_eq!((path.to_string().as_str(), name.as_str()), ("account_id", "tenant"));
    assert_eq!((caller, bound), (&CallerRef::Tenant, &CallerRef::Tenant));
    assert!(tool.schema.issues(&json!({"account_id": "acct_alpha", "days": 3})).is_empty());
}

#[test]
fn a_nested_input_is_closed_at_every_level() {
    let loaded = loaded(&Company::new());
    let agent = &loaded.posture.agents[&ActorId::new("support-copilot").unwrap()];
    let tool = &agent.grants[&ToolName::new("list_parcels").unwrap()].tool;
    assert_eq!(
        tool.input["properties"]["parcels"],
        json!({
            "type": "array",
            "maxItems": 5,
            "items": {
                "type": "object",
                "properties": {
                    "id": { "type": "string", "pattern": "^par_[0-9]{6}$" },
                    "depot": { "type": "string", "pattern": "^[A-Z]{3}$" },
                    "weight": { "type": "number", "minimum": 0, "maximum": 1.5 },
                },
                "required": ["depot", "id"],
                "additionalProperties": false,
            },
        })
    );
    assert_eq!(tool.input["required"], json!(["depot", "parcels"]));
    let Plan::Sql(plan) = &tool.plan else { panic!("a statement") };
    let parameters = plan.parameters.iter().map(|p| (p.name.as_str(), p.optional));
    let expected = [("depot", false), ("express", true), ("parcels", false)];
    assert_eq!(parameters.collect::<Vec<_>>(), expected);
    assert_eq!(plan.bounds.rows_max, 200);
}

#[test]
fn an_agents_limits_are_the_postures_where_it_says_nothing() {
    let loaded = loaded(&Company::new());
    let agent = &loaded.posture.agents[&ActorId::new("support-copilot").unwrap()];
    let limits = |per_session, per_minute, per_hour, identical_per_minute| Limits {
        per_session,
        per_minute,
        per_hour,
        identical_per_minute,
    };
    assert_eq!(agent.limits, limits(Some(40), Some(60), Some(600), Some(5)));
    let company = Company::new();
    let own = "per_session: 1, per_minute: 2, per_hour: 3, identical_per_minute: 4";
    company.edit("posture/agents/support-copilot.yaml", "per_session: 40", own);
    let strict = self::loaded(&company);
    let strict = &strict.posture.agents[&ActorId::new("support-copilot").unwrap()];
    assert_eq!(strict.limits, limits(Some(1), Some(2), Some(3), Some(4)));
    assert_eq!(loaded.posture.tenant_limits, limits(None, Some(600), Some(6_000), None));
    let grant = |tool| &agent.grants[&ToolName::new(tool).unwrap()];
    assert_eq!(grant("get_account_usage").limits, Limits::default());
    assert_eq!(grant("get_account_usage").tool.limits, limits(None, Some(10), None, None));
    assert_eq!(grant("list_parcels").limits, limits(None, Some(7), None, None));
}

#[test]
fn systems_claims_and_the_register_come_along() {
    let loaded = loaded(&Company::new());
    assert_eq!(loaded.organisation, "Acme Freight");
    let system = &loaded.systems[&SystemName::new("freight-db").unwrap()];
    assert_eq!(system.backend, Backend::Sqlite { database: "freight-db".to_owned() });
    assert_eq!((system.timeout_ms, system.concurrency), (2_000, 2));
    assert_eq!(loaded.claims.tenant, "/tenant");
    assert_eq!(loaded.claims.session.as_deref(), Some("/sid"));
    assert_eq!(loaded.claims.attributes["depots"], "/depots");
    let [entry] = loaded.register.as_slice() else { panic!("one agent") };
    assert_eq!(entry.agent.as_str(), "support-copilot");
    assert_eq!(entry.contact, "custops-oncall@acme.example");
}

/// The ladder of the tool for usage, whose effect is replaced by `text`.
fn ladder(text: &str) -> Ladder {
    let company = Company::new();
    company.edit("posture/tools/get_account_usage.yaml", "effect: read", text);
    tool(&loaded(&company), "get_account_usage").ladder.clone()
}

pub(crate) fn tool<'a>(loaded: &'a Loaded, name: &str) -> &'a Tool {
    let agent = &loaded.posture.agents[&ActorId::new("support-copilot").unwrap()];
    &agent.grants[&ToolName::new(name).unwrap()].tool
}

#[test]
fn a_gate_names_people_or_a_group_what_will_happen_and_how_long_a_draft_waits() {
    let gate = |rest: &str| {
        let text = format!("effect: persistent\ngate: {{ approvers: {rest} }}");
        ladder(&text).gate.unwrap()
    };
    let named = gate("{ named: [Sam@acme.example, lee@acme.example] }, expires: 4h, summary: s");
    let people = ["lee@acme.example", "sam@acme.example"].map(str::to_owned);
    assert_eq!(named.approvers, Approvers::Named(people.into()));
    assert_eq!((named.expires_s, named.preview, named.decision), (14_400, None, None));
    let group = gate(
        "{ group: support, subject: true }, expires: 1d, summary: \"Of {account_id} for {tenant}\", preview: select day from usage where tenant = :tenant",
    );
    let approvers = Approvers::Group { group: "support".to_owned(), subject: true };
    assert_eq!((group.approvers, group.expires_s), (approvers, 86_400));
    let arguments = json!({"account_id": "acct_alpha", "tenant": "t", "days": 3});
    assert_eq!(group.summary.with(arguments.as_object().unwrap()), "Of acct_alpha for t");
    let preview = group.preview.unwrap();
    assert_eq!(preview.system.as_str(), "freight-db");
    assert_eq!((preview.plan.parameters.len(), preview.plan.bounds.rows_max), (1, 20));
    assert_eq!(
        tool(&loaded(&Company::new()), "get_account_usage").ladder,
        Ladder::at(Rung::new(1))
    );
}

#[test]
fn a_decision_point_is_a_system() {
    let company = Company::new();
    company.write(
        "posture/systems/pdp.yaml",
        "system: pdp\nhttp: { origin: pdp }\ntimeout: 1s\nrows: 1\nbytes: 4KiB\n",
    );
    let gate = "effect: persistent\ngate: { approvers: { group: g }, expires: 1d, summary: s, decision: { system: pdp, path: /access/v1/evaluation, timeout: 500ms } }";
    company.edit("posture/tools/get_account_usage.yaml", "effect: read", gate);
    let loaded = loaded(&company);
    let gate = tool(&loaded, "get_account_usage").ladder.gate.clone().unwrap();
    let decision = DecisionPoint {
        system: SystemName::new("pdp").unwrap(),
        path: ["access", "v1", "evaluation"].map(str::to_owned).into(),
        timeout_ms: 500,
    };
    assert_eq!(gate.decision, Some(decision));
}

#[test]
fn a_tool_stands_on_the_companys_step_or_its_own_and_below_only_for_a_time() {
    let steps = "ladder: { owner: ciso@acme.example, reversible: 3 }\nlimits: { per_session";
    let step = |steps: &str, text: &str| {
        let company = Company::new();
        company.edit("posture/posture.yaml", "limits: { per_session", steps);
        company.edit("posture/tools/get_account_usage.yaml", "effect: read", text);
        let loaded = loaded(&company);
        tool(&loaded, "get_account_usage").ladder.rung.number()
    };
    let own = "limits: { per_session";
    let check = "check: select 1 where a = :tenant";
    let gate = "gate: { approvers: { named: [a@b] }, expires: 1d, summary: s }";
    assert_eq!(step(own, &format!("effect: reversible\n{check}")), 2);
    assert_eq!(step(steps, &format!("effect: reversible\n{gate}")), 3);
    assert_eq!(step(own, &format!("effect: reversible\nrung: 4\n{gate}")), 4);
    assert_eq!(step(steps, "effect: read"), 1);
    let excepted = ladder(&format!(
        "effect: irreversible\n{check}\n{gate}\nexception: {{ rung: 2, reason: Only the sandbox., reviewed_by: ciso@acme.example, expires: 2027-01-31 }}"
    ));
    let ends = Timestamp::from_secs(1_801_353_600); // 2027-01-31T00:00:00Z
    let before = Timestamp::from_micros(ends.micros() - 1);
    assert_eq!((excepted.rung(before).number(), excepted.rung(ends).number()), (2, 4));
    let exception = excepted.exception.unwrap();
    assert_eq!((exception.reason.as_str(), exception.expires), ("Only the sandbox.", ends));
}

#[test]
fn a_check_an_undo_and_budgets_arrive_as_plans_and_sums() {
    let sql = ladder(
        "effect: reversible\ncheck: select units = :days from usage where tenant = :tenant\naffects: { max: 3 }\nbudget: { days: 100 per day per tenant, rows: 7 per hour per agent }",
    );
    let Some(Check::Sql(plan)) = &sql.check else { panic!("a statement") };
    let parameters: Vec<_> = plan.parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!((parameters, plan.bounds.rows_max), (vec!["days", "tenant"], 1));
    assert_eq!(sql.affects, Affects { min: 1, max: 3 });
    let days = Summed::Argument(ArgumentPath::parse("days").unwrap());
    let budget = |of, max, window, per| Budget { of, max, window, per };
    let budgets = [
        budget(days, 100, Window::Day, Per::Tenant),
        budget(Summed::Rows, 7, Window::Hour, Per::Agent),
    ];
    assert_eq!(sql.budgets, budgets);
    let company = Company::new();
    company.edit(
        "posture/tools/get_account_usage.yaml",
        "effect: read",
        "effect: reversible\ncheck: { get: \"/usage/{tenant}\", expect: { /days: \"{days}\", /done: true } }\nundo: { post: \"/usage/{tenant}/undo\", body: { days: \"{days}\" } }",
    );
    asks(&company, "  put: \"/usage/{tenant}/{account_id}/{days}\"\n");
    let loaded = loaded(&company);
    let ladder = &tool(&loaded, "get_account_usage").ladder;
    let Some(Check::Http { read, expect }) = &ladder.check else { panic!("a request") };
    assert_eq!((read.method, read.timeout_ms), (Method::Get, 2_000));
    let expected = [
        ("/days".to_owned(), Expected::Argument("days".to_owned())),
        ("/done".to_owned(), Expected::Literal(json!(true))),
    ];
    assert_eq!(*expect, expected);
    let Some(Plan::Http(undo)) = ladder.undo.as_deref() else { panic!("a request") };
    assert_eq!((undo.method, undo.path.len()), (Method::Post, 3));
}

#[test]
fn a_secret_is_told_without_showing_it() {
    let company = Company::new();
    let (path, secret) = ("posture/systems/freight-db.yaml", "postgres://ann:hunter2@db");
    company.edit(path, "rows: 200", &format!("rows: none # {secret}"));
    let findings = company.posture().1;
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert!(!finding.place.source.text().contains("hunter2"), "{finding}");
        assert_eq!(finding.position().0, 4);
    }
}

#[test]
fn the_postures_digest_covers_every_file_and_nothing_beside() {
    let digest = |change: &dyn Fn(&Company)| {
        let company = Company::new();
        change(&company);
        loaded(&company).posture.digest
    };
    let before = digest(&|_| {});
    assert_eq!(before, digest(&|_| {}));
    assert_eq!(before, digest(&|c| c.write("posture/README.md", "Other words.")));
    assert_eq!(before, digest(&|c| c.edit("countersign.yaml", "statement_logs: logs", "")));
    let files = [
        "posture.yaml",
        "agents/support-copilot.yaml",
        "tools/get_account_usage.yaml",
        "tools/list_parcels.yaml",
        "systems/freight-db.yaml",
    ];
    for file in files {
        let changed = digest(&|company| {
            let path = company.path(&format!("posture/{file}"));
            fs::write(&path, fs::read_to_string(&path).unwrap() + "# a remark\n").unwrap();
        });
        assert_ne!(before, changed, "{file}");
    }
}

#[test]
fn a_decision_digest_changes_with_what_governs_it_and_with_nothing_else() {
    let company = Company::new();
    let before = decisions(&company);
    let changed = |path: &str, from: &str, to: &str| {
        let company = Company::new();
        company.edit(path, from, to);
        let after = decisions(&company);
        before.keys().filter(|&tool| before[tool] != after[tool]).cloned().collect::<Vec<_>>()
    };
    let (agent, tools) = ("posture/agents/support-copilot.yaml", "posture/tools");
    let (usage, parcels) = ("get_account_usage", "list_parcels");
    assert_eq!(changed(agent, "Answers account questions.", "Other."), [""; 0]);
    assert_eq!(changed(agent, "per_session: 40", "per_session: 41"), [""; 0]);
    assert_eq!(changed(agent, "Usage questions are most tickets.", "Because."), [usage]);
    assert_eq!(changed(agent, "per_minute: 7", "per_minute: 8"), [parcels]);
    assert_eq!(changed(&format!("{tools}/{usage}.yaml"), "365", "366"), [usage]);
    assert_eq!(
        changed(&format!("{tools}/{parcels}.yaml"), "maxItems: 5", "maxItems: 6"),
        [parcels]
    );
    let labelled = "effect: read\nflow: { reads: trusted }";
    assert_eq!(changed(&format!("{tools}/{usage}.yaml"), "effect: read", labelled), [usage]);
    let both = [usage, parcels];
    assert_eq!(changed("posture/systems/freight-db.yaml", "timeout: 2s", "timeout: 3s"), both);
    let main = "posture/posture.yaml";
    assert_eq!(changed(main, "session: /sid", "session: /session"), both);
    // Another team's edit.
    assert_eq!(changed(main, "Acme Freight", "Acme"), [""; 0]);
    assert_eq!(changed(main, "per_session: 200", "per_session: 100"), [""; 0]);
}

#[test]
fn a_decision_digest_covers_all_that_the_ladder_asks_of_a_tool() {
    const TOOL: &str = "effect: persistent
gate:
  approvers: { group: support }
  expires: 4h
  summary: It changes.
  preview: { sql: select 1 from a where b = :tenant, system: other-db }
  decision: { system: pdp, path: /a, timeout: 2s }
check: select 1 where a = :tenant
affects: { max: 2 }
budget: { days: 100 per day per tenant }";
    const STEPS: &str = "ladder: { owner: ciso@acme.example, reversible: 2 }\n";
    let other = SYSTEM.replace("freight-db", "other-db");
    let pdp = "system: pdp\nhttp: { origin: pdp }\ntimeout: 1s\nrows: 1\nbytes: 4KiB\n";
    let of = |edit: &dyn Fn(&Company)| {
        let company = Company::new();
        company.write("posture/systems/other-db.yaml", &other);
        company.write("posture/systems/pdp.yaml", pdp);
        company.edit("posture/tools/get_account_usage.yaml", "effect: read", TOOL);
        company.edit(
            "posture/posture.yaml",
            "limits: { per_s",
            &format!("{STEPS}limits: {{ per_s"),
        );
        edit(&company);
        decisions(&company)
    };
    let before = of(&|_| {});
    let changed = |path: &str, from: &str, to: &str| {
        let after = of(&|company| company.edit(path, from, to));
        before.keys().filter(|&tool| before[tool] != after[tool]).cloned().collect::<Vec<_>>()
    };
    let usage = ["get_account_usage"];
    for (from, to) in [
        ("group: support", "group: sales"),
        ("expires: 4h", "expires: 5h"),
        ("It changes.", "It is changed."),
        ("select 1 from a", "select 2 from a"),
        ("path: /a", "path: /b"),
        ("check: select 1", "check: select 2"),
        ("max: 2", "max: 3"),
        ("100 per day", "200 per day"),
        ("effect: persistent", "effect: persistent\nrung: 3"),
    ] {
        assert_eq!(changed("posture/tools/get_account_usage.yaml", from, to), usage, "{from}");
    }
    assert_eq!(changed("posture/systems/other-db.yaml", "timeout: 2s", "timeout: 3s"), usage);
    assert_eq!(changed("posture/systems/pdp.yaml", "timeout: 1s", "timeout: 2s"), usage);
    let main = "posture/posture.yaml";
    let group = |company: &Company| {
        let (named, tool) = ("named: [a@b]", "posture/tools/get_account_usage.yaml");
        company.edit(tool, "group: support", named);
        company.edit(tool, "  decision: { system: pdp, path: /a, timeout: 2s }\n", "");
    };
    let named = of(&group);
    let raised = of(&|company| {
        group(company);
        company.edit(main, "reversible: 2", "persistent: 4");
    });
    assert_ne!(named["get_account_usage"], raised["get_account_usage"]);
    assert_eq!(named["list_parcels"], raised["list_parcels"]);
    // The step of another effect, and its owner.
    assert_eq!(changed(main, "reversible: 2", "reversible: 3"), [""; 0]);
    assert_eq!(changed(main, "ciso@acme.example", "cto@acme.example"), [""; 0]);
}

#[test]
fn a_deployment_arrives_as_written() {
    let company = Company::new();
    let (deployment, findings) = company.deployment();
    assert!(findings.is_empty());
    let deployment = deployment.unwrap();
    assert_eq!(deployment.base, company.path(""));
    assert_eq!(deployment.posture, Path::new("posture"));
    assert_eq!(deployment.environment, Environment::Development);
    assert!(deployment.listen.ip().is_loopback());
    assert_eq!(deployment.allowed_hosts, ["gateway.acme.example"]);
    let [issuer] = deployment.issuers.as_slice() else { panic!("one issuer") };
    assert_eq!(issuer.audiences, ["https://countersign.acme.example"]);
    assert_eq!(issuer.algorithms, [Algorithm::Es256]);
    assert!(deployment.development_issuer);
    assert_eq!(deployment.store.signing_key, Path::new("state/journal.key"));
    assert_eq!(deployment.statement_logs.as_deref(), Some(Path::new("logs")));
}

#[test]
fn an_issuers_audience_is_the_public_url_unless_it_says_otherwise() {
    let company = Company::new();
    let audience = r#" audience: "https://countersign.acme.example","#;
    company.edit("countersign.yaml", audience, "");
    let (deployment, _) = company.deployment();
    assert_eq!(
        deployment.unwrap().issuers[0].audiences,
        ["http://127.0.0.1:8787", "http://127.0.0.1:8787/mcp"]
    );
}

#[test]
fn references_resolve_from_where_they_say_and_never_show_their_value() {
    let company = Company::new();
    company.write("secret", "line\r\n");
    company.write("blank", "\n");
    company.edit(
        "countersign.yaml",
        "references:",
        "references:\n  e: { env: HELD }\n  u: { env: UNSET }\n  f: { file: secret }\n  m: { file: missing }\n  b: { file: blank }",
    );
    let (deployment, _) = company.deployment();
    let deployment = deployment.unwrap();
    let env = |name: &str| (name == "HELD").then(|| "held".to_owned());
    let resolved = |name: &str| {
        let value = deployment.references[name].resolve(&deployment.base, &env);
        value.map(|value| value.expose_secret().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(resolved("freight-db").as_deref(), Ok("data/freight.db"));
    assert_eq!(resolved("e").as_deref(), Ok("held"));
    assert_eq!(resolved("f").as_deref(), Ok("line"));
    assert_eq!(resolved("u").unwrap_err(), "the environment variable `UNSET` is not set");
    assert!(resolved("m").unwrap_err().contains("cannot be read"));
    assert_eq!(resolved("b").unwrap_err(), "the value is empty");
    assert!(matches!(deployment.references["freight-db"], Reference::Value(_)));
    assert!(!format!("{deployment:?}").contains("data/freight.db"));
}

#[test]
fn a_reference_that_nobody_resolves_is_shown_where_the_system_asks_for_it() {
    let company = Company::new();
    company.edit("countersign.yaml", "freight-db: {", "freight_db: {");
    let (deployment, _) = company.deployment();
    let findings = link(&deployment.unwrap(), &loaded(&company), NOW);
    let [unused, unknown] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((unused.code, unknown.code), (Code::UnusedReference, Code::UnknownReference));
    assert_eq!(unused.place.source.path(), "countersign.yaml");
    assert_eq!(unknown.place.source.path(), "systems/freight-db.yaml");
    assert_eq!(unknown.position(), (2, 21));
    assert_eq!(unknown.help.as_deref(), Some("did you mean `freight_db`?"));
}

#[test]
fn a_mistake_in_a_statement_is_shown_at_its_place() {
    let company = Company::new();
    company.edit("posture/tools/get_account_usage.yaml", "limit :days", "limit :days + :dayz");
    let (_, findings) = company.posture();
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(finding.place.text(), ":dayz");
    assert_eq!(finding.help.as_deref(), Some("did you mean `days`?"));
}

#[test]
fn a_file_that_is_no_file_is_not_waited_for() {
    let company = Company::new();
    let pipe = company.path("posture/tools/pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (loaded, findings) = company.posture();
    assert!(loaded.is_none());
    assert_eq!(findings[0].code, Code::Unreadable);
}

#[test]
fn a_posture_of_too_many_files_is_refused() {
    let company = Company::new();
    for number in 0..=FILES_MAX {
        fs::File::create(company.path(&format!("posture/tools/.{number}"))).unwrap();
    }
    let (loaded, findings) = company.posture();
    assert!(loaded.is_none());
    assert!(findings.iter().any(|finding| finding.code == Code::TooLarge));
}

#[test]
fn two_thousand_tools_for_two_hundred_agents_load() {
    let company = Company::new();
    let tool = fs::read_to_string(company.path("posture/tools/get_account_usage.yaml")).unwrap();
    let agent = fs::read_to_string(company.path("posture/agents/support-copilot.yaml")).unwrap();
    for number in 0..2_000 {
        let text = tool.replace("get_account_usage", &format!("tool_{number}"));
        let text = text.replace("one account", &format!("account {number}"));
        company.write(&format!("posture/tools/tool_{number}.yaml"), text);
    }
    for number in 0..200 {
        let mut text = agent.replace("support-copilot", &format!("agent_{number}"));
        text.truncate(text.find("limits: { per_session").unwrap());
        for grant in 0..100 {
            let tool = (number * 10 + grant) % 2_000;
            writeln!(text, "  - {{ tool: tool_{tool}, reason: Number {grant}. }}").unwrap();
        }
        company.write(&format!("posture/agents/agent_{number}.yaml"), text);
    }
    let loaded = loaded(&company);
    assert_eq!(loaded.posture.agents.len(), 201);
    let agent = &loaded.posture.agents[&ActorId::new("agent_7").unwrap()];
    assert_eq!(agent.grants.len(), 102);
}

/// A tool whose identifier carries no tenant, and whose rows do.
const ORDER: &str = r#"tool: get_order
description: One order.
effect: read
input:
  order_id: { type: string, pattern: "^ord_[0-9]{6}$" }
  boxes: { type: array, maxItems: 32, items: { type: integer, minimum: 1, maximum: 9 } }
  depot: { type: string, pattern: "^[A-Z]{3}$" }
scope:
  tenant: { bind: caller.tenant }
  order_id: { owned: { sql: select 1 from orders where id = :order_id and account_id = :tenant } }
  boxes[]: { owned: { sql: select 1 from boxes where id = :value and account_id = :tenant, system: boxes-db, cache: 30s } }
  depot: { allowed: { sql: select code from depots where account_id = :tenant } }
result: { account_id: caller.tenant, depot: caller.depots }
call:
  system: freight-db
  sql: select account_id, depot, state from orders where id = :order_id and depot = :depot and box in (:boxes)
"#;

#[test]
fn what_systems_have_to_confirm_comes_with_its_system_statement_and_bounds() {
    let company = Company::new();
    company.write("posture/tools/get_order.yaml", ORDER);
    company.write("posture/systems/boxes-db.yaml", SYSTEM.replace("freight-db", "boxes-db"));
    company.edit("posture/systems/boxes-db.yaml", "timeout: 2s", "timeout: 1s");
    company.edit(
        "posture/agents/support-copilot.yaml",
        "grants:\n",
        "grants:\n  - { tool: get_order, reason: asked for }\n",
    );
    company.edit("countersign.yaml", "references:\n", "references:\n  boxes-db: { env: BOXES }\n");
    let loaded = loaded(&company);
    let agent = loaded.posture.agents.values().next().unwrap();
    let tool = &agent.grants.iter().find(|(name, _)| name.as_str() == "get_order").unwrap().1.tool;
    let look_ups = tool.look_ups.iter().map(|look_up| {
        let LookUp { path, asks, query } = &**look_up;
        let Query { system, plan, cached_ms } = &**query;
        let names = plan.parameters.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(" ");
        let rows = plan.bounds.rows_max;
        format!("{path} {asks:?} {system} {names} {} ms {rows} rows {cached_ms:?}", plan.timeout_ms)
    });
    assert_eq!(
        look_ups.collect::<Vec<_>>(),
        [
            "order_id Owned freight-db order_id tenant 2000 ms 1 rows None",
            "boxes[] Owned boxes-db value tenant 1000 ms 1 rows Some(30000)",
            "depot Allowed freight-db tenant 2000 ms 1000 rows None",
        ]
    );
    let result: Vec<_> =
        tool.result.iter().map(|rule| (rule.column.as_str(), &rule.caller)).collect();
    let depots = CallerRef::Attribute("depots".to_owned());
    assert_eq!(result, [("account_id", &CallerRef::Tenant), ("depot", &depots)]);
    // What boxes-db is, is part of what an approval of such a call would be for.
    let before = decisions(&company)["get_order"];
    company.edit("posture/systems/boxes-db.yaml", "timeout: 1s", "timeout: 3s");
    assert_ne!(decisions(&company)["get_order"], before);
}

#[test]
fn placeholders_of_postgresql_are_numbers() {
    let company = Company::new();
    company.edit(
        "posture/systems/freight-db.yaml",
        "sqlite: { database: freight-db }",
        "postgres: { connection: freight-db, tenant_setting: acme.account, tls: verify-full, shared: [depots] }",
    );
    let loaded = loaded(&company);
    let expected = Backend::Postgres {
        connection: "freight-db".to_owned(),
        tenant_setting: "acme.account".to_owned(),
        shared: ["depots".to_owned()].into(),
        encryption: Some(Encryption::VerifyFull),
        authorities: None,
    };
    assert_eq!(loaded.systems.values().next().unwrap().backend, expected);
    let agent = loaded.posture.agents.values().next().unwrap();
    let tool = &agent.grants[&ToolName::new("get_account_usage").unwrap()].tool;
    let Plan::Sql(plan) = &tool.plan else { panic!("a statement") };
    let says = "select day, units from usage where account_id = $1 and tenant = $2 limit $3";
    assert_eq!(plan.statement, says);
    let names: Vec<_> = plan.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["account_id", "tenant", "days"]);
}

#[test]
fn cases_are_no_part_of_what_is_enforced() {
    let company = Company::new();
    let before = (loaded(&company).posture.digest, decisions(&company));
    company.edit("posture/evals/usage.yaml", "days: 3", "days: 4");
    company.write("posture/evals/others.yaml", "suite: others\n");
    assert_eq!((loaded(&company).posture.digest, decisions(&company)), before);
}

/// The labels of the tool for usage, whose file says this of them.
fn flow(company: &Company, said: &str) -> Flow {
    company.edit(
        "posture/tools/get_account_usage.yaml",
        "effect: read",
        &format!("effect: read{said}"),
    );
    let posture = company.posture().0.unwrap().posture;
    let mut grants = posture.agents.values().flat_map(|agent| &agent.grants);
    grants.find(|(name, _)| name.as_str() == "get_account_usage").unwrap().1.tool.flow
}

#[test]
fn what_is_not_said_to_flow_through_a_tool_is_the_strictest() {
    let unsaid = Flow { sends: Sends::Internal, ..Flow::STRICTEST };
    assert_eq!(flow(&Company::new(), ""), unsaid);
    assert_eq!(
        flow(&Company::new(), "\nflow: { reads: trusted }"),
        Flow { reads: Reads::Trusted, ..unsaid }
    );
    let all = "\nflow: { reads: internal, holds: public, sends: nowhere }";
    let said = Flow { reads: Reads::Internal, holds: Holds::Public, sends: Sends::Nowhere };
    assert_eq!(flow(&Company::new(), all), said);
    let api = Company::new();
    asks(&api, &format!("  get: /usage\n{USED}"));
    assert_eq!(flow(&api, ""), Flow::STRICTEST, "whose an API is, the posture does not know");
}
