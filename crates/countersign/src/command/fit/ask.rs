//! What to ask before there is an agent: on a terminal, from a file, or from the command line.

use super::{End, Format};
use crate::render::{self, Doing as _, Failure};
use countersign_assurance::fit::questions::{Answers, QUESTIONS, Question};
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, IsTerminal as _, Read as _, stdin};
use std::path::PathBuf;

/// Longest line that is read as an answer, and longest file of them, in bytes.
const ANSWERS_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Given {
    /// Answers as a JSON object, question to answer: {"steps": "yes", …}
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// One answer, as steps=yes; may be repeated, and goes before the file's
    #[arg(long, value_name = "QUESTION=ANSWER", value_parser = pair)]
    answer: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("a question and its answer, as `steps=yes`")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

impl Given {
    pub(super) fn any(&self) -> bool {
        self.answers.is_some() || !self.answer.is_empty()
    }

    fn read(&self) -> Result<Map<String, Value>, Failure> {
        let mut given = Map::new();
        if let Some(path) = &self.answers {
            let mut text = String::new();
            let file = std::fs::File::open(path).doing(path.display())?;
            file.take(ANSWERS_BYTES_MAX).read_to_string(&mut text).doing(path.display())?;
            given = serde_json::from_str(&text).doing(path.display())?;
        }
        given.extend(self.answer.iter().map(|(name, answer)| (name.clone(), json!(answer))));
        Ok(given)
    }
}

pub(super) fn run(given: &Given, format: Format) -> Result<End, Failure> {
    if format == Format::Svg {
        return Err(Failure::new("there is nothing to draw before there is a log"));
    }
    let mut given = given.read()?;
    if stdin().is_terminal() {
        for question in &QUESTIONS {
            if !given.contains_key(question.name) {
                given.insert(question.name.to_owned(), Value::from(ask(question)?));
            }
        }
    }
    let answers = Answers::new(given.clone()).map_err(|why| {
        Failure::new(why).help(
            "answer with `--answer QUESTION=ANSWER`, in a file with `--answers`, or on a terminal",
        )
    })?;
    let (advice, reasons) = answers.weighed();
    match format {
        Format::Json => {
            let told = json!({
                "advice": advice.as_str(), "agent": advice.is_agent(), "says": advice.said(),
                "reasons": reasons, "answers": given,
            });
            render::line(format_args!("{told:#}"));
        }
        Format::Text | Format::Svg => {
            render::line(format_args!("{}.", upper(advice.said())));
            reasons.iter().for_each(|why| render::line(format_args!("  {}.", upper(why))));
        }
    }
    Ok(if advice.is_agent() { End::Fine } else { End::Findings })
}

/// Asks until one of the answers is given.
fn ask(question: &Question) -> Result<&'static str, Failure> {
    render::note(format_args!("\n{}", question.asks));
    for (number, (answer, means)) in (1..).zip(question.answers) {
        render::note(format_args!("  {number}  {answer:<9} {means}"));
    }
    loop {
        let mut line = String::new();
        let read = stdin().lock().take(ANSWERS_BYTES_MAX).read_line(&mut line);
        if read.doing("standard input")? == 0 {
            return Err(Failure::new(format!("`{}` is not answered", question.name)));
        }
        let line = line.trim();
        let mut numbered = (1..).zip(question.answers);
        let meant = numbered.find(|(at, (name, _))| line == *name || line.parse() == Ok(*at));
        if let Some((_, (answer, _))) = meant {
            return Ok(answer);
        }
        render::note(format_args!(
            "A number from 1 to {}, or its word, please.",
            question.answers.len()
        ));
    }
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}
