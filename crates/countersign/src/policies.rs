//! Hand-written policies between the crate that reads files and the one that knows Cedar: what the
//! latter finds wrong becomes findings like any others.

use crate::render::Failure;
use countersign_core::id::Digest;
use countersign_policy::{Bundle, CompileError, Mistake, MistakeKind, PolicyFile, Unknown};
use countersign_posture::{Code, Finding, Loaded, Place, Sketch, Source, did_you_mean};
use std::sync::Arc;

/// Compiles a posture's policies, or says what is wrong with those that people wrote. They become
/// part of the digest of every decision that they bear on.
pub(crate) fn compile(loaded: &mut Loaded) -> Result<Result<Bundle, Vec<Finding>>, Failure> {
    let files = files(&loaded.policies);
    let errors = match Bundle::compile(&loaded.posture, &attributes(loaded), &files) {
        Ok(bundle) => return seal(loaded, &bundle).map(|()| Ok(bundle)),
        Err(errors) => errors,
    };
    let mut findings = Vec::new();
    let mut defects = Vec::new();
    for error in errors {
        match error {
            CompileError::Authored(mistake) => findings.extend(finding(*mistake, &loaded.policies)),
            // What the posture crate accepts compiles; anything else is a defect, told and not run.
            defect => defects.push(defect.to_string()),
        }
    }
    if defects.is_empty() {
        return Ok(Err(findings));
    }
    Err(Failure::new(format!("the policies do not compile: {}", defects.join("; "))))
}

fn seal(loaded: &mut Loaded, bundle: &Bundle) -> Result<(), Failure> {
    for agent in loaded.posture.agents.values_mut() {
        let agent = Arc::get_mut(agent)
            .ok_or_else(|| Failure::new("a posture is in use before its policies are"))?;
        for (tool, grant) in &mut agent.grants {
            if let Some(written) = bundle.written_digest(tool) {
                let parts = [grant.decision_digest, written];
                let parts = parts.each_ref().map(|digest| digest.as_bytes().as_slice());
                grant.decision_digest = Digest::of("countersign/decision/policies/1", &parts);
            }
        }
    }
    Ok(())
}

/// What is wrong with policies while the rest of the posture has errors.
pub(crate) fn mistakes(sketch: &Sketch) -> Vec<Finding> {
    let attributes: Vec<_> = sketch.attributes.iter().map(String::as_str).collect();
    let unknown = Unknown {
        tools: sketch.unknown_tools.clone(),
        agents: sketch.unknown_agents,
        attributes: sketch.unknown_attributes,
    };
    let files = files(&sketch.policies);
    let found = countersign_policy::mistakes(&sketch.posture, &attributes, &files, &unknown);
    found.into_iter().filter_map(|mistake| finding(mistake, &sketch.policies)).collect()
}

/// What is odd about policies that are in force.
pub(crate) fn warnings(bundle: &Bundle, sources: &[Arc<Source>]) -> Vec<Finding> {
    let warnings = bundle.warnings().iter().cloned();
    warnings.filter_map(|mistake| finding(mistake, sources)).collect()
}

/// What the posture knows of a caller besides what every token says.
pub(crate) fn attributes(loaded: &Loaded) -> Vec<&str> {
    loaded.claims.attributes.keys().map(String::as_str).collect()
}

fn files(sources: &[Arc<Source>]) -> Vec<PolicyFile<'_>> {
    let sources = sources.iter();
    sources.map(|source| PolicyFile { name: source.path(), text: source.text() }).collect()
}

/// `None` for a mistake in a file that is not there, which none is.
fn finding(mistake: Mistake, sources: &[Arc<Source>]) -> Option<Finding> {
    let Mistake { file, span, kind, message, help, meant } = mistake;
    let code = match kind {
        MistakeKind::Syntax => Code::PolicySyntax,
        MistakeKind::Empty => Code::EmptyFile,
        MistakeKind::Depth => Code::PolicyDepth,
        MistakeKind::Annotation => Code::PolicyAnnotation,
        MistakeKind::Duplicate => Code::Duplicate,
        MistakeKind::Permit => Code::PolicyPermit,
        MistakeKind::Name => Code::PolicyName,
        MistakeKind::Lookalike => Code::HiddenCharacter,
        MistakeKind::Type => Code::PolicyType,
        MistakeKind::Never => Code::PolicyNever,
        MistakeKind::Always => Code::PolicyAlways,
        MistakeKind::Errs => Code::PolicyErrs,
        MistakeKind::TooMany => Code::TooLarge,
    };
    let near =
        meant.and_then(|(written, known)| did_you_mean(&written, known.iter().map(String::as_str)));
    let place = Place { source: Arc::clone(sources.get(file)?), span };
    Some(Finding { code, place, message, help: near.or(help) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_posture::load_posture;
    use std::collections::BTreeSet;
    use std::{fs, path::Path, process::Command};

    /// The tools about which the example company decides otherwise once `text` is a policy of it.
    fn decided_otherwise(text: &str) -> BTreeSet<String> {
        let acme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme/posture");
        let folder = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-r").arg(acme.join(".")).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        let decisions = || {
            let mut loaded = load_posture(folder.path()).0.unwrap();
            compile(&mut loaded).unwrap().unwrap();
            let agents = loaded.posture.agents.values();
            let grants = agents.flat_map(|agent| {
                agent.grants.iter().map(|(tool, grant)| {
                    ((agent.id.to_string(), tool.to_string()), grant.decision_digest)
                })
            });
            grants.collect::<Vec<_>>()
        };
        let before = decisions();
        fs::write(folder.path().join("policies/more.cedar"), text).unwrap();
        let changed = before.into_iter().zip(decisions()).filter(|(before, after)| before != after);
        changed.map(|(((_, tool), _), _)| tool).collect()
    }

    #[test]
    fn a_policy_changes_the_digest_of_the_decisions_it_bears_on_and_of_no_other() {
        let policy = |scope: &str| {
            decided_otherwise(&format!(
                "@id(\"more\") forbid (principal, {scope}, resource) when {{ context.hour == 3 }};"
            ))
        };
        assert_eq!(policy("action == Action::\"read_ticket\""), ["read_ticket".to_owned()].into());
        let effects =
            ["annotate_ticket", "change_billing_address", "refund_invoice", "send_customer_email"];
        assert_eq!(policy("action in Action::\"effect:write\""), effects.map(str::to_owned).into());
        assert_eq!(policy("action").len(), 16);
    }
}
