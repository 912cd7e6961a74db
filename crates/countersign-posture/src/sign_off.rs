//! `sign_off:` of a deployment: who has to sign a posture before it runs in production, and what of it
//! they must have been shown. It stands outside the posture: nobody becomes a reviewer by editing
//! what is reviewed.

use crate::bound::{
    LINE_BYTES_MAX, REVIEWERS_MAX, SIGN_OFF_ROLES_MAX, STAGING_DAYS_MAX, STAGING_RUNS_MAX,
};
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::Code;
use crate::node::{Node, Span};
use ssh_key::{Algorithm, EcdsaCurve, PublicKey};
use std::collections::{BTreeMap, BTreeSet};

/// Who has to sign, and what.
#[derive(Debug, Clone)]
pub struct SignOff {
    /// Each of these must have signed, each another person.
    pub roles: Vec<String>,
    /// What a lock must name.
    pub evidence: BTreeSet<Evidence>,
    /// Whether a lock must name the ticket or pull request behind it.
    pub change_required: bool,
    /// What a write must have done in staging before it may stand at `production`.
    pub staging: Staging,
    /// Whose signatures count.
    pub reviewers: Vec<Reviewer>,
}

/// One person who may sign.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// As others write them.
    pub name: String,
    /// The roles they may fill, one with each signature.
    pub roles: BTreeSet<String>,
    /// The key by which they are known.
    pub key: PublicKey,
}

/// A report on a posture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Of `check`.
    Check,
    /// Of `posture prove`.
    Prove,
    /// Of `eval run`.
    Eval,
    /// Of `eval mutate`.
    Mutate,
}

impl Evidence {
    /// As people write it; also the name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        EVIDENCE.iter().find(|(_, of)| *of == self).map_or("", |(name, _)| name)
    }
    /// The command that writes it.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Check => "countersign posture lock",
            Self::Prove => "countersign posture prove",
            Self::Eval => "countersign eval run",
            Self::Mutate => "countersign eval mutate",
        }
    }
}

/// How much of a write has to have gone well in staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staging {
    /// At least so many effects that are known to have happened; 0 asks for no evidence.
    pub runs: u32,
    /// On at least so many days (UTC).
    pub days: u32,
}

/// What is asked for if nobody says otherwise.
pub(crate) const STAGING: Staging = Staging { runs: 20, days: 2 };

pub(crate) const EVIDENCE: [(&str, Evidence); 4] = [
    ("check", Evidence::Check),
    ("prove", Evidence::Prove),
    ("eval", Evidence::Eval),
    ("mutate", Evidence::Mutate),
];

pub(crate) const CHANGE: [(&str, bool); 2] = [("required", true), ("optional", false)];

/// Reads `sign_off:`.
pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>) -> Option<SignOff> {
    let mut fields = decoder.fields(item)?;
    let roles = fields.required(decoder, "roles").map(|item| roles(decoder, item));
    let evidence = fields.required(decoder, "evidence").map(|item| evidence(decoder, item));
    let change = fields.required(decoder, "change");
    let change = change.and_then(|item| decoder.choice(item, &CHANGE));
    let staging = fields.optional("staging").map(|item| staging(decoder, item));
    let reviewers = fields.required(decoder, "reviewers").map(|item| reviewers(decoder, item));
    fields.finish(decoder);
    let (roles, reviewers) = (roles??, reviewers??);
    let sign_off = SignOff {
        roles: roles.iter().map(|role| role.value.clone()).collect(),
        evidence: evidence??,
        change_required: change?,
        staging: staging.unwrap_or(Some(STAGING))?,
        reviewers,
    };
    let all: Vec<_> = sign_off.reviewers.iter().collect();
    let filled = sign_off.filled(&all);
    if let Some(role) = roles.iter().find(|role| !filled.contains_key(role.value.as_str())) {
        let message =
            format!("nobody is left to sign as `{}`: each role takes another person", role.value);
        decoder.report(Code::SignOffRole, role.span, message);
        decoder.help("name a reviewer with this role, besides those who fill the others");
        return None;
    }
    Some(sign_off)
}

/// In production somebody has to have signed.
pub(crate) fn check_production(decoder: &mut Decoder, written: bool, span: Span) {
    if !written {
        decoder.report(Code::NoSignOff, span, "nobody has to have signed what runs here");
        decoder.help("say who under `sign_off`: roles, evidence, and the reviewers' keys");
    }
}

impl SignOff {
    /// Which of `signers` fills which role. Each fills one, so that nobody agrees with themselves; as
    /// many roles are filled as can be.
    #[must_use]
    pub fn filled<'a>(&'a self, signers: &[&'a Reviewer]) -> BTreeMap<&'a str, &'a Reviewer> {
        let mut filled = BTreeMap::new();
        for role in &self.roles {
            fill(role, signers, &mut filled, &mut BTreeSet::new());
        }
        filled
    }
}

/// Finds somebody for a role, if need be by finding another role for them (Kuhn's algorithm).
fn fill<'a>(
    role: &'a str,
    signers: &[&'a Reviewer],
    filled: &mut BTreeMap<&'a str, &'a Reviewer>,
    asked: &mut BTreeSet<&'a str>,
) -> bool {
    for signer in signers.iter().filter(|signer| signer.roles.contains(role)) {
        if !asked.insert(&signer.name) {
            continue;
        }
        let taken = filled.iter().find(|(_, by)| by.name == signer.name).map(|(role, _)| *role);
        if taken.is_none_or(|taken| fill(taken, signers, filled, asked)) {
            filled.insert(role, signer);
            return true;
        }
    }
    false
}

/// Words, each once, at least one and at most `max`.
fn words(
    decoder: &mut Decoder,
    item: Item<'_>,
    (what, max): (&str, usize),
) -> Option<Vec<Spanned<String>>> {
    let words = decoder.lines(item);
    let names = words.iter().map(|word| (word.value.clone(), word.span));
    decoder.distinct(what, names.collect::<Vec<_>>().into_iter());
    let written = decoder.list(item)?.len();
    if written == 0 || written > max {
        let message = format!("`{}` must have from 1 to {max} entries", item.name);
        decoder.report(Code::BadValue, item.span(), message);
        return None;
    }
    (words.len() == written).then_some(words)
}

fn roles(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<Spanned<String>>> {
    words(decoder, item, ("the role", SIGN_OFF_ROLES_MAX))
}

fn evidence(decoder: &mut Decoder, item: Item<'_>) -> Option<BTreeSet<Evidence>> {
    let nodes = decoder.list(item)?;
    let read = nodes.iter().map(|node| decoder.choice(Item { name: "evidence", node }, &EVIDENCE));
    let read: Vec<_> = read.collect();
    let names = nodes.iter().zip(&read).filter_map(|(node, of)| Some(((*of)?, node.span)));
    decoder.distinct("the evidence", names.map(|(of, span)| (of.name().to_owned(), span)));
    if nodes.is_empty() {
        decoder.report(Code::BadValue, item.span(), "`evidence` must have an entry");
        decoder.help("`check` at least: `evidence: [check]`");
        return None;
    }
    read.into_iter().collect()
}

fn staging(decoder: &mut Decoder, item: Item<'_>) -> Option<Staging> {
    let mut fields = decoder.fields(item)?;
    let mut number = |decoder: &mut Decoder, key, max: u32| {
        let item = fields.required(decoder, key)?;
        decoder.integer(item, 0, i64::from(max)).and_then(|value| u32::try_from(value).ok())
    };
    let runs = number(decoder, "runs", STAGING_RUNS_MAX);
    let days = number(decoder, "days", STAGING_DAYS_MAX);
    fields.finish(decoder);
    Some(Staging { runs: runs?, days: days? })
}

fn reviewers(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<Reviewer>> {
    let nodes = decoder.list(item)?;
    if nodes.len() > REVIEWERS_MAX {
        let message = format!("`reviewers` must have at most {REVIEWERS_MAX} entries");
        decoder.report(Code::BadValue, item.span(), message);
        return None;
    }
    let read: Vec<_> = nodes.iter().map(|node| reviewer(decoder, node)).collect();
    let before = decoder.findings.len();
    // Two ways to write one name would be one person who signs twice.
    let names = read.iter().flatten().map(|(of, name, _)| (of.name.to_lowercase(), *name));
    decoder.distinct("the reviewer", names.collect::<Vec<_>>().into_iter());
    // One key of two people would be one person who signs twice.
    let keys = read.iter().flatten().map(|(of, _, key)| (fingerprint(&of.key), *key));
    decoder.distinct("the key", keys.collect::<Vec<_>>().into_iter());
    if decoder.findings.len() > before {
        return None;
    }
    read.into_iter().map(|read| read.map(|(reviewer, _, _)| reviewer)).collect()
}

fn reviewer(decoder: &mut Decoder, node: &Node) -> Option<(Reviewer, Span, Span)> {
    let mut fields = decoder.fields(Item { name: "reviewers", node })?;
    let name = fields.required(decoder, "name");
    let name = name.and_then(|item| Some((decoder.line(item)?, item.span())));
    let roles = fields.required(decoder, "roles").map(|item| roles(decoder, item));
    let key = fields.required(decoder, "key");
    let key = key.and_then(|item| Some((key_line(decoder, item)?, item.span())));
    fields.finish(decoder);
    let ((name, name_span), (key, key_span)) = (name?, key?);
    let roles = roles??.into_iter().map(|role| role.value).collect();
    Some((Reviewer { name, roles, key }, name_span, key_span))
}

/// A line of OpenSSH's, as it stands in a `.pub` file.
fn key_line(decoder: &mut Decoder, item: Item<'_>) -> Option<PublicKey> {
    let text = decoder.text(item, LINE_BYTES_MAX)?;
    let key = PublicKey::from_openssh(text);
    if let Some(key) = key.ok().filter(|key| verifiable(&key.algorithm())) {
        return Some(key);
    }
    decoder.report(Code::BadValue, item.span(), "`key` is no public key that can be verified");
    decoder.help("write the line of its .pub file: an ed25519 or ECDSA P-256 key, in a file or on a security key (ssh-ed25519, ecdsa-sha2-nistp256, sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com)");
    None
}

const fn verifiable(algorithm: &Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Ed25519
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }
    )
}

/// A key's fingerprint, as `ssh-keygen -l` writes it.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(ssh_key::HashAlg::Sha256).to_string()
}
