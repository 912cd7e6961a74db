//! `countersign posture diff`: what a change of a posture newly permits.

use crate::assemble;
use crate::command::{End, serve};
use crate::git::Versioned;
use crate::render::{self, Doing as _, Failure};
use crate::report::visible;
use clap::ValueEnum;
use countersign_assurance::diff::{self, Side};
use countersign_policy::Bundle;
use countersign_posture::lock::{self, Lock, Signature};
use countersign_posture::sign_off::SignOff;
use countersign_posture::{Loaded, load_deployment, posture_folder};
use std::fs;
use std::path::{Component, Path, PathBuf};
use tempfile::TempDir;

/// The deployment here.
const HERE: &str = "countersign.yaml";
/// Most files that a revision's posture may have.
const FILES_MAX: usize = 20_000;
/// What a side may be.
const HELP: &str = "name a folder with a posture.yaml or a countersign.yaml in it, `git:REVISION` or a lock's file";
/// Most commits that are looked at for the posture of a lock.
const COMMITS_MAX: u32 = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// What was: a posture or deployment, `git:REVISION`, or a lock's file: what was signed
    #[arg(value_name = "OLD")]
    old: String,
    /// What is to be, likewise
    #[arg(value_name = "NEW", default_value = HERE)]
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
        for (which, side) in [("OLD", &self.old), ("NEW", &self.new)] {
            if !is_revision(side) && !Path::new(side).exists() {
                return Err(
                    Failure::new(format!("{which} is {side}, which is not there")).help(HELP)
                );
            }
        }
        let home = Home::of([&self.new, &self.old])?;
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

/// Where revisions and locks are of.
struct Home {
    /// The posture's folder: that of the first side which is one, or here.
    posture: PathBuf,
    /// Its deployment, where there is one.
    deployment: Option<PathBuf>,
}

impl Home {
    fn of(sides: [&str; 2]) -> Result<Self, Failure> {
        let mut folders = sides.into_iter().filter(|side| !is_revision(side) && !is_lock(side));
        let path = Path::new(folders.next().unwrap_or(HERE));
        let posture = folder(path)?;
        let file = if path.is_dir() { path.join(HERE) } else { path.to_owned() };
        // A posture's folder mostly lies in that of its deployment.
        let around = posture.canonicalize().ok();
        let around = around.as_deref().and_then(Path::parent).map(|around| around.join(HERE));
        let same = |file: &PathBuf| {
            let of = posture_folder(file).and_then(|of| of.canonicalize().ok());
            of.is_some() && of == posture.canonicalize().ok()
        };
        let deployment = [Some(file), around].into_iter().flatten().find(same);
        Ok(Self { posture, deployment })
    }

    /// Who has to have signed; `None` if nobody has to.
    fn sign_off(&self) -> Result<Option<SignOff>, Failure> {
        let Some(file) = &self.deployment else { return Ok(None) };
        match load_deployment(file) {
            (Some(deployment), _) => Ok(deployment.sign_off),
            (None, findings) => {
                render::findings(&findings);
                Err(Failure::new(format!("who has to sign is not known: {}", file.display())))
            }
        }
    }
}

fn is_revision(side: &str) -> bool {
    side.starts_with("git:")
}

fn is_lock(side: &str) -> bool {
    Path::new(side).extension().is_some_and(|of| of == "lock")
}

/// One side, read and compiled.
fn side(side: &str, home: &Home) -> Result<(Loaded, Bundle), Failure> {
    if let Some(revision) = side.strip_prefix("git:") {
        let posture = Versioned::of(&home.posture)?;
        return read(at_revision((&posture, &home.posture), revision)?.path());
    }
    if is_lock(side) { signed(Path::new(side), home) } else { read(&folder(Path::new(side))?) }
}

/// The posture that a lock is of: that which is there, or the one of the commit which brought its digest.
fn signed(file: &Path, home: &Home) -> Result<(Loaded, Bundle), Failure> {
    let text = fs::read_to_string(file).doing(file.display())?;
    let lock = Lock::parse(&text).doing(file.display())?;
    match home.sign_off()? {
        Some(sign_off) => hold(file, &lock, &sign_off)?,
        None => render::note(format_args!(
            "note: the signatures of {} were not looked at: no deployment here says who has to sign",
            file.display()
        )),
    }
    let digest = lock.posture;
    let is_it = |(loaded, _): &(Loaded, Bundle)| loaded.posture.digest.to_string() == digest;
    let Home { posture, .. } = home;
    let here = read(posture).ok().filter(is_it);
    if let Some(here) = here {
        return Ok(here);
    }
    let versioned = Versioned::of(posture)?;
    let pickaxe = format!("-S{digest}");
    let newest = format!("-n{COMMITS_MAX}");
    let plain = ["log", "--format=%H", "--no-textconv", "--no-ext-diff", "--no-show-signature"];
    let asked = [&plain[..], &[&newest, &pickaxe, "--", lock::FILE]].concat();
    let commits = String::from_utf8(versioned.ask(&asked)?).doing("the names of commits")?;
    let mut postures = commits.lines().filter_map(|commit| {
        let folder = at_revision((&versioned, posture), commit).ok()?;
        let (compiled, _) = assemble::compile(folder.path()).ok()?;
        let (loaded, bundle) = compiled?;
        Some((loaded, bundle?)).filter(is_it)
    });
    postures.next().ok_or_else(|| {
        let of = format!("the posture {digest}, which {} is of,", file.display());
        Failure::new(format!("{of} is neither in {} nor among its commits", posture.display()))
            .help("name a folder or `git:REVISION` with that posture")
    })
}

/// Whoever changes a posture can write a lock of it: it is worth its signatures.
fn hold(file: &Path, lock: &Lock, sign_off: &SignOff) -> Result<(), Failure> {
    let message = lock.message();
    let signers = lock.signatures.iter().filter_map(|Signature { by, signature }| {
        let reviewer = lock::signer(sign_off, &message, signature).ok().flatten()?;
        Some(reviewer).filter(|reviewer| reviewer.name == *by)
    });
    let filled = sign_off.filled(&signers.collect::<Vec<_>>());
    for role in &sign_off.roles {
        let Some(by) = filled.get(role.as_str()) else {
            let (file, role) = (file.display(), visible(role));
            let said = format!("{file} is not signed: nobody who is listed has signed as `{role}`");
            return Err(Failure::new(said)
                .help("compare with a lock that was signed, a folder or `git:REVISION`"));
        };
        render::note(format_args!("signed as `{}`: {}", visible(role), visible(&by.name)));
    }
    Ok(())
}

/// The posture's folder: itself, or that of a deployment.
pub(super) fn folder(path: &Path) -> Result<PathBuf, Failure> {
    if path.join("posture.yaml").is_file() {
        return Ok(path.to_owned());
    }
    let config = if path.is_dir() { path.join("countersign.yaml") } else { path.to_owned() };
    posture_folder(&config).ok_or_else(|| {
        Failure::new(format!("{} is no posture and no deployment", path.display())).help(HELP)
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
fn at_revision((git, folder): (&Versioned, &Path), revision: &str) -> Result<TempDir, Failure> {
    let asked = format!("{revision}^{{commit}}");
    let commit = git
        .ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &asked])
        .map_err(|_quiet| Failure::new(format!("there is no revision `{revision}`")))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let listed = git.ask(&["ls-tree", "-r", "-z", "--name-only", &commit, "--", "."])?;
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
        let text = git.ask(&["cat-file", "blob", &format!("{commit}:./{name}")])?;
        let path = out.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).doing(parent.display())?;
        }
        fs::write(&path, text).doing(path.display())?;
    }
    Ok(out)
}
