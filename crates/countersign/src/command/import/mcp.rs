//! `countersign import mcp`: what a server defines is pinned, and drafts are made of what is new.

use super::{To, Told, tools_elsewhere};
use crate::command::{End, serve};
use crate::render::{self, Doing, Failure};
use crate::report::visible;
use countersign_connectors::{System, definitions};
use countersign_core::id::SystemName;
use countersign_core::tool::Defined;
use countersign_posture::import;
use countersign_posture::import::server::{Changed, Definition, Pinning, drafts, pinned, saved};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Mcp {
    /// The system: an MCP server of the deployment
    #[arg(value_parser = super::named)]
    system: SystemName,
    /// Instead of asking the server, read what it answered to `tools/list` from this file
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Replace the pin of this definition, whose difference somebody has read
    #[arg(long, value_name = "NAME")]
    repin: Vec<String>,
    #[command(flatten)]
    to: To,
}

impl Mcp {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let Self { system, from, repin, to } = self;
        let posture = to.posture()?;
        let defined = match from {
            Some(file) => {
                let failed =
                    |why: String| Failure::new(format!("{}: {}", file.display(), visible(&why)));
                saved(&import::source(file).map_err(failed)?).map_err(failed)?
            }
            None => self.asked(&posture)?,
        };
        let path = posture.join(format!("pins/{system}.json"));
        let before = match fs::read_to_string(&path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).doing(path.display()),
        };
        let repin: BTreeSet<_> = repin.iter().cloned().collect();
        let pinning = pinned(system, before.as_deref(), defined, &repin).map_err(|findings| {
            render::findings(&findings);
            Failure::new(format!("{} has errors", path.display()))
        })?;
        let known: BTreeSet<_> =
            pinning.changed.iter().map(|changed| changed.name.clone()).collect();
        if let Some(same) = repin.iter().find(|name| !known.contains(*name)) {
            return Err(Failure::new(format!("`{}` is as it is pinned", visible(same))));
        }
        if before.as_ref() != Some(&pinning.text) {
            replace(&path, &pinning.text)?;
        }
        let mut drafted = drafts(&pinning, system, tools_elsewhere(&posture, system));
        drafted.left_out.extend(pinning.left_out.iter().cloned());
        let told = Told::write(&posture, drafted)?;
        to.tell(&posture, &told, Some(Pins(pinning)))
    }

    /// What the live server defines.
    fn asked(&self, posture: &Path) -> Result<Vec<Definition>, Failure> {
        let (deployment, spec) = super::sql::resolved(&self.to, posture, &self.system)?;
        let System::Mcp(system) = super::sql::reached(&deployment, &spec)? else {
            return Err(Failure::new(format!("the system `{}` is no MCP server", self.system)));
        };
        let defined = serve::runtime()?.block_on(definitions(&system));
        defined.map_err(|fault| Failure::new(visible(&fault.detail)))
    }
}

/// Puts a file in the place of another, whole or not at all.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("json.new");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing(folder.display())?;
    }
    fs::write(&beside, text).doing(beside.display())?;
    fs::rename(&beside, path).doing(path.display())
}

/// What became of the pins.
pub(super) struct Pins(Pinning);

impl Pins {
    /// Whether the server defines something otherwise than it is pinned.
    pub(super) fn differs(&self) -> bool {
        !self.0.gone.is_empty() || self.0.changed.iter().any(|changed| !changed.repinned)
    }

    pub(super) fn tell(&self) {
        let Pinning { path, added, changed, gone, .. } = &self.0;
        render::line(format_args!("Pinned {} new definitions in {path}.", added.len()));
        for Changed { of, name, diff, repinned } in changed {
            let name = visible(name);
            let what = match repinned {
                true => "was pinned anew".to_owned(),
                false => format!("is defined otherwise now, and its pin was kept (--repin {name})"),
            };
            render::line(format_args!("\nThe {} `{name}` {what}:", called(*of)));
            diff.lines().for_each(|line| render::line(format_args!("  {}", visible(line))));
            render::line("");
        }
        for (of, name) in gone {
            let name = visible(name);
            render::line(format_args!(
                "The {} `{name}` is pinned, and the server has none.",
                called(*of)
            ));
        }
    }

    pub(super) fn json(&self) -> Value {
        let Pinning { path, added, changed, gone, .. } = &self.0;
        let named = |(of, name): &(Defined, String)| json!({ "kind": called(*of), "name": name });
        let changed = changed.iter().map(|Changed { of, name, diff, repinned }| {
            json!({ "kind": called(*of), "name": name, "diff": diff, "repinned": repinned })
        });
        json!({
            "path": path, "added": added.iter().map(named).collect::<Vec<_>>(),
            "changed": changed.collect::<Vec<_>>(), "gone": gone.iter().map(named).collect::<Vec<_>>(),
        })
    }
}

const fn called(of: Defined) -> &'static str {
    match of {
        Defined::Tool => "tool",
        Defined::Resource => "resource",
        Defined::Template => "template",
        Defined::Prompt => "prompt",
    }
}
