//! Who stands in for whom: an approver who is away lets somebody decide whom the posture names for it.

use crate::draft::{Draft, Who};
use crate::id::{DelegationId, Timestamp};
use crate::ladder::{Approvers, Gate};
use crate::person::{Kinship, Tenants};
use crate::tool::Rung;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who stands in for whom, one of each absent person.
pub type Delegations = BTreeMap<DelegationId, Delegation>;

/// A named approver lets somebody stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Its name.
    pub id: DelegationId,
    /// Who is away, as they had signed in.
    pub from: Who,
    /// For whose data they decided then: nobody decides for more in their stead.
    pub tenants: Tenants,
    /// Who stands in, by address in lower case.
    pub to: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when; from then on it counts for nothing.
    pub until: Timestamp,
}

impl Delegation {
    /// Whether it counts at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether it is the absence of that person.
    #[must_use]
    pub fn is_of(&self, who: &Who) -> bool {
        (&self.from.issuer, &self.from.id) == (&who.issuer, &who.id)
    }

    /// Who, for whom and for whose data, as JSON: a body of its record, and what a store keeps of it.
    #[must_use]
    pub fn terms(&self) -> String {
        let tenants = match &self.tenants {
            Tenants::All => Value::Null,
            Tenants::Of(tenants) => tenants.iter().map(|tenant| tenant.as_str()).collect(),
        };
        let Who { issuer, id, address } = &self.from;
        let from = json!({ "issuer": issuer.as_str(), "id": id, "address": address });
        json!({ "from": from, "tenants": tenants, "to": self.to }).to_string()
    }

    /// Whether whoever it names may decide about a draft at `now`, as far as that is for the absent
    /// person to give: the gate names both, and they could have decided themselves.
    ///
    /// INVARIANT: nobody hands on what they stand in for. Only who is named for the gate is absent
    /// from it, and those who stand in there are named beside.
    #[must_use]
    pub fn opens(&self, draft: &Draft, gate: &Gate, now: Timestamp) -> bool {
        let Approvers::Named(named) = &gate.approvers else { return false };
        let absent = self.from.address.as_deref().map(str::to_lowercase);
        self.holds(now)
            && gate.delegates.contains(&self.to)
            && absent.is_some_and(|absent| named.contains(&absent))
            && self.tenants.include(&draft.principal.tenant)
            && match self.from.kinship(&draft.principal) {
                Kinship::Other => true,
                Kinship::Same => false,
                Kinship::Unclear => draft.rung < Rung::NAMED,
            }
    }
}
