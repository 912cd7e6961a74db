//! `schema`, and the schemas that `init` writes.

use countersign_posture::file_schema::{FileKind, reference};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

fn said(here: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let output = command.args(arguments).current_dir(here).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_prints_one_kind_or_all_and_writes_them_into_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let all: Value = serde_json::from_str(&said(dir.path(), &["schema"])).unwrap();
    assert_eq!(all.as_object().unwrap().len(), FileKind::ALL.len());
    said(dir.path(), &["schema", "--out", "a/b"]);
    for kind in FileKind::ALL {
        let name = kind.as_str();
        let one: Value = serde_json::from_str(&said(dir.path(), &["schema", name])).unwrap();
        assert_eq!((&one, &one), (&kind.schema(), &all[name]));
        let written = fs::read(dir.path().join(format!("a/b/{name}.json"))).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), one);
    }
    said(dir.path(), &["schema", "tool", "--out", "one"]);
    assert_eq!(fs::read_dir(dir.path().join("one")).unwrap().count(), 1);
    assert_eq!(said(dir.path(), &["schema", "--markdown"]), reference());
}

#[test]
fn each_file_that_init_writes_names_the_schema_of_its_kind_and_check_has_nothing_to_say() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["init", "."]);
    for (file, kind) in [
        ("countersign.yaml", "deployment"),
        ("posture/posture.yaml", "posture"),
        ("posture/agents/shop-assistant.yaml", "agent"),
        ("posture/tools/list_orders.yaml", "tool"),
        ("posture/systems/shop-db.yaml", "system"),
    ] {
        let file = dir.path().join(file);
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        let schema = first.strip_prefix("# yaml-language-server: $schema=").unwrap();
        let schema = fs::read(file.parent().unwrap().join(schema)).unwrap();
        let schema: Value = serde_json::from_slice(&schema).unwrap();
        assert_eq!(schema, said_schema(dir.path(), kind), "{file:?}");
    }
    let checked: Value =
        serde_json::from_str(&said(dir.path(), &["check", "--format", "json"])).unwrap();
    assert_eq!(checked["findings"], Value::Array(Vec::new()));
}

fn said_schema(here: &Path, kind: &str) -> Value {
    serde_json::from_str(&said(here, &["schema", kind])).unwrap()
}
