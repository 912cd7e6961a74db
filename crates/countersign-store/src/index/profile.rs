//! What many records have in common, and which of that is asked for.

use countersign_core::person::Tenants;
use countersign_core::reading::{Calls, Class, Search};
use countersign_core::record::Kind;
use serde_json::{Map, Value};

/// What is known of a record by the number of its profile. Without anything it fits no question but one
/// after everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Profile {
    kind: Option<String>,
    status: Option<String>,
    code: Option<String>,
    agent: Option<String>,
    tenant: Option<String>,
    tool: Option<String>,
    alert: Option<String>,
}

const MEMBERS: [&str; 7] = ["kind", "status", "code", "agent", "tenant", "tool", "alert"];

/// A header's profile, as the index writes it.
pub(super) fn written(header: &Map<String, Value>) -> String {
    let member = |name: &&str| header.get(*name).filter(|value| value.is_string());
    // Texts and nothing always have a text.
    serde_json::to_string(&MEMBERS.each_ref().map(member)).unwrap_or_default()
}

impl Profile {
    /// As the index writes it, read back; `None` for what it does not write.
    pub(super) fn read(text: &str) -> Option<Self> {
        let [kind, status, code, agent, tenant, tool, alert] = serde_json::from_str(text).ok()?;
        Some(Self { kind, status, code, agent, tenant, tool, alert })
    }

    fn kind(&self) -> Option<Kind> {
        self.kind.as_deref().and_then(Kind::parse)
    }

    /// What such a record says of its call.
    pub(super) fn class(&self) -> Option<Class> {
        Class::of(self.kind()?, self.status.as_deref())
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(super) fn seen_by(&self, tenants: &Tenants) -> bool {
        tenants.see(self.tenant.as_deref())
    }

    /// Whether such records can be among those.
    pub(super) fn fits(&self, which: &Search) -> bool {
        let Search { kind, agent, tenant, tool, code, status, alerts, .. } = which;
        kind.is_none_or(|kind| self.kind() == Some(kind))
            && all([
                (agent, &self.agent),
                (tenant, &self.tenant),
                (tool, &self.tool),
                (code, &self.code),
                (status, &self.status),
            ])
            && (!alerts || self.alert.is_some())
    }

    /// Whether what such records say of their calls can be among those.
    pub(super) fn is_one_of(&self, which: &Calls) -> bool {
        let Calls { agent, tenant, tool, class, code, .. } = which;
        let found = self.class();
        found.is_some()
            && class.is_none_or(|class| found == Some(class))
            && all([
                (agent, &self.agent),
                (tenant, &self.tenant),
                (tool, &self.tool),
                (code, &self.code),
            ])
    }

    /// Whether such a record is of a call that this agent made.
    pub(super) fn is_call_of(&self, agent: &str) -> bool {
        self.agent.as_deref() == Some(agent)
            && matches!(
                self.class(),
                Some(Class::UnderWay | Class::Refused | Class::Drafted | Class::Delivered)
            )
    }
}

fn all<const N: usize>(texts: [(&Option<String>, &Option<String>); N]) -> bool {
    texts.iter().all(|(asked, found)| asked.is_none() || asked == found)
}
