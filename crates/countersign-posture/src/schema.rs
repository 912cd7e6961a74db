//! A tool's input schema, compiled: what fits, and what an agent is told if something does not.

use crate::bound::{NAME_CHARS_SHOWN_MAX, PATTERN_COMPILED_BYTES_MAX, VALUES_SHOWN_MAX};
use crate::input::plain;
use countersign_core::recipient::Recipient;
use countersign_core::tool::{InputSchema, Issue};
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A schema that cannot be compiled. The text is for operators.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

/// Compiles a JSON Schema (2020-12) of arguments. Patterns run on the linear-time engine, nothing is
/// fetched, `format: email` is one bare address.
///
/// # Errors
/// [`SchemaError`] if it is no schema, or a pattern is beyond that engine.
pub fn compile(schema: &Map<String, Value>) -> Result<Arc<dyn InputSchema>, SchemaError> {
    let schema = Value::Object(schema.clone());
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_COMPILED_BYTES_MAX))
        .with_format("email", |text: &str| Recipient::parse(text).is_ok())
        .should_validate_formats(true)
        .build(&schema)
        .map_err(|error| SchemaError(error.to_string()))?;
    Ok(Arc::new(Compiled { schema, validator }))
}

/// Compiles the schema of what a server answers. Its patterns run on the linear-time engine as well, and
/// nothing is fetched; its formats say what is meant and are held against nothing, as JSON Schema has it
/// (Validation §7.2).
///
/// # Errors
/// [`SchemaError`] if it is no schema, or a pattern is beyond that engine.
pub fn compile_output(schema: &Map<String, Value>) -> Result<Arc<dyn InputSchema>, SchemaError> {
    let schema = Value::Object(schema.clone());
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_COMPILED_BYTES_MAX))
        .should_validate_formats(false)
        .build(&schema)
        .map_err(|error| SchemaError(error.to_string()))?;
    Ok(Arc::new(Compiled { schema, validator }))
}

struct Compiled {
    schema: Value,
    validator: Validator,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compiled").field(&self.schema).finish()
    }
}

impl InputSchema for Compiled {
    fn issues(&self, arguments: &Value) -> Vec<Issue> {
        if self.validator.is_valid(arguments) {
            return Vec::new();
        }
        // One issue per place, whatever number of keywords it fails.
        let mut issues: BTreeMap<String, Issue> = BTreeMap::new();
        for error in self.validator.iter_errors(arguments) {
            for issue in self.explain(&error) {
                let membership = issue.membership;
                let kept = issues.entry(issue.path.clone()).or_insert(issue);
                kept.membership &= membership;
            }
        }
        if issues.is_empty() {
            // INVARIANT: what does not fit has an issue, even one that cannot be explained.
            return vec![issue(WHOLE.to_owned(), "fit the tool's schema", false)];
        }
        issues.into_values().collect()
    }
}

/// How the arguments as a whole are called.
const WHOLE: &str = "(arguments)";

fn issue(path: String, expected: impl Into<String>, membership: bool) -> Issue {
    Issue { path, expected: expected.into(), membership }
}

impl Compiled {
    fn explain(&self, error: &ValidationError<'_>) -> Vec<Issue> {
        let (path, governing) = self.locate(error.instance_path());
        let member = |name: &str| {
            let visible = name.chars().filter(|c| !c.is_control());
            let name: String = visible.take(NAME_CHARS_SHOWN_MAX).collect();
            if path.is_empty() { name } else { format!("{path}.{name}") }
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                vec![issue(member(property.as_str().unwrap_or_default()), "be given", false)]
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().map(|name| issue(member(name), "not be there", false)).collect()
            }
            kind => {
                let wrong_type = matches!(kind, ValidationErrorKind::Type { .. });
                let malformed = matches!(kind, ValidationErrorKind::Format { .. });
                let membership = !wrong_type && !malformed && type_of(governing) == "string";
                let path = if path.is_empty() { WHOLE.to_owned() } else { path };
                vec![issue(path, expected(governing, error.instance()), membership)]
            }
        }
    }

    /// The dotted path of a place in the arguments, and the schema that governs it.
    fn locate(&self, location: &Location) -> (String, &Value) {
        let mut path = String::new();
        let mut schema = &self.schema;
        for segment in location.segments() {
            let next = match segment {
                LocationSegment::Property(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&name);
                    schema.get("properties").and_then(|properties| properties.get(&*name))
                }
                LocationSegment::Index(index) => {
                    path.push_str(&format!("[{index}]"));
                    schema.get("items")
                }
            };
            schema = next.unwrap_or(&Value::Null);
        }
        (path, schema)
    }
}

fn type_of(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// What the schema asks for, as a phrase that follows "must". Built from the schema alone; of what
/// was sent only the type counts.
fn expected(schema: &Value, sent: &Value) -> String {
    let kind = type_of(schema);
    match kind {
        // Of the wrong type it names no values: they may be other tenants' identifiers, and core
        // leaves out only what is of the right type.
        "string" if !sent.is_string() => "be a string".to_owned(),
        "string" if schema.get("format").is_some() => address(schema, sent),
        "string" | "integer" | "number" | "boolean" => {
            values(schema).unwrap_or_else(|| described(schema, kind))
        }
        "array" => {
            let items = range(schema, ("minItems", "maxItems"), "items");
            let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
            let unique = if unique { ", no two alike" } else { "" };
            format!("be an array{}{unique}", items.map(|r| format!(" of {r}")).unwrap_or_default())
        }
        "object" => "be an object".to_owned(),
        _ => "fit the tool's schema".to_owned(),
    }
}

/// The values of `const` or `enum`.
fn values(schema: &Value) -> Option<String> {
    if let Some(value) = schema.get("const") {
        return Some(format!("be `{}`", plain(value)));
    }
    let values = schema.get("enum")?.as_array()?;
    let mut shown: Vec<_> =
        values.iter().take(VALUES_SHOWN_MAX).map(|value| format!("`{}`", plain(value))).collect();
    if values.len() > VALUES_SHOWN_MAX {
        shown.push("…".to_owned());
    }
    Some(format!("be one of {}", shown.join(", ")))
}

/// The reason is the reader's own, and repeats nothing.
fn address(schema: &Value, sent: &Value) -> String {
    match Recipient::parse(sent.as_str().unwrap_or_default()) {
        Err(why) => format!("be one bare mail address, as `name@domain.example`; {why}"),
        Ok(_) => format!("be a mail address, and {}", described(schema, "string")),
    }
}

fn described(schema: &Value, kind: &str) -> String {
    let numbers = |what: &str| match range(schema, ("minimum", "maximum"), "") {
        Some(range) => format!("be {what} {}", range.trim_end()),
        None => format!("be {what}"),
    };
    match kind {
        "integer" => numbers("an integer"),
        "number" => numbers("a number"),
        "boolean" => "be true or false".to_owned(),
        _ => {
            let length = range(schema, ("minLength", "maxLength"), "characters");
            let pattern = schema.get("pattern").and_then(Value::as_str);
            match (pattern, length) {
                (Some(pattern), None) => format!("match the pattern `{pattern}`"),
                (Some(pattern), Some(length)) => {
                    format!("match the pattern `{pattern}` and have {length}")
                }
                (None, Some(length)) => format!("be a string of {length}"),
                (None, None) => "be a string".to_owned(),
            }
        }
    }
}

/// `from 1 to 365` for numbers; `1 to 5 items`, `at most 200 characters` for sizes, with their unit.
fn range(schema: &Value, (min, max): (&str, &str), unit: &str) -> Option<String> {
    let from = if unit.is_empty() { "from " } else { "" };
    Some(match (schema.get(min), schema.get(max)) {
        (Some(min), Some(max)) if min == max => format!("exactly {min} {unit}"),
        (Some(min), Some(max)) => format!("{from}{min} to {max} {unit}"),
        (Some(min), None) => format!("at least {min} {unit}"),
        (None, Some(max)) => format!("at most {max} {unit}"),
        (None, None) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// A schema with one of everything.
    fn schema() -> Map<String, Value> {
        let closed = |properties: Value, required: Value| {
            json!({
                "type": "object", "properties": properties, "required": required,
                "additionalProperties": false,
            })
        };
        let parcel = closed(
            json!({
                "id": {"type": "string", "pattern": "^par_[0-9]{2}$"},
                "note": {"type": "string", "minLength": 1, "maxLength": 3},
            }),
            json!(["id"]),
        );
        let properties = json!({
            "account": {"type": "string", "enum": ["a", "b"]},
            "kind": {"type": "string", "const": "x"},
            "days": {"type": "integer", "minimum": 1, "maximum": 365},
            "share": {"type": "number", "minimum": 0, "maximum": 0.5},
            "express": {"type": "boolean"},
            "parcels": {
                "type": "array", "items": parcel, "minItems": 1, "maxItems": 2, "uniqueItems": true,
            },
        });
        let Value::Object(schema) = closed(properties, json!(["account"])) else {
            panic!("an object")
        };
        schema
    }

    fn issues(arguments: Value) -> Vec<(String, String, bool)> {
        let issues = compile(&schema()).unwrap().issues(&arguments);
        issues.into_iter().map(|i| (i.path, i.expected, i.membership)).collect()
    }

    /// What is said of one argument beside a valid account.
    fn said(name: &str, value: Value) -> Vec<(String, String, bool)> {
        let mut arguments = json!({"account": "a"});
        arguments[name] = value;
        issues(arguments)
    }

    #[test]
    fn what_fits_has_no_issue() {
        assert_eq!(issues(json!({"account": "a"})), []);
        assert_eq!(said("days", json!(365)), []);
        assert_eq!(said("share", json!(0.25)), []);
        assert_eq!(said("parcels", json!([{"id": "par_12", "note": "abc"}, {"id": "par_13"}])), []);
    }

    #[test]
    fn each_wrong_field_is_named_once_with_what_it_must_be() {
        for (name, value, path, expected, membership) in [
            ("account", json!("c"), "account", "be one of `a`, `b`", true),
            ("kind", json!("y"), "kind", "be `x`", true),
            ("kind", json!(null), "kind", "be a string", false),
            ("days", json!(366), "days", "be an integer from 1 to 365", false),
            ("days", json!("7"), "days", "be an integer from 1 to 365", false),
            ("days", json!(1.5), "days", "be an integer from 1 to 365", false),
            ("share", json!(0.75), "share", "be a number from 0 to 0.5", false),
            ("express", json!("true"), "express", "be true or false", false),
            ("parcels", json!([]), "parcels", "be an array of 1 to 2 items, no two alike", false),
            ("parcels", json!([1]), "parcels[0]", "be an object", false),
            ("parcels", json!([{}]), "parcels[0].id", "be given", false),
            (
                "parcels",
                json!([{"id": "par_1"}]),
                "parcels[0].id",
                "match the pattern `^par_[0-9]{2}$`",
                true,
            ),
            (
                "parcels",
                json!([{"id": "par_11", "note": ""}]),
                "parcels[0].note",
                "be a string of 1 to 3 characters",
                true,
            ),
            ("parcels", json!([{"id": "par_11", "x": 1}]), "parcels[0].x", "not be there", false),
            ("extra", json!(1), "extra", "not be there", false),
        ] {
            let expected = [(path.to_owned(), expected.to_owned(), membership)];
            assert_eq!(said(name, value.clone()), expected, "{name}: {value}");
        }
        assert_eq!(issues(json!({})), [("account".to_owned(), "be given".to_owned(), false)]);
        assert_eq!(issues(json!([])), [(WHOLE.to_owned(), "be an object".to_owned(), false)]);
    }

    #[test]
    fn all_wrong_fields_are_told_at_once() {
        let found = issues(json!({"account": 1, "days": 0, "x": 1, "parcels": [{"id": "p"}, {}]}));
        let paths: Vec<_> = found.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, ["account", "days", "parcels[0].id", "parcels[1].id", "x"]);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_answered_with_other_peoples_identifiers() {
        for value in [json!(1), json!(null), json!(["a"]), json!({"a": 1}), json!(true)] {
            let expected = [("account".to_owned(), "be a string".to_owned(), false)];
            assert_eq!(said("account", value), expected);
        }
    }

    #[test]
    fn nothing_that_was_sent_is_repeated_and_names_are_cut() {
        let marker = "s3cret-marker";
        for name in ["account", "kind", "days", "share", "express", "parcels"] {
            for value in [json!(marker), json!({marker: marker}), json!([marker, {"id": marker}])] {
                for (path, expected, _) in said(name, value) {
                    assert!(!expected.contains(marker), "{path}: {expected}");
                }
            }
        }
        let name = format!("\u{7}{}", "n".repeat(1_000));
        let found = said(&name, json!(1));
        assert_eq!(found[0].0, "n".repeat(NAME_CHARS_SHOWN_MAX));
    }

    #[test]
    fn long_enumerations_are_cut() {
        let values: Vec<_> = (0..30).map(|number| format!("v{number}")).collect();
        let schema = json!({"type": "string", "enum": values});
        let said = expected(&schema, &json!("x"));
        assert!(said.starts_with("be one of `v0`, `v1`,") && said.ends_with("`v9`, …"), "{said}");
    }

    #[test]
    fn patterns_beyond_linear_time_do_not_compile() {
        for pattern in ["(?=a)b", "(a)\\1", "(", "^([0-9]{1000}){1000}$"] {
            let schema = Map::from_iter([("pattern".to_owned(), json!(pattern))]);
            assert!(compile(&schema).is_err(), "{pattern}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            (-2i64..400).prop_map(Value::from),
            (0.0..1.0f64).prop_map(Value::from),
            prop::sample::select(vec!["a", "b", "x", "par_12", "par_1", "", "abcd"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            let key = prop::sample::select(vec!["id", "note", "x"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn arguments() -> impl Strategy<Value = Value> {
        let key = prop::sample::select(vec![
            "account", "kind", "days", "share", "express", "parcels", "extra",
        ]);
        let object = prop::collection::btree_map(key.prop_map(str::to_owned), value(), 0..6)
            .prop_map(|map| Value::Object(map.into_iter().collect()));
        prop_oneof![9 => object, 1 => value()]
    }

    proptest! {
        #[test]
        fn there_is_an_issue_exactly_if_the_arguments_do_not_fit(arguments in arguments()) {
            let plain = jsonschema::validator_for(&Value::Object(schema())).unwrap();
            let issues = compile(&schema()).unwrap().issues(&arguments);
            prop_assert_eq!(issues.is_empty(), plain.is_valid(&arguments), "{:?}", issues);
            for issue in issues {
                prop_assert_ne!(issue.expected, "fit the tool's schema");
            }
        }
    }
}
