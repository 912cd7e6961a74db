//! What tails the journal beside the calls: exporters, alert rules, notifications.
//!
//! ```text
//! journal ──► feed ──┬─► export ──► a file, standard output
//!    ▲               ├─► rules: watch ──┐
//!    └───── alerts ──┼──────────────────┘
//!                    └─► (who is told reads the alerts there)
//! ```
//!
//! Each of them follows the journal with a cursor of its own that outlives the process, and reads a
//! record at least once. None can delay a call or fail one: whatever keeps one of them, it waits and
//! tries again, and the journal is what waits for it.

mod board;
pub mod bound;
mod export;
mod feed;
mod follow;
mod kept;
mod lines;
mod rules;
mod watch;

use board::Progress;
use bound::{LOOK_EVERY, STOP_MAX};
use countersign_core::alert::{Limits, Rule};
use countersign_core::port::{self, Clock, Journal, Ledger};
use countersign_core::reading::Cursor;
use countersign_core::relaying::{Exporter, Relaying};
use export::Export;
use feed::Feed;
use follow::Driven;
use kept::Kept;
use lines::Lines;
pub use lines::Sink;
use rules::{Memory, Rules};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use watch::Watch;

/// What a relay is to do.
#[derive(Debug)]
pub struct Config {
    /// The journal's file; what followers keep lies in a folder beside it.
    pub store: PathBuf,
    /// The journal's public key: by it what is kept of one journal is not taken for another's.
    pub journal: String,
    /// Exporters, by name.
    pub exporters: Vec<(String, Sink)>,
    /// What each rule goes by; one that is not there is switched off.
    pub rules: BTreeMap<Rule, Limits>,
}

/// What a relay needs from the rest of the program.
#[derive(Debug)]
pub struct Ports {
    /// Where it reads.
    pub ledger: Arc<dyn Ledger>,
    /// Where alerts are put on record.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A file cannot be used.
    #[error("`{path}` cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What a follower kept is not whole.
    #[error(
        "`{path}` is damaged, and how far the {of} has come is not known; remove it, and it begins with the journal's first record"
    )]
    Kept {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        of: String,
    },
    /// What a follower kept is of another journal, or another's.
    #[error(
        "`{0}` was kept for another journal, or for another purpose: remove it, or put its own in its place"
    )]
    Foreign(PathBuf),
}

impl RelayError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// The relay, ready to run.
pub struct Relay {
    driven: Base,
    exports: Vec<(Arc<Progress>, Export)>,
    watch: (Arc<Progress>, Watch),
    board: Arc<Board>,
}

#[derive(Debug, Clone)]
struct Base {
    feed: Arc<Feed>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("board", &self.board).finish_non_exhaustive()
    }
}

/// How it all stands.
#[derive(Debug)]
struct Board {
    exporters: Vec<(String, String, Arc<Progress>)>,
    rules: Vec<(Rule, Option<Limits>)>,
    watch: Arc<Progress>,
}

impl Board {
    fn all(&self) -> impl Iterator<Item = &Arc<Progress>> {
        self.exporters.iter().map(|(_, _, progress)| progress).chain([&self.watch])
    }
}

impl port::Relay for Board {
    fn status(&self) -> Relaying {
        let exporters = self.exporters.iter().map(|(name, to, progress)| Exporter {
            name: name.clone(),
            to: to.clone(),
            follower: progress.follower(),
        });
        Relaying {
            exporters: exporters.collect(),
            rules: self.rules.clone(),
            watch: self.watch.follower(),
            destinations: Vec::new(),
        }
    }
}

impl Relay {
    /// Opens what it writes to, and reads how far everything has come. It waits for the disk.
    ///
    /// # Errors
    /// [`RelayError`], which names the file.
    pub fn open(config: Config, ports: Ports) -> Result<Self, RelayError> {
        let Config { store, journal, exporters, rules } = config;
        let Ports { ledger, journal: writes, clock } = ports;
        kept::make_folder(&store)?;
        let kept = |of: &str| Kept::new(&store, of, &journal);
        let exports = exporters.into_iter().map(|(name, sink)| export(kept, name, sink));
        let exports: Vec<_> = exports.collect::<Result<_, _>>()?;
        let limits = Rule::ALL.map(|rule| (rule, rules.get(&rule).copied())).to_vec();
        let kept = kept("rules");
        let (cursor, memory) = kept.read::<Memory>()?.unwrap_or_default();
        let progress = Progress::new("the alert rules", cursor.clone());
        let rules = Rules::new(rules, memory);
        let watch = Watch::new(rules, (writes, Arc::clone(&clock)), kept, cursor);
        let shown = exports
            .iter()
            .map(|(name, to, progress, _)| (name.clone(), to.clone(), Arc::clone(progress)));
        let board = Board { exporters: shown.collect(), rules: limits, watch: progress.clone() };
        let feed = Arc::new(Feed::new(Arc::clone(&ledger)));
        Ok(Self {
            driven: Base { feed, ledger, clock },
            exports: exports
                .into_iter()
                .map(|(_, _, progress, export)| (progress, export))
                .collect(),
            watch: (progress, watch),
            board: Arc::new(board),
        })
    }

    /// How it stands, for people to look at.
    #[must_use]
    pub fn status(&self) -> Arc<dyn port::Relay> {
        self.board.clone()
    }

    /// Until it is told to stop; then as far as the journal goes, but no longer than [`STOP_MAX`].
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { driven, exports, watch: (progress, watch), board } = self;
        let (token, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for (progress, export) in exports {
            tasks.spawn(driven.by(progress, &token).drive(export));
        }
        tasks.spawn(driven.by(progress, &token).drive(watch));
        // Dropped with this, as the others are.
        let mut looking = JoinSet::new();
        looking.spawn(look(driven.ledger, board));
        stop.await;
        token.cancel();
        let over = async { while tasks.join_next().await.is_some() {} };
        if timeout(STOP_MAX, over).await.is_err() {
            tracing::warn!("not all that is recorded was handed on: the rest is at the next start");
        }
    }
}

type Opened = (String, String, Arc<Progress>, Export);

fn export(kept: impl Fn(&str) -> Kept, name: String, sink: Sink) -> Result<Opened, RelayError> {
    let of = format!("exporter {name}");
    let kept = kept(&of);
    let cursor = kept.read::<()>()?.map_or_else(Cursor::default, |(cursor, ())| cursor);
    let progress = Progress::new(of, cursor.clone());
    let (to, path) = match &sink {
        Sink::File(path) => (path.display().to_string(), path.as_path()),
        Sink::Stdout => ("standard output".to_owned(), Path::new("/dev/stdout")),
    };
    let lines = Lines::open(sink.clone()).map_err(RelayError::file(path))?;
    Ok((name, to, progress, Export::new((sink, lines), kept, cursor)))
}

impl Base {
    fn by(&self, progress: Arc<Progress>, stop: &CancellationToken) -> Driven {
        let Self { feed, clock, .. } = self.clone();
        Driven { feed, clock, progress, stop: stop.clone() }
    }
}

/// Looks now and then how far everything is behind: also while it waits for a reader or a disk.
async fn look(ledger: Arc<dyn Ledger>, board: Arc<Board>) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        for progress in board.all() {
            // What cannot be read now is said by those who follow.
            if let Ok(behind) = ledger.behind(progress.cursor()).await {
                progress.is_behind(behind);
            }
        }
    }
}
