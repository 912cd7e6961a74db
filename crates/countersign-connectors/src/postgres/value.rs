//! Values on their way to PostgreSQL and back, by the types that the server gives its parameters and
//! columns.
//!
//! To it they go as texts, which the type's own reader takes: exactly as a cast of a quoted text
//! would, and never as a part of the statement. From it they come in its binary form.

use bytes::BytesMut;
use countersign_core::bound::SAFE_INTEGER_MAX;
use jiff::{Timestamp, civil};
use serde_json::{Number, Value};
use std::error::Error;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

/// Deepest nesting of an array, as PostgreSQL has it.
const DIMENSIONS_MAX: usize = 6;

/// A parameter's value as its type's reader takes it. It does not show itself.
pub(super) struct Text(Option<String>);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text(…)")
    }
}

impl ToSql for Text {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
    to_sql_checked!();
}

/// An argument as a parameter of a type; or what of it that type does not take.
pub(super) fn text(value: &Value, wanted: &Type) -> Result<Text, String> {
    scalar_or_array(value, wanted, 0).map(Text)
}

fn scalar_or_array(value: &Value, wanted: &Type, depth: usize) -> Result<Option<String>, String> {
    match (wanted.kind(), value) {
        (_, Value::Null) => Ok(None),
        (Kind::Domain(base), _) => scalar_or_array(value, base, depth),
        (Kind::Array(member), Value::Array(items)) => array(items, wanted, member, depth).map(Some),
        (Kind::Enum(_), Value::String(text)) => plain(text).map(Some),
        (Kind::Simple, _) => scalar(value, wanted).map(Some),
        _ => Err("it is of another kind".to_owned()),
    }
}

/// As PostgreSQL writes arrays. Every element is quoted, so that none is taken for its structure.
fn array(items: &[Value], whole: &Type, member: &Type, depth: usize) -> Result<String, String> {
    if depth >= DIMENSIONS_MAX {
        return Err(format!("arrays are nested deeper than {DIMENSIONS_MAX} levels"));
    }
    let json = matches!(*member, Type::JSON | Type::JSONB);
    let element = |item: &Value| match item {
        Value::Array(_) if !json => {
            let nested = scalar_or_array(item, whole, depth + 1)?;
            Ok(nested.unwrap_or_else(|| "NULL".to_owned()))
        }
        _ => Ok(match scalar_or_array(item, member, depth + 1)? {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }),
    };
    let elements: Result<Vec<_>, String> = items.iter().map(element).collect();
    Ok(format!("{{{}}}", elements?.join(",")))
}

fn scalar(value: &Value, wanted: &Type) -> Result<String, String> {
    let whole = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    match (wanted, value) {
        (&Type::BOOL, Value::Bool(truth)) => Ok(truth.to_string()),
        (&Type::INT2 | &Type::INT4 | &Type::INT8, Value::Number(number)) if number.is_i64() => {
            Ok(number.to_string())
        }
        (&Type::INT2 | &Type::INT4 | &Type::INT8, Value::String(text)) if whole(text) => {
            Ok(text.clone())
        }
        (&Type::NUMERIC | &Type::FLOAT4 | &Type::FLOAT8, Value::Number(number)) => {
            Ok(number.to_string())
        }
        (&Type::NUMERIC, Value::String(text)) => {
            let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let decimal = whole(integer) && fraction.bytes().all(|byte| byte.is_ascii_digit());
            if decimal && !fraction.is_empty() {
                return Ok(text.clone());
            }
            Err("the text is no decimal number".to_owned())
        }
        (&Type::TEXT | &Type::VARCHAR | &Type::BPCHAR | &Type::NAME | &Type::UUID, _) => {
            plain(value.as_str().ok_or("it is no text")?)
        }
        (
            &Type::DATE | &Type::TIME | &Type::TIMESTAMP | &Type::TIMESTAMPTZ,
            Value::String(text),
        ) => {
            // `now` and `infinity` are times to PostgreSQL, and none that an agent could mean.
            if text.starts_with(|c: char| c.is_ascii_digit()) {
                return plain(text);
            }
            Err("the text does not begin as a date or time does".to_owned())
        }
        (&Type::JSON | &Type::JSONB, _) => Ok(value.to_string()),
        (
            &Type::BOOL
            | &Type::INT2
            | &Type::INT4
            | &Type::INT8
            | &Type::NUMERIC
            | &Type::FLOAT4
            | &Type::FLOAT8
            | &Type::DATE
            | &Type::TIME
            | &Type::TIMESTAMP
            | &Type::TIMESTAMPTZ,
            _,
        ) => Err("it is of another kind".to_owned()),
        _ => Err("write a cast to a type that can be bound, as in `:name::text`".to_owned()),
    }
}

/// A text without what PostgreSQL's texts cannot hold.
fn plain(text: &str) -> Result<String, String> {
    if text.contains('\0') { Err("it holds a NUL".to_owned()) } else { Ok(text.to_owned()) }
}

// ── back ────────────────────────────────────────────────────────────────────────────────────────

/// One column of one row, as it came; `None` for null.
#[derive(Debug)]
pub(super) struct Cell<'a>(pub(super) Option<&'a [u8]>);

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(bytes)))
    }
    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A value as JSON; or what it is that JSON cannot carry faithfully.
///
/// Booleans, texts, JSON and enumerations are themselves. An integer is a number, or a text beyond
/// ±(2^53 − 1), where readers of JSON round it. A `numeric` is a text with all its digits: JSON's
/// readers would make a binary fraction of it, and money is kept in it. Reals are numbers. Dates,
/// times and UUIDs are texts (ISO 8601, RFC 9562). Arrays are arrays. Anything else is a fault: the
/// statement has to say how it is to be shown.
pub(super) fn json(is: &Type, bytes: Option<&[u8]>) -> Result<Value, String> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    match is.kind() {
        Kind::Domain(base) => json(base, Some(bytes)),
        Kind::Enum(_) => read::<&str>(is, bytes).map(Value::from),
        Kind::Array(member) => {
            let elements = Vec::<Cell<'_>>::from_sql(is, bytes);
            let elements = elements.map_err(|error| format!("an array: {error}"))?;
            elements.into_iter().map(|Cell(element)| json(member, element)).collect()
        }
        Kind::Simple => simple(is, bytes),
        _ => Err(other(is)),
    }
}

fn other(is: &Type) -> String {
    format!("{is}: cast it in the statement, as with `::text`")
}

fn read<'a, T: FromSql<'a>>(is: &Type, bytes: &'a [u8]) -> Result<T, String> {
    T::from_sql(is, bytes).map_err(|error| format!("a value that cannot be read: {error}"))
}

fn simple(is: &Type, bytes: &[u8]) -> Result<Value, String> {
    Ok(match *is {
        Type::BOOL => read::<bool>(is, bytes)?.into(),
        Type::INT2 => read::<i16>(is, bytes)?.into(),
        Type::INT4 => read::<i32>(is, bytes)?.into(),
        Type::INT8 => integer(read(is, bytes)?),
        // By its shortest decimal: the nearest double of 0.1 as a `real` has eight digits too many.
        Type::FLOAT4 => {
            let shortest = read::<f32>(is, bytes)?.to_string();
            double(shortest.parse().map_err(|_odd| "a value that is no number".to_owned())?)?
        }
        Type::FLOAT8 => double(read(is, bytes)?)?,
        Type::NUMERIC => numeric(bytes)?.into(),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => read::<&str>(is, bytes)?.into(),
        Type::UUID => uuid(bytes)?.into(),
        Type::DATE => read::<civil::Date>(is, bytes)?.to_string().into(),
        Type::TIME => read::<civil::Time>(is, bytes)?.to_string().into(),
        Type::TIMESTAMP => read::<civil::DateTime>(is, bytes)?.to_string().into(),
        Type::TIMESTAMPTZ => read::<Timestamp>(is, bytes)?.to_string().into(),
        Type::JSON => document(bytes)?,
        Type::JSONB => match bytes {
            [1, text @ ..] => document(text)?,
            _ => return Err("a document of an unknown version".to_owned()),
        },
        Type::BYTEA => {
            let how = "bytes: encode them in the statement, as with `encode(…, 'hex')`";
            return Err(how.to_owned());
        }
        _ => return Err(other(is)),
    })
}

fn integer(integer: i64) -> Value {
    if integer.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs() {
        integer.into()
    } else {
        integer.to_string().into()
    }
}

fn double(real: f64) -> Result<Value, String> {
    Number::from_f64(real).map(Value::Number).ok_or_else(|| "no number or an infinity".to_owned())
}

fn uuid(bytes: &[u8]) -> Result<String, String> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_length| "an odd UUID".to_owned())?;
    let dashed = |(at, byte): (usize, &u8)| {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        format!("{dash}{byte:02x}")
    };
    Ok(bytes.iter().enumerate().map(dashed).collect())
}

/// A JSON document, if every number in it comes through.
fn document(text: &[u8]) -> Result<Value, String> {
    let value = serde_json::from_slice(text).map_err(|error| format!("odd JSON: {error}"))?;
    if survives(&value) {
        return Ok(value);
    }
    Err("JSON with a number that readers round: cast it, as with `::text`".to_owned())
}

fn survives(value: &Value) -> bool {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs(),
            (None, Some(real)) => real.fract() != 0.0,
            (None, None) => false,
        },
        Value::Array(items) => items.iter().all(survives),
        Value::Object(members) => members.values().all(survives),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Groups of four decimal digits: how many, the place of the first (0 is that before the point), the
/// sign and how many digits follow the point; then the groups, two bytes each.
fn numeric(bytes: &[u8]) -> Result<String, String> {
    let mut words =
        bytes.chunks_exact(2).filter_map(|two| Some(i16::from_be_bytes(two.try_into().ok()?)));
    let mut word = || words.next().ok_or_else(|| "an odd number".to_owned());
    let (groups, first, sign, digits) = (word()?, word()?, word()?, word()?);
    let minus = match sign.cast_unsigned() {
        0x0000 => "",
        0x4000 => "-",
        _ => return Err("no number or an infinity".to_owned()),
    };
    let groups = (0..groups).map(|_| word()).collect::<Result<Vec<_>, String>>()?;
    let group = |place: i32| {
        let index = usize::try_from(i32::from(first) - place).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or_default()
    };
    let whole: String =
        (0..=i32::from(first)).rev().map(|place| format!("{:04}", group(place))).collect();
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let digits = usize::try_from(digits).unwrap_or_default();
    let places = 1..=i32::try_from(digits.div_ceil(4)).unwrap_or_default();
    let fraction: String = places.map(|place| format!("{:04}", group(-place))).collect();
    let fraction: String = fraction.chars().take(digits).collect();
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{minus}{whole}{point}{fraction}"))
}
