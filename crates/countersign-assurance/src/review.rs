//! The package for a security review: what a reviewer asks about a posture and where it runs, as one
//! document. [`Package::of`] gathers it; [`html`], [`markdown`] and [`Package::json`] write it down.
//!
//! It reads no clock and goes nowhere: the day that it is of is an input, and the same inputs give the same
//! bytes. What others wrote (names,
//! descriptions, findings) is only ever text in a [`Block`], and each writer escapes all of it.

mod asked;
mod assured;
mod configured;
mod evidence;
mod html;
pub(crate) mod markdown;
mod operated;
mod picture;
mod sbom;

use crate::threat::{Ground, Model};
use countersign_policy::Bundle;
use countersign_posture::lock::Signed;
use countersign_posture::{Finding, Loaded};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) use evidence::missing;
pub use evidence::{Evidence, Kind, State};
pub use html::html;
pub use markdown::markdown;
pub use sbom::Sbom;

/// What a package is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The posture, where it runs, and as of when.
    pub ground: Ground<'a>,
    /// What `check` says of it.
    pub findings: &'a [Finding],
    /// Its policies, compiled.
    pub bundle: &'a Bundle,
    /// What `audit verify` says of the deployment's journal, if it has one.
    pub journal: Option<Journal>,
    /// Who signed this posture, in which role.
    pub signed: &'a [Signed],
    /// The libraries of the program.
    pub sbom: Sbom,
    /// The program's own version.
    pub version: &'a str,
    /// The day of a time, as `YYYY-MM-DD`.
    pub date: fn(countersign_core::id::Timestamp) -> String,
}

/// What is known of a journal.
#[derive(Debug, Clone)]
pub struct Journal {
    /// How many records it has.
    pub records: u64,
    /// How many findings there are.
    pub findings: u64,
    /// What `audit verify` says, line by line.
    pub transcript: Vec<String>,
}

/// A number in the package, and how anybody finds it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it is of.
    pub name: &'static str,
    /// The number.
    pub value: u64,
    /// The command that says it, in the deployment's folder.
    pub command: &'static [&'static str],
    /// Where in its JSON: a pointer (RFC 6901).
    pub at: &'static str,
}

/// One part of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// Something that must not be overlooked.
    Warning(String),
    /// Points, in order.
    List(Vec<String>),
    /// What is typed or was printed, line by line.
    Code(Vec<String>),
    /// A table: its head, and rows as long as that.
    Table(&'static [&'static str], Vec<Vec<String>>),
    /// A heading below the section's.
    Heading(String),
    /// A drawing as SVG, and what it shows in words.
    Drawing(String, String),
    /// Where else in the package: sections by id.
    See(Vec<&'static str>),
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// By which it is linked.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it says.
    pub blocks: Vec<Block>,
}

/// Something that is not done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Open {
    /// What kind.
    pub kind: &'static str,
    /// What, in a sentence.
    pub what: String,
    /// Where.
    pub place: String,
    /// Whose it is.
    pub owner: String,
    /// By when, if there is a day.
    pub due: String,
}

/// What reviewers are handed.
#[derive(Debug)]
pub struct Package {
    /// Whose posture it is.
    pub organisation: String,
    /// The posture's digest.
    pub posture: String,
    /// As of which day.
    pub day: String,
    /// The program's version.
    pub version: String,
    /// In reading order.
    pub sections: Vec<Section>,
    /// Every number that a command says.
    pub figures: Vec<Figure>,
    /// What is not done.
    pub open: Vec<Open>,
    /// The threat model.
    pub threats: Model,
    /// The libraries, as CycloneDX.
    pub sbom: Value,
}

/// The five parts that a reviewer asks for, and the sections that answer each.
pub const PARTS: [(&str, &[&str]); 5] = [
    ("Identity and permissions", &["agents", "permissions", "credentials"]),
    ("Data flow and tenant isolation", &["system", "flow", "unseen"]),
    ("Approvals and human oversight", &["gates", "runbook", "signatures"]),
    ("Audit and monitoring", &["audit", "retention", "frameworks"]),
    (
        "Threats, evaluation and third parties",
        &["threats", "evaluation", "vendors", "sbom", "open", "questions"],
    ),
];

impl Inputs<'_> {
    /// The day on which leave ends, as the posture writes it.
    fn ends(&self, at: countersign_core::id::Timestamp) -> String {
        (self.date)(at)
    }
}

impl Package {
    /// Gathers it. `None` if a catalogue is not as it should be, which tests rule out.
    #[must_use]
    pub fn of(inputs: &Inputs<'_>) -> Option<Self> {
        let threats = Model::of(&inputs.ground)?;
        let figures = figures(inputs);
        let open = operated::open(inputs, &threats);
        let mut sections = vec![summary(inputs, &threats, (&figures, &open))];
        sections.push(configured::system(inputs));
        sections.push(configured::agents(inputs));
        sections.push(configured::permissions(inputs));
        sections.push(configured::gates(inputs));
        sections.push(configured::flow(inputs));
        sections.push(assured::threats(&threats));
        sections.push(assured::audit(inputs));
        sections.push(assured::evaluation(inputs));
        sections.push(assured::vendors(inputs));
        sections.push(operated::credentials(inputs));
        sections.push(operated::runbook(inputs));
        sections.push(operated::retention(inputs));
        sections.push(asked::frameworks(inputs, &threats)?);
        sections.push(operated::unseen());
        sections.push(operated::open_items(&open));
        sections.push(asked::questions(inputs, &threats)?);
        sections.push(operated::signatures(inputs));
        sections.push(sbom::section(&inputs.sbom));
        Some(Self {
            organisation: inputs.ground.loaded.organisation.clone(),
            posture: inputs.ground.loaded.posture.digest.to_string(),
            day: inputs.ground.day.to_owned(),
            version: inputs.version.to_owned(),
            sections,
            figures,
            open,
            threats,
            sbom: inputs.sbom.cyclone_dx(inputs.version),
        })
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let figures = self.figures.iter().map(|figure| {
            let Figure { name, value, command, at } = figure;
            json!({ "name": name, "value": value, "command": command, "at": at })
        });
        let open = self.open.iter().map(|open| {
            let Open { kind, what, place, owner, due } = open;
            json!({ "kind": kind, "what": what, "place": place, "owner": owner, "due": due })
        });
        let sections = self.sections.iter().map(|section| {
            let blocks = section.blocks.iter().map(block).collect::<Vec<_>>();
            json!({ "id": section.id, "title": section.title, "blocks": blocks })
        });
        let parts = PARTS.iter().map(|(name, of)| json!({ "name": name, "sections": of }));
        json!({
            "countersign": self.version, "organisation": self.organisation,
            "posture": self.posture, "as_of": self.day,
            "parts": parts.collect::<Vec<_>>(), "figures": figures.collect::<Vec<_>>(),
            "open": open.collect::<Vec<_>>(), "threats": self.threats.json(),
            "sections": sections.collect::<Vec<_>>(), "sbom": self.sbom,
        })
    }
}

fn block(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({ "text": text }),
        Block::Warning(text) => json!({ "warning": text }),
        Block::List(points) => json!({ "list": points }),
        Block::Code(lines) => json!({ "code": lines }),
        Block::Table(head, rows) => json!({ "head": head, "rows": rows }),
        Block::Heading(text) => json!({ "heading": text }),
        Block::Drawing(_, told) => json!({ "drawing": told }),
        Block::See(ids) => json!({ "see": ids }),
    }
}

fn text(text: impl Into<String>) -> Block {
    Block::Text(text.into())
}

/// A list in a sentence; a word for none.
fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// The lines of the first page that are numbers.
fn figures(inputs: &Inputs<'_>) -> Vec<Figure> {
    const CHECK: &[&str] = &["check", ".", "--format", "json"];
    const VERIFY: &[&str] = &["audit", "verify", ".", "--format", "json"];
    let Loaded { posture, systems, .. } = inputs.ground.loaded;
    let tools = posture.agents.values().flat_map(|agent| agent.grants.keys());
    let tools = tools.collect::<std::collections::BTreeSet<_>>().len();
    let mut figures = Vec::new();
    let mut push = |name, value: usize, command, at| {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        figures.push(Figure { name, value, command, at });
    };
    push("agents", posture.agents.len(), CHECK, "/summary/agents");
    push("granted tools", tools, CHECK, "/summary/granted_tools");
    push("systems", systems.len(), CHECK, "/summary/systems");
    push("warnings of `check`", inputs.findings.len(), CHECK, "/summary/warnings");
    if let Some(Journal { records, findings, .. }) = &inputs.journal {
        let (value, command) = (*records, VERIFY);
        figures.push(Figure { name: "records in the journal", value, command, at: "/records" });
        let (name, value) = ("findings of `audit verify`", *findings);
        figures.push(Figure { name, value, command, at: "/found" });
    }
    figures.extend(evidence::figures(inputs.ground.evidence));
    figures
}

/// The first page: what it is of, what the numbers are, what is in which part.
fn summary(inputs: &Inputs<'_>, threats: &Model, (figures, open): (&[Figure], &[Open])) -> Section {
    let Ground { loaded, deployment, unsigned, .. } = inputs.ground;
    let environment = match deployment.environment {
        countersign_posture::Environment::Development => "development",
        countersign_posture::Environment::Staging => "staging",
        countersign_posture::Environment::Production => "production",
    };
    let mut count: BTreeMap<_, usize> = BTreeMap::new();
    for threat in threats.threats() {
        let counted = count.entry(threat.verdict).or_default();
        *counted = counted.saturating_add(1);
    }
    let counted = count.iter().rev().map(|(verdict, of)| format!("{of} {}", verdict.as_str()));
    let about = vec![
        vec!["as of".to_owned(), inputs.ground.day.to_owned()],
        vec!["organisation".to_owned(), loaded.organisation.clone()],
        vec!["posture (SHA-256)".to_owned(), loaded.posture.digest.to_string()],
        vec!["environment".to_owned(), environment.to_owned()],
        vec!["written by".to_owned(), format!("countersign {}", inputs.version)],
        vec!["signed".to_owned(), unsigned.unwrap_or("yes").to_owned()],
        vec!["threats".to_owned(), listed(counted)],
        vec!["open items".to_owned(), open.len().to_string()],
    ];
    let rows = figures.iter().map(|figure| {
        let command = format!("countersign {}", figure.command.join(" "));
        vec![figure.name.to_owned(), figure.value.to_string(), command, figure.at.to_owned()]
    });
    let mut blocks = vec![
        text(
            "Agents are the untrusted side here: each call of one passes through the gateway that this describes, or does not reach the systems. Everything below follows from the files of the posture and the deployment, and from what was found out by running them.",
        ),
        Block::Warning(format!(
            "As of {}. A decision, a review or leave that ends before that day has ended here; one that ends later holds.",
            inputs.ground.day
        )),
        Block::Table(&["what", "is"], about),
        Block::Heading("Figures".to_owned()),
        text(
            "Each is what a command says in the deployment's folder, at that place of its JSON; of a day that is not today, `check` counts other warnings.",
        ),
        Block::Table(&["figure", "value", "command", "at"], rows.collect()),
        Block::Heading("What a reviewer asks for".to_owned()),
    ];
    for (name, of) in PARTS {
        blocks.push(text(format!("{name}:")));
        blocks.push(Block::See(of.to_vec()));
    }
    Section { id: "summary", title: "Summary", blocks }
}
