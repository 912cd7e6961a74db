//! The reference of all keys, as Markdown: `docs/posture.md`.

use super::{BEYOND, Defined, FileKind, Form, Key, Shape, kinds};
use crate::input::{TYPES, plain};

const HEAD: &str = "# Reference: what the files may say

<!-- Written by `countersign schema --markdown`; a test fails if it is not what the code says. -->

A posture is a folder: `posture.yaml`, one file for each agent, tool and system, [policies](policies.md) written by hand where they are needed, and [pins](mcp-servers.md) of what MCP servers define, which are JSON, written by `countersign import mcp` and read by people. The deployment, `countersign.yaml`, stands outside it. [The tutorial](tutorial.md) makes one of each; [examples/acme](../examples/acme) is a company with all of them.

Files are YAML without what YAML readers disagree on: no anchors, tags, merge keys or second documents; `true` and `false` are the only booleans, numbers are decimal. A key that is not in these tables is refused. `NAME` stands for a key of your own, `[]` for every element of a list.

`countersign schema KIND` prints the same as JSON Schema, for editors: `countersign init` keeps the schemas in `.countersign/schemas` and names them in the first line of each file it writes. `countersign check` finds everything that a schema can tell and the rest ([what that is](#what-only-check-can-tell)); [lints.md](lints.md) explains each finding.
";

const ARGUMENTS: &str = "
## Arguments

An argument under `input` takes one of these forms, told apart by `type`. Members of `properties` are arguments too; `items` is one without `optional`. Keys that a form does not have are refused. Those of every form:

| key | | | value |
| --- | --- | --- | --- |
";

const CHECK: &str = "
## What only `check` can tell

A schema sees the data of one file. It accepts these mistakes, all of them or some:

";

/// The text of `docs/posture.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for kind in FileKind::ALL {
        let kinds::Kind { title, about, shape } = kinds::kind(kind);
        text.push_str(&format!("\n## {title}\n\n{about}\n\n{TABLE}"));
        rows(&mut text, "", &shape);
    }
    text.push_str(ARGUMENTS);
    let words = TYPES.map(|(word, _)| word);
    rows(&mut text, "", &Shape::Map(kinds::common(Defined::Argument, words)));
    for Form { title, word, keys, needs } in kinds::forms() {
        let needs: Vec<_> =
            needs.iter().map(|keys| format!("`{}`", keys.join("` and `"))).collect();
        let needs = match needs.as_slice() {
            [] => String::new(),
            needs => format!(", with {}", needs.join(", or ")),
        };
        text.push_str(&format!("\n### {title}: `type: {word}`{needs}\n\n"));
        if !keys.is_empty() {
            text.push_str(TABLE);
            rows(&mut text, "", &Shape::Map(keys));
        }
    }
    text.push_str(CHECK);
    for (code, _, what) in BEYOND {
        let what = if what.is_empty() { code.summary() } else { what };
        text.push_str(&format!("- [`{code}`](lints.md#{code}): {what}\n"));
    }
    text
}

const TABLE: &str = "| key | | | value |\n| --- | --- | --- | --- |\n";

/// A row for every key that is worth one, and below it those of what stands there.
fn rows(text: &mut String, prefix: &str, shape: &Shape) {
    match shape {
        Shape::Leaf { .. } | Shape::Defined(_) => {}
        Shape::Map(keys) => keys.iter().for_each(|key| row(text, prefix, key, "")),
        Shape::One(keys) => keys.iter().for_each(|key| row(text, prefix, key, "one of these")),
        Shape::Kinds(keys, one) => {
            let (first, rest) = keys.split_at(keys.len().min(1));
            first.iter().for_each(|key| row(text, prefix, key, ""));
            one.iter().for_each(|key| row(text, prefix, key, "one of these"));
            rest.iter().for_each(|key| row(text, prefix, key, ""));
        }
        Shape::Either(_, map) => rows(text, prefix, map),
        Shape::Entries(fits) => {
            if let Some((_, of)) = fits.first() {
                rows(text, &format!("{prefix}NAME."), of);
            }
        }
        Shape::List { of, .. } => {
            let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
            rows(text, &format!("{prefix}[]."), of);
        }
    }
}

fn row(text: &mut String, prefix: &str, key: &Key, must: &str) {
    let Key { name, required, about, shape } = key;
    let must = if *required { "required" } else { must };
    if !about.is_empty() {
        text.push_str(&format!("| `{prefix}{name}` | {must} | {about} | {} |\n", value(shape)));
    }
    rows(text, &format!("{prefix}{name}."), shape);
}

/// What stands there; nothing of what has rows of its own.
fn value(shape: &Shape) -> String {
    match shape {
        // Words that may stand there are examples of themselves.
        Shape::Leaf { says, .. } if says.starts_with('`') => says.clone(),
        Shape::Leaf { says, example, .. } => {
            format!("{says}, as `{}`", plain(example).replace('|', "\\|"))
        }
        Shape::Defined(_) => "an [argument](#arguments)".to_owned(),
        Shape::List { of, items_min, .. } => match value(of) {
            of if of.is_empty() => of,
            of if *items_min > 0 => format!("a list, not empty, each {of}"),
            of => format!("a list, each {of}"),
        },
        Shape::Entries(fits) => match fits.first().map(|(_, of)| value(of)) {
            Some(of) if !of.is_empty() => format!("each {of}"),
            _ => String::new(),
        },
        Shape::Either(text, _) => format!("{}; or these keys", value(text)),
        Shape::Map(_) | Shape::One(_) | Shape::Kinds(..) => String::new(),
    }
}
