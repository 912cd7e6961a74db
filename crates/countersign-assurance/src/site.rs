//! One gateway with everything that is its own: copies, stand-ins, journal, logs.

use crate::bound::GATEWAY_STARTS_MAX;
use crate::door::Doors;
use crate::overlay::Isolated;
use crate::port::Ground;
use crate::stand_in::{Asked, StandIn, loopback};
use crate::world::{self, Change, Owned};
use countersign_posture::evals::{CannedAnswer, JOURNAL};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// What every gateway of a run is made from.
#[derive(Debug)]
pub(crate) struct Pattern<'a> {
    pub(crate) isolated: &'a Isolated,
    pub(crate) ground: &'a dyn Ground,
    pub(crate) program: &'a Path,
    pub(crate) runtime: Handle,
    pub(crate) http: reqwest::Client,
    pub(crate) answers: &'a [CannedAnswer],
    /// A copy of each database that nobody writes, by reference.
    pub(crate) pristine: BTreeMap<String, PathBuf>,
    /// Whose rows they hold.
    pub(crate) owned: BTreeMap<String, Owned>,
}

/// A gateway that runs, and its world.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pattern: &'a Pattern<'a>,
    folder: TempDir,
    pub(crate) doors: Doors,
    stand_ins: BTreeMap<String, StandIn>,
    databases: BTreeMap<String, Copy>,
    logs: BTreeMap<String, u64>,
    failing: Vec<Connection>,
    child: Child,
    said: mpsc::Receiver<String>,
}

/// A database that the gateway works with.
#[derive(Debug)]
struct Copy {
    live: Connection,
    version: i64,
    /// As it is when a case begins.
    base: Connection,
    views: BTreeMap<String, Connection>,
    planted: bool,
}

/// A statement that a system ran, by its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The system.
    pub system: String,
    /// The statement, with its values.
    pub sql: String,
}

type Outcome<T> = Result<T, String>;

fn failed<'a>(what: &'a str) -> impl Fn(rusqlite::Error) -> String + 'a {
    move |error| format!("{what}: {error}")
}

fn io<'a>(what: &'a str) -> impl Fn(std::io::Error) -> String + 'a {
    move |error| format!("{what}: {error}")
}

impl<'a> Site<'a> {
    /// Makes it and starts its gateway.
    pub(crate) fn start(pattern: &'a Pattern<'a>) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(io("a folder of its own"))?;
        let path = folder.path();
        for inner in ["data", "state", "logs"] {
            fs::create_dir(path.join(inner)).map_err(io(inner))?;
        }
        let mut references = pattern.isolated.secrets.clone();
        let mut databases = BTreeMap::new();
        for (reference, pristine) in &pattern.pristine {
            let copy = path.join("data").join(format!("{reference}.db"));
            fs::copy(pristine, &copy).map_err(io("a copy of a database"))?;
            databases.insert(reference.clone(), Copy::open(pristine, &copy)?);
            references.insert(reference.clone(), copy.display().to_string());
        }
        let mut stand_ins = BTreeMap::new();
        for (system, reference) in &pattern.isolated.apis {
            let answers = pattern.answers.iter().filter(|answer| answer.system == *system);
            let stand_in = StandIn::start(&pattern.runtime, system, answers.cloned().collect());
            let stand_in = stand_in.map_err(io("a stand-in"))?;
            references.insert(reference.clone(), format!("http://{}", stand_in.address));
            stand_ins.insert(system.clone(), stand_in);
        }
        for (system, reference) in &pattern.isolated.mail {
            let listener = loopback().map_err(io("a mail server"))?;
            let address = listener.local_addr().map_err(io("a mail server"))?;
            pattern
                .ground
                .take_mail(listener, &path.join("data").join(format!("{system}.mail")))?;
            references.insert(reference.clone(), address.to_string());
        }
        let deployment = pattern.isolated.deployment(&references).to_string();
        fs::write(path.join("countersign.yaml"), deployment).map_err(io("the deployment"))?;
        fs::write(path.join("issuer.json"), pattern.ground.key_set()).map_err(io("the keys"))?;
        pattern.ground.make_journal(path)?;
        let (child, said, url) = serve(pattern.program, path)?;
        let doors = Doors { url, http: pattern.http.clone(), runtime: pattern.runtime.clone() };
        let logs = BTreeMap::new();
        let failing = Vec::new();
        Ok(Self { pattern, folder, doors, stand_ins, databases, logs, failing, child, said })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Texts that no agent may ever be told.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let key = fs::read_to_string(self.folder().join("state/journal.key")).unwrap_or_default();
        let key = Some(key.trim().to_owned()).filter(|key| key.len() >= 16);
        let own = [self.folder().display().to_string()];
        self.pattern.isolated.secrets.values().cloned().chain(key).chain(own).collect()
    }

    /// The statements that the systems ran since this was asked last.
    pub(crate) fn statements(&mut self) -> Vec<Ran> {
        let mut ran = Vec::new();
        for system in self.pattern.isolated.behind.keys() {
            let path = self.folder.path().join("logs").join(format!("{system}.log"));
            let from = self.logs.entry(system.clone()).or_default();
            let Ok(mut file) = fs::File::open(path) else { continue };
            let mut text = Vec::new();
            if file.seek(SeekFrom::Start(*from)).and_then(|_| file.read_to_end(&mut text)).is_err()
            {
                continue;
            }
            *from = from.saturating_add(u64::try_from(text.len()).unwrap_or_default());
            let text = String::from_utf8_lossy(&text).into_owned();
            ran.extend(
                text.lines().map(|line| Ran { system: system.clone(), sql: unescaped(line) }),
            );
        }
        ran
    }

    /// The requests that reached stand-ins since this was asked last; messages are among them.
    pub(crate) fn requests(&mut self) -> Vec<Asked> {
        let mut asked: Vec<_> = self.stand_ins.values().flat_map(StandIn::taken).collect();
        for system in self.pattern.isolated.mail.keys() {
            let path = self.folder.path().join("data").join(format!("{system}.mail"));
            let Ok(text) = fs::read_to_string(&path) else { continue };
            // Nobody writes between a step and this: the gateway has answered.
            if fs::remove_file(&path).is_ok() {
                asked.extend(text.split("== from ").skip(1).map(|message| Asked {
                    system: system.clone(),
                    method: "MAIL".to_owned(),
                    path: message.lines().next().unwrap_or_default().to_owned(),
                    body: message.to_owned(),
                }));
            }
        }
        asked
    }

    /// Has a system, or the journal, stop answering.
    pub(crate) fn fail(&mut self, system: &str) -> Outcome<()> {
        if system == JOURNAL {
            let (place, away) = self.journal();
            fs::rename(place, away).map_err(io(system))?;
        } else if let Some(stand_in) = self.stand_ins.get(system) {
            stand_in.away(true);
        } else if let Some(reference) = self.pattern.isolated.behind.get(system) {
            let path = self.folder.path().join("data").join(format!("{reference}.db"));
            let holder = Connection::open(path).map_err(failed(system))?;
            holder.execute_batch("begin exclusive").map_err(failed(system))?;
            self.failing.push(holder);
        } else {
            return Err(format!("`{system}` cannot be made to fail"));
        }
        Ok(())
    }

    /// Has a system keep nothing of what it writes from here on.
    pub(crate) fn lose(&mut self, system: &str) -> Outcome<()> {
        let reference = self.pattern.isolated.behind.get(system);
        let database = reference.and_then(|reference| {
            Some((self.databases.get_mut(reference)?, self.pattern.owned.get(reference)?))
        });
        let Some((copy, owned)) = database else {
            return Err(format!("`{system}` cannot be made to lose what is written"));
        };
        copy.planted = true;
        world::lose(&copy.live, owned).map_err(failed(system))
    }

    /// Where the journal is, and where it is while it is away.
    fn journal(&self) -> (PathBuf, PathBuf) {
        let folder = self.folder.path();
        (folder.join("state/journal.db"), folder.join("journal.away"))
    }

    fn mend(&mut self) {
        let (place, away) = self.journal();
        if away.exists() {
            // What cannot be put back is told when the gateway is stopped.
            drop(fs::rename(away, place));
        }
        self.failing.clear();
        self.stand_ins.values().for_each(StandIn::mend);
    }

    /// Puts a text after one that a statement finds: where it lies, by the answer. Returns whether one
    /// was found.
    pub(crate) fn plant(&mut self, system: &str, sql: &str, text: &str) -> Outcome<bool> {
        let Some(reference) = self.pattern.isolated.behind.get(system) else { return Ok(false) };
        let (Some(copy), Some(owned)) =
            (self.databases.get_mut(reference), self.pattern.owned.get(reference))
        else {
            return Ok(false);
        };
        Ok(copy.plant(owned, sql, text))
    }

    /// The same for an API: into what its stand-in answers this tenant.
    pub(crate) fn plant_answer(&self, system: &str, tenant: &str, text: &str) -> bool {
        self.stand_ins.get(system).is_some_and(|stand_in| stand_in.plant(tenant, text))
    }

    /// Takes the state that a case begins with as the one that it is compared with.
    pub(crate) fn begin(&mut self) -> Outcome<()> {
        self.databases.values_mut().try_for_each(Copy::begin)
    }

    /// What the case has changed; after this everything is as it was before any.
    pub(crate) fn end(&mut self) -> Outcome<Vec<Change>> {
        self.mend();
        let mut changes = Vec::new();
        for (reference, copy) in &mut self.databases {
            let (Some(owned), Some(pristine)) =
                (self.pattern.owned.get(reference), self.pattern.pristine.get(reference))
            else {
                continue;
            };
            let behind = self.pattern.isolated.behind.iter().find(|(_, of)| *of == reference);
            let system = behind.map_or(reference.as_str(), |(system, _)| system);
            if copy.touched()? {
                let found = owned.changes(system, &copy.base, &copy.live);
                changes.extend(found.map_err(failed(system))?);
            }
            copy.restore(pristine)?;
        }
        Ok(changes)
    }

    /// Whether a statement answers the same where there is no other tenant. `None` if it cannot be run.
    pub(crate) fn keeps_to(&mut self, ran: &Ran, tenant: &str) -> Outcome<Option<bool>> {
        let Some(reference) = self.pattern.isolated.behind.get(&ran.system) else {
            return Ok(None);
        };
        let (Some(copy), Some(owned)) =
            (self.databases.get_mut(reference), self.pattern.owned.get(reference))
        else {
            return Ok(None);
        };
        let Some(all) = world::answer(&copy.base, &ran.sql) else { return Ok(None) };
        if !copy.views.contains_key(tenant) {
            let view = owned.view(&copy.base, tenant).map_err(failed("a tenant's view"))?;
            copy.views.insert(tenant.to_owned(), view);
        }
        let own = copy.views.get(tenant).and_then(|view| world::answer(view, &ran.sql));
        Ok(Some(own.as_ref() == Some(&all)))
    }

    /// Stops the gateway in good order, so that all records are written.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        self.mend();
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        told.map_err(io("kill"))?;
        let ended = self.child.wait().map_err(io("the gateway"))?;
        if ended.success() {
            return Ok(());
        }
        let said: Vec<_> = self.said.try_iter().collect();
        Err(format!("the gateway ended with {ended}: {}", said.join("; ")))
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // One that was stopped is gone, and there is nobody to be told of what failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Copy {
    fn open(pristine: &Path, path: &Path) -> Outcome<Self> {
        let live = Connection::open(path).map_err(failed("a copy"))?;
        live.busy_timeout(crate::bound::COPY_BUSY_MAX).map_err(failed("a copy"))?;
        let whole = Connection::open(pristine).map_err(failed("a copy"))?;
        let base = world::in_memory(&whole).map_err(failed("a copy"))?;
        let version = version(&live)?;
        Ok(Self { live, version, base, views: BTreeMap::new(), planted: false })
    }

    fn touched(&self) -> Outcome<bool> {
        Ok(version(&self.live)? != self.version)
    }

    fn plant(&mut self, owned: &Owned, sql: &str, text: &str) -> bool {
        let planted = world::plant(&self.live, owned, sql, text);
        self.planted |= planted;
        planted
    }

    fn begin(&mut self) -> Outcome<()> {
        if self.planted {
            self.base = world::in_memory(&self.live).map_err(failed("a copy"))?;
            self.views.clear();
        }
        self.version = version(&self.live)?;
        Ok(())
    }

    fn restore(&mut self, pristine: &Path) -> Outcome<()> {
        if !self.planted && !self.touched()? {
            return Ok(());
        }
        let whole = Connection::open(pristine).map_err(failed("a copy"))?;
        world::all(&whole, &mut self.live).map_err(failed("a copy could not be put back"))?;
        if self.planted {
            self.base = world::in_memory(&whole).map_err(failed("a copy"))?;
            self.views.clear();
            self.planted = false;
        }
        self.version = version(&self.live)?;
        Ok(())
    }
}

/// Another number once somebody else has written to the database.
fn version(database: &Connection) -> Outcome<i64> {
    database.query_row("pragma data_version", [], |row| row.get(0)).map_err(failed("a copy"))
}

fn unescaped(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => text.push(c),
            },
            _ => text.push(c),
        }
    }
    text
}

/// What the program says when it does not start with a deployment; `None` if it does.
pub(crate) fn refusal(program: &Path, deployment: &Value) -> Outcome<Option<String>> {
    let folder = tempfile::tempdir().map_err(io("a folder of its own"))?;
    let file = folder.path().join("countersign.yaml");
    fs::write(file, deployment.to_string()).map_err(io("the deployment"))?;
    Ok(match serve(program, folder.path()) {
        Ok((mut child, ..)) => {
            drop(child.kill());
            drop(child.wait());
            None
        }
        Err(said) => Some(said),
    })
}

/// Starts the program, and waits until it says where it listens.
fn serve(program: &Path, folder: &Path) -> Outcome<(Child, mpsc::Receiver<String>, String)> {
    let mut command = Command::new(program);
    command.args(["serve", "."]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(io("the gateway could not be started"))?;
    let (tell, said) = mpsc::channel();
    for stream in [
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>),
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>),
    ] {
        let (Some(stream), tell) = (stream, tell.clone()) else { continue };
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
    }
    drop(tell);
    let mut lines = Vec::new();
    loop {
        match said.recv_timeout(GATEWAY_STARTS_MAX) {
            Ok(line) if line.contains("countersign serves") => {
                let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
                let address = address.ok_or("the gateway does not say where it listens")?;
                return Ok((child, said, format!("http://{address}")));
            }
            Ok(line) => lines.push(line),
            Err(_) => {
                drop(child.kill());
                drop(child.wait());
                return Err(format!("the gateway did not start: {}", lines.join("\n")));
            }
        }
    }
}

/// Whether a value stands anywhere in another.
pub(crate) fn leaves<'v>(value: &'v Value, each: &mut dyn FnMut(&'v str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, each)),
        Value::Object(members) => members.values().for_each(|item| leaves(item, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
