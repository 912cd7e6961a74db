//! People: those who decide, and what they may.

use crate::draft::Who;
use crate::id::{IssuerId, TenantId, Timestamp};
use crate::principal::Principal;
use std::collections::BTreeSet;

/// Somebody who signed in at the company's identity provider. Made by its adapter from verified
/// claims alone, and never from the token of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub who: Who,
    /// Their groups.
    pub groups: BTreeSet<String>,
    /// For whose data they may decide.
    pub tenants: Tenants,
    /// What they may do besides approving, which is the tools' to say.
    pub roles: BTreeSet<Role>,
    /// When they last gave proof of who they are (`auth_time`).
    pub signed_in: Option<Timestamp>,
    /// When their token ends.
    pub expires: Timestamp,
}

/// For whose data a person may decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Everybody's.
    All,
    /// Only these.
    Of(BTreeSet<TenantId>),
}

impl Tenants {
    /// Whether this one is among them.
    #[must_use]
    pub fn include(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Of(tenants) => tenants.contains(tenant),
        }
    }

    /// Whether all of the others are among them.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::All, _) => true,
            (Self::Of(_), Self::All) => false,
            (Self::Of(tenants), Self::Of(others)) => others.is_subset(tenants),
        }
    }

    /// Whether any of the others is among them.
    #[must_use]
    pub fn meet(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::All, Self::All) => true,
            (Self::All, Self::Of(some)) | (Self::Of(some), Self::All) => !some.is_empty(),
            (Self::Of(tenants), Self::Of(others)) => !tenants.is_disjoint(others),
        }
    }
}

/// What a person may do by the groups that the deployment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees drafts, agents and what is switched off.
    Viewer,
    /// Reads the journal as well.
    Auditor,
    /// Switches off and on, and says what came of unknown outcomes.
    Operator,
}

impl Role {
    /// As the deployment writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

/// Whether a person is the one on whose behalf an agent acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinship {
    /// The same human.
    Same,
    /// Another one: both are known by one issuer's immutable ids, which differ.
    Other,
    /// Nobody can say: an id is missing, or two issuers know them.
    Unclear,
}

impl Who {
    pub(crate) fn kinship(&self, principal: &Principal) -> Kinship {
        match &principal.person {
            _ if !self.known_as().is_disjoint(&principal.known_as()) => Kinship::Same,
            Some(_) if self.issuer == principal.issuer => Kinship::Other,
            Some(_) | None => Kinship::Unclear,
        }
    }

    /// What they are known as: by their issuer, and by their address in lower case.
    #[must_use]
    pub fn known_as(&self) -> BTreeSet<String> {
        let address = self.address.iter().map(|address| address.to_ascii_lowercase());
        address.chain([known_to(&self.issuer, &self.id)]).collect()
    }
}

impl Principal {
    /// What the person is known as on whose behalf it is asked: as [`Who::known_as`] would have it. Whoever
    /// shares none of these is somebody else, as far as the token tells.
    #[must_use]
    pub fn known_as(&self) -> BTreeSet<String> {
        let subject = self.subject.as_str();
        let ids = self.person.as_deref().into_iter().chain([subject]);
        ids.map(|id| known_to(&self.issuer, id)).chain([subject.to_ascii_lowercase()]).collect()
    }
}

/// One issuer's id is another person with another issuer. No name of an issuer has a line's end in it.
fn known_to(issuer: &IssuerId, id: &str) -> String {
    format!("{issuer}\n{id}")
}
