//! What others ask about: the points of frameworks, and a questionnaire.

use super::{Block, Section, listed, text};
use crate::threat::{Control, Lack, Model, Standing, State};
use countersign_posture::yaml_data;
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

pub(super) fn frameworks(model: &Model) -> Option<Section> {
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
            Some(vec![
                word(point, "id")?.to_owned(),
                word(point, "here")?.to_owned(),
                listed(controls),
                word(point, "section")?.to_owned(),
            ])
        });
        let head = &["point", "here", "controls, and their state", "section"];
        blocks.push(Block::Table(head, points.collect::<Option<_>>()?));
    }
    Some(Section { id: "frameworks", title: "SOC 2 and ISO/IEC 42001", blocks })
}

pub(super) fn questions(model: &Model) -> Option<Section> {
    let written = yaml_data(QUESTIONS)?;
    let rows = written.get("questions")?.as_array()?.iter().map(|question| {
        let standings = named(question, model)?;
        let lacks = lacking(&standings);
        let off = !standings.is_empty() && standings.iter().all(|s| s.state == State::Off);
        let answer = match word(question, "says") {
            None => "For you to answer.".to_owned(),
            Some(_) if off => format!("No: {}.", lacks.join("; ")),
            Some(says) if lacks.is_empty() => says.to_owned(),
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
            "Answers follow from what is configured. Where nothing is, the question is for whoever hands this on.",
        ),
        Block::Table(&["", "question", "answer", "section"], rows.collect::<Option<_>>()?),
    ];
    Some(Section { id: "questions", title: "Questions about an AI vendor", blocks })
}
