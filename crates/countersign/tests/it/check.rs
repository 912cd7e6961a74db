//! `check` from the outside: the same findings in every form, and how it ends.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) fn check(here: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("check").args(arguments).current_dir(here).output().unwrap()
}

fn said(here: &Path, format: &str) -> String {
    let output = check(here, &["gw", "--format", format]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `init` writes, in `gw`.
pub(crate) fn fresh() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let init = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["init", "gw"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(init.status.success(), "{init:?}");
    dir
}

/// The same with mistakes: three errors in a file, one about a file with a name that every form has
/// to escape in its own way, and a warning.
fn broken() -> TempDir {
    let dir = fresh();
    let edit = |file: &str, from: &str, to: &str| {
        let path = dir.path().join("gw").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} in {file}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    edit("posture/systems/shop-db.yaml", "timeout: 2s", "tiemout: 2s # é\nrows: \"1\"");
    edit("posture/systems/shop-db.yaml", "rows: 100\n", "");
    edit("posture/tools/list_orders.yaml", "limit :count", "limit 5");
    fs::write(dir.path().join("gw/posture/tools/50%, a:b\nc.txt"), "").unwrap();
    dir
}

#[test]
fn every_form_tells_the_same_findings() {
    let dir = broken();
    let json: Value = serde_json::from_str(&said(dir.path(), "json")).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let codes: Vec<_> = findings.iter().map(|found| found["code"].as_str().unwrap()).collect();
    let expected =
        ["missing-key", "unknown-key", "wrong-type", "unexpected-file", "unused-argument"];
    assert_eq!(codes, expected);
    assert_eq!(json["summary"], json!({"errors": 4, "warnings": 1}));
    assert_eq!(
        findings[1],
        json!({
            "code": "unknown-key", "severity": "error", "file": "gw/posture/systems/shop-db.yaml",
            "line": 5, "column": 1, "end_line": 5, "end_column": 8,
            "message": "the key `tiemout` means nothing here", "help": "did you mean `timeout`?",
        })
    );
    let sarif: Value = serde_json::from_str(&said(dir.path(), "sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let github = said(dir.path(), "github");
    let commands: Vec<_> = github.lines().filter(|line| line.starts_with("::")).collect();
    let text = said(dir.path(), "text");
    assert_eq!((results.len(), commands.len()), (findings.len(), findings.len()), "{github}");
    for ((found, result), command) in findings.iter().zip(results).zip(commands) {
        let word = |name: &str| found[name].as_str().unwrap();
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(result["ruleId"], found["code"]);
        assert_eq!(result["level"], found["severity"]);
        assert!(result["message"]["text"].as_str().unwrap().starts_with(word("message")));
        assert_eq!(place["region"]["startLine"], found["line"]);
        assert_eq!(place["region"]["endColumn"], found["end_column"]);
        let start = format!("::{} file=gw/posture/", word("severity"));
        assert!(command.starts_with(&start), "{command}");
        let title = format!(",title={}::", word("code"));
        let (head, message) = command.split_once(&title).unwrap();
        assert!(head.contains(&format!(",line={},", found["line"])), "{command}");
        let unescaped = message.replace("%0A", "\n").replace("%25", "%");
        let help = found["help"].as_str().map(|help| format!("\n{help}")).unwrap_or_default();
        assert_eq!(unescaped, format!("{}{help}", word("message")));
        let place = format!("{}:{}:{}", word("file"), found["line"], found["column"]);
        assert!(text.contains(&place), "{place} in {text}");
    }
}

#[test]
fn a_files_name_can_neither_end_a_line_nor_a_property_nor_a_uri() {
    let dir = broken();
    let github = said(dir.path(), "github");
    assert!(github.contains("file=gw/posture/tools/50%25%2C a%3Ab\\nc.txt,line=1,"), "{github}");
    let sarif: Value = serde_json::from_str(&said(dir.path(), "sarif")).unwrap();
    let location = &sarif["runs"][0]["results"][3]["locations"][0]["physicalLocation"];
    let uri = "gw/posture/tools/50%25%2C%20a%3Ab%5Cnc.txt";
    let expected = json!({"uri": uri, "uriBaseId": "%SRCROOT%"});
    assert_eq!(location["artifactLocation"], expected);
    for form in ["text", "json"] {
        assert!(!said(dir.path(), form).contains("b\nc.txt"), "{form}");
    }
}

#[test]
fn the_sarif_log_has_every_member_that_2_1_0_requires() {
    let sarif: Value = serde_json::from_str(&said(broken().path(), "sarif")).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "countersign");
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules = driver["rules"].as_array().unwrap();
    for (rule, code) in rules.iter().zip(countersign_posture::Code::ALL) {
        assert_eq!(rule["id"], code.as_str());
        assert!(rule["shortDescription"]["text"].as_str().is_some_and(|text| text.ends_with('.')));
        let page = format!("docs/lints.md#{code}");
        assert!(rule["help"]["text"].as_str().unwrap().contains(&page));
    }
    assert_eq!(rules.len(), countersign_posture::Code::ALL.len());
}

#[test]
fn every_result_of_the_sarif_log_leads_to_its_rule_and_its_place() {
    let sarif: Value = serde_json::from_str(&said(broken().path(), "sarif")).unwrap();
    let run = &sarif["runs"][0];
    let rules = &run["tool"]["driver"]["rules"];
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(matches!(result["level"].as_str(), Some("error" | "warning")));
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
        let region = &result["locations"][0]["physicalLocation"]["region"];
        let at = |name: &str| region[name].as_u64().unwrap();
        assert!(at("startLine") >= 1 && at("startColumn") >= 1);
        assert!((at("endLine"), at("endColumn")) >= (at("startLine"), at("startColumn")));
    }
}

#[test]
fn it_ends_with_0_without_errors_1_with_and_2_if_it_could_not_run() {
    let dir = fresh();
    for format in ["text", "json", "github", "sarif"] {
        let fine = check(dir.path(), &["gw", "--format", format]);
        assert_eq!(fine.status.code(), Some(0), "{fine:?}");
        let absent = check(dir.path(), &["nowhere", "--format", format]);
        let told = matches!(format, "json" | "sarif");
        assert_eq!(
            (absent.status.code(), absent.stdout.is_empty()),
            (Some(2), !told),
            "{absent:?}"
        );
    }
    let json = check(dir.path(), &["gw", "--format", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["findings"], &json["summary"]["agents"]), (&json!([]), &json!(1)));
    let wrong = check(dir.path(), &["gw", "--format", "xml"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_mistake_in_the_deployment_hides_none_in_the_posture() {
    let dir = broken();
    let path = dir.path().join("gw/countersign.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("development_issuer: true", "development_issuer: perhaps"))
        .unwrap();
    let json: Value = serde_json::from_str(&said(dir.path(), "json")).unwrap();
    assert_eq!(json["findings"][0]["file"], "gw/countersign.yaml");
    assert_eq!(json["summary"], json!({"errors": 6, "warnings": 1}));
}

#[test]
fn files_are_named_as_the_current_directory_sees_them() {
    let dir = broken();
    let whole = dir.path().canonicalize().unwrap();
    let inside = whole.join("gw");
    let elsewhere = whole.join("gw/posture");
    for (here, config, expected) in [
        (&inside, ".", "posture/systems/shop-db.yaml"),
        (&inside, "./countersign.yaml", "posture/systems/shop-db.yaml"),
        (&inside, inside.to_str().unwrap(), "posture/systems/shop-db.yaml"),
        (&elsewhere, "..", "../posture/systems/shop-db.yaml"),
    ] {
        let output = check(here, &[config, "--format", "json"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["findings"][0]["file"], expected, "{config} from {here:?}");
        assert!(here.join(expected).is_file());
    }
}

fn write(dir: &TempDir, file: &str, text: &str) {
    fs::write(dir.path().join("gw").join(file), text).unwrap();
}

const SYSTEM: &str = "posture/systems/shop-db.yaml";

#[test]
fn what_controls_a_terminal_is_shown_and_not_obeyed() {
    let dir = fresh();
    write(&dir, SYSTEM, "system: shop-db # \u{1b}]0;pwned\u{7} \u{202e} x\nnope: 1\n");
    let text = said(dir.path(), "text");
    let hidden = |c: char| matches!(c, '\u{1b}' | '\u{7}' | '\u{202e}');
    assert!(!text.contains(hidden), "{text:?}");
    assert!(text.contains("␛]0;pwned␇ <U+202E> x"), "{text}");
    // Under each stands a mark: as many columns from the margin as it.
    let column = |line: &str, of: char| line.chars().position(|c| c == of);
    let lines: Vec<_> = text.lines().collect();
    let marked = |of| {
        let under = |pair: &&[&str]| {
            let mark = pair[1].chars().position(|c| matches!(c, '┬' | '─'));
            mark.is_some() && mark == column(pair[0], of)
        };
        lines.windows(2).any(|pair| under(&pair))
    };
    assert!(marked('␛') && marked('␇') && marked('<'), "{text}");
}

#[test]
fn a_line_without_end_and_mistakes_without_number_make_no_report_without_end() {
    let dir = fresh();
    write(&dir, SYSTEM, &format!("system: shop-db # {}\nnope: 1\n", "é".repeat(100_000)));
    assert!(said(dir.path(), "text").len() < 10_000);
    write(&dir, SYSTEM, &format!("system: shop-db\n{}: 1\n", "k".repeat(200_000)));
    for format in ["text", "json", "github", "sarif"] {
        assert!(said(dir.path(), format).len() < 100_000, "{format}");
    }
    let keys: String = (0..20_000).map(|key| format!("k{key}: 1\n")).collect();
    write(&dir, SYSTEM, &format!("system: shop-db\n{keys}"));
    for format in ["text", "json", "github", "sarif"] {
        let told = said(dir.path(), format);
        assert!(told.len() < 1_000_000, "{format}: {}", told.len());
    }
    let json: Value = serde_json::from_str(&said(dir.path(), "json")).unwrap();
    let told = json["findings"].as_array().unwrap().len();
    let (errors, warnings) = (&json["summary"]["errors"], &json["summary"]["warnings"]);
    let all = errors.as_u64().unwrap() + warnings.as_u64().unwrap();
    assert!(all > 20_000, "all are counted");
    assert_eq!(json["summary"]["not_shown"], json!(all - u64::try_from(told).unwrap()));
}

#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let dir = fresh();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let status = command.args(["check", "gw"]).current_dir(dir.path()).stdout(full).status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[test]
fn where_there_is_nothing_to_check_the_forms_for_machines_say_so() {
    let dir = tempfile::tempdir().unwrap();
    for (format, pointer) in [
        ("json", "/error"),
        ("sarif", "/runs/0/invocations/0/toolExecutionNotifications/0/message/text"),
    ] {
        let output = check(dir.path(), &["gw", "--format", format]);
        assert_eq!(output.status.code(), Some(2));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told.pointer(pointer).unwrap(), "there is no gw", "{told}");
    }
}

#[test]
fn a_posture_that_is_not_there_is_shown_where_it_is_named() {
    let dir = fresh();
    let file = dir.path().join("gw/countersign.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("posture: posture", "posture: nowhere")).unwrap();
    let json: Value = serde_json::from_str(&said(dir.path(), "json")).unwrap();
    let found = &json["findings"][0];
    assert_eq!(found["file"], "gw/countersign.yaml");
    assert_eq!((&found["line"], &found["column"]), (&json!(4), &json!(10)), "{json}");
    assert_eq!(json["findings"].as_array().unwrap().len(), 1, "{json}");
}

#[test]
fn a_mistake_in_a_statement_is_underlined_where_it_is() {
    let dir = fresh();
    let file = dir.path().join("gw/posture/tools/list_orders.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("limit :count", "limit :nosuch")).unwrap();
    let json: Value = serde_json::from_str(&said(dir.path(), "json")).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let found = findings.iter().find(|found| found["code"] == "unknown-placeholder").unwrap();
    let width = found["end_column"].as_u64().unwrap() - found["column"].as_u64().unwrap();
    assert_eq!((found["line"].as_u64().unwrap(), width), (24, 7), "{json}");
}
