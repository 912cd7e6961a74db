//! Where a token says who asks, and what is made of it.

use countersign_core::bound::ATTRIBUTE_VALUES_MAX;
use countersign_core::id::{ActorId, IdError, IssuerId, SubjectId, TenantId, Timestamp};
use countersign_core::principal::Principal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Which claim says what, as JSON pointers (RFC 6901) into the token's payload.
///
/// Pointers walk objects alone, never into lists: the first of several tenants is nobody's tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// On whose behalf; a string.
    pub subject: String,
    /// The agent's OAuth client; a string. Every one of these that the token has must say the same.
    pub actor: Vec<String>,
    /// Whose data; a string, or a list of strings. Of several the caller chooses one.
    pub tenant: String,
    /// The session; a string, if the token has it.
    pub session: Option<String>,
    /// The person behind it; a string, if the token has it.
    pub person: Option<String>,
    /// OAuth scopes or roles; texts of words with blanks between, or lists, all of them together.
    pub scopes: Vec<String>,
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
        let Self {
            subject,
            actor,
            tenant,
            session,
            person,
            scopes,
            agent_build,
            model,
            attributes,
        } = self;
        if actor.is_empty() {
            return Err("no claim says which agent calls".to_owned());
        }
        let optional = [session, person, agent_build, model].into_iter().flatten();
        match [subject, tenant]
            .into_iter()
            .chain(actor)
            .chain(scopes)
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
        Voucher { issuer, tenancy, workload, chosen }: Voucher<'_>,
        expires: Timestamp,
    ) -> Result<Principal, String> {
        let Self {
            subject,
            actor,
            tenant,
            session,
            person,
            scopes,
            agent_build,
            model,
            attributes,
        } = self;
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
        // A workload is its own subject and actor (SPIFFE JWT-SVID §3.1).
        let (subject, actors) = if workload {
            (WORKLOAD.as_str(), std::slice::from_ref(&*WORKLOAD))
        } else {
            (subject.as_str(), actor.as_slice())
        };
        Ok(Principal {
            issuer,
            subject: required(claims, subject, SubjectId::new)?,
            actor: agreed(claims, actors)?,
            tenant: tenancy.tenant(claims, tenant, chosen)?,
            sid: text(session)?,
            person: text(person)?,
            scopes: words(claims, scopes)?,
            attributes: sets,
            agent_build: text(agent_build)?,
            model: text(model)?,
            expires,
        })
    }
}

/// Who vouches for claims, and for whom they may speak.
#[derive(Debug)]
pub(super) struct Voucher<'a> {
    pub(super) issuer: IssuerId,
    pub(super) tenancy: &'a Tenancy,
    /// Whether the token is a workload's own, which names neither client nor tenant.
    pub(super) workload: bool,
    /// The tenant that the caller chose.
    pub(super) chosen: Option<&'a str>,
}

/// The tenants that an issuer may speak for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tenancy {
    /// The one tenant that all its tokens are for, whatever they say.
    pub only: Option<TenantId>,
    /// Those that its tokens may be for; any if there is none.
    pub among: BTreeSet<TenantId>,
}

impl Tenancy {
    /// The one tenant that a call is for: of several that the token speaks for, the one chosen.
    fn tenant(
        &self,
        claims: &Value,
        pointer: &str,
        chosen: Option<&str>,
    ) -> Result<TenantId, String> {
        let all = match &self.only {
            Some(only) => BTreeSet::from([only.as_str().to_owned()]),
            None => set(claims, pointer)?
                .filter(|all| !all.is_empty())
                .ok_or_else(|| format!("the claim at `{pointer}` is missing"))?,
        };
        let one = match (chosen, all.first()) {
            (Some(chosen), _) => {
                all.get(chosen).ok_or("the token does not speak for the tenant that was chosen")?
            }
            (None, Some(only)) if all.len() == 1 => only,
            (None, _) => {
                return Err(format!(
                    "the claim at `{pointer}` has several values, and none was chosen"
                ));
            }
        };
        let tenant =
            TenantId::new(one.as_str()).map_err(|why| format!("the claim at `{pointer}` {why}"))?;
        if !self.among.is_empty() && !self.among.contains(&tenant) {
            return Err("the issuer does not speak for this tenant".to_owned());
        }
        Ok(tenant)
    }
}

/// Where a workload's token says who it is.
static WORKLOAD: LazyLock<String> = LazyLock::new(|| "/sub".to_owned());

/// What all places that the token has say alike.
fn agreed(claims: &Value, pointers: &[String]) -> Result<ActorId, String> {
    let mut agreed: Option<ActorId> = None;
    for pointer in pointers {
        let Some(found) = optional(claims, pointer, ActorId::new)? else { continue };
        if agreed.as_ref().is_some_and(|before| *before != found) {
            return Err(format!("the claim at `{pointer}` names another agent than one before it"));
        }
        agreed = Some(found);
    }
    agreed.ok_or_else(|| format!("the claim at `{}` is missing", pointers.join("` or `")))
}

/// The words at all of these places.
fn words(claims: &Value, pointers: &[String]) -> Result<BTreeSet<String>, String> {
    let mut words = BTreeSet::new();
    for pointer in pointers {
        match at(claims, pointer) {
            None => {}
            Some(Value::String(text)) => {
                words.extend(text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned))
            }
            Some(_) => words.extend(set(claims, pointer)?.unwrap_or_default()),
        }
        if words.len() > ATTRIBUTE_VALUES_MAX {
            return Err(format!(
                "the claim at `{pointer}` has more than {ATTRIBUTE_VALUES_MAX} values"
            ));
        }
    }
    Ok(words)
}

/// The steps of a pointer, unescaped.
pub(super) fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
}

pub(super) fn at<'a>(claims: &'a Value, pointer: &str) -> Option<&'a Value> {
    steps(pointer).try_fold(claims, |value, step| value.as_object()?.get(&step))
}

pub(super) fn required<T>(
    claims: &Value,
    pointer: &str,
    make: fn(String) -> Result<T, IdError>,
) -> Result<T, String> {
    optional(claims, pointer, make)?.ok_or_else(|| format!("the claim at `{pointer}` is missing"))
}

pub(super) fn optional<T>(
    claims: &Value,
    pointer: &str,
    make: fn(String) -> Result<T, IdError>,
) -> Result<Option<T>, String> {
    at(claims, pointer).map(|value| made(value, pointer, make)).transpose()
}

pub(super) fn set(claims: &Value, pointer: &str) -> Result<Option<BTreeSet<String>>, String> {
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
pub(super) fn plain(text: String) -> Result<String, IdError> {
    SubjectId::new(text).map(|checked| checked.as_str().to_owned())
}
