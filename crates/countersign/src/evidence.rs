//! That a report speaks of everything: one of a part shows nothing of the rest.

use countersign_assurance::proof;
use countersign_posture::evals::Evals;
use countersign_posture::lock::{self, Signed};
use countersign_posture::sign_off::Evidence;
use countersign_posture::{Deployment, Finding, Loaded};
use serde_json::Value;
use std::collections::BTreeSet;

/// Who signed a posture, and everything that keeps it from being what was signed.
pub(crate) fn cover(
    deployment: &Deployment,
    (loaded, evals): (&Loaded, Option<&Evals>),
) -> (Vec<Signed>, Vec<Finding>) {
    lock::cover(deployment, loaded, &|of, report| whole((loaded, evals), (of, report)))
}

/// The first that a report leaves out of what it has to speak of: an obligation of the posture, or a
/// case of its suite, where that is known.
pub(crate) fn whole(
    (loaded, evals): (&Loaded, Option<&Evals>),
    (of, report): (Evidence, &Value),
) -> Result<(), String> {
    let named = |list: &str, keys: &[&str]| -> BTreeSet<String> {
        let all = report.get(list).and_then(Value::as_array).into_iter().flatten();
        let name = |one: &Value| {
            let parts = keys.iter().map(|key| one.get(key).and_then(Value::as_str));
            parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(" "))
        };
        all.filter_map(name).collect()
    };
    let (asked, there): (Vec<String>, _) = match of {
        Evidence::Check | Evidence::Mutate => return Ok(()),
        Evidence::Prove => {
            let asked = proof::obligations(&loaded.posture).into_iter();
            let asked = asked.map(|(tool, claim)| format!("{tool} {}", claim.name()));
            (asked.collect(), named("obligations", &["tool", "obligation"]))
        }
        Evidence::Eval => {
            let cases = evals.into_iter().flat_map(|evals| &evals.cases);
            (cases.map(|case| case.id()).collect(), named("cases", &["id"]))
        }
    };
    asked
        .into_iter()
        .find(|name| !there.contains(name))
        .map_or(Ok(()), |name| Err(format!("`{name}`")))
}
