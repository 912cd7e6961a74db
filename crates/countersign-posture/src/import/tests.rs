//! Whatever a source says, a draft of it is a file of ours.

use super::server::{drafts as of_server, pinned, saved};
use super::table::{Column, Table, drafts as of_tables};
use super::{Drafted, document, openapi, snake, untaken};
use crate::decode::Decoder;
use crate::finding::Source;
use crate::node::Kind;
use crate::sql::Dialect;
use countersign_core::id::SystemName;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn system() -> SystemName {
    SystemName::new("api").unwrap()
}

/// Every draft reads as YAML, has the keys of its kind and no others, and is called as its file is.
fn sound(drafted: &Drafted) {
    let mut paths = BTreeSet::new();
    for draft in &drafted.drafts {
        assert!(paths.insert(&draft.path), "{} twice", draft.path);
        let mut decoder =
            Decoder::new(Arc::new(Source::new("", draft.path.clone(), draft.text.clone())));
        let node = decoder.read();
        assert!(decoder.findings.is_empty(), "{:?}\n{}", decoder.findings, draft.text);
        let Some(Kind::Map(entries)) = node.map(|node| node.kind) else { panic!("{}", draft.text) };
        let known = ["system", "http", "tool", "description", "effect", "input", "call"];
        let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert!(keys.iter().all(|key| known.contains(key)), "{keys:?}\n{}", draft.text);
        let Kind::Text(name) = &entries[0].value.kind else { panic!("{}", draft.text) };
        let folder = if keys[0] == "tool" { "tools" } else { "systems" };
        assert_eq!(draft.path, format!("{folder}/{name}.yaml"));
    }
}

/// Words that a source may use for harm or by mistake.
const WORDS: &[&str] = &[
    "",
    " ",
    "a",
    "id",
    "tenant_id",
    "true",
    "null",
    "07",
    "~",
    "a b",
    "a: b",
    "a\nb: c",
    "# x",
    "- a",
    "\"",
    "'",
    "\\",
    "{a}",
    "{",
    "}",
    "[a]",
    "é",
    "\u{202e}a",
    "a\u{200b}b",
    "\u{1f600}",
    "%2e",
    "../x",
    "/a/{id}",
    "/a/{id}/{id}",
    "/",
    "//x",
    "string",
    "integer",
    "array",
    "object",
    "email",
    "uuid",
    "#/components/schemas/A",
    "#/x",
    "https://x/y",
    "query",
    "path",
    "header",
    "body",
    "^a$",
    "ignore all",
    "application/json",
    "get",
];
const KEYS: &[&str] = &[
    "$ref",
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "allOf",
    "anyOf",
    "oneOf",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "description",
    "summary",
    "name",
    "in",
    "schema",
    "content",
    "application/json",
    "requestBody",
    "parameters",
    "operationId",
    "responses",
    "200",
    "get",
    "post",
    "delete",
    "readOnly",
    "nullable",
    "title",
    "inputSchema",
    "outputSchema",
    "annotations",
    "arguments",
    "uri",
    "uriTemplate",
];

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => select(WORDS).prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!(1e300)),
        1 => Just(json!(u64::MAX)),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key = prop_oneof![4 => select(KEYS), 1 => select(WORDS)];
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::vec((key, inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_draft_of_any_openapi_document_is_a_file_of_ours(
        paths in prop::collection::vec((select(WORDS), anything()), 0..4),
        schemas in anything(),
        servers in anything(),
    ) {
        let paths: serde_json::Map<_, _> = paths.into_iter().map(|(k, v)| (k.to_owned(), json!({ "get": v.clone(), "post": v }))).collect();
        let document = json!({
            "openapi": "3.1.0", "paths": paths, "servers": [{ "url": servers }],
            "components": { "schemas": { "A": schemas.clone() }, "securitySchemes": schemas },
        });
        sound(&openapi::drafts(&document, "a.json", &system()).unwrap());
    }

    #[test]
    fn a_draft_of_anything_that_a_server_defines_is_a_file_of_ours(
        tools in prop::collection::vec((select(WORDS), anything(), anything()), 0..4),
        others in prop::collection::vec((select(WORDS), anything()), 0..4),
    ) {
        let tool = |(name, schema, words): (&str, Value, Value)| {
            json!({ "name": name, "inputSchema": { "type": "object", "properties": { name: schema } }, "description": words, "annotations": words })
        };
        let answer = json!({
            "tools": tools.into_iter().map(tool).collect::<Vec<_>>(),
            "prompts": others.iter().map(|(name, of)| json!({ "name": name, "arguments": of })).collect::<Vec<_>>(),
            "resources": others.iter().map(|(uri, of)| json!({ "uri": uri, "name": of })).collect::<Vec<_>>(),
        });
        if let Ok(defined) = saved(&answer.to_string()) {
            let pins = pinned(&system(), None, defined.clone(), &BTreeSet::new()).unwrap();
            sound(&of_server(&pins, &system(), BTreeSet::new()));
            // And what was pinned is read again as it was written, with nothing new in it.
            let again = pinned(&system(), Some(&pins.text), defined, &BTreeSet::new()).unwrap();
            prop_assert!(again.added.is_empty() && again.changed.is_empty() && again.gone.is_empty());
            prop_assert_eq!(again.text, pins.text);
        }
    }

    #[test]
    fn a_draft_of_any_table_is_a_file_of_ours(
        names in prop::collection::vec(select(WORDS), 1..6),
        kind in "[a-z]{0,9}(\\([0-9]{0,3}\\))?",
        check in "(?s).{0,80}",
    ) {
        let column = |name: &&str| Column {
            name: format!("\"{name}\""), kind: kind.clone(), nullable: true,
            values: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let table = Table {
            name: format!("\"{}\"", names[0]),
            key: vec![format!("\"{}\"", names[0])],
            columns: names.iter().map(column).collect(),
            checks: vec![check.clone(), format!("CHECK ({check})")],
        };
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            sound(&of_tables(&[table.clone(), table.clone()], dialect, &system()));
        }
    }

    #[test]
    fn no_text_makes_the_document_reader_panic(text in "(?s).{0,200}") {
        let _read = document(&text);
        let _saved = saved(&text);
    }
}

#[test]
fn a_document_is_read_without_what_nobody_sees() {
    let yaml = "\u{feff}openapi: 3.0.0\npaths:\n  /a: # \u{200b}\n    get: { summary: \"x\\u200by\", operationId: 007 }\n";
    let read = document(yaml).unwrap();
    assert_eq!(read["paths"]["/a"]["get"], json!({ "summary": null, "operationId": null }));
    assert_eq!(document("{\"a\": {\"200\": [1.0]}}"), Ok(json!({ "a": { "200": [1] } })));
    assert_eq!(document("a: { 200: [1.0] }").unwrap()["a"]["200"], json!([1.0]));
    for text in ["{\"a\": 1, \"a\": 2}", "a: 1\na: 2", "a: &x 1", "a: [", "", "# nothing"] {
        assert!(document(text).is_err(), "{text}");
    }
}

#[test]
fn names_become_names_of_ours() {
    for (name, made) in [
        ("listOrders", "list_orders"),
        ("filter[status]", "filter_status"),
        ("GET /v1/orders/{order-id}", "get_v1_orders_order_id"),
        ("X-API-Version", "x_api_version"),
        ("2fa", "_2fa"),
        ("é", ""),
        ("__", ""),
    ] {
        assert_eq!(snake(name), made, "{name}");
    }
    assert_eq!(snake(&"a".repeat(99)).len(), 64);
    let mut taken = BTreeSet::new();
    let long = "a".repeat(64);
    for made in ["a", "a_2", "a_3"] {
        assert_eq!(untaken("a", &mut taken), made);
    }
    assert_eq!(untaken(&long, &mut taken), long);
    assert_eq!(untaken(&long, &mut taken), format!("{}_2", "a".repeat(62)));
}
