//! `countersign posture staged`: what each write did in staging.

use super::{read, write};
use crate::assemble::Read;
use crate::command::{At, End};
use crate::render::{self, Doing as _, Failure};
use countersign_core::reading::{Cursor, Parts, Record};
use countersign_core::record::Kind;
use countersign_core::tool::Effect;
use countersign_posture::evals::{Step, load_evals};
use countersign_posture::lock::{EVIDENCE, Ran, STAGING};
use countersign_store::audit::{Filter, Reader};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Records that are read at a time.
const RECORDS_AT_ONCE: u32 = 1_000;
const MEMBERS: &[&str] = &["agent", "decision", "status", "applied", "effect"];
const MICROS_A_DAY: i64 = 86_400_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Staged {
    #[command(flatten)]
    at: At,
    /// The journal of the gateway in staging
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
}

/// What was found of one agent and decision digest. Two agents may have what is decided alike.
#[derive(Debug, Default)]
struct Found {
    runs: u32,
    faults: u32,
    unknown: u32,
    days: BTreeSet<i64>,
}

type Tally = BTreeMap<(String, String), Found>;

impl Staged {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let Some(Read { deployment, posture }) = read(&self.at)? else { return Ok(End::Findings) };
        let folder = deployment.base.join(&deployment.posture);
        let loaded = &posture.loaded;
        let (evals, findings) = load_evals(&folder, Some(loaded));
        let Some(evals) = evals else {
            render::findings(&findings);
            return Ok(End::Findings);
        };
        let mut cases: BTreeMap<&str, u32> = BTreeMap::new();
        for case in &evals.cases {
            let called = case.script.iter().filter_map(|step| match step {
                Step::Call(call) => Some(call.tool.as_str()),
                _ => None,
            });
            for tool in called.collect::<BTreeSet<_>>() {
                let count = cases.entry(tool).or_default();
                *count = count.saturating_add(1);
            }
        }
        let found = self.found()?;
        let grants = loaded.posture.agents.values().flat_map(|agent| {
            let writes = agent.grants.iter().filter(|(_, of)| of.tool.effect != Effect::Read);
            writes.map(move |(tool, grant)| (agent.id.to_string(), tool, grant.decision_digest))
        });
        let ran = grants.map(|(agent, tool, decision)| {
            let decision = decision.to_string();
            let nothing = Found::default();
            let of = found.get(&(agent.clone(), decision.clone()));
            let Found { runs, faults, unknown, days } = of.unwrap_or(&nothing);
            Ran {
                agent,
                tool: tool.to_string(),
                runs: *runs,
                days: u32::try_from(days.len()).unwrap_or(u32::MAX),
                faults: *faults,
                unknown: *unknown,
                cases: cases.get(tool.as_str()).copied().unwrap_or_default(),
                decision,
            }
        });
        let ran: Vec<_> = ran.collect();
        let report = format!("{:#}\n", json!({ "grants": ran }));
        write(&folder.join(EVIDENCE), &format!("{STAGING}.json"), &report)?;
        let rows =
            ran.iter().map(|Ran { agent, tool, runs, days, faults, unknown, cases, .. }| {
                let counts = [runs, days, faults, unknown, cases].map(ToString::to_string);
                [agent.clone(), tool.clone()].into_iter().chain(counts).collect()
            });
        let headings = ["agent", "tool", "runs", "days", "faults", "unknown", "cases"];
        render::line(render::table(&headings, rows));
        Ok(End::Fine)
    }

    /// What became of every effect in the journal, by agent and decision digest.
    fn found(&self) -> Result<Tally, Failure> {
        let reader = Reader::open(&self.journal).doing("the journal cannot be read")?;
        let filter =
            Filter { kind: Some(Kind::Outcome), limit: Some(RECORDS_AT_ONCE), ..Filter::default() };
        let (mut cursor, mut found) = (Cursor::default(), BTreeMap::new());
        loop {
            let records = reader.follow(&mut cursor, &filter, Parts::Members(MEMBERS));
            let records = records.doing("the journal cannot be read")?;
            if records.is_empty() {
                return Ok(found);
            }
            records.iter().for_each(|record| count(record, &mut found));
        }
    }
}

fn count(record: &Record, found: &mut Tally) {
    let Some((agent, decision)) = record.text("agent").zip(record.text("decision")) else { return };
    let of = found.entry((agent.to_owned(), decision.to_owned())).or_default();
    let (counter, ran) = match (record.text("status"), record.text("applied")) {
        (Some("ok"), Some("applied")) => (&mut of.runs, true),
        (Some("fault"), Some("not_applied" | "compensated")) => (&mut of.faults, false),
        // Whatever it is, it is not known to have gone well.
        _ => (&mut of.unknown, false),
    };
    *counter = counter.saturating_add(1);
    if ran {
        of.days.insert(record.at().micros().div_euclid(MICROS_A_DAY));
    }
}
