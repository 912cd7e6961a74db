//! Arguments that nobody may send: other tenants' and nobody's, of the wrong form, too much of them.

use super::Subject;
use super::written::{Drafted, Line};
use crate::sample::{Leaf, longest_by, put, written_by};
use countersign_core::scope::{ScopeRule, Step};
use countersign_posture::evals::{Caller, CaseKind};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Most values of other tenants that one place is tried with.
const FOREIGN_MAX: usize = 3;
/// Longest run of calls that a limit is tried with.
const CALLS_MAX: u32 = 120;
/// Most different arguments that are chosen for one case.
const CHOSEN_MAX: usize = 20;

const SQL: &str = "x' or '1'='1' --";
const TEMPLATE: &str = "{{7*7}}${7*7}<%= 7*7 %>";

impl Subject<'_, '_> {
    /// Identifiers of other tenants, and of nobody.
    pub(super) fn foreign(&mut self) {
        for leaf in self.leaves.clone() {
            if leaf.free() {
                continue;
            }
            if self.scoped(&leaf.path) {
                self.others(&leaf);
                self.invented(&leaf);
            } else if leaf.pattern().is_some() && leaf.required {
                self.public(&leaf);
            }
        }
    }

    fn others(&mut self, leaf: &Leaf) {
        for turn in 0..FOREIGN_MAX {
            let caller = self.turn();
            let Some(other) = self.other(leaf, &caller, turn) else { continue };
            let Some(arguments) = self.with(&caller, leaf, json!(other)) else { continue };
            let name = format!("foreign-{}-{other}", leaf.path);
            let shows = format!("`{}` of another is not the caller's to name.", leaf.path);
            self.try_this(
                (&name, shows, CaseKind::CrossTenant),
                &caller,
                (arguments, "out_of_scope"),
            );
        }
    }

    /// A value of somebody else's.
    fn other(&self, leaf: &Leaf, caller: &Caller, turn: usize) -> Option<String> {
        let own = self.tied_to(&leaf.path, caller);
        let listed =
            leaf.listed().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let mut others: Vec<String> = listed.collect();
        if others.is_empty() {
            let found = self.ground.samples.fitting(leaf).into_iter();
            others = found
                .filter(|(_, owner)| {
                    own.is_some() || owner.as_ref().is_some_and(|of| *of != caller.tenant)
                })
                .map(|(text, _)| text)
                .collect();
        }
        others.retain(|text| own.as_ref().is_none_or(|own| !own.contains(text)));
        // Far from one another, so that not all are of one tenant.
        let at = turn.checked_mul(others.len())?.checked_div(FOREIGN_MAX)?;
        others.get(at).cloned()
    }

    fn invented(&mut self, leaf: &Leaf) {
        let Some(invented) = leaf.pattern().and_then(written_by) else { return };
        let known: BTreeSet<_> =
            self.ground.samples.fitting(leaf).into_iter().map(|(text, _)| text).collect();
        let caller = self.turn();
        if known.contains(&invented) {
            return;
        }
        let Some(arguments) = self.with(&caller, leaf, json!(invented)) else { return };
        let name = format!("invented-{}", leaf.path);
        let shows = format!("A `{}` that nobody has reads like another's.", leaf.path);
        self.try_this((&name, shows, CaseKind::CrossTenant), &caller, (arguments, "out_of_scope"));
    }

    /// An identifier that anybody may name finds nothing of another's.
    fn public(&mut self, leaf: &Leaf) {
        let caller = self.turn();
        let found = self.ground.samples.fitting(leaf);
        // A date that only one happens to have is nobody's.
        let telling = |text: &str| crate::own::words(text).next() == Some(text);
        let other = found.into_iter().find(|(text, owner)| {
            telling(text) && owner.as_ref().is_some_and(|of| *of != caller.tenant)
        });
        let Some((other, _)) = other else { return };
        let Some(arguments) = self.with(&caller, leaf, json!(other)) else { return };
        if self.gated() {
            return;
        }
        let tool = self.tool.name.as_str();
        let script = vec![Line::call(tool, arguments, "completed").with("rows: 0")];
        let name = format!("public-{}-{other}", leaf.path);
        let shows = format!("`{}` of another may be named, and finds nothing.", leaf.path);
        let drafted = Drafted::new((&name, shows, CaseKind::CrossTenant), &caller, script);
        self.push(drafted);
    }

    /// The caller's own arguments with another value in one place.
    fn with(&self, caller: &Caller, leaf: &Leaf, value: Value) -> Option<Map<String, Value>> {
        let mut arguments = self.ground.samples.own(self.tool, caller)?;
        put(&mut arguments, &leaf.steps, value);
        Some(arguments)
    }

    /// Wrong types, values beyond their bounds and at them, and what a parser further on might take for
    /// its own.
    pub(super) fn malformed(&mut self) {
        for leaf in self.leaves.clone() {
            let scoped = self.scoped(&leaf.path);
            for (what, value, fits) in variants(&leaf) {
                // What fits, and is nobody's, is another's as well as anybody's.
                if fits && scoped {
                    continue;
                }
                let caller = self.turn();
                let Some(arguments) = self.with(&caller, &leaf, value) else { continue };
                let end = match fits {
                    true => self.allowed_end(),
                    // Of a scoped place it is not told whether it was the form or whose it is.
                    false if scoped => "refused",
                    false => "invalid_arguments",
                };
                let name = format!("{what}-{}", leaf.path);
                let shows = format!(
                    "{} of `{}` is {}.",
                    sentence(what),
                    leaf.path,
                    if fits { "taken" } else { "refused" }
                );
                self.try_this((&name, shows, CaseKind::Malformed), &caller, (arguments, end));
            }
        }
        self.members();
        self.lists();
    }

    /// Keys that nobody declared, and declared ones that are not there.
    fn members(&mut self) {
        let bound = self.tool.scope.iter().filter_map(|rule| match rule {
            ScopeRule::Bind { name, .. } => Some(name.clone()),
            _ => None,
        });
        let mut extra: Vec<(String, Value)> =
            bound.map(|name| (name, json!("acct_other"))).collect();
        extra.extend([
            ("approved".to_owned(), json!(true)),
            ("__proto__".to_owned(), json!({ "tenant": "x" })),
        ]);
        for (key, value) in extra {
            let caller = self.turn();
            let Some(mut arguments) = self.ground.samples.own(self.tool, &caller) else { continue };
            // What is bound from the token is told from what the caller has.
            let value =
                if value == json!("acct_other") { json!(self.another(&caller)) } else { value };
            arguments.insert(key.clone(), value);
            let name = format!("extra-{key}");
            let shows = format!("`{key}` is no argument of this tool.");
            self.try_this(
                (&name, shows, CaseKind::Malformed),
                &caller,
                (arguments, "invalid_arguments"),
            );
        }
        let members = self.leaves.iter().filter(|leaf| leaf.required).flat_map(|leaf| {
            let steps = (1..=leaf.steps.len()).filter_map(|end| leaf.steps.get(..end));
            steps
                .filter(|steps| matches!(steps.last(), Some(Step::Member(_))))
                .map(<[Step]>::to_vec)
        });
        let members: BTreeSet<_> = members.collect();
        for steps in members {
            let caller = self.turn();
            let Some(mut arguments) = self.ground.samples.own(self.tool, &caller) else { continue };
            without(&mut arguments, &steps);
            let names = steps.iter().filter_map(|step| match step {
                Step::Member(name) => Some(name.as_str()),
                Step::Each => None,
            });
            let key = names.collect::<Vec<_>>().join(".");
            let name = format!("without-{key}");
            let shows = format!("Without `{key}` nothing is called.");
            self.try_this(
                (&name, shows, CaseKind::Malformed),
                &caller,
                (arguments, "invalid_arguments"),
            );
        }
    }

    fn another(&self, caller: &Caller) -> String {
        let others = self.ground.tenants.iter().find(|tenant| **tenant != caller.tenant);
        others.cloned().unwrap_or_else(|| "somebody-else".to_owned())
    }

    /// Lists that are empty, or longer than they may be.
    fn lists(&mut self) {
        let properties = self.tool.input.get("properties").and_then(Value::as_object).cloned();
        for (name, schema) in properties.into_iter().flatten() {
            let most = schema.get("maxItems").and_then(Value::as_u64);
            let Some(most) =
                most.and_then(|most| usize::try_from(most).ok()).filter(|most| *most < 500)
            else {
                continue;
            };
            for (what, count) in [("empty", 0), ("too-many", most.saturating_add(1))] {
                if count == 0 && schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) == 0 {
                    continue;
                }
                let caller = self.turn();
                let Some(mut arguments) = self.ground.samples.own(self.tool, &caller) else {
                    continue;
                };
                let one =
                    arguments.get(&name).and_then(|list| list.get(0)).cloned().unwrap_or_default();
                arguments.insert(name.clone(), Value::Array(vec![one; count]));
                let case = format!("{what}-{name}");
                let shows = format!("A list of {count} for `{name}` is refused.");
                self.try_this(
                    (&case, shows, CaseKind::Malformed),
                    &caller,
                    (arguments, "invalid_arguments"),
                );
            }
        }
    }

    /// The loop breaker and the limits by the minute.
    pub(super) fn limits(&mut self) {
        let caller = self.turn();
        let Some(arguments) = self.ground.samples.own(self.tool, &caller) else { return };
        let grant = self.agent.grants.get(&self.tool.name);
        let tool = self.tool.name.as_str();
        let end = self.allowed_end();
        let alike = self.agent.limits.identical_per_minute;
        let minutes = [
            self.agent.limits.per_minute,
            grant.and_then(|grant| grant.limits.per_minute),
            self.tool.limits.per_minute,
            self.ground.loaded.posture.tenant_limits.per_minute,
        ];
        let minute = minutes.into_iter().flatten().min();
        // Gated calls that are alike meet their draft, which is asked about and not made again.
        if let Some(alike) =
            alike.filter(|alike| minute.is_none_or(|minute| *alike < minute) && !self.gated())
        {
            let script = vec![
                Line::call(tool, arguments.clone(), end).with(&format!("times: {alike}")),
                Line::call(tool, arguments.clone(), "rate_limited"),
            ];
            let shows = format!("The same call is not made more than {alike} times a minute.");
            let mut drafted = Drafted::new(("loop", shows, CaseKind::Limits), &caller, script);
            drafted.executed(tool, alike);
            self.push(drafted);
        }
        let Some(minute) = minute.filter(|minute| *minute <= CALLS_MAX) else { return };
        let calls = match self.varied(&arguments) {
            Some(varied) => self.counted(minute, varied),
            None => self.chosen(minute, &caller, alike),
        };
        // None of them is one too many of its own kind.
        let most = calls.iter().map(|(alike, ..)| *alike).max();
        let Some(most) = most else { return };
        if alike.is_some_and(|alike| most >= alike) {
            return;
        }
        let mut script: Vec<_> = calls
            .into_iter()
            .enumerate()
            .map(|(at, (_, arguments, times))| {
                let line = Line::call(tool, arguments, end);
                let line = if times == 1 { line } else { line.with(&format!("times: {times}")) };
                match at {
                    0 => line,
                    at => line.with(&format!("caller: {{ session: s{at} }}")),
                }
            })
            .collect();
        // A new session is no new minute.
        let last = Line::call(tool, arguments, "rate_limited");
        script.push(last.with("caller: { session: another }"));
        let shows = format!("No more than {minute} calls a minute, in whatever session.");
        let drafted = Drafted::new(("minute", shows, CaseKind::Limits), &caller, script);
        self.push(drafted);
    }

    /// So many calls of which a number goes up, in as many sessions as they need: how many are alike,
    /// arguments and calls of each session.
    fn counted(&self, calls: u32, (varied, leaf): (Map<String, Value>, Leaf)) -> Vec<Alike> {
        let most = leaf.number("maximum").and_then(|most| u32::try_from(most).ok());
        let sessions = [self.agent.limits.per_session, self.tool.limits.per_session, most];
        let at_once = sessions.into_iter().flatten().min().unwrap_or(calls).max(1);
        let rounds = calls.div_ceil(at_once);
        let of = |round: u32| calls.saturating_sub(round.saturating_mul(at_once)).min(at_once);
        (0..rounds).map(|round| (rounds, varied.clone(), of(round))).collect()
    }

    /// So many calls with several arguments that may be the caller's, none so often that it is one too many
    /// of its own kind.
    fn chosen(&self, calls: u32, caller: &Caller, alike: Option<u32>) -> Vec<Alike> {
        let each = alike.map_or(calls, |alike| alike.saturating_sub(1)).max(1);
        let wanted = usize::try_from(calls.div_ceil(each)).unwrap_or(usize::MAX);
        if wanted > CHOSEN_MAX {
            return Vec::new();
        }
        let all = self.ground.samples.different((self.tool, caller), wanted);
        let Ok(count @ 1..) = u32::try_from(all.len()) else { return Vec::new() };
        let rounds = calls.div_ceil(count);
        let session = self.agent.limits.per_session;
        if session.is_some_and(|session| rounds > session) {
            return Vec::new();
        }
        let of = |at: u32| calls.saturating_sub(at).div_ceil(count);
        all.into_iter().zip(0..).map(|(arguments, at)| (rounds, arguments, of(at))).collect()
    }

    /// The same arguments with a number that goes up, so that no two calls are alike.
    fn varied(&self, arguments: &Map<String, Value>) -> Option<(Map<String, Value>, Leaf)> {
        let numbered = |leaf: &&Leaf| {
            leaf.is("integer")
                && leaf.number("minimum").unwrap_or(1) <= 1
                && !self.scoped(&leaf.path)
                && leaf.listed().is_none()
                && !leaf.steps.contains(&Step::Each)
        };
        let counted = self.leaves.iter().find(numbered);
        let worded = || self.leaves.iter().find(|leaf| leaf.free() && leaf.required);
        let one = worded().or(counted)?;
        let mut varied = arguments.clone();
        let value = if one.is("integer") { "{n}" } else { "number {n}" };
        put(&mut varied, &one.steps, json!(value));
        Some((varied, one.clone()))
    }
}

/// How many calls of a script are alike, arguments, and how often they are sent in a session.
type Alike = (u32, Map<String, Value>, u32);

/// Takes out what a path leads to.
fn without(arguments: &mut Map<String, Value>, steps: &[Step]) {
    let Some((Step::Member(first), rest)) = steps.split_first() else { return };
    if rest.is_empty() {
        arguments.remove(first);
        return;
    }
    let mut inner = arguments.get_mut(first);
    let mut rest = rest;
    while let Some((Step::Each, after)) = rest.split_first() {
        inner = inner.and_then(|list| list.get_mut(0));
        rest = after;
    }
    if let Some(Value::Object(members)) = inner {
        without(members, rest);
    }
}

fn sentence(what: &str) -> String {
    let mut words = what.replace('-', " ");
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// What is tried in one place: a word for it, the value, and whether it fits.
fn variants(leaf: &Leaf) -> Vec<(&'static str, Value, bool)> {
    let kind = leaf.schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut found = vec![
        ("null", Value::Null, false),
        ("object-in-place", json!({ "$ne": null }), false),
        ("list-in-place", json!([]), false),
    ];
    match kind {
        "string" => found.extend(texts(leaf)),
        "integer" | "number" => found.extend(numbers(leaf, kind == "integer")),
        "boolean" => found.push(("text-in-place", json!("true"), false)),
        _ => {}
    }
    found
}

fn texts(leaf: &Leaf) -> Vec<(&'static str, Value, bool)> {
    let free = leaf.free();
    let most = leaf.number("maxLength").and_then(|most| usize::try_from(most).ok());
    let room = |text: &str| free && most.is_none_or(|most| text.chars().count() <= most);
    let mut found = vec![
        ("number-in-place", json!(7), false),
        ("long", json!("x".repeat(5_000)), room(&"x".repeat(5_000))),
    ];
    if let Some(most) = most.filter(|most| free && *most < 5_000) {
        found.push(("longest", json!("x".repeat(most)), true));
        found.push(("longer", json!("x".repeat(most.saturating_add(1))), false));
    }
    let least = leaf.number("minLength").and_then(|least| usize::try_from(least).ok());
    if let Some(least) = least.filter(|least| free && *least > 0) {
        found.push(("shorter", json!("x".repeat(least.saturating_sub(1))), false));
    }
    if leaf.pattern().is_none() {
        found.push(("sql", json!(SQL), room(SQL)));
        found.push(("template", json!(TEMPLATE), room(TEMPLATE)));
    }
    if free {
        return found;
    }
    let own = leaf.listed().and_then(|listed| listed.first()?.as_str().map(str::to_owned));
    let own = own.or_else(|| leaf.pattern().and_then(written_by));
    if let Some(own) = own {
        found.push(("quote", json!(format!("{own}' or '1'='1")), false));
        found.push(("hidden", json!(format!("{own}\u{200b}")), false));
        found.push(("line-end", json!(format!("{own}\n")), false));
        let alike = own.replacen(['a', 'e', 'o', 'c', 'p'], "\u{0430}", 1);
        if alike != own {
            found.push(("look-alike", json!(alike), false));
        }
        let upper = if own.contains(|c: char| c.is_ascii_lowercase()) {
            own.to_uppercase()
        } else {
            own.to_lowercase()
        };
        if upper != own {
            found.push(("other-case", json!(upper), false));
        }
    }
    // A pattern may be wide: what it takes is no mistake.
    if let Some(form) = leaf.pattern().and_then(|pattern| regex::Regex::new(pattern).ok()) {
        found.retain(|(_, value, _)| value.as_str().is_none_or(|text| !form.is_match(text)));
        found.extend(counted(leaf, &form));
    }
    found
}

/// A pattern that counts has bounds as well: a text as long as it lets it be, and a longer one.
fn counted(leaf: &Leaf, form: &regex::Regex) -> Vec<(&'static str, Value, bool)> {
    let longest = leaf.pattern().and_then(longest_by);
    let Some(longest) =
        longest.filter(|text| leaf.pattern().and_then(written_by) != Some(text.clone()))
    else {
        return Vec::new();
    };
    let longer: String = longest.chars().chain(longest.chars().last()).collect();
    let mut found = vec![("longest", json!(longest), true)];
    if !form.is_match(&longer) {
        found.push(("longer", json!(longer), false));
    }
    found
}

fn numbers(leaf: &Leaf, whole: bool) -> Vec<(&'static str, Value, bool)> {
    let mut found = vec![("text-in-place", json!("1"), false)];
    if whole {
        found.push(("fraction", json!(1.5), false));
    }
    if let Some(least) = leaf.number("minimum") {
        found.push(("least", json!(least), true));
        found.push(("below", json!(least.saturating_sub(1)), false));
    }
    if let Some(most) = leaf.number("maximum") {
        found.push(("above", json!(most.saturating_add(1)), false));
        found.push(("far-above", json!(9_007_199_254_740_991_i64), most >= 9_007_199_254_740_991));
    }
    found
}
