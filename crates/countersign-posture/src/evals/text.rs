//! Texts of cases: what people cannot see, and what is too long to read, is written so that they can.

use crate::bound::EVAL_TEXT_BYTES_MAX;

/// What a text in a case stands for: `<U+200B>` is that character, `<repeat 5000 x>` so many of it.
/// `None` if it comes to more than a request could hold.
pub(super) fn meant(written: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = written;
    while let Some(start) = rest.find('<') {
        let (before, from) = rest.split_at_checked(start)?;
        text.push_str(before);
        let end = from.find('>').and_then(|end| from.get(1..end).map(|inner| (inner, end)));
        let meant = end.and_then(|(inner, end)| Some((stands_for(inner)?, end)));
        let used = match meant {
            Some((meant, end)) => {
                text.push_str(&meant);
                end.saturating_add(1)
            }
            None => {
                text.push('<');
                1
            }
        };
        rest = from.get(used..)?;
        if text.len() > EVAL_TEXT_BYTES_MAX {
            return None;
        }
    }
    text.push_str(rest);
    (text.len() <= EVAL_TEXT_BYTES_MAX).then_some(text)
}

fn stands_for(inner: &str) -> Option<String> {
    if let Some(hex) = inner.strip_prefix("U+") {
        let fits = (4..=6).contains(&hex.len());
        let code = u32::from_str_radix(hex, 16).ok().filter(|_| fits)?;
        return char::from_u32(code).map(String::from);
    }
    let (count, what) = inner.strip_prefix("repeat ")?.split_once(' ')?;
    let count: usize = count.parse().ok()?;
    // One more than there is room for is enough to see that there are too many.
    let most = EVAL_TEXT_BYTES_MAX.checked_div(what.len())?.saturating_add(1);
    Some(what.repeat(count.min(most)))
}

/// The same the other way: a text as a case writes it.
#[must_use]
pub fn shown(text: &str) -> String {
    let unseen = |c: char| {
        let controls = c.is_control() && !matches!(c, '\n' | '\t');
        controls || (!c.is_ascii() && hidden(c))
    };
    let first = text.chars().next();
    if let Some(first) = first.filter(|_| text.chars().count() > 64)
        && text.chars().all(|c| c == first)
    {
        return format!("<repeat {} {}>", text.chars().count(), shown(&first.to_string()));
    }
    let shown = text.chars().map(|c| match unseen(c) {
        true => format!("<U+{:04X}>", u32::from(c)),
        false => c.to_string(),
    });
    shown.collect()
}

fn hidden(c: char) -> bool {
    countersign_core::screen::strip_hidden(&mut serde_json::Value::from(String::from(c))) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_means_what_it_shows() {
        for (written, text) in [
            ("a<U+200B>b", "a\u{200b}b"),
            ("<repeat 70 x>", &"x".repeat(70)),
            ("<b>", "<b>"),
            ("1 < 2", "1 < 2"),
            ("<U+110000>", "<U+110000>"),
            ("<U+E0041><U+0000>", "\u{e0041}\0"),
        ] {
            assert_eq!(meant(written).as_deref(), Some(text), "{written}");
            assert_eq!(meant(&shown(text)).as_deref(), Some(text), "{written}");
        }
        assert_eq!(meant("<repeat 999999999 x>"), None);
    }
}
