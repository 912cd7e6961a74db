//! Where a posture says what: for explanations, which show the line that a decision rests on.

use crate::finding::{Place, Source};
use crate::node::{self, Kind, Node, Span};
use countersign_core::principal::CallerRef;
use countersign_core::quota::{Counter, Window};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, OnceLock},
};

/// The files of a posture, to look things up in.
#[derive(Debug)]
pub struct Places {
    /// By path relative to the posture folder.
    files: BTreeMap<String, Written>,
}

/// A file, and its tree from the first question on: most are never asked about.
#[derive(Debug)]
struct Written {
    source: Arc<Source>,
    tree: OnceLock<Option<Node>>,
}

/// One step into a file's tree.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    /// The item of a list in which a key has this value.
    Item(&'a str, &'a str),
}

use Step::{Item, Key};

impl Places {
    pub(crate) fn new(files: &BTreeMap<String, Arc<Source>>) -> Self {
        let written = |(path, source): (&String, &Arc<Source>)| {
            (path.clone(), Written { source: Arc::clone(source), tree: OnceLock::new() })
        };
        Self { files: files.iter().map(written).collect() }
    }

    /// A stretch of a file, as others read it.
    #[must_use]
    pub fn stretch(&self, path: &str, span: Range<usize>) -> Option<Place> {
        let source = Arc::clone(&self.files.get(path)?.source);
        Some(Place { source, span })
    }

    /// Which client calls as an agent.
    #[must_use]
    pub fn identity(&self, agent: &str) -> Option<Place> {
        self.find(&agent_file(agent), &[Key("identity")])
    }

    /// An agent's grant of a tool.
    #[must_use]
    pub fn grant(&self, agent: &str, tool: &str) -> Option<Place> {
        self.find(&agent_file(agent), &[Key("grants"), Item("tool", tool)])
    }

    /// All grants of an agent.
    #[must_use]
    pub fn grants(&self, agent: &str) -> Option<Place> {
        self.find(&agent_file(agent), &[Key("grants")])
    }

    /// One key of a tool, e.g. `effect`.
    #[must_use]
    pub fn tool(&self, tool: &str, key: &str) -> Option<Place> {
        self.find(&tool_file(tool), &[Key(key)])
    }

    /// An argument of a tool by its path, with or without numbers in its brackets:
    /// `parcels[0].account_id`. What is not declared is where its parent is.
    #[must_use]
    pub fn argument(&self, tool: &str, path: &str) -> Option<Place> {
        let mut steps = vec![Key("input")];
        for (index, part) in path.split('.').enumerate() {
            let mut names = part.split('[');
            steps.extend((index > 0).then_some(Key("properties")));
            steps.extend(names.next().map(Key));
            steps.extend(names.map(|_each| Key("items")));
        }
        self.deepest(&tool_file(tool), &steps)
    }

    /// The scope rule of a tool for a path.
    #[must_use]
    pub fn scope(&self, tool: &str, path: &str) -> Option<Place> {
        self.find(&tool_file(tool), &[Key("scope"), Key(path)])
    }

    /// The claim that a part of the caller comes from.
    #[must_use]
    pub fn claim(&self, caller: &CallerRef) -> Option<Place> {
        let steps = match caller {
            CallerRef::Tenant => [Key("claims"), Key("tenant")],
            CallerRef::Subject => [Key("claims"), Key("subject")],
            CallerRef::Actor => [Key("claims"), Key("actor")],
            CallerRef::Attribute(name) => [Key("attributes"), Key(name)],
        };
        self.find(POSTURE, &[&[Key("identity")], steps.as_slice()].concat())
    }

    /// The limit that a counter of this agent's call of this tool enforces.
    #[must_use]
    pub fn limit(&self, agent: &str, tool: &str, counter: &Counter) -> Option<Place> {
        let key = match counter.window {
            Window::Alike => "identical_per_minute",
            Window::Minute => "per_minute",
            Window::Hour => "per_hour",
            // Of budgets, which are no limits of calls.
            Window::Day => return None,
            Window::Session => "per_session",
        };
        let own = [Key("limits"), Key(key)];
        match counter.key.split('/').next()? {
            "agent" => self.find(&agent_file(agent), &own).or_else(|| self.find(POSTURE, &own)),
            "tool" => self.find(&tool_file(tool), &own),
            "grant" => {
                let grant = [Key("grants"), Item("tool", tool)];
                self.find(&agent_file(agent), &[grant, own].concat())
            }
            "all" => self.find(POSTURE, &[Key("tenant_limits"), Key(key)]),
            _ => None,
        }
    }

    /// Where the last step leads; `None` if one leads nowhere.
    fn find(&self, file: &str, steps: &[Step<'_>]) -> Option<Place> {
        let (place, taken) = self.walk(file, steps)?;
        (taken == steps.len()).then_some(place)
    }

    /// Where the last step leads that leads anywhere.
    fn deepest(&self, file: &str, steps: &[Step<'_>]) -> Option<Place> {
        self.walk(file, steps).map(|(place, _taken)| place)
    }

    fn walk(&self, file: &str, steps: &[Step<'_>]) -> Option<(Place, usize)> {
        let Written { source, tree } = self.files.get(file)?;
        let root = tree.get_or_init(|| node::read(source, &mut Vec::new())).as_ref()?;
        let mut at = (root, root.span);
        let mut taken = 0usize;
        for step in steps {
            let Some(next) = step.take(at.0) else { break };
            at = next;
            taken = taken.saturating_add(1);
        }
        let Span { start, end } = at.1;
        Some((Place { source: Arc::clone(source), span: start..end }, taken))
    }
}

impl Step<'_> {
    /// The value that it leads to, and where that is written, key included.
    fn take<'n>(&self, node: &'n Node) -> Option<(&'n Node, Span)> {
        match (self, &node.kind) {
            (Key(key), Kind::Map(entries)) => {
                let entry = entries.iter().find(|entry| entry.key == *key)?;
                let span = Span { start: entry.key_span.start, end: entry.value.span.end };
                Some((&entry.value, span))
            }
            (Item(key, value), Kind::List(items)) => {
                let is_it = |item: &&Node| match Key(key).take(item) {
                    Some((Node { kind: Kind::Text(text), .. }, _)) => text == value,
                    _ => false,
                };
                items.iter().find(is_it).map(|item| (item, item.span))
            }
            _ => None,
        }
    }
}

const POSTURE: &str = "posture.yaml";

fn agent_file(agent: &str) -> String {
    format!("agents/{agent}.yaml")
}

fn tool_file(tool: &str) -> String {
    format!("tools/{tool}.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let agent =
            "grants:\n  - { tool: a, reason: r }\n  - tool: b\n    limits:\n      per_hour: 5\n";
        let tool = "input:\n  parcels:\n    items:\n      properties:\n        id: { type: string }\n\
                    scope:\n  \"parcels[].id\": { equals: caller.tenant }\n";
        let posture = "limits: { per_minute: 1, per_hour: 2 }\n";
        let files = [("agents/x.yaml", agent), ("tools/b.yaml", tool), (POSTURE, posture)];
        let source =
            |(path, text): (&str, &str)| (path.to_owned(), Arc::new(Source::new("", path, text)));
        Places::new(&files.into_iter().map(source).collect())
    }

    fn written(place: Option<Place>) -> Option<String> {
        place.map(|place| place.text().trim_end().to_owned())
    }

    fn counter(key: &str, window: Window) -> Counter {
        Counter::of_calls(key.to_owned(), window, 1)
    }

    #[test]
    fn each_part_is_found_where_it_is_written() {
        let places = places();
        let id = Some("id: { type: string }".to_owned());
        assert_eq!(written(places.argument("b", "parcels[3].id")), id);
        assert_eq!(written(places.argument("b", "parcels[].id")), id);
        let rule = "\"parcels[].id\": { equals: caller.tenant }".to_owned();
        assert_eq!(written(places.scope("b", "parcels[].id")), Some(rule));
        assert_eq!(written(places.grant("x", "a")), Some("{ tool: a, reason: r }".to_owned()));
        assert!(written(places.grant("x", "b")).unwrap().starts_with("tool: b"));
    }

    #[test]
    fn what_is_not_declared_is_where_its_parent_is() {
        let found = written(places().argument("b", "parcels[0].invented")).unwrap();
        assert!(found.starts_with("properties:"), "{found}");
        assert!(written(places().argument("b", "invented")).unwrap().starts_with("input:"));
        assert_eq!(written(places().argument("c", "x")), None);
        assert_eq!(written(places().scope("b", "x")), None);
    }

    #[test]
    fn a_limit_is_the_agents_own_or_the_postures() {
        let limit = |key: &str, window| written(places().limit("x", "b", &counter(key, window)));
        assert_eq!(limit("agent/x/tenant/t", Window::Minute), Some("per_minute: 1".to_owned()));
        assert_eq!(limit("grant/x/b/tenant/t", Window::Hour), Some("per_hour: 5".to_owned()));
        assert_eq!(limit("tool/b/tenant/t", Window::Hour), None);
        assert_eq!(limit("all/tenant/t", Window::Hour), None);
    }
}
