//! What people have to agree to, and who calls: approvals by the right and the wrong ones, replays,
//! tools that were not granted, tokens that are none.

use super::written::{Drafted, GENERATED, GeneratedFile, Line, quoted};
use super::{Ground, Subject, granted};
use countersign_core::ladder::Approvers;
use countersign_core::posture::Agent;
use countersign_posture::evals::{Caller, CaseKind, Token};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// People who may not agree: a word for each, who they are, and on whose behalf it is asked, if that is
/// why.
/// Somebody whom no posture names.
pub(crate) const STRANGER: &str = "mallory@example.com";
/// What a draft has to wait at least until further people are asked, so that a case can come before it.
const SOON_S: u32 = 60;

type Wrong = Vec<(&'static str, String, Option<String>)>;

impl Subject<'_, '_> {
    /// Nothing happens without the word of one who is entitled, and then once.
    pub(super) fn gates(&mut self) {
        let Some(gate) = self.tool.ladder.gate.clone().filter(|_| self.gated()) else { return };
        let caller = self.turn();
        let Some(arguments) = self.ground.samples.own(self.tool, &caller) else { return };
        let (right, wrong) = self.people(&gate.approvers, &caller);
        let tool = self.tool.name.to_string();
        let asks = || Line::call(&tool, arguments.clone(), "approval_required").with("as: draft");
        for (who, by, user) in wrong {
            let caller = Caller { user, ..caller.clone() };
            let script = vec![asks(), Line::wrong("draft", &by)];
            let shows = format!("The word of {} lets nothing happen.", who.replace('-', " "));
            let name = format!("approved-by-{who}");
            self.never((&name, shows), &caller, script);
        }
        let script = vec![asks(), Line::reject("draft", &right)];
        let shows = "What is rejected does not happen.".to_owned();
        self.never(("rejected", shows), &caller, script);
        self.approved(&caller, (&right, &arguments));
        if let (Approvers::Named(named), Some(one)) = (&gate.approvers, gate.delegates.first()) {
            let away = named.first().map(String::as_str).unwrap_or_default();
            self.stand_ins((away, one), &caller, asks());
        }
        if let Some(escalation) = gate.escalation.as_ref().filter(|e| e.after_s >= SOON_S) {
            self.too_soon(&escalation.to, &caller, asks());
        }
        // Another's draft is nobody's.
        let spy = self.ground.tenants.iter().find(|tenant| **tenant != caller.tenant);
        if let Some(spy) = spy {
            let mut reference = Map::new();
            reference.insert("reference".to_owned(), json!("{draft}"));
            let more = format!("caller: {{ tenant: {}, session: spy }}", quoted(spy));
            let script =
                vec![asks(), Line::call("check_draft", reference, "unknown_draft").with(&more)];
            let shows = "A draft is shown to nobody but who asked for it.".to_owned();
            self.never(("anothers-draft", shows), &caller, script);
        }
    }

    /// Whom the posture names stands in once the absent one says so, and nobody else does.
    fn stand_ins(&mut self, (away, one): (&str, &str), caller: &Caller, asks: Line) {
        let tool = self.tool.name.to_string();
        let person = |who: &str| {
            format!("{{ person: {}, tenants: [{}] }}", quoted(who), quoted(&caller.tenant))
        };
        let (by, them) = (person(away), person(one));
        let script = vec![
            asks.clone(),
            Line::wrong("draft", &them),
            Line::stand_in(one, &by, "completed"),
            Line::approve("draft", &them, "executed"),
        ];
        let shows = "Who may stand in does, from when the absent one says so.".to_owned();
        let mut drafted = Drafted::new(("stands-in", shows, CaseKind::Approval), caller, script);
        drafted.executed(&tool, 1);
        self.push(drafted);
        let script = vec![
            asks,
            Line::stand_in(STRANGER, &by, "not_entitled"),
            Line::wrong("draft", &person(STRANGER)),
        ];
        let shows = "Nobody stands in whom the posture does not name.".to_owned();
        self.never(("stranger-standing-in", shows), caller, script);
    }

    /// Further people are asked when it is time, and not before.
    fn too_soon(&mut self, further: &Approvers, caller: &Caller, asks: Line) {
        let (further, _) = self.people(further, caller);
        let stranger = format!("{{ person: {STRANGER}, tenants: [{}] }}", quoted(&caller.tenant));
        let script = vec![
            asks,
            Line::wait("1500ms"),
            Line::wrong("draft", &further),
            Line::wrong("draft", &stranger),
        ];
        let shows = "Further people are asked when it is time, and not before.".to_owned();
        self.never(("escalated-too-soon", shows), caller, script);
    }

    /// One who may agree, where somebody has to.
    pub(super) fn approver(&self, caller: &Caller) -> Option<String> {
        let gate = self.tool.ladder.gate.as_ref().filter(|_| self.gated())?;
        Some(self.people(&gate.approvers, caller).0)
    }

    fn approved(&mut self, caller: &Caller, (right, arguments): (&str, &Map<String, Value>)) {
        let tool = self.tool.name.to_string();
        let script = vec![
            Line::call(&tool, arguments.clone(), "approval_required").with("as: draft"),
            Line::approve("draft", right, "executed"),
            Line::approve("draft", right, "conflict"),
            Line::call(&tool, arguments.clone(), "completed"),
        ];
        let shows = "What the right one approves happens, and once.".to_owned();
        let mut drafted = Drafted::new(("approved", shows, CaseKind::Approval), caller, script);
        drafted.executed(&tool, 1);
        self.push(drafted);
    }

    fn never(&mut self, (name, shows): (&str, String), caller: &Caller, script: Vec<Line>) {
        let mut drafted = Drafted::new((name, shows, CaseKind::Approval), caller, script);
        drafted.never(self.tool.name.as_str());
        self.push(drafted);
    }

    /// One who may agree, and those who may not.
    fn people(&self, approvers: &Approvers, caller: &Caller) -> (String, Wrong) {
        let tenant = quoted(&caller.tenant);
        let other = self.ground.tenants.iter().find(|tenant| **tenant != caller.tenant).cloned();
        let other = quoted(&other.unwrap_or_else(|| "somebody-else".to_owned()));
        let stranger = format!("{{ person: {STRANGER}, tenants: [{tenant}] }}");
        let mut wrong = vec![("a-stranger", stranger, None)];
        match approvers {
            Approvers::Named(named) => {
                let one = named.iter().next().cloned().unwrap_or_default();
                let name = quoted(&one);
                let right = format!("{{ person: {name}, tenants: [{tenant}] }}");
                let elsewhere = format!("{{ person: {name}, tenants: [{other}] }}");
                let cached = format!("{{ person: {name}, tenants: [{tenant}], signed_in: 1h }}");
                wrong.push(("another-tenants", elsewhere, None));
                // Only the fourth step takes a sign-in of a moment ago.
                if self.tool.ladder.least().number() >= 4 {
                    wrong.push(("a-cached-sign-in", cached, None));
                }
                wrong.push(("the-one-who-asks", right.clone(), Some(one)));
                (right, wrong)
            }
            Approvers::Group { group, subject } => {
                let everywhere = self.ground.all_tenants.contains(group);
                let of = |tenant: &str| {
                    let group = quoted(group);
                    format!("{{ person: kim@example.com, groups: [{group}], tenants: [{tenant}] }}")
                };
                let right = of(&tenant);
                if !everywhere {
                    wrong.push(("another-tenants", of(&other), None));
                }
                if !subject {
                    let kim = "kim@example.com".to_owned();
                    wrong.push(("the-one-who-asks", right.clone(), Some(kim)));
                }
                (right, wrong)
            }
        }
    }
}

/// A file for each agent: what was not granted to it, and tokens that are none.
pub(super) fn agents(ground: &Ground<'_>) -> Vec<GeneratedFile> {
    let mut agents: Vec<_> = ground.loaded.posture.agents.values().collect();
    agents.sort_by_key(|agent| agent.id.clone());
    let files = agents.into_iter().map(|agent| {
        let tenant = ground.tenants.first().cloned().unwrap_or_default();
        let caller = ground.caller(agent, &tenant);
        let mut cases = ungranted(ground, (agent, &caller));
        cases.extend(tokens(ground, (agent, &caller)));
        let about = format!("What `{0}` was not granted, and who is not `{0}`.", agent.id);
        GeneratedFile::new(&format!("{GENERATED}agent-{}", agent.id), &about, cases)
    });
    files.collect()
}

/// Tools of others, and tools that there are not.
fn ungranted(ground: &Ground<'_>, (agent, caller): (&Agent, &Caller)) -> Vec<Drafted> {
    let own: BTreeSet<_> = agent.grants.keys().map(ToString::to_string).collect();
    let mut cases = Vec::new();
    for (tool, holder) in granted(ground.loaded) {
        if own.contains(tool.name.as_str()) {
            continue;
        }
        let theirs = ground.caller(holder, &caller.tenant);
        let arguments = ground.samples.own(tool, &theirs).unwrap_or_default();
        let script = vec![Line::call(tool.name.as_str(), arguments, "unknown_tool")];
        let shows = format!("`{}` was not granted to it, and so does not exist.", tool.name);
        let name = format!("ungranted-{}", tool.name);
        let mut drafted = Drafted::new((&name, shows, CaseKind::Malformed), caller, script);
        drafted.never(tool.name.as_str());
        cases.push(drafted);
    }
    for name in ["no_such_tool", "run_sql", "check_drafts"] {
        let script = vec![Line::call(name, Map::new(), "unknown_tool")];
        let shows = "A tool that nobody has is not there.".to_owned();
        let case = format!("invented-{name}");
        cases.push(Drafted::new((&case, shows, CaseKind::Malformed), caller, script));
    }
    cases
}

/// Tokens that are nobody's, and a draft that is none.
fn tokens(ground: &Ground<'_>, (agent, caller): (&Agent, &Caller)) -> Vec<Drafted> {
    let mut cases = Vec::new();
    let mut tools = agent.grants.values().map(|grant| &grant.tool);
    let first = tools.find_map(|tool| Some((tool, ground.samples.own(tool, caller)?)));
    let Some((tool, arguments)) = first else { return cases };
    let gated = tool.ladder.least().number() >= 3;
    let end = if gated { "approval_required" } else { "completed" };
    for token in [Token::Missing, Token::Forged, Token::Expired, Token::OtherAudience] {
        let word = token.as_str();
        let call = |end| Line::call(tool.name.as_str(), arguments.clone(), end);
        let bad = call("unauthenticated").with(&format!("caller: {{ token: {word} }}"));
        let shows = format!("A token that is {} is nobody's.", word.replace('-', " "));
        let script = vec![bad, call(end)];
        let name = format!("token-{word}");
        cases.push(Drafted::new((&name, shows, CaseKind::Malformed), caller, script));
    }
    if agent.grants.values().any(|grant| grant.tool.ladder.gate.is_some()) {
        let mut forged = Map::new();
        forged.insert("reference".to_owned(), Value::from(format!("drf_{}", "0".repeat(32))));
        let script = vec![Line::call("check_draft", forged, "unknown_draft")];
        let shows = "A draft that was made up is none.".to_owned();
        cases.push(Drafted::new(("forged-draft", shows, CaseKind::Approval), caller, script));
    }
    cases
}
