//! Gateways with a hole that two layers would have closed, which `scripts/holes` builds: what is proved of
//! their policies finds it, their gateway admits the request that shows it, and this one does not.

use crate::gateway::{Company, Gateway};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// Whom a decision at either gateway comes from, and what became of it.
async fn approved(gateway: &Gateway, person: &str, draft: &str) -> String {
    let token = gateway.person(json!({ "person": person, "groups": ["finance"] })).await;
    match gateway.decided(&token, draft, "approve").await {
        (200, _) => {
            let settled = gateway.settled(&token, draft).await;
            settled["state"].as_str().unwrap().to_owned()
        }
        (_, code) => code,
    }
}

/// What a gateway says to a request: its status, or the code of its refusal. Where a person has to agree,
/// whoever it is asked for tries to.
async fn met(company: &Company, gateway: &Gateway, request: &Value, approve: bool) -> String {
    fs::write(company.path().join("request.json"), request.to_string()).unwrap();
    let call = ["call", "--request", "request.json", "--format", "json", "--gateway", &gateway.url];
    let answer: Value = serde_json::from_slice(&company.run(&call).stdout).unwrap();
    let Some(code) = answer["error"]["code"].as_str() else {
        return answer["status"].as_str().unwrap().to_owned();
    };
    match answer["error"]["reference"].as_str() {
        Some(draft) if approve => {
            approved(gateway, request["principal"]["user"].as_str().unwrap(), draft).await
        }
        _ => code.to_owned(),
    }
}

/// Gives the systems what a request speaks of, so that no look-up is what refuses it.
fn arrange(company: &Company, request: &Value) {
    let text = |at: &str| request.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let tenant = text("/principal/tenant");
    let freight = Connection::open(company.path().join("data/freight.db")).unwrap();
    let account = "insert or ignore into accounts values (?1, 'Made up', 'Bonn', 'Am Hof 1')";
    for account_id in [tenant, text("/arguments/account_id")] {
        freight.execute(account, [account_id]).unwrap();
    }
    let invoice = "insert or ignore into invoices (id, account_id, issued_on, due_on, amount_cents, status) \
        values (?1, ?2, '2026-11-01', '2026-11-30', 50000, 'paid')";
    freight.execute(invoice, [text("/arguments/invoice_id"), tenant]).unwrap();
    let support = Connection::open(company.path().join("data/support.db")).unwrap();
    let contact = "insert or ignore into contacts values (?1, ?2)";
    support.execute(contact, [tenant, text("/arguments/to")]).unwrap();
}

#[tokio::test]
#[ignore = "scripts/holes builds the gateway that it is about"]
#[expect(
    clippy::disallowed_methods,
    reason = "the script says which hole, and where its gateway is"
)]
async fn a_planted_hole_is_found_and_admitted_and_refused_once_it_is_mended() {
    let hole = std::env::var("COUNTERSIGN_HOLE").unwrap();
    let holed = std::env::var("COUNTERSIGN_HOLED").unwrap();
    let company = Company::new();
    company.lift_limits();
    let of_all = |report: &Value, of: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        let all = report["obligations"].as_array().unwrap().iter();
        all.filter(|obligation| of(obligation)).cloned().collect()
    };
    let its = |obligation: &Value| {
        let name = obligation["obligation"].as_str().unwrap();
        name.split('.').next().unwrap() == hole
    };
    let proved = |program: &str| -> Value {
        let mut prove = Command::new(program);
        prove.args(["posture", "prove", ".", "--format", "json"]).current_dir(company.path());
        serde_json::from_slice(&prove.output().unwrap().stdout).unwrap()
    };
    assert_eq!(proved(env!("CARGO_BIN_EXE_countersign"))["proved"], true);
    let report = proved(&holed);
    let asked = of_all(&report, &its);
    let found = of_all(&report, &|of| its(of) && of["verdict"] == "refuted");
    assert_eq!((found.len(), found.is_empty()), (asked.len(), false), "{report:#}");

    // An argument that is bound comes from the token, whatever policy would permit: nobody can send another.
    let bound = |of: &Value| {
        let name = of["obligation"].as_str().unwrap().strip_prefix("scope.");
        name.is_some_and(|name| of["counterexample"]["context"].get(name).is_some())
    };
    let found: Vec<_> = found.into_iter().filter(|of| !bound(of)).collect();
    let requests: Vec<_> = found.iter().map(|of| &of["counterexample"]["call"]).collect();
    for request in &requests {
        arrange(&company, request);
    }
    let mended = company.copy();
    let (_crm, _mended_crm) = (company.crm(), mended.crm());
    let gateway = company.serve_by(Command::new(&holed));
    let sound = mended.serve();
    let mut admitted = 0;
    for (obligation, request) in found.iter().zip(requests) {
        let approve = hole == "approver";
        let here = met(&company, &gateway, request, approve).await;
        let there = met(&mended, &sound, request, approve).await;
        let of = (&obligation["tool"], &obligation["obligation"]);
        eprintln!("{} {}: {here}, and mended {there}", of.0, of.1);
        // Who got as far as a system was let through, whatever it found there.
        admitted += usize::from(matches!(
            here.as_str(),
            "completed" | "executed" | "failed" | "post_condition_failed"
        ));
        let refusals: &[&str] = match hole.as_str() {
            "scope" => &["out_of_scope", "invalid_arguments"],
            "clearance" => &["approval_required", "out_of_scope"],
            _ => &["not_entitled"],
        };
        assert!(refusals.contains(&there.as_str()), "{of:?}: {there} {request}");
    }
    eprintln!("{admitted} of {} were admitted with the hole", found.len());
    assert!(admitted > 0);
}
