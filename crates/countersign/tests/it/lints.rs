//! `docs/lints.md` against the program: every code stands there with an example that earns it, alone,
//! and a mended one that earns nothing.

use countersign_posture::{Code, Severity};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../../../docs/lints.md");

/// A section: what follows its heading.
fn sections() -> Vec<(&'static str, &'static str)> {
    let sections = PAGE.split("\n### ").skip(1);
    sections.map(|section| section.split_once('\n').unwrap()).collect()
}

/// The fenced blocks of a section: language and text.
fn blocks(section: &str) -> Vec<(&str, &str)> {
    let fences: Vec<_> = section.split("```").collect();
    fences.chunks(2).filter_map(|pair| pair.get(1)?.split_once('\n')).collect()
}

/// A text cut before every line that begins something; what comes before the first is empty or
/// nobody's.
fn cut(text: &str, begins: impl Fn(&str) -> bool) -> Vec<(&str, String)> {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        if begins(line) || parts.is_empty() {
            parts.push((line, String::new()));
        }
        let (_, part) = parts.last_mut().unwrap();
        part.push_str(line);
        part.push('\n');
    }
    parts
}

fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    (!key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')).then_some(key)
}

/// Puts the keys of `change` in the place of those of `file`.
fn merged(file: &str, change: &str) -> String {
    let begins = |line: &str| key(line).is_some();
    let mut parts = cut(file, begins);
    for (line, part) in cut(change, begins) {
        match parts.iter_mut().find(|(known, _)| key(known) == key(line)) {
            Some((_, known)) => *known = part,
            None => parts.push((line, part)),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// What a comment says, in YAML or in Cedar.
fn named(line: &str) -> Option<&str> {
    line.strip_prefix("# ").or(line.strip_prefix("// "))
}

fn apply(dir: &Path, (language, text): (&str, &str)) {
    if language == "sh" {
        let program = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
        let mut sh = Command::new("sh");
        let status = sh.args(["-euc", text]).env("PATH", path).current_dir(dir).status();
        assert!(status.unwrap().success(), "{text}");
        return;
    }
    let names_a_file = |line: &str| {
        named(line).is_some_and(|name| name.starts_with("posture/") || name == "countersign.yaml")
    };
    for (line, part) in cut(text, names_a_file) {
        let path = dir.join(named(line).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let change = part.split_once('\n').unwrap().1;
        let text = match fs::read_to_string(&path) {
            Ok(file) => merged(&file, change),
            Err(_) => change.to_owned(),
        };
        fs::write(path, text).unwrap();
    }
}

/// What `check` finds in what `init` wrote, once it is changed; with `here`, on this machine too.
fn codes(fresh: &Path, block: (&str, &str), here: bool) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(fresh.join(".")).arg(dir.path()).status();
    assert!(copied.unwrap().success());
    apply(dir.path(), block);
    let check = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["check", "--format", "json"])
        .args(here.then_some("--here"))
        .arg(dir.path())
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&check.stdout).unwrap();
    let codes = told["findings"].as_array().unwrap().iter();
    codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_code_has_one_section_that_begins_with_what_it_means() {
    let described: Vec<_> = sections().into_iter().map(|(code, _)| code).collect();
    let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(described.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(described.len(), known.len());
    for code in Code::ALL {
        let (_, section) = sections().into_iter().find(|(name, _)| *name == code.as_str()).unwrap();
        let severity = match code.severity() {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
        };
        let start = format!("\n**{severity}.** {}", code.summary());
        assert!(section.starts_with(&start), "{code} must begin: {start}");
    }
}

/// `docs/iam.md`: every example of an identity provider passes.
#[test]
fn every_identity_provider_is_configured_as_its_page_says() {
    let fresh = tempfile::tempdir().unwrap();
    let mut init = Command::new(env!("CARGO_BIN_EXE_countersign"));
    assert!(init.arg("init").arg(fresh.path()).output().unwrap().status.success());
    let page = include_str!("../../../../docs/iam.md");
    let blocks = blocks(page);
    assert_eq!(blocks.len(), 6);
    for block in blocks {
        let mut found = codes(fresh.path(), block, false);
        found.remove(Code::TemplateLeft.as_str());
        assert_eq!(found, BTreeSet::new(), "{}", block.1);
    }
}

#[test]
fn every_bad_example_earns_its_code_alone_and_every_mended_one_nothing() {
    let fresh = tempfile::tempdir().unwrap();
    let init = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("init")
        .arg(fresh.path())
        .output()
        .unwrap();
    assert!(init.status.success(), "{init:?}");
    for (code, section) in sections() {
        let [bad, good] = blocks(section)[..] else { panic!("{code} needs two examples") };
        let here = Code::HERE.iter().any(|known| known.as_str() == code);
        // What production is shown with is the template.
        let left = Code::TemplateLeft.as_str();
        let beside = |mut found: BTreeSet<String>| {
            found.retain(|found| found != left || code == left);
            found
        };
        let found = beside(codes(fresh.path(), bad, here));
        assert_eq!(found, BTreeSet::from([code.to_owned()]), "{code}, bad");
        assert_eq!(beside(codes(fresh.path(), good, here)), BTreeSet::new(), "{code}, mended");
    }
}
