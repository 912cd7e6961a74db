//! What others ask about: the points of frameworks, and a questionnaire.

use super::evidence::Kind;
use super::{Block, Inputs, Section, listed, text};
use crate::threat::{Control, Lack, Model, Standing, State};
use countersign_posture::{Vendor, yaml_data};
use serde_json::Value;

const FRAMEWORKS: &str = include_str!("../../catalogues/frameworks.yaml");
const QUESTIONS: &str = include_str!("../../catalogues/questions.yaml");

fn word<'v>(entry: &'v Value, key: &str) -> Option<&'v str> {
    entry.get(key)?.as_str()
}

/// The controls that an entry names. `None` if it names one that there is not.
fn named<'m>(entry: &Value, model: &'m Model) -> Option<Vec<&'m Standing>> {
    let ids = entry.get("controls")?.as_array()?.iter();
    let found = ids.map(|id| {
        let control = Control::ALL.into_iter().find(|control| *id == control.as_str())?;
        model.standing(control)
    });
    found.collect()
}

/// What keeps them from being in force.
fn lacking(standings: &[&Standing]) -> Vec<String> {
    let lacks = standings.iter().flat_map(|standing| &standing.lacks);
    lacks.map(|Lack { why, place }| format!("{why} ({place})")).collect()
}

/// The evidence that an entry rests on besides, and what each lacks. `None` if it names one that there is not.
fn shown(entry: &Value, inputs: &Inputs<'_>) -> Option<Vec<(Kind, Option<String>)>> {
    let named = entry.get("evidence").and_then(Value::as_array).into_iter().flatten();
    let found = named.map(|name| {
        let kind = Kind::ALL.into_iter().find(|kind| *name == kind.as_str())?;
        Some((kind, inputs.ground.lacks(kind)))
    });
    found.collect()
}

pub(super) fn frameworks(inputs: &Inputs<'_>, model: &Model) -> Option<Section> {
    let mut blocks = vec![text(
        "Which points the controls bear on, by id. The words are this project's own; ids are to be held against your own copy of each framework. That a control is in force here is not a statement about your organisation.",
    )];
    let written = yaml_data(FRAMEWORKS)?;
    for framework in written.get("frameworks")?.as_array()? {
        blocks.push(Block::Heading(word(framework, "framework")?.to_owned()));
        let points = framework.get("points")?.as_array()?.iter().map(|point| {
            let standings = named(point, model)?;
            let controls = standings.iter().map(|standing| {
                format!("{} ({})", standing.control.as_str(), standing.state.as_str())
            });
            let evidence = shown(point, inputs)?;
            let evidence = evidence.iter().map(|(kind, lacks)| {
                let state = if lacks.is_none() { "there" } else { "missing" };
                format!("evidence/{}.json ({state})", kind.as_str())
            });
            Some(vec![
                word(point, "id")?.to_owned(),
                word(point, "here")?.to_owned(),
                listed(controls.chain(evidence)),
                word(point, "section")?.to_owned(),
            ])
        });
        let head = &["point", "here", "controls, and their state", "section"];
        blocks.push(Block::Table(head, points.collect::<Option<_>>()?));
    }
    Some(Section { id: "frameworks", title: "SOC 2 and ISO/IEC 42001", blocks })
}

/// What the records of vendors say under a key of `data`.
fn of_vendors(inputs: &Inputs<'_>, key: &str) -> String {
    let vendors = inputs.ground.loaded.vendors.values();
    let said: Vec<_> =
        vendors.map(|vendor| format!("{}: {}.", vendor.name, of_record(vendor, key))).collect();
    match said.as_slice() {
        [] => "For you to answer.".to_owned(),
        said => format!(
            "By the vendors' records: {} Of your own systems it is for you to answer.",
            said.join(" ")
        ),
    }
}

/// What a record says under a key of `data`, in a line.
pub(super) fn of_record(vendor: &Vendor, key: &str) -> String {
    match vendor.record.get("data").and_then(|data| data.get(key)) {
        Some(value) => in_words(value),
        None => "not said".to_owned(),
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => listed(items.iter().map(in_words)),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), in_words(value)));
            members.collect::<Vec<_>>().join("; ")
        }
    }
}

pub(super) fn questions(inputs: &Inputs<'_>, model: &Model) -> Option<Section> {
    let written = yaml_data(QUESTIONS)?;
    let rows = written.get("questions")?.as_array()?.iter().map(|question| {
        let standings = named(question, model)?;
        let mut lacks = lacking(&standings);
        let evidence = shown(question, inputs)?;
        let off = !standings.is_empty()
            && standings.iter().all(|s| s.state == State::Off)
            && evidence.iter().all(|(_, lacks)| lacks.is_some());
        for (_, why) in evidence {
            lacks.extend(why);
        }
        let idle = standings.iter().filter(|s| s.state == State::Idle).map(|s| &s.name);
        let idle: Vec<_> =
            idle.map(|name| format!(" {name}: there is nothing here to hold.")).collect();
        let answer = match word(question, "says") {
            None => match word(question, "record") {
                Some(key) => of_vendors(inputs, key),
                None => "For you to answer.".to_owned(),
            },
            Some(_) if off => format!("No: {}.", lacks.join("; ")),
            Some(says) if lacks.is_empty() => format!("{says}{}", idle.concat()),
            Some(says) => format!("In part. {says} What is lacking: {}.", lacks.join("; ")),
        };
        Some(vec![
            word(question, "id")?.to_owned(),
            word(question, "asks")?.to_owned(),
            answer,
            word(question, "section").unwrap_or_default().to_owned(),
        ])
    });
    let blocks = vec![
        text(
            "Answers follow from what is configured. Where vendors' records say it, they are quoted. Where nothing is said, the question is for whoever hands this on.",
        ),
        Block::Table(&["", "question", "answer", "section"], rows.collect::<Option<_>>()?),
    ];
    Some(Section { id: "questions", title: "Questions about an AI vendor", blocks })
}
