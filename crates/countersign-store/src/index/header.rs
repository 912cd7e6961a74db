//! What the index takes notice of in a header and in a `principal` body, and nothing else: it reads every
//! record there is.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

type Text<'a> = Option<Cow<'a, str>>;

/// A header. One that has a member of another type is no header that this program writes, and counts as
/// one without any.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header<'a> {
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) agent: Text<'a>,
    #[serde(borrow)]
    pub(super) tenant: Text<'a>,
    #[serde(borrow)]
    pub(super) tool: Text<'a>,
    #[serde(borrow)]
    pub(super) alert: Text<'a>,
    #[serde(borrow)]
    pub(super) draft: Text<'a>,
    #[serde(borrow)]
    pub(super) intent: Option<Intent<'a>>,
    pub(super) count: Option<u64>,
    pub(super) fields: Fields,
}

/// Which record an outcome is of.
#[derive(Debug, Deserialize)]
pub(super) struct Intent<'a> {
    #[serde(borrow)]
    pub(super) stream: Cow<'a, str>,
    pub(super) seq: u64,
}

/// Which bodies a header commits to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    pub(super) principal: Option<IgnoredAny>,
}

impl<'a> Header<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Principal<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
}

/// The session that a `principal` body names.
pub(super) fn session_in(body: &[u8]) -> Option<[u8; 32]> {
    let Principal { session } = serde_json::from_slice(body).ok()?;
    let mut digest = [0; 32];
    hex::decode_to_slice(&*session, &mut digest).ok()?;
    Some(digest)
}
