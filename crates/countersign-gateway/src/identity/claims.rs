//! Where a token says who asks, and what is made of it.

use countersign_core::bound::ATTRIBUTE_VALUES_MAX;
use countersign_core::id::{ActorId, IdError, IssuerId, SubjectId, TenantId, Timestamp};
use countersign_core::principal::Principal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Which claim says what, as JSON pointers (RFC 6901) into the token's payload.
///
/// Pointers walk objects alone, never into lists: the first of several tenants is nobody's tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// On whose behalf; a string.
    pub subject: String,
    /// The agent's OAuth client; a string.
    pub actor: String,
    /// Whose data; one string. A list is refused, even of one.
    pub tenant: String,
    /// The session; a string, if the token has it.
    pub session: Option<String>,
    /// The agent's build; a string, if the token has it.
    pub agent_build: Option<String>,
    /// The model behind the agent; a string, if the token has it.
    pub model: Option<String>,
    /// Further claims by name; a string or a list of strings, if the token has them.
    pub attributes: BTreeMap<String, String>,
}

impl Claims {
    /// That every pointer is one.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { subject, actor, tenant, session, agent_build, model, attributes } = self;
        let optional = [session, agent_build, model].into_iter().flatten();
        match [subject, actor, tenant]
            .into_iter()
            .chain(optional)
            .chain(attributes.values())
            .find(|pointer| !pointer.starts_with('/'))
        {
            Some(pointer) => Err(format!("`{pointer}` is not a JSON pointer: it begins with `/`")),
            None => Ok(()),
        }
    }

    /// The principal that verified claims describe.
    ///
    /// # Errors
    /// Which claim is missing or of the wrong shape, without its value.
    pub(super) fn principal(
        &self,
        claims: &Value,
        issuer: IssuerId,
        expires: Timestamp,
    ) -> Result<Principal, String> {
        let Self { subject, actor, tenant, session, agent_build, model, attributes } = self;
        let text = |pointer: &Option<String>| match pointer {
            Some(pointer) => optional(claims, pointer, plain),
            None => Ok(None),
        };
        let mut sets = BTreeMap::new();
        for (name, pointer) in attributes {
            if let Some(values) = set(claims, pointer)? {
                sets.insert(name.clone(), values);
            }
        }
        Ok(Principal {
            issuer,
            subject: required(claims, subject, SubjectId::new)?,
            actor: required(claims, actor, ActorId::new)?,
            tenant: required(claims, tenant, TenantId::new)?,
            sid: text(session)?,
            attributes: sets,
            agent_build: text(agent_build)?,
            model: text(model)?,
            expires,
        })
    }
}

/// The steps of a pointer, unescaped.
pub(super) fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
}

fn at<'a>(claims: &'a Value, pointer: &str) -> Option<&'a Value> {
    steps(pointer).try_fold(claims, |value, step| value.as_object()?.get(&step))
}

fn required<T>(
    claims: &Value,
    pointer: &str,
    make: fn(String) -> Result<T, IdError>,
) -> Result<T, String> {
    optional(claims, pointer, make)?.ok_or_else(|| format!("the claim at `{pointer}` is missing"))
}

fn optional<T>(
    claims: &Value,
    pointer: &str,
    make: fn(String) -> Result<T, IdError>,
) -> Result<Option<T>, String> {
    at(claims, pointer).map(|value| made(value, pointer, make)).transpose()
}

fn set(claims: &Value, pointer: &str) -> Result<Option<BTreeSet<String>>, String> {
    let values = match at(claims, pointer) {
        None => return Ok(None),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    if values.len() > ATTRIBUTE_VALUES_MAX {
        return Err(format!(
            "the claim at `{pointer}` has more than {ATTRIBUTE_VALUES_MAX} values"
        ));
    }
    values.iter().map(|value| made(value, pointer, plain)).collect::<Result<_, _>>().map(Some)
}

fn made<T>(
    value: &Value,
    pointer: &str,
    make: fn(String) -> Result<T, IdError>,
) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| format!("the claim at `{pointer}` must be text"))?;
    make(text.to_owned()).map_err(|why| format!("the claim at `{pointer}` {why}"))
}

/// Text under the rule of every other identifier: not empty, bounded, no control characters.
fn plain(text: String) -> Result<String, IdError> {
    SubjectId::new(text).map(|checked| checked.as_str().to_owned())
}
