//! Hand-written policies against the posture they are to narrow: which tools each bears on, what
//! Cedar finds there, and whether it can ever match.

use super::assume::{self, Verdict};
use super::outcome::{self, Comparison, Domain, Known};
use super::{Mistake, MistakeKind, POLICIES_PER_TOOL_MAX, Rule, Unknown, labelled};
use crate::bundle::Granted;
use crate::text::{GROUPS, quote};
use cedar_policy::{PolicyId, ValidationResult, ValidationWarning};
use countersign_core::{id::ToolName, tool::Tool};
use miette::Diagnostic;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How Cedar begins to say that an argument may be left out.
const OPTIONAL: &str = "unable to guarantee safety of access to optional attribute ";
/// What Cedar says of an attribute that is a caller's.
const OF_CALLERS: &str = "on entity type `Caller`";
/// How a caller comes by attributes.
const ATTRIBUTES: &str =
    "what a claim says has its name under `identity.attributes` in `posture.yaml`";
/// Most names that a message lists.
const NAMES_SHOWN_MAX: usize = 10;

/// What is known so far of each policy.
pub(crate) struct Trial<'a> {
    granted: &'a Granted<'a>,
    unknown: &'a Unknown,
    heard: BTreeMap<&'a str, Heard<'a>>,
    mistakes: Vec<Mistake>,
}

struct Heard<'a> {
    rule: &'a Rule,
    /// The policy as Cedar writes it in JSON.
    json: Value,
    tools: Vec<Known<'a>>,
    /// Those at which Cedar finds that it cannot match.
    impossible: BTreeSet<&'a ToolName>,
    /// By place: what Cedar says there, and for how many of the tools.
    faults: BTreeMap<(usize, usize), (Mistake, usize)>,
}

impl<'a> Trial<'a> {
    /// Only policies that name nothing but what is there take part.
    pub(crate) fn of(
        rules: &'a [Rule],
        mistakes: Vec<Mistake>,
        (granted, unknown): (&'a Granted<'a>, &'a Unknown),
    ) -> Self {
        let mut trial = Self { granted, unknown, heard: BTreeMap::new(), mistakes };
        let names: BTreeSet<&str> = granted.keys().map(|tool| tool.as_str()).collect();
        for rule in rules {
            let leads_nowhere = rule.mentioned.iter().filter(|name| {
                let there = names.contains(name.as_str()) || unknown.tools.contains(*name);
                !there && !GROUPS.contains(&name.as_str())
            });
            let leads_nowhere: Vec<&String> = leads_nowhere.collect();
            if leads_nowhere.is_empty() {
                let json = rule.policy.to_json().unwrap_or_default();
                let tools = Vec::new();
                let heard = Heard {
                    rule,
                    json,
                    tools,
                    impossible: BTreeSet::new(),
                    faults: BTreeMap::new(),
                };
                trial.heard.insert(&rule.id, heard);
            }
            for name in leads_nowhere {
                let message = format!("no agent is granted a tool `{name}`");
                let mistake = rule.mistake(&quote(name), MistakeKind::Name, message);
                let known = names.iter().copied().chain(unknown.tools.iter().map(String::as_str));
                let known = known.chain(GROUPS).map(str::to_owned).collect();
                trial.mistakes.push(Mistake { meant: Some((name.clone(), known)), ..mistake });
            }
        }
        trial
    }

    /// The policies that bear on a tool, in the order of their names.
    pub(crate) fn bearing_on(&mut self, tool: &'a Tool) -> Vec<&'a Rule> {
        let Some((_, agents)) = self.granted.get(&tool.name) else { return Vec::new() };
        let mut rules = Vec::new();
        for heard in self.heard.values_mut().filter(|heard| heard.rule.reaches(tool)) {
            heard.tools.push(Known { tool, agents });
            if rules.len() < POLICIES_PER_TOOL_MAX {
                rules.push(heard.rule);
                continue;
            }
            let message = format!(
                "more than {POLICIES_PER_TOOL_MAX} policies bear on `{}`, and each is evaluated at every call",
                tool.name
            );
            let mistake = heard.rule.mistake("", MistakeKind::TooMany, message);
            heard.faults.insert((0, 0), (mistake, 0));
        }
        rules
    }

    /// Takes in what Cedar's validator says of the policies of one tool.
    pub(crate) fn hear(&mut self, tool: &'a ToolName, result: &ValidationResult) {
        for error in result.validation_errors() {
            self.note(error.policy_id(), error, MistakeKind::Type);
        }
        for warning in result.validation_warnings() {
            match warning {
                ValidationWarning::ImpossiblePolicy(_) => {
                    if let Some(heard) = self.heard.get_mut(name(warning.policy_id())) {
                        heard.impossible.insert(tool);
                    }
                }
                // That no action applies is told as what it means: the policy can never match.
                ValidationWarning::InvalidActionApplication(_) => {}
                // Scripts mixed or reversed. The list is open: what is new counts as the same.
                ValidationWarning::MixedScriptString(_)
                | ValidationWarning::BidiCharsInString(_)
                | ValidationWarning::BidiCharsInIdentifier(_)
                | ValidationWarning::MixedScriptIdentifier(_)
                | ValidationWarning::ConfusableIdentifier(_)
                | _ => self.note(warning.policy_id(), warning, MistakeKind::Lookalike),
            }
        }
    }

    fn note(&mut self, policy: &PolicyId, said: &dyn Diagnostic, kind: MistakeKind) {
        let Some(heard) = self.heard.get_mut(name(policy)) else { return };
        if self.unknown.attributes && said.to_string().contains(OF_CALLERS) {
            return;
        }
        // Cedar counts from where the policy begins.
        let (Range { start, end }, _) = labelled(said);
        let at = |place: usize| place.saturating_add(heard.rule.start);
        let (start, end) = (at(start), at(end));
        let plain = |text: String| {
            let prefix = format!("for policy `{}`, ", name(policy));
            text.strip_prefix(&prefix).map(str::to_owned).unwrap_or(text)
        };
        let (_, count) = heard.faults.entry((start, end)).or_insert_with(|| {
            let message = plain(said.to_string());
            let message = match message.strip_prefix(OPTIONAL) {
                Some(what) => format!("{what} may be missing"),
                None => message,
            };
            let message = message.replace("Set<__cedar::internal::Any>", "a set");
            let attribute = message.contains(OF_CALLERS);
            let help = said.help().map(|help| plain(help.to_string()));
            let help = match help {
                Some(help) if attribute => Some(format!("{help} {ATTRIBUTES}")),
                None if attribute => Some(ATTRIBUTES.to_owned()),
                help => help,
            };
            let file = heard.rule.file;
            (Mistake { file, span: start..end, kind, message, help, meant: None }, 0)
        });
        *count = count.saturating_add(1);
    }

    /// Everything that is wrong, in the order of the files.
    pub(crate) fn mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes;
        for heard in self.heard.into_values() {
            mistakes.extend(heard.verdict(self.unknown));
        }
        mistakes.sort_by_key(|mistake| (mistake.file, mistake.span.start, mistake.kind));
        mistakes
    }
}

fn name(policy: &PolicyId) -> &str {
    policy.as_ref()
}

impl Heard<'_> {
    fn verdict(self, unknown: &Unknown) -> Vec<Mistake> {
        let Self { rule, json, tools, impossible, faults } = self;
        let head = |kind, message: &str| rule.mistake("", kind, message.to_owned());
        // What does not fit one tool is wrong whatever the others are; the rest needs all of them.
        let whole = !unknown.agents && !unknown.attributes && !rule.reaches_any(&unknown.tools);
        if !whole && faults.is_empty() {
            return Vec::new();
        }
        if tools.is_empty() {
            let message = "no agent is granted a tool that this policy is about";
            return vec![head(MistakeKind::Never, message).help("add it once there is one")];
        }
        if !faults.is_empty() {
            let total = if whole { tools.len() } else { 0 };
            return faults.into_values().map(|(fault, count)| among(fault, count, total)).collect();
        }
        let mistakes = dead(rule, &json, &tools);
        if !mistakes.is_empty() {
            return mistakes;
        }
        if let Some(error) = outcome::erring(&json) {
            return vec![head(MistakeKind::Errs, &format!("the policy always errs: {error}"))];
        }
        let verdict = |known: &Known<'_>| {
            let verdict = assume::judge(&json, *known);
            let never = verdict == Verdict::Open && impossible.contains(&known.tool.name);
            if never { Verdict::Never } else { verdict }
        };
        let verdicts: BTreeSet<Verdict> = tools.iter().map(verdict).collect();
        if verdicts.contains(&Verdict::Open) {
            return Vec::new();
        }
        if verdicts == BTreeSet::from([Verdict::Always]) {
            let message = "the policy forbids every call of the tools that it bears on";
            return vec![rule.of_conditions(MistakeKind::Always, message).help(
                "if nobody is to call them, take the grants away; else say `when` or `unless`",
            )];
        }
        if verdicts == BTreeSet::from([Verdict::Errs]) {
            let message = "the policy always errs: a number in it is beyond what Cedar can count";
            return vec![rule.of_conditions(MistakeKind::Errs, message)];
        }
        if !verdicts.contains(&Verdict::Always) {
            let message = "the policy can never match: its conditions are never all met";
            let mistake = rule.of_conditions(MistakeKind::Never, message);
            return vec![match settled(&json, &tools) {
                Some(help) => mistake.help(help),
                None => mistake,
            }];
        }
        Vec::new()
    }
}

/// What some tools have and others do not is no slip of the pen.
fn among(fault: Mistake, count: usize, total: usize) -> Mistake {
    let missing = fault.message.contains(" in context ") && fault.message.ends_with(" not found");
    if !missing || count >= total {
        return fault;
    }
    fault.help(format!(
        "{count} of the {total} tools that the policy bears on have none: name those it is for with `action in […]`, or ask with `has` first"
    ))
}

/// Comparisons with what a thing never is, at any of the tools.
fn dead(rule: &Rule, json: &Value, tools: &[Known<'_>]) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for comparison in outcome::comparisons(json) {
        let domains: Vec<Domain> =
            tools.iter().map(|known| known.domain(&comparison.path)).collect();
        let there = || domains.iter().filter(|domain| **domain != Domain::Absent);
        if there().next().is_none() || there().any(|domain| comparison.can_be(domain)) {
            continue;
        }
        let mistake = never_equal(rule, &comparison, &domains);
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
    mistakes
}

/// What settles a comparison in a policy at every tool: `context.input.days` is from 1 to 365.
fn settled(json: &Value, tools: &[Known<'_>]) -> Option<String> {
    outcome::comparisons(json).into_iter().find_map(|comparison| {
        let domains: Vec<_> = tools.iter().map(|known| known.domain(&comparison.path)).collect();
        let settled = domains.iter().all(|domain| comparison.outcome(domain).is_some());
        let path = comparison.path.join(".");
        settled.then(|| format!("`{path}` is {}", listed(&domains)))
    })
}

/// What a thing can be, at any of the tools.
fn listed(domains: &[Domain]) -> String {
    let ranges = domains.iter().filter_map(|domain| match domain {
        Domain::Range(from, to) => Some(format!("from {from} to {to}")),
        Domain::Except(_) => Some("not empty".to_owned()),
        Domain::Absent | Domain::Any | Domain::Texts(_) => None,
    });
    let texts = texts(domains);
    let all: BTreeSet<String> =
        texts.iter().map(|text| format!("`{text}`")).chain(ranges).collect();
    let shown: Vec<String> = all.into_iter().take(NAMES_SHOWN_MAX).collect();
    shown.join(" or ")
}

fn never_equal(rule: &Rule, comparison: &Comparison<'_>, domains: &[Domain]) -> Mistake {
    let Comparison { path, literal, .. } = comparison;
    let shown = path.join(".");
    let written = match literal.as_str() {
        Some(text) => quote(text),
        None => literal.to_string(),
    };
    if path == &["principal", "agent"] {
        let name = literal.as_str().unwrap_or_default().to_owned();
        let message = format!("no agent `{name}` is granted what this policy is about");
        let mistake = rule.mistake(&written, MistakeKind::Name, message);
        return Mistake { meant: Some((name, texts(domains).into_iter().collect())), ..mistake };
    }
    let message = format!("`{shown}` is never `{written}`");
    let mistake = rule.mistake(&written, MistakeKind::Never, message);
    let meant =
        literal.as_str().map(|text| (text.to_owned(), texts(domains).into_iter().collect()));
    Mistake { meant, ..mistake }.help(format!("it is {}", listed(domains)))
}

fn texts(domains: &[Domain]) -> BTreeSet<String> {
    let texts = domains.iter().filter_map(|domain| match domain {
        Domain::Texts(texts) => Some(texts.iter().cloned()),
        Domain::Absent | Domain::Any | Domain::Except(_) | Domain::Range(..) => None,
    });
    texts.flatten().collect()
}
