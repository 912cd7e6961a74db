//! `budget:` of a tool: sums over a window that all its calls together keep to.

use crate::decode::{Decoder, Item};
use crate::finding::{Code, did_you_mean};
use crate::input::{self, Arguments};
use crate::node::Entry;
use countersign_core::ladder::{Budget, Per, Summed};
use countersign_core::quota::Window;
use countersign_core::scope::{ArgumentPath, Step};
use serde_json::{Map, Value};

pub(crate) const WINDOWS: [(&str, Window); 2] = [("hour", Window::Hour), ("day", Window::Day)];
pub(crate) const PERS: [(&str, Per); 2] = [("tenant", Per::Tenant), ("agent", Per::Agent)];
/// Most digits of a sum.
pub(crate) const DIGITS_MAX: usize = 15;

const ROWS: &str = "rows";
const RECIPIENTS: &str = "recipients";

/// Reads `budget:`. `sends` says whether the call is a message, if that is known.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    arguments: &Arguments,
    sends: Option<bool>,
) -> Option<Vec<Budget>> {
    let input = input::object(arguments);
    let entries = decoder.entries(item)?;
    let budgets = entries.iter().map(|Entry { key, key_span, value }| {
        let of = match key.as_str() {
            ROWS | RECIPIENTS if arguments.contains_key(key) => {
                Err("is an argument here, and a budget means something else by it".to_owned())
            }
            ROWS => Ok(Summed::Rows),
            RECIPIENTS if sends == Some(false) => Err("are of messages, and this is none".into()),
            RECIPIENTS => Ok(Summed::Recipients),
            _ => summed(key, input.as_ref()),
        };
        let of = of.map_err(|why| {
            decoder.report(Code::BadBudget, *key_span, format!("`{key}` {why}"));
            let known = arguments.keys().map(String::as_str).chain([ROWS, RECIPIENTS]);
            let near = did_you_mean(key, known.filter(|known| known != key));
            decoder.helped(near.or_else(|| {
                Some("a budget is of an integer argument with `minimum: 0` or more, of `rows`, or of `recipients`".to_owned())
            }));
        });
        let (max, window, per) = allowance(decoder, Item { name: key, node: value })?;
        Some(Budget { of: of.ok()?, max, window, per })
    });
    // All of them are read, so that every mistake is told.
    budgets.collect::<Vec<_>>().into_iter().collect()
}

/// Whole numbers from 0 up, at a path; or why it is none. Without `input` (something is wrong with it)
/// every path will do.
fn summed(key: &str, input: Option<&Map<String, Value>>) -> Result<Summed, String> {
    let none = || "is neither an argument nor a path to one".to_owned();
    let path = ArgumentPath::parse(key).ok_or_else(none)?;
    let Some(input) = input else { return Ok(Summed::Argument(path)) };
    let mut at = Some(input);
    for step in path.steps() {
        let next = match step {
            Step::Member(name) => at.and_then(|at| at.get("properties")?.get(name)),
            Step::Each => at.and_then(|at| at.get("items")),
        };
        at = next.and_then(Value::as_object);
    }
    let schema = at.ok_or_else(none)?;
    if schema.get("type").and_then(Value::as_str) != Some("integer") {
        return Err("is no whole number".to_owned());
    }
    let listed = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    let listed = listed.or(schema.get("const").map(std::slice::from_ref));
    let never_negative = match listed {
        Some(values) => values.iter().all(Value::is_u64),
        None => schema.get("minimum").is_some_and(Value::is_u64),
    };
    match never_negative {
        true => Ok(Summed::Argument(path)),
        false => Err("may be negative: it would give back what others spent".to_owned()),
    }
}

/// `100000 per day per tenant`.
fn allowance(decoder: &mut Decoder, item: Item<'_>) -> Option<(u64, Window, Per)> {
    let text = decoder.line(item)?;
    let parts: Vec<_> = text.split(' ').collect();
    let parsed = match parts.as_slice() {
        [max, "per", window, "per", per] => {
            let plain = max.len() <= DIGITS_MAX
                && max.bytes().all(|byte| byte.is_ascii_digit())
                && !max.starts_with('0');
            let max = Some(max).filter(|_| plain).and_then(|max| max.parse().ok());
            max.zip(word(&WINDOWS, window)).zip(word(&PERS, per))
        }
        _ => None,
    };
    if parsed.is_none() {
        let message = format!("`{text}` is no allowance");
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("write it as `100000 per day per tenant`: per `hour` or `day`, per `tenant` or `agent`, from 1 to 15 digits");
    }
    parsed.map(|((max, window), per)| (max, window, per))
}

fn word<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|&(_, found)| found)
}
