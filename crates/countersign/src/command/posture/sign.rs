//! `countersign posture sign`: a reviewer's signature on what was locked.
//!
//! The key is never read here: `ssh-keygen` signs, with a key file, what ssh-agent holds or a security
//! key. What it made is verified before it is kept.

use super::{read, write};
use crate::assemble::Read;
use crate::command::{At, End};
use crate::evidence::whole;
use crate::render::{self, Doing as _, Failure};
use crate::report::visible;
use countersign_assurance::permission::PermissionSet;
use countersign_posture::evals::load_evals;
use countersign_posture::lock::{self, FILE, Granted, Grants, Lock, NAMESPACE, Signature};
use countersign_posture::sign_off::SignOff;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct How {
    /// Sign with this key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Take this signature, which `ssh-keygen -Y sign` made elsewhere
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Print the bytes that are signed, to sign them elsewhere or to verify with `ssh-keygen -Y verify`
    #[arg(long)]
    message: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    how: How,
    /// Also say in what it differs from an earlier lock
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl Sign {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let Some(Read { deployment, posture }) = read(&self.at)? else { return Ok(End::Findings) };
        let Some(sign_off) = &deployment.sign_off else {
            return Err(Failure::new("the deployment does not say who has to sign")
                .help("say so under `sign_off`: docs/sign-off.md"));
        };
        let (mut lock, text) = match lock::read(&deployment) {
            Ok(read) => read,
            Err(finding) => {
                render::findings(&[finding]);
                return Ok(End::Findings);
            }
        };
        // Nobody signs what is not so, or is of a part.
        let loaded = &posture.loaded;
        let evals = load_evals(&deployment.base.join(&deployment.posture), Some(loaded)).0;
        let whole = |of, report: &Value| whole((loaded, evals.as_ref()), (of, report));
        let wrong = lock::differences(&deployment, (loaded, &whole), (&lock, &text));
        if !wrong.is_empty() {
            render::findings(&wrong);
            render::line("nothing is signed; `countersign posture lock` writes it anew");
            return Ok(End::Findings);
        }
        if lock.permissions != PermissionSet::of(&posture.loaded, &posture.bundle).json() {
            render::line(
                "nothing is signed: the lock does not say what the posture permits, in the words of this release; `countersign posture lock` writes it anew",
            );
            return Ok(End::Findings);
        }
        let message = lock.message();
        if self.how.message {
            stdout().write_all(&message).doing("standard output")?;
            return Ok(End::Fine);
        }
        tell(&lock, self.against.as_deref())?;
        let armoured = match &self.how {
            How { key: Some(key), .. } => made(key, &message)?,
            How { signature: Some(file), .. } => fs::read_to_string(file).doing(file.display())?,
            How { key: None, signature: None, .. } => {
                roles(sign_off, &lock, &message);
                return Ok(End::Fine);
            }
        };
        let by = match lock::signer(sign_off, &message, &armoured) {
            Ok(Some(reviewer)) => reviewer.name.clone(),
            Ok(None) => {
                render::line(
                    "not kept: this key is of none of those who stand in `countersign.yaml` under `sign_off`: `reviewers`",
                );
                return Ok(End::Findings);
            }
            Err(why) => {
                render::line(format_args!("not kept: this signature {why}"));
                return Ok(End::Findings);
            }
        };
        lock.signatures.retain(|signature| signature.by != by);
        lock.signatures.push(Signature { by, signature: armoured });
        lock.signatures.sort_by(|a, b| a.by.cmp(&b.by));
        write(&deployment.base.join(&deployment.posture), FILE, &lock.text())?;
        roles(sign_off, &lock, &message);
        Ok(End::Fine)
    }
}

/// A signature by `ssh-keygen`, whose questions and answers are between it and the person.
fn made(key: &Path, message: &[u8]) -> Result<String, Failure> {
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-q", "-O", "hashalg=sha512", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .doing("`ssh-keygen` could not be started")?;
    // It is asked for the signature once the message is whole: the pipe is closed by then.
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(message));
    let output = child.wait_with_output().doing("`ssh-keygen` was lost")?;
    match sent {
        Some(Ok(())) if output.status.success() => {
            String::from_utf8(output.stdout).doing("what `ssh-keygen` wrote")
        }
        _ => Err(Failure::new(format!("`ssh-keygen` made no signature with {}", key.display()))),
    }
}

/// What is about to be signed.
fn tell(lock: &Lock, against: Option<&Path>) -> Result<(), Failure> {
    let Lock { posture, change, grants, exceptions, evidence, .. } = lock;
    render::line(format_args!("posture    {posture}"));
    let change = change.as_deref().unwrap_or("none");
    render::line(format_args!("change     {}", visible(change)));
    for (name, shown) in evidence {
        render::line(format_args!("evidence   {name}: {}", visible(&shown.says)));
    }
    for excepted in exceptions {
        let said = format!(
            "`{}` stands on rung {} until {}, by leave of {}: {}",
            excepted.tool, excepted.rung, excepted.expires, excepted.reviewed_by, excepted.reason
        );
        render::line(format_args!("exception  {}", visible(&said)));
    }
    let rows = by_grant(grants).into_iter().map(|((agent, tool), of)| {
        let Granted { system, effect, rung, stage, decision: _ } = of;
        [agent, tool, system, effect, &rung.to_string(), stage].map(str::to_owned).into()
    });
    render::line(render::table(&["agent", "tool", "system", "effect", "rung", "stage"], rows));
    render::line("arguments, scope, limits and approvers: `countersign posture show`");
    if let Some(file) = against {
        let text = fs::read_to_string(file).doing(file.display())?;
        let before = Lock::parse(&text).doing(file.display())?;
        differ(&before.grants, grants).iter().for_each(render::line);
    }
    Ok(())
}

fn by_grant(grants: &Grants) -> BTreeMap<(&str, &str), &Granted> {
    let all = grants.iter().flat_map(|(agent, of)| {
        of.iter().map(|(tool, granted)| ((agent.as_str(), tool.as_str()), granted))
    });
    all.collect()
}

/// In what grants differ, a line for each.
fn differ(before: &Grants, now: &Grants) -> Vec<String> {
    let (before, now) = (by_grant(before), by_grant(now));
    let told =
        |of: &Granted| format!("{} of {}, rung {}, {}", of.effect, of.system, of.rung, of.stage);
    let new = now.iter().filter_map(|((agent, tool), is)| match before.get(&(*agent, *tool)) {
        None => Some(format!("+ {agent} {tool}: {}", told(is))),
        Some(was) if was == is => None,
        Some(was) if told(was) == told(is) => Some(format!("~ {agent} {tool}: what governs it")),
        Some(was) => Some(format!("~ {agent} {tool}: {}, was {}", told(is), told(was))),
    });
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let gone = gone.map(|(agent, tool)| format!("- {agent} {tool}"));
    new.chain(gone).collect()
}

/// Who signed in which role, and which are missing.
fn roles(sign_off: &SignOff, lock: &Lock, message: &[u8]) {
    let signers = lock.signatures.iter().filter_map(|Signature { signature, .. }| {
        lock::signer(sign_off, message, signature).ok().flatten()
    });
    let signers: Vec<_> = signers.collect();
    let filled = sign_off.filled(&signers);
    for role in &sign_off.roles {
        let by = filled.get(role.as_str()).map_or("nobody yet", |by| by.name.as_str());
        render::line(format_args!("signed as `{}`: {}", visible(role), visible(by)));
    }
}
