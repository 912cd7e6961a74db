//! Arguments: parsed strictly, put into one canonical form, recognised by a digest.

use crate::bound::{
    ANSWER_VALUES_MAX, BODY_BYTES_MAX, DOCUMENT_VALUES_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX,
    SAFE_INTEGER_MAX,
};
use crate::id::{Digest, ToolName};
use crate::principal::Principal;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::Cell, fmt};

/// Why bytes are not JSON that everybody reads alike.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentsError {
    /// Longer than [`BODY_BYTES_MAX`].
    #[error("the text is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, a key twice in one object, too deep, or a number that readers round differently.
    #[error("{0}")]
    Malformed(String),
}

/// Reads one JSON text the only way it can be read: a key twice in one object, nesting beyond
/// [`JSON_DEPTH_MAX`] and integers beyond ±(2^53 − 1) are errors, because other readers would see
/// something else (RFC 8259 §4, RFC 7493). So are more than [`JSON_VALUES_MAX`] values. Whole floats (`7.0`) become integers.
///
/// # Errors
/// [`ArgumentsError`], with the position but without the text.
pub fn parse(text: &[u8]) -> Result<Value, ArgumentsError> {
    if text.len() > BODY_BYTES_MAX {
        return Err(ArgumentsError::TooLong);
    }
    read(text, &Rules { values_max: JSON_VALUES_MAX, long_integers: false })
}

/// Reads a system's answer, whose length the caller has bounded, by the same rules but two: there may
/// be [`ANSWER_VALUES_MAX`] values, and an integer beyond ±(2^53 − 1) becomes a text, because many
/// systems count that far. One beyond 64 bits is an error still.
///
/// # Errors
/// [`ArgumentsError`], with the position but without the text.
pub fn parse_answer(text: &[u8]) -> Result<Value, ArgumentsError> {
    read(text, &Rules { values_max: ANSWER_VALUES_MAX, long_integers: true })
}

/// Reads a document that somebody hands over to be looked through once, whose length the caller has
/// bounded, by the rules of [`parse_answer`] but that there may be [`DOCUMENT_VALUES_MAX`] values.
///
/// # Errors
/// [`ArgumentsError`], with the position but without the text.
pub fn parse_document(text: &[u8]) -> Result<Value, ArgumentsError> {
    read(text, &Rules { values_max: DOCUMENT_VALUES_MAX, long_integers: true })
}

fn read(text: &[u8], rules: &Rules) -> Result<Value, ArgumentsError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seen = Cell::new(0);
    let value =
        Strict { depth: 0, seen: &seen, rules }.deserialize(&mut reader).and_then(|value| {
            reader.end()?;
            Ok(value)
        });
    value.map_err(|error| ArgumentsError::Malformed(error.to_string()))
}

/// What a reader takes.
struct Rules {
    values_max: usize,
    /// Whether integers that doubles do not keep apart become texts.
    long_integers: bool,
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// How many values there were so far.
    seen: &'a Cell<usize>,
    rules: &'a Rules,
}

impl Strict<'_> {
    /// The reader of the next value inside this one.
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.saturating_add(1);
        if depth > JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let seen = self.seen.get().saturating_add(1);
        let most = self.rules.values_max;
        if seen > most {
            return Err(de::Error::custom(format_args!("more than {most} values")));
        }
        self.seen.set(seen);
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        let long = || self.rules.long_integers.then(|| Value::from(value.to_string()));
        safe_integer(value).or_else(long).ok_or_else(beyond)
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        let long = || self.rules.long_integers.then(|| Value::from(value.to_string()));
        i64::try_from(value).ok().and_then(safe_integer).or_else(long).ok_or_else(beyond)
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        float(value).ok_or_else(beyond)
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        let deeper = self.deeper()?; // Also of one without members, as of a list without any.
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(deeper)?;
            if values.insert(key, value).is_some() {
                return Err(de::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(Value::Object(values))
    }
}

fn beyond<E: de::Error>() -> E {
    E::custom("integer beyond ±(2^53 − 1)")
}

fn safe_integer(value: i64) -> Option<Value> {
    (value.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs()).then(|| Value::Number(value.into()))
}

/// A finite double; a whole one becomes the integer it is.
fn float(value: f64) -> Option<Value> {
    if value.fract() != 0.0 {
        return Number::from_f64(value).map(Value::Number);
    }
    // `{:.0}` of a whole double is its exact decimal: no lossy cast, and out of range is `None`.
    format!("{value:.0}").parse::<i64>().ok().and_then(safe_integer)
}

/// Arguments that fit the tool's schema, in their one canonical form.
#[derive(Debug)]
pub struct Arguments {
    values: Map<String, Value>,
    canonical: Vec<u8>,
}

impl Arguments {
    /// Takes an object and makes its canonical form (RFC 8785).
    ///
    /// # Errors
    /// [`ArgumentsError::Malformed`] for a number that RFC 8785 would merge with its neighbours.
    pub fn new(values: Map<String, Value>) -> Result<Self, ArgumentsError> {
        let values = values
            .into_iter()
            .map(|(key, value)| Ok((key, settle(value, 1)?)))
            .collect::<Result<Map<_, _>, ArgumentsError>>()?;
        let canonical = serde_json_canonicalizer::to_vec(&values)
            .map_err(|error| ArgumentsError::Malformed(error.to_string()))?;
        Ok(Self { values, canonical })
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The values, alone.
    #[must_use]
    pub(crate) fn into_values(self) -> Map<String, Value> {
        self.values
    }

    /// The canonical form, RFC 8785.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The digest by which a repeated call is recognised.
    ///
    /// SHA-256 over the principal (issuer, subject, actor, tenant), the tool's name and the
    /// canonical form, each length-prefixed so that no two inputs share bytes.
    #[must_use]
    pub fn digest(&self, principal: &Principal, tool: &ToolName) -> Digest {
        Digest::of(
            "countersign/arguments/1",
            &[
                principal.issuer.as_str().as_bytes(),
                principal.subject.as_str().as_bytes(),
                principal.actor.as_str().as_bytes(),
                principal.tenant.as_str().as_bytes(),
                tool.as_str().as_bytes(),
                &self.canonical,
            ],
        )
    }

    /// With further values put in beside, as `bind` does; they win over what was there.
    pub(crate) fn with(self, bound: Vec<(String, Value)>) -> Result<Self, ArgumentsError> {
        if bound.is_empty() {
            return Ok(self);
        }
        let mut values = self.values;
        values.extend(bound);
        Self::new(values)
    }
}

/// The same rules as [`parse`], for values that some other reader made.
fn settle(value: Value, depth: usize) -> Result<Value, ArgumentsError> {
    if depth > JSON_DEPTH_MAX {
        return Err(ArgumentsError::Malformed(format!(
            "nested deeper than {JSON_DEPTH_MAX} levels"
        )));
    }
    let next = depth.saturating_add(1);
    match value {
        Value::Number(number) => {
            let settled = match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(integer), _, _) => safe_integer(integer),
                (None, Some(_), _) => None,
                (None, None, Some(double)) => float(double),
                (None, None, None) => None,
            };
            settled
                .ok_or_else(|| ArgumentsError::Malformed("integer beyond ±(2^53 − 1)".to_owned()))
        }
        Value::Array(items) => items
            .into_iter()
            .map(|item| settle(item, next))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, item)| Ok((key, settle(item, next)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        assert!(error(r#"{"a":1,"a":2}"#).contains("twice"));
        assert!(error(r#"{"x":[{"a":1,"\u0061":2}]}"#).contains("twice"));
    }

    #[test]
    fn what_readers_round_differently_is_refused() {
        for text in
            ["9007199254740992", "-9007199254740992", "18446744073709551615", "1e300", "1e999"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(parse(b"9007199254740991").unwrap(), Value::from(SAFE_INTEGER_MAX));
        assert_eq!(parse(b"7.0").unwrap(), Value::from(7));
        assert_eq!(parse(b"-0.0").unwrap(), Value::from(0));
    }

    #[test]
    fn nesting_is_bounded_and_nothing_may_follow() {
        let deep = format!("{}{}", "[".repeat(JSON_DEPTH_MAX), "]".repeat(JSON_DEPTH_MAX));
        assert!(parse(deep.as_bytes()).is_ok());
        assert!(parse(format!("[{deep}]").as_bytes()).is_err());
        let object = deep.replacen("[]", "[{}]", 1);
        assert!(parse(object.as_bytes()).is_err(), "empty ones count");
        assert!(parse(b"{} {}").is_err());
        assert!(parse(b"").is_err());
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let many = |n: usize| format!("[{}1]", "1,".repeat(n - 2)); // The array is one, too.
        assert!(parse(many(JSON_VALUES_MAX).as_bytes()).is_ok());
        assert!(parse(many(JSON_VALUES_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn an_answer_keeps_long_integers_as_texts_and_is_else_read_as_strictly() {
        let read = |text: &str| parse_answer(text.as_bytes());
        assert_eq!(read("9007199254740991").unwrap(), Value::from(SAFE_INTEGER_MAX));
        for long in ["9007199254740992", "-9007199254740992", "18446744073709551615"] {
            assert_eq!(read(long).unwrap(), Value::from(long));
        }
        for text in ["18446744073709551616", "1e300", r#"{"a":1,"a":2}"#, "[1] 2", "", "nan"] {
            assert!(read(text).is_err(), "{text}");
        }
        let many = |n: usize| format!("[{}1]", "1,".repeat(n - 2));
        assert!(read(&many(ANSWER_VALUES_MAX)).is_ok());
        assert!(read(&many(ANSWER_VALUES_MAX + 1)).is_err());
    }

    #[test]
    fn keys_are_ordered_by_utf16_as_rfc_8785_says() {
        // U+1F600 sorts before U+FB33 in UTF-16 and after it in UTF-8.
        let Value::Object(map) = parse("{\"\u{fb33}\":1,\"\u{1f600}\":2}".as_bytes()).unwrap()
        else {
            panic!("an object");
        };
        let arguments = Arguments::new(map).unwrap();
        assert_eq!(arguments.canonical(), "{\"\u{1f600}\":2,\"\u{fb33}\":1}".as_bytes());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-SAFE_INTEGER_MAX..=SAFE_INTEGER_MAX).prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point_and_says_the_same(value in json()) {
            let map = Map::from_iter([("v".to_owned(), value)]);
            let once = Arguments::new(map).unwrap();
            let Value::Object(again) = parse(once.canonical()).unwrap() else { panic!("an object") };
            let twice = Arguments::new(again).unwrap();
            prop_assert_eq!(once.canonical(), twice.canonical());
            prop_assert_eq!(once.values(), twice.values());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = parse(&bytes);
        }
    }
}
