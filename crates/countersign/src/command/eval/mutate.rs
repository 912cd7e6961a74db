//! `countersign eval mutate`: does the suite notice when a control goes missing?

use super::{At, End, Format, Run, Suite};
use crate::render::{self, Failure};
use countersign_assurance::mutate::{self, Tried};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub(crate) struct Mutate {
    #[command(flatten)]
    at: At,
    /// Only what has this in its description; may be given several times
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// How the report is written: text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// How many gateways at a time; as many as there are processors, if left out
    #[arg(long)]
    gateways: Option<usize>,
}

impl Mutate {
    pub(super) fn run(&self) -> Result<End, Failure> {
        if !matches!(self.format, Format::Text | Format::Json) {
            return Err(Failure::new("mutants are told as text or as json"));
        }
        let Some(suite) = Suite::read(&self.at)? else { return Ok(End::Findings) };
        if suite.evals.cases.is_empty() {
            return Err(Failure::new("there are no cases").help(
                "write some under `evals`, and make others with `countersign eval generate`",
            ));
        }
        let wanted =
            |told: &str| self.only.is_empty() || self.only.iter().any(|text| told.contains(text));
        let told = |tried: &Tried| {
            if tried.survived() {
                render::note(format_args!("survived  {}", tried.mutant.told));
            }
        };
        let how = Run::of(self.gateways);
        let tried = suite.mutate(&how, (&wanted, &told))?;
        match self.format {
            Format::Json => render::line(format_args!("{:#}", json(&tried))),
            _ => show(&tried),
        }
        Ok(if tried.iter().any(Tried::survived) { End::Findings } else { End::Fine })
    }
}

/// By control: how many there were, were noticed by which cases, and were not.
fn show(tried: &[Tried]) {
    for survivor in tried.iter().filter(|tried| tried.survived()) {
        let mutate::Mutant { control, told, tools, .. } = &survivor.mutant;
        let tools: Vec<_> = tools.iter().map(String::as_str).collect();
        let tools = if tools.is_empty() { "any tool".to_owned() } else { tools.join(", ") };
        render::line(format_args!(
            "✗ {control}: {told}\n  no case of {tools} noticed: one would whose calls end otherwise with this control than without\n"
        ));
    }
    let mut controls: BTreeMap<&str, Vec<&Tried>> = BTreeMap::new();
    tried.iter().for_each(|tried| controls.entry(tried.mutant.control).or_default().push(tried));
    let rows = controls.into_iter().map(|(control, tried)| {
        let counts = counts(&tried).map(|(_, count)| count.to_string());
        std::iter::once(control.to_owned()).chain(counts).collect()
    });
    let all: Vec<_> = tried.iter().collect();
    let headings = std::iter::once("control").chain(counts(&all).map(|(name, _)| name));
    render::line(render::table(&headings.collect::<Vec<_>>(), rows));
    let [(_, mutants), (_, noticed), (_, written), (_, generated), (_, survived), (_, refused)] =
        counts(&all);
    render::line(format_args!(
        "{noticed} of {mutants} mutants noticed: {written} by written cases, {generated} by generated ones; {survived} survived; {refused} more are refused before they could come into force"
    ));
}

fn counts(tried: &[&Tried]) -> [(&'static str, usize); 6] {
    let count = |is: &dyn Fn(&Tried) -> bool| tried.iter().filter(|tried| is(tried)).count();
    let by = |of: fn(&mutate::End) -> bool| count(&move |tried: &Tried| of(&tried.end));
    let refused = by(|end| matches!(end, mutate::End::Refused(_)));
    [
        ("mutants", tried.len().saturating_sub(refused)),
        ("noticed", count(&Tried::killed)),
        ("by written", by(|end| matches!(end, mutate::End::Noticed { written: Some(_), .. }))),
        ("by generated", by(|end| matches!(end, mutate::End::Noticed { generated: Some(_), .. }))),
        ("survived", count(&Tried::survived)),
        ("refused", refused),
    ]
}

fn json(tried: &[Tried]) -> Value {
    let noticed = |by: &Option<(String, String)>| {
        by.as_ref().map(|(case, rule)| json!({ "case": case, "rule": rule }))
    };
    let one = |tried: &Tried| {
        let mutate::Mutant { control, told, tools, .. } = &tried.mutant;
        match &tried.end {
            mutate::End::Refused(why) => {
                json!({ "control": control, "told": told, "tools": tools, "refused": why })
            }
            mutate::End::Noticed { written, generated } => json!({
                "control": control, "told": told, "tools": tools,
                "written": noticed(written), "generated": noticed(generated),
            }),
        }
    };
    let all: Vec<_> = tried.iter().collect();
    let summary = counts(&all).map(|(name, count)| (name.replace(' ', "_"), json!(count)));
    json!({ "summary": Value::Object(summary.into_iter().collect()), "mutants": tried.iter().map(one).collect::<Vec<_>>() })
}
