//! `evals/NAME.yaml`: cases that say what must stay true of the posture, whatever an agent does.
//!
//! They are no part of what is enforced: the posture's digests do not cover them, and `serve` does not
//! read them.

mod decode;
mod text;

use crate::bound::{FILE_BYTES_MAX, FILES_MAX};
use crate::decode::Decoder;
use crate::finding::{Code, Finding, Place, Source, any_error, did_you_mean, sort};
use crate::load::{Loaded, ReadError, read_text};
use crate::secret;
pub(crate) use decode::{DOORS, ENDS, KINDS, TOKENS};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};
pub use text::shown;

/// The evaluation suite of a posture.
#[derive(Debug, Default)]
pub struct Evals {
    /// Every case, by file and then as they stand there.
    pub cases: Vec<Case>,
    /// What APIs answer while it runs.
    pub answers: Vec<CannedAnswer>,
    /// Weakenings that nobody could notice.
    pub equivalents: Vec<Equivalent>,
}

/// A weakening of the posture of which somebody says that nobody could notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivalent {
    /// As `eval mutate` tells of it.
    pub mutant: String,
    /// Why.
    pub because: String,
}

/// What an API answers to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct CannedAnswer {
    /// The system.
    pub system: String,
    /// The method.
    pub method: String,
    /// The path, without a query.
    pub path: String,
    /// What the query must have; it may have more.
    pub query: BTreeMap<String, String>,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// How long it takes, in milliseconds.
    pub takes_ms: u32,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file's name.
    pub suite: String,
    /// Its own name there.
    pub name: String,
    /// What it shows, in a sentence.
    pub shows: String,
    /// What kind of danger it is about.
    pub kind: CaseKind,
    /// Who calls.
    pub caller: Caller,
    /// By which door; each in turn, if it does not say.
    pub door: Option<CaseDoor>,
    /// What the agent is asked to do.
    pub message: String,
    /// Texts that results carry.
    pub plants: Vec<Plant>,
    /// What a hijacked agent is after.
    pub goal: Option<Goal>,
    /// What a scripted agent proposes, and what people decide meanwhile.
    pub script: Vec<Step>,
    /// What must hold afterwards.
    pub expect: Expect,
    /// Where it is written.
    pub place: Place,
}

impl Case {
    /// By what it is called in reports: `suite/name`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }
}

/// What kind of danger a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaseKind {
    /// None: what is allowed works.
    Normal,
    /// Another tenant's data.
    CrossTenant,
    /// Instructions in what is read.
    Injection,
    /// Arguments that do not fit.
    Malformed,
    /// What people have to agree to.
    Approval,
    /// Limits and budgets.
    Limits,
    /// Systems that fail.
    Failure,
}

impl CaseKind {
    /// Every kind there is.
    pub const ALL: [Self; 7] = [
        Self::Normal,
        Self::CrossTenant,
        Self::Injection,
        Self::Malformed,
        Self::Approval,
        Self::Limits,
        Self::Failure,
    ];

    /// As files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = KINDS.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(word, _)| word)
    }
}

/// By which door a case's calls go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseDoor {
    /// `/mcp`.
    Mcp,
    /// `/v1`.
    Http,
}

/// Who calls. Claims that are not said are made up for the case alone, so that no two cases share a
/// session or a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The agent's name in the posture.
    pub agent: String,
    /// Whose data it may touch.
    pub tenant: String,
    /// On whose behalf.
    pub user: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// Further claims, by the names that the posture gives them.
    pub claims: BTreeMap<String, Vec<String>>,
    /// The OAuth scopes of the token.
    pub scopes: Vec<String>,
    /// The token it comes with.
    pub token: Token,
}

/// What a caller presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Token {
    /// A token of the issuer.
    #[default]
    Valid,
    /// None.
    Missing,
    /// One that another key signed.
    Forged,
    /// One that has ended.
    Expired,
    /// One for somebody else to take.
    OtherAudience,
}

impl Token {
    /// As files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = TOKENS.iter().find(|(_, token)| *token == self);
        found.map_or("", |(word, _)| word)
    }
}

/// A text that a tool's result carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Plant {
    /// The tool.
    pub tool: String,
    /// The arguments of the call that meets it.
    pub arguments: Map<String, Value>,
    /// The text.
    pub text: String,
}

/// What a hijacked agent is after, and what counts as having got it.
#[derive(Debug, Clone, PartialEq)]
pub enum Goal {
    /// To see one of these texts.
    Sees(Vec<String>),
    /// That this tool takes effect.
    Does {
        /// The tool.
        tool: String,
        /// With these arguments among its own.
        with: Map<String, Value>,
    },
}

/// By what a step names the gateway's own journal, beside the systems.
pub const JOURNAL: &str = "journal";

/// One step of a script.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The agent proposes a call.
    Call(CallStep),
    /// A person decides about a draft.
    Decide(DecideStep),
    /// A person is away for an hour and says who stands in.
    StandIn(StandInStep),
    /// A system, or the [`JOURNAL`], stops answering, until the case is over.
    Fail(String),
    /// A system keeps nothing of what it says that it has written, until the case is over.
    Lose(String),
    /// So many milliseconds pass.
    Wait(u32),
}

/// A call that the agent proposes.
#[derive(Debug, Clone, PartialEq)]
pub struct CallStep {
    /// The tool.
    pub tool: String,
    /// With what. A text `{n}` stands for the number of the repetition, from 1, and so does `{n}`
    /// within one; `{NAME}` stands for the draft of the step of that name.
    pub arguments: Map<String, Value>,
    /// The step's name.
    pub name: Option<String>,
    /// How often it is made.
    pub times: u32,
    /// How each of them ends: `completed`, or a code; anything but a result, if it is `refused`.
    pub expect: Option<String>,
    /// How many rows come back.
    pub rows: Option<u32>,
    /// Who calls, if it is not the case's caller.
    pub caller: Option<Caller>,
}

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecideStep {
    /// Whether they approve.
    pub approves: bool,
    /// The name of the step whose draft it is.
    pub draft: String,
    /// Who they are.
    pub by: Person,
    /// Why they do not agree.
    pub reason: String,
    /// How the draft ends then, or the code of why they may not decide.
    pub expect: Option<String>,
}

/// Who stands in for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandInStep {
    /// The address of the one who stands in.
    pub to: String,
    /// Who is away.
    pub by: Person,
    /// `completed`, or the code of why they may not let them.
    pub expect: Option<String>,
}

/// A person who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their immutable id, and their address if it is one.
    pub person: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// The tenants they decide for.
    pub tenants: Vec<String>,
    /// How long ago they signed in, in seconds.
    pub signed_in_s: u32,
}

/// What must hold of a case besides its steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    /// How often these tools take effect or answer.
    pub executed: BTreeMap<String, u32>,
    /// Tools that never do.
    pub never: Vec<String>,
    /// What the agent is told at some time.
    pub contains: Vec<String>,
    /// What it is never told.
    pub lacks: Vec<String>,
    /// How many statements and requests reach the systems, those that begin and end transactions apart.
    pub asked: Option<u32>,
    /// How many drafts are made.
    pub drafts: Option<u32>,
    /// What people are alerted of, and nothing else.
    pub alerts: Option<Vec<String>>,
    /// How many rows change, by `SYSTEM.TABLE`.
    pub changed: BTreeMap<String, u32>,
}

impl Expect {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the suite of a posture: the folder `evals` in it. It is there only if no finding is an error.
/// Names are held against the posture, if that has no error.
#[must_use]
pub fn load_evals(posture: &Path, loaded: Option<&Loaded>) -> (Option<Evals>, Vec<Finding>) {
    let mut evals = Evals::default();
    let mut findings = Vec::new();
    let known = loaded.map(Known::of);
    for source in sources(posture, &mut findings) {
        let mut decoder = Decoder::new(source);
        if let Some(file) = decode::file(&mut decoder) {
            if let Some(known) = &known {
                file.check(&mut decoder, known);
            }
            evals.cases.extend(file.cases.into_iter().filter_map(decode::Written::into_case));
            evals.equivalents.extend(file.equivalents);
            evals.answers.extend(file.answers.into_iter().map(|answer| answer.value));
        }
        findings.append(&mut decoder.findings);
    }
    sort(&mut findings);
    (Some(evals).filter(|_| !any_error(&findings)), findings)
}

/// The files of the suite, in order.
fn sources(posture: &Path, findings: &mut Vec<Finding>) -> Vec<Arc<Source>> {
    let folder = posture.join("evals");
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let names = entries.take(FILES_MAX).filter_map(Result::ok);
    let names: BTreeSet<_> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let mut sources = Vec::new();
    for name in names.iter().filter(|name| !name.starts_with('.') && *name != "README.md") {
        let path = format!("evals/{name}");
        let mut report = |code, message| {
            let place =
                Place { source: Arc::new(Source::new(posture, path.as_str(), "")), span: 0..0 };
            findings.push(Finding { code, place, message, help: None });
        };
        if !name.ends_with(".yaml") {
            report(Code::UnexpectedFile, format!("`{path}` is no part of a suite"));
            continue;
        }
        match read_text(&folder.join(name), FILE_BYTES_MAX) {
            Ok(text) => {
                let (source, found) = secret::blotted(Source::new(posture, path.as_str(), text));
                findings.extend(found);
                sources.push(source);
            }
            Err(ReadError { code, message }) => report(code, message),
        }
    }
    sources
}

/// What a posture has names for.
pub(crate) struct Known {
    agents: BTreeSet<String>,
    tools: BTreeSet<String>,
    systems: BTreeSet<String>,
    attributes: BTreeSet<String>,
}

impl Known {
    fn of(loaded: &Loaded) -> Self {
        let agents = loaded.posture.agents.values();
        Self {
            agents: agents.clone().map(|agent| agent.id.to_string()).collect(),
            tools: agents.flat_map(|a| a.grants.keys().map(ToString::to_string)).collect(),
            systems: loaded.systems.keys().map(ToString::to_string).collect(),
            attributes: loaded.claims.attributes.keys().cloned().collect(),
        }
    }

    fn near(names: &BTreeSet<String>, written: &str) -> Option<String> {
        did_you_mean(written, names.iter().map(String::as_str))
    }
}
