//! The posture folder: read once, decoded file by file, checked across files, compiled.

use crate::agent::{self, AgentFile, GrantEntry, Owner, Stage};
use crate::ask::{Servers, overlap};
use crate::bound::{
    EXCEPTION_ENDS_SECONDS, FILE_BYTES_MAX, FILES_MAX, PINS_BYTES_MAX, POSTURE_BYTES_MAX,
    VALUES_SHOWN_MAX,
};
use crate::decode::Decoder;
use crate::deployment::{Deployment, Environment};
use crate::finding::{Code, Finding, Place, Source, any_error, did_you_mean, sort};
use crate::ladder::Steps;
use crate::lint;
use crate::lock;
use crate::node::{Span, hidden};
use crate::pin::{self, PinFile};
use crate::places::Places;
use crate::posture::{self, ClaimMap, PostureFile, Profile, merged};
use crate::secret;
use crate::system::{self, Dialects, SystemFile, SystemSpec, Takes};
use crate::template;
use crate::tool::{self, Asked, Ground, ToolFile};
use crate::vendor::{self, Dues, Vendor, VendorFile, coverage, reviews};
use countersign_core::id::{
    ActorId, AgentId, Digest, IssuerId, SystemName, Timestamp, ToolName, VendorName,
};
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::quota::Limits;
use countersign_core::tool::{Defined, Effect, Offered, Plan, ResourceUri, Rung, Tool};
use jiff::civil::Date;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A posture without an error in it.
#[derive(Debug)]
pub struct Loaded {
    /// What the monitor enforces.
    pub posture: Posture,
    /// The systems its tools reach.
    pub systems: BTreeMap<SystemName, SystemSpec>,
    /// How tokens become principals.
    pub claims: ClaimMap,
    /// Whose posture it is.
    pub organisation: String,
    /// The kind of organisation that it was begun for.
    pub profile: Option<Profile>,
    /// The vendors that agents and systems depend on.
    pub vendors: BTreeMap<VendorName, Vendor>,
    /// How long before a review is due it is said, in seconds.
    pub warn_s: u32,
    /// The register of agents, by name.
    pub register: Vec<Registered>,
    /// Grants of an effect that say not by whom and when they were reviewed.
    pub(crate) unreviewed: Vec<(ToolName, Place)>,
    /// Tools that stand below their effect's step for a time, and where that is written.
    pub(crate) exceptions: Vec<(ToolName, Timestamp, Place)>,
    /// How far each grant has come, and where that agent's grants are written.
    pub(crate) stages: BTreeMap<AgentId, (BTreeMap<ToolName, Stage>, Place)>,
    /// Agents that do not say whose tokens they call with.
    pub(crate) unbound: Vec<(AgentId, Place)>,
    /// The files of hand-written policies, in order. What they say, and on which tools they bear, is
    /// for others to judge: they are part of the posture's digest, and of no decision digest yet.
    pub policies: Vec<Arc<Source>>,
    /// Where all of it is written.
    pub places: Places,
}

impl Loaded {
    /// How far a grant has come.
    #[must_use]
    pub fn stage(&self, agent: &AgentId, tool: &ToolName) -> Stage {
        let grants = self.stages.get(agent).map(|(grants, _)| grants);
        grants.and_then(|grants| grants.get(tool)).copied().unwrap_or_default()
    }

    /// Takes away the grants that have not come as far as `environment`: what they are of does not exist
    /// for their agents, like the tools of nobody.
    pub fn keep_in(&mut self, environment: Environment) {
        let (least, stages) = (environment.least(), &self.stages);
        self.posture.agents.retain(|_, agent| {
            let stages = stages.get(&agent.id).map(|(grants, _)| grants);
            let far = |tool: &ToolName| {
                stages.and_then(|stages| stages.get(tool)).copied().unwrap_or_default() >= least
            };
            // One that is in use already cannot be told apart, and is nobody.
            Arc::get_mut(agent).map(|agent| agent.grants.retain(|tool, _| far(tool))).is_some()
        });
    }

    /// A tool that asks somebody before its effect happens, if any does.
    fn gated(&self) -> Option<&ToolName> {
        let agents = self.posture.agents.values();
        let mut grants = agents.flat_map(|agent| &agent.grants);
        grants.find(|(_, grant)| grant.tool.ladder.gate.is_some()).map(|(name, _)| name)
    }

    /// Agents that call with tokens of another than `issuer`, each with a tool of the fourth step.
    fn named_elsewhere(&self, issuer: &IssuerId) -> impl Iterator<Item = (&AgentId, &ToolName)> {
        let agents = self.posture.agents.values();
        let elsewhere = agents.filter(move |a| a.issuer.as_ref().is_some_and(|of| of != issuer));
        elsewhere.filter_map(|agent| {
            let mut grants = agent.grants.iter();
            let named = grants.find(|(_, grant)| grant.tool.ladder.rung >= Rung::NAMED);
            named.map(|(tool, _)| (&agent.id, tool))
        })
    }
}

/// What the register says of an agent, for people.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its name.
    pub agent: AgentId,
    /// The OAuth client that calls as it.
    pub client: ActorId,
    /// What it is for.
    pub purpose: String,
    /// The team that owns it.
    pub team: String,
    /// How to reach its owner.
    pub contact: String,
    /// Whose models and services it is made of.
    pub vendors: Vec<VendorName>,
    /// The last day for which it was reviewed.
    pub review_by: Option<Date>,
    /// Where its vendors are written, or would be.
    pub(crate) vendor_place: Place,
    /// Where its last day is written.
    pub(crate) due: Place,
}

/// What is sound of a posture that has an error in it: enough to judge policies by.
#[derive(Debug)]
pub struct Sketch {
    /// Its sound tools, as its sound agents were granted them. It decides nothing.
    pub posture: Posture,
    /// What is known of a caller besides what every token says.
    pub attributes: BTreeSet<String>,
    /// The files of hand-written policies, in order.
    pub policies: Vec<Arc<Source>>,
    /// Names of tools of which no more is known.
    pub unknown_tools: BTreeSet<String>,
    /// Whether an agent's file has a mistake in it: what it is granted is not known.
    pub unknown_agents: bool,
    /// Whether the file that names attributes has.
    pub unknown_attributes: bool,
}

/// Reads a posture folder. The posture is there only if no finding is an error.
#[must_use]
pub fn load_posture(folder: &Path) -> (Option<Loaded>, Vec<Finding>) {
    let (loaded, findings) = load_or_sketch(folder);
    (loaded.ok(), findings)
}

/// The same, with what is sound of a posture that has an error.
pub fn load_or_sketch(folder: &Path) -> (Result<Loaded, Box<Sketch>>, Vec<Finding>) {
    let mut draft = Draft::decode(Folder::read(folder));
    draft.folder.check_policies();
    draft.check_names();
    draft.check_tools();
    draft.check_calls();
    draft.check_pins();
    draft.check_look();
    draft.check_offers();
    draft.check_alike();
    draft.check_agents();
    draft.check_vendors();
    draft.check_granted();
    let sketch = draft.any_error().then(|| draft.sketch());
    let mut findings = draft.take_findings();
    sort(&mut findings);
    match sketch {
        None => match draft.compile() {
            Some(loaded) => (Ok(loaded), findings),
            None => (Err(Box::new(draft.sketch())), findings),
        },
        Some(sketch) => (Err(Box::new(sketch)), findings),
    }
}

/// The YAML files of a posture as plain data, by path, to make others of; those that cannot be read are
/// left out. They are held against nothing.
#[must_use]
pub fn posture_data(folder: &Path) -> BTreeMap<String, Value> {
    let files = Folder::read(folder).files.into_iter().filter(|(path, _)| path.ends_with(".yaml"));
    let read = files.filter_map(|(path, source)| {
        let node = Decoder::new(source).read()?;
        Some((path, node.data(&mut |text| Some(text.to_owned()))?))
    });
    read.collect()
}

/// One system of a posture, whatever else in it has a mistake; with what is wrong with its own file.
/// Nothing of either if there is no such file.
#[must_use]
pub fn load_system(folder: &Path, name: &SystemName) -> (Option<SystemSpec>, Vec<Finding>) {
    let folder = Folder::read(folder);
    let path = format!("systems/{name}.yaml");
    let Some(source) = folder.files.get(&path) else {
        let of_file = |finding: &Finding| finding.place.source.path() == path;
        return (None, folder.findings.into_iter().filter(of_file).collect());
    };
    let mut decoder = Decoder::new(Arc::clone(source));
    let file = system::decode(&mut decoder);
    (file.and_then(|file| file.spec), decoder.findings)
}

/// What only both together show: references that lead nowhere, those that nobody uses, what is not fit
/// for production, and what has ended at `now`.
#[must_use]
pub fn link(deployment: &Deployment, loaded: &Loaded, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = || deployment.references.keys().map(String::as_str);
    let mut used = BTreeSet::new();
    for system in loaded.systems.values() {
        for reference in system.backend.references() {
            used.insert(reference);
            if deployment.references.contains_key(reference) {
                continue;
            }
            let near = did_you_mean(reference, known());
            findings.push(unknown_reference(reference, &system.place, near));
        }
    }
    for (reference, place) in deployment.relay.references() {
        used.insert(reference);
        if !deployment.references.contains_key(reference) {
            findings.push(unknown_reference(reference, place, did_you_mean(reference, known())));
        }
    }
    for (name, place) in &deployment.written.references {
        if !used.contains(name.as_str()) {
            findings.push(Finding {
                code: Code::UnusedReference,
                place: place.clone(),
                message: format!("nothing uses the reference `{name}`"),
                help: None,
            });
        }
    }
    findings.extend(of_issuers(deployment, loaded));
    findings.extend(of_people(deployment, loaded));
    findings.extend(of_exceptions(deployment, loaded, now));
    findings.extend(reviews(deployment.environment, loaded, now));
    if deployment.environment == Environment::Production {
        findings.extend(coverage(loaded).into_iter().flat_map(|covered| covered.gaps));
        findings.extend(of_stages(loaded));
        findings.extend(template::left(deployment, loaded));
        for (tool, place) in &loaded.unreviewed {
            findings.push(Finding {
                code: Code::UnreviewedGrant,
                place: place.clone(),
                message: format!(
                    "nobody reviewed that this agent may use `{tool}`, which changes something"
                ),
                help: Some("whoever reviewed it adds `reviewed_by` and `reviewed_on`".to_owned()),
            });
        }
    }
    sort(&mut findings);
    findings
}

fn unknown_reference(reference: &str, place: &Place, near: Option<String>) -> Finding {
    Finding {
        code: Code::UnknownReference,
        place: place.clone(),
        message: format!("the deployment has no reference `{reference}`"),
        help: near.or_else(|| Some("add it under `references`".to_owned())),
    }
}

/// In production an agent reads before it writes, and has something to do.
fn of_stages(loaded: &Loaded) -> Vec<Finding> {
    let found = loaded.posture.agents.values().filter_map(|agent| {
        let (stages, place) = loaded.stages.get(&agent.id)?;
        let there = |tool: &&ToolName| stages.get(*tool) == Some(&Stage::Production);
        let reads = |tool: &&ToolName| {
            agent.grants.get(*tool).is_some_and(|grant| grant.tool.effect == Effect::Read)
        };
        let (read, write): (Vec<_>, Vec<_>) = agent.grants.keys().partition(reads);
        let name = &agent.id;
        let (code, message, help) = if !agent.grants.keys().any(|tool| there(&tool)) {
            let message =
                format!("no grant of `{name}` has come to production: nothing is there for it");
            (Code::NothingStaged, message, "say `stage: production` once it was tried in staging")
        } else if !read.is_empty()
            && !read.iter().any(there)
            && let Some(tool) = write.iter().find(|tool| there(tool))
        {
            let message =
                format!("`{name}` may use `{tool}` in production and read nothing there yet");
            (
                Code::WritesFirst,
                message,
                "let it read first: `stage: production` on a grant that reads",
            )
        } else {
            return None;
        };
        let help = Some(help.to_owned());
        Some(Finding { code, place: place.clone(), message, help })
    });
    found.collect()
}

/// With several issuers, each could name another's clients: an agent says whose tokens are its own.
fn of_issuers(deployment: &Deployment, loaded: &Loaded) -> Vec<Finding> {
    let several =
        deployment.issuers.len().saturating_add(usize::from(deployment.development_issuer)) > 1;
    let unbound = loaded.unbound.iter().filter(|_| several);
    let unbound = unbound.map(|(agent, place)| Finding {
        code: Code::AgentIssuer,
        place: place.clone(),
        message: format!("several issuers are trusted, and `{agent}` may call with tokens of any"),
        help: Some("say whose: `identity: { client_id: …, issuer: … }`".to_owned()),
    });
    unbound.collect()
}

/// Leave that has ended, or ends soon.
fn of_exceptions(deployment: &Deployment, loaded: &Loaded, now: Timestamp) -> Vec<Finding> {
    let ended = match deployment.environment {
        Environment::Production => Code::EndedException,
        Environment::Staging | Environment::Development => Code::EndingException,
    };
    let found = loaded.exceptions.iter().filter_map(|(tool, expires, place)| {
        let (code, message) = if *expires <= now {
            (ended, format!("the exception for `{tool}` has ended, and its own step counts"))
        } else if *expires <= now.plus_secs(EXCEPTION_ENDS_SECONDS) {
            (Code::EndingException, format!("the exception for `{tool}` ends within 30 days"))
        } else {
            return None;
        };
        const { assert!(EXCEPTION_ENDS_SECONDS == 30 * 86_400, "the message says so") };
        let help = "take `exception` out, or have it reviewed again".to_owned();
        Some(Finding { code, place: place.clone(), message, help: Some(help) })
    });
    found.collect()
}

/// What people decide needs people, whom nobody can take for somebody else or for an agent.
fn of_people(deployment: &Deployment, loaded: &Loaded) -> Vec<Finding> {
    let finding = |code, place: &Place, message: String, help: &str| Finding {
        code,
        place: place.clone(),
        message,
        help: Some(help.to_owned()),
    };
    let gated = loaded.gated();
    let (Some(people), Some(written)) = (&deployment.people, &deployment.written.people) else {
        let none = gated.map(|tool| {
            let code = match deployment.environment {
                Environment::Production => Code::NoPeople,
                Environment::Staging | Environment::Development => Code::NoPeopleYet,
            };
            let message = format!("`{tool}` waits for people, and nobody can sign in");
            finding(code, &deployment.written.posture, message, "say how, under `people`")
        });
        return none.into_iter().collect();
    };
    let mut findings = Vec::new();
    let own = &people.claims.person;
    let message = match &loaded.claims.person {
        Some(person) if person != own => Some(format!(
            "people are known by `{own}` here and by `{person}` in the posture: one human would be two"
        )),
        None if gated.is_some() => {
            Some("the posture does not say by which claim an agent's person is known".to_owned())
        }
        Some(_) | None => None,
    };
    if let Some(message) = message {
        let help = format!("write `person: {own}` under `identity.claims` of `posture.yaml`");
        findings.push(finding(Code::PersonClaim, &written.person, message, &help));
    }
    for (agent, tool) in loaded.named_elsewhere(&people.issuer) {
        let message = format!(
            "nobody can approve `{tool}` for `{agent}`: people sign in at `{}`, and whether one of them asked through the agent cannot be told",
            people.issuer
        );
        let help = "let both come from one issuer: nobody approves what may be their own request";
        findings.push(finding(Code::PeopleElsewhere, &written.issuer, message, help));
    }
    let client = people.client_id.as_str();
    if let Some(agent) = loaded.register.iter().find(|entry| entry.client.as_str() == client) {
        let message = format!("people would sign in as the agent `{}`", agent.agent);
        let help = "register a client of its own for people";
        findings.push(finding(Code::PeopleClient, &written.client_id, message, help));
    }
    findings
}

// ── reading ─────────────────────────────────────────────────────────────────────────────────────

/// Why a file was not read.
pub(crate) struct ReadError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// A whole file as text, at most `max` bytes of it.
pub(crate) fn read_text(path: &Path, max: usize) -> Result<String, ReadError> {
    let unreadable = |error: &dyn std::fmt::Display| ReadError {
        code: Code::Unreadable,
        message: format!("cannot be read: {error}"),
    };
    // Asked first, because opening a named pipe would wait for its writer.
    match fs::metadata(path) {
        Ok(file) if file.is_file() => {}
        Ok(_) => return Err(unreadable(&"it is no file")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = "is not there".to_owned();
            return Err(ReadError { code: Code::Unreadable, message });
        }
        Err(error) => return Err(unreadable(&error)),
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(&error))?;
    if bytes.len() > max {
        let message = format!("the file is larger than {max} bytes");
        return Err(ReadError { code: Code::TooLarge, message });
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ReadError { code: Code::NotUtf8, message: format!("the bytes after {at} are not UTF-8") }
    })
}

/// The files of a posture, each read once: the bytes that are hashed are the bytes that are parsed.
struct Folder {
    /// As it was named, for findings.
    named: PathBuf,
    root: PathBuf,
    /// By path relative to the root, with `/` between its parts.
    files: BTreeMap<String, Arc<Source>>,
    /// Names of files that are there, readable or not.
    names: BTreeSet<String>,
    seen: usize,
    bytes: usize,
    findings: Vec<Finding>,
}

const FOLDERS: [&str; 6] = ["agents", "tools", "systems", "vendors", "pins", "policies"];

impl Folder {
    fn read(folder: &Path) -> Self {
        let mut found = Self {
            named: PathBuf::new(),
            root: PathBuf::new(),
            files: BTreeMap::new(),
            names: BTreeSet::new(),
            seen: 0,
            bytes: 0,
            findings: Vec::new(),
        };
        match folder.canonicalize() {
            Ok(root) => {
                found.named = folder.to_owned();
                found.root = root;
            }
            Err(error) => {
                let message = format!("the folder cannot be read: {error}");
                found.report(&folder.display().to_string(), Code::Unreadable, message);
                return found;
            }
        }
        found.list("");
        if !found.names.contains("posture.yaml") && found.findings.is_empty() {
            found.report("posture.yaml", Code::Unreadable, "`posture.yaml` is missing".to_owned());
        }
        found
    }

    /// Reads a folder's entries, in order. `prefix` is empty or ends with `/`.
    fn list(&mut self, prefix: &str) {
        let names = match self.entries(prefix) {
            Ok(names) => names,
            Err(error) => {
                let message = format!("the folder cannot be read: {error}");
                return self.report(prefix, Code::Unreadable, message);
            }
        };
        for name in names {
            self.seen = self.seen.saturating_add(1);
            if self.seen > FILES_MAX {
                let message = format!("the posture has more than {FILES_MAX} files");
                return self.report(prefix, Code::TooLarge, message);
            }
            if !name.starts_with('.') && name != "README.md" {
                self.entry(prefix, &name);
            } else {
                self.beside(&format!("{prefix}{name}"));
            }
        }
    }

    fn entries(&self, prefix: &str) -> io::Result<BTreeSet<String>> {
        let entries = fs::read_dir(self.root.join(prefix))?;
        // One more than allowed is enough to know that there are too many.
        let entries = entries.take(FILES_MAX.saturating_add(1));
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn entry(&mut self, prefix: &str, name: &str) {
        let path = format!("{prefix}{name}");
        let full = self.root.join(&path);
        let at_top = prefix.is_empty();
        let expected = match prefix {
            "" => name == "posture.yaml",
            "policies/" => name.ends_with(".cedar"),
            "pins/" => name.ends_with(".json"),
            _ => name.ends_with(".yaml"),
        };
        if expected {
            self.names.insert(path.clone());
        }
        match full.canonicalize() {
            Ok(target) if target.starts_with(&self.root) => {}
            Ok(_) => {
                let message = "the symbolic link leads out of the posture folder".to_owned();
                return self.report(&path, Code::SymlinkEscape, message);
            }
            Err(error) => {
                return self.report(&path, Code::Unreadable, format!("cannot be read: {error}"));
            }
        }
        // Cases are no part of what is enforced: `load_evals` reads them.
        if at_top && name == "evals" && full.is_dir() {
            return;
        }
        // Nor is what was said of the posture afterwards: `lock::read` and `lock::cover` do.
        if at_top
            && (name == lock::FILE && full.is_file() || name == lock::EVIDENCE && full.is_dir())
        {
            return;
        }
        if at_top && FOLDERS.contains(&name) && full.is_dir() {
            return self.list(&format!("{name}/"));
        }
        if !expected || full.is_dir() {
            self.unexpected(&path, name);
            return;
        }
        let most = if prefix == "pins/" { PINS_BYTES_MAX } else { FILE_BYTES_MAX };
        match read_text(&full, most) {
            Ok(text) => self.keep(path, text),
            Err(ReadError { code, message }) => self.report(&path, code, message),
        }
    }

    /// A file that is no part of the posture and lies with it, so that whoever reads the posture reads
    /// it too: it must hold no secret.
    fn beside(&mut self, path: &str) {
        let full = self.root.join(path);
        if full.canonicalize().is_ok_and(|target| target.starts_with(&self.root))
            && let Ok(text) = read_text(&full, FILE_BYTES_MAX)
        {
            self.findings.extend(secret::blotted(Source::new(&self.named, path, text)).1);
        }
    }

    fn keep(&mut self, path: String, text: String) {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > POSTURE_BYTES_MAX {
            let message = format!("the posture is larger than {POSTURE_BYTES_MAX} bytes");
            self.report(&path, Code::TooLarge, message);
        } else {
            let (source, found) = secret::blotted(Source::new(&self.named, path.clone(), text));
            self.files.insert(path, source);
            self.findings.extend(found);
        }
    }

    fn unexpected(&mut self, path: &str, name: &str) {
        self.report(path, Code::UnexpectedFile, format!("`{path}` is no part of a posture"));
        let stem = name.strip_suffix(".yml").map(|stem| format!("call it `{stem}.yaml`"));
        if let Some(finding) = self.findings.last_mut() {
            finding.help = stem.or_else(|| {
                Some("a posture is `posture.yaml`, files NAME.yaml in `agents`, `tools`, `systems`, `vendors` and `evals`, NAME.json in `pins`, and NAME.cedar in `policies`".to_owned())
            });
        }
    }

    fn policies(&self) -> impl Iterator<Item = &Arc<Source>> {
        let files = self.files.iter().filter(|(path, _)| path.starts_with("policies/"));
        files.map(|(_, source)| source)
    }

    /// A policy, like any other file, must be what it looks like.
    fn check_policies(&mut self) {
        let hidden: Vec<_> = self.policies().flat_map(hidden).collect();
        self.findings.extend(hidden);
    }

    fn report(&mut self, path: &str, code: Code, message: String) {
        let path = path.strip_suffix('/').unwrap_or(path);
        let place = Place { source: Arc::new(Source::new(&self.named, path, "")), span: 0..0 };
        self.findings.push(Finding { code, place, message, help: None });
    }
}

// ── decoding and checking ───────────────────────────────────────────────────────────────────────

/// One file and what could be made of it.
struct Decoded<T> {
    decoder: Decoder,
    file: Option<T>,
}

impl<T> Decoded<T> {
    fn is_wrong(&self) -> bool {
        any_error(&self.decoder.findings)
    }

    /// The file, if it has no error.
    fn sound(&self) -> Option<&T> {
        self.file.as_ref().filter(|_| !self.is_wrong())
    }
}

/// All files, decoded one by one.
struct Draft {
    folder: Folder,
    posture: Option<Decoded<PostureFile>>,
    systems: Vec<Decoded<SystemFile>>,
    vendors: Vec<Decoded<VendorFile>>,
    pins: Vec<Decoded<PinFile>>,
    tools: Vec<Decoded<ToolFile>>,
    agents: Vec<Decoded<AgentFile>>,
}

impl Draft {
    fn decode(folder: Folder) -> Self {
        let one = |source: &Arc<Source>| {
            let mut decoder = Decoder::new(Arc::clone(source));
            let file = posture::decode(&mut decoder);
            Decoded { decoder, file }
        };
        let posture = folder.files.get("posture.yaml").map(one);
        let file = posture.as_ref().and_then(|posture| posture.file.as_ref());
        let attributes = file.map(|file| &file.attributes);
        let steps = file.map_or(Steps::OWN, |file| file.steps);
        let systems = decode_all(&folder, "systems/", system::decode);
        let dialects = Dialects::new(systems.iter().filter_map(|system| system.file.as_ref()));
        let pins = decode_all(&folder, "pins/", pin::decode);
        let servers = servers(&systems, &pins);
        let ground = Ground { attributes, dialects: &dialects, servers: &servers, steps };
        let tools = decode_all(&folder, "tools/", |decoder| tool::decode(decoder, ground));
        let agents = decode_all(&folder, "agents/", agent::decode);
        let vendors = decode_all(&folder, "vendors/", vendor::decode);
        Self { folder, posture, systems, vendors, pins, tools, agents }
    }

    /// Names that a folder declares: what its files are called, so that a file with a mistake in it
    /// does not make every mention of it another mistake. `None` if the folder was not read.
    fn declared(&self, folder: &str) -> Option<BTreeSet<String>> {
        if self.folder.findings.iter().any(|finding| finding.place.source.path() == folder) {
            return None;
        }
        let names = self.folder.names.iter();
        let names = names.filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        Some(names.map(|file| file.strip_suffix(".yaml").unwrap_or(file).to_owned()).collect())
    }

    /// No two files may speak of the same thing.
    fn check_names(&mut self) {
        distinct(&mut self.systems, "the system", |file| {
            file.name.as_ref().map(|name| (name.value.to_string(), name.span))
        });
        distinct(&mut self.tools, "the tool", |file| {
            file.name.as_ref().map(|name| (name.value.to_string(), name.span))
        });
        distinct(&mut self.agents, "the agent", |file| {
            file.name.as_ref().map(|name| (name.value.to_string(), name.span))
        });
        distinct(&mut self.agents, "the client", |file| {
            file.client.as_ref().map(|client| (client.value.to_string(), client.span))
        });
    }

    /// Pins are of an MCP system, and of what its tools call; and they look like nothing else.
    fn check_pins(&mut self) {
        let declared = self.declared("systems");
        let files = self.systems.iter().filter_map(|system| system.file.as_ref());
        let servers =
            files.filter(|file| file.takes.is_none_or(|takes| takes == Takes::Definitions));
        let servers: BTreeSet<_> =
            servers.filter_map(|file| Some(file.name.as_ref()?.value.clone())).collect();
        let files: Vec<_> = self.tools.iter().filter_map(|tool| tool.file.as_ref()).collect();
        let calls = files.iter().filter_map(|file| {
            Some((&file.call.system.as_ref()?.value, file.call.ask.as_ref()?.pinned.as_ref()))
        });
        let calls: BTreeSet<_> = calls.collect();
        // Of a tool with a mistake in its file it is not known what it calls.
        let known = self.declared("tools").map(|names| names.len()) == Some(files.len())
            && files.iter().all(|file| file.call.system.is_some());
        for Decoded { decoder, file } in &mut self.pins {
            let Some(PinFile { system: Some(system), pinned, whole }) = file else { continue };
            if declared.as_ref().is_some_and(|names| !names.contains(system.as_str())) {
                let message = format!("there is no system `{system}` whose pins these could be");
                decoder.report(Code::UnknownSystem, Span::default(), message);
                continue;
            }
            if !servers.contains(system) && declared.is_some() {
                let message = format!("`{system}` is no MCP server, and only those are pinned");
                decoder.report(Code::BadPin, Span::default(), message);
                continue;
            }
            let known = known && *whole && !calls.contains(&(system, None));
            let idle = |of| known && !calls.contains(&(system, Some(of)));
            let idle: Vec<_> = pinned.iter().filter(|(of, _)| idle(of)).collect();
            if let [(_, first), ..] = idle.as_slice() {
                let names =
                    idle.iter().take(VALUES_SHOWN_MAX).map(|((_, name), _)| format!("`{name}`"));
                let names = names.collect::<Vec<_>>().join(", ");
                let more = match idle.len().saturating_sub(VALUES_SHOWN_MAX) {
                    0 => String::new(),
                    more => format!(" and {more} others"),
                };
                let message = format!("no tool calls what is pinned as {names}{more}");
                decoder.report(Code::UnusedPin, first.span, message);
                decoder.help("take them out: whoever reads the file has to read them");
            }
        }
    }

    /// No URI leads to two tools.
    fn check_offers(&mut self) {
        let mut seen: Vec<(ResourceUri, ToolName)> = Vec::new();
        for Decoded { decoder, file } in &mut self.tools {
            let Some(ToolFile { name: Some(name), offered: Some(Offered::Resource(uri)), .. }) =
                file
            else {
                continue;
            };
            if let Some((_, other)) = seen.iter().find(|(known, _)| overlap(known, uri)) {
                let message = format!("a URI of `{}` may be one of `{other}`", name.value);
                decoder.report(Code::Duplicate, name.span, message);
                decoder.help("offer one of them as a tool");
            }
            seen.push((uri.clone(), name.value.clone()));
        }
    }

    /// No name of a server's looks like another's, or like a tool that asks somebody else.
    fn check_look(&mut self) {
        let tools = self.tools.iter().filter_map(|tool| tool.file.as_ref()).filter_map(|file| {
            let system = file.call.system.as_ref().map(|system| system.value.clone());
            Some((
                lint::look(file.name.as_ref()?.value.as_str()),
                (file.name.as_ref()?.value.clone(), system),
            ))
        });
        let tools: BTreeMap<_, _> = tools.collect();
        for Decoded { decoder, file } in &mut self.pins {
            let Some(file) = file.as_ref().filter(|file| file.system.is_some()) else { continue };
            let named = file.pinned.iter().filter(|((of, _), _)| *of == Defined::Tool);
            let named: Vec<_> = named.map(|((_, name), pin)| (name.as_str(), pin.span)).collect();
            let texts: Vec<_> = named.iter().map(|(name, _)| *name).collect();
            let pairs = pin::look_alike(&texts);
            let pairs = pairs.into_iter().filter_map(|(later, first)| {
                Some((named.get(later)?, format!("`{}`", named.get(first)?.0)))
            });
            let others = named.iter().filter_map(|at| {
                let (tool, system) = tools.get(&lint::look(at.0))?;
                let other =
                    system.as_ref().filter(|system| file.system.as_ref() != Some(system))?;
                Some((at, format!("the tool `{tool}`, which asks `{other}`")))
            });
            for ((name, span), other) in pairs.chain(others).collect::<Vec<_>>() {
                let message = format!("`{name}` looks like {other}");
                decoder.report(Code::AlikeTools, *span, message);
                decoder.help(
                    "take the definition out unless a tool calls it, or call the tool otherwise",
                );
            }
        }
    }

    /// A statement is for a database, a request for an API, a message for a mail server.
    fn check_calls(&mut self) {
        let files = self.systems.iter().filter_map(|system| system.file.as_ref());
        let takes: BTreeMap<_, _> = files
            .filter_map(|file| Some((file.name.as_ref()?.value.clone(), file.takes?)))
            .collect();
        for Decoded { decoder, file } in &mut self.tools {
            for (system, asked) in file.iter().flat_map(ToolFile::asked) {
                let takes = match (takes.get(&system.value), asked) {
                    (None, _)
                    | (Some(Takes::Statements(_)), Asked::Statement)
                    | (Some(Takes::Requests), Asked::Request)
                    | (Some(Takes::Messages), Asked::Message)
                    | (Some(Takes::Definitions), Asked::Definition) => continue,
                    (Some(Takes::Statements(_)), _) => "statements",
                    (Some(Takes::Requests), _) => "requests",
                    (Some(Takes::Messages), _) => "messages",
                    (Some(Takes::Definitions), _) => "calls of its definitions",
                };
                let this = asked.as_str();
                let message = format!("`{}` takes {takes}, and this is a {this}", system.value);
                decoder.report(Code::CallSystem, system.span, message);
            }
        }
    }

    fn check_tools(&mut self) {
        let Some(systems) = self.declared("systems") else { return };
        for Decoded { decoder, file } in &mut self.tools {
            for system in file.iter().flat_map(ToolFile::systems) {
                if systems.contains(system.value.as_str()) {
                    continue;
                }
                let message = format!("there is no system `{}`", system.value);
                decoder.report(Code::UnknownSystem, system.span, message);
                let near = did_you_mean(system.value.as_str(), systems.iter().map(String::as_str));
                decoder.helped(near);
            }
        }
    }

    /// A model chooses by name and description.
    fn check_alike(&mut self) {
        let files = self.tools.iter_mut().filter_map(|Decoded { decoder, file }| {
            let ToolFile { name, description, .. } = file.as_ref()?;
            Some((decoder, name.as_ref()?, description.as_deref()?))
        });
        let mut files: Vec<_> = files.collect();
        let texts: Vec<_> = files
            .iter()
            .map(|(_, name, description)| (name.value.as_str(), *description))
            .collect();
        for (later, other) in lint::alike(&texts) {
            let Some((other, _)) = texts.get(other) else { continue };
            let Some((decoder, name, _)) = files.get_mut(later) else { continue };
            let message = format!("`{}` and `{other}` read alike to a model", name.value);
            decoder.report(Code::AlikeTools, name.span, message);
            decoder.help("say in name and description what sets them apart, or keep one of them");
        }
    }

    fn check_granted(&mut self) {
        // What an agent with a mistake in its file is granted is not known.
        let declared = self.declared("agents").map(|agents| agents.len());
        if declared != Some(self.agents.len()) || self.agents.iter().any(Decoded::is_wrong) {
            return;
        }
        let grants = self.agents.iter().filter_map(|agent| agent.file.as_ref());
        let granted: BTreeSet<_> =
            grants.flat_map(|file| &file.grants).map(|grant| &grant.tool.value).collect();
        for Decoded { decoder, file } in &mut self.tools {
            let name = file.as_ref().and_then(|file| file.name.as_ref());
            if let Some(name) = name.filter(|name| !granted.contains(&name.value)) {
                let message = format!("no agent is granted `{}`", name.value);
                decoder.report(Code::UngrantedTool, name.span, message);
            }
        }
    }

    fn check_agents(&mut self) {
        let Some(tools) = self.declared("tools") else { return };
        for Decoded { decoder, file } in &mut self.agents {
            let grants = file.iter().flat_map(|file| &file.grants);
            for GrantEntry { tool, .. } in grants {
                if !tools.contains(tool.value.as_str()) {
                    let message = format!("there is no tool `{}`", tool.value);
                    decoder.report(Code::UnknownTool, tool.span, message);
                    let near = did_you_mean(tool.value.as_str(), tools.iter().map(String::as_str));
                    decoder.helped(near);
                }
            }
        }
    }

    /// Whoever is named as a vendor has a record, and whoever has one is named.
    fn check_vendors(&mut self) {
        let Some(known) = self.declared("vendors") else { return };
        let near =
            |name: &VendorName| did_you_mean(name.as_str(), known.iter().map(String::as_str));
        let mut used = BTreeSet::new();
        let agents = self
            .agents
            .iter_mut()
            .filter_map(|Decoded { decoder, file }| Some((decoder, &file.as_ref()?.vendors)));
        let systems = self
            .systems
            .iter_mut()
            .filter_map(|Decoded { decoder, file }| Some((decoder, &file.as_ref()?.vendors)));
        for (decoder, vendors) in agents.chain(systems) {
            for vendor in vendors {
                used.insert(vendor.value.clone());
                if !known.contains(vendor.value.as_str()) {
                    let message = format!("there is no vendor `{}`", vendor.value);
                    decoder.report(Code::UnknownVendor, vendor.span, message);
                    decoder.helped(near(&vendor.value).or_else(|| {
                        Some(format!("write its record: `countersign vendor new {}`", vendor.value))
                    }));
                }
            }
        }
        // Of what depends on one, a file with a mistake says nothing.
        if self.agents.iter().any(Decoded::is_wrong) || self.systems.iter().any(Decoded::is_wrong) {
            return;
        }
        for Decoded { decoder, file } in &mut self.vendors {
            let name = file.as_ref().and_then(|file| file.name.as_ref());
            if let Some(name) = name.filter(|name| !used.contains(&name.value)) {
                let message = format!("no agent and no system depends on `{}`", name.value);
                decoder.report(Code::UnusedVendor, name.span, message);
                decoder.help("name it as the `vendor` of one, or take the file out");
            }
        }
    }

    fn any_error(&self) -> bool {
        let Self { folder, posture, systems, vendors, pins, tools, agents } = self;
        any_error(&folder.findings)
            || posture.iter().any(Decoded::is_wrong)
            || systems.iter().any(Decoded::is_wrong)
            || vendors.iter().any(Decoded::is_wrong)
            || pins.iter().any(Decoded::is_wrong)
            || tools.iter().any(Decoded::is_wrong)
            || agents.iter().any(Decoded::is_wrong)
    }

    fn take_findings(&mut self) -> Vec<Finding> {
        let Self { folder, posture, systems, vendors, pins, tools, agents } = self;
        let mut findings = std::mem::take(&mut folder.findings);
        let decoders = posture
            .iter_mut()
            .map(|decoded| &mut decoded.decoder)
            .chain(systems.iter_mut().map(|decoded| &mut decoded.decoder))
            .chain(vendors.iter_mut().map(|decoded| &mut decoded.decoder))
            .chain(pins.iter_mut().map(|decoded| &mut decoded.decoder))
            .chain(tools.iter_mut().map(|decoded| &mut decoded.decoder))
            .chain(agents.iter_mut().map(|decoded| &mut decoded.decoder));
        for decoder in decoders {
            findings.append(&mut decoder.findings);
        }
        findings
    }
}

/// The MCP systems, each with its pins.
fn servers<'a>(systems: &[Decoded<SystemFile>], pins: &'a [Decoded<PinFile>]) -> Servers<'a> {
    let files = systems.iter().filter_map(|system| system.file.as_ref());
    let servers = files.filter(|file| file.takes == Some(Takes::Definitions));
    let names = servers.filter_map(|file| Some(file.name.as_ref()?.value.clone()));
    let of = |name: &SystemName| {
        // One that cannot be read has been spoken of, and pins nobody knows what.
        let path = format!("pins/{name}.json");
        let found = pins.iter().find(|pins| pins.decoder.source.path() == path)?;
        Some(found.file.as_ref().unwrap_or(&BROKEN))
    };
    names.map(|name| (name.clone(), of(&name))).collect()
}

/// Stands for pins that cannot be read.
static BROKEN: PinFile = PinFile { system: None, pinned: BTreeMap::new(), whole: false };

fn decode_all<T>(
    folder: &Folder,
    prefix: &str,
    decode: impl Fn(&mut Decoder) -> Option<T>,
) -> Vec<Decoded<T>> {
    let sources = folder.files.iter().filter(|(path, _)| path.starts_with(prefix));
    sources
        .map(|(_, source)| {
            let mut decoder = Decoder::new(Arc::clone(source));
            let file = decode(&mut decoder);
            Decoded { decoder, file }
        })
        .collect()
}

fn distinct<T>(all: &mut [Decoded<T>], what: &str, named: impl Fn(&T) -> Option<(String, Span)>) {
    let mut seen = BTreeMap::new();
    for Decoded { decoder, file } in all {
        let Some((name, span)) = file.as_ref().and_then(&named) else { continue };
        let path = decoder.source.path().to_owned();
        let message = format!("{what} `{name}` is declared twice");
        if let Some(first) = seen.get(&name) {
            decoder.report(Code::Duplicate, span, message);
            decoder.help(format!("the other is in `{first}`"));
        } else {
            seen.insert(name, path);
        }
    }
}

// ── compiling ───────────────────────────────────────────────────────────────────────────────────

/// A tool and the texts that its decision digest covers.
struct Compiled<'a> {
    tool: Arc<Tool>,
    /// Of the definition that it calls.
    pin: Option<String>,
    text: &'a str,
    system_texts: Vec<&'a str>,
}

impl Draft {
    /// Puts the posture together. `None` if something is wrong with it, which has been said.
    fn compile(&self) -> Option<Loaded> {
        let posture = self.posture.as_ref()?;
        let file = posture.file.as_ref()?;
        // What else stands there is checked anew with every call, or is another team's.
        let identity = posture.decoder.written(file.identity?);
        let systems = self.compile_systems()?;
        let tools = self.compile_tools(&systems)?;
        let vendors = self.compile_vendors()?;
        let dues = Dues { vendors: &vendors, systems: &systems, reviews: file.reviews };
        let policies: Vec<_> = self.folder.policies().cloned().collect();
        let mut agents = BTreeMap::new();
        let mut register = Vec::new();
        let mut unreviewed = Vec::new();
        let mut unbound = Vec::new();
        let mut stages = BTreeMap::new();
        for Decoded { decoder, file: agent } in &self.agents {
            let agent = agent.as_ref()?;
            let texts = (decoder.source.text(), identity);
            for GrantEntry { tool, reviewed, span, .. } in &agent.grants {
                let effect = tools.get(&tool.value)?.tool.effect;
                if effect != Effect::Read && !reviewed {
                    unreviewed.push((tool.value.clone(), decoder.place(*span)));
                }
            }
            let scope = agent.require_scope.as_ref();
            let grants = agent.grants.iter().map(|grant| {
                let (name, grant) = compile_grant(grant, scope, &tools, texts)?;
                let lapses = dues.first(agent, &grant.tool);
                let point_lapses = dues.of_point(&grant.tool);
                Some((name, Grant { lapses, point_lapses, ..grant }))
            });
            let grants = grants.collect::<Option<_>>()?;
            let entry = registered(decoder, agent)?;
            let id = entry.agent.clone();
            let far = |grant: &GrantEntry| {
                let own = grant.stage.as_ref().map_or(agent.stage, |stage| stage.value);
                (grant.tool.value.clone(), own.min(agent.stage))
            };
            let far: BTreeMap<_, _> = agent.grants.iter().map(far).collect();
            stages.insert(id.clone(), (far, decoder.place(agent.name.as_ref()?.span)));
            let limits = merged(&file.limits, &agent.limits);
            let issuer = agent.issuer.clone();
            let client = agent.client.as_ref().filter(|_| issuer.is_none());
            unbound.extend(client.map(|client| (id.clone(), decoder.place(client.span))));
            agents.insert(entry.client.clone(), Arc::new(Agent { id, issuer, grants, limits }));
            register.push(entry);
        }
        let texts = self.folder.files.iter();
        let parts: Vec<_> =
            texts.flat_map(|(path, source)| [path.as_bytes(), source.text().as_bytes()]).collect();
        let digest = Digest::of("countersign/posture/1", &parts);
        Some(Loaded {
            posture: Posture { digest, agents, tenant_limits: file.tenant_limits },
            systems: systems.into_iter().map(|(name, (spec, _))| (name, spec)).collect(),
            claims: file.claims.clone()?,
            organisation: file.organisation.clone()?,
            profile: file.profile,
            vendors,
            warn_s: file.reviews.warn_s,
            register,
            unreviewed,
            exceptions: self.exceptions(),
            stages,
            unbound,
            policies,
            places: Places::new(&self.folder.files),
        })
    }

    /// What can be said before the errors are mended. Policies do not speak of systems: of one with a
    /// mistake another takes the place.
    fn sketch(&self) -> Sketch {
        let stands_in = SystemSpec::stand_in();
        let tools = self.tools.iter().filter_map(Decoded::sound);
        let tools = tools.filter_map(|file| tool::compile(file, |_| stands_in.as_ref()));
        let tools: BTreeMap<_, _> = tools.map(|tool| (tool.name.clone(), Arc::new(tool))).collect();
        let digest = Digest::of("countersign/sketch/1", &[]);
        let mut agents = BTreeMap::new();
        for file in self.agents.iter().filter_map(Decoded::sound) {
            let (Some(id), Some(client)) = (&file.name, &file.client) else { continue };
            let grants = file.grants.iter().filter_map(|GrantEntry { tool, limits, .. }| {
                let tool = Arc::clone(tools.get(&tool.value)?);
                let (limits, require_scope) = (*limits, None);
                let name = tool.name.clone();
                Some((
                    name,
                    Grant {
                        tool,
                        decision_digest: digest,
                        limits,
                        require_scope,
                        lapses: None,
                        point_lapses: None,
                    },
                ))
            });
            let (id, limits) = (id.value.clone(), file.limits);
            let agent = Agent { id, issuer: None, grants: grants.collect(), limits };
            agents.insert(client.value.clone(), Arc::new(agent));
        }
        let unknown_agents = self.declared("agents").map(|names| names.len())
            != Some(self.agents.iter().filter_map(Decoded::sound).count());
        let granted = agents.values().flat_map(|agent| agent.grants.keys());
        let granted: BTreeSet<_> = granted.map(ToolName::as_str).collect();
        let mut unknown_tools = self.declared("tools").unwrap_or_default();
        unknown_tools.retain(|name| match unknown_agents {
            true => !granted.contains(name.as_str()),
            false => !tools.keys().any(|tool| tool.as_str() == name),
        });
        let file = self.posture.as_ref().and_then(Decoded::sound);
        Sketch {
            posture: Posture { digest, agents, tenant_limits: Limits::default() },
            attributes: file.map(|file| file.attributes.clone()).unwrap_or_default(),
            policies: self.folder.policies().cloned().collect(),
            unknown_tools,
            unknown_agents,
            unknown_attributes: file.is_none(),
        }
    }

    fn exceptions(&self) -> Vec<(ToolName, Timestamp, Place)> {
        let found = self.tools.iter().filter_map(|Decoded { decoder, file }| {
            let file = file.as_ref()?;
            let exception = file.ladder.as_ref()?.exception.as_ref()?;
            let place = decoder.place(exception.span);
            Some((file.name.as_ref()?.value.clone(), exception.value.expires, place))
        });
        found.collect()
    }

    fn compile_vendors(&self) -> Option<BTreeMap<VendorName, Vendor>> {
        let vendors = self.vendors.iter().map(|decoded| {
            let vendor = decoded.file.as_ref()?.vendor.clone()?;
            Some((vendor.name.clone(), vendor))
        });
        vendors.collect()
    }

    fn compile_systems(&self) -> Option<BTreeMap<SystemName, (SystemSpec, &str)>> {
        let systems = self.systems.iter().map(|Decoded { decoder, file }| {
            let spec = file.as_ref()?.spec.clone()?;
            Some((spec.name.clone(), (spec, decoder.source.text())))
        });
        systems.collect()
    }

    fn compile_tools<'a>(
        &'a self,
        systems: &BTreeMap<SystemName, (SystemSpec, &'a str)>,
    ) -> Option<BTreeMap<ToolName, Compiled<'a>>> {
        let tools = self.tools.iter().map(|Decoded { decoder, file }| {
            let file = file.as_ref()?;
            let spec = |name: &SystemName| systems.get(name).map(|(spec, _)| spec);
            let tool = Arc::new(tool::compile(file, spec)?);
            // Those that look-ups ask as well: what they confirm is part of the decision.
            let asked = file.systems().map(|system| &system.value).collect::<BTreeSet<_>>();
            let texts = asked.into_iter().map(|name| systems.get(name).map(|(_, text)| *text));
            let system_texts = texts.collect::<Option<_>>()?;
            let text = decoder.source.text();
            let pin = match &tool.plan {
                Plan::Mcp(plan) => Some(plan.pin.digest.to_string()),
                Plan::Sql(_) | Plan::Http(_) | Plan::Email(_) => None,
            };
            Some((tool.name.clone(), Compiled { tool, pin, text, system_texts }))
        });
        tools.collect()
    }
}

fn compile_grant(
    grant: &GrantEntry,
    scope: Option<&String>,
    tools: &BTreeMap<ToolName, Compiled<'_>>,
    (agent_text, identity): (&str, &str),
) -> Option<(ToolName, Grant)> {
    let GrantEntry { tool, limits, require_scope, stage, span, reviewed: _ } = grant;
    let Compiled { tool, pin, text, system_texts } = tools.get(&tool.value)?;
    // What ran in staging is what runs in production: how far a grant has come is no part of it.
    let cut = stage.as_ref().map_or(span.end..span.end, |stage| stage.span.start..stage.span.end);
    let before = agent_text.get(span.start..cut.start)?;
    let grant_text = format!("{before}{}", agent_text.get(cut.end..span.end)?);
    let parts = [*text].into_iter().chain(system_texts.iter().copied());
    // What the agent says for all its grants is part of each.
    let require_scope = require_scope.as_ref().or(scope).cloned();
    let scope_text = require_scope.as_deref().unwrap_or_default();
    // The tool's text has all that it says of the ladder; the company's own step is not in it.
    let rung = tool.ladder.rung.number().to_string();
    // Of the pins those of other tools are no part of it.
    let parts =
        parts.chain([grant_text.as_str(), identity, scope_text, &rung]).chain(pin.as_deref());
    let parts: Vec<_> = parts.map(str::as_bytes).collect();
    let decision_digest = Digest::of("countersign/decision/1", &parts);
    let (tool, limits) = (Arc::clone(tool), *limits);
    let name = tool.name.clone();
    Some((
        name,
        Grant { tool, decision_digest, limits, require_scope, lapses: None, point_lapses: None },
    ))
}

fn registered(decoder: &Decoder, file: &AgentFile) -> Option<Registered> {
    let Owner { team, contact } = file.owner.as_ref()?;
    let name = file.name.as_ref()?.span;
    let vendor = file.vendors.first().map_or(name, |vendor| vendor.span);
    let due = file.review_by.as_ref().map_or(name, |due| due.span);
    Some(Registered {
        agent: file.name.as_ref()?.value.clone(),
        client: file.client.as_ref()?.value.clone(),
        purpose: file.purpose.clone()?,
        team: team.clone(),
        contact: contact.clone(),
        vendors: file.vendors.iter().map(|vendor| vendor.value.clone()).collect(),
        review_by: file.review_by.as_ref().map(|due| due.value),
        vendor_place: decoder.place(vendor),
        due: decoder.place(due),
    })
}
