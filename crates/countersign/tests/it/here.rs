//! What only the machine shows: `check --here` against the real `serve`.

use crate::check::{check, fresh};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Ways of taking from a machine what `serve` needs, the code of each, and the file with its place.
type Break = (&'static str, fn(&Path), &'static str);

fn edit(dir: &Path, from: &str, to: &str) {
    let path = dir.join("countersign.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

const REFERENCE: &str = "{ value: data/shop.db }";

/// The example's system is an API, at what `reference` stands for.
fn on_an_api(dir: &Path, reference: &str) {
    edit(dir, REFERENCE, reference);
    let api = "system: shop-db\nhttp: { origin: shop-db, auth: { bearer: shop-db } }\ntimeout: 2s\nrows: 9\nbytes: 64KiB\n";
    fs::write(dir.join("posture/systems/shop-db.yaml"), api).unwrap();
    let tool = dir.join("posture/tools/list_orders.yaml");
    let text = fs::read_to_string(&tool).unwrap();
    let (before, _) = text.split_once("call:\n").unwrap();
    let call = "call:\n  system: shop-db\n  get: /orders\n  query: { t: \"{tenant}\", n: \"{count}\", s: \"{status}\" }\n";
    fs::write(&tool, format!("{before}{call}")).unwrap();
}

fn on_postgres(dir: &Path, reference: &str) {
    edit(dir, REFERENCE, reference);
    let file = dir.join("posture/systems/shop-db.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("sqlite: { database:", "postgres: { connection:")).unwrap();
}

fn issuer(dir: &Path, algorithm: &str, keys: &str) {
    let issuer = format!(
        "issuers:\n  - {{ issuer: \"https://idp.example\", keys: idp.json, algorithms: [{algorithm}] }}\nstore:"
    );
    edit(dir, "store:", &issuer);
    let agent = dir.join("posture/agents/shop-assistant.yaml");
    let text = fs::read_to_string(&agent).unwrap();
    let named = text.replace(
        "client_id: shop-assistant",
        "client_id: shop-assistant, issuer: \"https://idp.example\"",
    );
    fs::write(agent, named).unwrap();
    if !keys.is_empty() {
        fs::write(dir.join("idp.json"), keys).unwrap();
    }
}

const ES256: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

const BREAKS: &[Break] = &[
    ("absent-reference", |dir| edit(dir, REFERENCE, "{ env: NOT_SET_ANYWHERE }"), "shop-db"),
    ("absent-reference", |dir| edit(dir, REFERENCE, "{ file: nowhere.secret }"), "shop-db"),
    (
        "absent-reference",
        |dir| {
            edit(dir, REFERENCE, "{ file: empty.secret }");
            fs::write(dir.join("empty.secret"), "\n").unwrap();
        },
        "shop-db",
    ),
    (
        "absent-reference",
        |dir| {
            edit(dir, REFERENCE, "{ file: folder }");
            fs::create_dir(dir.join("folder")).unwrap();
        },
        "shop-db",
    ),
    (
        "unfit-reference",
        |dir| {
            on_an_api(dir, "{ file: origin }");
            fs::write(dir.join("origin"), "https://Shop.Example/x").unwrap();
        },
        "shop-db",
    ),
    (
        "unfit-reference",
        |dir| {
            on_postgres(dir, "{ file: connection }");
            fs::write(dir.join("connection"), "postgres://nobody-and-nowhere:x").unwrap();
        },
        "shop-db",
    ),
    ("absent-keys", |dir| issuer(dir, "ES256", ""), "idp.json"),
    ("absent-keys", |dir| issuer(dir, "ES256", "not json"), "idp.json"),
    ("absent-keys", |dir| issuer(dir, "ES256", r#"{"keys":[]}"#), "idp.json"),
    ("absent-keys", |dir| issuer(dir, "RS256", ES256), "idp.json"),
    ("absent-journal", |dir| fs::remove_dir_all(dir.join("state")).unwrap(), "state/journal.db"),
    (
        "absent-journal",
        |dir| fs::write(dir.join("state/journal.db"), "").unwrap(),
        "state/journal.db",
    ),
    (
        "absent-journal",
        |dir| fs::write(dir.join("state/journal.db"), "x".repeat(9_999)).unwrap(),
        "state/journal.db",
    ),
    (
        "absent-journal",
        |dir| fs::remove_file(dir.join("state/journal.key")).unwrap(),
        "state/journal.key",
    ),
    (
        "absent-journal",
        |dir| fs::write(dir.join("state/journal.key"), "garbage").unwrap(),
        "state/journal.key",
    ),
    (
        "absent-journal",
        |dir| fs::write(dir.join("state/journal.key"), "07".repeat(32)).unwrap(),
        "state/journal.key",
    ),
    (
        "absent-journal",
        |dir| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            fs::set_permissions(dir.join("state/journal.key"), mode).unwrap();
        },
        "state/journal.key",
    ),
    (
        "absent-journal",
        |dir| fs::remove_file(dir.join("state/journal.key.head")).unwrap(),
        "state/journal.db",
    ),
    (
        "absent-logs",
        |dir| {
            fs::remove_dir_all(dir.join("logs")).unwrap();
            fs::write(dir.join("logs"), "a file").unwrap();
        },
        "logs",
    ),
    (
        "listen-address",
        |dir| {
            issuer(dir, "ES256", ES256);
            edit(dir, "development_issuer: true\n", "");
            edit(dir, "listen: 127.0.0.1:0", "listen: 192.0.2.1:0"); // RFC 5737: nobody's
        },
        "192.0.2.1:0",
    ),
    // Nothing is missing.
    ("", |_| {}, ""),
    ("", |dir| issuer(dir, "ES256", ES256), ""),
    ("", |dir| fs::remove_dir_all(dir.join("logs")).unwrap(), ""),
];

/// What `serve` says and how it ends; `None` if it serves.
fn served(dir: &Path) -> Option<(i32, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["serve", "."])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let serves = lines.any(|line| line.unwrap().contains("countersign serves MCP on"));
    if serves {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    }
    let output = child.wait_with_output().unwrap();
    Some((output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn check_here_refuses_what_serve_refuses_and_says_the_same_at_the_line_that_asks_for_it() {
    for (code, change, written) in BREAKS {
        let fresh = fresh();
        let dir = fresh.path().join("gw");
        edit(&dir, "listen: 127.0.0.1:8787", "listen: 127.0.0.1:0");
        change(&dir);
        let elsewhere = check(&dir, &["."]);
        let said = String::from_utf8(elsewhere.stdout).unwrap();
        assert_eq!(elsewhere.status.code(), Some(0), "{code}, {written}: {said}");
        let here = check(&dir, &[".", "--here", "--format", "json"]);
        let told: Value = serde_json::from_slice(&here.stdout).unwrap();
        let served = served(&dir);
        if written.is_empty() {
            assert_eq!((here.status.code(), served), (Some(0), None), "{told}");
            continue;
        }
        assert!(said.contains("what `serve` needs and this machine lacks: 1;"), "{said}");
        let (status, refused) = served.unwrap_or_else(|| panic!("{code}: it serves"));
        assert_eq!((here.status.code(), status), (Some(1), 1), "{code}: {refused}");
        let [found] = told["findings"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!((&found["code"], &found["file"]), (&json!(code), &json!("countersign.yaml")));
        let text = fs::read_to_string(dir.join("countersign.yaml")).unwrap();
        let number = |name: &str| usize::try_from(found[name].as_u64().unwrap()).unwrap();
        let line = text.lines().nth(number("line") - 1).unwrap();
        let underlined = line.get(number("column") - 1..number("end_column") - 1);
        assert_eq!(underlined, Some(*written), "{told}");
        assert!(refused.contains(&format!("{code}\n")), "{code}: {refused}");
    }
}

#[test]
fn all_that_is_missing_here_is_told_at_once_beside_what_is_wrong_in_the_files() {
    let fresh = fresh();
    let dir = fresh.path().join("gw");
    on_an_api(&dir, "{ env: NOT_SET_ANYWHERE }");
    edit(&dir, "listen: 127.0.0.1:8787", "listen: 192.0.2.1:8787");
    edit(&dir, "development_issuer: true\n", "");
    issuer(&dir, "ES256", "");
    fs::remove_dir_all(dir.join("state")).unwrap();
    let codes = || {
        let told = check(&dir, &[".", "--here", "--format", "json"]);
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let codes = told["findings"].as_array().unwrap().iter();
        codes.map(|found| found["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ["listen-address", "absent-keys", "absent-journal", "absent-reference"];
    assert_eq!(codes(), all);
    fs::write(dir.join("posture/extra.txt"), "").unwrap();
    let beside = codes();
    assert!(beside.contains(&"unexpected-file".to_owned()), "{beside:?}");
    assert!(all[..3].iter().all(|code| beside.contains(&(*code).to_owned())), "{beside:?}");
}

#[test]
fn a_value_that_no_machine_could_use_is_an_error_everywhere() {
    let fresh = fresh();
    let dir = fresh.path().join("gw");
    on_an_api(&dir, "{ value: \"https://Shop.Example/x\" }");
    let told = check(&dir, &[".", "--format", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["findings"][0]["code"], "unfit-reference", "{told}");
}

#[test]
fn check_here_changes_nothing_and_is_not_disturbed_by_a_gateway_that_runs() {
    let company = crate::gateway::Company::new();
    let files = || {
        let mut find = Command::new("find");
        find.args([".", "-printf", "%p %s %T@ %m\n"]).current_dir(company.path());
        let found = String::from_utf8(find.output().unwrap().stdout).unwrap();
        let mut lines: Vec<_> = found.lines().map(str::to_owned).collect();
        lines.sort();
        // `-shm` is SQLite's index of the log, made anew by whoever opens it first.
        let kept = |line: &str| {
            !line.starts_with(". ") && !line.starts_with("./state ") && !line.contains("-shm ")
        };
        lines.retain(|line| kept(line));
        lines
    };
    let before = files();
    company.says(&["check", ".", "--here"]);
    assert_eq!(files(), before);
    let _gateway = company.serve();
    company.says(&["check", ".", "--here"]);
}
