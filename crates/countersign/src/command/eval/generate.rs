//! `countersign eval generate`: cases from the posture alone.

use super::{At, End, Suite};
use crate::render::{self, Doing, Failure};
use countersign_assurance::generate::{GeneratedFile, edited, generate};
use std::fs;
use std::path::Path;

pub(super) fn run(at: &At) -> Result<End, Failure> {
    let Some(suite) = Suite::read(at)? else { return Ok(End::Findings) };
    let files = generate(&suite.posture.loaded, (&suite.isolated, &suite.evals));
    let files = files.map_err(Failure::new)?;
    let folder = suite.folder.join("evals");
    fs::create_dir_all(&folder).doing(folder.display())?;
    let mut cases = 0_usize;
    for file in &files {
        cases = cases.saturating_add(file.cases);
        render::line(write(&folder, file)?);
    }
    render::line(format_args!("{cases} cases in {} files of {}", files.len(), folder.display()));
    Ok(End::Fine)
}

/// Writes it where nobody has edited it, and says which.
pub(super) fn write(folder: &Path, file: &GeneratedFile) -> Result<String, Failure> {
    let path = folder.join(&file.name);
    let before = fs::read_to_string(&path).ok();
    let word = match before {
        Some(text) if text == file.text => "unchanged",
        Some(text) if edited(&text) => "edited, and left as it is",
        before => {
            // Under another name until it is whole: a run meanwhile reads no half of it.
            let half = path.with_extension("half");
            fs::write(&half, &file.text).doing(half.display())?;
            fs::rename(&half, &path).doing(path.display())?;
            if before.is_some() { "written anew" } else { "written" }
        }
    };
    Ok(format!("{}: {} cases, {word}", file.name, file.cases))
}
