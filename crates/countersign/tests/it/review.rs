//! `countersign review` from the outside: what it shows of what is configured, that the same inputs give
//! the same bytes, that each number is what its command says, and that nothing of what others wrote
//! becomes anything but text.

use crate::evals::read;
use crate::gateway::{Company, Who};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// The day that most of these are of.
const DAY: &str = "2026-11-26";

/// The package as JSON.
fn package(company: &Company) -> Value {
    let asked = ["review", ".", "--format", "json", "--as-of", DAY];
    serde_json::from_str(&company.says(&asked)).unwrap()
}

/// A section's own text.
fn section<'p>(package: &'p Value, id: &str) -> &'p Value {
    let sections = package["sections"].as_array().unwrap();
    sections.iter().find(|section| section["id"] == id).unwrap_or_else(|| panic!("no {id}"))
}

fn states(package: &Value) -> BTreeMap<String, String> {
    let controls = package["threats"]["controls"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    controls.map(|control| (text(&control["id"]), text(&control["state"]))).collect()
}

/// Each threat's id, its verdict, its controls, and those that are not in force.
fn threats(package: &Value) -> Vec<(String, String, BTreeSet<String>, BTreeSet<String>)> {
    let catalogues = package["threats"]["catalogues"].as_array().unwrap();
    let all = catalogues.iter().flat_map(|catalogue| catalogue["threats"].as_array().unwrap());
    let texts = |value: &Value| {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|threat| {
        let (controls, open) = (texts(&threat["controls"]), texts(&threat["open"]));
        (text(&threat["id"]), text(&threat["verdict"]), controls, open)
    })
    .collect()
}

// ── the threat model ────────────────────────────────────────────────────────────────────────────

/// The example with everything in force that files can put in force.
fn guarded() -> Company {
    let company = Company::new();
    company.for_production();
    company.edit("countersign.yaml", |text| {
        let issuers = "issuers:\n  - { issuer: \"https://idp.acme.example\", audience: countersign, discovery: true, algorithms: [ES256] }\n";
        text.replace("development_issuer: true\n", issuers)
    });
    evidence(&company, "eval", held());
    company.signed();
    company
}

/// What the suite of the example says, run once for all that read it.
fn held() -> &'static str {
    static HELD: OnceLock<String> = OnceLock::new();
    HELD.get_or_init(|| {
        let ran = Company::new().run(&["eval", "run", ".", "--format", "json"]);
        String::from_utf8(ran.stdout).unwrap()
    })
}

/// Puts a report beside the posture.
fn evidence(company: &Company, name: &str, report: &str) {
    let folder = company.path().join("posture/evidence");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.json")), report).unwrap();
}

/// All files of a company's posture, and its deployment's.
fn written(company: &Company) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(company.path(), &company.path().join("posture"), &mut found);
    let deployment = fs::read_to_string(company.path().join("countersign.yaml")).unwrap();
    found.insert("countersign.yaml".to_owned(), deployment);
    found
}

/// Puts all of it back as it was.
fn put_back(company: &Company, files: &BTreeMap<String, String>) {
    fs::remove_dir_all(company.path().join("posture")).unwrap();
    for (name, text) in files {
        let path = company.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn without(company: &Company, file: &str, starts: &str) {
    company.edit(file, |text| {
        let kept = text.lines().filter(|line| !line.trim_start().starts_with(starts));
        kept.map(|line| format!("{line}\n")).collect()
    });
}

/// Drops a key at the top of a file with all that is indented below it.
fn without_block(company: &Company, file: &str, key: &str) {
    company.edit(file, |text| {
        let mut inside = false;
        let kept = text.lines().filter(|line| {
            inside = line.starts_with(key) || inside && line.starts_with(' ');
            !inside
        });
        kept.map(|line| format!("{line}\n")).collect()
    });
}

const REFUND: &str = "posture/tools/refund_invoice.yaml";
const EMAIL: &str = "posture/tools/send_customer_email.yaml";
const COPILOT: &str = "posture/agents/support-copilot.yaml";

/// A control, and how it is switched off by the files that people write.
type Switch = (&'static str, fn(&Company));

const SWITCHES: [Switch; 16] = [
    ("vendor-register", |company| {
        without(company, COPILOT, "vendor:");
        without(company, "posture/agents/dispatch-planner.yaml", "vendor:");
        without(company, "posture/systems/crm.yaml", "vendor:");
    }),
    ("reviewed-grants", |company| without(company, COPILOT, "reviewed_")),
    ("approval", |company| without_block(company, "countersign.yaml", "people:")),
    ("second-person", |company| {
        company.edit("posture/tools/change_billing_address.yaml", |text| {
            text.replace("{ group: support-leads }", "{ group: support-leads, subject: true }")
        });
    }),
    ("post-condition", |company| {
        without_block(company, REFUND, "check:");
        without_block(company, "posture/tools/change_billing_address.yaml", "check:");
    }),
    ("tenant-limits", |company| without(company, "posture/posture.yaml", "tenant_limits:")),
    ("budgets", |company| {
        without(company, REFUND, "budget:");
        without(company, EMAIL, "budget:");
    }),
    ("export", |company| without(company, "countersign.yaml", "exporters:")),
    ("alerts", |company| without(company, "countersign.yaml", "notify:")),
    ("encryption", |company| {
        company.edit("posture/systems/crm.yaml", |text| {
            text.replace("  networks:", "  plaintext: true\n  networks:")
        });
    }),
    ("server-isolation", |company| {
        fs::write(
            company.path().join("posture/systems/tracker.yaml"),
            "system: tracker\nmcp: { origin: crm, path: /mcp, networks: [127.0.0.1/32], shared: \"It keeps nothing.\" }\ntimeout: 5s\nrows: 1\nbytes: 4KiB\n",
        )
        .unwrap();
    }),
    ("evaluation", |company| {
        fs::remove_file(company.path().join("posture/evidence/eval.json")).unwrap();
    }),
    ("sign-off", |company| fs::remove_file(company.path().join("posture/posture.lock")).unwrap()),
    ("kill-switch", |company| {
        company.edit("countersign.yaml", |text| text.replace("operator: [operations], ", ""));
    }),
    ("credentials", |company| {
        company.edit("countersign.yaml", |text| {
            text.replace("crm-key: { file: state/crm.key }", "crm-key: { value: made-up }")
        });
    }),
    ("issuer", |company| {
        without(company, "countersign.yaml", "issuers:");
        without(company, "countersign.yaml", "- { issuer:");
        company.edit("countersign.yaml", |text| format!("development_issuer: true\n{text}"));
    }),
];

#[test]
fn each_control_that_is_switched_off_shows_its_threats_unmitigated() {
    let company = guarded();
    let files = written(&company);
    let base = package(&company);
    let in_force: BTreeSet<_> = states(&base)
        .into_iter()
        .filter(|(_, state)| state == "in force")
        .map(|(id, _)| id)
        .collect();
    // Tools are left to everybody one by one, each with a reason: tried below.
    let elsewhere = ["tenant-scope".to_owned()];
    // What leaves the machine is not seen here.
    assert_eq!(states(&base)["export"], "partly");
    let switched = SWITCHES.iter().map(|(control, _)| (*control).to_owned());
    let switched = switched.filter(|control| control != "export");
    assert_eq!(in_force, switched.chain(elsewhere).collect());
    for (control, switch) in SWITCHES {
        switch(&company);
        let seen = package(&company);
        assert_eq!(states(&seen)[control], "off", "{control}");
        let mut concerned = 0;
        let mut turned = 0;
        for (now, before) in threats(&seen).iter().zip(threats(&base)) {
            let (id, verdict, controls, open) = now;
            if !controls.contains(control) {
                continue;
            }
            concerned += 1;
            assert_eq!(verdict, "unmitigated", "{control}: {id}");
            assert!(open.contains(control), "{control}: {id}");
            let partly = control == "export";
            assert_eq!(before.3.contains(control), partly, "{control}: {id} was open before");
            turned += usize::from(before.1 == "mitigated");
        }
        assert!(concerned > 0, "{control} stands against nothing");
        // Those against which something else is lacking in every posture were unmitigated before.
        let always = ["server-isolation", "export"];
        assert!(turned > 0 || always.contains(&control), "{control} turned no threat");
        let what = seen["open"].to_string();
        assert!(what.contains("leaves open"), "{control}: {what}");
        put_back(&company, &files);
    }
    assert_eq!(package(&company), base, "all of it is as it was");
}

#[test]
fn what_no_file_can_switch_off_says_so_and_names_tests() {
    let seen = package(&guarded());
    let controls = seen["threats"]["controls"].as_array().unwrap();
    let fixed = controls.iter().filter(|control| control["state"] == "not switchable");
    let named = fixed.filter(|control| !control["tests"].as_array().unwrap().is_empty()).count();
    assert_eq!(named, 9, "{controls:#?}");
    // What is not built is never in force, and every package says so.
    assert_eq!(states(&seen)["session-taint"], "off");
}

#[test]
fn what_is_off_for_one_tool_is_off_in_part() {
    let company = guarded();
    company.edit(REFUND, |text| {
        let leave = "exception: { rung: 2, reason: \"Quarter end.\", reviewed_by: sec@acme.example, expires: 2027-01-31 }\n";
        format!("{text}{leave}").replacen("gate:", "gate:", 1)
    });
    let seen = package(&company);
    assert_eq!(states(&seen)["approval"], "partly");
    let exception = json!({
        "kind": "exception", "what": "refund_invoice stands on rung 2: Quarter end.",
        "place": "tools/refund_invoice.yaml", "owner": "sec@acme.example", "due": "2027-01-31",
    });
    assert!(seen["open"].as_array().unwrap().contains(&exception), "{:#}", seen["open"]);
    company.edit("posture/tools/list_invoices.yaml", |text| {
        let scope = "scope:\n  account_id: { equals: caller.tenant }\n";
        text.replace(scope, "public: \"Invoices are nobody's secret.\"\n")
    });
    let open = package(&company);
    assert_eq!(states(&open)["tenant-scope"], "partly");
    let crossing = threats(&open).into_iter().find(|(id, ..)| id == "LLM08").unwrap();
    assert_eq!(crossing.1, "partly mitigated");
    let later = company.says(&["review", ".", "--format", "json", "--as-of", "2027-02-01"]);
    let later: Value = serde_json::from_str(&later).unwrap();
    assert_eq!(states(&later)["approval"], "in force");
}

// ── the package ─────────────────────────────────────────────────────────────────────────────────

const FORMATS: [&str; 3] = ["html", "markdown", "json"];

#[test]
fn the_same_inputs_give_the_same_bytes_wherever_they_lie() {
    let company = Company::new();
    let whole = company.path().to_str().unwrap().to_owned();
    for format in FORMATS {
        let of = ["--format", format, "--as-of", DAY];
        let review =
            |at: &str, more: &[&str]| company.says(&[&["review", at], &of[..], more].concat());
        let once = review(".", &[]);
        assert_eq!(once, review(&whole, &[]));
        assert!(!once.contains(&whole), "{format}");
        assert!(once.contains(&format!("As of {DAY}")) || format == "html", "{format}");
        review(".", &["--out", "package"]);
        let out = fs::read_to_string(company.path().join("package")).unwrap();
        assert_eq!(out.trim_end(), once.trim_end());
    }
    // Nor where something is wrong with the journal, and a finding names a file.
    fs::remove_file(company.path().join("state/journal.key.head")).unwrap();
    let wrong = company.says(&["review", &whole, "--format", "markdown"]);
    assert!(wrong.contains("is not as the gateway wrote it") && !wrong.contains(&whole), "{wrong}");
}

/// What each section has to say of the example.
const FACTS: &[(&str, &[&str])] = &[
    ("agents", &["support-copilot", "custops-oncall@acme.example", "dispatch-planner"]),
    (
        "permissions",
        &[
            "refund_invoice",
            "amount_cents 100000 per day per tenant",
            "invoice_id owned by freight-db",
            "security@acme.example, 2026-11-20",
            "large-refunds",
            "Refunds above 200 euros are prepared by the finance team.",
            "context.input.amount_cents > 20000",
            "a minute (of the grant)",
            "each after a person agreed",
            "\\\"maximum\\\":50000",
            "list_vehicles",
        ],
    ),
    ("credentials", &["crm-key", "a file of its own"]),
    ("system", &["support-db", "telematics-db", "The issuer for development is on"]),
    (
        "flow",
        &[
            "read_ticket",
            "is not enforced",
            "[\"list_invoices\",\"trusted\",\"confidential\",\"nowhere\"]",
        ],
    ),
    ("unseen", &["goes around it", "model's prompt"]),
    (
        "gates",
        &[
            "lee@acme.example, sam@acme.example",
            "kim@acme.example",
            "the group support-leads",
            "operations",
            "sees every tenant",
        ],
    ),
    (
        "runbook",
        &[
            "countersign agents suspend support-copilot",
            "countersign switch off --tool refund_invoice",
            "countersign switch off --everything",
            "dispatch-lead@acme.example",
        ],
    ),
    ("signatures", &["Not signed"]),
    ("audit", &["0 findings in", "out_of_scope", "No exporter is named"]),
    ("retention", &["state/journal.db"]),
    ("frameworks", &["CC6.1", "A.6.2.8"]),
    ("threats", &["ASI10", "LLM01", "AML.T0051.001"]),
    ("evaluation", &["cross-tenant", "there is no evidence/eval.json"]),
    ("vendors", &["meridian-models", "default never", "the system crm", "covered"]),
    ("sbom", &["cedar-policy", "rusqlite"]),
    ("open", &["session taint", "ciso@acme.example"]),
    (
        "questions",
        &[
            "For you to answer",
            "Can one customer's data reach another?",
            "meridian-models: default never",
            "processing EU",
            "No: there is no evidence/eval.json",
        ],
    ),
];

#[test]
fn it_answers_the_five_parts_that_a_reviewer_asks_for() {
    let company = Company::new();
    let seen = package(&company);
    let parts = seen["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 5);
    let named = parts.iter().flat_map(|part| part["sections"].as_array().unwrap());
    let named: BTreeSet<_> = named.map(|id| id.as_str().unwrap()).collect();
    for section in seen["sections"].as_array().unwrap() {
        let id = section["id"].as_str().unwrap();
        assert!(id == "summary" || named.contains(id), "{id} is in no part");
        assert!(!section["blocks"].as_array().unwrap().is_empty(), "{id} is empty");
    }
    for id in named {
        section(&seen, id);
    }
    for (id, facts) in FACTS {
        let text = section(&seen, id).to_string().to_lowercase();
        for fact in *facts {
            assert!(text.contains(&fact.to_lowercase()), "{id} does not say {fact}");
        }
    }
}

#[test]
fn each_command_of_the_runbook_is_one_that_there_is() {
    let company = Company::new();
    let seen = package(&company);
    let runbook = section(&seen, "runbook");
    let lines = runbook["blocks"].as_array().unwrap().iter().filter_map(|b| b["code"].as_array());
    let lines: Vec<_> = lines.flatten().map(|line| line.as_str().unwrap()).collect();
    assert!(lines.len() > 10);
    for line in lines {
        let line = line.replace("\"…\"", "because").replace("TIME", "2026-11-23T00:00:00Z");
        let words: Vec<_> = line.split(' ').skip(1).chain(["--help"]).collect();
        // `--help` takes whatever stands before it that it knows.
        let output = company.run(&words);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
    }
}

/// Runs the command behind each figure of a package, which must say the same: what each of them said.
pub(crate) fn run_again(company: &Company, package: &Value) -> BTreeMap<String, Value> {
    let mut said: BTreeMap<String, Value> = BTreeMap::new();
    for figure in package["figures"].as_array().unwrap() {
        let command = figure["command"].as_array().unwrap().iter();
        let command: Vec<_> = command.map(|word| word.as_str().unwrap()).collect();
        let said = said
            .entry(command.join(" "))
            .or_insert_with(|| serde_json::from_slice(&company.run(&command).stdout).unwrap());
        let at = figure["at"].as_str().unwrap();
        assert_eq!(said.pointer(at), Some(&figure["value"]), "{figure}");
    }
    said
}

#[test]
fn each_figure_is_what_its_command_says() {
    let company = Company::new();
    let evidence = company.path().join("posture/evidence");
    fs::create_dir(&evidence).unwrap();
    let eval = ["eval", "run", ".", "--format", "json"];
    fs::write(evidence.join("eval.json"), &company.run(&eval).stdout).unwrap();
    let hijacked = [&eval[..], &["--agent", "hijacked"]].concat();
    fs::write(evidence.join("hijack.json"), &company.run(&hijacked).stdout).unwrap();
    let prove = ["posture", "prove", ".", "--format", "json"];
    fs::write(evidence.join("prove.json"), &company.run(&prove).stdout).unwrap();
    let seen = package(&company);
    run_again(&company, &seen);
    assert_eq!(seen["figures"].as_array().unwrap().len(), 12, "{:#}", seen["figures"]);
    let kinds = section(&seen, "evaluation").to_string();
    assert!(kinds.contains("cases that hold: 8"), "{kinds}");
}

#[test]
fn evidence_of_another_posture_is_named_and_its_figures_are_not_shown() {
    let company = Company::new();
    let evidence = company.path().join("posture/evidence");
    fs::create_dir(&evidence).unwrap();
    let other = "a".repeat(64);
    let report = json!({ "posture": other, "passed": 4711, "failed": 0, "cases": [] });
    fs::write(evidence.join("eval.json"), report.to_string()).unwrap();
    fs::write(evidence.join("mutate.json"), "{}").unwrap();
    let seen = package(&company);
    let text = seen.to_string();
    assert!(
        text.contains(&format!("evidence/eval.json is of another posture ({other})")),
        "{text}"
    );
    assert!(text.contains("evidence/mutate.json cannot be read"), "{text}");
    assert!(!text.contains("4711"));
}

#[test]
fn nothing_is_in_force_that_nobody_has_shown() {
    let company = guarded();
    let answer = |seen: &Value, id: &str| {
        let rows = section(seen, "questions")["blocks"][1]["rows"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row[0] == id).unwrap()[2].as_str().unwrap().to_owned()
    };
    // It held, and what an agent does that obeys whatever it reads was not tried.
    let seen = package(&company);
    assert_eq!(states(&seen)["evaluation"], "in force");
    let said = answer(&seen, "Q18");
    assert!(said.starts_with("In part.") && said.contains("evidence/hijack.json"), "{said}");
    assert!(section(&seen, "frameworks").to_string().contains("evidence/mutate.json (missing)"));
    // A case that fails, one that is missing, one that holds at times, and a report that contradicts itself
    // show nothing.
    let whole: Value = serde_json::from_str(held()).unwrap();
    let failing = |report: &mut Value| {
        report["cases"][0]["passed"] = json!(false);
        report["passed"] = json!(whole["passed"].as_u64().unwrap() - 1);
        report["failed"] = json!(1);
    };
    let gutted = |report: &mut Value| {
        report["cases"].as_array_mut().unwrap().truncate(1);
        report["passed"] = json!(1);
    };
    let at_times = |report: &mut Value| report["cases"][0]["runs"] = json!(5);
    let lying = |report: &mut Value| report["cases"][0]["passed"] = json!(false);
    for (edit, told) in [
        (&failing as &dyn Fn(&mut Value), "do not hold"),
        (&gutted, "evidence/eval.json says nothing of"),
        (&at_times, "evidence/eval.json does not show that everything holds"),
        (&lying, "contradicts itself"),
    ] {
        let mut report = whole.clone();
        edit(&mut report);
        evidence(&company, "eval", &report.to_string());
        let seen = package(&company);
        assert_eq!(states(&seen)["evaluation"], "off", "{told}");
        assert!(answer(&seen, "Q18").starts_with("No:"), "{}", answer(&seen, "Q18"));
        assert!(seen["open"].to_string().contains(told), "{told}");
    }
    // Records that nobody has taken off the machine.
    assert!(answer(&seen, "Q14").starts_with("In part."), "{}", answer(&seen, "Q14"));
    company
        .edit("countersign.yaml", |text| text.replace("file: state/journal.jsonl", "stdout: true"));
    assert_eq!(states(&package(&company))["export"], "partly");
}

#[test]
fn vendors_are_judged_as_check_judges_them_and_on_the_day_of_the_package() {
    const VENDOR: &str = "posture/vendors/meridian-models.yaml";
    for (file, from, to) in [
        (VENDOR, "classes: [public, internal, confidential]", "classes: [public]"),
        ("posture/vendors/rolo-crm.yaml", "decision: conditional", "decision: reject"),
        (VENDOR, "review_by: 2099-12-31", "review_by: 2026-11-20"),
    ] {
        let company = Company::new();
        company.edit(file, |text| {
            assert!(text.contains(from));
            text.replace(from, to)
        });
        let state = states(&package(&company))["vendor-register"].clone();
        assert!(["partly", "off"].contains(&state.as_str()), "{to}: {state}");
        assert_eq!(company.run(&["vendor", "check", "."]).status.code(), Some(1), "{to}");
    }
    // Before its end it holds, in production as well, where `check` refuses it today.
    let company = guarded();
    company.edit("countersign.yaml", |text| {
        text.replace("environment: development", "environment: production")
    });
    company.edit(VENDOR, |text| text.replace("review_by: 2099-12-31", "review_by: 2026-11-20"));
    let at = |day: &str| company.run(&["review", ".", "--format", "json", "--as-of", day]);
    let before = at("2026-11-15");
    assert_eq!(before.status.code(), Some(0), "{before:?}");
    let before: Value = serde_json::from_slice(&before.stdout).unwrap();
    assert_eq!(before["as_of"], "2026-11-15");
    assert_eq!(states(&before)["vendor-register"], "in force");
    assert!(before["open"].to_string().contains("is to be reviewed again by 2026-11-20"));
    let after = at("2026-11-21");
    assert_eq!(after.status.code(), Some(1), "{after:?}");
    // Without a day it is of today, and the same twice on one.
    let company = Company::new();
    company.edit(VENDOR, |text| text.replace("review_by: 2099-12-31", "review_by: 2026-11-20"));
    let today = || company.says(&["review", ".", "--format", "json"]);
    let seen: Value = serde_json::from_str(&today()).unwrap();
    assert_eq!(states(&seen)["vendor-register"], "partly");
    assert_eq!(serde_json::from_str::<Value>(&today()).unwrap()["as_of"], seen["as_of"]);
}

#[test]
fn a_control_for_which_there_is_nothing_is_not_called_in_force() {
    let company = Company::new();
    company.edit(COPILOT, |text| {
        let (before, rest) = text.split_once("  - tool: refund_invoice\n").unwrap();
        let (_, after) = rest.split_once("limits:").unwrap();
        format!("{before}limits:{after}")
    });
    for file in ["posture/evals", "posture/policies"] {
        fs::remove_dir_all(company.path().join(file)).unwrap();
    }
    let seen = package(&company);
    assert_eq!(states(&seen)["budgets"], "nothing to hold");
    let all = seen.to_string();
    assert!(all.contains("Budgets: there is nothing here to hold."), "Q12");
}

// ── what others wrote ───────────────────────────────────────────────────────────────────────────

/// A text that becomes an element, ends an attribute, a cell, a line or a fence wherever it is not escaped.
const MARKUP: &str = r#""><img src=x onerror=alert(1)><script>alert(2)</script><b id=x>' | a | [x](http://evil.example) www.evil.example ``` # </svg>"#;

fn hostile() -> Company {
    let company = Company::new();
    let quoted = MARKUP.replace('\'', "''");
    company.edit(COPILOT, |text| {
        text.replace(
            "purpose: Answers customers' questions about their account, shipments and tickets.",
            &format!("purpose: 'P{quoted}'"),
        )
        .replace("customer-operations", &format!("'T{quoted}'"))
        .replace("custops-oncall@acme.example", &format!("'C{quoted}'"))
        .replace("\"Usage questions are most tickets.\"", &format!("'R{quoted}'"))
        .replacen("security@acme.example", &format!("'S{quoted}'"), 1)
    });
    company
        .edit("posture/posture.yaml", |text| text.replace("Acme Freight", &format!("'O{quoted}'")));
    company.edit(REFUND, |text| {
        format!("{text}exception: {{ rung: 2, reason: 'E{quoted}', reviewed_by: 'B{quoted}', expires: 2027-01-31 }}\n")
    });
    company
}

#[test]
fn nothing_that_others_wrote_is_more_than_text() {
    let company = hostile();
    let page = company.says(&["review", ".", "--format", "html"]);
    assert!(!page.contains("<img") && !page.contains("<script") && !page.contains("</svg>&"));
    assert_eq!(page.matches("</svg>").count(), 2);
    let text = company.says(&["review", ".", "--format", "markdown"]);
    assert!(!text.contains("<img") && !text.contains("<script") && !text.contains("[x]("));
    assert!(!text.contains("http://evil"), "a renderer would make a link of it");
    assert!(!text.contains("www.evil"), "nor of this");
    // A row has as many cells as the head of its table.
    let cells = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let mut head = None;
    for line in text.lines() {
        if line.starts_with('|') {
            assert_eq!(*head.get_or_insert(cells(line)), cells(line), "{line}");
        } else {
            head = None;
        }
    }
    let seen = package(&company);
    for (id, mark) in [("agents", "P"), ("agents", "T"), ("permissions", "R"), ("open", "E")] {
        let all = section(&seen, id)["blocks"].to_string();
        let whole = serde_json::to_string(&format!("{mark}{MARKUP}")).unwrap();
        assert!(all.contains(whole.trim_matches('"')), "{id} {mark}");
    }
}

#[test]
fn the_page_needs_no_network_has_no_broken_anchor_and_can_be_read_and_printed() {
    for company in [Company::new(), hostile()] {
        let file = company.path().join("review.html");
        company.says(&["review", ".", "--out", "review.html"]);
        let seen = read("node", "review.mjs", &file);
        for nothing in ["said", "asked", "broken", "faults"] {
            assert_eq!(seen[nothing], json!([]), "{nothing}");
        }
        assert_eq!(seen["elements"], 0, "something became an element");
        assert_eq!(seen["wide"], false, "it is wider than a window");
        assert_eq!(seen["narrow"], false, "it is wider than a telephone");
        assert_eq!(seen["sections"].as_array().unwrap().len(), 19);
        assert!(seen["anchors"].as_u64().unwrap() > 30);
        assert!((10..60).contains(&seen["pages"].as_u64().unwrap()), "{}", seen["pages"]);
    }
}

#[tokio::test]
async fn no_secret_and_nothing_of_a_customer_is_in_it() {
    const PLANTED: [&str; 4] =
        ["planted-key-7d1f", "planted-row-93ab", "planted-argument-5c20", "planted-value-11aa"];
    let [key, row, argument, value] = PLANTED;
    let company = Company::new();
    fs::write(company.path().join("state/crm.key"), key).unwrap();
    let support = rusqlite::Connection::open(company.path().join("data/support.db")).unwrap();
    support.execute("update messages set body = ?1", [row]).unwrap();
    drop(support);
    let _crm = company.crm();
    company.edit("countersign.yaml", |text| {
        text.replace("references:\n", &format!("references:\n  spare: {{ value: \"{value}\" }}\n"))
    });
    let gateway = company.serve();
    let who = Who { agent: "support-copilot", tenant: "acct_alpha", session: "s", depots: &[] };
    let token = gateway.token(who).await;
    gateway.call(&token, "get_account_usage", json!({ "account_id": argument, "days": 1 })).await;
    gateway.call(&token, "read_ticket", json!({ "ticket_id": "tkt_000001" })).await;
    assert!(!company.records(&["--tool", "get_account_usage"], 1).is_empty());
    gateway.stop();
    for format in FORMATS {
        let said = company.says(&["review", ".", "--format", format]);
        for planted in PLANTED {
            assert!(!said.contains(planted), "{planted} is in the {format}");
        }
        assert!(said.contains("0 findings in"), "the journal is verified: {format}");
    }
}

#[test]
fn who_has_to_sign_is_shown_and_that_nobody_has() {
    let company = Company::new();
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "key"])
        .current_dir(company.path())
        .status();
    assert!(made.unwrap().success());
    let key = fs::read_to_string(company.path().join("key.pub")).unwrap();
    company.edit("countersign.yaml", |text| {
        format!("{text}sign_off:\n  roles: [security]\n  evidence: [check]\n  change: required\n  reviewers:\n    - {{ name: sec@acme.example, roles: [security], key: \"{}\" }}\n", key.trim())
    });
    let seen = package(&company);
    let said = section(&seen, "signatures").to_string();
    for fact in ["Not signed: the posture is not signed", "sec@acme.example", "SHA256:", "required"]
    {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    assert_eq!(states(&seen)["sign-off"], "off");
}

#[test]
fn a_posture_with_an_error_gets_no_package() {
    let company = Company::new();
    company.edit(COPILOT, |text| text.replace("purpose:", "purpsoe:"));
    assert_eq!(company.run(&["review", "."]).status.code(), Some(1));
}

#[test]
fn the_bill_of_materials_names_every_package_of_the_lock_file() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let seen = package(&Company::new());
    let components = seen["sbom"]["components"].as_array().unwrap();
    assert_eq!(components.len(), lock.matches("\n[[package]]\n").count());
    let digests = components.iter().filter(|one| one["hashes"][0]["content"].is_string()).count();
    assert_eq!(digests, lock.matches("\nchecksum = ").count());
    let purls: BTreeSet<_> = components.iter().map(|one| one["purl"].to_string()).collect();
    assert_eq!(purls.len(), components.len(), "each once");
}
