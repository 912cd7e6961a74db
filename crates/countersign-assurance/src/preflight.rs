//! What is tried of the gateway itself, once in each run and whatever the posture: that it does not
//! start where it must not, and that what it cannot decide is refused.

use crate::judge::broken;
use crate::port::Ground;
use crate::report::Verdict;
use crate::run::{Asked, Batch, Prepared, one};
use crate::script::Observed;
use crate::site;
use countersign_posture::evals::{CallStep, Case, CaseKind, Expect, Step};
use countersign_posture::{Code, Place, Source, load_posture};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The name that these cases have in the place of a file's.
const SUITE: &str = "gateway";

/// A condition that overflows at any time since 1999.
const ERRS: &str = "context.now * 10000000000 > 0";

/// Tries them.
///
/// # Errors
/// A sentence, if a folder or a gateway could not be made.
pub(crate) fn preflight(
    asked: &Asked<'_>,
    prepared: &Prepared,
    (ground, runtime): (&dyn Ground, &Handle),
) -> Result<Vec<Verdict>, String> {
    let mut verdicts = vec![issuer(asked)?];
    if let Some(case) = undecided(asked) {
        verdicts.push(err(asked, prepared, (ground, runtime), &case)?);
    }
    Ok(verdicts)
}

/// A key that gives anybody a token does not go into production.
fn issuer(asked: &Asked<'_>) -> Result<Verdict, String> {
    let shows = "A gateway that gives anybody a token does not start in production.";
    let case = case("no-development-issuer-in-production", shows);
    let said = site::refusal(asked.program, &asked.isolated.in_production())?;
    let code = Code::DevelopmentIssuer.as_str();
    let wrong = match said {
        None => Some("it started with `development_issuer: true` in production".to_owned()),
        Some(said) if !said.contains(code) => Some(format!("`{code}` is no reason why: {said}")),
        Some(_) => None,
    };
    let wrong = wrong.map(|told| broken("does-not-start", told));
    Ok(Verdict::new(&case, Observed::default(), wrong.into_iter().collect()))
}

/// A call that the suite expects to be taken, under a policy that cannot be evaluated.
fn undecided(asked: &Asked<'_>) -> Option<Case> {
    let taken = |step: &&Step| matches!(step, Step::Call(CallStep { expect: Some(end), times: 1, .. }) if end == "completed" || end == "approval_required");
    let found = asked.evals.cases.iter().filter(|case| case.kind == CaseKind::Normal);
    let (found, step) = found.clone().find_map(|case| {
        let step = case.script.first().filter(taken)?;
        Some((case, step.clone()))
    })?;
    let Step::Call(mut call) = step else { return None };
    call.expect = Some("undecided".to_owned());
    call.rows = None;
    let shows = "A policy that cannot be evaluated refuses the call.";
    let mut case = Case {
        caller: found.caller.clone(),
        door: found.door,
        ..case("a-policy-that-errs-refuses", shows)
    };
    case.expect.never.push(call.tool.clone());
    case.script.push(Step::Call(call));
    Some(case)
}

/// Runs it on the posture with that policy.
fn err(
    asked: &Asked<'_>,
    prepared: &Prepared,
    (ground, runtime): (&dyn Ground, &Handle),
    case: &Case,
) -> Result<Verdict, String> {
    let failed = |error: std::io::Error| format!("a posture of the run's own: {error}");
    let folder = tempfile::tempdir().map_err(failed)?;
    crate::mutate::copy(&asked.isolated.posture, folder.path()).map_err(failed)?;
    let policies = folder.path().join("policies");
    fs::create_dir_all(&policies).map_err(failed)?;
    let tool = &case.expect.never.first().ok_or("a case without a call")?;
    let policy = format!(
        "@id(\"cannot-be-evaluated\") @reason(\"It overflows.\")\nforbid (principal, action == Action::\"{tool}\", resource)\nwhen {{ {ERRS} }};\n"
    );
    fs::write(policies.join("cannot-be-evaluated.cedar"), policy).map_err(failed)?;
    let (loaded, findings) = load_posture(folder.path());
    let loaded =
        loaded.ok_or_else(|| findings.iter().map(ToString::to_string).collect::<String>())?;
    let isolated = asked.isolated.with_posture(folder.path());
    let trying = asked.on(&loaded, &isolated);
    let pattern = prepared.pattern(&trying, (ground, runtime))?;
    let batch = Batch::of(case);
    let verdicts = one(&pattern, &prepared.known(&loaded), (&batch, &trying))?;
    verdicts.into_iter().next().map(|(_, verdict)| verdict).ok_or_else(|| "no verdict".to_owned())
}

fn case(name: &str, shows: &str) -> Case {
    let source = Arc::new(Source::new(Path::new(""), "the gateway itself", ""));
    Case {
        suite: SUITE.to_owned(),
        name: name.to_owned(),
        shows: shows.to_owned(),
        kind: CaseKind::Failure,
        caller: Default::default(),
        door: None,
        message: String::new(),
        plants: Vec::new(),
        goal: None,
        script: Vec::new(),
        expect: Expect::default(),
        place: Place { source, span: 0..0 },
    }
}
