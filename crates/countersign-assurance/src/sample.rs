//! Arguments that fit a tool: of the caller's own, of others, and of nobody. Taken from the data of the
//! copies, and from the posture alone where there is none.

use crate::plant::{bound, written_out};
use crate::world::{self, Owned};
use countersign_core::scope::{ArgumentPath, Asks, LookUp, ScopeRule, Step, VALUE};
use countersign_core::tool::{Plan, Tool};
use countersign_posture::evals::{Caller, CannedAnswer};
use regex::Regex;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Most values of one form that are tried.
const TRIED_MAX: usize = 400;

/// What the copies hold, to take values from.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    /// By system.
    pub(crate) databases: BTreeMap<String, (&'a Connection, &'a Owned)>,
    pub(crate) answers: &'a [CannedAnswer],
    /// Every text, and whose it is.
    texts: RefCell<Option<Texts>>,
    /// What was found for a form, and for a tool and a caller.
    fitting: RefCell<BTreeMap<String, Texts>>,
    own: RefCell<BTreeMap<String, Option<Map<String, Value>>>>,
}

type Texts = Vec<(String, Option<String>)>;

/// One value that a tool takes.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// As a scope rule writes it.
    pub(crate) path: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) schema: Map<String, Value>,
    /// Whether a call without it does not fit.
    pub(crate) required: bool,
}

impl Leaf {
    pub(crate) fn is(&self, of: &str) -> bool {
        self.schema.get("type").and_then(Value::as_str) == Some(of)
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.schema.get(key).and_then(Value::as_i64)
    }

    pub(crate) fn pattern(&self) -> Option<&str> {
        self.schema.get("pattern").and_then(Value::as_str)
    }

    pub(crate) fn listed(&self) -> Option<&Vec<Value>> {
        self.schema.get("enum").and_then(Value::as_array)
    }

    /// Whether anything may be sent: no list, no form.
    pub(crate) fn free(&self) -> bool {
        self.is("string")
            && ["enum", "const", "pattern", "format"]
                .iter()
                .all(|key| !self.schema.contains_key(*key))
    }
}

/// Every value that a tool takes, at any depth.
pub(crate) fn leaves(tool: &Tool) -> Vec<Leaf> {
    let mut found = Vec::new();
    walk(&tool.input, (String::new(), Vec::new(), true), &mut found);
    found
}

fn walk(
    schema: &Map<String, Value>,
    (path, steps, needed): (String, Vec<Step>, bool),
    found: &mut Vec<Leaf>,
) {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array);
            let required: BTreeSet<_> =
                required.into_iter().flatten().filter_map(Value::as_str).collect();
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, inner) in properties.into_iter().flatten() {
                let Value::Object(inner) = inner else { continue };
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let steps = steps.iter().cloned().chain([Step::Member(name.clone())]).collect();
                walk(inner, (path, steps, needed && required.contains(name.as_str())), found);
            }
        }
        Some("array") => {
            if let Some(Value::Object(items)) = schema.get("items") {
                let steps = steps.iter().cloned().chain([Step::Each]).collect();
                walk(items, (format!("{path}[]"), steps, needed), found);
            }
        }
        _ => found.push(Leaf { path, steps, schema: schema.clone(), required: needed }),
    }
}

/// Puts a value where a path leads, making what is on the way.
pub(crate) fn put(arguments: &mut Map<String, Value>, steps: &[Step], value: Value) {
    let mut whole = Value::Object(std::mem::take(arguments));
    place(&mut whole, steps, value);
    if let Value::Object(filled) = whole {
        *arguments = filled;
    }
}

fn place(at: &mut Value, steps: &[Step], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *at = value;
        return;
    };
    match step {
        Step::Member(name) => {
            if !at.is_object() {
                *at = json!({});
            }
            if let Value::Object(members) = at {
                place(members.entry(name.clone()).or_insert(Value::Null), rest, value);
            }
        }
        Step::Each => {
            if !at.is_array() {
                *at = json!([null]);
            }
            if let Some(first) = at.as_array_mut().and_then(|items| items.first_mut()) {
                place(first, rest, value);
            }
        }
    }
}

impl<'a> Samples<'a> {
    pub(crate) fn new(
        databases: BTreeMap<String, (&'a Connection, &'a Owned)>,
        answers: &'a [CannedAnswer],
    ) -> Self {
        Self {
            databases,
            answers,
            texts: RefCell::default(),
            fitting: RefCell::default(),
            own: RefCell::default(),
        }
    }

    /// Texts of the right form, each with whose it is, in order.
    pub(crate) fn fitting(&self, leaf: &Leaf) -> Vec<(String, Option<String>)> {
        let key = format!("{:?} {:?}", leaf.schema.get("pattern"), leaf.schema.get("format"));
        if let Some(found) = self.fitting.borrow().get(&key) {
            return found.clone();
        }
        let found = self.look(leaf);
        self.fitting.borrow_mut().insert(key, found.clone());
        found
    }

    fn look(&self, leaf: &Leaf) -> Texts {
        let form = leaf.pattern().and_then(|pattern| Regex::new(pattern).ok());
        let mail = leaf.schema.get("format").and_then(Value::as_str) == Some("email");
        let fits = |text: &str| match &form {
            Some(form) => form.is_match(text),
            None => mail && text.contains('@') && !text.contains([' ', '\n', ':', '/']),
        };
        let mut texts = self.texts.borrow_mut();
        let texts = texts.get_or_insert_with(|| self.all_texts());
        texts.iter().filter(|(text, _)| fits(text)).cloned().collect()
    }

    /// Whose a text is that stands in somebody's rows alone.
    pub(crate) fn owner(&self, of: &str) -> Option<String> {
        let mut texts = self.texts.borrow_mut();
        let texts = texts.get_or_insert_with(|| self.all_texts());
        let at = texts.binary_search_by(|(text, _)| text.as_str().cmp(of)).ok()?;
        texts.get(at)?.1.clone()
    }

    fn all_texts(&self) -> Texts {
        let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut add = |row: &str, owner: Option<&str>| {
            for text in row.split('\u{1f}').filter(|text| text.len() <= 200) {
                let whose =
                    found.entry(text.to_owned()).or_insert_with(|| owner.map(str::to_owned));
                if whose.as_deref() != owner {
                    *whose = None;
                }
            }
        };
        for (database, owned) in self.databases.values() {
            // A copy that cannot be read yields nothing, and other systems may.
            drop(owned.texts(database, &mut add));
        }
        for answer in self.answers {
            let owner = answer.path.split('/').find(|part| part.contains('_')).map(str::to_owned);
            crate::site::leaves(&answer.body, &mut |text| add(text, owner.as_deref()));
        }
        found.into_iter().collect()
    }

    /// Arguments that the caller may send, and that find something if anything does.
    pub(crate) fn own(&self, tool: &Tool, caller: &Caller) -> Option<Map<String, Value>> {
        let key = format!("{} {caller:?}", tool.name);
        if let Some(found) = self.own.borrow().get(&key) {
            return found.clone();
        }
        let found = self.search(tool, caller);
        self.own.borrow_mut().insert(key, found.clone());
        found
    }

    fn search(&self, tool: &Tool, caller: &Caller) -> Option<Map<String, Value>> {
        let mut first = None;
        for arguments in self.tries(tool, caller) {
            if !self.confirmed(tool, caller, &arguments) {
                continue;
            }
            if self.finds(tool, caller, &arguments) {
                return Some(arguments);
            }
            first.get_or_insert(arguments);
        }
        first
    }

    /// As many different arguments as that, each of which finds something with this value in one place.
    pub(crate) fn several(
        &self,
        (tool, caller): (&Tool, &Caller),
        (steps, value): (&[Step], &Value),
        count: usize,
    ) -> Option<Vec<Map<String, Value>>> {
        let mut found: Vec<Map<String, Value>> = Vec::new();
        for mut arguments in self.tries(tool, caller) {
            put(&mut arguments, steps, value.clone());
            let fits = !found.contains(&arguments) && self.confirmed(tool, caller, &arguments);
            if fits && self.finds(tool, caller, &arguments) {
                found.push(arguments);
            }
            if found.len() == count {
                return Some(found);
            }
        }
        None
    }

    /// Different arguments that the caller may send, as many as that if there are.
    pub(crate) fn different(
        &self,
        (tool, caller): (&Tool, &Caller),
        count: usize,
    ) -> Vec<Map<String, Value>> {
        let mut found: Vec<Map<String, Value>> = Vec::new();
        for arguments in self.tries(tool, caller) {
            if found.len() == count {
                break;
            }
            if !found.contains(&arguments) && self.confirmed(tool, caller, &arguments) {
                found.push(arguments);
            }
        }
        found
    }

    /// Arguments that may be the caller's, one by one.
    fn tries(&self, tool: &Tool, caller: &Caller) -> Vec<Map<String, Value>> {
        let leaves: Vec<_> = leaves(tool).into_iter().filter(|leaf| leaf.required).collect();
        let choices: Vec<Vec<Value>> =
            leaves.iter().map(|leaf| self.choices(tool, caller, leaf)).collect();
        if choices.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let most = choices.iter().map(Vec::len).max().unwrap_or(1).min(TRIED_MAX);
        let tries = (0..most).filter_map(|turn| {
            let mut arguments = Map::new();
            for (leaf, choices) in leaves.iter().zip(&choices) {
                // A later place of the same form takes a later value: from and to.
                let same = leaves.iter().take_while(|l| l.path != leaf.path);
                let later = leaf.pattern().is_some()
                    && same.clone().any(|l| l.schema.get("pattern") == leaf.schema.get("pattern"));
                let at = if later {
                    choices.len().saturating_sub(1)
                } else {
                    turn.min(choices.len().saturating_sub(1))
                };
                put(&mut arguments, &leaf.steps, choices.get(at)?.clone());
            }
            Some(arguments)
        });
        tries.collect()
    }

    /// Values of one place that the caller may name, the likeliest first.
    fn choices(&self, tool: &Tool, caller: &Caller, leaf: &Leaf) -> Vec<Value> {
        let tied = tool.scope.iter().filter_map(ScopeRule::path);
        for (path, what) in tied {
            if path.to_string() == leaf.path {
                return own_values(what, caller).into_iter().map(Value::from).collect();
            }
        }
        let listed =
            leaf.listed().cloned().or_else(|| Some(vec![leaf.schema.get("const")?.clone()]));
        if let Some(listed) = listed {
            return listed;
        }
        if leaf.is("integer") || leaf.is("number") {
            let (min, max) =
                (leaf.number("minimum").unwrap_or(0), leaf.number("maximum").unwrap_or(1));
            return vec![json!(max.min(min.saturating_add(2)))];
        }
        if leaf.is("boolean") {
            return vec![json!(true), json!(false)];
        }
        if leaf.free() {
            let least = leaf.number("minLength").and_then(|least| usize::try_from(least).ok());
            return vec![json!("e".repeat(least.unwrap_or(1).max(2)))];
        }
        let mut own: Vec<_> = self
            .fitting(leaf)
            .into_iter()
            .filter(|(_, owner)| owner.as_ref().is_none_or(|owner| *owner == caller.tenant))
            .map(|(text, _)| Value::from(text))
            .collect();
        if own.is_empty() {
            own.extend(leaf.pattern().and_then(written_by).map(Value::from));
        }
        own
    }

    /// Whether the look-ups of a tool say that arguments are the caller's.
    fn confirmed(&self, tool: &Tool, caller: &Caller, arguments: &Map<String, Value>) -> bool {
        tool.look_ups.iter().all(|look_up| {
            let values = at(arguments, &look_up.path);
            !values.is_empty()
                && values.iter().all(|value| self.says(look_up, (tool, caller), (arguments, value)))
        })
    }

    fn says(
        &self,
        look_up: &LookUp,
        (tool, caller): (&Tool, &Caller),
        (arguments, value): (&Map<String, Value>, &Value),
    ) -> bool {
        let Some((database, _)) = self.databases.get(look_up.query.system.as_str()) else {
            return false;
        };
        let mut bound = bound(tool, caller, arguments);
        bound.insert(VALUE.to_owned(), value.clone());
        // An argument of a list is asked about one by one.
        if let Some(Step::Member(name)) = look_up.path.steps().last() {
            bound.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let sql = written_out(&look_up.query.plan.statement, &bound);
        let Some(answer) = world::answer(database, &sql) else { return false };
        match look_up.asks {
            Asks::Owned => !answer.is_empty(),
            Asks::Allowed => answer.iter().any(|row| {
                matches!(row.first(), Some(rusqlite::types::Value::Text(text)) if Some(text.as_str()) == value.as_str())
            }),
        }
    }

    /// Whether a call finds, or changes, something.
    fn finds(&self, tool: &Tool, caller: &Caller, arguments: &Map<String, Value>) -> bool {
        let Plan::Sql(plan) = &tool.plan else { return true };
        let Some((database, _)) = self.databases.get(tool.system.as_str()) else { return true };
        let sql = written_out(&plan.statement, &bound(tool, caller, arguments));
        if let Some(answer) = world::answer(database, &sql) {
            return !answer.is_empty();
        }
        let tried =
            database.execute_batch("savepoint tried").and_then(|()| database.execute(&sql, []));
        let undone = database.execute_batch("rollback to tried; release tried");
        tried.is_ok_and(|rows| rows > 0) && undone.is_ok()
    }
}

/// The caller's own values of something.
pub(crate) fn own_values(
    what: &countersign_core::principal::CallerRef,
    caller: &Caller,
) -> Vec<String> {
    use countersign_core::principal::CallerRef;
    match what {
        CallerRef::Tenant => vec![caller.tenant.clone()],
        CallerRef::Subject => caller.user.iter().cloned().collect(),
        CallerRef::Actor => Vec::new(),
        CallerRef::Attribute(name) => caller.claims.get(name).cloned().unwrap_or_default(),
    }
}

/// Everything at a path.
pub(crate) fn at<'v>(arguments: &'v Map<String, Value>, path: &ArgumentPath) -> Vec<&'v Value> {
    let mut found = Vec::new();
    let Some((Step::Member(first), rest)) = path.steps().split_first() else { return found };
    found.extend(arguments.get(first));
    for step in rest {
        let mut next = Vec::new();
        for value in found {
            match step {
                Step::Member(name) => next.extend(value.get(name)),
                Step::Each => next.extend(value.as_array().into_iter().flatten()),
            }
        }
        found = next;
    }
    found
}

/// A text that fits a simple pattern: fixed letters, classes and counts. `None` for another, and where
/// what comes of it does not fit after all.
pub(crate) fn written_by(pattern: &str) -> Option<String> {
    text_by(pattern, |least, _| least)
}

/// The same, as long as the pattern lets it be where it counts from one number to another.
pub(crate) fn longest_by(pattern: &str) -> Option<String> {
    text_by(pattern, |_, most| most.min(REPEATED_MAX))
}

/// Most repetitions of a text that is written by a pattern.
const REPEATED_MAX: usize = 500;

fn text_by(pattern: &str, count: impl Fn(usize, usize) -> usize) -> Option<String> {
    let form = Regex::new(pattern).ok()?;
    let mut text = String::new();
    let mut chars = pattern.trim_start_matches('^').trim_end_matches('$').chars().peekable();
    let mut last = None;
    while let Some(c) = chars.next() {
        match c {
            '[' => {
                let class: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let first = class.chars().find(|c| *c != '\\' && *c != '^');
                last = if class.starts_with('^') { Some('a') } else { first };
                text.extend(last);
            }
            '\\' => {
                let escaped = chars.next()?;
                last = Some(match escaped {
                    'd' => '0',
                    'w' => 'a',
                    'p' | 'P' => {
                        chars.by_ref().take_while(|c| *c != '}').count();
                        'a'
                    }
                    other => other,
                });
                text.extend(last);
            }
            '{' => {
                let counts: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let mut counts = counts.split(',');
                let least: usize = counts.next()?.parse().ok()?;
                let most = counts.next().and_then(|most| most.parse().ok()).unwrap_or(least);
                match count(least, most) {
                    0 => drop(text.pop()),
                    times => text.extend(std::iter::repeat_n(last?, times.saturating_sub(1))),
                }
            }
            '+' => {}
            '*' | '?' => drop(text.pop()),
            '.' => {
                last = Some('a');
                text.push('a');
            }
            '(' | ')' | '|' => return None,
            c => {
                last = Some(c);
                text.push(c);
            }
        }
    }
    form.is_match(&text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_by_simple_patterns_and_always_fits() {
        for pattern in
            ["^inv_[0-9]{6}$", "^[A-Z]{3}$", "^20[0-9]{2}-[01][0-9]-[0-3][0-9]$", r"^\d{2}-\w+$"]
        {
            let text = written_by(pattern).unwrap();
            assert!(Regex::new(pattern).unwrap().is_match(&text), "{pattern}: {text}");
        }
        assert_eq!(written_by("^(a|b)$"), None);
        assert_eq!(longest_by("^[a-c][0-9]{2,4}$").as_deref(), Some("a0000"));
    }
}
