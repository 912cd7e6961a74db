//! What people have to agree to, and who calls: approvals by the right and the wrong ones, replays,
//! tools that were not granted, tokens that are none.

use super::written::{Drafted, GeneratedFile, Line, quoted};
use super::{Ground, Subject, granted};
use countersign_core::ladder::Approvers;
use countersign_posture::evals::{CaseKind, Token};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

impl Subject<'_, '_> {
    /// Nothing happens without the word of one who is entitled, and then once.
    pub(super) fn gates(&mut self) {
        let Some(gate) = self.tool.ladder.gate.clone().filter(|_| self.gated()) else { return };
        let caller = self.turn();
        let Some(arguments) = self.ground.samples.own(self.tool, &caller) else { return };
        let tenant = quoted(&caller.tenant);
        let other = self.ground.tenants.iter().find(|tenant| **tenant != caller.tenant).cloned();
        let other = quoted(&other.unwrap_or_else(|| "somebody-else".to_owned()));
        let (right, wrong) = match &gate.approvers {
            Approvers::Named(named) => {
                let one = named.iter().next().cloned().unwrap_or_default();
                let right = format!("{{ person: {}, tenants: [{tenant}] }}", quoted(&one));
                let wrong = vec![
                    ("a-stranger", format!("{{ person: mallory@example.com, tenants: [{tenant}] }}"), None),
                    ("another-tenants", format!("{{ person: {}, tenants: [{other}] }}", quoted(&one)), None),
                    ("a-cached-sign-in", format!("{{ person: {}, tenants: [{tenant}], signed_in: 1h }}", quoted(&one)), None),
                    ("the-one-who-asks", right.clone(), Some(one)),
                ];
                (right, wrong)
            }
            Approvers::Group { group, subject } => {
                let everywhere = self.ground.all_tenants.contains(group);
                let group = quoted(group);
                let right = format!("{{ person: kim@example.com, groups: [{group}], tenants: [{tenant}] }}");
                let mut wrong = vec![
                    ("a-stranger", format!("{{ person: mallory@example.com, tenants: [{tenant}] }}"), None),
                ];
                if !everywhere {
                    wrong.push(("another-tenants", format!("{{ person: kim@example.com, groups: [{group}], tenants: [{other}] }}"), None));
                }
                if !subject {
                    wrong.push(("the-one-who-asks", right.clone(), Some("kim@example.com".to_owned())));
                }
                (right, wrong)
            }
        };
        let tool = self.tool.name.to_string();
        let asks = || Line::call(&tool, arguments.clone(), "approval_required").with("as: draft");
        for (who, by, user) in wrong {
            let caller = countersign_posture::evals::Caller { user, ..caller.clone() };
            let script = vec![asks(), Line::wrong("draft", &by)];
            let shows = format!("The word of {} lets nothing happen.", who.replace('-', " "));
            let mut drafted = Drafted::new((&format!("approved-by-{who}"), shows, CaseKind::Approval), &caller, script);
            drafted.never(&tool);
            self.push(drafted);
        }
        let script = vec![asks(), Line::reject("draft", &right)];
        let mut drafted = Drafted::new(("rejected", "What is rejected does not happen.".to_owned(), CaseKind::Approval), &caller, script);
        drafted.never(&tool);
        self.push(drafted);
        let script = vec![
            asks(),
            Line::approve("draft", &right, "executed"),
            Line::approve("draft", &right, "conflict"),
            Line::call(&tool, arguments.clone(), "completed"),
        ];
        let shows = "What the right one approves happens, and once.".to_owned();
        let mut drafted = Drafted::new(("approved", shows, CaseKind::Approval), &caller, script);
        drafted.executed(&tool, 1);
        self.push(drafted);
        // Another's draft is nobody's.
        let spy = self.ground.tenants.iter().find(|tenant| **tenant != caller.tenant);
        if let Some(spy) = spy {
            let mut reference = Map::new();
            reference.insert("reference".to_owned(), json!("{draft}"));
            let more = format!("caller: {{ tenant: {}, session: spy }}", quoted(spy));
            let script = vec![asks(), Line::call("check_draft", reference, "unknown_draft").with(&more)];
            let shows = "A draft is shown to nobody but who asked for it.".to_owned();
            let mut drafted = Drafted::new(("anothers-draft", shows, CaseKind::Approval), &caller, script);
            drafted.never(&tool);
            self.push(drafted);
        }
    }
}

/// A file for each agent: what was not granted to it, and tokens that are none.
pub(super) fn agents(ground: &Ground<'_>) -> Vec<GeneratedFile> {
    let tools = granted(ground.loaded);
    let mut agents: Vec<_> = ground.loaded.posture.agents.values().collect();
    agents.sort_by_key(|agent| agent.id.clone());
    let files = agents.into_iter().map(|agent| {
        let mut cases: Vec<Drafted> = Vec::new();
        let tenant = ground.tenants.first().cloned().unwrap_or_default();
        let caller = ground.caller(agent, &tenant);
        let own: BTreeSet<_> = agent.grants.keys().map(ToString::to_string).collect();
        for (tool, holder) in tools.iter().filter(|(tool, _)| !own.contains(tool.name.as_str())) {
            let arguments = ground.samples.own(tool, &ground.caller(holder, &tenant)).unwrap_or_default();
            let script = vec![Line::call(tool.name.as_str(), arguments, "unknown_tool")];
            let shows = format!("`{}` was not granted to it, and so does not exist.", tool.name);
            let name = format!("ungranted-{}", tool.name);
            let mut drafted = Drafted::new((&name, shows, CaseKind::Malformed), &caller, script);
            drafted.never(tool.name.as_str());
            cases.push(drafted);
        }
        for name in ["no_such_tool", "run_sql", "check_drafts"] {
            let script = vec![Line::call(name, Map::new(), "unknown_tool")];
            let shows = "A tool that nobody has is not there.".to_owned();
            cases.push(Drafted::new((&format!("invented-{name}"), shows, CaseKind::Malformed), &caller, script));
        }
        let first = agent.grants.values().map(|grant| &grant.tool).find_map(|tool| {
            Some((tool, ground.samples.own(tool, &caller)?))
        });
        if let Some((tool, arguments)) = first {
            let end = if tool.ladder.least().number() >= 3 { "approval_required" } else { "completed" };
            for token in [Token::Missing, Token::Forged, Token::Expired, Token::OtherAudience] {
                let word = token.as_str();
                let script = vec![
                    Line::call(tool.name.as_str(), arguments.clone(), "unauthenticated").with(&format!("caller: {{ token: {word} }}")),
                    Line::call(tool.name.as_str(), arguments.clone(), end),
                ];
                let shows = format!("A token that is {} is nobody's.", word.replace('-', " "));
                cases.push(Drafted::new((&format!("token-{word}"), shows, CaseKind::Malformed), &caller, script));
            }
            let mut forged = Map::new();
            forged.insert("reference".to_owned(), Value::from(format!("drf_{}", "0".repeat(32))));
            if agent.grants.values().any(|grant| grant.tool.ladder.gate.is_some()) {
                let script = vec![Line::call("check_draft", forged, "unknown_draft")];
                let shows = "A draft that was made up is none.".to_owned();
                cases.push(Drafted::new(("forged-draft", shows, CaseKind::Approval), &caller, script));
            }
        }
        let about = format!("What `{}` was not granted, and who is not `{}`.", agent.id, agent.id);
        GeneratedFile::new(&format!("generated-agent-{}", agent.id), &about, cases)
    });
    files.collect()
}
