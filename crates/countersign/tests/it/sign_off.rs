//! What is signed is what runs: the real `serve` in production, over what somebody might try. All keys
//! are made up and made here.

use crate::gateway::{Company, Gateway, Who};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const NAMESPACE: &str = "posture-lock@countersign";
const LOCK: &str = "posture/posture.lock";

/// A company in production with a posture that everybody signed.
fn signed() -> (Company, EncodingKey) {
    let company = Company::new();
    let key = company.in_production();
    company.signed();
    (company, key)
}

/// What `serve` says of a posture that it does not serve. A gateway that serves it never ends by itself.
fn refusal(company: &Company) -> String {
    let output = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_countersign"), "serve", "."])
        .current_dir(company.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn lock(company: &Company) -> Value {
    serde_json::from_str(&fs::read_to_string(company.path().join(LOCK)).unwrap()).unwrap()
}

/// Adds what a key signs over a message to the lock, by a name, whatever `posture sign` would say.
fn forge(
    company: &Company,
    (name, key): (&str, &str),
    message: &[u8],
    (namespace, hash): (&str, &str),
) {
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-q", "-O", &format!("hashalg={hash}"), "-n", namespace, "-f", key])
        .current_dir(company.path().join("made-up-keys"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message).unwrap();
    let made = child.wait_with_output().unwrap();
    assert!(made.status.success());
    put(company, &[(name, std::str::from_utf8(&made.stdout).unwrap())]);
}

/// Puts signatures into a lock as it would be written, one for each name.
fn put(company: &Company, signatures: &[(&str, &str)]) {
    let path = company.path().join(LOCK);
    let text = fs::read_to_string(&path).unwrap();
    let mut lock = countersign_posture::lock::Lock::parse(&text).unwrap();
    for (by, signature) in signatures {
        lock.signatures.retain(|known| known.by != *by);
        let (by, signature) = ((*by).to_owned(), (*signature).to_owned());
        lock.signatures.push(countersign_posture::lock::Signature { by, signature });
    }
    fs::write(path, lock.text()).unwrap();
}

fn message(company: &Company) -> Vec<u8> {
    let text = fs::read_to_string(company.path().join(LOCK)).unwrap();
    countersign_posture::lock::Lock::parse(&text).unwrap().message()
}

const OURS: (&str, &str) = (NAMESPACE, "sha512");

/// What somebody might do to a signed posture, how, and what `serve` says of it.
type Try = (&'static str, fn(&Company), &'static str);

const TRIED: &[Try] = &[
    ("unsigned", |company| fs::remove_file(company.path().join(LOCK)).unwrap(), "is not signed"),
    (
        "locked anew, and signed by nobody",
        |company| drop(company.says(&["posture", "lock", ".", "--change", "another"])),
        "nobody whom the deployment lists has signed as `security`",
    ),
    (
        "the change edited",
        |company| company.edit(LOCK, |text| text.replace("pull/7", "pull/8")),
        "the signature of `own@acme.example` is over something else",
    ),
    (
        "a grant left out of what was signed",
        |company| {
            company.edit(LOCK, |text| text.replacen("\"rung\": 4", "\"rung\": 1", 1));
        },
        "does not say what the posture grants",
    ),
    (
        "a blank more",
        |company| company.edit(LOCK, |text| text.replacen("{\n", "{ \n", 1)),
        "is not as `countersign posture lock`",
    ),
    (
        "a member twice, of which readers show one or the other",
        |company| {
            company.edit(LOCK, |text| text.replacen("{\n", "{\n  \"change\": \"harmless\",\n", 1));
        },
        "is no lock: duplicate field `change`",
    ),
    (
        "the posture edited",
        |company| company.edit("posture/posture.yaml", |text| format!("{text}# more\n")),
        "another posture was signed",
    ),
    (
        "signatures over another digest",
        |company| {
            let before = lock(company);
            company.edit("posture/posture.yaml", |text| format!("{text}# more\n"));
            company.says(&["posture", "lock", ".", "--change", "https://git.acme.example/pull/7"]);
            for signature in before["signatures"].as_array().unwrap() {
                let text = |key: &str| signature[key].as_str().unwrap();
                put(company, &[(text("by"), text("signature"))]);
            }
        },
        "the signature of `sec@acme.example` is over something else",
    ),
    (
        "one role is missing",
        |company| {
            company.says(&["posture", "lock", ".", "--change", "another"]);
            company.says(&["posture", "sign", ".", "--key", "made-up-keys/own"]);
        },
        "nobody whom the deployment lists has signed as `security`",
    ),
    (
        "one person in two roles",
        |company| {
            company.says(&["posture", "lock", ".", "--change", "another"]);
            company.says(&["posture", "sign", ".", "--key", "made-up-keys/sec"]);
        },
        "nobody whom the deployment lists has signed as `owner`",
    ),
    (
        "a key of nobody's, by a name of its own",
        |company| {
            company.says(&["posture", "lock", ".", "--change", "another"]);
            company.says(&["posture", "sign", ".", "--key", "made-up-keys/sec"]);
            company.made_up_key("stranger");
            forge(company, ("eve@acme.example", "stranger"), &message(company), OURS);
        },
        "nobody whom the deployment lists has signed as `owner`",
    ),
    (
        "a key of nobody's, by a reviewer's name",
        |company| {
            company.made_up_key("stranger");
            forge(company, ("own@acme.example", "stranger"), &message(company), OURS);
        },
        "nobody whom the deployment lists has signed as `owner`",
    ),
    (
        "a reviewer's key, by another's name",
        |company| forge(company, ("eve@acme.example", "own"), &message(company), OURS),
        "the signature of `eve@acme.example` is `own@acme.example`'s",
    ),
    (
        "a reviewer is no longer listed",
        |company| {
            company.edit("countersign.yaml", |text| {
                text.replace("own@acme.example, roles: [owner]", "new@acme.example, roles: [owner]")
                    .replace(&company.public("own"), &company.made_up_key("new"))
            });
        },
        "nobody whom the deployment lists has signed as `owner`",
    ),
    (
        "a signature that was made for something else",
        |company| {
            forge(company, ("own@acme.example", "own"), &message(company), ("file", "sha512"));
        },
        "the signature of `own@acme.example` was made for something else",
    ),
    (
        "a signature by another hash",
        |company| {
            forge(company, ("own@acme.example", "own"), &message(company), (NAMESPACE, "sha256"));
        },
        "the signature of `own@acme.example` is not by SHA-512",
    ),
    (
        "no signature at all",
        |company| put(company, &[("own@acme.example", "hm")]),
        "the signature of `own@acme.example` is no signature of OpenSSH's",
    ),
    (
        "one's own key in the posture",
        |company| {
            let key = company.made_up_key("stranger");
            let reviewer =
                format!("{{ name: eve@acme.example, roles: [security, owner], key: \"{key}\" }}");
            company.edit("posture/posture.yaml", |text| {
                format!("{text}sign_off: {{ roles: [owner], evidence: [check], change: optional, reviewers: [{reviewer}] }}\n")
            });
        },
        "unknown-key",
    ),
    (
        "one's own key beside the posture",
        |company| {
            let key = company.made_up_key("stranger");
            fs::write(company.path().join("posture/reviewers.yaml"), key).unwrap();
        },
        "unexpected-file",
    ),
    (
        "evidence of another digest",
        |company| {
            let digest = lock(company)["posture"].as_str().unwrap().to_owned();
            company.edit("posture/evidence/check.json", |text| {
                text.replace(&digest, &digest.chars().rev().collect::<String>())
            });
        },
        "`evidence/check.json` is of another posture",
    ),
    (
        "other evidence",
        |company| {
            company.edit("posture/evidence/check.json", |text| {
                text.replace("\"warnings\": 0", "\"warnings\": 1")
            });
        },
        "`evidence/check.json` is not the one that was signed",
    ),
    (
        "evidence that nobody asked for and somebody made up, signed by everybody",
        |company| {
            let path = company.path().join(LOCK);
            let text = fs::read_to_string(&path).unwrap();
            let mut lock = countersign_posture::lock::Lock::parse(&text).unwrap();
            let shown = countersign_posture::lock::Shown {
                sha256: "0".repeat(64),
                says: "412 obligations, all proved".to_owned(),
            };
            lock.evidence.insert("prove".to_owned(), shown);
            fs::write(path, lock.text()).unwrap();
            for (name, key) in [("sec@acme.example", "sec"), ("own@acme.example", "own")] {
                forge(company, (name, key), &message(company), OURS);
            }
        },
        "`prove` was signed as evidence, and nobody asks for it",
    ),
    (
        "evidence that is away",
        |company| fs::remove_dir_all(company.path().join("posture/evidence")).unwrap(),
        "`evidence/check.json` is not there",
    ),
    (
        "more evidence asked for than was signed",
        |company| {
            company.edit("countersign.yaml", |text| {
                text.replace("evidence: [check]", "evidence: [check, prove]")
            });
        },
        "no evidence of `prove` was signed",
    ),
    (
        "writes that never ran in staging",
        |company| {
            company.edit("countersign.yaml", |text| {
                text.replace("staging: { runs: 0, days: 0 }", "staging: { runs: 1, days: 1 }")
            });
        },
        "`refund_invoice` of `support-copilot`, as it is, has not run in staging",
    ),
    (
        "one person by two ways to write a name",
        |company| {
            company.edit("countersign.yaml", |text| text.replace("own@acme", "SEC@acme"));
        },
        "the reviewer `sec@acme.example` stands twice",
    ),
    (
        "nobody has to sign",
        |company| {
            company.edit("countersign.yaml", |text| {
                let (before, after) = text.split_once("sign_off:").unwrap();
                format!("{before}references:{}", after.split_once("references:").unwrap().1)
            });
        },
        "no-sign-off",
    ),
];

#[test]
fn production_serves_what_was_signed_and_nothing_else() {
    let (whole, _) = signed();
    whole.serve().stop();
    let told = whole.says(&["check", "."]);
    assert!(told.contains("signed as `owner` by own@acme.example"), "{told}");
    for (what, tried, said) in TRIED {
        let company = whole.copy();
        tried(&company);
        let refused = refusal(&company);
        let told = refused.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.replace(" │ ", " ").contains(said), "{what}: {refused}");
        // Whoever runs it learns the same before.
        assert_eq!(company.run(&["check", "--here", "."]).status.code(), Some(1), "{what}");
        // Nobody is said to have signed what is not as they signed it.
        let told = company.run(&["check", "."]);
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("not signed: ") || told.contains("error"), "{what}: {told}");
        if told.contains("another posture was signed") {
            assert!(!told.contains("signed as `"), "{what}: {told}");
        }
    }
}

fn token(key: &EncodingKey) -> String {
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::EdDSA) };
    let claims = json!({
        "iss": "https://login.acme.example", "aud": "https://gateway.acme.example", "sub": "ann",
        "client_id": "support-copilot", "tenant": "acct_bravo", "sid": "1", "exp": 4_102_444_800_u64,
    });
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

async fn tools(gateway: &Gateway, token: &str) -> Vec<String> {
    let url = format!("{}/v1/tools", gateway.url);
    let told: Value =
        gateway.http.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    let tools = told["tools"].as_array().unwrap_or_else(|| panic!("{told}")).iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_posture_that_nobody_signed_does_not_come_into_force_and_the_one_before_stays() {
    let (company, key) = signed();
    let gateway = company.serve();
    let token = token(&key);
    let first = lock(&company)["posture"].as_str().unwrap().to_owned();
    company.edit("posture/posture.yaml", |text| format!("{text}# more\n"));
    gateway.signal("-HUP");
    let said = gateway.says("a posture is refused");
    assert!(said.contains("another posture was signed") && said.contains(&first), "{said}");
    // Locked and half signed is not signed.
    company.says(&["posture", "lock", ".", "--change", "next"]);
    company.says(&["posture", "sign", ".", "--key", "made-up-keys/sec"]);
    gateway.signal("-HUP");
    let said = gateway.says("a posture is refused");
    assert!(said.contains("signed as `owner`"), "{said}");
    let arguments = json!({"account_id": "acct_bravo", "days": 2});
    let call = gateway.call(&token, "get_account_usage", arguments).await;
    assert_eq!(call["status"], "completed");
    company.says(&["posture", "sign", ".", "--key", "made-up-keys/own"]);
    gateway.signal("-HUP");
    gateway.says("because=\"SIGHUP\"");
    let loaded = company.records(&["--kind", "posture_loaded"], 2);
    let digests: Vec<_> = loaded.iter().map(|record| record["posture"].as_str().unwrap()).collect();
    assert_eq!(digests, [first.as_str(), lock(&company)["posture"].as_str().unwrap()]);
    // Who has to sign is read anew: whoever was taken out counts no more, nor does a file that says
    // nothing of it.
    company.edit("posture/posture.yaml", |text| format!("{text}# and more\n"));
    company.says(&["posture", "lock", ".", "--change", "after"]);
    company.says(&["posture", "sign", ".", "--key", "made-up-keys/sec"]);
    company.says(&["posture", "sign", ".", "--key", "made-up-keys/own"]);
    let own = company.public("own");
    let written = fs::read_to_string(company.path().join("countersign.yaml")).unwrap();
    let new = company.made_up_key("new");
    for (without, why) in [
        (written.replace(&own, &new), "signed as `owner`"),
        (written.replace("production", "development"), "says another environment now"),
        (written.replace("sign_off:", "sign_of:"), "nobody knows who has to sign"),
    ] {
        fs::write(company.path().join("countersign.yaml"), without).unwrap();
        gateway.signal("-HUP");
        let said = gateway.says("a posture is refused");
        assert!(said.contains(why), "{why}: {said}");
    }
    fs::write(company.path().join("countersign.yaml"), written).unwrap();
    gateway.signal("-HUP");
    gateway.says("because=\"SIGHUP\"");
}

#[tokio::test]
async fn a_grant_does_not_exist_where_it_has_not_come() {
    let company = Company::new();
    company.edit("posture/agents/support-copilot.yaml", |text| {
        text.replace("- tool: refund_invoice\n", "- tool: refund_invoice\n    stage: staging\n")
            .replace("- tool: annotate_ticket\n", "- tool: annotate_ticket\n    stage: draft\n")
    });
    let seen = async |gateway: Gateway, token: String| {
        let tools = tools(&gateway, &token).await;
        let has = |name: &str| tools.iter().any(|tool| tool == name);
        let arguments = json!({"invoice_id": "inv_200001", "amount_cents": 100, "note": "n"});
        let call = gateway.call(&token, "refund_invoice", arguments).await;
        let unknown = call["error"]["code"] == "unknown_tool";
        assert_eq!(unknown, !has("refund_invoice"), "{call}");
        (has("get_account_usage"), has("refund_invoice"), has("annotate_ticket"))
    };
    let who = Who { agent: "support-copilot", tenant: "acct_bravo", session: "s", depots: &[] };
    let gateway = company.serve();
    let ann = gateway.token(who).await;
    assert_eq!(seen(gateway, ann).await, (true, true, true));
    company.edit("countersign.yaml", |text| {
        text.replace("environment: development", "environment: staging")
    });
    let gateway = company.serve();
    let ann = gateway.token(who).await;
    assert_eq!(seen(gateway, ann).await, (true, true, false));
    company.edit("countersign.yaml", |text| {
        text.replace("environment: staging", "environment: development")
    });
    let key = company.in_production();
    company.signed();
    assert_eq!(seen(company.serve(), token(&key)).await, (true, false, false));
}

/// What a write did in staging is evidence of that write as it is, whatever stage it is at.
#[tokio::test]
async fn a_write_comes_to_production_with_what_it_did_in_staging() {
    let company = Company::new();
    company.edit("posture/agents/support-copilot.yaml", |text| {
        let staged = |tool: &str| format!("- tool: {tool}\n    stage: staging\n");
        ["annotate_ticket", "change_billing_address", "refund_invoice", "send_customer_email"]
            .iter()
            .fold(text, |text, tool| text.replace(&format!("- tool: {tool}\n"), &staged(tool)))
    });
    company.reviewers();
    company.edit("countersign.yaml", |text| {
        text.replace("environment: development", "environment: staging")
            .replace("runs: 0, days: 0", "runs: 2, days: 1")
    });
    let gateway = company.serve();
    let who = Who { agent: "support-copilot", tenant: "acct_alpha", session: "s", depots: &[] };
    let ann = gateway.token(who).await;
    let lock = || {
        let output = company.run(&["posture", "lock", ".", "--change", "c"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let staged = || company.says(&["posture", "staged", ".", "--journal", "state/journal.db"]);
    // Nothing that writes stands at production yet.
    assert_eq!(lock().0, Some(0));
    let promote = |from: &str, to: &str| {
        company.edit("posture/agents/support-copilot.yaml", |text| {
            let stage = |stage| format!("- tool: annotate_ticket\n    stage: {stage}\n");
            text.replace(&stage(from), &stage(to))
        });
    };
    promote("staging", "production");
    let (code, said) = lock();
    assert_eq!(code, Some(1));
    assert!(said.contains("as it is, has not run in staging"), "{said}");
    let note = |note: &str| json!({"ticket_id": "tkt_300003", "note": note});
    let run = async |text: &str| gateway.call(&ann, "annotate_ticket", note(text)).await;
    assert_eq!(run("One.").await["status"], "completed");
    staged();
    let (code, said) = lock();
    assert_eq!(code, Some(1));
    assert!(said.contains("has run 1 times on 1 days"), "{said}");
    assert_eq!(run("Two.").await["status"], "completed");
    staged();
    let (code, said) = lock();
    assert_eq!(code, Some(0), "{said}");
    let written = fs::read_to_string(company.path().join(LOCK)).unwrap();
    assert!(written.contains("1 writes, each 2 times on 1 days or more"), "{written}");
    // Nor has another agent that may do the very same.
    let twin = company.path().join("posture/agents/night-desk.yaml");
    let text =
        fs::read_to_string(company.path().join("posture/agents/support-copilot.yaml")).unwrap();
    let text = text.replace("agent: support-copilot", "agent: night-desk");
    fs::write(&twin, text.replace("client_id: support-copilot", "client_id: night-desk")).unwrap();
    staged();
    let (code, said) = lock();
    assert_eq!(code, Some(1));
    assert!(said.contains("`annotate_ticket` of `night-desk` has run 0 times"), "{said}");
    fs::remove_file(twin).unwrap();
    staged();
    // Another tool of the same name has not run.
    company.edit("posture/tools/annotate_ticket.yaml", |text| format!("{text}# otherwise\n"));
    let (code, said) = lock();
    assert_eq!(code, Some(1));
    assert!(said.contains("as it is, has not run in staging"), "{said}");
}

/// Reports of which something does not hold, or of too little, and what `lock` says of each.
const REPORTS: &[(&str, &str, &str)] = &[
    ("prove", r#"{ "posture": "P", "obligations": [PROOFS] }"#, ""),
    ("prove", r#"{ "posture": "P", "obligations": [] }"#, "does not show"),
    (
        "prove",
        r#"{ "posture": "P", "obligations": [PROOFS, { "verdict": "undecided" }] }"#,
        "does not show",
    ),
    ("prove", r#"{ "posture": "P", "earlier": true, "obligations": [PROOFS] }"#, "does not show"),
    (
        "prove",
        r#"{ "posture": "P", "obligations": [{ "tool": "list_vehicles", "obligation": "errors", "verdict": "proved" }] }"#,
        "says nothing of `annotate_ticket scope.tenant`",
    ),
    ("prove", r#"{ "posture": "Q", "obligations": [PROOFS] }"#, "another posture"),
    ("prove", "{", "evidence/prove.json"),
    (
        "mutate",
        r#"{ "posture": "P", "only": [], "stale": [], "mutants": [{}], "summary": { "noticed": 1, "survived": 0 } }"#,
        "",
    ),
    (
        "mutate",
        r#"{ "posture": "P", "only": ["x"], "stale": [], "mutants": [{}], "summary": { "noticed": 1, "survived": 0 } }"#,
        "does not show",
    ),
    (
        "mutate",
        r#"{ "posture": "P", "only": [], "stale": [], "mutants": [{}, {}], "summary": { "noticed": 1, "survived": 1 } }"#,
        "does not show",
    ),
    ("eval", r#"{ "posture": "P", "failed": 0, "cases": [CASES] }"#, ""),
    ("eval", r#"{ "posture": "P", "failed": 0, "cases": [] }"#, "does not show"),
    (
        "eval",
        r#"{ "posture": "P", "failed": 0, "cases": [{ "id": "accounts/one", "passed": true, "runs": 1, "held": 1 }] }"#,
        "says nothing of `",
    ),
    (
        "eval",
        r#"{ "posture": "P", "failed": 0, "cases": [CASES, { "id": "x/y", "passed": true, "runs": 5, "held": 1 }] }"#,
        "does not show",
    ),
    (
        "eval",
        r#"{ "posture": "P", "failed": 1, "cases": [CASES, { "id": "x/y", "passed": false }] }"#,
        "does not show",
    ),
];

#[test]
fn evidence_is_of_this_posture_whole_and_of_nothing_that_failed() {
    let company = Company::new();
    company.reviewers();
    company.says(&["posture", "lock", ".", "--change", "c"]);
    let digest = lock(&company)["posture"].as_str().unwrap().to_owned();
    let (loaded, _) = countersign_posture::load_posture(&company.path().join("posture"));
    let evals =
        countersign_posture::evals::load_evals(&company.path().join("posture"), loaded.as_ref());
    let cases: Vec<_> = evals
        .0
        .unwrap()
        .cases
        .iter()
        .map(|case| json!({"id": case.id(), "passed": true, "runs": 1, "held": 1}).to_string())
        .collect();
    let proofs = countersign_assurance::proof::obligations(&loaded.unwrap().posture);
    let proofs = proofs.iter().map(|(tool, claim)| {
        json!({"tool": tool.as_str(), "obligation": claim.name(), "verdict": "proved"}).to_string()
    });
    let proofs = proofs.collect::<Vec<_>>().join(",");
    for (name, report, said) in REPORTS {
        let path = company.path().join("countersign.yaml");
        let before = fs::read_to_string(&path).unwrap();
        company.edit("countersign.yaml", |text| {
            text.replace("evidence: [check]", &format!("evidence: [{name}]"))
        });
        let report = report
            .replace("\"P\"", &json!(digest).to_string())
            .replace("CASES", &cases.join(","))
            .replace("PROOFS", &proofs);
        let file = company.path().join(format!("posture/evidence/{name}.json"));
        fs::write(file, &report).unwrap();
        let output = company.run(&["posture", "lock", ".", "--change", "c"]);
        let told = String::from_utf8(output.stdout).unwrap();
        let fine = said.is_empty();
        assert_eq!(output.status.code(), Some(if fine { 0 } else { 1 }), "{name} {report}: {told}");
        assert!(
            told.contains(said) && (fine || told.contains("countersign")),
            "{name} {report}: {told}"
        );
        fs::write(path, before).unwrap();
    }
}

fn verified(company: &Company, who: &str, signature: &Path) -> bool {
    let allowed = company.path().join("allowed-signers");
    fs::write(&allowed, format!("{who} {}\n", company.public(who))).unwrap();
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", NAMESPACE, "-I", who, "-f"])
        .args([allowed.as_path(), Path::new("-s"), signature])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let message = company.run(&["posture", "sign", ".", "--message"]).stdout;
    child.stdin.take().unwrap().write_all(&message).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn ssh_keygen_agrees_and_an_agents_key_or_a_signature_from_elsewhere_will_do() {
    let company = Company::new();
    company.reviewers();
    company.says(&["posture", "lock", ".", "--change", "c"]);
    let message = company.run(&["posture", "sign", ".", "--message"]).stdout;
    fs::write(company.path().join("message"), &message).unwrap();
    // On another machine: only the message goes there, and the signature back.
    let made = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-q", "-n", NAMESPACE, "-f", "made-up-keys/own", "message"])
        .current_dir(company.path())
        .status();
    assert!(made.unwrap().success());
    company.says(&["posture", "sign", ".", "--signature", "message.sig"]);
    // By an agent: the private key is in no file.
    let run = format!(
        "ssh-add -q made-up-keys/sec && rm made-up-keys/sec && {} posture sign . --key made-up-keys/sec.pub",
        env!("CARGO_BIN_EXE_countersign")
    );
    let agent = ["sh", "-ec", &run];
    let output = Command::new("ssh-agent").args(agent).current_dir(company.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = company.says(&["check", "."]);
    assert!(said.contains("signed as `security` by sec@acme.example"), "{said}");
    assert!(said.contains("signed as `owner` by own@acme.example"), "{said}");
    for signature in lock(&company)["signatures"].as_array().unwrap() {
        let who = signature["by"].as_str().unwrap().split('@').next().unwrap();
        let file = company.path().join("signature");
        fs::write(&file, signature["signature"].as_str().unwrap()).unwrap();
        assert!(verified(&company, who, &file), "{who}");
        let other = if who == "sec" { "own" } else { "sec" };
        assert!(!verified(&company, other, &file), "{who} is not {other}");
    }
    // Whom nobody lists, and what is not so, is not signed.
    let path = company.path().join(LOCK);
    let whole = fs::read_to_string(&path).unwrap();
    company.edit(LOCK, |text| text.replacen("Sums", "Sum", 1).replacen("up to", "far below", 1));
    let told = company.run(&["posture", "sign", ".", "--key", "made-up-keys/own"]);
    let said = String::from_utf8(told.stdout).unwrap();
    assert!(said.contains("does not say what the posture permits"), "{said}");
    fs::write(path, whole).unwrap();
    company.made_up_key("stranger");
    let stranger = company.run(&["posture", "sign", ".", "--key", "made-up-keys/stranger"]);
    assert_eq!(stranger.status.code(), Some(1));
    company.edit("posture/posture.yaml", |text| format!("{text}# more\n"));
    let edited = company.run(&["posture", "sign", ".", "--key", "made-up-keys/own"]);
    assert_eq!(edited.status.code(), Some(1));
    let said = String::from_utf8(edited.stdout).unwrap();
    assert!(said.contains("nothing is signed"), "{said}");
}
