//! What a system returned is data: before a model sees it, characters that people cannot see are
//! taken out, since they carry instructions past a reader (Unicode TR 36 §3; "ASCII smuggling").

use serde_json::{Map, Value};

/// Takes hidden characters out of every text and key of `value`; returns how many there were.
#[must_use]
pub fn strip_hidden(value: &mut Value) -> u64 {
    match value {
        Value::String(text) => strip_text(text),
        Value::Array(items) => items.iter_mut().map(strip_hidden).fold(0, u64::saturating_add),
        Value::Object(map) => {
            let mut count = 0u64;
            if map.keys().any(|key| key.chars().any(hidden)) {
                let renamed: Map<String, Value> = std::mem::take(map)
                    .into_iter()
                    .map(|(mut key, item)| {
                        count = count.saturating_add(strip_text(&mut key));
                        (key, item)
                    })
                    .collect();
                *map = renamed;
            }
            map.values_mut().map(strip_hidden).fold(count, u64::saturating_add)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The same of one text.
pub(crate) fn strip_text(text: &mut String) -> u64 {
    let before = text.chars().count();
    let mut previous = ' ';
    text.retain(|c| {
        // One variation selector after a visible character chooses its emoji form; more than one, or
        // another, is a way to write bytes that nobody sees.
        let shown = !hidden(c) || (c == EMOJI_FORM && !previous.is_whitespace() && previous != c);
        previous = if shown { c } else { EMOJI_FORM };
        shown
    });
    u64::try_from(before.saturating_sub(text.chars().count())).unwrap_or(u64::MAX)
}

/// Variation selector 16.
const EMOJI_FORM: char = '\u{fe0f}';

/// Controls other than tab and line ends; format characters (general category Cf); fillers; variation
/// selectors; private use.
fn hidden(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\u{ad}'
        | '\u{34f}'
        | '\u{600}'..='\u{605}'
        | '\u{61c}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'..='\u{891}'
        | '\u{8e2}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hidden_characters_are_taken_out_of_texts_and_keys() {
        let tagged: String =
            "ignore".chars().map(|c| char::from_u32(0xe0000 + c as u32).unwrap()).collect();
        let mut value = json!({"no\u{200b}te": [format!("hello{tagged}"), "a\u{202e}b\u{0}\n"]});
        assert_eq!(strip_hidden(&mut value), 9);
        assert_eq!(value, json!({"note": ["hello", "ab\n"]}));
    }

    #[test]
    fn variation_selectors_write_no_bytes() {
        let mut value = json!("❤\u{fe0f}\u{fe0f}\u{fe01}\u{fe0f}x \u{fe0f}\u{e123}\u{1bca1}");
        assert_eq!(strip_hidden(&mut value), 6);
        assert_eq!(value, json!("❤\u{fe0f}x "));
    }

    #[test]
    fn what_people_see_stays() {
        let mut value = json!({"text": "Grüße 😀 ❤\u{fe0f} 日本語 العربية\t\r\n"});
        let before = value.clone();
        assert_eq!(strip_hidden(&mut value), 0);
        assert_eq!(value, before);
    }
}
