//! That a report speaks of everything: one of a part shows nothing of the rest.

use crate::proof;
use countersign_posture::Loaded;
use countersign_posture::evals::Case;
use countersign_posture::sign_off::Evidence;
use serde_json::Value;
use std::collections::BTreeSet;

/// The first that a report leaves out of what it has to speak of: an obligation of the posture, or one
/// of these cases.
///
/// # Errors
/// Its name.
pub fn whole(
    (loaded, cases): (&Loaded, &[Case]),
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
        Evidence::Eval => (cases.iter().map(Case::id).collect(), named("cases", &["id"])),
    };
    let left_out = asked.into_iter().find(|name| !there.contains(name));
    left_out.map_or(Ok(()), |name| Err(format!("`{name}`")))
}
