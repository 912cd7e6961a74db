//! What arguments one schema takes and another does not.

use super::pattern::beyond;
use super::{Change, Notes, Way};
use crate::permission::budget;
use crate::proof::example::fitting;
use crate::sample::{at as found_at, put};
use countersign_core::ladder::{Budget, Summed};
use countersign_core::scope::Step;
use countersign_core::tool::Tool;
use countersign_posture::schema::compile;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What is said of arguments and never of which values they take.
const SILENT: [&str; 4] = ["description", "title", "text", "public"];

/// Both tools, and where in their arguments.
struct At<'a> {
    tools: (&'a Tool, &'a Tool),
    steps: Vec<Step>,
}

type Schema = Map<String, Value>;

/// Compares what two tools of one name take.
pub(super) fn diff(notes: &mut Notes<'_>, old: &Tool, new: &Tool) {
    object(notes, &At { tools: (old, new), steps: Vec::new() }, (&old.input, &new.input));
}

impl At<'_> {
    fn then(&self, step: Step) -> Self {
        let steps = self.steps.iter().cloned().chain([step]).collect();
        Self { tools: self.tools, steps }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            match step {
                Step::Member(name) if path.is_empty() => path.push_str(name),
                Step::Member(name) => path.extend([".", name]),
                Step::Each => path.push_str("[]"),
            }
        }
        path
    }

    /// Arguments with `value` here that the new tool takes and the old does not.
    fn example(&self, value: Value) -> Option<Value> {
        let (old, new) = self.tools;
        let Value::Object(mut arguments) = fitting(&new.input)? else { return None };
        put(&mut arguments, &self.steps, value);
        let arguments = Value::Object(arguments);
        let newly = new.schema.issues(&arguments).is_empty();
        (newly && !old.schema.issues(&arguments).is_empty()).then_some(arguments)
    }

    fn wider(
        &self,
        notes: &mut Notes<'_>,
        mut says: String,
        values: impl IntoIterator<Item = Value>,
    ) {
        let mut values: Vec<_> = values.into_iter().collect();
        // Where a sum is kept to, as much as it leaves.
        let sums: Vec<_> =
            self.tools.1.ladder.budgets.iter().filter(|sum| self.is_of(sum)).collect();
        values.extend(sums.iter().map(|sum| Value::from(sum.max)));
        let examples: Vec<_> = values.into_iter().filter_map(|value| self.example(value)).collect();
        let within =
            |example: &&Value| sums.iter().all(|sum| spent(sum, example) <= u128::from(sum.max));
        let example = examples.iter().find(within).cloned();
        if let (None, false, Some(sum)) = (&example, examples.is_empty(), sums.first()) {
            says.push_str(&format!("; its sum refuses what that lets through: {}", budget(sum)));
        }
        let (agent, tool) = (notes.agent.cloned(), notes.tool.cloned());
        notes.changes.push(Change { agent, tool, way: Way::Wider, says, example });
    }

    /// Whether a sum is of what is here.
    fn is_of(&self, sum: &Budget) -> bool {
        matches!(&sum.of, Summed::Argument(path) if path.steps() == self.steps)
    }
}

/// What arguments add to a sum.
fn spent(sum: &Budget, arguments: &Value) -> u128 {
    let (Summed::Argument(path), Value::Object(arguments)) = (&sum.of, arguments) else { return 0 };
    found_at(arguments, path).into_iter().filter_map(Value::as_u64).map(u128::from).sum()
}

fn member<'a>(schema: &'a Schema, key: &str) -> Option<&'a Schema> {
    schema.get(key).and_then(Value::as_object)
}

fn required(schema: &Schema) -> BTreeSet<&str> {
    let required = schema.get("required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn object(notes: &mut Notes<'_>, at: &At<'_>, (old, new): (&Schema, &Schema)) {
    let empty = Map::new();
    let [of_old, of_new] = [old, new].map(|schema| member(schema, "properties").unwrap_or(&empty));
    let (needed_by_old, needed_by_new) = (required(old), required(new));
    for (name, schema) in of_new {
        let Value::Object(schema) = schema else { continue };
        let at = at.then(Step::Member(name.clone()));
        let path = at.path();
        let Some(before) = of_old.get(name).and_then(Value::as_object) else {
            let value = fitting(schema);
            at.wider(notes, format!("takes a new argument `{path}`"), value);
            continue;
        };
        match (needed_by_old.contains(name.as_str()), needed_by_new.contains(name.as_str())) {
            (true, false) => {
                let says = format!("`{path}` may be left out");
                // Of what else it takes there is an example without it.
                let (agent, tool) = (notes.agent.cloned(), notes.tool.cloned());
                let example = fitting(&at.tools.1.input);
                let example = example.filter(|whole| !at.tools.0.schema.issues(whole).is_empty());
                notes.changes.push(Change { agent, tool, way: Way::Wider, says, example });
            }
            (false, true) => notes.note(Way::Narrower, format!("`{path}` has to be there")),
            (true, true) | (false, false) => {}
        }
        value(notes, &at, (before, schema));
    }
    for name in of_old.keys().filter(|name| !of_new.contains_key(*name)) {
        let path = at.then(Step::Member(name.clone())).path();
        // What had to be sent need not be any more: a call without it is another than before.
        match needed_by_old.contains(name.as_str()) {
            true => {
                notes.note(Way::Wider, format!("takes no argument `{path}`, and calls without it"))
            }
            false => notes.note(Way::Narrower, format!("takes no argument `{path}`")),
        }
    }
}

fn value(notes: &mut Notes<'_>, at: &At<'_>, (old, new): (&Schema, &Schema)) {
    let path = at.path();
    let of =
        |schema: &Schema| schema.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (was, is) = (of(old), of(new));
    if was != is {
        let way = format!("`{path}` is of type {is}, was {was}");
        match (was.as_str(), is.as_str()) {
            ("number", "integer") => notes.note(Way::Narrower, way),
            _ => at.wider(notes, way, fitting(new)),
        }
    }
    if is == "object" && was == "object" {
        object(notes, at, (old, new));
    } else if is == "array" && was == "array" {
        let [of_old, of_new] = [old, new].map(|schema| member(schema, "items"));
        if let (Some(of_old), Some(of_new)) = (of_old, of_new) {
            value(notes, &at.then(Step::Each), (of_old, of_new));
        }
    }
    if !listed(notes, at, (old, new)) {
        numbers(notes, at, (old, new));
        texts(notes, at, (old, new));
    }
    let known = [
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
        "format",
        "uniqueItems",
        "additionalProperties",
    ];
    let others: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in others {
        let silent = known.contains(&key.as_str()) || SILENT.contains(&key.as_str());
        if !silent && old.get(key) != new.get(key) {
            notes.note(Way::Wider, format!("`{path}` has another `{key}`"));
        }
    }
}

fn allowed(schema: &Schema) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(only), _) => Some(vec![only]),
        (None, listed) => listed.map(|listed| listed.iter().collect()),
    }
}

/// Lists of values, each value held against the schemas of its place as a whole: what stands beside a list
/// narrows it too. Whether the new one is a list, of which nothing else has to be said.
fn listed(notes: &mut Notes<'_>, at: &At<'_>, (old, new): (&Schema, &Schema)) -> bool {
    let path = at.path();
    let told = |values: &[&Value]| {
        values.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
    };
    let [by_old, by_new] = [old, new].map(|schema| compile(schema).ok());
    // INVARIANT: what cannot be decided is taken by the new one, and not by the old.
    let taken = |value: &&Value| by_old.as_ref().is_some_and(|by| by.issues(value).is_empty());
    let takes = |value: &&Value| by_new.as_ref().is_none_or(|by| by.issues(value).is_empty());
    match (allowed(old), allowed(new)) {
        (before, Some(listed)) => {
            let more = listed.iter().copied().filter(|value| takes(value) && !taken(value));
            let more: Vec<_> = more.collect();
            let less = before.iter().flatten().copied();
            let less: Vec<_> = less.filter(|value| taken(value) && !takes(value)).collect();
            if !more.is_empty() {
                let says = format!("`{path}` may also be {}", told(&more));
                at.wider(notes, says, more.iter().copied().cloned());
            }
            if !less.is_empty() {
                notes.note(Way::Narrower, format!("`{path}` may not be {} any more", told(&less)));
            }
            if before.is_none() && more.is_empty() {
                let says = format!("`{path}` is one of {} only", told(&listed));
                notes.note(Way::Narrower, says);
            }
            true
        }
        (Some(_), None) => {
            let says = format!("`{path}` is bound to no list any more");
            at.wider(notes, says, others(new));
            false
        }
        (None, None) => false,
    }
}

/// Some values that fit, beside the first.
fn others(schema: &Schema) -> Vec<Value> {
    let ends = ["minimum", "maximum"].into_iter().filter_map(|key| schema.get(key).cloned());
    fitting(schema).into_iter().chain(ends).collect()
}

/// A bound from below or from above, in a word and its key.
fn numbers(notes: &mut Notes<'_>, at: &At<'_>, (old, new): (&Schema, &Schema)) {
    let path = at.path();
    for (key, upper, unit) in [
        ("maximum", true, ""),
        ("minimum", false, ""),
        ("maxLength", true, " characters"),
        ("minLength", false, " characters"),
        ("maxItems", true, " items"),
        ("minItems", false, " items"),
    ] {
        let [was, is] = [old, new].map(|schema| schema.get(key));
        // A list that is there no longer has said so.
        if was == is || allowed(old).is_some() {
            continue;
        }
        let told = |bound: Option<&Value>| {
            bound.map_or_else(|| "unbounded".to_owned(), ToString::to_string)
        };
        let word = if upper { "up to" } else { "from" };
        let says = format!("`{path}` may be {word} {}{unit}, was {}{unit}", told(is), told(was));
        let number = |bound: Option<&Value>| bound.and_then(Value::as_f64);
        let wider = match (number(was), number(is)) {
            // They differ, if perhaps by less than can be told here.
            (Some(was), Some(is)) if upper => is >= was,
            (Some(was), Some(is)) => is <= was,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        match wider {
            true => at.wider(
                notes,
                money(&path, says, (was, is)),
                is.cloned().filter(|_| unit.is_empty()),
            ),
            false => notes.note(Way::Narrower, money(&path, says, (was, is))),
        }
    }
}

/// Amounts in cents once more as money.
fn money(path: &str, says: String, (was, is): (Option<&Value>, Option<&Value>)) -> String {
    let cents = |value: Option<&Value>| {
        let cents = value.and_then(Value::as_u64)?;
        Some(format!("{}.{:02}", cents.div_euclid(100), cents.rem_euclid(100)))
    };
    match (path.ends_with("_cents"), cents(was), cents(is)) {
        (true, Some(was), Some(is)) => format!("{says} ({is}, was {was})"),
        _ => says,
    }
}

fn texts(notes: &mut Notes<'_>, at: &At<'_>, (old, new): (&Schema, &Schema)) {
    let path = at.path();
    let text =
        |schema: &Schema, key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
    if allowed(old).is_none() {
        match (text(old, "pattern"), text(new, "pattern")) {
            (was, is) if was == is => {}
            (Some(was), None) => {
                let says = format!("`{path}` need not have the form {was} any more");
                at.wider(notes, says, fitting(new).into_iter().chain([json!("")]));
            }
            (None, Some(is)) => {
                notes.note(Way::Narrower, format!("`{path}` has to have the form {is}"))
            }
            (Some(was), Some(is)) => {
                let says = format!("`{path}` has the form {is}, was {was}");
                match beyond(&is, &was) {
                    Ok(Some(found)) => at.wider(notes, says, [json!(found)]),
                    Ok(None) => match beyond(&was, &is) {
                        Ok(None) => notes.note(Way::Other, format!("{says}, which is the same")),
                        Ok(Some(_)) | Err(_) => notes.note(Way::Narrower, says),
                    },
                    Err(why) => notes.note(Way::Wider, format!("{says}; undecided: {why}")),
                }
            }
            (None, None) => {}
        }
        match (text(old, "format"), text(new, "format")) {
            (was, is) if was == is => {}
            (None, Some(is)) => notes.note(Way::Narrower, format!("`{path}` has to be an {is}")),
            (Some(was), _) => {
                at.wider(notes, format!("`{path}` need not be an {was} any more"), fitting(new));
            }
            (None, None) => {}
        }
    }
    let unique =
        |schema: &Schema| schema.get("uniqueItems").and_then(Value::as_bool).unwrap_or(false);
    match (unique(old), unique(new)) {
        (true, false) => notes.note(Way::Wider, format!("`{path}` may hold a thing twice")),
        (false, true) => notes.note(Way::Narrower, format!("`{path}` holds each thing once")),
        (true, true) | (false, false) => {}
    }
}
