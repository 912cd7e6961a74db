//! Who asks: subject (on whose behalf) + actor (the agent) + tenant, as the token says.

use crate::id::{ActorId, Digest, IssuerId, SubjectId, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// An authenticated caller. Made by the identity provider's adapter from verified claims alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who vouches for the rest.
    pub issuer: IssuerId,
    /// On whose behalf.
    pub subject: SubjectId,
    /// The agent's OAuth client.
    pub actor: ActorId,
    /// Whose data.
    pub tenant: TenantId,
    /// The token's `sid`. Without one, the session is the principal's.
    pub sid: Option<String>,
    /// The person behind it, as the issuer names people for good: with the issuer, it is who may
    /// not approve what they asked for. `None` if the token, or the posture, does not say.
    pub person: Option<String>,
    /// The OAuth scopes or roles that the token carries.
    pub scopes: BTreeSet<String>,
    /// Further claims that the posture names, as sets.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The agent's build, where the token says so.
    pub agent_build: Option<String>,
    /// The model behind the agent, where the token says so.
    pub model: Option<String>,
    /// When the token ends.
    pub expires: Timestamp,
}

impl Principal {
    /// The session a call counts in: issuer, subject, actor, tenant and `sid`. No header and no
    /// reconnecting changes it.
    #[must_use]
    pub fn session(&self) -> Digest {
        Digest::of(
            "countersign/session/1",
            &[
                self.issuer.as_str().as_bytes(),
                self.subject.as_str().as_bytes(),
                self.actor.as_str().as_bytes(),
                self.tenant.as_str().as_bytes(),
                self.sid.as_deref().unwrap_or_default().as_bytes(),
            ],
        )
    }

    /// What `reference` stands for with this caller. Empty if the token lacks it: an empty set
    /// permits nothing.
    #[must_use]
    pub fn values(&self, reference: &CallerRef) -> BTreeSet<&str> {
        match reference {
            CallerRef::Tenant => BTreeSet::from([self.tenant.as_str()]),
            CallerRef::Subject => BTreeSet::from([self.subject.as_str()]),
            CallerRef::Actor => BTreeSet::from([self.actor.as_str()]),
            CallerRef::Attribute(name) => self
                .attributes
                .get(name)
                .map(|set| set.iter().map(String::as_str).collect())
                .unwrap_or_default(),
        }
    }
}

/// What a scope rule compares with: `caller.tenant`, `caller.subject`, `caller.actor`, or
/// `caller.NAME` for a claim that `posture.yaml` names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerRef {
    /// `caller.tenant`
    Tenant,
    /// `caller.subject`
    Subject,
    /// `caller.actor`
    Actor,
    /// `caller.NAME`, a set
    Attribute(String),
}
