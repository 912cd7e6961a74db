//! `countersign posture lock`: what is to be signed, written down.

use super::prove::Prove;
use super::write;
use crate::assemble;
use crate::command::{At, End, eval};
use crate::evidence::whole;
use crate::render::{self, Failure};
use countersign_assurance::permission::PermissionSet;
use countersign_posture::evals::load_evals;
use countersign_posture::lock::{self, EVIDENCE, FILE, STAGING, Shown};
use countersign_posture::sign_off::{Evidence, SignOff};
use countersign_posture::{Finding, Severity};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    at: At,
    /// The ticket or pull request behind it; as in the lock that is there, if left out
    #[arg(long, value_name = "REF")]
    change: Option<String>,
    /// Run what the deployment asks for as evidence, where the report is missing or of another posture
    #[arg(long)]
    gather: bool,
}

impl Lock {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let (gathered, mut findings) = assemble::gather(&self.at.file())?;
        let Some((deployment, Some(posture))) = gathered else {
            render::findings(&findings);
            return Ok(End::Findings);
        };
        let Some(sign_off) = &deployment.sign_off else {
            return Err(Failure::new("the deployment does not say who has to sign")
                .help("say so under `sign_off`: docs/sign-off.md"));
        };
        let folder = deployment.base.join(&deployment.posture);
        let (evals, of_cases) = load_evals(&folder, Some(&posture.loaded));
        findings.extend(of_cases);
        if findings.iter().any(|finding| finding.severity() == Severity::Error) {
            render::findings(&findings);
            return Ok(End::Findings);
        }
        let mut new = lock::Lock::of(&posture.loaded);
        new.permissions = PermissionSet::of(&posture.loaded, &posture.bundle).json();
        let checked = format!("{:#}\n", checked(&new.posture, &findings));
        write(&folder.join(EVIDENCE), "check.json", &checked)?;
        let before = lock::Lock::read(&folder).ok().map(|(lock, _)| lock);
        new.change = self.change.clone().or_else(|| {
            // Another posture is another change.
            let same = before.as_ref().filter(|before| before.posture == new.posture);
            same.and_then(|before| before.change.clone())
        });
        let whole = |of, report: &Value| whole((&posture.loaded, evals.as_ref()), (of, report));
        let mut missing = Vec::new();
        if sign_off.change_required && new.change.is_none() {
            missing.push("the ticket or pull request behind it: `--change REF`".to_owned());
        }
        for of in &sign_off.evidence {
            match self.shown(*of, &folder, (&new.posture, &whole))? {
                Ok(shown) => drop(new.evidence.insert(of.name().to_owned(), shown)),
                Err(why) => missing.push(format!("{why}\n  {}", how(*of, &self.at, &folder))),
            }
        }
        match lock::staging(&folder, &new, sign_off.staging) {
            Ok(shown) => new.evidence.extend(shown.map(|shown| (STAGING.to_owned(), shown))),
            Err(why) => missing.extend(why.into_iter().map(|why| {
                let at = self.at.file();
                let at = at.display();
                format!(
                    "{why}\n  `countersign posture staged {at} --journal FILE` says what ran there; \
                     `stage: staging` leaves the tool out of production; `staging: {{ runs: 0, days: 0 }}` \
                     under `sign_off` asks for nothing"
                )
            })),
        }
        if !missing.is_empty() {
            missing.iter().for_each(|what| render::line(format_args!("missing: {what}")));
            return Ok(End::Findings);
        }
        self.keep(&folder, new, before, sign_off)
    }

    /// Writes it, with the signatures of the one before if that says the same.
    fn keep(
        &self,
        folder: &Path,
        mut new: lock::Lock,
        before: Option<lock::Lock>,
        sign_off: &SignOff,
    ) -> Result<End, Failure> {
        let signed = before.iter().map(|before| before.signatures.len()).sum::<usize>();
        let before = before.filter(|before| before.unsigned() == new);
        new.signatures = before.map(|before| before.signatures).unwrap_or_default();
        let kept = new.signatures.len();
        write(folder, FILE, &new.text())?;
        render::line(format_args!(
            "{}: posture {}, {kept} signatures; roles that have to sign: {}",
            folder.join(FILE).display(),
            new.posture,
            sign_off.roles.join(", ")
        ));
        if kept == 0 {
            render::line(format_args!(
                "next, by each who signs: `countersign posture sign {} --key FILE`",
                self.at.file().display()
            ));
        }
        if kept < signed {
            render::line(format_args!(
                "it says something else than before: {signed} signatures are gone"
            ));
        }
        Ok(End::Fine)
    }

    /// A report, which is gathered if it is not there as it has to be and that is wanted; or why it will
    /// not do.
    fn shown(
        &self,
        of: Evidence,
        folder: &Path,
        asked: (&str, lock::Whole<'_>),
    ) -> Result<Result<Shown, String>, Failure> {
        let shown = lock::evidence(folder, of, asked);
        if shown.is_ok() || !self.gather || of == Evidence::Check {
            return Ok(shown);
        }
        gather(of, &self.at, folder)?;
        Ok(lock::evidence(folder, of, asked))
    }
}

/// What `check` found, by places in the posture, so that it is the same wherever it is run.
fn checked(posture: &str, findings: &[Finding]) -> Value {
    let told = findings.iter().map(|finding| {
        let (line, column) = finding.position();
        json!({
            "code": finding.code.as_str(), "file": finding.place.source.path(),
            "line": line, "column": column, "message": finding.message,
        })
    });
    json!({
        "posture": posture, "findings": told.collect::<Vec<_>>(),
        "summary": { "errors": 0, "warnings": findings.len() },
    })
}

fn file(of: Evidence, folder: &Path) -> PathBuf {
    folder.join(EVIDENCE).join(format!("{}.json", of.name()))
}

/// Has a report written. What it says is judged afterwards, like one that was there.
fn gather(of: Evidence, at: &At, folder: &Path) -> Result<End, Failure> {
    render::note(format_args!("{}", how(of, at, folder)));
    let out = file(of, folder);
    match of {
        Evidence::Check => Ok(End::Fine),
        Evidence::Prove => Prove::whole(at.clone(), out).run(),
        Evidence::Eval => eval::Run::whole(at.clone(), out).run(),
        Evidence::Mutate => eval::Mutate::whole(at.clone(), out).run(),
    }
}

fn how(of: Evidence, at: &At, folder: &Path) -> String {
    let out = file(of, folder);
    format!("`{} {} --out {}`", of.command(), at.file().display(), out.display())
}
