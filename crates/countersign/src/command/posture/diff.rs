//! `countersign posture diff`: what a change of a posture newly permits.

use crate::assemble;
use crate::command::{End, serve};
use crate::render::{self, Doing as _, Failure};
use clap::ValueEnum;
use countersign_assurance::diff::{self, Side};
use countersign_policy::Bundle;
use countersign_posture::lock::{self, Lock};
use countersign_posture::{Loaded, posture_folder};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Most files that a revision's posture may have.
const FILES_MAX: usize = 20_000;
/// Most commits that are looked at for the posture of a lock.
const COMMITS_MAX: u32 = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// What was: a posture or deployment, `git:REVISION`, or a lock's file: what was signed
    #[arg(value_name = "OLD")]
    old: String,
    /// What is to be, likewise
    #[arg(value_name = "NEW", default_value = "countersign.yaml")]
    new: String,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Let an agent be given several tools with an effect at once
    #[arg(long)]
    several_write_tools: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// Markdown, for a pull request
    Markdown,
}

impl Diff {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let home = home([&self.new, &self.old])?;
        let (old, old_bundle) = side(&self.old, &home)?;
        let (new, new_bundle) = side(&self.new, &home)?;
        let old = Side { loaded: &old, bundle: &old_bundle };
        let new = Side { loaded: &new, bundle: &new_bundle };
        let found = serve::runtime()?.block_on(diff::diff(old, new));
        match self.format {
            Format::Text => render::line(found.text(false)),
            Format::Json => render::line(format_args!("{:#}", found.json())),
            Format::Markdown => render::line(found.text(true)),
        }
        let several = !found.at_once.is_empty() && !self.several_write_tools;
        Ok(if found.wider() || several { End::Findings } else { End::Fine })
    }
}

/// The posture that revisions and locks are of: that of the first side which is a folder, or here.
fn home(sides: [&str; 2]) -> Result<PathBuf, Failure> {
    let folders = sides.into_iter().filter(|side| !side.starts_with("git:") && !is_lock(side));
    folder(Path::new(folders.into_iter().next().unwrap_or("countersign.yaml")))
}

fn is_lock(side: &str) -> bool {
    Path::new(side).extension().is_some_and(|of| of == "lock")
}

/// One side, read and compiled.
fn side(side: &str, home: &Path) -> Result<(Loaded, Bundle), Failure> {
    if let Some(revision) = side.strip_prefix("git:") {
        return read(at_revision(home, revision)?.path());
    }
    if is_lock(side) { signed(Path::new(side), home) } else { read(&folder(Path::new(side))?) }
}

/// The posture that a lock is of: that which is there, or the one of the commit which brought its digest.
fn signed(lock: &Path, home: &Path) -> Result<(Loaded, Bundle), Failure> {
    let text = fs::read_to_string(lock).doing(lock.display())?;
    let digest = Lock::parse(&text).doing(lock.display())?.posture;
    let is_it = |(loaded, _): &(Loaded, Bundle)| loaded.posture.digest.to_string() == digest;
    let here = read(home).ok().filter(is_it);
    if let Some(here) = here {
        return Ok(here);
    }
    let pickaxe = format!("-S{digest}");
    let newest = format!("-n{COMMITS_MAX}");
    let asked = ["log", "--format=%H", &newest, &pickaxe, "--", lock::FILE];
    let commits = String::from_utf8(git(home, &asked)?).doing("the names of commits")?;
    let mut postures = commits.lines().filter_map(|commit| {
        let folder = at_revision(home, commit).ok()?;
        let (compiled, _) = assemble::compile(folder.path()).ok()?;
        let (loaded, bundle) = compiled?;
        Some((loaded, bundle?)).filter(is_it)
    });
    postures.next().ok_or_else(|| {
        let of = format!("the posture {digest}, which {} is of,", lock.display());
        Failure::new(format!("{of} is neither in {} nor among its commits", home.display()))
            .help("name a folder or `git:REVISION` with that posture")
    })
}

/// The posture's folder: itself, or that of a deployment.
pub(super) fn folder(path: &Path) -> Result<PathBuf, Failure> {
    if path.join("posture.yaml").is_file() {
        return Ok(path.to_owned());
    }
    let config = if path.is_dir() { path.join("countersign.yaml") } else { path.to_owned() };
    posture_folder(&config).ok_or_else(|| {
        Failure::new(format!("{} is no posture and no deployment", path.display())).help(
            "name a folder with a posture.yaml or a countersign.yaml in it, `git:REVISION` or a lock's file",
        )
    })
}

pub(super) fn read(folder: &Path) -> Result<(Loaded, Bundle), Failure> {
    let (compiled, findings) = assemble::compile(folder)?;
    match compiled {
        Some((loaded, Some(bundle))) => Ok((loaded, bundle)),
        _ => {
            render::findings(&findings);
            Err(Failure::new("a posture with errors is compared with none"))
        }
    }
}

/// A posture's folder as it was at a revision of the repository that it is in.
fn at_revision(folder: &Path, revision: &str) -> Result<TempDir, Failure> {
    let asked = format!("{revision}^{{commit}}");
    let commit = git(folder, &["rev-parse", "--verify", "--quiet", "--end-of-options", &asked])
        .map_err(|_quiet| Failure::new(format!("there is no revision `{revision}`")))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let listed = git(folder, &["ls-tree", "-r", "-z", "--name-only", &commit, "--", "."])?;
    let listed = String::from_utf8(listed).doing("the names of its files")?;
    let names: Vec<_> = listed.split('\0').filter(|name| !name.is_empty()).collect();
    if names.is_empty() || names.len() > FILES_MAX {
        let path = folder.display();
        return Err(Failure::new(format!("there is no posture in {path} at `{revision}`")));
    }
    let out = tempfile::tempdir().doing("a folder for the older posture")?;
    for name in names {
        let path = Path::new(name);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            continue;
        }
        let text = git(folder, &["cat-file", "blob", &format!("{commit}:./{name}")])?;
        let path = out.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).doing(parent.display())?;
        }
        fs::write(&path, text).doing(path.display())?;
    }
    Ok(out)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let asked = Command::new("git").arg("-C").arg(folder).args(arguments).output();
    let answer = asked.doing("git does not start")?;
    if answer.status.success() {
        return Ok(answer.stdout);
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(Failure::new(format!("git says: {}", said.trim())))
}
