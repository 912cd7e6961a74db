//! Names and numbers that must not be mixed up: one type each, checked when made.

use crate::bound::{CALL_ID_BYTES_MAX, ID_BYTES_MAX, TOOL_NAME_BYTES_MAX};
use sha2::{Digest as _, Sha256};
use std::{borrow::Borrow, fmt};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing in it.
    #[error("must not be empty")]
    Empty,
    /// Longer than allowed.
    #[error("must be at most {max} bytes long")]
    TooLong {
        /// The maximum, in bytes.
        max: usize,
    },
    /// A character that this identifier may not hold.
    #[error("must not contain {found:?}; {allowed}")]
    Character {
        /// The first such character.
        found: char,
        /// What may stand there.
        allowed: &'static str,
    },
}

fn checked(
    text: &str,
    max: usize,
    allowed: &'static str,
    ok: fn(char) -> bool,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > max {
        return Err(IdError::TooLong { max });
    }
    match text.chars().find(|&c| !ok(c)) {
        Some(found) => Err(IdError::Character { found, allowed }),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:expr, $ok:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            /// [`IdError`] if it is empty, too long or holds a character it may not.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                checked(&text, $max, $allowed, $ok)?;
                Ok(Self(text))
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

const PRINTABLE: &str = "control characters are not allowed";
const NAME: &str = "letters, digits, `_` and `-` are allowed";

fn printable(c: char) -> bool {
    !c.is_control()
}

fn name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

id!(
    /// Who issued a token: its `iss`.
    IssuerId, ID_BYTES_MAX, PRINTABLE, printable
);
id!(
    /// On whose behalf a call is made: by default the token's `sub`.
    SubjectId, ID_BYTES_MAX, PRINTABLE, printable
);
id!(
    /// The OAuth client that calls: by default the token's `client_id`.
    ActorId, ID_BYTES_MAX, PRINTABLE, printable
);
id!(
    /// Whose data a call may touch.
    TenantId, ID_BYTES_MAX, PRINTABLE, printable
);
id!(
    /// An agent of the posture.
    AgentId, TOOL_NAME_BYTES_MAX, NAME, name
);
id!(
    /// A tool of the posture; what every model provider accepts as a function's name.
    ToolName, TOOL_NAME_BYTES_MAX, NAME, name
);
id!(
    /// A production system of the posture.
    SystemName, TOOL_NAME_BYTES_MAX, NAME, name
);
id!(
    /// A company that an agent or a system depends on.
    VendorName, TOOL_NAME_BYTES_MAX, NAME, name
);
id!(
    /// One call, as the caller or the gateway named it.
    CallId, CALL_ID_BYTES_MAX, NAME, name
);

impl CallId {
    /// Milliseconds since the epoch, then 6 random bytes: calls sort as they began, which keeps the
    /// journal's index of them short to write.
    #[must_use]
    pub fn begun(at: Timestamp, random: [u8; 6]) -> Self {
        let millis = at.micros().checked_div(1_000).unwrap_or_default();
        let [_, _, time @ ..] = millis.to_be_bytes();
        Self(format!("call_{}{}", hex::encode(time), hex::encode(random)))
    }
}

id!(
    /// One draft.
    DraftId, CALL_ID_BYTES_MAX, NAME, name
);

impl DraftId {
    /// From 16 unpredictable bytes: whoever knows one was told it.
    #[must_use]
    pub fn drawn(random: [u8; 16]) -> Self {
        Self(format!("drf_{}", hex::encode(random)))
    }
}

id!(
    /// One delegation: somebody stands in for somebody.
    DelegationId, CALL_ID_BYTES_MAX, NAME, name
);

impl DelegationId {
    /// From 16 unpredictable bytes.
    #[must_use]
    pub fn drawn(random: [u8; 16]) -> Self {
        Self(format!("dlg_{}", hex::encode(random)))
    }
}

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// From whole seconds since the epoch, saturating.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }
    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    /// So many seconds later, saturating.
    #[must_use]
    pub fn plus_secs(self, secs: u32) -> Self {
        Self(self.0.saturating_add(i64::from(secs).saturating_mul(1_000_000)))
    }
    /// Microseconds from `earlier` to `self`; 0 if the clock went back.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of parts, each preceded by its length as eight big-endian bytes, so that no two lists of
    /// parts share bytes; `domain` comes first and keeps one use apart from another.
    #[must_use]
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
    /// Of bytes as they are: the plain SHA-256 that other programs compute.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `hex::encode` gathers its text character by character.
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_other_length| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_no_text| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
