//! What people are shown beside what they decide about, and who may see it.

use crate::act::{Barred, Visitor};
use crate::args;
use crate::call::{Monitor, budgets};
use crate::draft::Draft;
use crate::id::TenantId;
use crate::ladder::Gate;
use crate::person::{Role, Tenants};
use crate::posture::Agent;
use crate::quota::{Counter, Limits, Window};
use crate::tool::Tool;
use serde_json::Value;

/// Something that it takes a role to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// What agents do, and which there are: whoever has a role.
    Activity,
    /// What agents may reach, with every bound and list: it is about everybody's data, and so it is for
    /// whoever has a role and may see that.
    Reach,
    /// Everything that is on record, arguments and results included.
    Journal,
}

/// A sum or a limit, and how far it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// What is counted or added up.
    pub of: String,
    /// Over which span.
    pub window: Window,
    /// How much so far.
    pub spent: u64,
    /// What this call would add.
    pub adds: u64,
    /// The most it may come to.
    pub max: u64,
}

impl Visitor {
    /// For whose data this person may see that: whatever is read for them is asked for by this.
    ///
    /// # Errors
    /// [`Barred::NotEntitled`] if they lack the role.
    pub fn sees(&self, what: Sight) -> Result<&Tenants, Barred> {
        let person = self.person();
        let (may, why) = match what {
            Sight::Activity => (!person.roles.is_empty(), "It takes a role to see this."),
            Sight::Reach => (
                !person.roles.is_empty() && person.tenants == Tenants::All,
                "What agents may reach is shown to those who may see everybody's data.",
            ),
            Sight::Journal => (person.roles.contains(&Role::Auditor), "Auditors read the journal."),
        };
        if may { Ok(&person.tenants) } else { Err(Barred::NotEntitled(why)) }
    }

    /// Whether they switch off and on, and say what came of unknown outcomes.
    #[must_use]
    pub fn operates(&self) -> bool {
        self.person().roles.contains(&Role::Operator)
    }
}

impl Monitor {
    /// What a draft would do, as its agent was granted it now.
    #[must_use]
    pub fn tool_of(&self, draft: &Draft) -> Option<&Tool> {
        self.grant_of(draft).map(|grant| &*grant.tool)
    }

    /// The gate that a draft waits at, if what governs it is what it was proposed under.
    #[must_use]
    pub fn gate_of(&self, draft: &Draft) -> Option<&Gate> {
        let grant = self.grant_of(draft)?;
        grant.tool.ladder.gate.as_ref().filter(|_| grant.decision_digest == draft.decision)
    }

    /// The budgets of a draft's tool: how far they are used, and what this call adds.
    #[must_use]
    pub fn budgets_of(&self, draft: &Draft) -> Vec<Used> {
        let Some(grant) = self.grant_of(draft) else { return Vec::new() };
        let Some(agent) = self.posture.agents.get(&draft.principal.actor) else {
            return Vec::new();
        };
        let Ok(Value::Object(arguments)) = args::parse(&draft.arguments) else { return Vec::new() };
        let sums = budgets(&grant.tool, (&draft.principal, agent), &arguments).unwrap_or_default();
        let now = self.clock.now();
        let used = sums.into_iter().map(|(counter, of)| Used {
            of: of.name(),
            window: counter.window,
            spent: self.journal.spent(&counter, now),
            adds: counter.amount,
            max: counter.max,
        });
        used.collect()
    }

    /// How far an agent's own limits for a tenant are used.
    #[must_use]
    pub fn limits_of(&self, agent: &Agent, tenant: &TenantId) -> Vec<Used> {
        let now = self.clock.now();
        let Limits { per_minute, per_hour, .. } = agent.limits;
        let windows = [(Window::Minute, per_minute), (Window::Hour, per_hour)];
        let used = windows.into_iter().filter_map(|(window, max)| {
            let key = format!("agent/{}/tenant/{tenant}", agent.id);
            let counter = Counter::of_calls(key, window, max?);
            let spent = self.journal.spent(&counter, now);
            Some(Used { of: "calls".to_owned(), window, spent, adds: 0, max: counter.max })
        });
        used.collect()
    }
}
