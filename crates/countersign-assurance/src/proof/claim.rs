//! What is to be proved, as conditions on a request. They are written from the posture by themselves, and
//! not taken from what writes the policies: a mistake there is what they are to find.

use super::Granted;
use countersign_core::id::AgentId;
use countersign_core::principal::CallerRef;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::{Holds, Rung, Sends, Tool};
use std::fmt;

/// One thing that has to hold of every permitted request of a tool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// What the scope rule of this name says of the arguments.
    Scoped(String),
    /// At least this clearance.
    Cleared(Rung),
    /// Whoever agreed is not who asked, on the fourth step.
    SomebodyElse,
    /// What holds confidential data and sends it out waits for a person.
    HeldBack,
    /// No policy errs.
    NoErrors,
    /// This agent can use what it was granted.
    Alive(AgentId),
}

impl Claim {
    /// As reports name it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Scoped(path) => format!("scope.{path}"),
            Self::Cleared(_) => "clearance".to_owned(),
            Self::SomebodyElse => "approver".to_owned(),
            Self::HeldBack => "external".to_owned(),
            Self::NoErrors => "errors".to_owned(),
            Self::Alive(agent) => format!("use.{agent}"),
        }
    }

    /// What a permitted request has to meet; `None` for what is asked in another way.
    pub(super) fn condition(&self, tool: &Tool) -> Option<String> {
        match self {
            Self::Scoped(name) => tool.scope.iter().find(|rule| of(rule) == *name).map(scoped),
            Self::Cleared(rung) => Some(format!("context.clearance >= {}", rung.number())),
            Self::SomebodyElse => {
                Some("!(principal[\"known-as\"].containsAny(context.approver))".to_owned())
            }
            // Whether a session has read what is untrusted is kept nowhere, so this is asked of all.
            Self::HeldBack => Some(format!("context.clearance >= {}", Rung::CONFIRMED.number())),
            Self::NoErrors | Self::Alive(_) => None,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scoped(path) => write!(f, "`{path}` is the caller's own"),
            Self::Cleared(rung) => write!(f, "nothing happens below step {}", rung.number()),
            Self::SomebodyElse => {
                f.write_str("nobody agrees to what was asked for on their behalf")
            }
            Self::HeldBack => {
                f.write_str("confidential data goes out by it only after a person has agreed")
            }
            Self::NoErrors => f.write_str("no policy errs"),
            Self::Alive(agent) => write!(f, "{agent} can use it"),
        }
    }
}

/// What is to be proved of a tool.
pub(super) fn claims(granted: &Granted<'_>) -> Vec<Claim> {
    let Granted { tool, agents } = granted;
    let mut claims: Vec<_> = tool.scope.iter().map(|rule| Claim::Scoped(of(rule))).collect();
    let step = step(tool);
    if step > Rung::UNGATED {
        claims.push(Claim::Cleared(step));
    }
    if step == Rung::NAMED {
        claims.push(Claim::SomebodyElse);
    }
    if tool.flow.sends == Sends::External && tool.flow.holds == Holds::Confidential {
        claims.push(Claim::HeldBack);
    }
    claims.push(Claim::NoErrors);
    claims.extend(agents.keys().map(|agent| Claim::Alive(AgentId::clone(agent))));
    claims.sort();
    claims
}

/// The step that a tool stands on: its effect's or the company's, whichever is higher; or that of an
/// exception, which somebody answers for until a date.
fn step(tool: &Tool) -> Rung {
    let step = tool.ladder.rung.max(tool.effect.rung());
    tool.ladder.exception.as_ref().map_or(step, |exception| exception.rung.min(step))
}

/// The name of a scope rule: its path, or the argument that is bound.
fn of(rule: &ScopeRule) -> String {
    match rule {
        ScopeRule::Equals { path, .. }
        | ScopeRule::In { path, .. }
        | ScopeRule::Domains { path, .. } => path.to_string(),
        ScopeRule::Bind { name, .. } => name.clone(),
    }
}

fn scoped(rule: &ScopeRule) -> String {
    let own = |caller: &CallerRef| match caller {
        CallerRef::Tenant => "[principal.tenant]".to_owned(),
        CallerRef::Subject => "[principal.subject]".to_owned(),
        CallerRef::Actor => "[principal.actor]".to_owned(),
        CallerRef::Attribute(name) => format!("principal[{}]", quoted(name)),
    };
    let within = |path: String, allowed: String| {
        let path = quoted(&path);
        format!(
            "context.scope has {path} && !(context.scope[{path}].isEmpty()) && \
             {allowed}.containsAll(context.scope[{path}])"
        )
    };
    match rule {
        ScopeRule::Equals { path, caller } | ScopeRule::In { path, caller } => {
            within(path.to_string(), own(caller))
        }
        ScopeRule::Domains { path, domains } => {
            let domains: Vec<_> = domains.iter().map(|domain| quoted(domain.as_str())).collect();
            within(path.to_string(), format!("[{}]", domains.join(", ")))
        }
        ScopeRule::Bind { name, caller } => {
            format!("[context.input[{}]] == {}", quoted(name), own(caller))
        }
    }
}

pub(super) fn is_agent(agent: &AgentId) -> String {
    format!("principal.agent == {}", quoted(agent.as_str()))
}

/// A text as a Cedar literal.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}
