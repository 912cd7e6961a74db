//! Tools of which everything was proved before, so that a change of one tool is a proof of one tool.

use super::{Obligation, Verdict};
use countersign_core::id::Digest;
use countersign_core::tool::Tool;
use std::fs;
use std::path::{Path, PathBuf};

/// What a key is made of: another number where anything else that a proof rests on has changed.
const DOMAIN: &str = "countersign/proved/1";

/// A folder with an empty file for each tool of which everything was proved, named by all that this rests on:
/// policies, schema, obligations, solver and version of the program.
///
/// It is trusted: whoever can write there can have anything told as proved.
#[derive(Debug)]
pub struct Earlier(PathBuf);

impl Earlier {
    /// In a folder that is there.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn file(
        &self,
        solver: &str,
        (tool, obligations): (&Tool, &[&mut Obligation]),
        (policies, schema): (&str, &str),
    ) -> PathBuf {
        let claims = obligations.iter().map(|of| &of.claim);
        let claims = claims.flat_map(|of| [of.name(), of.condition(tool).unwrap_or_default()]);
        let claims: Vec<String> = claims.collect();
        let rest = [env!("CARGO_PKG_VERSION"), solver, policies, schema].into_iter();
        let all: Vec<&[u8]> =
            rest.chain(claims.iter().map(String::as_str)).map(str::as_bytes).collect();
        self.0.join(Digest::of(DOMAIN, &all).to_string())
    }
}

/// Keeps that everything is proved, if it is.
pub(super) fn keep(file: &Path, obligations: &[&mut Obligation]) {
    if obligations.iter().all(|of| matches!(of.verdict, Verdict::Proved)) {
        // What is not kept is proved again.
        drop(fs::write(file, []));
    }
}
