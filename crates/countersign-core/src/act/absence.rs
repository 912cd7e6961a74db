//! What people do about their absence: let somebody stand in, and end it.

use super::{Barred, Entitled, Visitor, by, fresh, same};
use crate::absence::Delegation;
use crate::bound::DELEGATION_S_MAX;
use crate::call::Monitor;
use crate::draft::{Change, Conflict, Draft, Who};
use crate::id::{DelegationId, Timestamp};
use crate::ladder::{Approvers, Gate};
use crate::person::{Person, Role};
use crate::record::{Entry, Kind};
use std::collections::BTreeSet;

impl Monitor {
    /// Lets somebody stand in. It is asked of those whom the posture in force names beside the person,
    /// and of nobody else.
    pub(super) fn delegate(
        &self,
        person: &Person,
        (to, until): (&str, Timestamp),
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let to = to.trim().to_lowercase();
        let may = self.stand_ins_of(&person.who);
        if may.is_empty() {
            let why = "No gate that names you names somebody who may stand in.";
            return Err(Barred::NotEntitled(why));
        }
        if !may.contains(&to) {
            let why = "No gate that names you names that address to stand in.";
            return Err(Barred::NotEntitled(why));
        }
        if until <= now || until > now.plus_secs(DELEGATION_S_MAX) {
            return Err(Barred::Until);
        }
        fresh(person, now)?;
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        let (id, from) = (DelegationId::drawn(random), person.who.clone());
        let tenants = person.tenants.clone();
        let delegation = Delegation { id, from, tenants, to, at: now, until };
        let all = self.register.delegations();
        let replaces = all.values().find(|old| old.is_of(&person.who)).map(|old| old.id.clone());
        let mut entry = by(Entry::new(Kind::Delegated, now), person)
            .with("delegation", delegation.id.as_str())
            .with("until", until.micros())
            .body("terms", delegation.terms());
        if let Some(old) = &replaces {
            entry = entry.with("replaces", old.as_str());
        }
        let entry = entry.changing(Change::Delegate { delegation, replaces });
        Ok(Entitled { entry, approved: None })
    }

    /// Ends one's own, or, as an operator for all that the absent person decides for, anybody's.
    pub(super) fn end_absence(
        &self,
        person: &Person,
        id: Option<DelegationId>,
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let all = self.register.delegations();
        let shown = match &id {
            Some(id) => all.get(id).filter(|delegation| shows(person, delegation)),
            None => all.values().find(|delegation| delegation.is_of(&person.who)),
        };
        let missing = match &id {
            Some(_) => Barred::NotFound,
            None => Barred::Conflict(Conflict::Nothing),
        };
        let delegation = shown.ok_or(missing)?;
        let operates =
            || person.roles.contains(&Role::Operator) && person.tenants.cover(&delegation.tenants);
        if !delegation.is_of(&person.who) && !operates() {
            let why = "Whoever is away ends it, and operators.";
            return Err(Barred::NotEntitled(why));
        }
        let entry = by(Entry::new(Kind::DelegationEnded, now), person)
            .with("delegation", delegation.id.as_str());
        let entry = entry.changing(Change::Return(delegation.id.clone()));
        Ok(Entitled { entry, approved: None })
    }

    /// In whose stead somebody may decide about a draft at `now`, who is not asked themselves.
    pub(super) fn in_stead(
        &self,
        person: &Person,
        (draft, gate): (&Draft, &Gate),
        now: Timestamp,
    ) -> Option<Delegation> {
        let address = person.who.address.as_deref()?.to_lowercase();
        // Most people stand in for nobody, and are asked about many drafts.
        if !gate.delegates.contains(&address) {
            return None;
        }
        let all = self.register.delegations();
        let opened = all.values().find(|delegation| {
            delegation.to == address
                && delegation.opens(draft, gate, now)
                && person.tenants.include(&draft.principal.tenant)
                && !same(&delegation.from, &person.who)
        });
        opened.cloned()
    }

    /// Who may stand in for the person by the posture in force: addresses.
    #[must_use]
    pub fn stand_ins(&self, visitor: &Visitor) -> BTreeSet<String> {
        self.stand_ins_of(&visitor.person().who)
    }

    fn stand_ins_of(&self, who: &Who) -> BTreeSet<String> {
        let Some(own) = who.address.as_deref().map(str::to_lowercase) else {
            return BTreeSet::new();
        };
        let grants = self.posture.agents.values().flat_map(|agent| agent.grants.values());
        let gates = grants.filter_map(|grant| grant.tool.ladder.gate.as_ref());
        let named = gates.filter(|gate| match &gate.approvers {
            Approvers::Named(named) => named.contains(&own),
            Approvers::Group { .. } => false,
        });
        let all = named.flat_map(|gate| gate.delegates.iter());
        all.filter(|address| **address != own).cloned().collect()
    }

    /// The absences that count now and that the person may see: their own, those they stand in for, and,
    /// with a role, those of who decides for their tenants.
    #[must_use]
    pub fn delegations(&self, visitor: &Visitor) -> Vec<Delegation> {
        let (now, person) = (self.clock.now(), visitor.person());
        let all = self.register.delegations();
        let seen = all.values().filter(|one| one.holds(now) && shows(person, one));
        seen.cloned().collect()
    }

    /// The absences by which somebody may decide about a draft now.
    #[must_use]
    pub fn standing_in(&self, draft: &Draft) -> Vec<Delegation> {
        let Some(gate) = self.gate_of(draft) else { return Vec::new() };
        let now = self.clock.now();
        let all = self.register.delegations();
        all.values().filter(|delegation| delegation.opens(draft, gate, now)).cloned().collect()
    }

    /// Whether the person may end that absence.
    #[must_use]
    pub fn may_end(&self, visitor: &Visitor, delegation: &Delegation) -> bool {
        let id = Some(delegation.id.clone());
        self.end_absence(visitor.person(), id, self.clock.now()).is_ok()
    }
}

fn shows(person: &Person, delegation: &Delegation) -> bool {
    let address = person.who.address.as_deref();
    delegation.is_of(&person.who)
        || address.is_some_and(|address| address.to_lowercase() == delegation.to)
        || (!person.roles.is_empty() && person.tenants.meet(&delegation.tenants))
}
