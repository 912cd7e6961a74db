//! `countersign posture lock`: what is to be signed, written down.

use super::write;
use crate::assemble;
use crate::command::{At, End};
use crate::render::{self, Failure};
use countersign_assurance::permission::PermissionSet;
use countersign_posture::evals::load_evals;
use countersign_posture::lock::{self, EVIDENCE, FILE, STAGING};
use countersign_posture::sign_off::Evidence;
use countersign_posture::{Finding, Severity};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    at: At,
    /// The ticket or pull request behind it; as in the lock that is there, if left out
    #[arg(long, value_name = "REF")]
    change: Option<String>,
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
        new.permissions = PermissionSet::of(&posture.loaded).json();
        let checked = format!("{:#}\n", checked(&new.posture, &findings));
        write(&folder.join(EVIDENCE), "check.json", &checked)?;
        let before = lock::Lock::read(&folder).ok().map(|(lock, _)| lock);
        new.change = self.change.clone().or_else(|| {
            // Another posture is another change.
            let same = before.as_ref().filter(|before| before.posture == new.posture);
            same.and_then(|before| before.change.clone())
        });
        let cases: BTreeSet<_> =
            evals.iter().flat_map(|evals| &evals.cases).map(|case| case.id()).collect();
        let mut missing = Vec::new();
        if sign_off.change_required && new.change.is_none() {
            missing.push("the ticket or pull request behind it: `--change REF`".to_owned());
        }
        for of in &sign_off.evidence {
            let shown = lock::evidence(&folder, *of, &new.posture);
            let whole = |(shown, report): (lock::Shown, Value)| match of {
                Evidence::Eval => every(&cases, &report).map(|()| shown),
                Evidence::Check | Evidence::Prove | Evidence::Mutate => Ok(shown),
            };
            match shown.and_then(whole) {
                Ok(shown) => drop(new.evidence.insert(of.name().to_owned(), shown)),
                Err(why) => missing.push(format!("{why}: {}", how(*of, &self.at, &folder))),
            }
        }
        match lock::staging(&folder, &new, sign_off.staging) {
            Ok(shown) => new.evidence.extend(shown.map(|shown| (STAGING.to_owned(), shown))),
            Err(why) => missing.extend(why.into_iter().map(|why| {
                format!("{why}: `countersign posture staged --journal FILE`, or another `stage`")
            })),
        }
        if !missing.is_empty() {
            missing.iter().for_each(|what| render::line(format_args!("missing: {what}")));
            return Ok(End::Findings);
        }
        let before = before.filter(|before| before.unsigned() == new);
        let signed = before.map(|before| before.signatures).unwrap_or_default();
        let kept = signed.len();
        new.signatures = signed;
        write(&folder, FILE, &new.text())?;
        render::line(format_args!(
            "{}: posture {}, {kept} signatures; roles that have to sign: {}",
            folder.join(FILE).display(),
            new.posture,
            sign_off.roles.join(", ")
        ));
        Ok(End::Fine)
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

/// A run of a part of the suite says nothing of the others.
fn every(cases: &BTreeSet<String>, report: &Value) -> Result<(), String> {
    let ran = report.get("cases").and_then(Value::as_array).into_iter().flatten();
    let ran: BTreeSet<_> = ran.filter_map(|case| case.get("id").and_then(Value::as_str)).collect();
    match cases.iter().find(|case| !ran.contains(case.as_str())) {
        Some(case) => Err(format!("`{EVIDENCE}/eval.json` has no case `{case}`")),
        None => Ok(()),
    }
}

fn how(of: Evidence, at: &At, folder: &Path) -> String {
    let file = folder.join(EVIDENCE).join(format!("{}.json", of.name()));
    format!("`{} {} > {}`", of.command(), at.file().display(), file.display())
}
