//! What people send, read strictly.

use super::{Barred, Trouble, Which};
use countersign_core::args;
use countersign_core::draft::{State, Switch};
use countersign_core::id::{AgentId, DelegationId, DraftId, TenantId, Timestamp};
use countersign_core::port::Place;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Which drafts are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    state: Option<String>,
    tenant: Option<String>,
    agent: Option<String>,
    before: Option<String>,
    #[serde(default)]
    pub(super) mine: bool,
}

impl Filter {
    /// `None` if one of them is none.
    pub(super) fn which(&self) -> Option<Which> {
        let Self { state, tenant, agent, before, mine: _ } = self;
        Some(Which {
            tenant: every(tenant, |text| TenantId::new(text).ok())?,
            agent: every(agent, |text| AgentId::new(text).ok())?,
            state: every(state, State::parse)?,
            before: every(before, place)?,
        })
    }
}

fn every<T>(text: &Option<String>, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    text.as_deref().map_or(Some(None), |text| read(text).map(Some))
}

/// A place as [`super::tell::place`] writes it; or a moment, and all that was proposed before it.
pub(crate) fn place(text: &str) -> Option<Place> {
    match text.split_once('~') {
        Some((at, id)) => Some((moment(at)?, Some(DraftId::new(id).ok()?))),
        None => Some((moment(text)?, None)),
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    let moment = text.parse::<jiff::Timestamp>().ok()?;
    Some(Timestamp::from_micros(moment.as_microsecond()))
}

/// Whether unknown outcomes that people have resolved are listed too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolved {
    #[serde(default)]
    pub(super) resolved: bool,
}

/// A body of exactly these members.
fn members<const N: usize>(
    body: &[u8],
    names: [&str; N],
    malformed: &'static str,
) -> Result<[Value; N], Trouble> {
    let malformed = || Trouble::Malformed(malformed);
    let Ok(Value::Object(mut members)) = args::parse(body) else { return Err(malformed()) };
    let found = names.map(|name| members.remove(name).unwrap_or_default());
    if members.is_empty() { Ok(found) } else { Err(malformed()) }
}

/// No body, or an empty object.
pub(super) fn nothing(body: &[u8]) -> Result<(), Trouble> {
    let empty = body.is_empty() || args::parse(body).is_ok_and(|v| v == Value::Object(Map::new()));
    if empty { Ok(()) } else { Err(Trouble::Malformed("The body must be `{}` or empty.")) }
}

pub(super) fn reason(body: &[u8]) -> Result<String, Trouble> {
    const MALFORMED: &str = "The body must be {\"reason\": …}.";
    match members(body, ["reason"], MALFORMED)? {
        [Value::String(reason)] => Ok(reason),
        _ => Err(Trouble::Malformed(MALFORMED)),
    }
}

pub(super) fn switch(body: &[u8]) -> Result<(Switch, String), Trouble> {
    const MALFORMED: &str = "The body must be {\"kind\": …, \"name\": …, \"reason\": …}; `kind` is `agent`, \
        `tool`, `system`, `tenant`, or `everything`, which has no name.";
    let (kind, name, reason) = match members(body, ["kind", "name", "reason"], MALFORMED)? {
        [Value::String(kind), Value::String(name), Value::String(reason)] => (kind, name, reason),
        [Value::String(kind), Value::Null, Value::String(reason)] => (kind, String::new(), reason),
        _ => return Err(Trouble::Malformed(MALFORMED)),
    };
    let switch = Switch::parse(&kind, &name).ok_or(Trouble::Malformed(MALFORMED))?;
    Ok((switch, reason))
}

pub(super) fn delegation(body: &[u8]) -> Result<(String, Timestamp), Trouble> {
    const MALFORMED: &str =
        "The body must be {\"to\": …, \"until\": …}: an address, and a time as it is answered.";
    match members(body, ["to", "until"], MALFORMED)? {
        [Value::String(to), Value::String(until)] => {
            Ok((to, moment(&until).ok_or(Trouble::Malformed(MALFORMED))?))
        }
        _ => Err(Trouble::Malformed(MALFORMED)),
    }
}

/// Which; `None` for one's own.
pub(super) fn ended(body: &[u8]) -> Result<Option<DelegationId>, Trouble> {
    const MALFORMED: &str = "The body must be {\"delegation\": …}, or {} for your own.";
    match members(body, ["delegation"], MALFORMED)? {
        [Value::Null] => Ok(None),
        [Value::String(id)] => {
            let id = DelegationId::new(id).map_err(|_unknown| Barred::NotFound)?;
            Ok(Some(id))
        }
        _ => Err(Trouble::Malformed(MALFORMED)),
    }
}

pub(super) fn resolution(body: &[u8]) -> Result<(bool, String), Trouble> {
    const MALFORMED: &str = "The body must be {\"happened\": true or false, \"reason\": …}.";
    match members(body, ["happened", "reason"], MALFORMED)? {
        [Value::Bool(happened), Value::String(reason)] => Ok((happened, reason)),
        _ => Err(Trouble::Malformed(MALFORMED)),
    }
}
