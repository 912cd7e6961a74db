//! `countersign eval mutate`: does the suite notice when a control goes missing?

use super::{At, End, Format, Run, Suite, generate};
use crate::render::{self, Doing, Failure};
use countersign_assurance::generate::{CAUGHT, GENERATED, GeneratedFile, edited};
use countersign_assurance::mutate::{self, Missing, Mutant, Mutated, Tried, Why};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Mutate {
    #[command(flatten)]
    at: At,
    /// Only what has this in its description; may be given several times
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Add the case that would have noticed, for each weakening that none did
    #[arg(long)]
    write: bool,
    /// How the report is written: text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// How many gateways at a time; as many as there are processors, if left out
    #[arg(long)]
    gateways: Option<usize>,
    /// Write the report as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Mutate {
    /// All of it, written there for evidence.
    pub(crate) const fn whole(at: At, out: PathBuf) -> Self {
        let format = Format::Text;
        Self { at, only: Vec::new(), write: false, format, gateways: None, out: Some(out) }
    }

    pub(crate) fn run(&self) -> Result<End, Failure> {
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
        let mutated = suite.mutate(&how, (&wanted, &told))?;
        let posture = suite.posture.loaded.posture.digest.to_string();
        let report = json(&mutated, (&posture, &self.only));
        self.out.iter().try_for_each(|path| render::write_report(path, &report))?;
        match self.format {
            Format::Json => render::line(format_args!("{report:#}")),
            _ => show(&mutated),
        }
        if self.write {
            write(&suite, &mutated.tried)?;
        }
        let sound = mutated.stale.is_empty() && !mutated.tried.iter().any(Tried::survived);
        Ok(if sound { End::Fine } else { End::Findings })
    }
}

/// Adds the cases that would have noticed, in files of their own.
fn write(suite: &Suite, tried: &[Tried]) -> Result<(), Failure> {
    let mut files: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for tried in tried {
        if let mutate::End::Survived(Some(Missing { suite, name, text })) = &tried.end {
            let about = suite.strip_prefix(GENERATED).unwrap_or(suite);
            let cases = files.entry(format!("{CAUGHT}{about}")).or_default();
            cases.push((name.clone(), text.clone()));
        }
    }
    let folder = suite.folder.join("evals");
    for (name, cases) in files {
        // One that a person has edited is left as it is, and another put beside it.
        let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
        for name in names {
            let path = folder.join(format!("{name}.yaml"));
            let before = match path.exists() {
                true => Some(fs::read_to_string(&path).doing(path.display())?),
                false => None,
            };
            if before.as_deref().is_some_and(edited) {
                continue;
            }
            let file = GeneratedFile::caught(&name, before.as_deref(), cases);
            render::note(generate::write(&folder, &file)?);
            break;
        }
    }
    Ok(())
}

/// By control: how many there were, were noticed by which cases, and were not.
fn show(Mutated { tried, stale }: &Mutated) {
    for tried in tried {
        let Mutant { control, told, .. } = &tried.mutant;
        match &tried.end {
            mutate::End::Survived(missing) => {
                let would = would(&tried.mutant, missing.as_ref());
                render::line(format_args!("✗ {control}: {told}\n  {would}\n"));
            }
            mutate::End::Equivalent(why) => {
                render::line(format_args!("= {control}: {told}\n  {}\n", because(why)));
            }
            mutate::End::Refused(_) | mutate::End::Noticed(_) => {}
        }
    }
    for said in stale {
        render::line(format_args!(
            "✗ `equivalents` of the suite has “{said}”, which is noticed, or is none that is tried\n"
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
    let [
        (_, mutants),
        (_, noticed),
        (_, written),
        (_, generated),
        (_, equivalent),
        (_, survived),
        (_, refused),
    ] = counts(&all);
    render::line(format_args!(
        "{noticed} of {} mutants noticed: {written} by written cases, {generated} by generated ones; {survived} survived; {equivalent} more are equivalent to what is there, and {refused} are refused before they could come into force",
        mutants.saturating_sub(equivalent)
    ));
}

/// What would notice a mutant.
fn would(mutant: &Mutant, missing: Option<&Missing>) -> String {
    let tools: Vec<_> = mutant.tools.iter().map(String::as_str).collect();
    let tools = if tools.is_empty() { "any tool".to_owned() } else { tools.join(", ") };
    match missing {
        Some(Missing { suite, name, .. }) => {
            format!("no case of {tools} noticed; {suite}/{name} would: --write adds it")
        }
        None => format!(
            "no case of {tools} noticed: one would whose calls end otherwise with this control than without"
        ),
    }
}

fn because(why: &Why) -> String {
    match why {
        Why::Behind { other, case } => format!(
            "another control gives the same answers: {case} ends otherwise once this is gone too: {other}"
        ),
        Why::Said(because) => format!("the suite says why: {because}"),
    }
}

fn counts(tried: &[&Tried]) -> [(&'static str, usize); 7] {
    let count = |is: &dyn Fn(&Tried) -> bool| tried.iter().filter(|tried| is(tried)).count();
    let by = |of: fn(&mutate::Notice) -> bool| {
        count(&move |tried: &Tried| matches!(&tried.end, mutate::End::Noticed(by) if of(by)))
    };
    let refused = count(&|tried| matches!(tried.end, mutate::End::Refused(_)));
    [
        ("mutants", tried.len().saturating_sub(refused)),
        ("noticed", count(&Tried::killed)),
        ("by written", by(|notice| notice.written.is_some())),
        ("by generated", by(|notice| notice.generated.is_some())),
        ("equivalent", count(&|tried| matches!(tried.end, mutate::End::Equivalent(_)))),
        ("survived", count(&Tried::survived)),
        ("refused", refused),
    ]
}

/// Of which posture it is stands with it, and of which weakenings alone: of a part of them it does not
/// follow that none goes unnoticed.
fn json(Mutated { tried, stale }: &Mutated, (posture, only): (&str, &[String])) -> Value {
    let noticed = |by: &Option<(String, String)>| {
        by.as_ref().map(|(case, rule)| json!({ "case": case, "rule": rule }))
    };
    let one = |tried: &Tried| {
        let Mutant { control, told, tools, .. } = &tried.mutant;
        let mut told = json!({ "control": control, "told": told, "tools": tools });
        let (key, end) = match &tried.end {
            mutate::End::Refused(why) => ("refused", json!(why)),
            mutate::End::Noticed(notice) => (
                "noticed",
                json!({ "written": noticed(&notice.written), "generated": noticed(&notice.generated) }),
            ),
            mutate::End::Equivalent(Why::Behind { other, case }) => {
                ("equivalent", json!({ "behind": other, "case": case }))
            }
            mutate::End::Equivalent(Why::Said(because)) => {
                ("equivalent", json!({ "because": because }))
            }
            mutate::End::Survived(missing) => {
                let would = missing.as_ref().map(|m| format!("{}/{}", m.suite, m.name));
                ("survived", json!({ "would": would }))
            }
        };
        if let Some(told) = told.as_object_mut() {
            told.insert(key.to_owned(), end);
        }
        told
    };
    let all: Vec<_> = tried.iter().collect();
    let summary = counts(&all).map(|(name, count)| (name.replace(' ', "_"), json!(count)));
    json!({
        "posture": posture, "only": only,
        "summary": Value::Object(summary.into_iter().collect()), "stale": stale,
        "mutants": tried.iter().map(one).collect::<Vec<_>>(),
    })
}
