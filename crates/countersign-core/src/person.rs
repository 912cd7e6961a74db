//! People: those who decide, and what they may.

use crate::draft::Who;
use crate::id::{TenantId, Timestamp};
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
        let Self { issuer, id, address } = self;
        let named =
            address.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(principal.subject.as_str()));
        match &principal.person {
            _ if named || (*issuer == principal.issuer && id == principal.subject.as_str()) => {
                Kinship::Same
            }
            Some(person) if *issuer == principal.issuer && person == id => Kinship::Same,
            Some(_) if *issuer == principal.issuer => Kinship::Other,
            Some(_) | None => Kinship::Unclear,
        }
    }
}
