//! The threat model of a posture where it runs: what others have named as threats, which controls stand
//! against each, and which of those are in force as configured.
//!
//! The catalogues are data (`catalogues/`). Whether a control is in force is a function of posture and
//! deployment, one for each variant of [`Control`]: what is switched off shows as a threat that nothing
//! mitigates.

mod control;

use crate::review::{Kind, State as Report, missing};
use crate::whole::whole;
use countersign_core::id::Timestamp;
use countersign_posture::evals::Case;
use countersign_posture::{Deployment, Loaded, yaml_data};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub use control::Control;
pub(crate) use control::secrets;

const CONTROLS: &str = include_str!("../catalogues/controls.yaml");
const CATALOGUES: [&str; 3] = [
    include_str!("../catalogues/owasp-agentic-2026.yaml"),
    include_str!("../catalogues/owasp-llm-2025.yaml"),
    include_str!("../catalogues/mitre-atlas-5.6.yaml"),
];

/// Everything that says what is in force.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The posture.
    pub loaded: &'a Loaded,
    /// Where it runs.
    pub deployment: &'a Deployment,
    /// The posture's files as plain data.
    pub files: &'a BTreeMap<String, Value>,
    /// Its evaluation suite.
    pub cases: &'a [Case],
    /// What runs of the other commands have left beside the posture.
    pub evidence: &'a BTreeMap<Kind, Report>,
    /// Why this posture does not count as signed; nothing if it is.
    pub unsigned: Option<&'a str>,
    /// As of when: leave that ends by then has ended.
    pub now: Timestamp,
    /// The day of that, as `YYYY-MM-DD`.
    pub day: &'a str,
}

impl Ground<'_> {
    /// What keeps a report from showing that everything holds; nothing, if it shows that.
    pub(crate) fn lacks(&self, kind: Kind) -> Option<String> {
        missing(self.evidence, kind, &|of, report| whole((self.loaded, self.cases), (of, report)))
    }
}

/// Something that keeps a control from being in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What, in a sentence without its end.
    pub why: String,
    /// Where it is written, or would be: a file, with a line where there is one.
    pub place: String,
}

/// Whether a control is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No file can switch it off: its tests say that it holds.
    Fixed,
    /// As configured.
    InForce,
    /// For some of what it is for.
    Partly,
    /// Not at all.
    Off,
    /// There is nothing here that it is for.
    Idle,
}

impl State {
    /// As reports write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "not switchable",
            Self::InForce => "in force",
            Self::Partly => "partly",
            Self::Off => "off",
            Self::Idle => "nothing to hold",
        }
    }
}

/// A control, as it is configured, and how it is known to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub control: Control,
    /// For people.
    pub name: String,
    /// What it does, in a sentence.
    pub does: String,
    /// Whether it is in force.
    pub state: State,
    /// What keeps it from that, in order.
    pub lacks: Vec<Lack>,
    /// Tests of this repository, as `CRATE/NAME`.
    pub tests: Vec<String>,
    /// Kinds of cases of the evaluation suite.
    pub cases: Vec<String>,
    /// Obligations that a solver is asked about.
    pub proofs: Vec<String>,
}

/// What somebody else has named as a threat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threat {
    /// The catalogue's id of it.
    pub id: String,
    /// The catalogue's name of it.
    pub name: String,
    /// What it means here.
    pub means: String,
    /// What stands against it.
    pub controls: Vec<Control>,
    /// What is left with all of them in force.
    pub remains: String,
    /// What of it is mitigated as configured.
    pub verdict: Verdict,
}

/// What becomes of a threat: as the weakest of its controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every control is in force.
    Mitigated,
    /// One holds for some of what it is for.
    Partly,
    /// One is off.
    Unmitigated,
}

impl Verdict {
    /// As reports write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mitigated => "mitigated",
            Self::Partly => "partly mitigated",
            Self::Unmitigated => "unmitigated",
        }
    }

    const fn of(state: State) -> Self {
        match state {
            State::Fixed | State::InForce | State::Idle => Self::Mitigated,
            State::Partly => Self::Partly,
            State::Off => Self::Unmitigated,
        }
    }
}

/// A list of threats that others keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Its name here.
    pub id: String,
    /// Its own name.
    pub name: String,
    /// Which edition.
    pub version: String,
    /// Where it is kept.
    pub source: String,
    /// Whose the words are.
    pub licence: String,
    /// The threats, in its order.
    pub threats: Vec<Threat>,
}

/// The controls and the threats of a posture where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Every control, in the order of [`Control::ALL`].
    pub controls: Vec<Standing>,
    /// Every catalogue.
    pub catalogues: Vec<Catalogue>,
}

impl Model {
    /// What is configured, held against the catalogues. `None` if a catalogue is not as it should be,
    /// which a test rules out.
    #[must_use]
    pub fn of(ground: &Ground<'_>) -> Option<Self> {
        let written = yaml_data(CONTROLS)?;
        let written = written.get("controls")?.as_array()?;
        let controls = Control::ALL.iter().map(|&control| standing(control, written, ground));
        let controls = controls.collect::<Option<Vec<_>>>()?;
        let catalogues = CATALOGUES.iter().map(|text| catalogue(text, &controls));
        let catalogues = catalogues.collect::<Option<_>>()?;
        Some(Self { controls, catalogues })
    }

    /// How one control stands.
    #[must_use]
    pub fn standing(&self, control: Control) -> Option<&Standing> {
        self.controls.iter().find(|standing| standing.control == control)
    }

    /// All threats, by catalogue.
    pub fn threats(&self) -> impl Iterator<Item = &Threat> {
        self.catalogues.iter().flat_map(|catalogue| &catalogue.threats)
    }

    /// The controls that keep a threat from counting as mitigated.
    pub fn open<'a>(&'a self, threat: &'a Threat) -> impl Iterator<Item = &'a Standing> {
        let standings = threat.controls.iter().filter_map(|control| self.standing(*control));
        standings.filter(|standing| Verdict::of(standing.state) > Verdict::Mitigated)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let controls = self.controls.iter().map(|standing| {
            let Standing { control, name, does, state, lacks, tests, cases, proofs } = standing;
            let lacks = lacks.iter().map(|Lack { why, place }| json!({ "why": why, "place": place }));
            json!({
                "id": control.as_str(), "name": name, "does": does, "state": state.as_str(),
                "lacks": lacks.collect::<Vec<_>>(), "tests": tests, "cases": cases, "proofs": proofs,
            })
        });
        let catalogues = self.catalogues.iter().map(|catalogue| {
            let Catalogue { id, name, version, source, licence, threats } = catalogue;
            let threats = threats.iter().map(|threat| {
                let Threat { id, name, means, controls, remains, verdict } = threat;
                let controls: Vec<_> = controls.iter().map(|control| control.as_str()).collect();
                let open: Vec<_> =
                    self.open(threat).map(|standing| standing.control.as_str()).collect();
                json!({
                    "id": id, "name": name, "means": means, "controls": controls,
                    "open": open, "remains": remains, "verdict": verdict.as_str(),
                })
            });
            json!({
                "id": id, "name": name, "version": version, "source": source, "licence": licence,
                "threats": threats.collect::<Vec<_>>(),
            })
        });
        json!({
            "controls": controls.collect::<Vec<_>>(),
            "catalogues": catalogues.collect::<Vec<_>>(),
        })
    }
}

fn standing(control: Control, written: &[Value], ground: &Ground<'_>) -> Option<Standing> {
    let entry = written.iter().find(|entry| entry["id"] == control.as_str())?;
    let (state, lacks) = control.state(ground);
    Some(Standing {
        control,
        name: text(entry, "name")?,
        does: text(entry, "does")?,
        state,
        lacks,
        tests: texts(entry, "tests"),
        cases: texts(entry, "cases"),
        proofs: texts(entry, "proofs"),
    })
}

fn catalogue(written: &str, controls: &[Standing]) -> Option<Catalogue> {
    let written = yaml_data(written)?;
    let threats = written.get("threats")?.as_array()?.iter().map(|entry| {
        let named = texts(entry, "controls");
        let named = named.iter().map(|id| controls.iter().find(|s| s.control.as_str() == id));
        let named = named.collect::<Option<Vec<_>>>()?;
        let weakest = named.iter().map(|standing| Verdict::of(standing.state)).max();
        Some(Threat {
            id: text(entry, "id")?,
            name: text(entry, "name")?,
            means: text(entry, "means")?,
            controls: named.iter().map(|standing| standing.control).collect(),
            remains: text(entry, "remains")?,
            // Nothing against it is no mitigation.
            verdict: weakest.unwrap_or(Verdict::Unmitigated),
        })
    });
    Some(Catalogue {
        id: text(&written, "catalogue")?,
        name: text(&written, "name")?,
        version: text(&written, "version")?,
        source: text(&written, "source")?,
        licence: text(&written, "licence")?,
        threats: threats.collect::<Option<_>>()?,
    })
}

fn text(entry: &Value, key: &str) -> Option<String> {
    entry.get(key)?.as_str().map(str::to_owned)
}

fn texts(entry: &Value, key: &str) -> Vec<String> {
    let found = entry.get(key).and_then(Value::as_array).into_iter().flatten();
    found.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_posture::evals::CaseKind;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Everything that the sources of a crate say, its tests too.
    fn sources(folder: &Path) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.push_str(&sources(&path));
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
        all
    }

    #[test]
    fn every_test_and_case_that_the_catalogues_name_is_there() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut read: BTreeMap<String, String> = BTreeMap::new();
        let written = yaml_data(CONTROLS).unwrap();
        let written = written["controls"].as_array().unwrap();
        let ids: Vec<_> = written.iter().map(|entry| text(entry, "id").unwrap()).collect();
        let all: Vec<_> = Control::ALL.iter().map(|control| control.as_str()).collect();
        assert_eq!(ids, all);
        for entry in written {
            for test in texts(entry, "tests") {
                let (of, name) = test.split_once('/').unwrap();
                let said = read.entry(of.to_owned()).or_insert_with(|| sources(&crates.join(of)));
                assert!(said.contains(&format!("fn {name}(")), "there is no test {test}");
            }
            for kind in texts(entry, "cases") {
                assert!(CaseKind::ALL.iter().any(|known| known.as_str() == kind), "{kind}");
            }
        }
    }

    #[test]
    fn every_threat_names_controls_and_every_control_stands_against_one() {
        let mut named = BTreeSet::new();
        for written in CATALOGUES {
            let written = yaml_data(written).unwrap();
            for threat in written["threats"].as_array().unwrap() {
                let controls = texts(threat, "controls");
                assert!(!controls.is_empty(), "{threat}");
                named.extend(controls);
            }
        }
        let all = Control::ALL.iter().map(|control| control.as_str().to_owned());
        assert_eq!(named, all.collect::<BTreeSet<_>>());
    }
}
