//! What many records have in common, and which of that is asked for.

use super::header::Header;
use countersign_core::person::Tenants;
use countersign_core::reading::{Calls, Class, Search};
use countersign_core::record::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is known of a record by the number of its profile. Without anything it fits no question but one
/// after everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Profile {
    kind: Option<Kind>,
    /// What such a record says of its call.
    pub(super) class: Option<Class>,
    status: Word,
    pub(super) code: Word,
    agent: Word,
    tenant: Word,
    tool: Word,
    alert: bool,
}

type Texts<'a> = [Option<&'a str>; 7];
type Word = Option<Arc<str>>;

/// The texts of many profiles, each held once.
#[derive(Debug, Default)]
pub(super) struct Words(BTreeSet<Arc<str>>);

impl Words {
    fn of(&mut self, text: Option<String>) -> Word {
        let text = text?;
        if let Some(word) = self.0.get(&*text) {
            return Some(Arc::clone(word));
        }
        let word: Arc<str> = text.into();
        self.0.insert(Arc::clone(&word));
        Some(word)
    }
}

/// A profile, as the index writes it: `[kind, status, code, agent, tenant, tool, alert]`.
fn written(texts: Texts<'_>) -> String {
    // Texts and nothing always have a text.
    serde_json::to_string(&texts).unwrap_or_default()
}

/// That of a header.
pub(super) fn of(header: &Header<'_>) -> String {
    let Header { kind, status, code, agent, tenant, tool, alert, .. } = header;
    written([kind, status, code, agent, tenant, tool, alert].map(Option::as_deref))
}

/// What of a profile is counted by the minute, all but whose, of which tool, and alerts; and what such a
/// record says of its call.
pub(super) fn counted(profile: &str) -> Option<(String, Option<Class>)> {
    let texts: [Option<String>; 7] = serde_json::from_str(profile).ok()?;
    let [kind, status, code, _, tenant, _, _] = texts.each_ref().map(Option::as_deref);
    let class = kind.and_then(Kind::parse).and_then(|kind| Class::of(kind, status));
    Some((written([kind, status, code, None, tenant, None, None]), class))
}

impl Profile {
    /// As the index writes it, read back; `None` for what it does not write.
    pub(super) fn read(text: &str, words: &mut Words) -> Option<Self> {
        let [kind, status, code, agent, tenant, tool, alert]: [Option<String>; 7] =
            serde_json::from_str(text).ok()?;
        let kind = kind.as_deref().and_then(Kind::parse);
        let class = kind.and_then(|kind| Class::of(kind, status.as_deref()));
        let [status, code, agent, tenant, tool] =
            [status, code, agent, tenant, tool].map(|text| words.of(text));
        Some(Self { kind, class, status, code, agent, tenant, tool, alert: alert.is_some() })
    }

    pub(super) fn seen_by(&self, tenants: &Tenants) -> bool {
        tenants.see(self.tenant.as_deref())
    }

    /// Whether such records can be among those.
    pub(super) fn fits(&self, which: &Search) -> bool {
        let Search { kind, agent, tenant, tool, code, status, alerts, .. } = which;
        kind.is_none_or(|kind| self.kind == Some(kind))
            && all([
                (agent, &self.agent),
                (tenant, &self.tenant),
                (tool, &self.tool),
                (code, &self.code),
                (status, &self.status),
            ])
            && (!alerts || self.alert)
    }

    /// Whether what such records say of their calls can be among those.
    pub(super) fn is_one_of(&self, which: &Calls) -> bool {
        let Calls { agent, tenant, tool, class, code, .. } = which;
        self.class.is_some()
            && class.is_none_or(|class| self.class == Some(class))
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
                self.class,
                Some(Class::UnderWay | Class::Refused | Class::Drafted | Class::Delivered)
            )
    }
}

fn all<const N: usize>(texts: [(&Option<String>, &Word); N]) -> bool {
    texts.iter().all(|(asked, found)| asked.is_none() || asked.as_deref() == found.as_deref())
}
