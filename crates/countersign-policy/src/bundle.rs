//! A posture compiled to Cedar: for each tool a slice of policies and a slice of schema.
//!
//! Slices, because Cedar evaluates every policy it is given and validates whole schemas in
//! quadratic time: what does not concern a tool is not there when it is called.

use crate::authored::{self, Mistake, MistakeKind, PolicyFile, Rule, Trial, Unknown};
use crate::input::{self, Record};
use crate::text::{self, CALLER, CALLER_TEXTS, TOOL, quote};
use cedar_policy::{
    Entity, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationResult,
    Validator,
};
use countersign_core::id::{AgentId, Digest, ToolName};
use countersign_core::posture::{Grant, Posture};
use countersign_core::principal::CallerRef;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::Tool;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Why a tool of the posture has no policies that could be relied on.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Two agents were granted tools of one name that differ in input, scope or effect.
    #[error("tool `{tool}` is declared in two ways that differ in input, scope or effect")]
    Ambiguous {
        /// Which.
        tool: ToolName,
    },
    /// A claim has the name of one of the caller's own attributes.
    #[error(
        "tool `{tool}`: its scope compares with `caller.{attribute}`, a name that policies keep for themselves; call the attribute something else in `posture.yaml`"
    )]
    ReservedAttribute {
        /// Which tool.
        tool: ToolName,
        /// The attribute.
        attribute: String,
    },
    /// An argument is both the model's and the token's.
    #[error(
        "tool `{tool}`: argument `{argument}` is bound to the caller, so it must not stand in `input`"
    )]
    BoundTwice {
        /// Which tool.
        tool: ToolName,
        /// The argument.
        argument: String,
    },
    /// Two rules have one id, so a decision could not say which of them it rests on.
    #[error("tool `{tool}`: two rules are called `{policy}`")]
    Duplicate {
        /// Which tool.
        tool: ToolName,
        /// The id.
        policy: String,
    },
    /// The policy does not fit the tool's schema.
    #[error("tool `{tool}`: policy `{policy}` does not fit the tool: {why}")]
    Invalid {
        /// Which tool.
        tool: ToolName,
        /// The policy's id.
        policy: String,
        /// What Cedar says.
        why: String,
    },
    /// A hand-written policy is wrong.
    #[error("{}", .0.message)]
    Authored(Box<Mistake>),
    /// The tool cannot be said in Cedar at all.
    #[error("tool `{tool}` cannot be put into policy: {why}")]
    Unreadable {
        /// Which tool.
        tool: ToolName,
        /// What Cedar says.
        why: String,
    },
}

/// The policies in force, compiled. Immutable: a new posture is a new bundle.
///
/// A tool that no agent was granted has no slice, and is refused like one that does not exist.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) slices: BTreeMap<ToolName, Slice>,
    /// Each hand-written policy, by its id.
    written: BTreeMap<String, Written>,
    warnings: Vec<Mistake>,
    pub(crate) callers: crate::decide::Callers,
}

/// A hand-written policy that is in force.
#[derive(Debug)]
struct Written {
    file: String,
    span: Range<usize>,
    reason: Option<String>,
    text: String,
}

/// A hand-written policy that is in force, for people.
#[derive(Debug, Clone, Copy)]
pub struct Authored<'b> {
    /// Under which it is on record.
    pub id: &'b str,
    /// Why it is there, by the word of its author.
    pub reason: Option<&'b str>,
    /// The file that it is in.
    pub file: &'b str,
    /// As it was written.
    pub text: &'b str,
}

impl Bundle {
    /// Writes, parses and strictly validates the policies of every granted tool, and puts those of
    /// `files` beside them that bear on it. `attributes` are what the posture knows of a caller
    /// besides agent, tenant, subject and actor.
    ///
    /// # Errors
    /// Every [`CompileError`] of every tool, in the order of their names, then every [`Mistake`] in
    /// the files, in their order.
    pub fn compile(
        posture: &Posture,
        attributes: &[&str],
        files: &[PolicyFile<'_>],
    ) -> Result<Self, Vec<CompileError>> {
        let mut slices = BTreeMap::new();
        let mut errors = Vec::new();
        let granted = granted(posture, &mut errors);
        let (rules, mistakes) = authored::read(files);
        let unknown = Unknown::default();
        let mut trial = Trial::of(&rules, mistakes, (&granted, &unknown));
        for (&name, (tool, agents)) in &granted {
            let rules = trial.bearing_on(tool);
            let compiled = Slice::compile(tool, agents, attributes, &Bearing { rules, files });
            match compiled {
                Ok((slice, result)) => {
                    trial.hear(name, &result);
                    slices.insert(name.clone(), slice);
                }
                Err(found) => errors.extend(found),
            }
        }
        let mistakes = trial.mistakes();
        let warnings = if mistakes.iter().all(|mistake| mistake.kind == MistakeKind::Always) {
            mistakes
        } else {
            errors.extend(mistakes.into_iter().map(Box::new).map(CompileError::Authored));
            Vec::new()
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let written = rules.into_iter().filter_map(|rule| {
            let file = files.get(rule.file)?.name.to_owned();
            let span = rule.span();
            let reason = rule.policy.annotation("reason").map(str::to_owned);
            Some((rule.id, Written { file, span, reason, text: rule.text }))
        });
        let written = written.collect();
        Ok(Self { slices, written, warnings, callers: crate::decide::Callers::default() })
    }

    /// What is odd about the hand-written policies, and keeps none of them from being in force.
    #[must_use]
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// The Cedar policies of a tool, as evaluated; `None` for a tool that no agent was granted.
    #[must_use]
    pub fn policies(&self, tool: &ToolName) -> Option<&str> {
        self.slices.get(tool).map(|slice| slice.policies_text.as_str())
    }

    /// The Cedar schema that a tool's policies were validated against; `None` for a tool that no
    /// agent was granted.
    #[must_use]
    pub fn schema(&self, tool: &ToolName) -> Option<&str> {
        self.slices.get(tool).map(|slice| slice.schema_text.as_str())
    }

    /// One policy of a tool as its text gives it; `None` if the tool has none of that id.
    #[must_use]
    pub fn policy(&self, tool: &ToolName, id: &str) -> Option<String> {
        let policy = self.slices.get(tool)?.policies.policy(&PolicyId::new(id))?;
        Some(policy.to_string())
    }

    /// What people wrote that bears on a tool: part of every decision about it. `None` if nothing
    /// does.
    #[must_use]
    pub fn written_digest(&self, tool: &ToolName) -> Option<Digest> {
        self.slices.get(tool)?.written
    }

    /// The files with hand-written policies that bear on a tool.
    pub fn files(&self, tool: &ToolName) -> impl Iterator<Item = &str> {
        let files = self.slices.get(tool).map(|slice| &slice.files);
        files.into_iter().flatten().map(String::as_str)
    }

    /// Where a hand-written policy stands: the name of its file, and where in it.
    #[must_use]
    pub fn written(&self, id: &str) -> Option<(&str, Range<usize>)> {
        self.written.get(id).map(|written| (written.file.as_str(), written.span.clone()))
    }

    /// Every hand-written policy, by its id.
    pub fn authored(&self) -> impl Iterator<Item = Authored<'_>> {
        self.written.iter().map(|(id, Written { file, reason, text, span: _ })| Authored {
            id,
            reason: reason.as_deref(),
            file,
            text,
        })
    }

    /// Whether a policy, by its id, bears on a tool.
    #[must_use]
    pub fn bears_on(&self, id: &str, tool: &ToolName) -> bool {
        self.slices
            .get(tool)
            .is_some_and(|slice| slice.policies.policy(&PolicyId::new(id)).is_some())
    }

    pub(crate) fn slice(&self, tool: &ToolName) -> Option<&Slice> {
        self.slices.get(tool)
    }

    /// Adds policies to a tool that no validator has seen, as a fault in compiling would.
    #[cfg(test)]
    pub(crate) fn with_unvalidated(mut self, tool: &str, policies: &str) -> Self {
        let tool = ToolName::new(tool).unwrap();
        let slice = self.slices.get_mut(&tool).unwrap();
        slice.policies_text.push_str(policies);
        slice.policies = parse(&tool, &slice.policies_text).unwrap();
        self
    }

    /// Evaluates every policy at every call, whoever calls.
    #[cfg(test)]
    pub(crate) fn without_caller_parts(mut self) -> Self {
        self.slices.values_mut().for_each(|slice| slice.caller_parts = PolicySet::new());
        self
    }
}

/// What is wrong with hand-written policies beside a posture that has mistakes itself: `posture` is what
/// of it is sound, and nothing is said that depends on what is `unknown`.
#[must_use]
pub fn mistakes(
    posture: &Posture,
    attributes: &[&str],
    files: &[PolicyFile<'_>],
    unknown: &Unknown,
) -> Vec<Mistake> {
    // What is wrong with a tool is told when it is compiled.
    let granted = granted(posture, &mut Vec::new());
    let (rules, mistakes) = authored::read(files);
    let mut trial = Trial::of(&rules, mistakes, (&granted, unknown));
    for (&name, (tool, agents)) in &granted {
        let rules = trial.bearing_on(tool);
        if rules.is_empty() {
            continue;
        }
        if let Ok((_, result)) = Slice::compile(tool, agents, attributes, &Bearing { rules, files })
        {
            trial.hear(name, &result);
        }
    }
    trial.mistakes()
}

/// The whole schema: all that a hand-written policy can speak of, for editors and Cedar's own tools.
#[must_use]
pub fn schema(posture: &Posture, attributes: &[&str]) -> String {
    let tools = granted(posture, &mut Vec::new());
    let mut sets: BTreeSet<String> = attributes.iter().map(|&name| name.to_owned()).collect();
    let mut actions = String::new();
    for (tool, _) in tools.values() {
        let reading = Reading::of(tool);
        sets.extend(reading.sets);
        actions.push_str(&text::action(tool, &reading.input, &reading.scopes));
    }
    text::ground(&sets) + &actions
}

/// The schema of one tool as [`Bundle::schema`] gives it, for policies that others wrote: with all of
/// `attributes`, and with the actions and groups that are `named`.
#[must_use]
pub fn schema_beside(tool: &Tool, attributes: &[&str], mut named: BTreeSet<String>) -> String {
    let Reading { input, bounds: _, scopes, mut sets } = Reading::of(tool);
    sets.extend(attributes.iter().map(|&name| name.to_owned()));
    named.remove(tool.name.as_str());
    text::ground(&sets) + &text::action(tool, &input, &scopes) + &text::actions_named(&named)
}

/// Every granted tool with the agents it was granted to.
pub(crate) type Granted<'a> = BTreeMap<&'a ToolName, (&'a Tool, BTreeSet<&'a AgentId>)>;

fn granted<'a>(posture: &'a Posture, errors: &mut Vec<CompileError>) -> Granted<'a> {
    let mut granted: BTreeMap<_, (&Tool, BTreeSet<_>)> = BTreeMap::new();
    for agent in posture.agents.values() {
        for Grant { tool, .. } in agent.grants.values() {
            let (first, agents) =
                granted.entry(&tool.name).or_insert_with(|| (tool, BTreeSet::new()));
            agents.insert(&agent.id);
            let same = first.input == tool.input
                && first.scope == tool.scope
                && first.effect == tool.effect;
            if !same {
                errors.push(CompileError::Ambiguous { tool: tool.name.clone() });
            }
        }
    }
    granted
}

/// What decides about one tool, with everything that a decision need not make anew.
#[derive(Debug)]
pub(crate) struct Slice {
    policies_text: String,
    schema_text: String,
    /// Each under the id that its text gives it.
    pub(crate) policies: PolicySet,
    /// Of those that people wrote, what the caller alone decides, under the same ids.
    pub(crate) caller_parts: PolicySet,
    /// What `context.input` holds.
    pub(crate) input: Record,
    /// The paths that `context.scope` may hold.
    pub(crate) scopes: Vec<String>,
    /// The attributes of the caller that are sets.
    pub(crate) sets: BTreeSet<String>,
    /// Whether the context holds who agreed.
    pub(crate) asks_who_agreed: bool,
    /// Who: always the same name, since a caller is known by its attributes.
    pub(crate) caller: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    /// The action and the groups it is in, if a policy asks for a group: no generated one does.
    pub(crate) grouped: Option<Entity>,
    /// Over the texts of the policies that people wrote, if there are any: no generated one asks for
    /// the time.
    pub(crate) written: Option<Digest>,
    /// The files that those are in.
    files: BTreeSet<String>,
}

/// The hand-written policies of one tool, and the files they are from.
struct Bearing<'a> {
    rules: Vec<&'a Rule>,
    files: &'a [PolicyFile<'a>],
}

impl Slice {
    /// The slice, and what Cedar's validator says of hand-written policies in it.
    fn compile(
        tool: &Tool,
        agents: &BTreeSet<&AgentId>,
        attributes: &[&str],
        Bearing { rules, files }: &Bearing<'_>,
    ) -> Result<(Self, ValidationResult), Vec<CompileError>> {
        let errors = misnamed(tool);
        if !errors.is_empty() {
            return Err(errors);
        }
        let Reading { input, bounds, scopes, mut sets } = Reading::of(tool);
        let generated = text::policies(tool, agents, &bounds);
        let mut policies = parse(&tool.name, &generated).map_err(|error| vec![error])?;
        let mut policies_text = generated;
        let mut caller_parts = PolicySet::new();
        let mut others = BTreeSet::new();
        let mut named = BTreeSet::new();
        for rule in rules {
            let file = files.get(rule.file).map(|file| file.name).unwrap_or_default();
            policies_text.push_str(&format!("\n// {file}\n{}\n", rule.text));
            named.insert(file.to_owned());
            others.extend(rule.mentioned.iter().cloned());
            let add = |set: &mut PolicySet, policy: &Policy| {
                set.add(policy.clone()).map_err(|error| vec![unreadable(&tool.name, &error)])
            };
            add(&mut policies, &rule.policy)?;
            if let Some(part) = &rule.caller_part {
                add(&mut caller_parts, part)?;
            }
        }
        others.remove(tool.name.as_str());
        if !rules.is_empty() {
            sets.extend(attributes.iter().map(|&name| name.to_owned()));
        }
        let schema_text = text::ground(&sets)
            + &text::action(tool, &input, &scopes)
            + &text::actions_named(&others);
        let result = validate(&tool.name, &policies, &schema_text)?;
        let uid = |kind: &str, id: &str| {
            let uid = format!("{kind}::{}", quote(id)).parse::<EntityUid>();
            uid.map_err(|error| vec![unreadable(&tool.name, &error)])
        };
        let action = uid("Action", tool.name.as_str())?;
        let groups = text::groups(tool.effect).iter().map(|group| uid("Action", group));
        let groups = groups.collect::<Result<_, _>>()?;
        let texts: Vec<_> = rules.iter().map(|rule| rule.text.as_bytes()).collect();
        let asked = rules.iter().any(|rule| rule.mentions_a_group());
        let grouped = asked.then(|| Entity::new_no_attrs(action.clone(), groups));
        let slice = Self {
            policies_text,
            schema_text,
            policies,
            caller_parts,
            input,
            scopes,
            sets,
            asks_who_agreed: text::asks_who_agreed(tool),
            caller: uid(CALLER, "caller")?,
            action,
            resource: uid(TOOL, tool.name.as_str())?,
            grouped,
            written: (!rules.is_empty()).then(|| Digest::of("countersign/policies/1", &texts)),
            files: named,
        };
        Ok((slice, result))
    }
}

/// What a tool says, as far as policy can speak of it.
struct Reading {
    input: Record,
    bounds: Vec<text::Rule>,
    scopes: Vec<String>,
    sets: BTreeSet<String>,
}

impl Reading {
    fn of(tool: &Tool) -> Self {
        let (mut input, bounds) = input::read(&tool.input);
        let mut scopes = Vec::new();
        let mut sets = BTreeSet::new();
        if text::asks_who_agreed(tool) {
            sets.insert(text::KNOWN_AS.to_owned());
        }
        for rule in &tool.scope {
            match rule {
                ScopeRule::Equals { path, .. }
                | ScopeRule::In { path, .. }
                | ScopeRule::Domains { path, .. } => scopes.push(path.to_string()),
                ScopeRule::Bind { name, .. } => input.bind(name),
            }
            if let Some(CallerRef::Attribute(name)) = rule.caller() {
                sets.insert(name.clone());
            }
        }
        Self { input, bounds, scopes, sets }
    }
}

/// Names that would mean two things in one policy.
fn misnamed(tool: &Tool) -> Vec<CompileError> {
    let mut errors = Vec::new();
    let declared = tool.input.get("properties");
    let mut bound = BTreeSet::new();
    for rule in &tool.scope {
        if let Some(CallerRef::Attribute(attribute)) = rule.caller()
            && CALLER_TEXTS.contains(&attribute.as_str())
        {
            let attribute = attribute.clone();
            errors.push(CompileError::ReservedAttribute { tool: tool.name.clone(), attribute });
        }
        if let ScopeRule::Bind { name, .. } = rule
            && (declared.is_some_and(|all| all.get(name).is_some()) || !bound.insert(name))
        {
            let argument = name.clone();
            errors.push(CompileError::BoundTwice { tool: tool.name.clone(), argument });
        }
    }
    errors
}

/// Reads policies and puts each under the id that its text gives it.
fn parse(tool: &ToolName, text: &str) -> Result<PolicySet, CompileError> {
    let numbered: PolicySet = text.parse().map_err(|error| unreadable(tool, &error))?;
    let mut named = PolicySet::new();
    for policy in numbered.policies() {
        let id = policy.annotation("id").unwrap_or_default();
        let policy = policy.new_id(PolicyId::new(id));
        if named.policy(policy.id()).is_some() {
            return Err(CompileError::Duplicate { tool: tool.clone(), policy: id.to_owned() });
        }
        named.add(policy).map_err(|error| unreadable(tool, &error))?;
    }
    Ok(named)
}

/// Has Cedar check policies against the schema, strictly. What it says of generated ones is a
/// defect; of others, for their trial.
fn validate(
    tool: &ToolName,
    policies: &PolicySet,
    schema: &str,
) -> Result<ValidationResult, Vec<CompileError>> {
    let schema = schema.parse::<Schema>().map_err(|error| vec![unreadable(tool, &error)])?;
    let result = Validator::new(schema).validate(policies, ValidationMode::Strict);
    let generated = result.validation_errors().filter(|error| is_generated(error.policy_id()));
    let errors: Vec<_> = generated
        .map(|error| CompileError::Invalid {
            tool: tool.clone(),
            policy: AsRef::<str>::as_ref(error.policy_id()).to_owned(),
            why: error.to_string(),
        })
        .collect();
    if errors.is_empty() { Ok(result) } else { Err(errors) }
}

/// The names of generated policies begin with their tool's, and a dot; no other name holds a dot.
fn is_generated(policy: &PolicyId) -> bool {
    AsRef::<str>::as_ref(policy).contains('.')
}

fn unreadable(tool: &ToolName, error: &dyn std::error::Error) -> CompileError {
    CompileError::Unreadable { tool: tool.clone(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{bound, bundle, closed, compile, equals, posture, tool, within};
    use countersign_core::tool::Effect;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn name(text: &str) -> ToolName {
        ToolName::new(text).unwrap()
    }

    fn errors(tool: Tool) -> Vec<String> {
        let errors = compile(&posture(&[("copilot", &[&Arc::new(tool)])])).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    fn empty() -> Value {
        closed(&json!({}), &[])
    }

    fn attribute(name: &str) -> CallerRef {
        CallerRef::Attribute(name.to_owned())
    }

    #[test]
    fn the_texts_say_all_there_is_to_a_tool() {
        let input = closed(
            &json!({
                "account_id": {"type": "string", "enum": ["acct_alpha", "acct_bravo"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 365},
                "urgent": {"type": "boolean"},
                "share": {"type": "number", "minimum": 0},
                "note": {"type": "string", "maxLength": 20},
                "parcel": closed(&json!({
                    "weight": {"type": "integer", "maximum": 30},
                    "size class": {"const": "s"},
                }), &["weight"]),
                "lines": {"type": "array", "items": closed(&json!({"n": {"type": "integer", "minimum": 1}}), &[])},
            }),
            &["days", "parcel"],
        );
        let scope = vec![
            equals("account_id", CallerRef::Tenant),
            within("depots[]", "depots"),
            within("depots[].on site", "odd claim"),
            bound("tenant", CallerRef::Tenant),
            bound("depot", attribute("depots")),
        ];
        let tool = Arc::new(tool("book", Effect::Persistent, input, scope));
        let bundle = compile(&posture(&[("ops", &[&tool]), ("copilot", &[&tool])])).unwrap();
        insta::assert_snapshot!("policies", bundle.policies(&name("book")).unwrap());
        insta::assert_snapshot!("schema", bundle.schema(&name("book")).unwrap());
    }

    #[test]
    fn the_texts_are_what_is_evaluated() {
        let input = closed(&json!({"days": {"type": "integer", "minimum": 1}}), &[]);
        let bundle = bundle(tool("usage", Effect::Irreversible, input, Vec::new()));
        let slice = bundle.slice(&name("usage")).unwrap();
        let text = bundle.policies(&name("usage")).unwrap();
        assert_eq!(slice.policies, parse(&name("usage"), text).unwrap());
        let ids: BTreeSet<String> = slice.policies.policies().map(|p| p.id().to_string()).collect();
        assert_eq!(
            ids,
            ["usage.bound.days", "usage.gate", "usage.grant"].map(str::to_owned).into()
        );
    }

    #[test]
    fn every_tool_that_cannot_be_compiled_is_named() {
        let scope = |attribute_name: &str| vec![within("a", attribute_name)];
        let first = Arc::new(tool("first", Effect::Read, empty(), scope("agent")));
        let second = Arc::new(tool("second", Effect::Read, empty(), scope("tenant")));
        let sound = Arc::new(tool("sound", Effect::Read, empty(), Vec::new()));
        let posture = posture(&[("copilot", &[&second, &sound, &first])]);
        let errors = compile(&posture).unwrap_err();
        let [CompileError::ReservedAttribute { tool, .. }, second] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert_eq!(tool.as_str(), "first");
        assert!(
            second
                .to_string()
                .starts_with("tool `second`: its scope compares with `caller.tenant`")
        );
    }

    #[test]
    fn names_that_would_mean_two_things_do_not_compile() {
        // Also where Cedar would not have seen the model's.
        let input = closed(&json!({"tenant": {"type": "number"}}), &[]);
        let twice = tool("book", Effect::Read, input, vec![bound("tenant", CallerRef::Tenant)]);
        assert_eq!(
            errors(twice),
            [
                "tool `book`: argument `tenant` is bound to the caller, so it must not stand in `input`"
            ]
        );
        let rules = vec![equals("a", CallerRef::Tenant), within("a", "depots")];
        assert_eq!(
            errors(tool("book", Effect::Read, empty(), rules)),
            ["tool `book`: two rules are called `book.scope.a`"]
        );
        let input = closed(
            &json!({"a.b": {"const": "x"}, "a": closed(&json!({"b": {"const": "x"}}), &[])}),
            &[],
        );
        assert_eq!(
            errors(tool("book", Effect::Read, input, Vec::new())),
            ["tool `book`: two rules are called `book.bound.a.b`"]
        );
    }

    #[test]
    fn one_name_for_two_different_tools_does_not_compile() {
        let make = |effect| Arc::new(tool("book", effect, empty(), Vec::new()));
        let (read, write, same) =
            (make(Effect::Read), make(Effect::Persistent), make(Effect::Read));
        assert!(compile(&posture(&[("a", &[&read]), ("b", &[&same])])).is_ok());
        let errors = compile(&posture(&[("a", &[&read]), ("b", &[&write])])).unwrap_err();
        assert!(matches!(&errors[..], [CompileError::Ambiguous { .. }]), "{errors:?}");
    }

    #[test]
    fn a_policy_that_does_not_fit_the_schema_is_named() {
        let bundle = bundle(tool("usage", Effect::Read, empty(), Vec::new()));
        let schema = bundle.schema(&name("usage")).unwrap();
        for condition in ["context.input.days > 1", "context.clearance == \"1\"", "principal.x"] {
            let text = format!(
                "@id(\"usage.bad\") forbid (principal, action, resource) when {{ {condition} }};"
            );
            let policies = parse(&name("usage"), &text).unwrap();
            let errors = validate(&name("usage"), &policies, schema).unwrap_err();
            let text = errors[0].to_string();
            assert!(
                text.starts_with("tool `usage`: policy `usage.bad` does not fit the tool: "),
                "{text}"
            );
        }
    }

    #[test]
    fn an_argument_of_any_name_compiles() {
        for odd in
            ["", " ", "in", "true", "__cedar", "é", "a\"b", "a\\", "__entity", "__extn", "\0"]
        {
            let input = closed(
                &json!({odd: {"enum": ["x"]}, "o": closed(&json!({odd: {"const": "x"}}), &[odd])}),
                &[odd],
            );
            bundle(tool("usage", Effect::Read, input, vec![bound("tenant", attribute(odd))]));
        }
    }
}
