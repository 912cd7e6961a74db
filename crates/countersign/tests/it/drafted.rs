//! A posture that grants all that an MCP server defines: its pins, and a tool file for each of them. It
//! holds what each takes to what the server's own schema says, and asks of nobody whose data it is. That
//! is what an author has to mend; what tests want of it is that nothing but the gateway stands between.

use crate::gateway::Company;
use countersign_core::tool::Defined;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What a draft was made of.
pub(crate) struct Drafted {
    /// The tools, by our names, of what kind each is and the server's name of it.
    pub(crate) granted: BTreeSet<(Defined, String)>,
    /// What no tool file can say, and why.
    pub(crate) left: Vec<(Defined, String, String)>,
}

/// Whom every draft is granted to.
pub(crate) const AGENT: &str = "client";

/// The lists of a file of pins.
const LISTS: [(&str, Defined); 4] = [
    ("tools", Defined::Tool),
    ("resources", Defined::Resource),
    ("templates", Defined::Template),
    ("prompts", Defined::Prompt),
];

const EVERYBODY: &str = "Everybody may have what a fixture has.";

/// A server as the posture has it.
pub(crate) struct Upstream<'a> {
    /// What stands under `mcp:`.
    pub(crate) mcp: Value,
    /// Of the deployment, each with its value.
    pub(crate) references: &'a [(&'a str, &'a str)],
    pub(crate) defined: &'a Value,
}

impl Upstream<'_> {
    /// A company with nothing but this server.
    pub(crate) fn company(&self, origins: &[&str]) -> (Company, Drafted) {
        let company = Company::empty();
        for folder in ["agents", "systems", "tools"] {
            let folder = company.path().join("posture").join(folder);
            std::fs::remove_dir_all(&folder).unwrap();
            std::fs::create_dir(&folder).unwrap();
        }
        std::fs::create_dir(company.path().join("posture/pins")).unwrap();
        company.edit("countersign.yaml", |text| {
            let references: String = self
                .references
                .iter()
                .map(|(name, value)| format!("  {name}: {}\n", json!({ "value": value })))
                .collect();
            text.replace("  shop-db: { value: data/shop.db }\n", &references)
                .replace("listen: 127.0.0.1:8787", "listen: 127.0.0.1:0")
                + &format!("allowed_origins: {}\n", json!(origins))
        });
        let system = json!({
            "system": "upstream", "mcp": self.mcp, "timeout": "20s", "rows": 1000, "bytes": "1MiB",
        });
        write(&company, "systems/upstream", &system);
        let drafted = self.draft(&company);
        let grants: Vec<Value> = drafted
            .granted
            .iter()
            .map(|(of, name)| json!({ "tool": ours(*of, name), "reason": "It is tried." }))
            .collect();
        let agent = json!({
            "agent": AGENT, "purpose": "Calls all that a server defines.", "grants": grants,
            "owner": { "team": "gateway", "contact": "gateway@example.com" },
            "identity": { "client_id": AGENT },
        });
        write(&company, &format!("agents/{AGENT}"), &agent);
        company.lift_limits_of_all();
        (company, drafted)
    }

    fn draft(&self, company: &Company) -> Drafted {
        let mut drafted = Drafted { granted: BTreeSet::new(), left: Vec::new() };
        let mut pins = json!({ "system": "upstream" });
        for (list, of) in LISTS {
            let mut pinned = Vec::new();
            for definition in self.defined[list].as_array().into_iter().flatten() {
                let definition = definition.as_object().unwrap();
                let name = of.name(definition).unwrap().to_owned();
                pinned.push(of.pin(definition).unwrap().0);
                match file(of, &name, definition) {
                    Ok(file) => {
                        write(company, &format!("tools/{}", ours(of, &name)), &file);
                        drafted.granted.insert((of, name));
                    }
                    Err(why) => drafted.left.push((of, name, why)),
                }
            }
            pins[list] = json!(pinned);
        }
        let path = company.path().join("posture/pins/upstream.json");
        std::fs::write(path, pins.to_string()).unwrap();
        drafted
    }
}

/// JSON is YAML.
fn write(company: &Company, name: &str, value: &Value) {
    let path = company.path().join(format!("posture/{name}.yaml"));
    std::fs::write(path, format!("{value}\n")).unwrap();
}

/// Our name of it: the server's own, where it is one.
pub(crate) fn ours(of: Defined, name: &str) -> String {
    match of {
        Defined::Tool | Defined::Prompt => name.to_owned(),
        Defined::Resource | Defined::Template => {
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        }
    }
}

fn file(of: Defined, name: &str, definition: &Map<String, Value>) -> Result<Value, String> {
    let (key, offer) = match of {
        Defined::Tool => ("tool", "tool"),
        Defined::Resource | Defined::Template => ("resource", "resource"),
        Defined::Prompt => ("prompt", "prompt"),
    };
    let mut input = match of {
        Defined::Tool => members(&definition["inputSchema"])?,
        Defined::Resource => Map::new(),
        Defined::Template => {
            let places = name.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            places.map(|(name, _)| (name.to_owned(), free_text())).collect()
        }
        Defined::Prompt => {
            let arguments = definition.get("arguments").and_then(Value::as_array);
            arguments
                .into_iter()
                .flatten()
                .map(|argument| {
                    let mut text = free_text();
                    if argument["required"] != true {
                        text["optional"] = json!(true);
                    }
                    (argument["name"].as_str().unwrap().to_owned(), text)
                })
                .collect()
        }
    };
    if of == Defined::Template {
        for argument in input.values_mut() {
            *argument =
                json!({ "type": "string", "pattern": "^[A-Za-z0-9]{1,20}$", "public": EVERYBODY });
        }
    }
    Ok(json!({
        "tool": ours(of, name), "description": format!("{name}: {name}."), "effect": "read",
        "public": EVERYBODY, "input": input, "offer": offer,
        "call": { "system": "upstream", key: name },
    }))
}

fn free_text() -> Value {
    json!({ "type": "string", "text": true, "maxLength": 4000 })
}

fn members(schema: &Value) -> Result<Map<String, Value>, String> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let members = properties.into_iter().map(|(name, schema)| {
        let mut argument = argument(&name, &schema)?;
        if !required.contains(&json!(name)) {
            argument["optional"] = json!(true);
        }
        Ok((name, argument))
    });
    members.collect()
}

fn argument(name: &str, schema: &Value) -> Result<Value, String> {
    let listed = schema.get("enum");
    match (schema["type"].as_str(), listed) {
        (Some("string"), Some(listed)) => Ok(json!({ "type": "string", "enum": listed })),
        (Some("string"), None) => Ok(free_text()),
        (Some(of @ ("integer" | "number")), None) => {
            let bound =
                |key: &str, otherwise: i64| schema.get(key).cloned().unwrap_or(json!(otherwise));
            let (least, most) = (bound("minimum", -1_000_000), bound("maximum", 1_000_000));
            Ok(json!({ "type": of, "minimum": least, "maximum": most }))
        }
        (Some("boolean"), None) => Ok(json!({ "type": "boolean" })),
        (Some("array"), None) => {
            let items = argument(name, &schema["items"])?;
            Ok(json!({ "type": "array", "items": items, "maxItems": 10 }))
        }
        (Some("object"), None) => Ok(json!({ "type": "object", "properties": members(schema)? })),
        _ => Err(format!("`{name}` is {schema}")),
    }
}
