//! Cases as files: in a stable order, and never over what a person edited.

use countersign_core::id::Digest;
use countersign_posture::evals::{Caller, CaseKind, shown};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What the first line of a generated file begins with; after it stands the digest of what follows.
const MARK: &str =
    "# Written by `countersign eval generate`, which leaves it alone once it is edited: ";

/// A file of cases.
#[derive(Debug)]
pub struct GeneratedFile {
    /// `NAME.yaml`.
    pub name: String,
    /// All of it.
    pub text: String,
    /// How many cases are in it.
    pub cases: usize,
    /// Each by its name, as it stands there.
    pub(crate) parts: Vec<(String, String)>,
}

/// What the names of files begin with that are generated from the posture.
pub const GENERATED: &str = "generated-";
/// And of those of cases that were added because a weakening was noticed by none.
pub const CAUGHT: &str = "caught-";

/// Whether a person has edited a file since it was generated, or wrote it in the first place.
#[must_use]
pub fn edited(text: &str) -> bool {
    let Some((first, rest)) = text.split_once('\n') else { return true };
    first.strip_prefix(MARK) != Some(&digest(rest))
}

fn digest(text: &str) -> String {
    Digest::of("countersign/generated/1", &[text.as_bytes()]).to_string()
}

impl GeneratedFile {
    pub(crate) fn new(suite: &str, about: &str, cases: Vec<Drafted>) -> Self {
        let suite: String = suite.chars().take(64).collect();
        let parts = cases.iter().map(|case| (case.name.clone(), case.text()));
        Self::of_parts(&suite, about, parts.collect())
    }

    fn of_parts(suite: &str, about: &str, parts: Vec<(String, String)>) -> Self {
        let mut text = format!("suite: {suite}\nabout: {}\ncases:\n", quoted(about));
        parts.iter().for_each(|(_, part)| text.push_str(part));
        Self {
            name: format!("{suite}.yaml"),
            text: format!("{MARK}{}\n{text}", digest(&text)),
            cases: parts.len(),
            parts,
        }
    }

    /// Cases that weakenings have shown to be missing, after those that are in the file already.
    #[must_use]
    pub fn caught(suite: &str, before: Option<&str>, cases: Vec<(String, String)>) -> Self {
        let begins = "  - case: ";
        let before =
            before.and_then(|text| text.split_once("\ncases:\n")).map_or("", |(_, text)| text);
        let parts = before.split(begins).filter(|part| !part.is_empty()).map(|part| {
            let name = part.lines().next().unwrap_or_default().to_owned();
            (name, format!("{begins}{part}"))
        });
        let mut parts: Vec<_> = parts.collect();
        for (name, text) in cases {
            if !parts.iter().any(|(known, _)| *known == name) {
                parts.push((name, text));
            }
        }
        Self::of_parts(suite, "Cases without which a weakening was noticed by none.", parts)
    }
}

/// A case that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Drafted {
    pub(crate) name: String,
    shows: String,
    kind: CaseKind,
    caller: Caller,
    script: Vec<Line>,
    plants: Vec<String>,
    goal: Option<String>,
    executed: Vec<(String, u32)>,
    never: Vec<String>,
    contains: Vec<String>,
    asked: Option<usize>,
}

/// A line of a script.
#[derive(Debug, Clone)]
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn call(tool: &str, arguments: Map<String, Value>, end: &str) -> Self {
        Self(format!(
            "{{ call: {tool}, arguments: {}, expect: {end} }}",
            flow(&Value::Object(arguments))
        ))
    }

    /// The same with more keys.
    pub(crate) fn with(self, more: &str) -> Self {
        let inner = self.0.strip_suffix(" }").unwrap_or(&self.0).to_owned();
        Self(format!("{inner}, {more} }}"))
    }

    /// Somebody is away, and says who stands in.
    pub(crate) fn stand_in(to: &str, by: &str, end: &str) -> Self {
        Self(format!("{{ stand_in: {}, by: {by}, expect: {end} }}", quoted(to)))
    }

    pub(crate) fn wait(span: &str) -> Self {
        Self(format!("{{ wait: {span} }}"))
    }

    /// A system, or the journal, stops answering.
    pub(crate) fn fail(system: &str) -> Self {
        Self(format!("{{ fail: {system} }}"))
    }

    /// A system keeps nothing from here on.
    pub(crate) fn lose(system: &str) -> Self {
        Self(format!("{{ lose: {system} }}"))
    }

    pub(crate) fn approve(draft: &str, by: &str, end: &str) -> Self {
        Self(format!("{{ approve: {draft}, by: {by}, expect: {end} }}"))
    }

    /// An approval that is not taken, for whatever reason.
    pub(crate) fn wrong(draft: &str, by: &str) -> Self {
        Self::approve(draft, by, "refused")
    }

    pub(crate) fn reject(draft: &str, by: &str) -> Self {
        Self(format!("{{ reject: {draft}, by: {by}, reason: \"No.\", expect: rejected }}"))
    }
}

impl Drafted {
    pub(crate) fn new(
        (name, shows, kind): (&str, String, CaseKind),
        caller: &Caller,
        script: Vec<Line>,
    ) -> Self {
        let legal =
            |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' };
        let name: String = name.chars().map(legal).take(56).collect();
        Self {
            name,
            shows,
            kind,
            caller: caller.clone(),
            script,
            plants: Vec::new(),
            goal: None,
            executed: Vec::new(),
            never: Vec::new(),
            contains: Vec::new(),
            asked: None,
        }
    }

    pub(crate) fn executed(&mut self, tool: &str, times: u32) {
        self.executed.push((tool.to_owned(), times));
    }

    pub(crate) fn never(&mut self, tool: &str) {
        self.never.push(tool.to_owned());
    }

    pub(crate) fn contains(&mut self, text: &str) {
        self.contains.push(text.to_owned());
    }

    pub(crate) fn asked(&mut self, asked: usize) {
        self.asked = Some(asked);
    }

    pub(crate) fn plant(&mut self, tool: &str, arguments: Map<String, Value>, text: &str) {
        let arguments = flow(&Value::Object(arguments));
        self.plants
            .push(format!("{{ tool: {tool}, arguments: {arguments}, text: {} }}", quoted(text)));
    }

    pub(crate) fn goal(&mut self, goal: String) {
        self.goal = Some(goal);
    }

    /// Gives it a name that no other of the file has.
    pub(crate) fn rename(&mut self, taken: &BTreeSet<String>) {
        let stem = self.name.clone();
        let mut number = 2_u32;
        while taken.contains(&self.name) {
            self.name = format!("{stem}-{number}");
            number = number.saturating_add(1);
        }
    }

    fn text(&self) -> String {
        let Self { name, shows, kind, .. } = self;
        let mut text = format!(
            "  - case: {name}\n    shows: {}\n    kind: {}\n",
            quoted(shows),
            kind.as_str()
        );
        text.push_str(&format!("    caller: {}\n", caller(&self.caller)));
        let mut list = |key: &str, lines: &mut dyn Iterator<Item = &String>| {
            let mut lines = lines.peekable();
            if lines.peek().is_some() {
                text.push_str(&format!("    {key}:\n"));
                lines.for_each(|line| text.push_str(&format!("      - {line}\n")));
            }
        };
        list("plants", &mut self.plants.iter());
        list("script", &mut self.script.iter().map(|line| &line.0));
        if let Some(goal) = &self.goal {
            text.push_str(&format!("    goal: {goal}\n"));
        }
        let mut expect = Vec::new();
        if !self.executed.is_empty() {
            let counts = self.executed.iter().map(|(tool, times)| format!("{tool}: {times}"));
            expect.push(format!("executed: {{ {} }}", counts.collect::<Vec<_>>().join(", ")));
        }
        if !self.never.is_empty() {
            expect.push(format!("never: [{}]", self.never.join(", ")));
        }
        expect.extend(self.asked.map(|asked| format!("asked: {asked}")));
        if !self.contains.is_empty() {
            let texts: Vec<_> = self.contains.iter().map(|text| quoted(text)).collect();
            expect.push(format!("contains: [{}]", texts.join(", ")));
        }
        if !expect.is_empty() {
            text.push_str(&format!("    expect: {{ {} }}\n", expect.join(", ")));
        }
        text
    }
}

pub(crate) fn caller(caller: &Caller) -> String {
    let Caller { agent, tenant, user, claims, scopes, token, session: _ } = caller;
    let mut keys = vec![format!("agent: {agent}"), format!("tenant: {}", quoted(tenant))];
    keys.extend(user.iter().map(|user| format!("user: {}", quoted(user))));
    if !claims.is_empty() {
        let claims = claims.iter().map(|(name, values)| {
            let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
            format!("{name}: [{}]", values.join(", "))
        });
        keys.push(format!("claims: {{ {} }}", claims.collect::<Vec<_>>().join(", ")));
    }
    if !scopes.is_empty() {
        let scopes: Vec<_> = scopes.iter().map(|scope| quoted(scope)).collect();
        keys.push(format!("scopes: [{}]", scopes.join(", ")));
    }
    if *token != Default::default() {
        keys.push(format!("token: {}", token.as_str()));
    }
    format!("{{ {} }}", keys.join(", "))
}

/// A value as YAML on one line, which is JSON with what people cannot see written out.
pub(crate) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{}: {}", quoted(name), flow(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

pub(crate) fn quoted(text: &str) -> String {
    Value::from(shown(text)).to_string()
}
