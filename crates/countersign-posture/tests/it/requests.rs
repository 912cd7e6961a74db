use crate::codes::{API, asks};
use crate::folder::Company;
use countersign_core::id::ToolName;
use countersign_core::tool::{HttpPlan, Method, Parameter, Piece, Plan, ResultBounds, Template};
use countersign_posture::{Auth, Backend, Code};
use serde_json::json;
use std::collections::BTreeSet;

fn codes(change: impl Fn(&Company)) -> Vec<Code> {
    let company = Company::new();
    change(&company);
    company.findings().iter().map(|finding| finding.code).collect()
}

#[test]
fn a_path_names_no_host_no_other_place_and_nothing_joined() {
    let all = "  headers: { a: \"{account_id}\", b: \"{tenant}\", c: \"{days}\" }";
    for path in [
        "usage",
        "https://evil.example/usage",
        "//evil.example/usage",
        "/a//b",
        "/a/../b",
        "/a/./b",
        "/..",
        "/a/..",
        "/a%2fb",
        "/%2e%2e/b",
        "/a?b=c",
        "/a#b",
        "/a b",
        "/a\\\\b",
        "/ü",
        "/a{days}",
        "/{days}b",
        "/{days}{days}",
        "/{}",
        "/{day-s}",
        "/a{",
        "/@evil.example:80{days}",
    ] {
        let found = codes(|company| asks(company, &format!("  get: \"{path}\"\n{all}\n")));
        assert_eq!(found, [Code::BadRequest], "{path}");
    }
    for path in
        ["/", "/a", "/a/", "/a/{days}/", "/{account_id}", "/v1/x:search", "/.../a..b", "/@me"]
    {
        let found = codes(|company| asks(company, &format!("  get: \"{path}\"\n{all}\n")));
        assert_eq!(found, [], "{path}");
    }
}

#[test]
fn headers_that_say_where_how_and_who_are_not_the_authors() {
    let all = "a: \"{account_id}\", b: \"{tenant}\", c: \"{days}\"";
    for header in [
        "Host: x",
        "AUTHORIZATION: x",
        "Cookie: x",
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
        "Connection: x",
        "Upgrade: x",
        "TE: x",
        "Proxy-Authorization: x",
        "X-Forwarded-For: x",
        "X-Forwarded-Host: x",
        "Forwarded: x",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /admin",
        "Content-Type: text/html",
        "\":path\": x",
        "\"a b\": x",
        "\"\": x",
        "\"a\\r\\nb\": x",
        "A: x",
        "X-Y: ü",
        "X-Y: \"x{days}\"",
    ] {
        let call = format!("  get: /x\n  headers: {{ {all}, {header} }}\n");
        let found = codes(|company| asks(company, &call));
        assert_eq!(found, [Code::BadRequest], "{header}");
    }
}

#[test]
fn an_argument_stands_only_where_it_can() {
    let free = "days: { type: string, text: true, maxLength: 9 }";
    let list = "days: { type: array, maxItems: 3, items: { type: string, enum: [a] } }";
    let optional = "days: { type: integer, minimum: 1, maximum: 9, optional: true }";
    let days =
        "days: { type: integer, minimum: 1, maximum: 365, description: \"How many days back.\" }";
    let rest = "  headers: { a: \"{account_id}\", b: \"{tenant}\" }";
    for (argument, call, expected) in [
        (free, "  get: \"/{days}\"", Some(Code::ArgumentPlace)),
        (free, "  get: /x\n  query: { q: \"{days}\" }", None),
        (list, "  get: \"/{days}\"", Some(Code::ArgumentPlace)),
        (list, "  get: /x\n  query: { q: \"{days}\" }", Some(Code::ArgumentPlace)),
        (list, "  post: /x\n  body: { q: [\"{days}\"] }", None),
        (optional, "  get: \"/{days}\"", Some(Code::ArgumentPlace)),
        (optional, "  get: /x\n  query: { q: \"{days}\" }", None),
        (optional, "  post: /x\n  body: { q: \"{days}\" }", None),
        (optional, "  post: /x\n  body: \"{days}\"", Some(Code::ArgumentPlace)),
        (days, "  post: /x\n  body: \"{days}\"", None),
        (days, "  get: /x\n  body: \"{days}\"", Some(Code::BadRequest)),
    ] {
        let mut found = codes(|company| {
            company.edit("posture/tools/get_account_usage.yaml", days, argument);
            asks(company, &format!("{call}\n{rest}\n"));
        });
        // A body that is not sent uses nothing.
        found.retain(|code| *code != Code::UnusedArgument);
        assert_eq!(found, Vec::from_iter(expected), "{argument} {call}");
    }
}

#[test]
fn a_request_arrives_as_written() {
    let company = Company::new();
    asks(
        &company,
        r#"  post: /v2/{tenant}/usage:search/
  query: { limit: "{days}", fixed: 7, on: true, text: a b }
  headers: { X-Account: "{account_id}" }
  body: { days: "{days}", list: [1, null, "{account_id}"] }
  result: /items
  pick: { day: /d, at: /a~1b/0 }
  statuses: { "404": empty, "204": empty }
  rows: 10
"#,
    );
    let (loaded, findings) = company.posture();
    assert!(findings.is_empty(), "{findings:?}");
    let agents = loaded.unwrap().posture.agents;
    let grant =
        &agents.values().next().unwrap().grants[&ToolName::new("get_account_usage").unwrap()];
    let required = |name: &str| Parameter { name: name.to_owned(), optional: false };
    let literal = |text: &str| Piece::Literal(text.to_owned());
    let plan = HttpPlan {
        method: Method::Post,
        path: vec![
            literal("v2"),
            Piece::Argument(required("tenant")),
            literal("usage:search"),
            literal(""),
        ],
        query: vec![
            ("limit".to_owned(), Piece::Argument(required("days"))),
            ("fixed".to_owned(), literal("7")),
            ("on".to_owned(), literal("true")),
            ("text".to_owned(), literal("a b")),
        ],
        headers: vec![("x-account".to_owned(), Piece::Argument(required("account_id")))],
        body: Some(Template::Object(vec![
            ("days".to_owned(), Template::Argument(required("days"))),
            (
                "list".to_owned(),
                Template::Array(vec![
                    Template::Literal(json!(1)),
                    Template::Literal(json!(null)),
                    Template::Argument(required("account_id")),
                ]),
            ),
        ])),
        result: "/items".to_owned(),
        pick: vec![("day".to_owned(), "/d".to_owned()), ("at".to_owned(), "/a~1b/0".to_owned())],
        empty_on: BTreeSet::from([204, 404]),
        timeout_ms: 2_000,
        bounds: ResultBounds { rows_max: 10, bytes_max: 64 * 1024 },
    };
    assert_eq!(grant.tool.plan, Plan::Http(plan));
}

#[test]
fn an_api_arrives_as_written_and_its_networks_are_networks() {
    let company = Company::new();
    asks(&company, "  get: /{account_id}/{tenant}/{days}\n");
    let write = |http: &str| {
        company.write("posture/systems/crm.yaml", API.replace("{ origin: freight-db }", http));
    };
    write(
        "{ origin: freight-db, auth: { basic: { user: freight-db, password: freight-db } }, networks: [10.1.0.0/16, \"fd00:1::/32\"], plaintext: true }",
    );
    let (loaded, findings) = company.posture();
    assert!(findings.is_empty(), "{findings:?}");
    let reference = || "freight-db".to_owned();
    let systems = loaded.unwrap().systems;
    let crm = systems.values().find(|system| system.name.as_str() == "crm").unwrap();
    assert_eq!(
        crm.backend,
        Backend::Http {
            origin: reference(),
            auth: Some(Auth::Basic { user: reference(), password: reference() }),
            networks: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()],
            plaintext: true,
        }
    );
    for networks in [
        "[]",
        "[0.0.0.0/0]",
        "[\"::/0\"]",
        "[10.0.0.1/8]",
        "[10.0.0.0]",
        "[10.0.0.0/33]",
        "[example.com/8]",
        "[0x7f.0.0.1/32]",
        "[127.1/32]",
        "[128.0.0.0/7]",
    ] {
        write(&format!("{{ origin: freight-db, networks: {networks} }}"));
        let found: Vec<_> = company.findings().iter().map(|finding| finding.code).collect();
        assert_eq!(found, [Code::BadValue], "{networks}");
    }
    for auth in ["{}", "{ bearer: freight-db, basic: { user: freight-db, password: freight-db } }"]
    {
        write(&format!("{{ origin: freight-db, auth: {auth} }}"));
        let found: Vec<_> = company.findings().iter().map(|finding| finding.code).collect();
        assert_eq!(found, [Code::BadValue], "{auth}");
    }
    for (name, expected) in
        [("Host", vec![Code::BadRequest]), ("Authorization", vec![]), ("X-Key", vec![])]
    {
        write(&format!(
            "{{ origin: freight-db, auth: {{ header: {{ name: {name}, value: freight-db }} }} }}"
        ));
        let found: Vec<_> = company.findings().iter().map(|finding| finding.code).collect();
        assert_eq!(found, expected, "{name}");
    }
}
