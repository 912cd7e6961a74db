//! Canonical JSON: what the strict reader takes is exactly what a second reader, written from
//! RFC 8259 alone, takes; and its canonical form says the same and is a fixed point.

use countersign_core::args::{Arguments, parse, parse_answer};
use countersign_core::bound::{BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX, SAFE_INTEGER_MAX};
use countersign_core::id::{ActorId, IssuerId, SubjectId, TenantId, Timestamp, ToolName};
use countersign_core::principal::Principal;
use serde_json::{Map, Number, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Bytes as a request body: an object as arguments, a list of two objects as two calls.
pub fn json(bytes: &[u8]) {
    let ours = parse(bytes).ok();
    let theirs = read(bytes).map(|text| text.value());
    assert_eq!(ours, theirs, "two readers read it differently");
    let Some(value) = ours else { return };
    assert_eq!(parse_answer(bytes).ok().as_ref(), Some(&value), "an answer is read otherwise");
    match value {
        Value::Object(map) => drop(canonical(map)),
        Value::Array(mut items) if items.len() == 2 => {
            let (Some(Value::Object(second)), Some(Value::Object(first))) =
                (items.pop(), items.pop())
            else {
                return;
            };
            let same = first == second;
            let (first, second) = (canonical(first), canonical(second));
            assert_eq!(same, first.canonical() == second.canonical());
            let digest = |arguments: &Arguments| arguments.digest(&SOMEBODY, &TOOL);
            assert_eq!(same, digest(&first) == digest(&second));
        }
        _ => {}
    }
}

fn canonical(map: Map<String, Value>) -> Arguments {
    let once = Arguments::new(map.clone()).expect("what was read strictly has a canonical form");
    assert_eq!(once.values(), &map, "the values changed");
    let again = match parse(once.canonical()) {
        Ok(Value::Object(again)) => again,
        other => panic!("the canonical form reads as {other:?}"),
    };
    assert_eq!(again, map, "the canonical form says something else");
    let twice = Arguments::new(again).expect("a canonical form has one");
    assert_eq!(once.canonical(), twice.canonical(), "no fixed point");
    let text = read(once.canonical()).expect("the canonical form is read").text();
    assert_eq!(text.as_bytes(), once.canonical(), "not as RFC 8785 writes it");
    once
}

static TOOL: LazyLock<ToolName> = LazyLock::new(|| ToolName::new("t").expect("a name"));
static SOMEBODY: LazyLock<Principal> = LazyLock::new(|| Principal {
    issuer: IssuerId::new("i").expect("an id"),
    subject: SubjectId::new("s").expect("an id"),
    actor: ActorId::new("a").expect("an id"),
    tenant: TenantId::new("t").expect("an id"),
    sid: None,
    person: None,
    scopes: BTreeSet::new(),
    attributes: BTreeMap::new(),
    agent_build: None,
    model: None,
    expires: Timestamp::from_secs(0),
});

/// A text as it was written.
pub(crate) enum Json {
    Plain(Value),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Reads one text of at most what a door reads; `None` if it is not one that everybody reads alike.
pub(crate) fn read(bytes: &[u8]) -> Option<Json> {
    if bytes.len() > BODY_BYTES_MAX {
        return None;
    }
    // serde_json looks at the bytes of texts alone; outside of them only ASCII is JSON anyway.
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader { rest: text, values: 0 };
    let value = reader.value(1)?;
    reader.blanks();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    values: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.blanks();
        self.values += 1;
        let first = self.rest.chars().next()?;
        if self.values > JSON_VALUES_MAX || "[{".contains(first) && depth > JSON_DEPTH_MAX {
            return None;
        }
        match first {
            'n' => self.take("null").map(|()| Json::Plain(Value::Null)),
            't' => self.take("true").map(|()| Json::Plain(Value::Bool(true))),
            'f' => self.take("false").map(|()| Json::Plain(Value::Bool(false))),
            '"' => self.text().map(Json::Text),
            '[' => self.list(depth),
            '{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.take("[")?;
        self.blanks();
        let mut items = Vec::new();
        if self.take("]").is_some() {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.take("]").is_some() {
                return Some(Json::List(items));
            }
            self.take(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take("{")?;
        self.blanks();
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut keys = BTreeSet::new();
        if self.take("}").is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.blanks();
            let key = self.text()?;
            self.blanks();
            self.take(":")?;
            let value = self.value(depth + 1)?;
            if !keys.insert(key.clone()) {
                return None;
            }
            members.push((key, value));
            self.blanks();
            if self.take("}").is_some() {
                return Some(Json::Object(members));
            }
            self.take(",")?;
        }
    }

    fn text(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            let next = self.rest.chars().next()?;
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\x1f' => return None,
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(match next {
            '"' | '\\' | '/' => next,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => match self.unit()? {
                high @ 0xd800..=0xdbff => {
                    self.take("\\u")?;
                    let low @ 0xdc00..=0xdfff = self.unit()? else { return None };
                    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?
                }
                unit => char::from_u32(unit)?,
            },
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let unit = u32::from_str_radix(digits, 16).ok()?;
        self.rest = &self.rest[4..];
        Some(unit)
    }

    fn digits(&mut self) -> Option<usize> {
        let after = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let count = self.rest.len() - after.len();
        self.rest = after;
        (count > 0).then_some(count)
    }

    fn number(&mut self) -> Option<Json> {
        let begin = self.rest;
        let _sign = self.take("-");
        if self.take("0").is_none() {
            self.digits()?;
        }
        if self.take(".").is_some() {
            self.digits()?;
        }
        if self.rest.starts_with(['e', 'E']) {
            self.rest = &self.rest[1..];
            if self.rest.starts_with(['+', '-']) {
                self.rest = &self.rest[1..];
            }
            self.digits()?;
        }
        let text = &begin[..begin.len() - self.rest.len()];
        let value: f64 = text.parse().ok()?;
        let whole = value.fract() == 0.0;
        (value.is_finite() && (!whole || value.abs() <= SAFE_INTEGER_MAX as f64))
            .then(|| Json::Number(text.to_owned()))
    }
}

impl Json {
    pub(crate) fn value(self) -> Value {
        match self {
            Self::Plain(value) => value,
            Self::Text(text) => text.into(),
            Self::Number(text) => {
                let value: f64 = text.parse().expect("it was read");
                if value.fract() == 0.0 {
                    Value::from(value as i64)
                } else {
                    Number::from_f64(value).expect("it is finite").into()
                }
            }
            Self::List(items) => items.into_iter().map(Self::value).collect(),
            Self::Object(members) => {
                members.into_iter().map(|(key, value)| (key, value.value())).collect()
            }
        }
    }

    /// As RFC 8785 writes it, but that a number stays as it was.
    fn text(self) -> String {
        match self {
            Self::Plain(value) => value.to_string(),
            Self::Number(text) => text,
            Self::Text(text) => quoted(&text),
            Self::List(items) => {
                let items: Vec<_> = items.into_iter().map(Self::text).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(mut members) => {
                members.sort_by_cached_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(key, value)| format!("{}:{}", quoted(&key), value.text()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\0'..='\x1f' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
