//! `countersign import`: what is drafted of real documents, databases and servers' answers, and that a
//! draft passes `check` once it is filled in as told.

use crate::check::{check, fresh};
use crate::gateway::Company;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A gateway's folder as `init` writes it, in `gw`, without its own tool.
fn empty() -> TempDir {
    let dir = fresh();
    fs::remove_file(dir.path().join("gw/posture/tools/list_orders.yaml")).unwrap();
    dir
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/import").join(name)
}

fn import(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("import").args(arguments).args(["--dir", "gw"]).current_dir(dir).output().unwrap()
}

/// What it says to programs, and how it ended.
fn said(dir: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = import(dir, &[arguments, &["--format", "json"]].concat());
    let said = serde_json::from_slice(&output.stdout);
    (said.unwrap_or_else(|_| panic!("{output:?}")), output.status.code())
}

fn openapi(dir: &Path, document: &str) -> (Value, Option<i32>) {
    let document = source(document);
    said(dir, &["openapi", document.to_str().unwrap(), "--system", "api"])
}

/// Every file that was written, one after the other, in the order in which it was told.
fn drafts(dir: &Path, said: &Value) -> String {
    let written = said["written"].as_array().unwrap().iter();
    let files = written.map(|draft| {
        let path = draft["path"].as_str().unwrap();
        let text = fs::read_to_string(dir.join("gw/posture").join(path)).unwrap();
        format!("==> {path}\n{text}")
    });
    let files: Vec<_> = files.collect();
    let left_out = said["left_out"].as_array().unwrap().iter().map(|why| why.as_str().unwrap());
    format!("{}==> left out\n{}\n", files.concat(), left_out.collect::<Vec<_>>().join("\n"))
}

/// The codes that `check` finds in each file of the posture.
fn codes(dir: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let output = check(dir, &["gw", "--format", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in said["findings"].as_array().unwrap() {
        let file = finding["file"].as_str().unwrap();
        let file = file.split("posture/").last().unwrap().to_owned();
        found.entry(file).or_default().insert(finding["code"].as_str().unwrap().to_owned());
    }
    found
}

fn set(found: &BTreeMap<String, BTreeSet<String>>, file: &str) -> Vec<String> {
    found.get(file).into_iter().flatten().cloned().collect()
}

fn edit(dir: &Path, file: &str, edits: &[(&str, &str)]) {
    let path = dir.join("gw").join(file);
    let mut text = fs::read_to_string(&path).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replacen(from, to, 1);
    }
    fs::write(path, text).unwrap();
}

/// Grants tools to the one agent, and tells where a system is.
fn granted(dir: &Path, tools: &[&str], reference: &str) {
    let own =
        "  - { tool: list_orders, reason: \"Most questions are about the last few orders.\" }\n";
    let grants =
        tools.iter().map(|tool| format!("  - {{ tool: {tool}, reason: It is asked for. }}\n"));
    edit(dir, "posture/agents/shop-assistant.yaml", &[(own, &grants.collect::<String>())]);
    if !reference.is_empty() {
        let references = format!("references:\n  {reference}\n");
        edit(dir, "countersign.yaml", &[("references:\n", &references)]);
    }
}

#[test]
fn an_openapi_document_becomes_a_draft_for_each_operation() {
    for (document, code) in [("orders.json", 1), ("parcels.yaml", 0), ("hostile.json", 1)] {
        let dir = empty();
        let (said, ended) = openapi(dir.path(), document);
        assert_eq!(ended, Some(code), "{document}: {said:#}");
        insta::assert_snapshot!(document.split('.').next().unwrap(), drafts(dir.path(), &said));
        // Whatever a document says, a draft is a file of ours, and lacks what drafts lack.
        for (file, codes) in codes(dir.path()) {
            for code in codes {
                let missing = [
                    "missing-key",
                    "unscoped-tool",
                    "unscoped-identifier",
                    "ungranted-tool",
                    "loose-string",
                    "unbounded-input",
                    "bad-request",
                    "unknown-tool",
                    "unused-reference",
                ];
                assert!(missing.contains(&code.as_str()), "{document}: {code} in {file}");
            }
        }
    }
}

#[test]
fn what_a_draft_lacks_is_found_at_its_place_and_filled_in_it_passes() {
    let dir = empty();
    openapi(dir.path(), "orders.json");
    let found = codes(dir.path());
    assert_eq!(set(&found, "systems/api.yaml"), ["missing-key"]);
    let scope = ["ungranted-tool", "unscoped-identifier", "unscoped-tool"];
    // `list_orders` is granted by what `init` wrote.
    assert_eq!(set(&found, "tools/list_orders.yaml"), ["unscoped-identifier", "unscoped-tool"]);
    assert_eq!(set(&found, "tools/get_order.yaml"), scope);
    let of_effect = ["missing-key", "ungranted-tool", "unscoped-identifier", "unscoped-tool"];
    assert_eq!(set(&found, "tools/cancel_order.yaml"), of_effect);
    for tool in ["get_order", "cancel_order", "create_order"] {
        if tool != "get_order" {
            fs::remove_file(dir.path().join(format!("gw/posture/tools/{tool}.yaml"))).unwrap();
        }
    }
    edit(
        dir.path(),
        "posture/systems/api.yaml",
        &[
            ("# TODO timeout: how long a request may take, as 2s", "timeout: 2s"),
            ("# TODO rows: most rows of a result, as 100", "rows: 100"),
            ("# TODO bytes: largest answer, as 64KiB", "bytes: 64KiB"),
        ],
    );
    edit(
        dir.path(),
        "posture/tools/get_order.yaml",
        &[
            (
                "pattern: \"^ord_[0-9]{6}$\"",
                "pattern: \"^ord_[0-9]{6}$\", public: Orders are anybody's here.",
            ),
            (
                "# TODO scope: what ties it to its caller; or `public`, with why anybody may",
                "public: Orders are anybody's here.",
            ),
        ],
    );
    let hint = fs::read_to_string(dir.path().join("gw/posture/tools/list_orders.yaml")).unwrap();
    let hint = hint.lines().find(|line| line.starts_with("# TODO scope")).unwrap().to_owned();
    assert!(hint.contains("customer_id: { bind: caller.tenant }"), "{hint}");
    let pattern = "  customer_id: { type: string, pattern: \"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$\" }\n";
    edit(
        dir.path(),
        "posture/tools/list_orders.yaml",
        &[(pattern, ""), (&hint, "scope: { customer_id: { bind: caller.tenant } }")],
    );
    granted(
        dir.path(),
        &["get_order", "list_orders"],
        "api: { value: \"https://api.shop.example\" }",
    );
    assert_eq!(codes(dir.path()), BTreeMap::new());
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let dir = fresh();
    let own = fs::read_to_string(dir.path().join("gw/posture/tools/list_orders.yaml")).unwrap();
    let (first, _) = openapi(dir.path(), "orders.json");
    assert_eq!(first["kept"], json!(["tools/list_orders.yaml"]));
    let after = fs::read_to_string(dir.path().join("gw/posture/tools/list_orders.yaml")).unwrap();
    assert_eq!(own, after);
    edit(
        dir.path(),
        "posture/systems/api.yaml",
        &[("# TODO rows: most rows of a result, as 100", "rows: 7")],
    );
    let (again, _) = openapi(dir.path(), "orders.json");
    assert_eq!(again["written"], json!([]));
    assert_eq!(again["kept"].as_array().unwrap().len(), 5);
    let system = fs::read_to_string(dir.path().join("gw/posture/systems/api.yaml")).unwrap();
    assert!(system.contains("rows: 7"));
}

#[test]
fn what_is_no_document_is_told_and_nothing_is_written() {
    let dir = empty();
    for (text, told) in [
        ("", "the file is empty"),
        ("[1, 2]", "no OpenAPI"),
        ("{\"openapi\": \"3.0.0\", \"openapi\": \"3.0.0\"}", "twice"),
        ("swagger: \"2.0\"\n", "no OpenAPI 3.0 or 3.1"),
        ("openapi: 3.0.0\npaths: &a { x: *a }\n", "anchor"),
        ("openapi: 3.0.0\n\tpaths: {}\n", "tab"),
    ] {
        fs::write(dir.path().join("x.yaml"), text).unwrap();
        let output = import(dir.path(), &["openapi", "x.yaml", "--system", "api"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {error}");
        assert!(error.contains(told), "{text}: {error}");
    }
    assert!(!dir.path().join("gw/posture/systems/api.yaml").exists());
    let output = import(dir.path(), &["openapi", "nosuch.yaml", "--system", "api"]);
    assert_eq!(output.status.code(), Some(2));
    let output = import(dir.path(), &["openapi", "x.yaml", "--system", "a b"]);
    assert_eq!(output.status.code(), Some(2));
}

const TABLES: &str = "
    create table \"Refund Notes\" (
        id integer primary key, \"order\" text not null, account_id text, tenant text,
        kind varchar(12) not null check (kind in ('goodwill', 'damage')), amount_cents integer);
    create table order_lines (order_id text not null, line integer not null, sku text, primary key (order_id, line));
    create table states (code text primary key check (code is null or code in ('a', 'b')), name text) without rowid;
    create table log (line text);
    create view recent as select * from log;";

#[test]
fn the_tables_of_a_sqlite_file_become_reads() {
    let dir = empty();
    let database = dir.path().join("gw/data/shop.db");
    Connection::open(&database).unwrap().execute_batch(TABLES).unwrap();
    let before = fs::read(&database).unwrap();
    // Drafts have mistakes until they are filled in: another import goes on all the same.
    openapi(dir.path(), "orders.json");
    fs::remove_file(dir.path().join("gw/posture/tools/list_orders.yaml")).unwrap();
    fs::remove_file(dir.path().join("gw/posture/tools/get_order.yaml")).unwrap();
    let (told, ended) = said(dir.path(), &["sql", "shop-db"]);
    assert_eq!(ended, Some(1), "{told:#}"); // The log has no key.
    insta::assert_snapshot!("sqlite", drafts(dir.path(), &told));
    assert_eq!(fs::read(&database).unwrap(), before, "only looked at");
    let (one, ended) = said(dir.path(), &["sql", "shop-db", "--table", "log", "--table", "states"]);
    assert_eq!((ended, one["kept"].as_array().unwrap().len()), (Some(1), 3));
    for (arguments, told) in [
        (&["sql", "shop-db", "--table", "ordrs"][..], "did you mean `orders`?"),
        (&["sql", "shop"], "there is no system `shop`"),
        (&["sql", "api"], "no database"),
    ] {
        let output = import(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(told) || arguments == ["sql", "api"], "{error}");
    }
}

#[test]
fn a_drafted_statement_filled_in_passes_check_and_runs() {
    let dir = empty();
    said(dir.path(), &["sql", "shop-db"]);
    for (tool, argument) in [("get_order", true), ("list_orders", false)] {
        let file = format!("posture/tools/{tool}.yaml");
        let text = fs::read_to_string(dir.path().join("gw").join(&file)).unwrap();
        let scope = text.lines().find(|line| line.starts_with("# TODO scope")).unwrap();
        assert!(scope.contains("customer"), "{scope}");
        let words = format!(
            "description: {}.",
            if argument { "One order" } else { "What was bought lately" }
        );
        let mut edits = vec![
            ("# TODO description: what it answers; the database has none", words.as_str()),
            (scope, "scope: { tenant: { bind: caller.tenant } }"),
        ];
        match argument {
            true => edits.extend([
                ("id: { type: string }", "id: { type: string, pattern: \"^[A-Z]-[0-9]+$\", maxLength: 9, public: Only the tenant's are found. }"),
                ("where id = :id", "where id = :id and customer = :tenant"),
            ]),
            false => {
                edits.push(("minimum: 1 }", "minimum: 1, maximum: 50 }"));
                match text.contains("where (") {
                    true => edits.push(("where (", "where customer = :tenant and (")),
                    false => edits.push(("order by", "where customer = :tenant order by")),
                }
            }
        }
        edit(dir.path(), &file, &edits);
    }
    granted(dir.path(), &["get_order", "list_orders"], "");
    assert_eq!(codes(dir.path()), BTreeMap::new());
    let doctor = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", "gw"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8(doctor.stdout).unwrap();
    assert!(told.contains("takes all 2 statements"), "{told}");
}

#[test]
fn the_tables_of_a_postgresql_database_become_reads() {
    let company = Company::on_postgres();
    let database = &company.databases["freight-db"];
    database.run("create type mood as enum ('calm', 'angry')");
    database.run("create table notes (id bigint, part smallint, tenant_id uuid not null, \"Title\" varchar(80), mood mood, kind text check (kind in ('a', 'b')), at timestamptz, primary key (part, id))");
    database.run("create table hidden (id int)");
    database.run("grant select on notes to public; revoke all on hidden from public");
    let ran = company.run(&["import", "sql", "freight-db", "--table", "notes", "--format", "json"]);
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(ran.status.code(), Some(0), "{told:#}");
    let files = told["written"].as_array().unwrap().iter().map(|draft| {
        fs::read_to_string(company.path().join("posture").join(draft["path"].as_str().unwrap()))
            .unwrap()
    });
    insta::assert_snapshot!("postgres", files.collect::<String>());
    let ran = company.run(&["import", "sql", "freight-db", "--table", "hidden"]);
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
}

// ── MCP servers ─────────────────────────────────────────────────────────────────────────────────

const TRACKER: &str = "system: tracker
mcp: { origin: tracker }
timeout: 2s
rows: 100
bytes: 64KiB
";

fn tracked() -> TempDir {
    let dir = empty();
    fs::write(dir.path().join("gw/posture/systems/tracker.yaml"), TRACKER).unwrap();
    dir
}

fn of_file(dir: &Path, file: &Path, more: &[&str]) -> (Value, Option<i32>) {
    said(dir, &[&["mcp", "tracker", "--from", file.to_str().unwrap()], more].concat())
}

#[test]
fn what_a_server_defines_is_pinned_and_drafted_reads_first() {
    let dir = tracked();
    let (told, ended) = of_file(dir.path(), &source("tools.json"), &[]);
    assert_eq!(ended, Some(1), "{told:#}"); // A template that is more than names.
    insta::assert_snapshot!("tracker", drafts(dir.path(), &told));
    let pins = fs::read_to_string(dir.path().join("gw/posture/pins/tracker.json")).unwrap();
    insta::assert_snapshot!("pins", pins);
    let found = codes(dir.path());
    assert_eq!(set(&found, "pins/tracker.json"), ["description-commands"]);
    // That the server calls it read-only is nothing that counts.
    assert!(set(&found, "tools/close_issue.yaml").contains(&"missing-key".to_owned()));
    let (again, ended) = of_file(dir.path(), &source("tools.json"), &[]);
    assert_eq!((&again["written"], &again["pins"]["changed"]), (&json!([]), &json!([])));
    assert_eq!(ended, Some(0), "{again:#}");
    assert_eq!(fs::read_to_string(dir.path().join("gw/posture/pins/tracker.json")).unwrap(), pins);
}

#[test]
fn a_live_server_is_asked_for_all_that_it_defines() {
    let dir = tracked();
    let (of_file, _) = of_file(dir.path(), &source("tools.json"), &[]);
    let pins = dir.path().join("gw/posture/pins/tracker.json");
    let saved = fs::read_to_string(&pins).unwrap();
    let server = source("tracker.py");
    let words = format!("[{:?}, {:?}]", server, source("tools.json"));
    let system =
        TRACKER.replace("origin: tracker", &format!("program: tracker, arguments: {words}"));
    fs::remove_dir_all(dir.path().join("gw/posture/pins")).unwrap();
    fs::remove_dir_all(dir.path().join("gw/posture/tools")).unwrap();
    fs::write(dir.path().join("gw/posture/systems/tracker.yaml"), system).unwrap();
    let missing = import(dir.path(), &["mcp", "tracker"]);
    assert_eq!(missing.status.code(), Some(2), "no reference says which program: {missing:?}");
    granted(dir.path(), &[], "tracker: { value: /usr/bin/python3 }");
    let (live, ended) = said(dir.path(), &["mcp", "tracker"]);
    assert_eq!((live, ended), (of_file, Some(1)));
    assert_eq!(fs::read_to_string(&pins).unwrap(), saved);
    // A database defines nothing.
    let output = import(dir.path(), &["mcp", "shop-db"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_draft_of_a_servers_tool_filled_in_passes() {
    let dir = tracked();
    let answer = fs::read_to_string(source("tools.json")).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let one = json!({ "tools": [answer["result"]["tools"][1]] });
    let file = dir.path().join("one.json");
    fs::write(&file, one.to_string()).unwrap();
    assert_eq!(of_file(dir.path(), &file, &[]).1, Some(0));
    let tool = "posture/tools/search_issues.yaml";
    let text = fs::read_to_string(dir.path().join("gw").join(tool)).unwrap();
    let line =
        |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
    edit(
        dir.path(),
        tool,
        &[
            (line("# TODO effect"), "effect: read"),
            (line("workspace_id:"), ""),
            (line("query:"), "  query: { type: string, text: true, maxLength: 80 }"),
            (line("limit:"), "  limit: { type: integer, minimum: 1, maximum: 20, optional: true }"),
            (line("# TODO scope"), "scope: { workspace_id: { bind: caller.tenant } }"),
        ],
    );
    granted(dir.path(), &["search_issues"], "tracker: { value: \"https://tracker.example\" }");
    let mut found = codes(dir.path());
    found.remove("countersign.yaml");
    assert_eq!(found, BTreeMap::new());
}

#[test]
fn a_definition_that_has_changed_is_shown_and_replaced_only_by_name() {
    let dir = tracked();
    let (first, _) = of_file(dir.path(), &source("tools.json"), &[]);
    assert_eq!(first["pins"]["added"].as_array().unwrap().len(), 7);
    let pins = dir.path().join("gw/posture/pins/tracker.json");
    let before = fs::read_to_string(&pins).unwrap();
    let answer = fs::read_to_string(source("tools.json")).unwrap();
    let answer = answer
        .replace("Closes an issue.", "Closes an issue, and all that wait for it.")
        .replace("\"team\": \"x\"", "\"team\": \"y\"")
        .replace("{ \"uri\": \"tracker://about\", \"name\": \"about\" }", "");
    let file = dir.path().join("later.json");
    fs::write(&file, answer).unwrap();
    let (told, ended) = of_file(dir.path(), &file, &[]);
    assert_eq!(ended, Some(1));
    assert_eq!(told["pins"]["gone"], json!([{ "kind": "resource", "name": "tracker://about" }]));
    let [changed] = &told["pins"]["changed"].as_array().unwrap()[..] else { panic!("{told:#}") };
    assert_eq!((&changed["name"], &changed["repinned"]), (&json!("close_issue"), &json!(false)));
    let diff = changed["diff"].as_str().unwrap();
    let minus = "-   \"description\": \"Closes an issue.\",";
    let plus = "+   \"description\": \"Closes an issue, and all that wait for it.\",";
    assert!(diff.contains(minus) && diff.contains(plus), "{diff}");
    assert_eq!(fs::read_to_string(&pins).unwrap(), before);
    let text =
        String::from_utf8(import(dir.path(), &["mcp", "tracker", "--from", "later.json"]).stdout);
    assert!(text.as_ref().unwrap().contains("--repin close_issue"), "{text:?}");
    let (told, _) = of_file(dir.path(), &file, &["--repin", "close_issue"]);
    assert_eq!(told["pins"]["changed"][0]["repinned"], json!(true));
    let after = fs::read_to_string(&pins).unwrap();
    assert_eq!(
        after,
        before.replace("Closes an issue.", "Closes an issue, and all that wait for it.")
    );
    let same = import(dir.path(), &["mcp", "tracker", "--from", "later.json", "--repin", "notes"]);
    assert_eq!(same.status.code(), Some(2));
    fs::write(&pins, "{").unwrap();
    let broken = import(dir.path(), &["mcp", "tracker", "--from", "later.json"]);
    assert_eq!(broken.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&pins).unwrap(), "{");
}

#[test]
fn an_answer_that_is_none_pins_nothing() {
    let dir = tracked();
    let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
    for (answer, ended, added) in [
        (json!({}), 2, 0),
        (json!({ "tools": [7] }), 2, 0),
        (
            json!([tool("a"), tool("a"), { "inputSchema": {} }, { "name": "b" }, tool("c\u{200b}")]),
            1,
            1,
        ),
    ] {
        let file = dir.path().join("x.json");
        fs::write(&file, answer.to_string()).unwrap();
        let output =
            import(dir.path(), &["mcp", "tracker", "--from", "x.json", "--format", "json"]);
        assert_eq!(output.status.code(), Some(ended), "{answer}: {output:?}");
        if added > 0 {
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(told["pins"]["added"].as_array().unwrap().len(), added);
            assert_eq!(told["left_out"].as_array().unwrap().len(), 4, "{told:#}");
        }
    }
}
