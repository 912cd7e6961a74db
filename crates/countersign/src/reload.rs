//! Another posture while the gateway serves: loaded whole and put in force in one step, or refused
//! whole, and the one in force stays.

use crate::assemble::{self, AtWork, Ground};
use crate::evidence::cover;
use crate::machine::SystemClock;
use crate::render::{self, Failure};
use crate::report::visible;
use arc_swap::ArcSwap;
use countersign_core::port::Clock as _;
use countersign_gateway::door::InForce;
use countersign_policy::Bundle;
use countersign_posture::{Deployment, Environment, Finding, Loaded, Severity};
use countersign_posture::{bound::FILES_MAX, load_deployment};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, sync::Arc, time::Duration};
use tokio::signal::unix::Signal;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked where the posture's path leads. What two looks agree on is loaded.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is said which reviews end.
const DAY: Duration = Duration::from_hours(24);
/// Most findings of a refused posture in the log; all of them are printed.
const FINDINGS_LOGGED_MAX: usize = 5;

/// Puts postures in force, one after the other.
pub(crate) struct Reloader {
    ground: Arc<Ground>,
    at_work: Arc<AtWork>,
    in_force: Arc<ArcSwap<InForce>>,
    watch: Watch,
    config: PathBuf,
    /// The deployment file as it was read; `None` if it could not be.
    written: Option<Vec<u8>>,
}

impl Reloader {
    pub(crate) fn new(
        ground: Ground,
        at_work: AtWork,
        (config, written): (&Path, Option<Vec<u8>>),
    ) -> Self {
        let deployment = &ground.deployment;
        let folder = deployment.base.join(&deployment.posture);
        Self {
            watch: Watch::new(folder, deployment.environment),
            in_force: Arc::new(ArcSwap::new(Arc::clone(&at_work.in_force))),
            ground: Arc::new(ground),
            at_work: Arc::new(at_work),
            config: config.to_owned(),
            written,
        }
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(crate) fn in_force(&self) -> Arc<ArcSwap<InForce>> {
        Arc::clone(&self.in_force)
    }

    /// Loads a posture whenever it is asked for by `hangups`, or another one is there.
    pub(crate) async fn run(mut self, mut hangups: Signal) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell("the start");
        let mut days = interval(DAY);
        loop {
            tokio::select! {
                _ = days.tick() => self.tell_of_ends(),
                _ = hangups.recv() => self.reload("SIGHUP").await,
                _ = looks.tick() => {
                    if block_in_place(|| self.watch.another()) {
                        self.reload("another posture is there").await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, because: &str) {
        // Before it is read: what changes from here on is another one again.
        block_in_place(|| self.watch.tried());
        if fs::read(&self.config).ok() != self.written {
            let file = self.config.display();
            tracing::warn!(
                "`{file}` has changed since the start: but for who has to sign, it is read again by a restart"
            );
        }
        match self.load().await {
            Ok(()) => self.tell(because),
            Err(why) => {
                let posture = self.at_work.in_force.monitor.posture.digest;
                tracing::error!(%posture, because, "a posture is refused, and this one stays: {why}");
            }
        }
    }

    async fn load(&mut self) -> Result<(), String> {
        let (ground, before) = (Arc::clone(&self.ground), Arc::clone(&self.at_work));
        let config = self.config.clone();
        // In a task of its own: whatever is written there, the gateway outlives the reading of it.
        let prepared = spawn_blocking(move || prepare(&ground, &config, &before)).await;
        let prepared = prepared.map_err(|lost| format!("it could not be read: {lost}"))??;
        let recorded = self.ground.record(&prepared, Some(&self.at_work)).await;
        recorded.map_err(|error| format!("it could not be recorded: {error}"))?;
        self.in_force.store(Arc::clone(&prepared.in_force));
        self.at_work = Arc::new(prepared);
        Ok(())
    }

    /// Says which grants end soon by themselves, or have ended: a posture is in force for long, and nobody
    /// may check it meanwhile.
    fn tell_of_ends(&self) {
        let now = SystemClock.now();
        let soon = now.plus_secs(self.at_work.warn_s);
        let agents = &self.at_work.in_force.monitor.posture.agents;
        let ends: BTreeSet<_> = agents
            .values()
            .flat_map(|agent| agent.grants.values().map(move |grant| (&agent.id, &grant.lapses)))
            .filter_map(|(agent, lapse)| Some((lapse.as_ref()?, agent)))
            .filter(|(lapse, _)| lapse.at <= soon)
            .map(|(lapse, agent)| (lapse.at, agent, &lapse.of))
            .collect();
        for (at, agent, of) in ends {
            if at <= now {
                tracing::error!(%agent, "what rests on it is suspended: {of}");
            } else {
                tracing::warn!(%agent, "what rests on it will be suspended: {of}");
            }
        }
    }

    fn tell(&self, because: &str) {
        let InForce { monitor, since, .. } = &*self.at_work.in_force;
        let since = jiff::Timestamp::from_microsecond(since.micros()).unwrap_or_default();
        let posture = monitor.posture.digest;
        tracing::info!(%posture, loaded = %format_args!("{since:.3}"), because, "a posture is in force");
    }
}

/// Everything up to the swap. What is wrong is printed, with whom to ask.
fn prepare(ground: &Ground, config: &Path, before: &AtWork) -> Result<AtWork, String> {
    let failed = |failure: Failure| failure.to_string();
    let (read, mut findings) =
        assemble::read_posture(&ground.deployment, SystemClock.now()).map_err(failed)?;
    let missing = read.iter().flat_map(|posture| posture.systems.missing.values().flatten());
    let mut missing: Vec<_> = missing.cloned().collect();
    // In production nothing comes into force that was not signed: the one that was, stays.
    if ground.deployment.environment == Environment::Production {
        let today = today(config)?;
        missing.extend(read.iter().flat_map(|read| cover(&today, (&read.loaded, None)).1));
    }
    let whole = !missing.iter().any(|finding| finding.severity() == Severity::Error);
    findings.extend(missing);
    before.owners.name_in(&mut findings);
    render::findings(&findings);
    match read.filter(|_| whole) {
        Some(read) => ground.put_to_work(read, Some(before)).map_err(failed),
        None => {
            findings.retain(|finding| finding.severity() == Severity::Error);
            let first = findings.iter().take(FINDINGS_LOGGED_MAX);
            let first: Vec<_> = first.map(|finding| visible(&finding.to_string())).collect();
            Err(format!("{} errors: {}", findings.len(), first.join("; ")))
        }
    }
}

/// Who has to sign, as it is written now: whoever was taken out since the start counts no more.
fn today(config: &Path) -> Result<Deployment, String> {
    let file = config.display();
    let (deployment, findings) = load_deployment(config);
    let Some(deployment) = deployment else {
        render::findings(&findings);
        return Err(format!("`{file}` has errors now, so nobody knows who has to sign"));
    };
    match deployment.environment {
        Environment::Production => Ok(deployment),
        Environment::Development | Environment::Staging => {
            Err(format!("`{file}` says another environment now: it is read by a restart"))
        }
    }
}

// ── whom to ask ─────────────────────────────────────────────────────────────────────────────────

/// The teams behind each file, by the register of a posture: an agent's file is its owner's; a tool, a
/// system and what policies bear on it are those teams' whose agents were granted it.
pub(crate) struct Owners(BTreeMap<String, BTreeSet<String>>);

impl Owners {
    pub(crate) fn of(loaded: &Loaded, bundle: &Bundle) -> Self {
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in &loaded.register {
            let team = format!("{}, {}", entry.team, entry.contact);
            let mut owns = |path| owners.entry(path).or_default().insert(team.clone());
            owns(format!("agents/{}.yaml", entry.agent));
            let grants = loaded.posture.agents.get(&entry.client).map(|agent| &agent.grants);
            for grant in grants.into_iter().flat_map(BTreeMap::values) {
                owns(format!("tools/{}.yaml", grant.tool.name));
                let asked = grant.tool.look_ups.iter().map(|rule| &rule.query.system);
                for system in asked.chain([&grant.tool.system]) {
                    owns(format!("systems/{system}.yaml"));
                }
                for file in bundle.files(&grant.tool.name) {
                    owns(file.to_owned());
                }
            }
        }
        Self(owners)
    }

    /// Adds to each finding whose file it is in.
    fn name_in(&self, findings: &mut [Finding]) {
        for finding in findings {
            if let Some(teams) = self.0.get(finding.place.source.path()) {
                let teams = teams.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
                let help = finding.help.take().map(|help| format!("{help}; ")).unwrap_or_default();
                finding.help = Some(format!("{help}the file's owner: {teams}"));
            }
        }
    }
}

// ── whether there is another one ────────────────────────────────────────────────────────────────

/// Notices another posture without reading it.
struct Watch {
    folder: PathBuf,
    /// Whether changes of files in place count: a developer's editor, not a deployment's way.
    files: bool,
    last: Look,
    tried: Look,
}

/// What a look sees.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    /// The folder that the path leads to, symbolic links followed; `None` while it leads nowhere.
    leads_to: Option<PathBuf>,
    /// The files, by path: inode, size, and when content and inode last changed.
    files: BTreeMap<PathBuf, [i64; 6]>,
}

impl Watch {
    fn new(folder: PathBuf, environment: Environment) -> Self {
        let files = environment == Environment::Development;
        let now = look(&folder, files);
        Self { folder, files, last: now.clone(), tried: now }
    }

    /// Whether what is there was not tried yet, and is the same as a look ago: a copy that is being
    /// written, or a link between its removal and its return, is waited for.
    fn another(&mut self) -> bool {
        let now = look(&self.folder, self.files);
        let settled = now == self.last;
        self.last = now;
        settled && self.last != self.tried
    }

    /// What is there now is about to be tried.
    fn tried(&mut self) {
        self.tried = look(&self.folder, self.files);
    }
}

fn look(folder: &Path, with_files: bool) -> Look {
    let mut files = BTreeMap::new();
    let leads_to = fs::canonicalize(folder).ok();
    if let Some(folder) = leads_to.as_deref().filter(|_| with_files) {
        stamp(folder, 1, &mut files);
    }
    Look { leads_to, files }
}

/// Stamps the files in a folder and in the folders in it, but for the hidden ones, which are no part
/// of a posture.
fn stamp(folder: &Path, depth: u32, files: &mut BTreeMap<PathBuf, [i64; 6]>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(file) = fs::metadata(entry.path()) else { continue };
        if files.len() >= FILES_MAX || entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if !file.is_dir() {
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let (inode, size) = (number(file.ino()), number(file.size()));
            let modified = [file.mtime(), file.mtime_nsec()];
            let changed = [file.ctime(), file.ctime_nsec()];
            let stamp = [inode, size, modified[0], modified[1], changed[0], changed[1]];
            files.insert(entry.path(), stamp);
        } else if depth > 0 {
            stamp(&entry.path(), depth - 1, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder with two postures, and a link `now` that leads to the first.
    fn postures() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir_all(dir.path().join(name).join("tools")).unwrap();
            fs::write(dir.path().join(name).join("tools/t.yaml"), "x").unwrap();
        }
        symlink("a", dir.path().join("now")).unwrap();
        dir
    }

    fn lead_to(dir: &Path, name: &str) {
        symlink(name, dir.join("new")).unwrap();
        fs::rename(dir.join("new"), dir.join("now")).unwrap();
    }

    #[test]
    fn a_system_that_only_a_look_up_asks_has_owners() {
        let acme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme/posture");
        let mut loaded = countersign_posture::load_posture(&acme).0.unwrap();
        let bundle = crate::policies::compile(&mut loaded).unwrap().unwrap();
        for agent in loaded.posture.agents.values_mut() {
            let grants = &mut Arc::get_mut(agent).unwrap().grants;
            grants.retain(|tool, grant| {
                tool.as_str() == "get_temperature_log" && grant.tool.system.as_str() != "freight-db"
            });
        }
        let Owners(owners) = Owners::of(&loaded, &bundle);
        assert!(owners.contains_key("tools/get_temperature_log.yaml"));
        assert!(owners.contains_key("systems/freight-db.yaml"), "{:?}", owners.keys());
    }

    #[test]
    fn a_swapped_link_is_noticed_once_two_looks_agree_and_until_it_was_tried() {
        for environment in [Environment::Production, Environment::Development] {
            let dir = postures();
            let mut watch = Watch::new(dir.path().join("now"), environment);
            assert!(!watch.another());
            lead_to(dir.path(), "b");
            assert!(!watch.another(), "it may be one of several steps");
            assert!(watch.another());
            watch.tried();
            assert!(!watch.another());
            fs::remove_file(dir.path().join("now")).unwrap();
            assert!(!watch.another(), "a link that is being made anew is no news");
            lead_to(dir.path(), "b");
            assert!(!watch.another());
            assert!(!watch.another());
            fs::remove_file(dir.path().join("now")).unwrap();
            assert!(!watch.another());
            assert!(watch.another(), "one that stays away is");
        }
    }

    #[test]
    fn files_count_only_in_development_and_only_once_they_are_still() {
        for (environment, noticed) in
            [(Environment::Production, false), (Environment::Development, true)]
        {
            let dir = postures();
            let mut watch = Watch::new(dir.path().join("now"), environment);
            let file = dir.path().join("a/tools/t.yaml");
            fs::write(&file, "xy").unwrap();
            assert!(!watch.another());
            fs::write(&file, "xyz").unwrap();
            assert!(!watch.another(), "it is still being written");
            assert_eq!(watch.another(), noticed);
            watch.tried();
            fs::write(dir.path().join("a/tools/.t.swp"), "x").unwrap();
            assert!(!watch.another());
            assert!(!watch.another(), "hidden files are no part of a posture");
            fs::remove_file(&file).unwrap();
            assert!(!watch.another());
            assert_eq!(watch.another(), noticed);
        }
    }
}
