//! What may quietly go missing from a posture.

use crate::generate::{STRANGER, granted};
use countersign_posture::Loaded;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A posture with one control weakened.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// What kind of control.
    pub control: &'static str,
    /// What was done, in a sentence.
    pub told: String,
    /// The tools that it is about; empty for all.
    pub tools: BTreeSet<String>,
    /// Files that say something else, or are gone.
    pub files: Vec<(String, Option<String>)>,
    /// What cases that are about it may have in their names.
    pub words: Vec<String>,
}

const OPEN: &str = "Nobody is kept out any more.";

/// A text of any kind, as a pattern.
const ANYTHING: &str = "^(?s:.){1,200}$";
/// A check that always holds.
const ALWAYS: &str = "select 1 = 1 where :tenant = :tenant";

/// A tool's file.
struct Of<'f> {
    path: &'f str,
    name: &'f str,
    whole: &'f Value,
}

/// One argument of it.
struct Place<'f> {
    /// Where its schema is, as a JSON pointer.
    place: &'f str,
    leaf: &'f str,
    schema: &'f Map<String, Value>,
}

fn set(members: &mut Map<String, Value>, key: &str, value: Value) {
    members.insert(key.to_owned(), value);
}

/// The files of a posture, and what has been made of them so far.
struct Weaker<'f> {
    files: &'f BTreeMap<String, Value>,
    found: Vec<Mutant>,
}

/// Every way in which the posture can be weakened that is known here, in a stable order.
#[must_use]
pub fn mutants(
    files: &BTreeMap<String, Value>,
    policies: &BTreeMap<String, String>,
    loaded: &Loaded,
) -> Vec<Mutant> {
    let mut weaker = Weaker { files, found: Vec::new() };
    for (path, value) in files {
        if let (Some(_), Value::Object(tool)) = (path.strip_prefix("tools/"), value) {
            weaker.tool(path, tool);
        }
        if let (Some(_), Value::Object(agent)) = (path.strip_prefix("agents/"), value) {
            weaker.agent(path, agent, loaded);
        }
    }
    weaker.limits_of_all();
    for (path, text) in policies {
        weaker.policy(path, text);
        weaker.numbers(path, text);
    }
    weaker.found
}

impl Weaker<'_> {
    fn push(
        &mut self,
        (control, told): (&'static str, String),
        (path, value): (&str, Value),
        (tools, words): (&[&str], &[&str]),
    ) {
        if self.files.get(path) == Some(&value) {
            return;
        }
        self.found.push(Mutant {
            control,
            told,
            tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
            files: vec![(path.to_owned(), Some(value.to_string()))],
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        });
    }

    fn tool(&mut self, path: &str, tool: &Map<String, Value>) {
        let name = tool.get("tool").and_then(Value::as_str).unwrap_or_default();
        let whole = Value::Object(tool.clone());
        let mut places = Vec::new();
        arguments(&whole, "/input", &mut places);
        let of = Of { path, name, whole: &whole };
        for place in &places {
            self.argument(&of, place);
        }
        self.scope(path, (name, &whole));
        self.statement(path, (name, &whole));
        self.ladder(&of);
        if tool.contains_key("result") {
            let mut other = whole.clone();
            other.as_object_mut().map(|other| other.remove("result"));
            let told = format!("`{name}` has no `result` rule");
            self.push(("result", told), (path, other), (&[name], &["anothers", "withheld"]));
        }
        if let Some(Value::Object(limits)) = tool.get("limits") {
            self.limits(path, (&whole, "/limits", limits), &[name]);
        }
    }

    /// One argument: its bounds, its form, whether it must be there.
    fn argument(&mut self, of: &Of<'_>, place: &str) {
        let Some(Value::Object(schema)) = of.whole.pointer(place).cloned() else { return };
        let mut names = place.rsplit('/').filter(|part| !matches!(*part, "items" | "properties"));
        let at = Place { place, leaf: names.next().unwrap_or_default(), schema: &schema };
        self.bounds(of, &at);
        self.forms(of, &at);
        let leaf = at.leaf;
        if schema.get("type") == Some(&json!("integer")) && schema.contains_key("maximum") {
            let told = format!("`{leaf}` of `{}` may be a fraction", of.name);
            let edit = |schema: &mut Map<String, Value>| set(schema, "type", json!("number"));
            self.of_argument(of, &at, ("type", told, &["fraction"]), &edit);
        }
        if !place.ends_with("/items") && schema.get("optional") != Some(&json!(true)) {
            let told = format!("`{leaf}` of `{}` may be left out", of.name);
            let edit = |schema: &mut Map<String, Value>| set(schema, "optional", json!(true));
            self.of_argument(of, &at, ("required", told, &["without"]), &edit);
        }
    }

    fn of_argument(
        &mut self,
        of: &Of<'_>,
        at: &Place<'_>,
        (control, told, words): (&'static str, String, &[&str]),
        edit: &dyn Fn(&mut Map<String, Value>),
    ) {
        let mut other = of.whole.clone();
        if let Some(schema) = other.pointer_mut(at.place).and_then(Value::as_object_mut) {
            edit(schema);
        }
        let words: Vec<_> = words.iter().map(|word| format!("{word}-{}", at.leaf)).collect();
        let words: Vec<_> = words.iter().map(String::as_str).chain([at.leaf]).collect();
        self.push((control, told), (of.path, other), (&[of.name], &words));
    }

    /// More than was allowed: far more, and by one.
    fn bounds(&mut self, of: &Of<'_>, at: &Place<'_>) {
        let said = |key: &str, is: i64, was: i64| {
            format!("`{key}` of `{}` of `{}` is {is} instead of {was}", at.leaf, of.name)
        };
        for (key, word) in [("maximum", "above"), ("maxLength", "longer"), ("maxItems", "too-many")]
        {
            let Some(most) = at.schema.get(key).and_then(Value::as_i64) else { continue };
            for more in [most.max(1).saturating_mul(10), most.saturating_add(1)] {
                let edit = |schema: &mut Map<String, Value>| set(schema, key, json!(more));
                self.of_argument(of, at, ("bound", said(key, more, most), &[word]), &edit);
            }
        }
        for (key, word) in [("minimum", "below"), ("minLength", "shorter"), ("minItems", "empty")] {
            let Some(least) = at.schema.get(key).and_then(Value::as_i64) else { continue };
            let less = if key == "minimum" { least.saturating_sub(1_000) } else { 0 };
            let edit = |schema: &mut Map<String, Value>| set(schema, key, json!(less));
            self.of_argument(of, at, ("bound", said(key, less, least), &[word]), &edit);
        }
    }

    /// Texts that were none of those that were allowed.
    fn forms(&mut self, of: &Of<'_>, at: &Place<'_>) {
        let (leaf, name) = (at.leaf, of.name);
        let words = ["quote", "hidden", "line-end", "look-alike", "sql"];
        if at.schema.contains_key("pattern") {
            let told = format!("`{leaf}` of `{name}` may be any text of up to 200 characters");
            let edit = |schema: &mut Map<String, Value>| set(schema, "pattern", json!(ANYTHING));
            self.of_argument(of, at, ("pattern", told, &words), &edit);
        }
        if let Some((pattern, most)) =
            at.schema.get("pattern").and_then(Value::as_str).and_then(longer)
        {
            let told = format!("the pattern of `{leaf}` of `{name}` counts to {most} and no less");
            let edit = |schema: &mut Map<String, Value>| set(schema, "pattern", json!(pattern));
            self.of_argument(of, at, ("pattern", told, &["longer"]), &edit);
        }
        let Some(listed) = at.schema.get("enum").and_then(Value::as_array) else { return };
        // What is compared with the caller's own is no freer by one more word.
        let scope = of.whole.get("scope").and_then(Value::as_object);
        let mut tied = scope.into_iter().flatten();
        let tied = tied.any(|(place, _)| place.rsplit('.').next() == Some(leaf));
        let first = listed.first().and_then(Value::as_str).filter(|_| !tied);
        if let Some(upper) = first.map(str::to_uppercase) {
            let told = format!("`{leaf}` of `{name}` may be `{upper}` as well");
            let edit = |schema: &mut Map<String, Value>| {
                if let Some(Value::Array(listed)) = schema.get_mut("enum") {
                    listed.push(json!(upper));
                }
            };
            self.of_argument(of, at, ("pattern", told, &["other-case"]), &edit);
        }
        let told = format!("`{leaf}` of `{name}` is no longer one of a list");
        let edit = |schema: &mut Map<String, Value>| {
            schema.remove("enum");
            set(schema, "pattern", json!(ANYTHING));
            set(schema, "public", json!(OPEN));
        };
        self.of_argument(of, at, ("pattern", told, &words), &edit);
    }

    /// The rules that tie a call to its caller.
    fn scope(&mut self, path: &str, (name, whole): (&str, &Value)) {
        let rules = whole.get("scope").and_then(Value::as_object).cloned().unwrap_or_default();
        for (place, rule) in &rules {
            let Value::Object(rule) = rule else { continue };
            let kind = rule.keys().next().map(String::as_str).unwrap_or_default();
            let leaf = place.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
            let words = [leaf, "foreign", "invented"];
            if kind == "bind" {
                self.bound(path, (name, whole), place);
                continue;
            }
            let mut other = whole.clone();
            if let Some(rules) = other.get_mut("scope").and_then(Value::as_object_mut) {
                rules.remove(place);
            }
            opened(&mut other, place);
            self.push(
                (
                    "scope",
                    format!("`{place}` of `{name}` is not held against the caller by `{kind}`"),
                ),
                (path, other),
                (&[name], &words),
            );
            // The rule stays, and its statement confirms too much.
            let statement =
                rule.get(kind).and_then(|look_up| look_up.get("sql")).and_then(Value::as_str);
            if let Some(weak) = statement.and_then(loosened) {
                let mut other = whole.clone();
                let at = format!("/scope/{}/{kind}/sql", escaped(place));
                if let Some(sql) = other.pointer_mut(&at) {
                    *sql = json!(weak);
                }
                self.push(
                    ("scope", format!("the look-up of `{place}` of `{name}` forgets the caller")),
                    (path, other),
                    (&[name], &words),
                );
            }
        }
    }

    /// What the token decides becomes what the agent says.
    fn bound(&mut self, path: &str, (name, whole): (&str, &Value), place: &str) {
        let mut other = whole.clone();
        if let Some(rules) = other.get_mut("scope").and_then(Value::as_object_mut) {
            rules.remove(place);
        }
        if let Some(input) = other.get_mut("input").and_then(Value::as_object_mut) {
            let argument =
                json!({ "type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$", "public": OPEN });
            input.insert(place.to_owned(), argument);
        }
        if let Some(other) = other.as_object_mut() {
            other.insert("public".to_owned(), json!(OPEN));
        }
        let told = format!("`{place}` of `{name}` comes from the agent and not from the token");
        self.push(("bind", told), (path, other), (&[name], &["allowed", "extra", "own"]));
    }

    /// The statement itself.
    fn statement(&mut self, path: &str, (name, whole): (&str, &Value)) {
        let sql = whole.pointer("/call/sql").and_then(Value::as_str);
        let Some(weak) = sql.and_then(loosened) else { return };
        let mut other = whole.clone();
        if let Some(sql) = other.pointer_mut("/call/sql") {
            *sql = json!(weak);
        }
        // Where a look-up says whose it is, the statement alone lets nothing through: both go.
        let looked_up = whole.get("scope").and_then(Value::as_object).into_iter().flatten();
        let looked_up: Vec<_> = looked_up
            .filter(|(_, rule)| rule.get("owned").is_some())
            .map(|(place, _)| place.clone())
            .collect();
        for place in &looked_up {
            let at = format!("/scope/{}/owned/sql", escaped(place));
            let Some(sql) = other.pointer_mut(&at) else { continue };
            if let Some(weak) = sql.as_str().and_then(loosened) {
                *sql = json!(weak);
            }
        }
        let both = if looked_up.is_empty() { "" } else { " and its look-up" };
        let told = format!("the statement of `{name}`{both} forgets the caller");
        self.push(
            ("statement", told),
            (path, other),
            (&[name], &["allowed", "own", "foreign", "search"]),
        );
    }

    fn of_tool(
        &mut self,
        of: &Of<'_>,
        (control, told, words): (&'static str, String, &[&str]),
        edit: &dyn Fn(&mut Map<String, Value>),
    ) {
        let mut other = of.whole.clone();
        if let Some(tool) = other.as_object_mut() {
            edit(tool);
        }
        self.push((control, told), (of.path, other), (&[of.name], words));
    }

    /// Who agrees, what is checked, and what sums are kept to.
    fn ladder(&mut self, of: &Of<'_>) {
        let name = of.name;
        if of.whole.get("gate").is_some() {
            self.rungs(of);
        }
        self.approvers(of);
        self.further(of);
        if of.whole.get("check").is_some() {
            let told = format!("the check of `{name}` always holds");
            let edit = |tool: &mut Map<String, Value>| set(tool, "check", json!(ALWAYS));
            self.of_tool(of, ("post-condition", told, &["failed", "allowed"]), &edit);
        }
        let budgets =
            of.whole.get("budget").and_then(Value::as_object).cloned().unwrap_or_default();
        for sum in budgets.keys() {
            let told = format!("`{name}` has no budget of `{sum}`");
            let edit = |tool: &mut Map<String, Value>| {
                let mut left = budgets.clone();
                left.remove(sum);
                match left.is_empty() {
                    true => drop(tool.remove("budget")),
                    false => set(tool, "budget", Value::Object(left)),
                }
            };
            self.of_tool(of, ("budget", told, &["split", "budget"]), &edit);
            self.more(of, (sum, &budgets));
        }
    }

    /// A sum that may come to one more.
    fn more(&mut self, of: &Of<'_>, (sum, budgets): (&str, &Map<String, Value>)) {
        let allowance = budgets.get(sum).and_then(Value::as_str);
        let parts = allowance.and_then(|text| text.split_once(' '));
        let Some((most, rest)) =
            parts.and_then(|(most, rest)| Some((most.parse::<u64>().ok()?, rest)))
        else {
            return;
        };
        let more = most.saturating_add(1);
        let told = format!("the budget of `{sum}` of `{}` is {more} instead of {most}", of.name);
        let edit = |tool: &mut Map<String, Value>| {
            if let Some(Value::Object(budgets)) = tool.get_mut("budget") {
                set(budgets, sum, json!(format!("{more} {rest}")));
            }
        };
        self.of_tool(of, ("budget", told, &["split", "budget"]), &edit);
    }

    fn rungs(&mut self, of: &Of<'_>) {
        let name = of.name;
        for (rung, words) in
            [(2, ["approved", "allowed", "waits"]), (3, ["cached", "who-asks", "sign"])]
        {
            let leave =
                json!({ "rung": rung, "reason": "r", "reviewed_by": "b", "expires": "2099-12-31" });
            let told = format!("`{name}` stands on rung {rung} for a time");
            let edit = |tool: &mut Map<String, Value>| set(tool, "exception", leave.clone());
            self.of_tool(of, ("rung", told, &words), &edit);
        }
        let told = format!("`{name}` is `reversible` and has no gate");
        let edit = |tool: &mut Map<String, Value>| {
            set(tool, "effect", json!("reversible"));
            tool.remove("gate");
        };
        self.of_tool(of, ("rung", told, &["approved", "allowed", "waits"]), &edit);
    }

    fn approvers(&mut self, of: &Of<'_>) {
        let Some(Value::Object(approvers)) = of.whole.pointer("/gate/approvers") else { return };
        let with = |approvers: Value| {
            move |tool: &mut Map<String, Value>| {
                if let Some(Value::Object(gate)) = tool.get_mut("gate") {
                    set(gate, "approvers", approvers.clone());
                }
            }
        };
        let name = of.name;
        if let Some(Value::Array(named)) = approvers.get("named") {
            let more: Vec<_> = named.iter().cloned().chain([json!(STRANGER)]).collect();
            let told = format!("one more may approve `{name}`");
            let edit = with(json!({ "named": more }));
            self.of_tool(of, ("approver", told, &["stranger", "colleague"]), &edit);
            return;
        }
        let mut own = approvers.clone();
        set(&mut own, "subject", json!(true));
        let told = format!("the one on whose behalf `{name}` is asked may approve it");
        self.of_tool(of, ("approver", told, &["who-asks"]), &with(Value::Object(own)));
        let told = format!("a named stranger approves `{name}` in the group's place");
        let stranger = with(json!({ "named": [STRANGER] }));
        self.of_tool(of, ("approver", told, &["stranger", "approved"]), &stranger);
    }

    /// Who else may agree: in somebody's stead, or once it has waited.
    fn further(&mut self, of: &Of<'_>) {
        let name = of.name;
        let Some(Value::Object(gate)) = of.whole.get("gate") else { return };
        let with = |key: &'static str, value: Value| {
            move |tool: &mut Map<String, Value>| {
                if let Some(Value::Object(gate)) = tool.get_mut("gate") {
                    set(gate, key, value.clone());
                }
            }
        };
        if let Some(Value::Array(delegates)) = gate.get("delegates") {
            let more: Vec<_> = delegates.iter().cloned().chain([json!(STRANGER)]).collect();
            let told = format!("one more may stand in for those who approve `{name}`");
            let edit = with("delegates", json!(more));
            self.of_tool(of, ("delegate", told, &["stand"]), &edit);
            let told = format!(
                "who may stand in for those who approve `{name}` may approve it at any time"
            );
            let named =
                gate.get("approvers").and_then(|approvers| approvers.get("named")?.as_array());
            let all: Vec<_> = named.into_iter().flatten().chain(delegates).cloned().collect();
            let edit = |tool: &mut Map<String, Value>| {
                if let Some(Value::Object(gate)) = tool.get_mut("gate") {
                    gate.remove("delegates");
                    set(gate, "approvers", json!({ "named": all }));
                }
            };
            self.of_tool(of, ("delegate", told, &["stand", "colleague"]), &edit);
        }
        if let Some(Value::Object(escalate)) = gate.get("escalate") {
            let mut soon = escalate.clone();
            set(&mut soon, "after", json!("1s"));
            let told = format!("further people may approve `{name}` after a second");
            let edit = with("escalate", Value::Object(soon.clone()));
            self.of_tool(of, ("escalation", told, &["escalated"]), &edit);
            set(&mut soon, "to", json!({ "named": [STRANGER] }));
            let told = format!("a stranger may approve `{name}` after a second");
            let edit = with("escalate", Value::Object(soon));
            self.of_tool(of, ("escalation", told, &["escalated"]), &edit);
        }
    }

    /// Limits that a minute is long enough to reach, and that no lower one hides.
    fn limits(
        &mut self,
        path: &str,
        (whole, at, limits): (&Value, &str, &Map<String, Value>),
        tools: &[&str],
    ) {
        for key in ["per_minute", "identical_per_minute"] {
            let Some(most) = limits.get(key).and_then(Value::as_i64) else { continue };
            if self.hidden(path, key, most) {
                continue;
            }
            let mut other = whole.clone();
            if let Some(limits) = other.pointer_mut(at).and_then(Value::as_object_mut) {
                limits.insert(key.to_owned(), json!(most.saturating_mul(100)));
            }
            let told = format!("`{key}` of `{path}` is a hundred times as much");
            let word = if key == "per_minute" { "minute" } else { "loop" };
            self.push(("limit", told), (path, other), (tools, &[word, "again", "limited"]));
        }
    }

    /// Whether a lower limit of the agents that have a tool is reached first.
    fn hidden(&self, path: &str, key: &str, most: i64) -> bool {
        let Some(tool) = path.strip_prefix("tools/").and_then(|path| path.strip_suffix(".yaml"))
        else {
            return false;
        };
        let agents = self.files.iter().filter(|(path, _)| path.starts_with("agents/"));
        let grants = agents.filter_map(|(_, agent)| agent.get("grants")?.as_array()).flatten();
        let mut of = grants.filter(|grant| grant.get("tool").and_then(Value::as_str) == Some(tool));
        of.any(|grant| {
            let own = grant.get("limits").and_then(|limits| limits.get(key)?.as_i64());
            own.is_some_and(|own| own < most)
        })
    }

    fn limits_of_all(&mut self) {
        let Some(whole) = self.files.get("posture.yaml").cloned() else { return };
        if let Some(Value::Object(limits)) = whole.get("limits").cloned() {
            self.limits("posture.yaml", (&whole, "/limits", &limits), &[]);
        }
    }

    /// Grants of what others have.
    fn agent(&mut self, path: &str, agent: &Map<String, Value>, loaded: &Loaded) {
        let name = agent.get("agent").and_then(Value::as_str).unwrap_or_default();
        let grants = agent.get("grants").and_then(Value::as_array).cloned().unwrap_or_default();
        let own: BTreeSet<_> =
            grants.iter().filter_map(|grant| grant.get("tool")?.as_str()).collect();
        for (tool, _) in granted(loaded) {
            let tool = tool.name.as_str();
            if own.contains(tool) {
                continue;
            }
            let mut other = Value::Object(agent.clone());
            if let Some(grants) = other.get_mut("grants").and_then(Value::as_array_mut) {
                grants.push(json!({ "tool": tool, "reason": "r", "reviewed_by": "b", "reviewed_on": "2026-11-20" }));
            }
            let told = format!("`{name}` is granted `{tool}`");
            self.push(("grant", told), (path, other), (&[tool], &["ungranted", "granted"]));
        }
        if let Some(Value::Object(limits)) = agent.get("limits") {
            let whole = Value::Object(agent.clone());
            let tools: Vec<_> = own.iter().copied().collect();
            self.limits(path, (&whole, "/limits", limits), &tools);
        }
        for (at, grant) in grants.iter().enumerate() {
            let (Some(tool), Some(Value::Object(limits))) =
                (grant.get("tool").and_then(Value::as_str), grant.get("limits"))
            else {
                continue;
            };
            let whole = Value::Object(agent.clone());
            self.limits(path, (&whole, &format!("/grants/{at}/limits"), limits), &[tool]);
        }
    }

    /// Policies that forbid nothing any more.
    fn policy(&mut self, path: &str, text: &str) {
        for (at, _) in text.match_indices("forbid") {
            let rest = text.get(at..).unwrap_or_default();
            let Some(end) = rest.find(';') else { continue };
            // Its annotations go with it.
            let start = text
                .get(..at)
                .and_then(|before| before.rfind(';'))
                .map_or(0, |end| end.saturating_add(1));
            let before = text.get(..start).unwrap_or_default();
            let after = rest.get(end.saturating_add(1)..).unwrap_or_default();
            let left = format!("{before}{after}");
            let gone = !left.contains("forbid");
            self.found.push(Mutant {
                control: "policy",
                told: format!("a policy of `{path}` is gone"),
                tools: self
                    .names()
                    .filter(|name| {
                        rest.get(..end).is_some_and(|policy| policy.contains(name.as_str()))
                    })
                    .collect(),
                files: vec![(path.to_owned(), Some(left).filter(|_| !gone))],
                words: vec!["large".to_owned(), "polic".to_owned()],
            });
        }
    }

    /// A number of a policy that is ten times as much.
    fn numbers(&mut self, path: &str, text: &str) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with(['/', '@']));
        let words: BTreeSet<&str> =
            code.flat_map(|line| line.split(|c: char| !c.is_ascii_digit())).collect();
        for number in words.into_iter().filter(|word| word.len() >= 2) {
            self.found.push(Mutant {
                control: "policy",
                told: format!("{number} in `{path}` is ten times as much"),
                tools: self.names().filter(|name| text.contains(name.as_str())).collect(),
                files: vec![(path.to_owned(), Some(text.replace(number, &format!("{number}0"))))],
                words: vec!["large".to_owned(), "polic".to_owned()],
            });
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let files = self.files.keys();
        files
            .filter_map(|path| Some(path.strip_prefix("tools/")?.strip_suffix(".yaml")?.to_owned()))
    }
}

/// A pattern whose last count from one number to another goes on by one.
fn longer(pattern: &str) -> Option<(String, u64)> {
    let (before, after) = pattern.rsplit_once('}')?;
    let (head, counts) = before.rsplit_once('{')?;
    let (least, most) = counts.split_once(',')?;
    let most = most.parse::<u64>().ok()?.saturating_add(1);
    Some((format!("{head}{{{least},{most}}}{after}"), most))
}

/// JSON pointers to every argument, at any depth.
fn arguments(whole: &Value, at: &str, found: &mut Vec<String>) {
    let Some(Value::Object(members)) = whole.pointer(at) else { return };
    for (name, schema) in members {
        let mut place = format!("{at}/{}", escaped(name));
        found.push(place.clone());
        let mut schema = schema;
        while let Some(items) = schema.get("items") {
            place.push_str("/items");
            found.push(place.clone());
            schema = items;
        }
        if schema.get("properties").is_some() {
            arguments(whole, &format!("{place}/properties"), found);
        }
    }
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Says of an argument, and of the tool, that everybody may name it.
fn opened(tool: &mut Value, place: &str) {
    let steps = place.split('.').map(|step| {
        let each = step.matches("[]").count();
        format!("/{}{}", step.trim_end_matches("[]"), "/items".repeat(each))
    });
    let pointer = steps.collect::<Vec<_>>().join("/properties");
    if let Some(schema) =
        tool.pointer_mut(&format!("/input{pointer}")).and_then(Value::as_object_mut)
        && (schema.contains_key("pattern") || schema.contains_key("format"))
    {
        schema.insert("public".to_owned(), json!(OPEN));
    }
    if let Some(rules) = tool.get("scope").and_then(Value::as_object)
        && rules.is_empty()
        && let Some(tool) = tool.as_object_mut()
    {
        tool.remove("scope");
        tool.insert("public".to_owned(), json!(OPEN));
    }
}

/// A statement that compares a column with the caller's, and lets everybody's rows through.
fn loosened(sql: &str) -> Option<String> {
    let (at, name) =
        [":tenant", ":account_id"].into_iter().find_map(|name| Some((sql.find(name)?, name)))?;
    let before = sql.get(..at)?.trim_end().strip_suffix('=')?.trim_end();
    let from = before.rfind(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.'))?;
    let column = before.get(from.saturating_add(1)..).filter(|column| !column.is_empty())?;
    let after = sql.get(at.saturating_add(name.len())..)?;
    Some(format!("{before} = coalesce(nullif({column}, {name}), {name}){after}"))
}
