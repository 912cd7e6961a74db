//! Whose a text is: what stands in one tenant's rows and in nobody else's must not reach another.

use crate::bound::MARKS_MAX;
use crate::site::leaves;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fewest characters of a word that can tell whose it is.
const WORD_CHARS_MIN: usize = 6;

/// Words by whose they are.
#[derive(Debug, Default)]
pub(crate) struct Marks(BTreeMap<String, Option<String>>);

impl Marks {
    /// Takes in a text of somebody's rows; of nobody's, if it is not said whose.
    pub(crate) fn add(&mut self, text: &str, owner: Option<&str>) {
        for word in words(text) {
            if self.0.len() >= MARKS_MAX {
                return;
            }
            let whose = self.0.entry(word.to_owned()).or_insert_with(|| owner.map(str::to_owned));
            if whose.as_deref() != owner {
                *whose = None;
            }
        }
    }

    /// Takes in what an API would answer: an object is whose it names.
    pub(crate) fn add_answer(&mut self, value: &Value, tenants: &BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                let named = members.values().filter_map(Value::as_str);
                let owner = named.clone().find(|text| tenants.contains(*text));
                if let Some(owner) = owner {
                    leaves(value, &mut |text| self.add(text, Some(owner)));
                } else {
                    members.values().for_each(|member| self.add_answer(member, tenants));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_answer(item, tenants)),
            Value::String(text) => self.add(text, None),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The words of a text that are another tenant's.
    pub(crate) fn foreign<'t>(&self, text: &'t str, tenant: &str) -> BTreeSet<&'t str> {
        let foreign = |word: &&str| {
            self.0.get(*word).is_some_and(|whose| whose.as_ref().is_some_and(|of| of != tenant))
        };
        words(text).filter(foreign).collect()
    }
}

/// Words that are not everybody's: long enough, and no plain word of a language.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '.' | '+');
    let words = text.split(move |c| !inner(c)).map(|word| word.trim_matches(['.', '-', '+']));
    words.filter(|word| {
        let telling = |c: char| c.is_ascii_digit() || matches!(c, '_' | '@');
        word.chars().count() >= WORD_CHARS_MIN
            && word.contains(telling)
            && !word.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.' | ':' | 'T' | 'Z'))
    })
}
