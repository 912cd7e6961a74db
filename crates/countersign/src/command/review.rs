//! `countersign review`: the package for a security review.

use super::audit::{Files, Verified, verified};
use super::{At, End};
use crate::assemble::{self, Posture};
use crate::evidence::cover;
use crate::machine::SystemClock;
use crate::render::{self, Doing as _, Failure};
use clap::ValueEnum;
use countersign_assurance::review::{Evidence, Inputs, Journal, Package, Sbom, html, markdown};
use countersign_assurance::threat::Ground;
use countersign_core::id::Timestamp;
use countersign_core::port::Clock as _;
use countersign_posture::evals::load_evals;
use countersign_posture::{Deployment, Severity, posture_data, sort};
use countersign_store::{PublicKey, Witness};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// The libraries of this build.
const LOCK: &str = include_str!("../../../../Cargo.lock");

#[derive(Debug, clap::Args)]
pub(crate) struct Review {
    #[command(flatten)]
    at: At,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    /// Where to; to standard output, if left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// As of which day it is: what has ended by then, and what has not; today, if left out
    #[arg(long, value_name = "DATE")]
    as_of: Option<Date>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One page that needs nothing else, and prints
    Html,
    /// For a pull request
    Markdown,
    /// All of it for programs, with a CycloneDX document
    Json,
}

impl Review {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let day = match self.as_of {
            Some(day) => day,
            None => today()?,
        };
        let now = start_of(day)?;
        let (gathered, mut findings) = assemble::gather_at(&self.at.file(), now)?;
        let posture = gathered.and_then(|(deployment, posture)| Some((deployment, posture?)));
        let Some((deployment, Posture { loaded, bundle, .. })) = posture else {
            render::findings(&findings);
            return Ok(End::Findings);
        };
        let folder = deployment.base.join(&deployment.posture);
        let (evals, of_cases) = load_evals(&folder, Some(&loaded));
        findings.extend(of_cases);
        sort(&mut findings);
        if findings.iter().any(|finding| finding.severity() == Severity::Error) {
            render::findings(&findings);
            return Ok(End::Findings);
        }
        let files = posture_data(&folder);
        let evidence = Evidence::read(&folder, &loaded.posture.digest.to_string());
        let (signed, uncovered) = cover(&deployment, (&loaded, evals.as_ref()));
        let cases = evals.map(|evals| evals.cases).unwrap_or_default();
        let unsigned = match (&deployment.sign_off, uncovered.as_slice()) {
            (None, _) => Some("the deployment asks nobody to sign it".to_owned()),
            (Some(_), []) => None,
            (Some(_), wrong) => {
                let wrong: Vec<_> = wrong.iter().map(|finding| finding.message.as_str()).collect();
                Some(wrong.join("; "))
            }
        };
        let ground = Ground {
            loaded: &loaded,
            deployment: &deployment,
            files: &files,
            cases: &cases,
            evidence: &evidence,
            unsigned: unsigned.as_deref(),
            now,
            day: &day.to_string(),
        };
        let inputs = Inputs {
            ground,
            findings: &findings,
            bundle: &bundle,
            journal: journal(&deployment)?,
            signed: &signed,
            sbom: Sbom::of_lock(LOCK),
            version: env!("CARGO_PKG_VERSION"),
            date,
        };
        let package = Package::of(&inputs)
            .ok_or_else(|| Failure::new("a catalogue of this program cannot be read"))?;
        let written = match self.format {
            Format::Html => html(&package),
            Format::Markdown => markdown(&package),
            Format::Json => format!("{:#}\n", package.json()),
        };
        match &self.out {
            Some(file) => std::fs::write(file, written).doing(file.display())?,
            None => render::line(written.trim_end()),
        }
        Ok(End::Fine)
    }
}

/// The day that it is, in UTC.
fn today() -> Result<Date, Failure> {
    let now = jiff::Timestamp::from_microsecond(SystemClock.now().micros());
    Ok(now.doing("the clock")?.to_zoned(TimeZone::UTC).date())
}

fn start_of(day: Date) -> Result<Timestamp, Failure> {
    let start = day.to_zoned(TimeZone::UTC).doing("the day is none that can be reckoned with")?;
    Ok(Timestamp::from_micros(start.timestamp().as_microsecond()))
}

fn date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros());
    at.map_or_else(|_| "never".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// What `audit verify` says of the deployment's journal, with files named as the deployment names them.
fn journal(deployment: &Deployment) -> Result<Option<Journal>, Failure> {
    let base = &deployment.base;
    let journal = base.join(&deployment.store.sqlite);
    if !journal.exists() {
        return Ok(None);
    }
    let signing_key = base.join(&deployment.store.signing_key);
    let (key, head) = (PublicKey::beside(&signing_key), Witness::beside(&signing_key));
    // Without the key the journal is held against its own, and the transcript says so.
    let key = key.exists().then_some(key);
    let files = Files { journal: &journal, key: key.as_deref(), head: Some(&head) };
    let named = |path: &Path| path.strip_prefix(base).unwrap_or(path).display().to_string();
    let Verified { found, findings, lines } = verified(&files, None, &named)?;
    // A finding may name a file where it lies.
    let here = format!("{}/", base.display());
    let named =
        |line: String| if base.as_os_str().is_empty() { line } else { line.replace(&here, "") };
    Ok(Some(Journal {
        records: found.entries,
        findings: u64::try_from(findings.len()).unwrap_or(u64::MAX),
        transcript: lines.into_iter().map(named).collect(),
    }))
}
