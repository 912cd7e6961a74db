//! Cedar text. Whatever a posture says reaches it through [`quote`], [`member`] or a number.

use crate::input::Record;
use cedar_policy::EntityTypeName;
use countersign_core::id::{AgentId, ToolName};
use countersign_core::principal::CallerRef;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::{Effect, Rung, Tool};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The attributes of `Caller` that are single texts, and always there.
pub(crate) const CALLER_TEXTS: [&str; 4] = ["agent", "tenant", "subject", "actor"];

/// The caller's attribute, a set, with what the person is known as on whose behalf it is asked. No claim
/// can have such a name.
pub(crate) const KNOWN_AS: &str = "known-as";

/// The entity type of whoever calls.
pub(crate) const CALLER: &str = "Caller";
/// The entity type of tools.
pub(crate) const TOOL: &str = "Tool";

/// The groups of actions, by what the tools in them change. No tool can have such a name.
pub(crate) const GROUPS: [&str; 5] = [
    "effect:read",
    "effect:write",
    "effect:reversible",
    "effect:persistent",
    "effect:irreversible",
];

/// The groups of actions that a tool of this effect is in.
#[must_use]
pub const fn groups(effect: Effect) -> &'static [&'static str] {
    match effect {
        Effect::Read => &["effect:read"],
        Effect::Reversible => &["effect:write", "effect:reversible"],
        Effect::Persistent => &["effect:write", "effect:persistent"],
        Effect::Irreversible => &["effect:write", "effect:irreversible"],
    }
}

/// A Cedar string literal.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// A member's name as `has` takes it: bare where Cedar can read it so, else a string literal.
pub(crate) fn key(name: &str) -> String {
    if is_identifier(name) { name.to_owned() } else { quote(name) }
}

/// The member `name` of what `base` stands for.
pub(crate) fn member(base: &str, name: &str) -> String {
    if is_identifier(name) { format!("{base}.{name}") } else { format!("{base}[{}]", quote(name)) }
}

/// Asked of Cedar itself, which knows its reserved words.
fn is_identifier(name: &str) -> bool {
    name.parse::<EntityTypeName>().is_ok_and(|name| name.namespace().is_empty())
}

/// One `forbid` of a tool: it stands in the way where `when` holds, unless `unless` does.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its id after the tool's name: `scope.account_id`, `bound.days`, `gate`.
    pub(crate) name: String,
    /// The clearance at which a gate opens; `None` for what no approval lifts.
    pub(crate) gate: Option<Rung>,
    /// What must be there to be spoken of.
    pub(crate) when: Vec<String>,
    /// The condition.
    pub(crate) unless: String,
}

impl Rule {
    fn render(&self, tool: &ToolName) -> String {
        let mut text = String::new();
        if let Some(rung) = self.gate {
            // Writing to a `String` cannot fail, here and below.
            let _infallible = writeln!(text, "@gate(\"{}\")", rung.number());
        }
        let id = quote(&format!("{tool}.{}", self.name));
        let action = quote(tool.as_str());
        let _infallible =
            writeln!(text, "@id({id})\nforbid (principal, action == Action::{action}, resource)");
        if !self.when.is_empty() {
            let _infallible = writeln!(text, "when {{ {} }}", self.when.join(" && "));
        }
        let _infallible = writeln!(text, "unless {{ {} }};", self.unless);
        text
    }
}

/// The policies of one tool: who was granted it, then what forbids a call all the same.
pub(crate) fn policies(tool: &Tool, agents: &BTreeSet<&AgentId>, bounds: &[Rule]) -> String {
    let name = quote(tool.name.as_str());
    let id = quote(&format!("{}.grant", tool.name));
    let agents: Vec<String> = agents.iter().map(|agent| quote(agent.as_str())).collect();
    let agents = agents.join(", ");
    let permit = format!(
        "@id({id})\n\
         permit (principal is Caller, action == Action::{name}, resource == Tool::{name})\n\
         when {{ [{agents}].contains(principal.agent) }};\n"
    );
    let scopes: Vec<Rule> = tool.scope.iter().map(scope).collect();
    let gate = gate(tool.ladder.least());
    let rules = scopes.iter().chain(bounds).chain(&gate).map(|rule| rule.render(&tool.name));
    std::iter::once(permit).chain(rules).collect::<Vec<_>>().join("\n")
}

fn scope(rule: &ScopeRule) -> Rule {
    let (name, unless) = match rule {
        // Core compares both with the set of the caller's values, which for `equals` has one.
        ScopeRule::Equals { path, caller } | ScopeRule::In { path, caller } => {
            let path = path.to_string();
            let key = quote(&path);
            let found = format!("context.scope[{key}]");
            let own = values(caller);
            let unless = format!(
                "context.scope has {key} && {own}.containsAll({found}) && !{found}.isEmpty()"
            );
            (path, unless)
        }
        // The evidence holds the domains of the addresses at the path, as core read them.
        ScopeRule::Domains { path, domains } => {
            let path = path.to_string();
            let key = quote(&path);
            let found = format!("context.scope[{key}]");
            let domains: Vec<String> =
                domains.iter().map(|domain| quote(domain.as_str())).collect();
            let unless = format!(
                "context.scope has {key} && [{}].containsAll({found}) && !{found}.isEmpty()",
                domains.join(", ")
            );
            (path, unless)
        }
        ScopeRule::Bind { name, caller } => {
            let bound = member("context.input", name);
            let unless = match single(caller) {
                Some(own) => format!("{bound} == {own}"),
                None => format!("[{bound}] == {}", values(caller)),
            };
            (name.clone(), unless)
        }
    };
    Rule { name: format!("scope.{name}"), gate: None, when: Vec::new(), unless }
}

/// The ladder: from the second rung on, a call needs more than an ungated call holds.
fn gate(rung: Rung) -> Option<Rule> {
    (rung > Rung::UNGATED).then(|| Rule {
        name: "gate".to_owned(),
        gate: Some(rung),
        when: Vec::new(),
        unless: match rung {
            Rung::NAMED => format!(
                "context.clearance >= {} && !({}.containsAny(context.approver))",
                rung.number(),
                member("principal", KNOWN_AS)
            ),
            _ => format!("context.clearance >= {}", rung.number()),
        },
    })
}

/// Whether the policies of a tool speak of who agreed.
pub(crate) fn asks_who_agreed(tool: &Tool) -> bool {
    tool.ladder.least() == Rung::NAMED
}

fn single(caller: &CallerRef) -> Option<&'static str> {
    match caller {
        CallerRef::Tenant => Some("principal.tenant"),
        CallerRef::Subject => Some("principal.subject"),
        CallerRef::Actor => Some("principal.actor"),
        CallerRef::Attribute(_) => None,
    }
}

/// The set of the caller's values.
fn values(caller: &CallerRef) -> String {
    match caller {
        CallerRef::Attribute(name) => member("principal", name),
        CallerRef::Tenant | CallerRef::Subject | CallerRef::Actor => {
            format!("[{}]", single(caller).unwrap_or_default())
        }
    }
}

/// What every schema begins with: `Caller` with its attributes, `Tool`, and the groups of actions.
pub(crate) fn ground(sets: &BTreeSet<String>) -> String {
    let texts = CALLER_TEXTS.iter().map(|name| format!("  {}: String,\n", quote(name)));
    let sets = sets.iter().map(|name| format!("  {}: Set<String>,\n", quote(name)));
    let caller: String = texts.chain(sets).collect();
    let groups = GROUPS.map(quote).join(", ");
    format!("entity {CALLER} = {{\n{caller}}};\nentity {TOOL};\naction {groups};\n")
}

/// Further actions that a tool's policies name: there, and applied to nothing.
pub(crate) fn actions_named(names: &BTreeSet<String>) -> String {
    let names = names.iter().filter(|name| !GROUPS.contains(&name.as_str()));
    let names: Vec<String> = names.map(|name| quote(name)).collect();
    if names.is_empty() { String::new() } else { format!("action {};\n", names.join(", ")) }
}

/// A tool's action, with the context that a decision is given.
pub(crate) fn action(tool: &Tool, input: &Record, scopes: &[String]) -> String {
    let scopes: Vec<String> =
        scopes.iter().map(|path| format!("{}?: Set<String>", quote(path))).collect();
    let scopes = scopes.join(", ");
    let name = quote(tool.name.as_str());
    let groups: Vec<String> = groups(tool.effect).iter().copied().map(quote).collect();
    let groups = groups.join(", ");
    let approver = match asks_who_agreed(tool) {
        true => "\n    \"approver\": Set<String>,",
        false => "",
    };
    format!(
        "action {name} in [{groups}] appliesTo {{\n  \
           principal: [{CALLER}],\n  \
           resource: [{TOOL}],\n  \
           context: {{{approver}\n    \
             \"clearance\": Long,\n    \
             \"hour\": Long,\n    \
             \"input\": {input},\n    \
             \"minute\": Long,\n    \
             \"now\": Long,\n    \
             \"scope\": {{{scopes}}},\n    \
             \"weekday\": Long,\n  \
           }},\n\
         }};\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request};
    use proptest::prelude::*;

    /// Whether Cedar finds `text` equal to the literal made of it, in one policy and no more.
    fn reads_back(text: &str) -> bool {
        let source = format!(
            "permit (principal, action, resource) when {{ context.t == {} }};",
            quote(text)
        );
        let policies: PolicySet = source.parse().unwrap();
        assert_eq!(policies.num_of_policies(), 1, "{source}");
        let value = cedar_policy::RestrictedExpression::new_string(text.to_owned());
        let context = Context::from_pairs([("t".to_owned(), value)]).unwrap();
        let any = || r#"Tool::"any""#.parse().unwrap();
        let request = Request::new(any(), any(), any(), context, None).unwrap();
        let response = Authorizer::new().is_authorized(&request, &policies, &Entities::empty());
        response.decision() == Decision::Allow
    }

    #[test]
    fn hostile_texts_stay_texts() {
        for text in [
            "\"",
            "\\",
            "\\\"",
            "*",
            "\\*",
            "\0",
            "\n",
            "\u{202e}",
            "\u{301}",
            "😀",
            "//",
            "${x}",
            "\") }; permit (principal, action, resource); //",
            "\\\") }; permit (principal, action, resource); //",
            "\\u{22}",
            "\u{7f}\u{80}\u{feff}\u{10ffff}",
        ] {
            assert!(reads_back(text), "{text:?}");
        }
    }

    #[test]
    fn only_what_cedar_reads_as_a_name_stands_bare() {
        for name in ["days", "_x", "a1", "isEmpty", "principal"] {
            assert_eq!(member("context", name), format!("context.{name}"));
        }
        for name in
            ["", "a b", "a::b", "in", "if", "true", "1a", "a-b", "a.b", " a", "é", "__cedar"]
        {
            assert_eq!(member("context", name), format!("context[{}]", quote(name)));
        }
    }

    proptest! {
        #[test]
        fn every_text_reads_back_as_itself(text in any::<String>()) {
            prop_assert!(reads_back(&text));
        }
    }
}
