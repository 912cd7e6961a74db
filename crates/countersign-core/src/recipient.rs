//! To whom a message may go: one bare address, read so strictly that no two readers could take it
//! for different ones.
//!
//! Far less than RFC 5321 and RFC 5322 allow is read: no name beside the address, no comment, quote,
//! group, list or route, no address literal, nothing but ASCII before the `@`. The domain becomes
//! its A-labels in lower case (UTS #46, non-transitional), and only what a reader sees of it: a text
//! whose characters stand for others is refused, not mapped.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use std::fmt;
use unicode_security::MixedScript as _;

/// Longest address, in bytes: what a path of RFC 5321 §4.5.3.1.3 holds between its brackets.
pub const ADDRESS_BYTES_MAX: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321 §4.5.3.1.1).
pub const LOCAL_BYTES_MAX: usize = 64;

/// One address that a message can go to: `ann@xn--mnchen-3ya.example`.
///
/// The part before the `@` is kept as it is; the domain is in A-labels and lower case, so that two
/// that are written differently and reach the same place are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipient {
    local: String,
    domain: Domain,
}

/// A domain of a [`Recipient`]: A-labels in lower case, at least two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(String);

/// Why a text is no [`Recipient`]. It never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// A line's end, a tab, a blank, or something that is not seen.
    #[error("it holds a line break, white space or a control character")]
    Blank,
    /// Separators of a list, or a second `@`.
    #[error("it is more than one address")]
    Several,
    /// A display name, a comment, a quoted part, a group, an address literal.
    #[error("it is more than a bare address: a name, a comment, quotes, brackets or a group")]
    Dressed,
    /// `a%b@c`, `a!b@c`.
    #[error("it names a way to go (`%` or `!`), and a message goes to the domain itself")]
    Route,
    /// More than [`ADDRESS_BYTES_MAX`] or [`LOCAL_BYTES_MAX`].
    #[error("it is longer than 254 bytes, or than 64 before the `@`")]
    Long,
    /// No `@`, or nothing on one side of it, or other characters before it.
    #[error(
        "it is not of the form `name@domain.example`, with ASCII letters, digits, signs and single dots before the `@`"
    )]
    Form,
    /// No domain that names are looked up by.
    #[error(
        "what follows the `@` is no domain name of two or more parts, without a dot at its end and not a number"
    )]
    Domain,
    /// Characters that are mapped to others or to nothing.
    #[error("its domain is written with characters that stand for others")]
    Disguised,
    /// A label of letters from several scripts.
    #[error("its domain mixes letters of several scripts in one part, as look-alikes do")]
    MixedScript,
}

impl Recipient {
    /// Reads one address.
    ///
    /// # Errors
    /// [`RecipientError`].
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        // No domain is written four times as long as its A-labels are.
        if text.len() > ADDRESS_BYTES_MAX.saturating_mul(4) {
            return Err(RecipientError::Long);
        }
        if text.chars().any(char::is_control) {
            return Err(RecipientError::Blank);
        }
        if text.contains([',', ';']) || text.matches('@').count() > 1 {
            return Err(RecipientError::Several);
        }
        if text.contains(['<', '>', '(', ')', '[', ']', '"', '\\', ':']) {
            return Err(RecipientError::Dressed);
        }
        // What else is not seen, the domain's own rules refuse; before the `@` stands ASCII alone.
        if text.chars().any(char::is_whitespace) {
            return Err(RecipientError::Blank);
        }
        let (local, domain) = text.split_once('@').ok_or(RecipientError::Form)?;
        if local.contains(['%', '!']) {
            return Err(RecipientError::Route);
        }
        if !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext)) {
            return Err(RecipientError::Form);
        }
        let domain = Domain::parse(domain)?;
        let bytes = local.len().saturating_add(domain.0.len()).saturating_add(1);
        if local.len() > LOCAL_BYTES_MAX || bytes > ADDRESS_BYTES_MAX {
            return Err(RecipientError::Long);
        }
        Ok(Self { local: local.to_owned(), domain })
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// What stands after it.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl Domain {
    /// Reads a domain, in A-labels or as people write it.
    ///
    /// # Errors
    /// [`RecipientError::Domain`], [`RecipientError::Disguised`] or [`RecipientError::MixedScript`].
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        let idna = Uts46::new();
        let (list, hyphens) = (AsciiDenyList::STD3, Hyphens::Check);
        let ascii = idna.to_ascii(text.as_bytes(), list, hyphens, DnsLength::Verify);
        let ascii = ascii.map_err(|_undescribed| RecipientError::Domain)?.into_owned();
        let (seen, whole) = idna.to_unicode(ascii.as_bytes(), list, hyphens);
        whole.map_err(|_undescribed| RecipientError::Domain)?;
        let numeric = |label: &str| label.starts_with(|c: char| c.is_ascii_digit());
        if ascii.rsplit_once('.').is_none_or(|(_, last)| numeric(last)) {
            return Err(RecipientError::Domain);
        }
        // INVARIANT: what is reviewed is what is reached. Only case may differ from one of its forms.
        let written = text.to_lowercase();
        if written != ascii && written != *seen {
            return Err(RecipientError::Disguised);
        }
        if !seen.split('.').all(|label| label.is_single_script()) {
            return Err(RecipientError::MixedScript);
        }
        Ok(Self(ascii))
    }

    /// Its A-labels, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 5322 §3.2.3.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<String, RecipientError> {
        Recipient::parse(text).map(|recipient| recipient.to_string())
    }

    #[test]
    fn a_bare_address_is_read_and_its_domain_made_one_form() {
        for (text, read) in [
            ("ann@acme.example", "ann@acme.example"),
            ("Ann.B+tag@ACME.Example", "Ann.B+tag@acme.example"),
            ("o'neil@a-b.acme.example", "o'neil@a-b.acme.example"),
            ("ann@münchen.example", "ann@xn--mnchen-3ya.example"),
            ("ann@MÜNCHEN.example", "ann@xn--mnchen-3ya.example"),
            ("ann@xn--mnchen-3ya.example", "ann@xn--mnchen-3ya.example"),
            ("ann@straße.example", "ann@xn--strae-oqa.example"),
            ("ann@例え.テスト", "ann@xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_is_no_bare_address_is_refused_for_its_own_reason() {
        let long = format!("{}@acme.example", "a".repeat(65));
        let far = format!("{}@{}example", "a".repeat(10), "abcdefg.".repeat(30));
        for (text, why) in [
            ("ann@acme.example\r\nBcc: eve@evil.example", RecipientError::Blank),
            ("ann@acme.example\n", RecipientError::Blank),
            (" ann@acme.example", RecipientError::Blank),
            ("ann@acme.example\u{a0}", RecipientError::Blank),
            ("ann\u{0}@acme.example", RecipientError::Blank),
            ("ann@acme.example,eve@evil.example", RecipientError::Several),
            ("ann@acme.example;eve@evil.example", RecipientError::Several),
            ("ann@evil.example@acme.example", RecipientError::Several),
            ("Ann<ann@acme.example>", RecipientError::Dressed),
            ("<ann@acme.example>", RecipientError::Dressed),
            ("\"ann\"@acme.example", RecipientError::Dressed),
            ("ann(eve)@acme.example", RecipientError::Dressed),
            ("friends:ann@acme.example", RecipientError::Dressed),
            ("ann@[127.0.0.1]", RecipientError::Dressed),
            ("ann%evil.example@acme.example", RecipientError::Route),
            ("evil.example!ann@acme.example", RecipientError::Route),
            (&long, RecipientError::Long),
            (&far, RecipientError::Long),
            ("", RecipientError::Form),
            ("ann", RecipientError::Form),
            ("@acme.example", RecipientError::Form),
            (".ann@acme.example", RecipientError::Form),
            ("a..b@acme.example", RecipientError::Form),
            ("änn@acme.example", RecipientError::Form),
            ("\u{200b}ann@acme.example", RecipientError::Form),
            ("ann@", RecipientError::Domain),
            ("ann@localhost", RecipientError::Domain),
            ("ann@acme.example.", RecipientError::Domain),
            ("ann@.acme.example", RecipientError::Domain),
            ("ann@acme..example", RecipientError::Domain),
            ("ann@127.0.0.1", RecipientError::Domain),
            ("ann@acme.0x7f", RecipientError::Domain),
            ("ann@a_b.example", RecipientError::Domain),
            ("ann@-acme.example", RecipientError::Domain),
            ("ann@xn--zz.example", RecipientError::Domain),
            ("ann@acme\u{200d}.example", RecipientError::Domain),
            ("ann@ａcme.example", RecipientError::Disguised),
            ("ann@acme。example", RecipientError::Disguised),
            ("ann@ac\u{ad}me.example", RecipientError::Disguised),
            ("ann@mu\u{308}nchen.example", RecipientError::Disguised),
            ("ann@\u{430}cme.example", RecipientError::MixedScript),
            ("ann@xn--cme-7cd.example", RecipientError::MixedScript),
        ] {
            assert_eq!(parsed(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_look_alike_of_one_script_is_another_domain() {
        let of = |text: &str| Domain::parse(text).unwrap();
        for other in
            ["асме.example", "acme.example.evil.example", "sub.acme.example", "acrne.example"]
        {
            assert_ne!(of(other), of("acme.example"), "{other}");
        }
    }

    #[test]
    fn no_reason_repeats_what_was_sent() {
        for error in [
            RecipientError::Blank,
            RecipientError::Several,
            RecipientError::Dressed,
            RecipientError::Route,
            RecipientError::Long,
            RecipientError::Form,
            RecipientError::Domain,
            RecipientError::Disguised,
            RecipientError::MixedScript,
        ] {
            let text = error.to_string();
            assert!(text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
        }
    }

    /// Texts that come near to addresses.
    fn near() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "ann",
            "a.b",
            "acme",
            ".",
            "@",
            "example",
            "ü",
            "\u{430}",
            "xn--mnchen-3ya",
            "\r",
            "\n",
            ",",
            ";",
            "<",
            ">",
            "\"",
            "(",
            ")",
            ":",
            "%",
            "!",
            " ",
            "\u{ad}",
            "\u{200d}",
            "ß",
            "İ",
            "Σ",
            "ａ",
            "。",
            "-",
            "1",
            "é",
            "\u{301}",
            "例",
        ]);
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    fn written() -> impl Strategy<Value = String> {
        let address = "[a-zA-Z0-9.+%-]{1,8}@[a-zA-Zäöüß0-9-]{1,8}\\.[a-zA-Zé]{1,6}";
        prop_oneof![near(), any::<String>(), address.prop_map(String::from)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn what_is_read_can_be_put_in_a_header_and_reads_as_itself(text in written()) {
            if let Ok(recipient) = Recipient::parse(&text) {
                let shown = recipient.to_string();
                prop_assert!(shown.is_ascii() && shown.len() <= ADDRESS_BYTES_MAX);
                prop_assert!(!shown.contains(|c: char| c.is_ascii_control() || " ,;:<>()[]\"\\%".contains(c)));
                prop_assert_eq!(shown.matches('@').count(), 1);
                prop_assert!(shown.split_once('@').unwrap().1.contains('.') && !shown.ends_with('.'));
                prop_assert_eq!(Recipient::parse(&shown), Ok(recipient));
            }
        }
    }
}
