//! `countersign posture diff` as somebody who reviews a pull request has it: folders, revisions, locks.

use crate::gateway::Company;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// A company under version control, with one commit of all it is made of.
fn versioned() -> Company {
    let company = Company::new();
    company.reviewers();
    git(&company, &["init", "--quiet"]);
    commit(&company, "As it was");
    company
}

fn git(company: &Company, arguments: &[&str]) {
    let who = ["-c", "user.name=Made up", "-c", "user.email=made-up@acme.example"];
    let ran = Command::new("git").args(who).args(arguments).current_dir(company.path()).status();
    assert!(ran.unwrap().success(), "{arguments:?}");
}

fn commit(company: &Company, message: &str) {
    git(company, &["add", "posture", "countersign.yaml"]);
    git(company, &["commit", "--quiet", "--message", message]);
}

/// What is said of a comparison, and its exit code.
fn compared(company: &Company, arguments: &[&str]) -> (String, Option<i32>) {
    let output = company.run(&[&["posture", "diff"], arguments].concat());
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (String::from_utf8(said).unwrap(), output.status.code())
}

fn refund_up_to(company: &Company, from: &str, to: &str) {
    company.edit("posture/tools/refund_invoice.yaml", |text| {
        text.replace(&format!("maximum: {from}"), &format!("maximum: {to}"))
    });
}

#[test]
fn a_change_is_held_against_a_revision_in_words_and_by_exit_code() {
    let company = versioned();
    let (said, code) = compared(&company, &["git:HEAD", "."]);
    assert_eq!(code, Some(0), "{said}");

    refund_up_to(&company, "50000", "60000");
    let (said, code) = compared(&company, &["git:HEAD", "."]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("amount_cents") && said.contains("60000"), "{said}");
    let (json, code) = compared(&company, &["git:HEAD", ".", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["verdict"]), (Some(1), &json!("wider")), "{json:#}");
    let (markdown, _) = compared(&company, &["git:HEAD", ".", "--format", "markdown"]);
    assert!(markdown.contains('#') && markdown.contains("60000"), "{markdown}");

    // The other way round it takes away, between two revisions as well.
    assert_eq!(compared(&company, &[".", "git:HEAD"]).1, Some(0));
    commit(&company, "Wider");
    assert_eq!(compared(&company, &["git:HEAD~1", "git:HEAD"]).1, Some(1));
    assert_eq!(compared(&company, &["git:HEAD", "git:HEAD~1"]).1, Some(0));
}

#[test]
fn a_change_is_held_against_what_was_signed() {
    let company = versioned();
    company.signed();
    let lock = "posture/posture.lock";
    assert_eq!(compared(&company, &[lock, "."]).1, Some(0), "nothing changed since");
    let kept = company.path().join("old.lock");
    fs::copy(company.path().join(lock), &kept).unwrap();

    // What was signed is found by its digest among the commits, whatever came after it.
    let (said, code) = {
        refund_up_to(&company, "50000", "60000");
        compared(&company, &["old.lock", "."])
    };
    assert_eq!(code, Some(2), "it was never committed: {said}");
    assert!(said.contains("neither in ./posture nor among its commits"), "{said}");
    refund_up_to(&company, "60000", "50000");
    commit(&company, "Signed");
    refund_up_to(&company, "50000", "60000");
    commit(&company, "Wider");
    refund_up_to(&company, "60000", "40000");
    let (said, code) = compared(&company, &["old.lock", "."]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("40000"), "{said}");
    let (said, code) = compared(&company, &["old.lock", "git:HEAD"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("60000"), "{said}");

    fs::write(&kept, fs::read_to_string(&kept).unwrap() + " ").unwrap();
    let (said, code) = compared(&company, &["old.lock", "."]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("not as `countersign posture lock` and `posture sign` write it"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_compared_says_why() {
    let company = versioned();
    let nowhere = tempfile::tempdir().unwrap();
    let outside = nowhere.path().to_str().unwrap();
    for (sides, why) in [
        (["git:nowhere", "."], "there is no revision `nowhere`"),
        (["git:--output=x", "."], "there is no revision `--output=x`"),
        ([outside, "."], "is no posture and no deployment"),
        (["none.lock", "."], "none.lock"),
    ] {
        let (said, code) = compared(&company, &sides);
        assert_eq!(code, Some(2), "{sides:?}: {said}");
        assert!(said.contains(why), "{sides:?}: {said}");
    }
    company.edit("posture/tools/refund_invoice.yaml", |text| text.replace("input:", "inptu:"));
    let (said, code) = compared(&company, &["git:HEAD", "."]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("refund_invoice.yaml:"), "{said}");
}
