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

/// A repository in a folder, as files that git takes for one without a `.git`, with everything there as `main`.
fn embedded(company: &Company, folder: &str, settings: &str) {
    let folder = company.path().join(folder);
    let at = |arguments: &[&str]| {
        let who = ["-c", "user.name=Made up", "-c", "user.email=made-up@acme.example"];
        let ran = Command::new("git").args(who).args(arguments).current_dir(&folder).output();
        assert!(ran.unwrap().status.success(), "{arguments:?}");
    };
    at(&["init", "--quiet", "--initial-branch=main"]);
    at(&["add", "."]);
    at(&["commit", "--quiet", "--message", "As it shall have been"]);
    for name in ["HEAD", "objects", "refs"] {
        fs::rename(folder.join(".git").join(name), folder.join(name)).unwrap();
    }
    fs::remove_dir_all(folder.join(".git")).unwrap();
    let settings =
        format!("[core]\nrepositoryformatversion = 1\nbare = false\nworktree = .\n{settings}");
    fs::write(folder.join("config"), settings).unwrap();
}

#[test]
fn what_is_reviewed_does_not_say_what_it_was_and_starts_nothing() {
    let company = versioned();
    git(&company, &["checkout", "--quiet", "-B", "main"]);
    refund_up_to(&company, "50000", "60000");
    let program = company.path().join("program");
    let ran = company.path().join("ran");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    let settings = format!(
        "fsmonitor = sh {0}\n[extensions]\npartialClone = origin\n[remote \"origin\"]\nurl = ext::sh {0}\npromisor = true\n[protocol \"ext\"]\nallow = always\n",
        program.display()
    );
    embedded(&company, "posture", &settings);
    // One that is not there would be fetched.
    fs::remove_dir_all(company.path().join("posture/objects")).unwrap();
    fs::create_dir(company.path().join("posture/objects")).unwrap();
    let (said, code) = compared(&company, &["git:main", "."]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("git says:") && !ran.exists(), "{said}");

    // With a `.git` of its own, as an archive or a submodule brings it.
    for name in ["HEAD", "objects", "refs", "config"] {
        let path = company.path().join("posture").join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    let posture = company.path().join("posture");
    let at = posture.to_str().unwrap();
    git(&company, &["-C", at, "init", "--quiet", "--initial-branch=main"]);
    git(&company, &["-C", at, "add", "."]);
    git(&company, &["-C", at, "commit", "--quiet", "--message", "As it shall have been"]);
    let (said, code) = compared(&company, &["git:main", "."]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is of a repository within the one here"), "{said}");

    // Without either it is told, wherever variables lead.
    fs::rename(posture.join(".git"), company.path().join("elsewhere")).unwrap();
    let elsewhere = company.path().join("elsewhere");
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["posture", "diff", "git:main", "."])
        .current_dir(company.path())
        .env("GIT_DIR", &elsewhere)
        .env("GIT_OBJECT_DIRECTORY", elsewhere.join("objects"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[test]
fn a_lock_is_worth_its_signatures() {
    let company = versioned();
    company.signed();
    commit(&company, "Signed");
    refund_up_to(&company, "50000", "60000");
    // Whoever changes a posture can write a lock of it, and sign it with a key of their own.
    company.says(&["posture", "lock", ".", "--change", "https://git.acme.example/pull/8"]);
    let lock = "posture/posture.lock";
    let (said, code) = compared(&company, &[lock, "."]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("is not signed: nobody who is listed has signed as `security`"),
        "{said}"
    );
    company.says(&["posture", "sign", ".", "--key", "made-up-keys/own"]);
    let (said, code) = compared(&company, &[lock, "."]);
    assert_eq!(code, Some(2), "one of two: {said}");
    company.says(&["posture", "sign", ".", "--key", "made-up-keys/sec"]);
    let (said, code) = compared(&company, &[lock, "."]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("signed as `owner`: own@acme.example"), "{said}");
    // Without a deployment it is said that nobody looked.
    fs::rename(company.path().join("countersign.yaml"), company.path().join("kept.yaml")).unwrap();
    let (said, code) = compared(&company, &[lock, "posture"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("signatures of posture/posture.lock were not looked at"), "{said}");
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
        (["none.lock", "."], "OLD is none.lock, which is not there"),
        (["git:HEAD", "nowhere"], "NEW is nowhere, which is not there"),
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
