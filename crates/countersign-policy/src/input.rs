//! A tool's arguments as Cedar sees them: `context.input`, read from the tool's JSON Schema.
//!
//! `context.input` holds exactly what the schema slice declares: texts, integers, booleans, arrays
//! of these as sets (order and repeats are lost), and objects as records. Left out, and so left to
//! the JSON Schema check alone, is what Cedar has no type for: floats (`type: number`), `null`,
//! members of more than one type, and arrays or objects of unknown content.
//!
//! Ranges of integers and enumerations of texts and integers become `forbid` policies, at the top
//! and in nested objects. Patterns, lengths, `multipleOf`, limits written as floats, and everything
//! about the elements of arrays Cedar cannot say or could only say of all elements at once: those,
//! too, are the JSON Schema's alone.

use crate::text::{self, Rule, quote};
use cedar_policy::{ExpressionConstructionError, RestrictedExpression};
use serde_json::{Map, Value};
use std::fmt;

/// The Cedar type of an argument.
#[derive(Debug)]
pub(crate) enum Shape {
    Text,
    Integer,
    Boolean,
    Set(Box<Shape>),
    Record(Record),
}

/// The Cedar type of an object, and of all arguments together.
#[derive(Debug)]
pub(crate) struct Record(Vec<Member>);

#[derive(Debug)]
struct Member {
    name: String,
    required: bool,
    shape: Shape,
}

impl Shape {
    /// `value` as Cedar takes it; `None` if it is not of this shape. A policy that speaks of what
    /// is missing then errors, and an error refuses.
    fn express(&self, value: &Value) -> Option<RestrictedExpression> {
        match (self, value) {
            (Self::Text, Value::String(text)) => {
                Some(RestrictedExpression::new_string(text.clone()))
            }
            (Self::Integer, Value::Number(number)) => {
                number.as_i64().map(RestrictedExpression::new_long)
            }
            (Self::Boolean, Value::Bool(value)) => Some(RestrictedExpression::new_bool(*value)),
            (Self::Set(element), Value::Array(values)) => {
                let elements: Option<Vec<_>> = values.iter().map(|v| element.express(v)).collect();
                elements.map(RestrictedExpression::new_set)
            }
            (Self::Record(record), Value::Object(values)) => record.express(values).ok(),
            _ => None,
        }
    }
}

impl Record {
    /// Adds an argument that comes from the token.
    pub(crate) fn bind(&mut self, name: &str) {
        self.0.push(Member { name: name.to_owned(), required: true, shape: Shape::Text });
    }

    /// Those members that `values` holds in their shape.
    ///
    /// # Errors
    /// If a name stands twice, which a JSON object cannot say.
    pub(crate) fn express(
        &self,
        values: &Map<String, Value>,
    ) -> Result<RestrictedExpression, ExpressionConstructionError> {
        let fields = self.0.iter().filter_map(|Member { name, shape, .. }| {
            Some((name.clone(), shape.express(values.get(name)?)?))
        });
        RestrictedExpression::new_record(fields)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("String"),
            Self::Integer => f.write_str("Long"),
            Self::Boolean => f.write_str("Bool"),
            Self::Set(element) => write!(f, "Set<{element}>"),
            Self::Record(record) => record.fmt(f),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "{{{}}}", members.join(", "))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.required { "" } else { "?" };
        write!(f, "{}{mark}: {}", quote(&self.name), self.shape)
    }
}

/// Reads a tool's arguments as the model may send them, and what bounds them.
pub(crate) fn read(schema: &Map<String, Value>) -> (Record, Vec<Rule>) {
    let top =
        Place { path: String::new(), expression: "context.input".to_owned(), when: Vec::new() };
    let mut bounds = Vec::new();
    let record = read_record(schema, &top, &mut bounds);
    (record, bounds)
}

/// Where in the arguments the reader stands.
struct Place {
    /// For people: `parcel.weight`.
    path: String,
    /// For Cedar: `context.input.parcel.weight`.
    expression: String,
    /// What must be there for the expression to stand for something.
    when: Vec<String>,
}

impl Place {
    fn member(&self, name: &str, required: bool) -> Self {
        let mut when = self.when.clone();
        if !required {
            when.push(format!("{} has {}", self.expression, text::key(name)));
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{dot}{name}", self.path),
            expression: text::member(&self.expression, name),
            when,
        }
    }

    fn bound(self, unless: String) -> Rule {
        Rule { name: format!("bound.{}", self.path), gate: None, when: self.when, unless }
    }
}

fn read_record(schema: &Map<String, Value>, at: &Place, bounds: &mut Vec<Rule>) -> Record {
    let required: Vec<&str> = list(schema.get("required")).filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let members = properties.filter_map(|(name, fragment)| {
        let required = required.contains(&name.as_str());
        let shape = read_shape(fragment, at.member(name, required), bounds)?;
        Some(Member { name: name.clone(), required, shape })
    });
    Record(members.collect())
}

fn read_shape(fragment: &Value, at: Place, bounds: &mut Vec<Rule>) -> Option<Shape> {
    let fragment = fragment.as_object()?;
    match kind(fragment)? {
        "string" => {
            let condition = among(fragment, &at, |value| value.as_str().map(quote));
            bounds.extend(condition.map(|condition| at.bound(condition)));
            Some(Shape::Text)
        }
        "integer" => {
            let among = among(fragment, &at, |value| value.as_i64().map(|n| n.to_string()));
            let conditions: Vec<String> = range(fragment, &at).chain(among).collect();
            if !conditions.is_empty() {
                bounds.push(at.bound(conditions.join(" && ")));
            }
            Some(Shape::Integer)
        }
        "boolean" => Some(Shape::Boolean),
        // What bounds an element bounds no single place: it is not kept.
        "array" => read_shape(fragment.get("items")?, at, &mut Vec::new())
            .map(|element| Shape::Set(Box::new(element))),
        "object" => Some(Shape::Record(read_record(fragment, &at, bounds))),
        _ => None,
    }
}

/// The one type of a fragment. An enumeration of texts need not name it.
fn kind(fragment: &Map<String, Value>) -> Option<&str> {
    match fragment.get("type") {
        Some(kind) => kind.as_str(),
        None => {
            let values = allowed(fragment)?;
            (!values.is_empty() && values.iter().all(|value| value.is_string())).then_some("string")
        }
    }
}

fn allowed(fragment: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (fragment.get("const"), fragment.get("enum")) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(values)) => Some(list(Some(values)).collect()),
        (None, None) => None,
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The condition of an enumeration. One that holds nothing of its own type permits nothing.
fn among(
    fragment: &Map<String, Value>,
    at: &Place,
    literal: fn(&Value) -> Option<String>,
) -> Option<String> {
    let literals: Vec<String> = allowed(fragment)?.into_iter().filter_map(literal).collect();
    if literals.is_empty() {
        return Some("false".to_owned());
    }
    Some(format!("[{}].contains({})", literals.join(", "), at.expression))
}

fn range(fragment: &Map<String, Value>, at: &Place) -> impl Iterator<Item = String> {
    let limits = [
        ("minimum", ">="),
        ("exclusiveMinimum", ">"),
        ("maximum", "<="),
        ("exclusiveMaximum", "<"),
    ];
    limits.into_iter().filter_map(|(keyword, operator)| {
        let limit = fragment.get(keyword)?.as_i64()?;
        Some(format!("{} {operator} {limit}", at.expression))
    })
}
