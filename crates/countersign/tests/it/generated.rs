//! Postures that nobody wrote: whatever `check` accepts, `serve` starts, and every tool that is
//! granted can be called with some argument.

use crate::gateway::{Company, Gateway};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;

const TENANT: &str = "acct_alpha";
const DEPOT: &str = "HAM";

/// A value that a tool declares, and one that fits.
#[derive(Debug, Clone)]
struct Declared {
    schema: Value,
    sent: Value,
    /// Paths below it that a scope rule ties to the caller, and by what.
    scope: Vec<(String, Value)>,
}

impl Declared {
    fn new(schema: Value, sent: Value) -> Self {
        Self { schema, sent, scope: Vec::new() }
    }
}

/// Names as awkward as they are allowed: keywords of SQL, of Cedar, of the posture itself.
fn name() -> impl Strategy<Value = String> {
    const WORDS: [&str; 24] = [
        "if",
        "in",
        "has",
        "like",
        "is",
        "true",
        "principal",
        "context",
        "input",
        "scope",
        "now",
        "action",
        "permit",
        "select",
        "order",
        "null",
        "key",
        "keys",
        "type",
        "enum",
        "_",
        "__cedar",
        "Long",
        "Set",
    ];
    prop_oneof![select(&WORDS[..]).prop_map(str::to_owned), "[A-Za-z_][xyz0-9_]{0,9}", "x{64}"]
}

fn string() -> impl Strategy<Value = Declared> {
    let words = [
        "a",
        "B c",
        "é",
        "日本",
        "'",
        "\"",
        "\\",
        "`",
        ":x",
        "${x}",
        "*",
        "a\nb",
        "null",
        "no",
        "1",
        "[]",
        "{{x}}",
        "--",
        "acct_bravo",
    ];
    let listed = proptest::sample::subsequence(words.to_vec(), 1..5).prop_map(|words| {
        Declared::new(json!({ "type": "string", "enum": words }), json!(words.last()))
    });
    let constant = select(words.to_vec())
        .prop_map(|word| Declared::new(json!({ "type": "string", "const": word }), json!(word)));
    let identifiers = [
        ("^[A-Z]{3}$", "HAM"),
        (r"^\d{2}-\w+$", "12-e_x"),
        ("^(a|b|cd)*$", ""),
        ("^[^x]{1,3}$", "\"'\\"),
        ("^.{0,4}$", "日本語!"),
        (r"^\p{Greek}+$", "αβγ"),
        (r"^[\x20-\x7e]{1,9}$", "`~{}|[]\\^"),
    ];
    let public = select(identifiers.to_vec()).prop_map(|(pattern, sent)| {
        let why = "Anybody may ask for any of these.";
        let schema = json!({ "type": "string", "pattern": pattern, "maxLength": 9, "public": why });
        Declared::new(schema, json!(sent))
    });
    let tied = select(vec![
        ("equals", "caller.tenant", TENANT),
        ("in", "caller.tenant", TENANT),
        ("in", "caller.depots", DEPOT),
        ("equals", "caller.subject", "ann"),
    ]);
    let tied = tied.prop_map(|(rule, caller, sent)| Declared {
        schema: json!({ "type": "string", "pattern": "^[A-Za-z_]{1,20}$" }),
        sent: json!(sent),
        scope: vec![(String::new(), json!({ rule: caller }))],
    });
    let text = (1usize..40).prop_map(|length| {
        let schema = json!({ "type": "string", "text": true, "minLength": 1, "maxLength": length });
        Declared::new(schema, json!("ü".repeat(length)))
    });
    prop_oneof![listed, constant, public, tied, text]
}

fn scalar() -> impl Strategy<Value = Declared> {
    const FAR: i64 = 9_007_199_254_740_991;
    let ends = select(vec![(1, 365), (0, 0), (-FAR, FAR), (FAR, FAR), (-5, -5), (0, 1 << 33)]);
    let integer = (ends, any::<bool>()).prop_map(|((low, high), upper)| {
        let schema = json!({ "type": "integer", "minimum": low, "maximum": high });
        Declared::new(schema, json!(if upper { high } else { low }))
    });
    let few = select(vec![
        (json!({ "type": "integer", "enum": [3, -1, 0] }), json!(0)),
        (json!({ "type": "integer", "const": FAR }), json!(FAR)),
        (json!({ "type": "number", "enum": [0.5, 2, -1e15] }), json!(-1e15)),
        (json!({ "type": "number", "minimum": -0.25, "maximum": 1e15 }), json!(0.1)),
        (json!({ "type": "number", "minimum": 0, "maximum": 1 }), json!(1)),
        (json!({ "type": "boolean" }), json!(true)),
        (json!({ "type": "boolean", "const": false }), json!(false)),
    ]);
    let few = few.prop_map(|(schema, sent)| Declared::new(schema, sent));
    prop_oneof![3 => string(), 1 => integer, 1 => few]
}

fn value() -> impl Strategy<Value = Declared> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        let list = (inner.clone(), 1usize..4, any::<bool>()).prop_map(|(of, count, unique)| {
            let count = if unique { 1 } else { count };
            let schema = json!({
                "type": "array", "items": of.schema, "minItems": count, "maxItems": count,
                "uniqueItems": unique,
            });
            let scope = of.scope.into_iter().map(|(path, rule)| (format!("[]{path}"), rule));
            Declared { schema, sent: vec![of.sent; count].into(), scope: scope.collect() }
        });
        let object = members(inner).prop_map(|members| {
            let Members { properties, sent, scope } = members;
            let scope = scope.into_iter().map(|(path, rule)| (format!(".{path}"), rule));
            let schema = json!({ "type": "object", "properties": properties });
            Declared { schema, sent: sent.into(), scope: scope.collect() }
        });
        prop_oneof![list, object]
    })
}

/// The members of an object, or a tool's arguments.
#[derive(Debug, Clone, Default)]
struct Members {
    properties: Map<String, Value>,
    sent: Map<String, Value>,
    scope: BTreeMap<String, Value>,
}

fn members(of: impl Strategy<Value = Declared>) -> impl Strategy<Value = Members> {
    let one = (of, any::<bool>(), any::<bool>());
    prop::collection::btree_map(name(), one, 0..4).prop_map(|declared| {
        let mut members = Members::default();
        for (name, (Declared { mut schema, sent, scope }, optional, left_out)) in declared {
            // What is scoped must be there.
            let optional = optional && scope.is_empty();
            schema["optional"] = json!(optional);
            members.properties.insert(name.clone(), schema);
            if !(optional && left_out) {
                members.sent.insert(name.clone(), sent);
            }
            members.scope.extend(scope.into_iter().map(|(at, rule)| (format!("{name}{at}"), rule)));
        }
        members
    })
}

/// A tool's file, the arguments that fit it, whether it only reads, and whether a person must agree.
#[derive(Debug, Clone)]
struct Tool {
    file: Value,
    sent: Map<String, Value>,
    reads: bool,
    waits: bool,
}

fn tool() -> impl Strategy<Value = Tool> {
    let effects = [
        ("read", None),
        ("reversible", None),
        (
            "persistent",
            Some(json!({ "approvers": { "group": "leads" }, "expires": "30d", "summary": "s" })),
        ),
        (
            "irreversible",
            Some(json!({ "approvers": { "named": ["a@b"] }, "expires": "1s", "summary": "s" })),
        ),
    ];
    let effect = prop_oneof![4 => Just(effects[0].clone()), 1 => select(effects.to_vec())];
    (effect, members(value())).prop_map(|((effect, gate), members)| {
        let Members { properties, sent, mut scope } = members;
        scope.insert("tenant".to_owned(), json!({ "bind": "caller.tenant" }));
        let used = properties.iter().map(|(name, schema)| match schema["type"].as_str() {
            Some("array" | "object") => format!(" and (:{name} is null or json_valid(:{name}))"),
            _ => format!(" and (:{name} is null or length(:{name}) >= 0)"),
        });
        let used: String = used.collect();
        let sql = match effect {
            "read" => format!("select count(*) as things from things where tenant = :tenant{used}"),
            _ => format!("update things set seen = 1 where tenant = :tenant{used}"),
        };
        let mut file = json!({
            "effect": effect, "input": properties, "scope": scope,
            "call": { "system": "things", "sql": sql },
        });
        if effect == "reversible" {
            file["check"] = json!("select min(seen) = 1 from things where tenant = :tenant");
        }
        let waits = gate.is_some();
        if let Some(gate) = gate {
            file["gate"] = gate;
        }
        Tool { file, sent, reads: effect == "read", waits }
    })
}

fn tools() -> impl Strategy<Value = BTreeMap<String, Tool>> {
    let name = prop_oneof!["[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", "-[a-z]{3}", "y{64}", name()];
    prop::collection::btree_map(name, tool(), 8..16)
}

/// A company with these tools, each granted to one agent, over a database with one row.
fn company(tools: &BTreeMap<String, Tool>) -> Company {
    let company = Company::empty();
    let write = |path: &str, value: Value| {
        fs::write(company.path().join(path), value.to_string()).unwrap();
    };
    for folder in ["agents", "tools", "systems"] {
        fs::remove_dir_all(company.path().join("posture").join(folder)).unwrap();
        fs::create_dir(company.path().join("posture").join(folder)).unwrap();
    }
    let many = 1_000_000;
    let limits = json!({
        "per_session": many, "per_minute": many, "per_hour": many, "identical_per_minute": many,
    });
    let claims =
        json!({ "subject": "/sub", "actor": "/client_id", "tenant": "/tenant", "person": "/sub" });
    let identity = json!({ "claims": claims, "attributes": { "depots": "/depots" } });
    write(
        "posture/posture.yaml",
        json!({ "organisation": "Acme", "identity": identity, "limits": limits }),
    );
    let system = json!({
        "system": "things", "sqlite": { "database": "things" }, "timeout": "5s", "rows": 10,
        "bytes": "1KiB",
    });
    write("posture/systems/things.yaml", system);
    let grants = tools.keys().map(|tool| json!({ "tool": tool, "reason": "It is tried." }));
    let agent = json!({
        "agent": "trier", "purpose": "Tries.", "owner": { "team": "t", "contact": "c" },
        "identity": { "client_id": "trier" }, "grants": grants.collect::<Vec<_>>(),
    });
    write("posture/agents/trier.yaml", agent);
    for (name, tool) in tools {
        let mut file = tool.file.clone();
        file["tool"] = json!(name);
        file["description"] = json!(format!("Things of {name}."));
        write(&format!("posture/tools/{name}.yaml"), file);
    }
    company.edit("countersign.yaml", |text| {
        text.replace("listen: 127.0.0.1:8787", "listen: 127.0.0.1:0")
            .replace("shop-db: { value: data/shop.db }", "things: { value: data/things.db }")
    });
    let things = rusqlite::Connection::open(company.path().join("data/things.db")).unwrap();
    let row = "create table things (tenant text, seen integer); insert into things values ('acct_alpha', 0), ('acct_bravo', 0);";
    things.execute_batch(row).unwrap();
    company
}

/// A token with every claim that the posture names.
async fn token(gateway: &Gateway) -> String {
    let body = json!({
        "agent": "trier", "tenant": TENANT, "user": "ann", "attributes": { "depots": [DEPOT, "BER"] },
    });
    let sent = gateway.http.post(format!("{}/dev/token", gateway.url)).json(&body).send();
    let answer: Value = sent.await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]
    #[test]
    fn what_check_accepts_is_served_and_every_granted_tool_can_be_called(tools in tools()) {
        let company = company(&tools);
        let checked = company.run(&["check", ".", "--format", "github"]);
        let checked = String::from_utf8(checked.stdout).unwrap();
        prop_assert!(!checked.contains("::error"), "{}", checked);
        let gateway = company.serve();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let token = token(&gateway).await;
            for (name, tool) in &tools {
                let answer = gateway.call(&token, name, tool.sent.clone().into()).await;
                let what = format!("{name} {} {}: {answer}", tool.file, Value::Object(tool.sent.clone()));
                if tool.waits {
                    prop_assert_eq!(&answer["error"]["code"], "approval_required", "{}", what);
                    continue;
                }
                prop_assert_eq!(&answer["status"], "completed", "{}", what);
                if tool.reads {
                    prop_assert_eq!(&answer["result"]["rows"], &json!([{ "things": 1 }]), "{}", what);
                }
            }
            Ok(())
        })?;
        gateway.stop();
    }
}
