//! What each kind of file may say, as JSON Schema for editors and as the reference for people.
//!
//! Both come from one definition (`kinds.rs`), which takes its bounds and words from where the
//! decoder has them. That the decoder and the schemas agree otherwise is held by a test that drives
//! both with the same files.

mod kinds;
mod reference;

use crate::finding::Code;
use serde_json::{Map, Value, json};

pub use reference::reference;

/// A kind of file that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `posture.yaml`.
    Posture,
    /// `agents/NAME.yaml`.
    Agent,
    /// `tools/NAME.yaml`.
    Tool,
    /// `systems/NAME.yaml`.
    System,
    /// `vendors/NAME.yaml`.
    Vendor,
    /// `evals/NAME.yaml`.
    Eval,
    /// `countersign.yaml`.
    Deployment,
}

impl FileKind {
    /// Every kind there is.
    pub const ALL: [Self; 7] = [
        Self::Posture,
        Self::Agent,
        Self::Tool,
        Self::System,
        Self::Vendor,
        Self::Eval,
        Self::Deployment,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Posture => "posture",
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::System => "system",
            Self::Vendor => "vendor",
            Self::Eval => "eval",
            Self::Deployment => "deployment",
        }
    }

    /// Its JSON Schema (2020-12), strict: a key that it does not name is refused.
    ///
    /// It tells mistakes in the shape of one file. What it cannot tell is listed in [`BEYOND`].
    #[must_use]
    pub fn schema(self) -> Value {
        let kinds::Kind { title, about, shape } = kinds::kind(self);
        let head = members([
            ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
            ("title", json!(title)),
            ("description", json!(about)),
        ]);
        let mut schema: Map<_, _> = head.into_iter().chain(shape.schema()).collect();
        if self == Self::Tool {
            let defined = Defined::ALL.map(|of| (of.as_str(), Value::Object(of.schema())));
            schema.insert("$defs".to_owned(), Value::Object(members(defined)));
        }
        Value::Object(schema)
    }
}

/// What may stand in one place of a file.
enum Shape {
    /// A text, a number, true or false.
    Leaf {
        /// As the reference calls it.
        says: String,
        schema: Map<String, Value>,
        example: Value,
    },
    /// A mapping with these keys and no others.
    Map(Vec<Key>),
    /// A mapping with exactly one of these keys.
    One(Vec<Key>),
    /// A mapping with these keys, and exactly one of those beside.
    Kinds(Vec<Key>, Vec<Key>),
    /// The one or the other; the second is a mapping.
    Either(Box<Shape>, Box<Shape>),
    /// A mapping whose keys are the author's own: each fits one of the patterns.
    Entries(Vec<(String, Shape)>),
    List {
        of: Box<Shape>,
        items_min: usize,
        items_max: Option<usize>,
    },
    Defined(Defined),
}

/// What can hold itself, and so has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defined {
    /// An argument of a tool, at any depth.
    Argument,
    /// An element of an array.
    Element,
}

/// One key of a mapping.
struct Key {
    name: &'static str,
    required: bool,
    /// A sentence or two; empty if the reference need not speak of it.
    about: &'static str,
    shape: Shape,
}

/// One form of an argument.
struct Form {
    title: &'static str,
    /// Its `type`.
    word: &'static str,
    /// Its keys beside those of every form.
    keys: Vec<Key>,
    /// Sets of keys of which one must be there as a whole.
    needs: &'static [&'static [&'static str]],
}

impl Shape {
    fn schema(&self) -> Map<String, Value> {
        match self {
            Self::Leaf { schema, .. } => schema.clone(),
            Self::Map(keys) => closed(keys),
            Self::One(keys) => {
                let one = members([("minProperties", json!(1)), ("maxProperties", json!(1))]);
                closed(keys).into_iter().chain(one).collect()
            }
            Self::Kinds(keys, one) => {
                let names = one.iter().map(|key| json!({ "required": [key.name] }));
                let mut schema = closed(keys.iter().chain(one));
                schema.insert("oneOf".to_owned(), names.collect());
                schema
            }
            Self::Either(text, map) => {
                let both = [text, map].map(|shape| Value::Object(shape.schema()));
                members([("anyOf", json!(both))])
            }
            Self::Entries(fits) => {
                let fits = fits.iter();
                let fits = fits.map(|(pattern, shape)| (pattern.clone(), shape.schema().into()));
                members([
                    ("type", json!("object")),
                    ("patternProperties", Value::Object(fits.collect())),
                    ("additionalProperties", json!(false)),
                ])
            }
            Self::List { of, items_min, items_max } => {
                let list = [
                    ("type", json!("array")),
                    ("items", Value::Object(of.schema())),
                    ("minItems", json!(items_min)),
                ];
                let most = items_max.map(|max| ("maxItems".to_owned(), json!(max)));
                members(list).into_iter().chain(most).collect()
            }
            Self::Defined(of) => members([("$ref", json!(format!("#/$defs/{}", of.as_str())))]),
        }
    }
}

impl Key {
    fn schema(&self) -> (String, Value) {
        let mut schema = self.shape.schema();
        if !self.about.is_empty() {
            schema.insert("description".to_owned(), json!(self.about));
        }
        if let Shape::Leaf { example, .. } = &self.shape {
            schema.insert("examples".to_owned(), json!([example]));
        }
        (self.name.to_owned(), Value::Object(schema))
    }
}

fn closed<'a>(keys: impl IntoIterator<Item = &'a Key> + Clone) -> Map<String, Value> {
    let required = keys.clone().into_iter().filter(|key| key.required).map(|key| key.name);
    members([
        ("type", json!("object")),
        ("properties", Value::Object(keys.into_iter().map(Key::schema).collect())),
        ("required", required.collect()),
        ("additionalProperties", json!(false)),
    ])
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Defined {
    const ALL: [Self; 2] = [Self::Argument, Self::Element];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Argument => "argument",
            Self::Element => "element",
        }
    }

    fn schema(self) -> Map<String, Value> {
        let forms = kinds::forms().into_iter().map(|form| {
            let Form { title, word, keys, needs } = form;
            let keys: Vec<_> = kinds::common(self, [word]).into_iter().chain(keys).collect();
            let mut schema = closed(&keys);
            schema.insert("title".to_owned(), json!(title));
            if !needs.is_empty() {
                let needs = needs.iter().map(|keys| json!({ "required": keys }));
                schema.insert("anyOf".to_owned(), needs.collect());
            }
            Value::Object(schema)
        });
        members([("anyOf", forms.collect())])
    }
}

/// What a schema cannot tell: the code, a part of the messages that are meant (all of them if it is
/// empty), and in words what that is (what the code says of itself if it is empty).
///
/// A code that is not here is told by schema and decoder alike: the tests see to it.
pub const BEYOND: &[(Code, &str, &str)] = &[
    (Code::BadValue, "bytes long", "Lengths are counted in bytes, not in characters."),
    (Code::BadName, "bytes long", "Lengths are counted in bytes, not in characters."),
    (Code::BadValue, "must be a date", "A day that no calendar has."),
    (Code::BadValue, "must be an address", "An address or a port that is out of range."),
    (Code::BadValue, "must say why", "A reason that is no sentence."),
    (
        Code::BadValue,
        "has no part",
        "`ca` beside `tls: none`, `query` and the like beside `sql`, `auth` and the like beside `program`.",
    ),
    (
        Code::BadValue,
        "is no network",
        "A network whose address or length is none, or that is too large for one system.",
    ),
    (Code::BadValue, "1e15", "A number of a size that doubles do not keep apart."),
    (Code::BadValue, "one mail address", "An address with more in it than an address."),
    (
        Code::BadValue,
        "domain of addresses",
        "A domain that is none, or is written as a look-alike.",
    ),
    (Code::BadValue, "has a brace", "A brace that stands alone."),
    (Code::MissingKey, "a message needs", "`subject` and `text` beside `to`."),
    (Code::MessageEffect, "", ""),
    (Code::MessageRecipient, "", ""),
    (Code::MessageSubject, "", ""),
    (Code::WrongType, "not a decimal number", "A whole number written with a fraction, as `2.0`."),
    (
        Code::SchemaConflict,
        "nothing would fit",
        "A minimum above its maximum, a listed value or a pattern that other keywords rule out.",
    ),
    (
        Code::UnboundedInput,
        "takes text",
        "A pattern without an end of its own, and no `maxLength`.",
    ),
    (Code::UnboundedInput, "a full call", "Lists that together hold more than a call may."),
    (Code::FileName, "", ""),
    (Code::InlineSecret, "", ""),
    (Code::Duplicate, "", ""),
    (Code::UnknownTool, "", ""),
    (Code::UnknownSystem, "", ""),
    (Code::UnknownVendor, "", ""),
    (Code::UnknownCaller, "", ""),
    (Code::UnknownReference, "", ""),
    (Code::BadPattern, "", ""),
    (Code::UnanchoredPattern, "", ""),
    (Code::MoneyType, "", ""),
    (Code::UnscopedTool, "", ""),
    (Code::UnscopedIdentifier, "", ""),
    (Code::IdlePublic, "", ""),
    (Code::ScopePath, "", ""),
    (Code::ScopeOptional, "", ""),
    (Code::ScopeType, "", ""),
    (Code::BindDeclared, "", ""),
    (Code::ScopeUnused, "", ""),
    (Code::ScopeLoose, "", ""),
    (Code::LookUpCaller, "", ""),
    (Code::LookUpValue, "", ""),
    (Code::LookUpBound, "", ""),
    (Code::BadSql, "", ""),
    (Code::SeveralStatements, "", ""),
    (Code::ReadStatement, "", ""),
    (Code::SqlInterpolation, "", ""),
    (Code::EffectTenant, "", ""),
    (Code::UnknownPlaceholder, "", ""),
    (Code::BadRequest, "", ""),
    (Code::BadPin, "", ""),
    (Code::Unpinned, "", ""),
    (Code::PinArguments, "", ""),
    (Code::BadOffer, "", ""),
    (
        Code::BadValue,
        "speaks of rows",
        "A rule under `result` for what an MCP server answers, where that is no rows.",
    ),
    (Code::BadValue, "takes no `arguments`", "`arguments` beside a resource."),
    (Code::ArgumentPlace, "", ""),
    (Code::CallSystem, "", ""),
    (Code::BadValue, "at most `max`", "Fewer rows at most than at least."),
    (Code::BadValue, "at least one place", "A check that expects nothing."),
    (Code::MissingKey, "needs `expect`", "A check by `get` without what its answer must say."),
    (Code::MissingKey, "a case needs", "`agent` and `tenant` of a case, its own or the file's."),
    (
        Code::MissingKey,
        "a decision needs",
        "`by` beside `approve` and `reject`, `reason` beside `reject`.",
    ),
    (Code::BadValue, "does not belong to", "A key of another kind of step."),
    (Code::BadValue, "no step before", "A decision about a draft that no step has made."),
    (Code::BadValue, "the text comes to", "A `<repeat …>` that comes to too much."),
    (Code::BadValue, "one of `sees` and `does`", "A goal that is two, or none."),
    (Code::IdleCase, "", ""),
    (Code::UnknownAgent, "", ""),
    (Code::GateApprovers, "", ""),
    (Code::IdleGate, "", ""),
    (Code::LoweredRung, "", ""),
    (Code::IdleException, "", ""),
    (Code::EndedException, "", ""),
    (Code::MissingCheck, "", ""),
    (Code::IdleCheck, "", ""),
    (Code::UnderstatedEffect, "", ""),
    (Code::UnderstatedFlow, "", ""),
    (Code::BadBudget, "", ""),
    (Code::UnreviewedGrant, "", ""),
    (Code::NoVendor, "", ""),
    (Code::VendorDecision, "", ""),
    (Code::TemplateLeft, "", ""),
    (Code::EndedReview, "", ""),
    (Code::MissingKey, "rests on", "What a decision about a vendor rests on."),
    (Code::BadValue, "to be filled in", "A decision on what nobody has found out."),
    (Code::BadValue, "before it was assessed", "A vendor's review before its assessment."),
    (Code::PlaintextListener, "", ""),
    (Code::DevelopmentIssuer, "", ""),
    (Code::IssuerKeys, "", ""),
    (Code::IssuerTenant, "", ""),
    (Code::AgentIssuer, "", ""),
    (Code::NoIssuer, "", ""),
    (Code::PeopleIssuer, "", ""),
    (Code::PeopleAudience, "", ""),
    (Code::PeopleClient, "", ""),
    (Code::PersonClaim, "", ""),
    (Code::NoPeople, "", ""),
    (Code::BadValue, "is told of nothing", "A destination that is told of nothing."),
    (Code::NoExporter, "", ""),
    (Code::NoAlertRoute, "", ""),
    (Code::NoSignOff, "", ""),
    (Code::SignOffRole, "", ""),
    (Code::BadValue, "is no public key", "A reviewer's key that cannot be verified."),
    (Code::WritesFirst, "", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every example with the schema of its place.
    fn examples(shape: &Shape, found: &mut Vec<(Value, Value)>) {
        match shape {
            Shape::Leaf { schema, example, .. } => {
                found.push((Value::Object(schema.clone()), example.clone()));
            }
            Shape::Map(keys) | Shape::One(keys) => {
                keys.iter().for_each(|key| examples(&key.shape, found));
            }
            Shape::Kinds(keys, one) => {
                keys.iter().chain(one).for_each(|key| examples(&key.shape, found));
            }
            Shape::Either(text, map) => [text, map].iter().for_each(|of| examples(of, found)),
            Shape::Entries(fits) => fits.iter().for_each(|(_, shape)| examples(shape, found)),
            Shape::List { of, .. } => examples(of, found),
            Shape::Defined(_) => {}
        }
    }

    #[test]
    fn every_example_fits_where_it_stands() {
        let mut found = Vec::new();
        for kind in FileKind::ALL {
            examples(&kinds::kind(kind).shape, &mut found);
        }
        for Form { word, keys, .. } in kinds::forms() {
            examples(&Shape::Map(keys), &mut found);
            examples(&Shape::Map(kinds::common(Defined::Argument, [word])), &mut found);
        }
        assert!(found.len() > 100);
        for (schema, example) in found {
            assert!(jsonschema::is_valid(&schema, &example), "{example} in {schema}");
        }
    }
}
