//! The walls between crates, and what no stage of the pipeline may derive.

use std::collections::BTreeSet;
use std::path::PathBuf;

const LEAVES: [&str; 6] = ["posture", "policy", "store", "connectors", "gateway", "relay"];
/// What tries the others from outside knows what they promise, and the policies it proves something of.
const ASSURANCE: [&str; 3] = ["countersign-core", "countersign-policy", "countersign-posture"];

fn source(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The names under `[dependencies]` of a crate; what its tests alone need does not count.
fn dependencies(name: &str) -> BTreeSet<String> {
    source(&format!("crates/{name}/Cargo.toml"))
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn core_depends_on_nothing_that_does_anything() {
    let allowed = [
        "hex",
        "idna",
        "serde",
        "serde_json",
        "serde_json_canonicalizer",
        "sha2",
        "thiserror",
        "unicode-security",
    ];
    assert_eq!(dependencies("countersign-core"), allowed.map(str::to_owned).into());
}

#[test]
fn no_leaf_knows_another_and_each_heavy_library_has_one_home() {
    for leaf in LEAVES {
        let depends = dependencies(&format!("countersign-{leaf}"));
        assert!(depends.contains("countersign-core"), "{leaf}: {depends:?}");
        let ours: Vec<_> = depends.iter().filter(|name| name.starts_with("countersign-")).collect();
        assert_eq!(ours, ["countersign-core"], "{leaf}");
    }
    let assurance = dependencies("countersign-assurance");
    let ours: Vec<_> = assurance.iter().filter(|name| name.starts_with("countersign-")).collect();
    assert_eq!(ours, ASSURANCE);
    for (library, home) in [
        ("cedar-policy", &["assurance", "policy"][..]),
        ("saphyr-parser", &["posture"]),
        ("jsonschema", &["posture"]),
        ("axum", &["assurance", "gateway"]),
        ("rusqlite", &["assurance", "connectors", "store"]),
        ("tokio-postgres", &["connectors"]),
    ] {
        let crates = ["assurance", "connectors", "gateway", "policy", "posture", "relay", "store"];
        let homes: Vec<_> = crates
            .into_iter()
            .filter(|leaf| dependencies(&format!("countersign-{leaf}")).contains(library))
            .collect();
        assert_eq!(homes, home, "{library}");
    }
}

#[test]
fn no_stage_of_the_pipeline_derives_a_hidden_constructor() {
    let call = source("crates/countersign-core/src/call.rs");
    let gated = source("crates/countersign-core/src/call/gated.rs");
    // That a call was stopped makes no stage.
    let gated = gated.replacen("impl From<Refusal> for Stopped", "", 1);
    let call = call + &gated;
    let structs: Vec<&str> = call.split("#[derive(").skip(1).collect();
    assert!(structs.len() > 20, "{}", structs.len());
    for after in structs {
        let derived = after.split(')').next().unwrap();
        let name = after
            .split("pub ")
            .nth(1)
            .unwrap_or_default()
            .split([' ', '('])
            .nth(1)
            .unwrap_or_default();
        let plain = matches!(name, "Door" | "Answers"); // Words, and no stages.
        assert!(plain || derived == "Debug", "`{name}` derives {derived}");
    }
    for hidden in ["impl Clone", "impl Default", "impl<'de> Deserialize", "impl From<"] {
        assert!(!call.contains(hidden), "{hidden}");
    }
}
