//! `countersign doctor` on the example, as an operator runs it.

use crate::gateway::Company;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was examined, and the codes of what was found there; and the exit code.
fn examined(company: &Company) -> (BTreeMap<String, Vec<String>>, Option<i32>) {
    let ran = company.run(&["doctor", ".", "--format", "json"]);
    let said: Value = serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ran.stderr)));
    let found = said["examined"].as_array().unwrap().iter().map(|examined| {
        let symptoms = examined["symptoms"].as_array().unwrap().iter();
        let codes = symptoms.map(|symptom| symptom["code"].as_str().unwrap().to_owned());
        (examined["what"].as_str().unwrap().to_owned(), codes.collect())
    });
    (found.collect(), ran.status.code())
}

#[test]
fn the_example_is_sound_and_what_is_taken_from_it_is_missed() {
    let company = Company::new();
    let crm = company.crm();
    let (found, code) = examined(&company);
    assert_eq!(code, Some(0), "{found:?}");
    assert_eq!(found.len(), 7, "{found:?}");
    drop(crm);
    std::fs::remove_file(company.path().join("data/support.db")).unwrap();
    company.edit("posture/tools/list_invoices.yaml", |text| text.replace("due_on,", "due_by,"));
    let (found, code) = examined(&company);
    assert_eq!(code, Some(1));
    assert_eq!(found["system support-db"], ["unreachable"]);
    assert_eq!(found["system crm"], ["unreachable"]);
    assert_eq!(found["system freight-db"], ["statement-fails"]);
    assert_eq!(found["system telematics-db"], [""; 0]);
    let text = String::from_utf8(company.run(&["doctor", "."]).stdout).unwrap();
    assert!(
        text.contains("✗ system support-db") && text.contains("✓ system telematics-db"),
        "{text}"
    );
    company.edit("posture/posture.yaml", |text| text.replace("organisation:", "organization:"));
    assert_eq!(company.run(&["doctor", "."]).status.code(), Some(2));
}

#[test]
fn the_example_on_postgresql_is_sound_and_a_planted_fault_is_found() {
    let company = Company::on_postgres();
    let _crm = company.crm();
    let (found, code) = examined(&company);
    assert_eq!(code, Some(0), "{found:?}");
    company.databases["freight-db"].run("alter table invoices no force row level security");
    let (found, code) = examined(&company);
    assert_eq!(
        (code, &found["system freight-db"][..]),
        (Some(1), &["rls-not-forced".to_owned()][..])
    );
}

#[test]
fn an_issuer_that_cannot_be_reached_is_found() {
    let company = Company::new();
    company.edit("countersign.yaml", |text| {
        let issuer = "issuers:\n  - { issuer: \"http://127.0.0.1:9\", discovery: true, algorithms: [ES256] }\n";
        text.replace("development_issuer: true\n", issuer)
    });
    let (found, code) = examined(&company);
    assert_eq!(
        (code, &found["issuer http://127.0.0.1:9"][..]),
        (Some(1), &["no-keys".to_owned()][..])
    );
}
