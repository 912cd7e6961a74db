//! `posture.lock`: what was reviewed, and who signed it.
//!
//! The file is JSON, and its bytes follow from what it says: one that differs by a blank is none. What
//! is signed is the canonical form (RFC 8785) of all of it but the signatures, by OpenSSH's signatures
//! (SSHSIG) in a namespace of their own.

use crate::agent::Stage;
use crate::bound::{EVIDENCE_BYTES_MAX, LOCK_BYTES_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use crate::deployment::{Deployment, Environment};
use crate::finding::{Code, Finding, Place, Source};
use crate::load::{Loaded, ReadError, read_text};
use crate::sign_off::{Evidence, Reviewer, SignOff, Staging, fingerprint};
use countersign_core::id::Digest;
use countersign_core::tool::Effect;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ssh_key::{HashAlg, PublicKey, SshSig, public::KeyData};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The lock's file, in the posture's folder.
pub const FILE: &str = "posture.lock";
/// The folder of the reports that are evidence, in the posture's folder.
pub const EVIDENCE: &str = "evidence";
/// What a signature is over: no signature that was made for anything else is one of a lock.
pub const NAMESPACE: &str = "posture-lock@countersign";
/// The one format there is.
const FORMAT: u32 = 1;
/// The evidence of what ran in staging, beside the reports.
pub const STAGING: &str = "staging";

/// What was reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of this format.
    pub format: u32,
    /// The posture's digest.
    pub posture: String,
    /// The ticket or pull request behind it.
    pub change: Option<String>,
    /// What each agent may use, by agent and tool.
    pub grants: Grants,
    /// Tools that stand below their effect's step for a time.
    pub exceptions: Vec<Excepted>,
    /// What all of that comes to in words and figures. It is for those who sign, whose own program says
    /// whether it is so; words may change from release to release, and no gateway goes by them.
    pub permissions: Value,
    /// The reports that were there, by name.
    pub evidence: BTreeMap<String, Shown>,
    /// Who signed all of this.
    pub signatures: Vec<Signature>,
}

/// What each agent may use, by agent and tool.
pub type Grants = BTreeMap<String, BTreeMap<String, Granted>>;

/// One grant, as a reviewer reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The system that it reaches.
    pub system: String,
    /// What it does to the world.
    pub effect: String,
    /// Its step.
    pub rung: u8,
    /// How far it has come.
    pub stage: String,
    /// The digest of everything that governs a call of it.
    pub decision: String,
}

/// Leave to stand below an effect's step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excepted {
    /// Of which tool.
    pub tool: String,
    /// On which step it stands.
    pub rung: u8,
    /// Why.
    pub reason: String,
    /// Who gave it.
    pub reviewed_by: String,
    /// Until when.
    pub expires: String,
}

/// A report, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Of its file.
    pub sha256: String,
    /// In a line.
    pub says: String,
}

/// One person's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Whose, as the deployment writes them.
    pub by: String,
    /// Armoured, as `ssh-keygen -Y sign` writes it.
    pub signature: String,
}

/// What a write did in staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ran {
    /// Whose grant.
    pub agent: String,
    /// Of which tool.
    pub tool: String,
    /// The digest of everything that governed these calls.
    pub decision: String,
    /// Effects that are known to have happened.
    pub runs: u32,
    /// On how many days (UTC).
    pub days: u32,
    /// Calls that a fault ended.
    pub faults: u32,
    /// Calls of which it is not known what became of them.
    pub unknown: u32,
    /// Cases of the evaluation suite that call it.
    pub cases: u32,
}

/// Why a file is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is not there, or cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is no lock of this format.
    #[error("it is no lock: {0}")]
    Form(String),
    /// Somebody edited it.
    #[error("it is not as `countersign posture lock` and `posture sign` write it")]
    Edited,
}

impl Lock {
    /// What a posture comes to, with nothing shown of it and nobody's signature.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        Self {
            format: FORMAT,
            posture: loaded.posture.digest.to_string(),
            change: None,
            grants: grants(loaded),
            exceptions: exceptions(loaded),
            permissions: Value::Null,
            evidence: BTreeMap::new(),
            signatures: Vec::new(),
        }
    }

    /// Reads the lock of a posture's folder.
    ///
    /// # Errors
    /// [`LockError`] if there is none that is exactly as it is written.
    pub fn read(folder: &Path) -> Result<(Self, String), LockError> {
        let text = read_text(&folder.join(FILE), LOCK_BYTES_MAX)
            .map_err(|ReadError { message, .. }| LockError::Unreadable(message))?;
        Ok((Self::parse(&text)?, text))
    }

    /// A lock from its text.
    ///
    /// # Errors
    /// [`LockError`] if the text is not exactly what a lock's would be.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self =
            serde_json::from_str(text).map_err(|error| LockError::Form(error.to_string()))?;
        if lock.format != FORMAT {
            return Err(LockError::Form(format!("its format is {}, not {FORMAT}", lock.format)));
        }
        let long = |of: &Signature| of.signature.len() > SIGNATURE_BYTES_MAX;
        if lock.signatures.len() > SIGNATURES_MAX || lock.signatures.iter().any(long) {
            return Err(LockError::Form(
                "more signatures, or longer ones, than there may be".to_owned(),
            ));
        }
        // Two keys of one name, or one that a reader would skip, never come this far.
        if lock.text() != text {
            return Err(LockError::Edited);
        }
        Ok(lock)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        // Nothing in it is a number or a key that JSON could not hold.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// The bytes that are signed: the canonical form (RFC 8785) of all but the signatures.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut value = json!(self);
        if let Some(members) = value.as_object_mut() {
            members.remove("signatures");
        }
        serde_json_canonicalizer::to_vec(&value).unwrap_or_default()
    }

    /// The same with nobody's signature.
    #[must_use]
    pub fn unsigned(&self) -> Self {
        Self { signatures: Vec::new(), ..self.clone() }
    }
}

fn grants(loaded: &Loaded) -> Grants {
    let agents = loaded.posture.agents.values().map(|agent| {
        let grants = agent.grants.iter().map(|(name, grant)| {
            let granted = Granted {
                system: grant.tool.system.to_string(),
                effect: grant.tool.effect.as_str().to_owned(),
                rung: grant.tool.ladder.rung.number(),
                stage: loaded.stage(&agent.id, name).name().to_owned(),
                decision: grant.decision_digest.to_string(),
            };
            (name.to_string(), granted)
        });
        (agent.id.to_string(), grants.collect())
    });
    agents.collect()
}

fn exceptions(loaded: &Loaded) -> Vec<Excepted> {
    let agents = loaded.posture.agents.values();
    let tools = agents.flat_map(|agent| &agent.grants).filter_map(|(name, grant)| {
        let exception = grant.tool.ladder.exception.as_ref()?;
        let excepted = Excepted {
            tool: name.to_string(),
            rung: exception.rung.number(),
            reason: exception.reason.clone(),
            reviewed_by: exception.reviewed_by.clone(),
            expires: jiff::Timestamp::from_microsecond(exception.expires.micros())
                .map_or_else(|_beyond| "never".to_owned(), |at| at.to_string()),
        };
        Some((name.clone(), excepted))
    });
    // Of a tool that several agents were granted, once.
    tools.collect::<BTreeMap<_, _>>().into_values().collect()
}

// ── evidence ────────────────────────────────────────────────────────────────────────────────────

/// Whether a report speaks of everything it has to, which whoever asks knows; else what it leaves out.
pub type Whole<'a> = &'a dyn Fn(Evidence, &Value) -> Result<(), String>;

/// A report of a posture's folder, its digest, and what it says.
///
/// # Errors
/// A sentence, if it is not there, is of another posture, says that something does not hold, or is of a
/// part.
pub fn evidence(
    folder: &Path,
    of: Evidence,
    (posture, whole): (&str, Whole<'_>),
) -> Result<Shown, String> {
    let (sha256, report) = report(folder, of.name())?;
    if report.get("posture").and_then(Value::as_str) != Some(posture) {
        return Err(format!("`{EVIDENCE}/{}.json` is of another posture", of.name()));
    }
    let says = judge(of, &report).ok_or_else(|| {
        format!("`{EVIDENCE}/{}.json` does not show that everything holds", of.name())
    })?;
    whole(of, &report).map_err(|what| {
        format!("`{EVIDENCE}/{}.json` is not of everything: it says nothing of {what}", of.name())
    })?;
    Ok(Shown { sha256, says })
}

fn report(folder: &Path, name: &str) -> Result<(String, Value), String> {
    let path = format!("{EVIDENCE}/{name}.json");
    let text = read_text(&folder.join(&path), EVIDENCE_BYTES_MAX)
        .map_err(|ReadError { message, .. }| format!("`{path}` {message}"))?;
    let report = serde_json::from_str(&text).map_err(|error| format!("`{path}`: {error}"))?;
    Ok((Digest::sha256(text.as_bytes()).to_string(), report))
}

/// What a report comes to in a line; nothing if anything in it does not hold, or nothing is in it.
#[must_use]
pub fn judge(of: Evidence, report: &Value) -> Option<String> {
    let list = |key: &str| report.get(key).and_then(Value::as_array);
    let number = |key: &str| report.pointer(key).and_then(Value::as_u64);
    match of {
        Evidence::Check => {
            let (errors, warnings) = (number("/summary/errors")?, number("/summary/warnings")?);
            (errors == 0).then(|| format!("0 errors, {warnings} warnings"))
        }
        Evidence::Prove => {
            let all = list("obligations")?;
            let proved = |of: &Value| of.get("verdict").is_some_and(|verdict| verdict == "proved");
            // What was taken from a folder of earlier proofs was not proved for this.
            let now = report.get("earlier").is_none();
            let whole = now && !all.is_empty() && all.iter().all(proved);
            whole.then(|| format!("{} obligations, all proved", all.len()))
        }
        Evidence::Eval => {
            let all = list("cases")?;
            // One that has to hold at times only passes without holding.
            let passed = |case: &Value| {
                case.get("passed") == Some(&Value::Bool(true))
                    && case.get("held") == case.get("runs")
            };
            let whole = !all.is_empty() && all.iter().all(passed) && number("/failed")? == 0;
            whole.then(|| format!("{} cases, all passed", all.len()))
        }
        Evidence::Mutate => {
            let tried = list("mutants")?.len();
            let (noticed, survived) = (number("/summary/noticed")?, number("/summary/survived")?);
            let all = list("only")?.is_empty() && list("stale")?.is_empty();
            (all && survived == 0 && noticed > 0)
                .then(|| format!("{tried} weakenings, {noticed} noticed, none survived"))
        }
    }
}

/// What ran in staging, by agent and tool, and the digest of the file that says so.
///
/// # Errors
/// A sentence, if the file is there and no such evidence.
pub fn staged(folder: &Path) -> Result<Option<(String, Vec<Ran>)>, String> {
    if !folder.join(EVIDENCE).join(format!("{STAGING}.json")).exists() {
        return Ok(None);
    }
    let (sha256, report) = report(folder, STAGING)?;
    let ran = report.get("grants").cloned().unwrap_or_default();
    let ran = serde_json::from_value(ran)
        .map_err(|error| format!("`{EVIDENCE}/{STAGING}.json`: {error}"))?;
    Ok(Some((sha256, ran)))
}

/// The evidence of staging that a lock names: nothing, if no write stands at `production`.
///
/// # Errors
/// A sentence for each write that has not run enough as it is.
pub fn staging(folder: &Path, lock: &Lock, asked: Staging) -> Result<Option<Shown>, Vec<String>> {
    let writes = lock.grants.iter().flat_map(|(agent, grants)| {
        let there = |of: &Granted| {
            of.stage == Stage::Production.name() && of.effect != Effect::Read.as_str()
        };
        grants.iter().filter(move |(_, of)| there(of)).map(move |(tool, of)| (agent, tool, of))
    });
    let writes: Vec<_> = writes.collect();
    if writes.is_empty() || asked.runs == 0 {
        return Ok(None);
    }
    let (sha256, ran) = staged(folder).map_err(|why| vec![why])?.unwrap_or_default();
    let wanting = writes.iter().filter_map(|(agent, tool, of)| {
        let same = |ran: &&Ran| {
            ran.agent == **agent && ran.tool == **tool && ran.decision == of.decision
        };
        let Staging { runs, days } = asked;
        match ran.iter().find(same) {
            Some(ran) if ran.unknown > 0 => Some(format!(
                "of {} calls of `{tool}` by `{agent}` in staging nobody knows what became",
                ran.unknown
            )),
            Some(ran) if ran.runs >= runs && ran.days >= days && ran.cases > 0 => None,
            Some(ran) => Some(format!(
                "`{tool}` of `{agent}` has run {} times on {} days in staging and has {} cases, and {runs}, {days} and 1 are asked for",
                ran.runs, ran.days, ran.cases
            )),
            None => Some(format!("`{tool}` of `{agent}`, as it is, has not run in staging")),
        }
    });
    let wanting: Vec<_> = wanting.collect();
    if !wanting.is_empty() {
        return Err(wanting);
    }
    let says = format!(
        "{} writes, each {} times on {} days or more",
        writes.len(),
        asked.runs,
        asked.days
    );
    Ok(Some(Shown { sha256, says }))
}

// ── signatures ──────────────────────────────────────────────────────────────────────────────────

/// The reviewer whose key made a signature over this message in the lock's namespace, if the signature
/// is good and they are listed.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn signer<'a>(
    sign_off: &'a SignOff,
    message: &[u8],
    armoured: &str,
) -> Result<Option<&'a Reviewer>, &'static str> {
    // INVARIANT: what has no canonical form was signed by nobody.
    if message.is_empty() {
        return Err("is over nothing");
    }
    let signature = SshSig::from_pem(armoured).map_err(|_what| "is no signature of OpenSSH's")?;
    if signature.namespace() != NAMESPACE {
        return Err("was made for something else");
    }
    if signature.hash_alg() != HashAlg::Sha512 {
        return Err("is not by SHA-512");
    }
    let key = PublicKey::new(signature.public_key().clone(), "");
    // A security key that nobody touched signs for whoever has the machine.
    let touched = match signature.public_key() {
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            let bytes = signature.signature_bytes();
            let flags = bytes.len().checked_sub(SK_TRAILER_BYTES).and_then(|at| bytes.get(at));
            flags.is_some_and(|flags| flags & SK_USER_PRESENT != 0)
        }
        _ => true,
    };
    if !touched {
        return Err("was made without touching the security key");
    }
    key.verify(NAMESPACE, message, &signature).map_err(|_what| "is over something else")?;
    Ok(sign_off.reviewers.iter().find(|reviewer| reviewer.key.key_data() == key.key_data()))
}

/// Flags and counter, after the signature of a security key.
const SK_TRAILER_BYTES: usize = 5;
/// Somebody was there.
const SK_USER_PRESENT: u8 = 1;

// ── whether a posture is what was signed ────────────────────────────────────────────────────────

/// Who signed in which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The role.
    pub role: String,
    /// By name.
    pub by: String,
    /// Their key's fingerprint.
    pub key: String,
}

/// Whether the lock in the posture's folder covers the posture, as the deployment asks: who signed it,
/// and everything that keeps it from being what was signed.
#[must_use]
pub fn cover(
    deployment: &Deployment,
    loaded: &Loaded,
    whole: Whole<'_>,
) -> (Vec<Signed>, Vec<Finding>) {
    let Some(sign_off) = &deployment.sign_off else { return (Vec::new(), Vec::new()) };
    let (lock, text) = match read(deployment) {
        Ok(read) => read,
        Err(finding) => return (Vec::new(), vec![finding]),
    };
    let mut found = differences(deployment, (loaded, whole), (&lock, &text));
    if !found.is_empty() {
        return (Vec::new(), found); // Whoever signed it signed something else.
    }
    let message = lock.message();
    let mut signers = Vec::new();
    let mut tell = |at: &str, message: String| {
        found.push(finding(deployment, &text, (at, message)));
    };
    for Signature { by, signature } in &lock.signatures {
        let at = format!("\"by\": {}", json!(by));
        match signer(sign_off, &message, signature) {
            Ok(Some(reviewer)) if reviewer.name == *by => signers.push(reviewer),
            Ok(Some(reviewer)) => {
                tell(&at, format!("the signature of `{by}` is `{}`'s", reviewer.name));
            }
            // It counts for nothing, and does no harm: whose role is not filled is said below.
            Ok(None) => {}
            Err(why) => tell(&at, format!("the signature of `{by}` {why}")),
        }
    }
    let filled = sign_off.filled(&signers);
    for role in sign_off.roles.iter().filter(|role| !filled.contains_key(role.as_str())) {
        let said = format!("nobody whom the deployment lists has signed as `{role}`");
        tell("\"signatures\"", said);
    }
    let signed = filled.into_iter().map(|(role, by)| Signed {
        role: role.to_owned(),
        by: by.name.clone(),
        key: fingerprint(&by.key),
    });
    (signed.collect(), found)
}

/// The lock of a deployment's posture, and its text.
///
/// # Errors
/// A finding that says why there is none.
pub fn read(deployment: &Deployment) -> Result<(Lock, String), Finding> {
    Lock::read(&deployment.base.join(&deployment.posture)).map_err(|error| {
        let message = format!("the posture is not signed: `{FILE}`: {error}");
        finding(deployment, "", ("", message))
    })
}

/// Everything in which a lock does not say what the posture beside it is, or not what the deployment
/// asks for.
#[must_use]
pub fn differences(
    deployment: &Deployment,
    (loaded, whole): (&Loaded, Whole<'_>),
    (lock, text): (&Lock, &str),
) -> Vec<Finding> {
    let Some(sign_off) = &deployment.sign_off else { return Vec::new() };
    let folder = deployment.base.join(&deployment.posture);
    let wrong = differs(&folder, lock, (loaded, sign_off, whole)).into_iter();
    wrong.map(|(at, message)| finding(deployment, text, (&at, message))).collect()
}

fn finding(deployment: &Deployment, text: &str, (at, message): (&str, String)) -> Finding {
    let code = match deployment.environment {
        Environment::Production => Code::Uncovered,
        Environment::Development | Environment::Staging => Code::UncoveredYet,
    };
    let folder = deployment.base.join(&deployment.posture);
    let start = text.find(at).unwrap_or_default();
    let end = if text.is_empty() { 0 } else { start.saturating_add(at.len()) };
    let place = Place { source: Arc::new(Source::new(folder, FILE, text)), span: start..end };
    let help = "write it anew with `countersign posture lock`, and have it signed".to_owned();
    Finding { code, place, message, help: Some(help) }
}

/// What of a lock is not so: what it stands by there, and a sentence.
fn differs(
    folder: &Path,
    lock: &Lock,
    (loaded, sign_off, whole): (&Loaded, &SignOff, Whole<'_>),
) -> Vec<(String, String)> {
    let is = Lock::of(loaded);
    let mut wrong = Vec::new();
    let mut tell = |at: &str, said: String| wrong.push((format!("\"{at}\""), said));
    if lock.posture != is.posture {
        tell("posture", format!("another posture was signed: this one is {}", is.posture));
        // All else is of that one.
        return wrong;
    }
    if lock.grants != is.grants {
        tell("grants", "what was signed does not say what the posture grants".to_owned());
    }
    if lock.exceptions != is.exceptions {
        tell("exceptions", "what was signed does not say which exceptions there are".to_owned());
    }
    if sign_off.change_required && lock.change.is_none() {
        tell(
            "change",
            "no ticket or pull request was signed, and the deployment asks for one".to_owned(),
        );
    }
    for name in lock.evidence.keys() {
        let asked = |of: &Evidence| of.name() == name;
        if name != STAGING && !sign_off.evidence.iter().any(asked) {
            let said =
                format!("`{name}` was signed as evidence, and nobody asks for it or looks at it");
            tell(name, said);
        }
    }
    for of in &sign_off.evidence {
        let shown = evidence(folder, *of, (&is.posture, whole));
        match (lock.evidence.get(of.name()), shown) {
            (None, _) => tell("evidence", format!("no evidence of `{}` was signed", of.name())),
            (Some(_), Err(why)) => tell(of.name(), why),
            (Some(signed), Ok(shown)) if *signed != shown => {
                tell(
                    of.name(),
                    format!("`{EVIDENCE}/{}.json` is not the one that was signed", of.name()),
                );
            }
            (Some(_), Ok(_)) => {}
        }
    }
    match staging(folder, lock, sign_off.staging) {
        Err(wanting) => wanting.into_iter().for_each(|why| tell("evidence", why)),
        Ok(shown) if shown.as_ref() != lock.evidence.get(STAGING) => {
            tell("evidence", format!("`{EVIDENCE}/{STAGING}.json` is not the one that was signed"));
        }
        Ok(_) => {}
    }
    wrong
}
