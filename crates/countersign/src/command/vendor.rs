//! `countersign vendor`: whom agents depend on, and whether that was decided.

use super::{At, End};
use crate::machine::SystemClock;
use crate::render::{self, Doing, Failure};
use crate::report;
use countersign_core::id::{Timestamp, VendorName};
use countersign_core::port::Clock as _;
use countersign_core::tool::Holds;
use countersign_posture::{
    Coverage, Covered, Decision, Environment, Finding, Loaded, Severity, UNFILLED, coverage,
    load_deployment, load_posture, posture_folder, reviews,
};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};

const RECORD: &str = include_str!("vendor/record.yaml");

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Vendor {
    /// Write a commented record of a vendor, in which nothing is decided
    #[command(
        after_help = "Example: countersign vendor new anthropic-api my-gateway --from anthropic-api"
    )]
    New(New),
    /// Say who may have which data until when, and what keeps it from production
    #[command(
        after_help = "Exit codes: 0 everything is decided and in time, 1 something is not, 2 could not run.\n\nExample: countersign vendor check examples/acme"
    )]
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Its name, and the file's
    name: String,
    #[command(flatten)]
    at: At,
    /// Begin with what others have reported of a provider: to be verified by you
    #[arg(long, value_enum)]
    from: Option<From>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    at: At,
    /// How it is told
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// A provider of whom something is known.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum From {
    /// Anthropic's commercial API
    AnthropicApi,
    /// `OpenAI`'s API
    OpenaiApi,
}

impl Vendor {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Check(check) => check.run(),
        }
    }
}

// ── a record to begin with ──────────────────────────────────────────────────────────────────────

impl New {
    fn run(&self) -> Result<End, Failure> {
        let name = VendorName::new(self.name.as_str())
            .map_err(|error| Failure::new(format!("the name {error}")))?;
        let config = self.at.file();
        let folder = posture_folder(&config).ok_or_else(|| {
            Failure::new(format!("{} names no posture", config.display()))
                .help("name the deployment, or make one with `countersign init`")
        })?;
        let folder = folder.join("vendors");
        fs::create_dir_all(&folder).doing(folder.display())?;
        let path = folder.join(format!("{name}.yaml"));
        // Never in the place of one that is there: somebody decided about that one.
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Failure::new(format!(
                    "there is a record of `{name}`: {}",
                    path.display()
                ))
                .help("edit that one, or write another under another name"));
            }
            made => made.doing(path.display())?,
        };
        file.write_all(self.text(&name).as_bytes()).doing(path.display())?;
        render::line(format_args!(
            "Wrote {}.\n\nFill it in, have it decided, and name it: `vendor: {name}` in the agent's file.\n\
             countersign vendor check{}",
            path.display(),
            self.at.words()
        ));
        Ok(End::Fine)
    }

    fn text(&self, name: &VendorName) -> String {
        let Known { facts, legal_name, product, data } =
            self.from.map_or(Known::NOTHING, From::known);
        RECORD
            .replace("{{facts}}", facts)
            .replace("{{legal_name}}", legal_name)
            .replace("{{product}}", product)
            .replace("{{data}}", data)
            .replace("{{name}}", name.as_str())
    }
}

/// What is reported of a provider. It is never a decision, and no date of having been checked: nobody
/// has.
struct Known {
    facts: &'static str,
    legal_name: &'static str,
    product: &'static str,
    data: &'static str,
}

impl Known {
    const NOTHING: Self = Self {
        facts: "",
        legal_name: UNFILLED,
        product: UNFILLED,
        data: "  # training: { default: never, contractual: true, evidence_url: \"https://…\", checked_at: 2026-11-20 }\n  # retention: { prompts: 30 days, outputs: 30 days, abuse_monitoring: … }\n",
    };
}

impl From {
    const fn known(self) -> Known {
        match self {
            Self::AnthropicApi => Known {
                facts: "#\n# TO BE VERIFIED BY YOU. Reported by others in November 2026, of Anthropic's commercial API (consumer plans\n# differ): inputs are not trained on by default; zero retention only by arrangement and for eligible APIs, and\n# what safety classifiers found is kept even then. Terms change often.\n",
                legal_name: "Anthropic PBC",
                product: "Claude API",
                data: "  # As reported 2026-11; read the terms before you say so, and when and where you did:\n  # training: { default: never, contractual: true, evidence_url: \"https://…\", checked_at: … }\n  # retention:\n  #   zero_retention: { eligible: true, approved: false, scope: eligible APIs by arrangement, exceptions: results of safety classifiers }\n",
            },
            Self::OpenaiApi => Known {
                facts: "#\n# TO BE VERIFIED BY YOU. Reported by others in November 2026, of OpenAI's API (consumer plans differ): data sent\n# since 2023-03-01 is not trained on by default; logs against abuse are kept up to 30 days; Zero Data Retention\n# or Modified Abuse Monitoring need approval and have exceptions by endpoint. Terms change often.\n",
                legal_name: "OpenAI, whichever company your contract names",
                product: "OpenAI API",
                data: "  # As reported 2026-11; read the terms before you say so, and when and where you did:\n  # training: { default: opted_out, contractual: true, evidence_url: \"https://…\", checked_at: … }\n  # retention:\n  #   abuse_monitoring: up to 30 days\n  #   zero_retention: { eligible: true, approved: false, scope: by approval, exceptions: some endpoints }\n",
            },
        }
    }
}

// ── who is covered ──────────────────────────────────────────────────────────────────────────────

impl Check {
    fn run(&self) -> Result<End, Failure> {
        let (deployment, mut findings) = load_deployment(&self.at.file());
        let folder = match &deployment {
            Some(deployment) => Some(deployment.base.join(&deployment.posture)),
            None => posture_folder(&self.at.file()),
        };
        let loaded = folder.and_then(|folder| {
            let (loaded, found) = load_posture(&folder);
            findings.extend(found);
            loaded
        });
        findings.retain(|finding| finding.severity() == Severity::Error);
        let Some(loaded) = loaded else {
            render::findings(&findings);
            return Err(Failure::new("a posture with errors says nothing of vendors")
                .help("mend what `countersign check` finds first"));
        };
        // As production would see it, wherever this is.
        let now = SystemClock.now();
        let mut found = reviews(Environment::Production, &loaded, now);
        let covered = coverage(&loaded);
        found.extend(covered.iter().flat_map(|covered| covered.gaps.iter().cloned()));
        let wrong = found.iter().any(|finding| finding.severity() == Severity::Error);
        match self.format {
            Format::Text => tell(&loaded, (&covered, now), &found),
            Format::Json => {
                let all: Vec<_> =
                    covered.iter().map(|covered| written(&loaded, (covered, now))).collect();
                render::line(report::json(&found, &json!({ "covered": all })));
            }
        }
        Ok(if wrong { End::Findings } else { End::Fine })
    }
}

fn tell(loaded: &Loaded, (covered, now): (&[Coverage], Timestamp), found: &[Finding]) {
    let rows = covered.iter().map(|covered| {
        let Coverage { of, vendors, holds, until, .. } = covered;
        let decided = vendors.iter().map(|name| match loaded.vendors.get(name) {
            Some(vendor) => format!("{name}: {}", vendor.decision.as_str()),
            None => name.to_string(),
        });
        vec![
            kind(of).1.to_owned(),
            none_or(decided.collect::<Vec<_>>().join(", ")),
            none_or(holds.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(", ")),
            until.map_or_else(|| "–".to_owned(), |day| day.to_string()),
            match covered.lacks(now).is_empty() {
                true => "covered".to_owned(),
                false => "not covered".to_owned(),
            },
        ]
    });
    render::line(render::table(&["WHO", "VENDOR", "HOLDS", "REVIEW BY", "IN PRODUCTION"], rows));
    render::findings(found);
}

fn none_or(text: String) -> String {
    if text.is_empty() { "–".to_owned() } else { report::visible(&text) }
}

fn kind(of: &Covered) -> (&'static str, &str) {
    match of {
        Covered::Agent(name) => ("agent", name.as_str()),
        Covered::System(name) => ("system", name.as_str()),
    }
}

fn written(loaded: &Loaded, (covered, now): (&Coverage, Timestamp)) -> Value {
    let Coverage { of, vendors, holds, until, .. } = covered;
    let vendors = vendors.iter().map(|name| {
        let decision = loaded.vendors.get(name).map_or(Decision::Open, |vendor| vendor.decision);
        json!({ "vendor": name.as_str(), "decision": decision.as_str() })
    });
    let (kind, name) = kind(of);
    json!({
        kind: name, "vendors": vendors.collect::<Vec<_>>(),
        "holds": holds.iter().copied().map(Holds::as_str).collect::<Vec<_>>(),
        "review_by": until.map(|day| day.to_string()), "covered": covered.lacks(now).is_empty(),
    })
}
