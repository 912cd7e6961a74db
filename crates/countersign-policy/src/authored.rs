//! Policies that people write: `policies/*.cedar`, read and judged before they stand beside the
//! generated ones. They only ever narrow what the posture grants.

mod assume;
mod bearing;
mod depth;
mod outcome;
mod trial;

pub(crate) use trial::Trial;

use crate::text::{self, CALLER, TOOL};
use cedar_policy::{ActionConstraint, Effect, EntityUid, ParseErrors, Policy, PolicyId, PolicySet};
use countersign_core::bound::{REASON_BYTES_MAX, TOOL_NAME_BYTES_MAX};
use countersign_core::{screen, tool::Tool};
use miette::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Most hand-written policies that bear on one tool: each is evaluated at every call of it.
pub const POLICIES_PER_TOOL_MAX: usize = 64;
/// Most tools and groups that one policy names.
pub const NAMES_PER_POLICY_MAX: usize = 256;

/// A file of hand-written policies.
#[derive(Debug, Clone, Copy)]
pub struct PolicyFile<'a> {
    /// What it is called where policies are shown.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What is wrong with a hand-written policy, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// In which of the files, by its place in their list.
    pub file: usize,
    /// Byte offsets into its text.
    pub span: Range<usize>,
    /// Of what kind.
    pub kind: MistakeKind,
    /// One sentence, lower case, what was written in backticks.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// A name that leads nowhere, and those that it could have been.
    pub meant: Option<(String, Vec<String>)>,
}

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MistakeKind {
    /// It is not Cedar.
    Syntax,
    /// There is no policy in the file.
    Empty,
    /// It goes deeper than it can be evaluated.
    Depth,
    /// It has no id, or an annotation that means nothing here.
    Annotation,
    /// Another has its id.
    Duplicate,
    /// It permits.
    Permit,
    /// It names what does not exist.
    Name,
    /// A name in it looks like another.
    Lookalike,
    /// It does not fit the schema.
    Type,
    /// It can never match, or a comparison in it can only come out one way.
    Never,
    /// It forbids every call of its tools: a warning, and the policy is in force.
    Always,
    /// It errs whenever it is evaluated.
    Errs,
    /// More policies bear on a tool than may.
    TooMany,
}

/// One policy, sound by itself: it parses, forbids, has an id and names tools that exist.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Under its id.
    pub(crate) policy: Policy,
    pub(crate) id: String,
    /// As it was written.
    pub(crate) text: String,
    pub(crate) file: usize,
    /// Where it begins in its file.
    pub(crate) start: usize,
    /// The actions and groups that its scope names; `None` if it bears on every tool.
    names: Option<BTreeSet<String>>,
    /// The actions and groups that it names anywhere.
    pub(crate) mentioned: BTreeSet<String>,
    /// What of it the caller alone decides: [`bearing::caller_part`].
    pub(crate) caller_part: Option<Policy>,
}

impl Rule {
    /// Whether it bears on a tool.
    pub(crate) fn reaches(&self, tool: &Tool) -> bool {
        let name = std::iter::once(tool.name.as_str());
        let mut named = name.chain(text::groups(tool.effect).iter().copied());
        self.names.as_ref().is_none_or(|names| named.any(|name| names.contains(name)))
    }

    /// Whether it may bear on one of these tools, whatever they are.
    fn reaches_any(&self, tools: &BTreeSet<String>) -> bool {
        let reached = |name: &String| tools.contains(name) || text::GROUPS.contains(&name.as_str());
        !tools.is_empty() && self.names.as_ref().is_none_or(|names| names.iter().any(reached))
    }

    /// Whether it names a group of actions anywhere.
    pub(crate) fn mentions_a_group(&self) -> bool {
        text::GROUPS.iter().any(|group| self.mentioned.contains(*group))
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.start..self.start.saturating_add(self.text.len())
    }

    /// A mistake at the first place in it that reads `written`, else at its head.
    pub(crate) fn mistake(&self, written: &str, kind: MistakeKind, message: String) -> Mistake {
        let at = self.text.find(written).filter(|_| !written.is_empty());
        let (at, length) = match at {
            Some(at) => (at, written.len()),
            None => (0, self.text.lines().next().unwrap_or_default().len()),
        };
        let start = self.start.saturating_add(at);
        let span = start..start.saturating_add(length);
        Mistake { file: self.file, span, kind, message, help: None, meant: None }
    }

    /// A mistake in all that is said after the scope.
    pub(crate) fn of_conditions(&self, kind: MistakeKind, message: &str) -> Mistake {
        let mistake = self.mistake("", kind, message.to_owned());
        let first = ["when", "unless"].iter().filter_map(|word| depth::word_at(&self.text, word));
        let Some(first) = first.min() else { return mistake };
        let end = self.text.trim_end_matches(|c: char| c == ';' || c.is_whitespace()).len();
        let at = |place: usize| self.start.saturating_add(place);
        Mistake { span: at(first)..at(end.max(first)), ..mistake }
    }
}

impl Mistake {
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// What is there and not known: files with mistakes in them. Nothing is said that one of them could
/// make untrue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Tools that have a name and no more, or of which it is not known whether they are granted.
    pub tools: BTreeSet<String>,
    /// Whether agents are.
    pub agents: bool,
    /// Whether what a claim says of callers is.
    pub attributes: bool,
}

/// Reads every file, and says all that is wrong with policies by themselves.
pub(crate) fn read(files: &[PolicyFile<'_>]) -> (Vec<Rule>, Vec<Mistake>) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut mistakes = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let (policies, found) = parse(index, file.text);
        mistakes.extend(found);
        for mut rule in policies {
            let found = judge(&mut rule);
            let sound = found.is_empty();
            mistakes.extend(found);
            if rule.id.is_empty() {
                continue;
            }
            if let Some(first) = seen.get(&rule.id) {
                let message = format!("the policy `{}` is declared twice", rule.id);
                let mistake = rule.mistake("@id", MistakeKind::Duplicate, message);
                mistakes.push(mistake.help(format!("the other is in `{first}`")));
                continue;
            }
            seen.insert(rule.id.clone(), file.name);
            if sound {
                rules.push(rule);
            }
        }
    }
    (rules, mistakes)
}

/// The policies of one file, in order, with their texts; and what is wrong with the others.
fn parse(file: usize, text: &str) -> (Vec<Rule>, Vec<Mistake>) {
    let (mut rules, mut mistakes) = (Vec::new(), Vec::new());
    for Range { start, end } in depth::policies(text) {
        match parse_one(file, text.get(start..end).unwrap_or_default()) {
            Ok(rule) => rules.extend(rule.map(|rule| Rule { start, ..rule })),
            Err(found) => mistakes.extend(found.into_iter().map(|mistake| {
                let at = |place: usize| place.saturating_add(start);
                Mistake { span: at(mistake.span.start)..at(mistake.span.end), ..mistake }
            })),
        }
    }
    if rules.is_empty() && mistakes.is_empty() {
        let message = "the file holds no policy".to_owned();
        let (span, kind) = (0..0, MistakeKind::Empty);
        mistakes.push(Mistake { file, span, kind, message, help: None, meant: None });
    }
    (rules, mistakes)
}

/// One of them, whose text begins and ends with it.
fn parse_one(file: usize, text: &str) -> Result<Option<Rule>, Vec<Mistake>> {
    let mistake = |span, kind, message: &str| {
        let message = message.to_owned();
        Mistake { file, span, kind, message, help: None, meant: None }
    };
    if let Some(span) = depth::too_deep(text) {
        let message = "the policy goes deeper here than it can be evaluated";
        let mistake = mistake(span, MistakeKind::Depth, message);
        return Err(vec![mistake.help(
            "write several policies, each of which forbids by itself, or a list with `.contains(…)`",
        )]);
    }
    let policies: PolicySet =
        text.parse().map_err(|error: ParseErrors| said(&error, file, MistakeKind::Syntax))?;
    if let Some(template) = policies.templates().next() {
        let slot =
            if template.to_cedar().contains("?principal") { "?principal" } else { "?resource" };
        let start = text.find(slot).unwrap_or_default();
        let message = format!("`{slot}` makes this a template, and nothing fills it in");
        let span = start..start.saturating_add(slot.len());
        return Err(vec![mistake(span, MistakeKind::Syntax, &message)]);
    }
    let policy = policies.policies().next().cloned();
    Ok(policy.map(|policy| {
        let text = policy.to_cedar().unwrap_or_default();
        let (id, mentioned) = (String::new(), BTreeSet::new());
        Rule { policy, id, text, file, start: 0, names: None, mentioned, caller_part: None }
    }))
}

/// What Cedar says of a text, with everything that is related.
fn said(error: &dyn Diagnostic, file: usize, kind: MistakeKind) -> Vec<Mistake> {
    let related = error.related().into_iter().flatten();
    let rest: Vec<Mistake> = related.flat_map(|error| said(error, file, kind)).collect();
    let (span, expected) = labelled(error);
    let help = error.help().map(|help| help.to_string()).or(expected).map(|help| line(&help));
    let message = line(&error.to_string());
    let mistake = Mistake { file, span, kind, message, help, meant: None };
    std::iter::once(mistake).chain(rest).collect()
}

/// On one line: Cedar quotes a text that is not closed over all of its lines.
fn line(said: &str) -> String {
    said.replace('\r', "\\r").replace('\n', "\\n")
}

/// Where an error of Cedar's points, and what it says there.
pub(crate) fn labelled(error: &dyn Diagnostic) -> (Range<usize>, Option<String>) {
    let Some(label) = error.labels().and_then(|mut labels| labels.next()) else {
        return (0..0, None);
    };
    let span = label.offset()..label.offset().saturating_add(label.len());
    (span, label.label().map(str::to_owned))
}

/// What is wrong with one policy by itself. Gives it its id.
fn judge(rule: &mut Rule) -> Vec<Mistake> {
    let mut mistakes = annotations(rule);
    mistakes.extend(entities(rule));
    if rule.policy.effect() == Effect::Permit {
        let head = depth::word_at(&rule.text, "permit").unwrap_or_default();
        let start = rule.start.saturating_add(head);
        let span = start..start.saturating_add("permit".len());
        let message = "a hand-written policy may forbid, and not permit".to_owned();
        let mistake = rule.mistake("", MistakeKind::Permit, message);
        mistakes.push(Mistake { span, ..mistake }.help(
            "what is permitted is what an agent's file grants; write `forbid … unless { … }`",
        ));
    }
    let actions = rule.policy.entity_literals().into_iter().filter(is_action);
    rule.mentioned = actions.map(|uid| id(&uid).to_owned()).collect();
    if rule.mentioned.len() > NAMES_PER_POLICY_MAX {
        let message = format!("the policy names more than {NAMES_PER_POLICY_MAX} actions");
        let mistake = rule.mistake("", MistakeKind::TooMany, message);
        mistakes.push(mistake.help("name a group, or leave `action` alone to mean every tool"));
    }
    if let ActionConstraint::Eq(uid) = rule.policy.action_constraint()
        && text::GROUPS.contains(&id(&uid))
    {
        let message = format!("`{}` is a group, and no tool is one", id(&uid));
        let mistake = rule.mistake(&text::quote(id(&uid)), MistakeKind::Never, message);
        mistakes.push(mistake.help(format!("ask for it with `in`: `action in {uid}`")));
    }
    rule.names = match rule.policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(uid) => Some(BTreeSet::from([id(&uid).to_owned()])),
        ActionConstraint::In(uids) => Some(uids.iter().map(|uid| id(uid).to_owned()).collect()),
    };
    mistakes
}

const ANNOTATIONS: [&str; 2] = ["id", "reason"];

fn annotations(rule: &mut Rule) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut wrong = |written: &str, message: String, help: Option<&str>| {
        let mistake = rule.mistake(written, MistakeKind::Annotation, message);
        mistakes.push(Mistake { help: help.map(str::to_owned), ..mistake });
    };
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let id = rule.policy.annotation("id").unwrap_or_default().to_owned();
    if id.is_empty() {
        let help = "write `@id(\"…\")` before it: the name that refusals and records give it";
        wrong("", "the policy has no id".to_owned(), Some(help));
    } else if !id.chars().all(name) || id.len() > TOOL_NAME_BYTES_MAX {
        let message =
            format!("`@id` must be at most {TOOL_NAME_BYTES_MAX} letters, digits, `_` and `-`");
        wrong("@id", message, None);
    }
    if let Some(reason) = rule.policy.annotation("reason") {
        let hidden =
            screen::strip_hidden(&mut reason.into()) > 0 || reason.contains(char::is_control);
        if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || hidden {
            let message = format!("`@reason` must be a line of at most {REASON_BYTES_MAX} bytes");
            wrong("@reason", message, Some("the agent reads it when it is refused"));
        }
    }
    for (other, _) in rule.policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
        let message = format!("the annotation `@{other}` means nothing here");
        wrong(&format!("@{other}"), message, Some("the annotations are `@id` and `@reason`"));
    }
    rule.policy = rule.policy.new_id(PolicyId::new(&id));
    rule.caller_part = bearing::caller_part(&rule.policy);
    rule.id = id;
    mistakes
}

/// Only actions have names: a caller and a tool are known by what they are.
fn entities(rule: &Rule) -> Vec<Mistake> {
    let others = rule.policy.entity_literals().into_iter().filter(|uid| !is_action(uid));
    let mistake = |uid: EntityUid| {
        let message = format!("there is no entity `{uid}`");
        let help = match uid.type_name().to_string().as_str() {
            CALLER => {
                "callers are told apart by `principal.agent`, `principal.tenant` and the like"
            }
            TOOL => "name the tool as an action: `action == Action::\"…\"`",
            _ => "a policy names nothing but actions",
        };
        rule.mistake(&uid.to_string(), MistakeKind::Name, message).help(help)
    };
    others.map(mistake).collect()
}

fn is_action(uid: &EntityUid) -> bool {
    uid.type_name().to_string() == "Action"
}

fn id(uid: &EntityUid) -> &str {
    uid.id().as_ref()
}

#[cfg(test)]
mod tests;
