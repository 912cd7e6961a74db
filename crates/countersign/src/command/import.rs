//! `countersign import`: drafts of tools from what a company has already. Nothing that exists is
//! overwritten, and nothing that a source does not say is guessed: `check` says what is missing.

mod mcp;
mod sql;

use super::End;
use crate::render::{self, Doing, Failure};
use crate::report::visible;
use countersign_core::id::SystemName;
use countersign_posture::import::{self, Draft, Drafted};
use countersign_posture::{posture_data, posture_folder};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Import {
    /// From an OpenAPI document (3.0 or 3.1, JSON or YAML): a draft for each operation
    #[command(
        after_help = "Exit codes: 0 all was drafted, 1 something was left out, which is told, 2 could not run.\n\nExample: countersign import openapi shop.yaml --system shop-api --dir my-gateway"
    )]
    Openapi(Openapi),
    /// From a live SQLite or PostgreSQL system: for each table a read by its key, and a list
    #[command(
        after_help = "Only the catalogue is read, as the role of the system's connection.\n\nExit codes: 0 all was drafted, 1 something was left out, which is told, 2 could not run.\n\nExample: countersign import sql shop-db --table orders --dir my-gateway"
    )]
    Sql(sql::Sql),
    /// From an MCP server: pin what it defines, and draft a tool for each new definition
    #[command(
        after_help = "What is pinned already stays as it is: a difference is shown, and taken with --repin once somebody has read it.\n\nExit codes: 0 all is pinned, 1 something differs or was left out, which is told, 2 could not run.\n\nExamples:\n  countersign import mcp tracker --dir my-gateway\n  countersign import mcp tracker --from tools.json\n  countersign import mcp tracker --repin search_issues"
    )]
    Mcp(mcp::Mcp),
}

/// Where drafts go, and how it is told.
#[derive(Debug, clap::Args)]
pub(crate) struct To {
    /// The folder of the deployment, or its file, or a posture's folder
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How it is told
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Openapi {
    /// The document
    file: PathBuf,
    /// The system that its operations ask; drafted where there is none
    #[arg(long, value_parser = named)]
    system: SystemName,
    #[command(flatten)]
    to: To,
}

fn named(system: &str) -> Result<SystemName, String> {
    SystemName::new(system).map_err(|error| format!("the name {error}"))
}

impl Import {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Openapi(openapi) => openapi.run(),
            Self::Sql(sql) => sql.run(),
            Self::Mcp(mcp) => mcp.run(),
        }
    }
}

impl Openapi {
    fn run(&self) -> Result<End, Failure> {
        let Self { file, system, to } = self;
        let posture = to.posture()?;
        let failed = |why: String| Failure::new(format!("{}: {}", file.display(), visible(&why)));
        let text = import::source(file).map_err(failed)?;
        let document = import::document(&text).map_err(failed)?;
        let called = file.file_name().unwrap_or_default().to_string_lossy();
        let drafted = import::openapi::drafts(&document, &called, system).map_err(failed)?;
        let told = Told::write(&posture, drafted)?;
        to.tell(&posture, &told, None)
    }
}

impl To {
    /// The deployment's file.
    fn config(&self) -> PathBuf {
        if self.dir.is_dir() { self.dir.join("countersign.yaml") } else { self.dir.clone() }
    }

    /// The posture's folder.
    fn posture(&self) -> Result<PathBuf, Failure> {
        let config = self.config();
        let named = config.is_file().then(|| posture_folder(&config)).flatten();
        let folders = [Some(self.dir.clone()), named];
        let found =
            folders.into_iter().flatten().find(|folder| folder.join("posture.yaml").is_file());
        found.ok_or_else(|| {
            Failure::new(format!("{} has no posture to write to", self.dir.display())).help(
                "name the folder of a deployment with --dir, or write one with `countersign init`",
            )
        })
    }

    /// Says what was written and what is to be filled in.
    fn tell(&self, posture: &Path, told: &Told, pins: Option<mcp::Pins>) -> Result<End, Failure> {
        match self.format {
            Format::Json => {
                let mut said = told.json();
                if let (Some(pins), Some(said)) = (&pins, said.as_object_mut()) {
                    said.insert("pins".to_owned(), pins.json());
                }
                render::line(said);
            }
            Format::Text => {
                if let Some(pins) = &pins {
                    pins.tell();
                }
                told.tell(posture, &self.dir);
            }
        }
        let differs = pins.is_some_and(|pins| pins.differs());
        Ok(if told.left_out.is_empty() && !differs { End::Fine } else { End::Findings })
    }
}

/// Most of what is missing of one draft that people are told at once: its file says the rest.
const MISSING_SHOWN_MAX: usize = 6;

/// What became of drafts.
#[derive(Debug, Default)]
struct Told {
    written: Vec<Draft>,
    /// Files that were there already.
    kept: Vec<String>,
    left_out: Vec<String>,
}

impl Told {
    fn write(posture: &Path, drafted: Drafted) -> Result<Self, Failure> {
        let mut told = Self { left_out: drafted.left_out, ..Self::default() };
        for draft in drafted.drafts {
            let path = posture.join(&draft.path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).doing(folder.display())?;
            }
            match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(draft.text.as_bytes()).doing(path.display())?;
                    told.written.push(draft);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    told.kept.push(draft.path)
                }
                Err(error) => return Err(error).doing(path.display()),
            }
        }
        Ok(told)
    }

    fn tell(&self, posture: &Path, dir: &Path) {
        let Self { written, kept, left_out } = self;
        render::line(format_args!("Wrote {} drafts to {}:", written.len(), posture.display()));
        for Draft { path, missing, .. } in written {
            let shown: Vec<_> =
                missing.iter().take(MISSING_SHOWN_MAX).map(String::as_str).collect();
            let more = match missing.len().saturating_sub(shown.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            render::line(format_args!("  {path}: fill in {}{more}", visible(&shown.join("; "))));
        }
        if !kept.is_empty() {
            render::line(format_args!("Kept {} files that were there already:", kept.len()));
            kept.iter().for_each(|path| render::line(format_args!("  {path}")));
        }
        if !left_out.is_empty() {
            render::line(format_args!("Left out {}:", left_out.len()));
            left_out.iter().for_each(|why| render::line(format_args!("  {}", visible(why))));
        }
        if !written.is_empty() {
            render::line(format_args!(
                "\ncountersign check {}     # says what is missing, line by line",
                dir.display()
            ));
        }
    }

    fn json(&self) -> Value {
        let Self { written, kept, left_out } = self;
        let written = written.iter();
        let written =
            written.map(|Draft { path, missing, .. }| json!({ "path": path, "missing": missing }));
        json!({
            "written": written.collect::<Vec<_>>(), "kept": kept, "left_out": left_out,
        })
    }
}

/// The tools of a posture that ask another system than `system`, by name.
fn tools_elsewhere(posture: &Path, system: &SystemName) -> BTreeSet<String> {
    let files = posture_data(posture).into_iter();
    let elsewhere = files.filter_map(|(path, file)| {
        let name = path.strip_prefix("tools/")?.strip_suffix(".yaml")?;
        let asks = file.pointer("/call/system").and_then(Value::as_str);
        (asks != Some(system.as_str())).then(|| name.to_owned())
    });
    elsewhere.collect()
}
