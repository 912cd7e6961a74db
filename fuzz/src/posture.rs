//! Posture and deployment files of every kind: what is wrong is told with a place inside the file, or
//! there is nothing wrong and all that is made of them compiles.

use countersign_core::id::Timestamp;
use countersign_policy::{Bundle, CompileError, Mistake, PolicyFile, Unknown, mistakes};
use countersign_posture::{
    Finding, Loaded, Severity, Sketch, Source, link, load_deployment, load_or_sketch, load_posture,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A small posture that has every kind of file, and no mistake.
const BASE: [(&str, &str); 8] = [
    (
        "posture/posture.yaml",
        "organisation: Acme
identity:
  claims: { subject: /sub, actor: /client_id, tenant: /tenant }
  attributes: { depots: /depots }
limits: { per_session: 200, per_minute: 60, per_hour: 600, identical_per_minute: 5 }
",
    ),
    (
        "posture/agents/helper.yaml",
        "agent: helper
purpose: Helps.
owner: { team: one, contact: one@acme.example }
identity: { client_id: helper }
grants:
  - { tool: usage, reason: \"It is asked.\" }
  - { tool: contact, reason: \"It is asked.\" }
",
    ),
    (
        "posture/tools/usage.yaml",
        "tool: usage
description: Units used by the account.
effect: read
input:
  account_id: { type: string, enum: [a, b] }
  days: { type: integer, minimum: 1, maximum: 9 }
scope:
  account_id: { equals: caller.tenant }
  tenant: { bind: caller.tenant }
call:
  system: db
  sql: select day from usage where account = :account_id and t = :tenant and d < :days
",
    ),
    (
        "posture/tools/contact.yaml",
        "tool: contact
description: How to reach a person at the customer.
effect: read
input:
  name: { type: string, enum: [x, y] }
scope:
  tenant: { bind: caller.tenant }
call:
  system: api
  get: \"/contacts/{tenant}\"
  query: { name: \"{name}\" }
",
    ),
    (
        "posture/systems/db.yaml",
        "system: db
sqlite: { database: db }
timeout: 2s
rows: 200
bytes: 64KiB
",
    ),
    (
        "posture/systems/api.yaml",
        "system: api
http: { origin: api }
timeout: 2s
rows: 50
bytes: 64KiB
",
    ),
    (
        "posture/policies/rules.cedar",
        "@id(\"early\") forbid (principal, action == Action::\"usage\", resource)
when { context.input.days == 3 };
",
    ),
    (
        "countersign.yaml",
        "posture: posture
environment: development
listen: 127.0.0.1:8787
public_url: http://127.0.0.1:8787
development_issuer: true
store: { sqlite: j.db, signing_key: j.key }
references:
  db: { value: db }
  api: { value: \"https://api.acme.example\" }
",
    ),
];

/// The first byte says which of the files the rest is.
pub fn posture(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else { return };
    let (path, before) = BASE[usize::from(*which) % BASE.len()];
    // Beside the base's own, so that grants of it lead somewhere; a name inside is the file's name.
    let path = named(path, text);
    thread_local! {
        static FOLDER: TempDir = written();
    }
    FOLDER.with(|folder| {
        let folder = folder.path();
        fs::write(folder.join(&path), text).expect("a file");
        load(folder);
        match BASE.iter().any(|(base, _)| *base == path) {
            true => fs::write(folder.join(&path), before).expect("the file as it was"),
            false => fs::remove_file(folder.join(&path)).expect("no file"),
        }
    });
}

fn written() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a folder");
    for (path, text) in BASE {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let (loaded, findings) = load_posture(&folder.path().join("posture"));
    assert!(loaded.is_some(), "the base has mistakes: {findings:?}");
    folder
}

/// `agents/helper.yaml` for a text that begins `agent: helper`.
fn named(path: &str, text: &[u8]) -> String {
    let Some((folder, _)) = path.rsplit_once('/').filter(|_| path.matches('/').count() == 2) else {
        return path.to_owned();
    };
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let name = first.iter().position(|byte| *byte == b':').map(|at| first[at + 1..].trim_ascii());
    let plain = |name: &&[u8]| {
        let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(b);
        (1..=32).contains(&name.len()) && name.iter().all(letter)
    };
    match name.filter(plain).and_then(|name| std::str::from_utf8(name).ok()) {
        Some(name) if !folder.ends_with("policies") => format!("{folder}/{name}.yaml"),
        _ => path.to_owned(),
    }
}

fn load(folder: &Path) {
    let (loaded, findings) = load_or_sketch(&folder.join("posture"));
    told(&findings);
    assert_eq!(loaded.is_err(), any_error(&findings), "{findings:?}");
    let (deployment, of_deployment) = load_deployment(folder);
    told(&of_deployment);
    assert_eq!(deployment.is_none(), any_error(&of_deployment), "{of_deployment:?}");
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(sketch) => return judged(&sketch),
    };
    if let Some(deployment) = deployment {
        told(&link(&deployment, &loaded, Timestamp::from_secs(0)));
    }
    compiles(&loaded);
}

/// What is said of policies beside what is sound of a posture with mistakes.
fn judged(sketch: &Sketch) {
    let attributes: Vec<&str> = sketch.attributes.iter().map(String::as_str).collect();
    let unknown = Unknown {
        tools: sketch.unknown_tools.clone(),
        agents: sketch.unknown_agents,
        attributes: sketch.unknown_attributes,
    };
    for mistake in mistakes(&sketch.posture, &attributes, &files(&sketch.policies), &unknown) {
        inside(&mistake, &sketch.policies);
    }
}

/// The policies and schemas that are made of it; only what people wrote by hand may be wrong.
fn compiles(loaded: &Loaded) {
    let attributes: Vec<&str> = loaded.claims.attributes.keys().map(String::as_str).collect();
    match Bundle::compile(&loaded.posture, &attributes, &files(&loaded.policies)) {
        Ok(bundle) => bundle.warnings().iter().for_each(|odd| inside(odd, &loaded.policies)),
        Err(errors) => {
            assert!(!errors.is_empty(), "no reason");
            for error in errors {
                match error {
                    CompileError::Authored(mistake) => inside(&mistake, &loaded.policies),
                    defect => panic!("what is accepted does not compile: {defect}"),
                }
            }
        }
    }
    for agent in loaded.posture.agents.values() {
        for grant in agent.grants.values() {
            let nothing = serde_json::Value::Object(serde_json::Map::new());
            drop(grant.tool.schema.issues(&nothing));
        }
    }
}

fn files(sources: &[Arc<Source>]) -> Vec<PolicyFile<'_>> {
    sources.iter().map(|source| PolicyFile { name: source.path(), text: source.text() }).collect()
}

fn inside(mistake: &Mistake, sources: &[Arc<Source>]) {
    let source = sources.get(mistake.file).expect("a file that was read");
    assert!(source.text().get(mistake.span.clone()).is_some(), "no place: {mistake:?}");
    assert!(!mistake.message.is_empty() && !mistake.message.contains('\n'), "{mistake:?}");
}

fn told(findings: &[Finding]) {
    for finding in findings {
        let place = &finding.place;
        assert!(place.source.text().get(place.span.clone()).is_some(), "no place: {finding:?}");
        let (line, column) = finding.position();
        assert!(line >= 1 && column >= 1 && line <= place.source.text().lines().count().max(1) + 1);
        assert!(!finding.to_string().contains('\n'), "not one line: {finding}");
    }
}

fn any_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity() == Severity::Error)
}
