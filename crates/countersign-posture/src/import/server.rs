//! What an MCP server defines → its pins, and a draft for each definition.

use super::argument::{Schemas, members};
use super::{
    Argument, Drafted, Tool, argument_name, comment, described, items, list, may_say_whose, quoted,
    snake, text, untaken,
};
use crate::bound::{DRAFTS_MAX, PINS_BYTES_MAX};
use crate::decode::Decoder;
use crate::finding::{Finding, Severity, Source};
use crate::pin::{self, LISTS, PinFile, called};
use countersign_core::args::{parse_answer, parse_document};
use countersign_core::id::{Digest, SystemName};
use countersign_core::screen;
use countersign_core::tool::Defined;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A definition as a server gave it, and of which kind.
pub type Definition = (Defined, Map<String, Value>);

/// Reads a saved answer: of `tools/list` or another list, with or without what JSON-RPC puts around it,
/// or a list of tools alone.
///
/// # Errors
/// It is no such thing: a sentence.
pub fn saved(text: &str) -> Result<Vec<Definition>, String> {
    let answer = parse_document(text.as_bytes()).map_err(|error| error.to_string())?;
    let answer = answer.get("result").unwrap_or(&answer);
    let answer = match answer {
        Value::Array(_) => json!({ "tools": answer }),
        answer => answer.clone(),
    };
    let lists = LISTS.into_iter().chain([("resourceTemplates", Defined::Template)]);
    let mut found = Vec::new();
    for (key, of) in lists {
        for definition in items(&answer, key) {
            let Value::Object(definition) = definition else {
                return Err(format!("under `{key}` stands what is no definition"));
            };
            found.push((of, definition.clone()));
        }
    }
    match found.as_slice() {
        [] => Err("it lists no tools, resources, templates or prompts".to_owned()),
        _ => Ok(found),
    }
}

/// What is to be pinned, and how it differs from what was.
#[derive(Debug)]
pub struct Pinning {
    /// The file, relative to the posture's folder.
    pub path: String,
    /// What it says.
    pub text: String,
    /// What was not pinned before.
    pub added: Vec<(Defined, String)>,
    /// What is defined otherwise now than it was pinned.
    pub changed: Vec<Changed>,
    /// What is pinned, and not defined any more.
    pub gone: Vec<(Defined, String)>,
    /// What cannot be pinned, and why.
    pub left_out: Vec<String>,
    /// What is pinned, as it will stand in the file.
    pinned: BTreeMap<(Defined, String), Map<String, Value>>,
}

/// A definition that differs from its pin.
#[derive(Debug)]
pub struct Changed {
    /// Of which kind.
    pub of: Defined,
    /// The server's name of it.
    pub name: String,
    /// Line by line, with `-` before what was and `+` before what is.
    pub diff: String,
    /// Whether the pin is replaced.
    pub repinned: bool,
}

/// Pins what a server defines beside `before`, the file as it is. What is pinned already stays as it is,
/// unless `repin` names it: a person has to have seen what changed.
///
/// # Errors
/// What is wrong with the file as it is.
pub fn pinned(
    system: &SystemName,
    before: Option<&str>,
    defined: Vec<Definition>,
    repin: &BTreeSet<String>,
) -> Result<Pinning, Vec<Finding>> {
    let path = format!("pins/{system}.json");
    let before = before.map_or(Ok(PinFile::default()), |before| read(&path, before))?;
    let was: BTreeMap<_, _> = before.pinned.into_iter().collect();
    let mut pinning = Pinning {
        path,
        text: String::new(),
        added: Vec::new(),
        changed: Vec::new(),
        gone: Vec::new(),
        left_out: Vec::new(),
        pinned: was.iter().map(|(of, pin)| (of.clone(), pin.definition.clone())).collect(),
    };
    let digests: BTreeMap<_, Digest> = was.iter().map(|(of, pin)| (of, pin.digest)).collect();
    let mut seen = BTreeSet::new();
    for (of, definition) in defined {
        let Some(name) = of.name(&definition).map(str::to_owned) else {
            pinning.left_out.push(format!("a {} without a name", called(of)));
            continue;
        };
        let key = (of, name.clone());
        if !seen.insert(key.clone()) {
            // Which of them would be called?
            pinning.left_out.push(format!("the {} `{}` a second time", called(of), comment(&name)));
            continue;
        }
        let kept = match cut(of, &definition) {
            Ok(kept) => kept,
            Err(why) => {
                pinning.left_out.push(format!("the {} `{}`: {why}", called(of), comment(&name)));
                continue;
            }
        };
        match (digests.get(&key), pinning.pinned.get(&key)) {
            (Some(digest), _) if *digest == kept.1 => {}
            (Some(_), Some(was)) => {
                let repinned = repin.contains(&name);
                let diff = difference(&pretty(was), &pretty(&kept.0));
                pinning.changed.push(Changed { of, name, diff, repinned });
                if repinned {
                    pinning.pinned.insert(key, kept.0);
                }
            }
            _ => {
                pinning.pinned.insert(key.clone(), kept.0);
                pinning.added.push(key);
            }
        }
    }
    pinning.gone = was.into_keys().filter(|key| !seen.contains(key)).collect();
    pinning.added.sort_unstable();
    pinning.text = file(system, &pinning.pinned);
    Ok(pinning)
}

fn read(path: &str, text: &str) -> Result<PinFile, Vec<Finding>> {
    let mut decoder = Decoder::new(Arc::new(Source::new("", path, text)));
    let read = pin::decode(&mut decoder);
    let wrong = decoder.findings.iter().any(|finding| finding.severity() == Severity::Error);
    read.filter(|_| !wrong).ok_or(decoder.findings)
}

/// What a pin keeps, if the file's reader would take it.
fn cut(
    of: Defined,
    definition: &Map<String, Value>,
) -> Result<(Map<String, Value>, Digest), String> {
    let (kept, digest) = of.pin(definition).map_err(|error| error.to_string())?;
    if of == Defined::Tool && !kept.get("inputSchema").is_some_and(Value::is_object) {
        return Err("it has no `inputSchema`".to_owned());
    }
    if screen::strip_hidden(&mut Value::Object(kept.clone())) > 0 {
        return Err(
            "it holds characters that people cannot see, and nobody can review it".to_owned()
        );
    }
    // The file puts two levels around it.
    let text = pretty(&kept);
    if text.len() > PINS_BYTES_MAX {
        return Err(format!("it is longer than {PINS_BYTES_MAX} bytes"));
    }
    let again =
        parse_answer(format!("[[{text}]]").as_bytes()).map_err(|error| error.to_string())?;
    match again.pointer("/0/0") {
        Some(Value::Object(again)) if *again == kept => Ok((kept, digest)),
        _ => Err("it does not read as it is written".to_owned()),
    }
}

fn pretty(definition: &Map<String, Value>) -> String {
    serde_json::to_string_pretty(definition).unwrap_or_default()
}

fn file(system: &SystemName, pinned: &BTreeMap<(Defined, String), Map<String, Value>>) -> String {
    let mut whole = Map::from_iter([("system".to_owned(), json!(system.as_str()))]);
    for (list, of) in LISTS {
        let definitions = pinned.iter().filter(|((kind, _), _)| *kind == of);
        let definitions: Vec<_> = definitions.map(|(_, definition)| json!(definition)).collect();
        if !definitions.is_empty() {
            whole.insert(list.to_owned(), Value::Array(definitions));
        }
    }
    pretty(&whole) + "\n"
}

/// Most lines of each side that are compared line by line.
const LINES_COMPARED_MAX: usize = 2_000;

/// Two texts line by line: what both have, what only the one or the other has.
fn difference(was: &str, is: &str) -> String {
    let (was, is): (Vec<_>, Vec<_>) = (was.lines().collect(), is.lines().collect());
    let same = was.iter().zip(&is).take_while(|(a, b)| a == b).count();
    let (was_rest, is_rest) =
        (was.get(same..).unwrap_or_default(), is.get(same..).unwrap_or_default());
    let tail = was_rest.iter().rev().zip(is_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = |lines: &[&'_ str]| {
        let end = lines.len().saturating_sub(tail);
        lines
            .get(..end)
            .unwrap_or_default()
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    let (old, new) = (middle(was_rest), middle(is_rest));
    let mut told = Vec::new();
    let around = |lines: &[&str]| lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>();
    told.extend(around(was.get(same.saturating_sub(AROUND)..same).unwrap_or_default()));
    if old.len().max(new.len()) <= LINES_COMPARED_MAX {
        told.extend(steps(&old, &new));
    } else {
        told.extend(old.iter().map(|line| format!("- {line}")));
        told.extend(new.iter().map(|line| format!("+ {line}")));
    }
    let after = was.len().saturating_sub(tail);
    let end = after.saturating_add(AROUND).min(was.len());
    told.extend(around(was.get(after..end).unwrap_or_default()));
    told.join("\n")
}

/// Lines shown around a difference.
const AROUND: usize = 3;

/// The shortest way from one list of lines to another.
fn steps(old: &[String], new: &[String]) -> Vec<String> {
    // How many lines the rests from here on have in common.
    let width = new.len().saturating_add(1);
    let mut common = vec![0u16; old.len().saturating_add(1).saturating_mul(width)];
    let at = |row: usize, column: usize| row.saturating_mul(width).saturating_add(column);
    let value = |common: &[u16], row, column| common.get(at(row, column)).copied().unwrap_or(0);
    for (row, left) in old.iter().enumerate().rev() {
        for (column, right) in new.iter().enumerate().rev() {
            let next = match left == right {
                true => value(&common, row + 1, column + 1).saturating_add(1),
                false => value(&common, row + 1, column).max(value(&common, row, column + 1)),
            };
            if let Some(cell) = common.get_mut(at(row, column)) {
                *cell = next;
            }
        }
    }
    let mut told = Vec::new();
    let (mut row, mut column) = (0, 0);
    loop {
        match (old.get(row), new.get(column)) {
            (Some(left), Some(right)) if left == right => {
                told.push(format!("  {left}"));
                (row, column) = (row + 1, column + 1);
            }
            (Some(left), right)
                if right.is_none()
                    || value(&common, row + 1, column) >= value(&common, row, column + 1) =>
            {
                told.push(format!("- {left}"));
                row += 1;
            }
            (_, Some(right)) => {
                told.push(format!("+ {right}"));
                column += 1;
            }
            (_, None) => return told,
        }
    }
}

// ── drafts ──────────────────────────────────────────────────────────────────────────────────────

/// Makes drafts for what is newly pinned, reads first by the words of their names. `taken` are names of
/// tools that ask others: one of the server's that is the same begins with the system's.
#[must_use]
pub fn drafts(pinning: &Pinning, system: &SystemName, mut taken: BTreeSet<String>) -> Drafted {
    let mut found = Drafted::default();
    let mut added: Vec<_> = pinning.added.iter().collect();
    added.sort_by_key(|(of, name)| (*of != Defined::Tool, !reads(name), *of, name.clone()));
    for key in added {
        let Some(definition) = pinning.pinned.get(key) else { continue };
        if found.drafts.len() >= DRAFTS_MAX {
            found.left_out.push(format!("{}: {DRAFTS_MAX} drafts are the most", comment(&key.1)));
            continue;
        }
        match draft(key, definition, (system, &mut taken)) {
            Ok(tool) => found.take(tool.draft()),
            Err(why) => {
                found.left_out.push(format!("the {} `{}`: {why}", called(key.0), comment(&key.1)))
            }
        }
    }
    found
}

/// Whether a name reads, by its words.
fn reads(name: &str) -> bool {
    const READS: [&str; 17] = [
        "get",
        "list",
        "search",
        "find",
        "read",
        "show",
        "describe",
        "fetch",
        "query",
        "count",
        "lookup",
        "view",
        "check",
        "download",
        "summarize",
        "explain",
        "compare",
    ];
    let name = snake(name);
    name.split('_').next().is_some_and(|first| READS.contains(&first))
}

fn draft<'a>(
    (of, name): &(Defined, String),
    definition: &Map<String, Value>,
    (system, taken): (&'a SystemName, &mut BTreeSet<String>),
) -> Result<Tool<'a>, String> {
    if super::one_line(name) != *name {
        return Err("its name holds what no name does".to_owned());
    }
    let whole = Value::Object(definition.clone());
    let asked = match of {
        Defined::Tool => of_tool(name, &whole),
        Defined::Prompt => of_prompt(name, &whole),
        Defined::Resource | Defined::Template => of_resource(name)?,
    };
    let shown = match of {
        Defined::Resource | Defined::Template => {
            snake(&format!("read {}", text(&whole, "name").unwrap_or("resource")))
        }
        Defined::Prompt => snake(&format!("{name} prompt")),
        Defined::Tool => snake(name),
    };
    let shown = if taken.contains(&shown) { snake(&format!("{system} {shown}")) } else { shown };
    let shown = untaken(if shown.is_empty() { "tool" } else { &shown }, taken);
    let whose: Vec<_> =
        asked.inputs.iter().map(|(name, _)| name).filter(|n| may_say_whose(n)).cloned().collect();
    let scope = match whose.as_slice() {
        [] => "what ties it to its caller. The server takes nothing that looks as if it said whose something is: `public`, with why anybody may, or `owned` for what an argument names".to_owned(),
        names => format!(
            "what ties it to its caller. The server takes {}, which may say whose; bound from the token, as {}: {{ bind: caller.tenant }}, it leaves `input`",
            list(names),
            names.first().map_or("", String::as_str)
        ),
    };
    let words = text(&whole, "description").or(text(&whole, "title"));
    let mut remarks = asked.remarks;
    if let Some(annotations) = whole.get("annotations") {
        remarks.push(format!("The server says of it {annotations}, which nobody has to believe."));
    }
    Ok(Tool {
        name: shown,
        from: format!("the {} {} of {system}", called(*of), comment(name)),
        remarks,
        description: described(words.unwrap_or_default()),
        reads: false,
        effect: match of {
            Defined::Tool if !reads(name) => {
                "reversible, persistent or irreversible; read, if it changes nothing".to_owned()
            }
            _ => "read, by its name, if it changes nothing".to_owned(),
        },
        inputs: asked.inputs,
        scope,
        system,
        call: asked.call,
    })
}

#[derive(Default)]
struct Asked {
    inputs: Vec<(String, Argument)>,
    call: Vec<String>,
    remarks: Vec<String>,
}

fn of_tool(name: &str, definition: &Value) -> Asked {
    let schema = definition.get("inputSchema").unwrap_or(&Value::Null);
    let mut schemas = Schemas::new(schema);
    let mut taken = BTreeSet::new();
    let found = members(&mut schemas, schema, &mut taken).unwrap_or_default();
    let mut asked = Asked { call: vec![format!("tool: {}", quoted(name))], ..Asked::default() };
    let mut pairs = Vec::new();
    for (theirs, own, argument) in found {
        if super::one_line(&theirs) != theirs {
            asked.remarks.push(
                "TODO: an argument whose name holds what no name does was left out.".to_owned(),
            );
            continue;
        }
        pairs.push(format!("  {}: \"{{{own}}}\"", quoted(&theirs)));
        asked.inputs.push((own, argument));
    }
    if !pairs.is_empty() {
        asked.call.push("arguments:".to_owned());
        asked.call.append(&mut pairs);
    }
    if let Some(rows) = rows(definition) {
        asked.call.push(format!("# result: {rows}   # if its elements are the rows"));
    }
    asked
}

/// Where the rows of an answer may be: the only list that the output schema has.
fn rows(definition: &Value) -> Option<String> {
    let output = definition.get("outputSchema")?;
    let lists =
        super::object(output, "properties").filter(|(_, of)| text(of, "type") == Some("array"));
    match lists.collect::<Vec<_>>()[..] {
        [(name, _)] if super::one_line(name) == *name && !name.contains(['~', '/', ' ']) => {
            Some(format!("/{name}"))
        }
        _ => None,
    }
}

fn of_prompt(name: &str, definition: &Value) -> Asked {
    let mut asked = Asked { call: vec![format!("prompt: {}", quoted(name))], ..Asked::default() };
    let mut taken = BTreeSet::new();
    let mut pairs = Vec::new();
    for argument in items(definition, "arguments") {
        let Some(theirs) = text(argument, "name").filter(|name| super::one_line(name) == *name)
        else {
            continue;
        };
        let own = argument_name(theirs, &mut taken);
        let mut input = loose();
        input.optional = argument.get("required") != Some(&Value::Bool(true));
        if let Some(Ok(words)) = text(argument, "description").map(described) {
            input.key("description", quoted(&words));
        }
        pairs.push(format!("  {}: \"{{{own}}}\"", quoted(theirs)));
        asked.inputs.push((own, input));
    }
    if !pairs.is_empty() {
        asked.call.push("arguments:".to_owned());
        asked.call.append(&mut pairs);
    }
    asked.remarks.push("With `offer: prompt` clients see it as a prompt.".to_owned());
    asked
}

fn of_resource(uri: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut taken = BTreeSet::new();
    let mut made = String::new();
    let mut rest = uri;
    while let Some((before, from)) = rest.split_once('{') {
        let (name, after) = from.split_once('}').ok_or("a brace in it stands alone")?;
        let name = name.strip_prefix('+').unwrap_or(name);
        if crate::input::identifier(name).is_some() {
            return Err(format!("`{{{}}}` is more than a name", comment(name)));
        }
        let own = untaken(name, &mut taken);
        made.push_str(&format!("{before}{{{own}}}"));
        asked.inputs.push((own, loose()));
        rest = after;
    }
    made.push_str(rest);
    asked.call.push(format!("resource: {}", quoted(&made)));
    asked.remarks.push("With `offer: resource` clients see it as a resource.".to_owned());
    Ok(asked)
}

/// A text of which nothing is known.
fn loose() -> Argument {
    Argument {
        keys: vec![("type", "string".to_owned())],
        missing: vec![
            "enum, pattern, or `text: true` for free text".to_owned(),
            "maxLength".to_owned(),
        ],
        ..Argument::default()
    }
}
