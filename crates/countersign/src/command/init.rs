//! `countersign init`: a commented posture and deployment that pass `check`, a small database to
//! try them on, the schemas that editors check them by, and the journal.

mod profile;

use super::{End, schema};
use crate::machine::{SystemEntropy, private_folder};
use crate::render::{self, Doing, Failure};
use countersign_posture::file_schema::FileKind;
use countersign_store::SqliteStore;
use include_dir::{Dir, include_dir};
use profile::Profile;
use std::path::PathBuf;

static TEMPLATE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/command/init/template");
const SHOP: &str = include_str!("init/shop.sql");

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder to write to; made where there is none
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Begin with an effect that people agree to, with cases, and with who decides, signs and is told in an
    /// organisation of this kind
    #[arg(long, value_enum)]
    profile: Option<Profile>,
}

impl Init {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        // No surprise writes: all or nothing of ours may be there.
        for name in ["countersign.yaml", "posture", "state", "data", "logs", ".countersign"] {
            let path = self.dir.join(name);
            if path.exists() {
                return Err(Failure::new(format!("{} is already there", path.display()))
                    .help("name an empty folder: `countersign init my-gateway`"));
            }
        }
        for folder in ["", "data", "state", "logs"] {
            let path = self.dir.join(folder);
            private_folder(&path).doing(path.display())?;
        }
        TEMPLATE.extract(&self.dir).doing(self.dir.display())?;
        if let Some(profile) = self.profile {
            profile.apply(&self.dir)?;
        }
        schema::write(&self.dir.join(".countersign/schemas"), FileKind::ALL)?;
        let database = self.dir.join("data/shop.db");
        rusqlite::Connection::open(&database)
            .and_then(|shop| shop.execute_batch(SHOP))
            .doing(database.display())?;
        let state = self.dir.join("state");
        SqliteStore::create(&state.join("journal.db"), &state.join("journal.key"), &SystemEntropy)
            .doing("the journal could not be made")?;
        let dir = self.dir.display();
        let place =
            if self.dir.as_os_str() == "." { "this folder".to_owned() } else { format!("`{dir}`") };
        render::line(format_args!(
            "Wrote a posture, a deployment, an example database and a journal to {place}.\n\n\
             countersign check {dir}\n\
             countersign serve {dir}\n\
             countersign token --agent shop-assistant --tenant ann --user ann     # in another terminal"
        ));
        Ok(End::Fine)
    }
}
