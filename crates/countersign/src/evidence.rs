//! Whether what was signed is what is there, with reports that speak of everything.

use countersign_assurance::whole::whole as of_all;
use countersign_posture::evals::Evals;
use countersign_posture::lock::{self, Signed};
use countersign_posture::sign_off::Evidence;
use countersign_posture::{Deployment, Finding, Loaded};
use serde_json::Value;

/// Who signed a posture, and everything that keeps it from being what was signed.
pub(crate) fn cover(
    deployment: &Deployment,
    (loaded, evals): (&Loaded, Option<&Evals>),
) -> (Vec<Signed>, Vec<Finding>) {
    lock::cover(deployment, loaded, &|of, report| whole((loaded, evals), (of, report)))
}

/// What a report leaves out, where its cases are known.
pub(crate) fn whole(
    (loaded, evals): (&Loaded, Option<&Evals>),
    report: (Evidence, &Value),
) -> Result<(), String> {
    let cases = evals.map(|evals| evals.cases.as_slice()).unwrap_or_default();
    of_all((loaded, cases), report)
}
