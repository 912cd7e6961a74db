//! The example company on disk: the posture and the deployment as in `examples/acme`, databases made
//! from its SQL, a journal.

use super::crm::Crm;
use super::mail::MailServer;
use crate::machine::{SystemEntropy, private_folder};
use crate::render::{self, Doing, Failure};
use countersign_core::port::Entropy as _;
use countersign_store::SqliteStore;
use include_dir::{Dir, include_dir};
use secrecy::SecretString;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt},
    path::{Path, PathBuf},
};

static ACME: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../examples/acme");

/// The addresses written in the example; replaced by those that the demo and the company's own servers
/// listen on.
const EXAMPLE_ADDRESS: &str = "127.0.0.1:8787";
const EXAMPLE_CRM: &str = "127.0.0.1:8790";
const EXAMPLE_MAIL: &str = "127.0.0.1:8725";
/// The CRM's key.
const CRM_KEY: &str = "state/crm.key";
/// A file that says that the folder is the demo's, so that `--fresh` removes nobody's work.
const MARKER: &str = ".countersign-demo";

/// Where the company is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    /// The gateway.
    pub(super) listen: SocketAddr,
    /// The CRM.
    pub(super) crm: SocketAddr,
    /// The mail server.
    pub(super) mail: SocketAddr,
}

/// The example company.
#[derive(Debug)]
pub(super) struct Company {
    dir: PathBuf,
}

impl Company {
    /// Opens the company in `dir`, or makes it there, and says which.
    pub(super) fn open(dir: &Path, at: Addresses, fresh: bool) -> Result<Self, Failure> {
        let company = Self { dir: dir.to_owned() };
        company.is_nobody_elses()?;
        let ours = dir.join(MARKER).exists();
        let empty = !dir.exists() || fs::read_dir(dir).doing(dir.display())?.next().is_none();
        if !ours && !empty {
            return Err(Failure::new(format!("{} is not a demo's folder", dir.display()))
                .help("name another with `--dir`"));
        }
        if ours && fresh {
            for part in ["posture", "data", "state", "logs"] {
                let path = dir.join(part);
                if path.exists() {
                    fs::remove_dir_all(&path).doing(path.display())?;
                }
            }
        }
        let goes_on = company.journal().exists();
        company.write(at)?;
        company.seed()?;
        if goes_on {
            render::line(format_args!(
                "Going on with the company and the journal of an earlier demo in {}.\n\
                 `countersign demo --fresh` starts afresh.\n",
                dir.display()
            ));
        } else {
            SqliteStore::create(&company.journal(), &dir.join("state/journal.key"), &SystemEntropy)
                .doing("the journal could not be made")?;
            render::line(format_args!(
                "Made Acme Freight and a new journal in {}.\n",
                dir.display()
            ));
        }
        Ok(company)
    }

    /// The company that an earlier demo made in `dir`, left as it is.
    pub(super) fn made(dir: &Path) -> Result<Self, Failure> {
        let company = Self { dir: dir.to_owned() };
        company.is_nobody_elses()?;
        if company.dir.join(MARKER).exists() {
            return Ok(company);
        }
        Err(Failure::new(format!("{} is not a demo's folder", dir.display()))
            .help("make one with `countersign demo --only-make`"))
    }

    /// What lies in a folder that others may write to, or behind a link, is not the demo's to use or
    /// to overwrite.
    fn is_nobody_elses(&self) -> Result<(), Failure> {
        let refuse = |path: &Path, why: &str| {
            Err(Failure::new(format!("{} {why}", path.display()))
                .help("name another folder with `--dir`"))
        };
        for part in ["", MARKER, "countersign.yaml", "posture", "data", "state", "logs"] {
            let path = if part.is_empty() { self.dir.clone() } else { self.dir.join(part) };
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() && !part.is_empty() => {
                    return refuse(&path, "is a symbolic link");
                }
                Ok(found) if found.permissions().mode() & 0o022 != 0 && !found.is_symlink() => {
                    return refuse(&path, "can be written by other users");
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).doing(path.display()),
            }
        }
        Ok(())
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("countersign.yaml")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join("state/journal.db")
    }

    pub(super) fn database(&self, name: &str) -> PathBuf {
        self.dir.join("data").join(name).with_extension("db")
    }

    /// An invoice of the customer's that was paid and can be refunded: an earlier demo refunded others.
    pub(super) fn paid_invoice(&self) -> Result<String, Failure> {
        let path = self.dir.join("data/freight.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(&path, flags).doing(path.display())?;
        let paid = "select id from invoices where account_id = 'acct_alpha' and status = 'paid' and amount_cents >= 4200 order by id desc limit 1";
        database.query_row(paid, [], |row| row.get(0)).doing("an invoice to refund")
    }

    /// How many statements each system has run so far, by its own log.
    pub(super) fn statements(&self) -> Result<Vec<(String, usize)>, Failure> {
        let logs = self.dir.join("logs");
        if !logs.exists() {
            return Ok(Vec::new());
        }
        let mut counts = Vec::new();
        for log in fs::read_dir(&logs).doing(logs.display())? {
            let path = log.doing(logs.display())?.path();
            let text = fs::read_to_string(&path).doing(path.display())?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            counts.push((name, text.lines().count()));
        }
        counts.sort();
        Ok(counts)
    }

    /// Writes what is not there yet; the deployment file always, for it names the address.
    fn write(&self, at: Addresses) -> Result<(), Failure> {
        for part in ["data", "state", "logs"] {
            let path = self.dir.join(part);
            private_folder(&path).doing(path.display())?;
        }
        let posture = self.dir.join("posture");
        if !posture.exists() {
            let example = ACME.get_dir("posture").ok_or_else(|| incomplete("posture"))?;
            write_dir(example, &self.dir)?;
        }
        let deployment = text_of("countersign.yaml")?
            .replace(EXAMPLE_ADDRESS, &at.listen.to_string())
            .replace(EXAMPLE_CRM, &at.crm.to_string())
            .replace(EXAMPLE_MAIL, &at.mail.to_string());
        for (name, text) in
            [(MARKER, "made by `countersign demo`\n"), ("countersign.yaml", &deployment)]
        {
            let path = self.dir.join(name);
            fs::write(&path, text).doing(path.display())?;
        }
        self.make_key()
    }

    /// The CRM's key, unless there is one.
    fn make_key(&self) -> Result<(), Failure> {
        let path = self.dir.join(CRM_KEY);
        let mut bytes = [0; 24];
        SystemEntropy.fill(&mut bytes);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => file.write_all(hex::encode(bytes).as_bytes()).doing(path.display()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error).doing(path.display()),
        }
    }

    /// The company's CRM, with what it knows and the key of the deployment.
    pub(super) fn crm(&self) -> Result<Crm, Failure> {
        let contacts = serde_json::from_str(text_of("data/crm.json")?).doing("data/crm.json")?;
        let path = self.dir.join(CRM_KEY);
        let key = fs::read_to_string(&path).doing(path.display())?;
        Ok(Crm { contacts, key: SecretString::from(key), log: self.dir.join("logs/crm.log") })
    }

    /// The company's mail server.
    pub(super) fn mail(&self) -> MailServer {
        MailServer { file: self.dir.join("data/mail.txt") }
    }

    /// Makes the databases that are not there yet.
    fn seed(&self) -> Result<(), Failure> {
        let data = ACME.get_dir("data").ok_or_else(|| incomplete("data"))?;
        let scripts =
            data.files().filter(|file| file.path().extension().is_some_and(|e| e == "sql"));
        for file in scripts {
            let path = self.dir.join(file.path()).with_extension("db");
            if path.exists() {
                continue;
            }
            let sql = file.contents_utf8().ok_or_else(|| incomplete("data"))?;
            // Under another name until it is whole: an interrupted first start leaves no half of it.
            let half = path.with_extension("half");
            if half.exists() {
                fs::remove_file(&half).doing(half.display())?;
            }
            let database = rusqlite::Connection::open(&half).doing(half.display())?;
            database.execute_batch(sql).doing(file.path().display())?;
            database.close().map_err(|(_still_open, error)| error).doing(half.display())?;
            fs::rename(&half, &path).doing(path.display())?;
        }
        Ok(())
    }
}

fn incomplete(part: &str) -> Failure {
    Failure::new(format!("this program was built without the example's `{part}`"))
}

fn text_of(name: &str) -> Result<&'static str, Failure> {
    ACME.get_file(name).and_then(include_dir::File::contents_utf8).ok_or_else(|| incomplete(name))
}

fn write_dir(dir: &Dir<'_>, below: &Path) -> Result<(), Failure> {
    let path = below.join(dir.path());
    fs::create_dir_all(&path).doing(path.display())?;
    for file in dir.files() {
        let path = below.join(file.path());
        fs::write(&path, file.contents()).doing(path.display())?;
    }
    dir.dirs().try_for_each(|dir| write_dir(dir, below))
}
