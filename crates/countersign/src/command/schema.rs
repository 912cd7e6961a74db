//! `countersign schema`: what each kind of file may say, for editors and for people.

use super::End;
use crate::render::{self, Doing, Failure};
use clap::builder::PossibleValuesParser;
use countersign_posture::file_schema::{FileKind, reference};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Schema {
    /// One kind of file; without it all of them, by name
    #[arg(value_parser = PossibleValuesParser::new(FileKind::ALL.map(FileKind::as_str)))]
    kind: Option<String>,
    /// Write each to KIND.json in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the reference of all keys, as Markdown
    #[arg(long, conflicts_with_all = ["kind", "out"])]
    markdown: bool,
}

impl Schema {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let wanted = |kind: &FileKind| self.kind.as_ref().is_none_or(|name| name == kind.as_str());
        let schemas = FileKind::ALL.into_iter().filter(wanted);
        match &self.out {
            _ if self.markdown => render::line(reference().trim_end()),
            Some(folder) => write(folder, schemas)?,
            None if self.kind.is_some() => {
                schemas.for_each(|kind| render::line(format_args!("{:#}", kind.schema())));
            }
            None => {
                let all = schemas.map(|kind| (kind.as_str().to_owned(), kind.schema()));
                render::line(format_args!("{:#}", Value::Object(all.collect::<Map<_, _>>())));
            }
        }
        Ok(End::Fine)
    }
}

/// Writes schemas into a folder, made where there is none.
pub(super) fn write(
    folder: &Path,
    kinds: impl IntoIterator<Item = FileKind>,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).doing(folder.display())?;
    for kind in kinds {
        let path = folder.join(kind.as_str()).with_extension("json");
        fs::write(&path, format!("{:#}\n", kind.schema())).doing(path.display())?;
    }
    Ok(())
}
