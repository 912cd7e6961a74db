//! Whether one pattern takes a text that another does not: decided, for patterns are regular.

use crate::bound::{PATTERN_PAIRS_MAX, PATTERN_TABLE_BYTES_MAX};
use jsonschema_regex::to_rust_regex;
use regex_automata::dfa::dense::{Builder, Config, DFA};
use regex_automata::dfa::{Automaton as _, StartKind};
use regex_automata::util::primitives::StateID;
use regex_automata::{Input, MatchKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// Every text, and nothing else: bytes that are none are never followed.
const TEXT: &str = r"\A(?s:.)*\z";

/// A pattern that reads byte by byte, and whether it has matched by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    state: StateID,
    matched: bool,
}

/// Both patterns and what a text is, read at once.
struct Product {
    new: DFA<Vec<u32>>,
    old: DFA<Vec<u32>>,
    text: DFA<Vec<u32>>,
}

/// Where all three are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    new: At,
    old: At,
    text: At,
}

/// A text, the shortest, in which `new` is found and `old` is not.
///
/// # Errors
/// If nobody knows: a pattern that cannot be read so, or is too large.
pub(crate) fn beyond(new: &str, old: &str) -> Result<Option<String>, String> {
    let product = Product {
        new: table(&validated(new)?)?,
        old: table(&validated(old)?)?,
        text: table(TEXT)?,
    };
    let first = product.begin()?;
    let mut from: BTreeMap<Place, Option<(Place, u8)>> = BTreeMap::from([(first, None)]);
    let mut waiting = VecDeque::from([first]);
    while let Some(at) = waiting.pop_front() {
        if product.tells_apart(at) {
            return Ok(Some(written(&from, at)));
        }
        for byte in bytes() {
            let next = product.step(at, byte);
            if product.text.is_dead_state(next.text.state) || from.contains_key(&next) {
                continue;
            }
            if from.len() >= PATTERN_PAIRS_MAX {
                return Err("the patterns are too large to be compared".to_owned());
            }
            from.insert(next, Some((at, byte)));
            waiting.push_back(next);
        }
    }
    Ok(None)
}

/// Those that people write first, so that an example can be read.
fn bytes() -> impl Iterator<Item = u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    (0..=u8::MAX).filter(plain).chain((0..=u8::MAX).filter(move |byte| !plain(byte)))
}

/// A pattern as what validates arguments reads it: it is ECMA-262's, and `\d`, `\w`, `\s` and `.` mean fewer
/// or other characters there than to the engine.
fn validated(pattern: &str) -> Result<Cow<'_, str>, String> {
    to_rust_regex(pattern).map_err(|()| "it is no pattern".to_owned())
}

fn table(pattern: &str) -> Result<DFA<Vec<u32>>, String> {
    let config = Config::new()
        .start_kind(StartKind::Unanchored)
        .match_kind(MatchKind::All)
        .dfa_size_limit(Some(PATTERN_TABLE_BYTES_MAX))
        .determinize_size_limit(Some(PATTERN_TABLE_BYTES_MAX));
    Builder::new().configure(config).build(pattern).map_err(|error| error.to_string())
}

impl Product {
    fn begin(&self) -> Result<Place, String> {
        let begin = |table: &DFA<Vec<u32>>| {
            let state = table.start_state_forward(&Input::new("")).map_err(|e| e.to_string())?;
            Ok::<_, String>(At { state, matched: table.is_match_state(state) })
        };
        Ok(Place { new: begin(&self.new)?, old: begin(&self.old)?, text: begin(&self.text)? })
    }

    fn step(&self, Place { new, old, text }: Place, byte: u8) -> Place {
        let step = |table: &DFA<Vec<u32>>, at: At| {
            let state = table.next_state(at.state, byte);
            At { state, matched: at.matched || table.is_match_state(state) }
        };
        // A text as a whole is one only at its end.
        let text = At { matched: false, ..step(&self.text, text) };
        Place { new: step(&self.new, new), old: step(&self.old, old), text }
    }

    fn tells_apart(&self, Place { new, old, text }: Place) -> bool {
        let ends = |table: &DFA<Vec<u32>>, at: At| {
            at.matched || table.is_match_state(table.next_eoi_state(at.state))
        };
        ends(&self.new, new) && !ends(&self.old, old) && ends(&self.text, text)
    }
}

fn written(from: &BTreeMap<Place, Option<(Place, u8)>>, end: Place) -> String {
    let mut bytes = Vec::new();
    let mut at = end;
    while let Some(Some((before, byte))) = from.get(&at) {
        bytes.push(*byte);
        at = *before;
    }
    bytes.reverse();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_posture::schema::compile;
    use proptest::prelude::*;
    use serde_json::json;

    /// Whether arguments of that form would pass.
    fn takes(pattern: &str, text: &str) -> bool {
        let schema = json!({"type": "string", "pattern": pattern});
        compile(schema.as_object().unwrap()).unwrap().issues(&json!(text)).is_empty()
    }

    #[test]
    fn what_one_takes_and_the_other_does_not_is_found() {
        for (new, old, found) in [
            ("^inv_[0-9]{6}$", "^inv_[0-9]{6}$", false),
            ("^inv_[0-9]{6}$", "^inv_[0-9]{4,8}$", false),
            ("^inv_[0-9]{4,8}$", "^inv_[0-9]{6}$", true),
            ("^(a|b)$", "^[ab]$", false),
            ("^[a-z]+$", "^[a-z]*$", false),
            ("^[a-z]*$", "^[a-z]+$", true),
            ("inv", "^inv", true),
            ("^inv", "inv", false),
            ("^[A-Za-zÀ-ž]+$", "^[A-Za-z]+$", true),
            ("^.$", "^[^\\n]$", false),
            ("^[^\\n]$", "^.$", true),
            ("^[0-9٠-٩]{6}$", "^\\d{6}$", true),
            ("^\\d{6}$", "^[0-9]{6}$", false),
            ("^[a-z0-9_а-я]{1,12}$", "^\\w{1,12}$", true),
            ("^[a-z\\u{2028}\\r]{1,12}$", "^.{1,12}$", true),
            ("^[ \u{feff}]$", "^\\s$", false),
            ("^\\S$", "^[^\u{180e}]$", true),
            ("a", "", false),
            ("", "a", true),
        ] {
            let witness = beyond(new, old).unwrap();
            assert_eq!(witness.is_some(), found, "{new} {old} {witness:?}");
            if let Some(text) = witness {
                assert!(takes(new, &text) && !takes(old, &text), "{new} {old} {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_tells_two_patterns_apart_is_decided(
            new in "(\\^)?(a|b|\\.|[ab]|a\\*|b\\+|a\\{1,2\\}){1,5}(\\$)?",
            old in "(\\^)?(a|b|\\.|[ab]|a\\*|b\\+|a\\{1,2\\}){1,5}(\\$)?",
            text in "[abcé]{0,7}",
        ) {
            match beyond(&new, &old).unwrap() {
                Some(found) => prop_assert!(takes(&new, &found) && !takes(&old, &found)),
                None => prop_assert!(!takes(&new, &text) || takes(&old, &text)),
            }
        }
    }
}
