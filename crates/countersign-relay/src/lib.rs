//! What tails the journal beside the calls: exporters, alert rules, notifications.
//!
//! ```text
//! journal ──► feed ──┬─► export ──► a file, standard output
//!    ▲               ├─► rules: watch ──┐
//!    └───── alerts ──┼──────────────────┘
//!                    └─► notify ──► webhooks, mail
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
mod message;
mod notify;
mod rules;
mod watch;
mod webhook;

use board::Progress;
use bound::{LOOK_EVERY, STOP_MAX};
use countersign_core::alert::{Limits, Rule};
use countersign_core::port::{self, Clock, Gates, Journal, Ledger, Register};
use countersign_core::reading::{Cursor, Parts};
use countersign_core::relaying::{self, Exporter, Relaying};
use export::Export;
use feed::Feed;
use follow::Driven;
use kept::Kept;
use lines::Lines;
pub use lines::Sink;
pub use message::Template;
use notify::{Deliveries, Notify, Sources, Told};
pub use notify::{Destination, Means};
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
pub use webhook::{Webhook, WebhookError};

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
    /// Who is told.
    pub destinations: Vec<Destination>,
    /// Where the console is, without a path.
    pub public_url: String,
}

/// What a relay needs from the rest of the program.
#[derive(Debug)]
pub struct Ports {
    /// Where it reads.
    pub ledger: Arc<dyn Ledger>,
    /// Where alerts are put on record.
    pub journal: Arc<dyn Journal>,
    /// What became of drafts.
    pub register: Arc<dyn Register>,
    /// Who may decide about them.
    pub gates: Arc<dyn Gates>,
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
    told: Vec<(Arc<Progress>, Notify)>,
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
    destinations: Vec<(relaying::Destination, Arc<Progress>, Arc<Deliveries>)>,
}

impl Board {
    fn all(&self) -> impl Iterator<Item = &Arc<Progress>> {
        let exporters = self.exporters.iter().map(|(_, _, progress)| progress);
        let destinations = self.destinations.iter().map(|(_, progress, _)| progress);
        exporters.chain([&self.watch]).chain(destinations)
    }
}

impl port::Relay for Board {
    fn status(&self) -> Relaying {
        let exporters = self.exporters.iter().map(|(name, to, progress)| Exporter {
            name: name.clone(),
            to: to.clone(),
            follower: progress.follower(),
        });
        let destinations =
            self.destinations.iter().map(|(shown, progress, deliveries)| relaying::Destination {
                follower: progress.follower(),
                delivered: deliveries.delivered(),
                given_up: deliveries.given_up(),
                ..shown.clone()
            });
        Relaying {
            exporters: exporters.collect(),
            rules: self.rules.clone(),
            watch: self.watch.follower(),
            destinations: destinations.collect(),
        }
    }
}

impl Relay {
    /// Opens what it writes to, and reads how far everything has come. It waits for the disk.
    ///
    /// # Errors
    /// [`RelayError`], which names the file.
    pub fn open(config: Config, ports: Ports) -> Result<Self, RelayError> {
        let Config { store, journal, exporters, rules, destinations, public_url } = config;
        let Ports { ledger, journal: writes, register, gates, clock } = ports;
        kept::make_folder(&store)?;
        let kept = |of: &str| Kept::new(&store, of, &journal);
        let exports = exporters.into_iter().map(|(name, sink)| export(kept, name, sink));
        let exports: Vec<_> = exports.collect::<Result<_, _>>()?;
        let from =
            Sources { register, gates, clock: Arc::clone(&clock), public_url: public_url.into() };
        let told = destinations.into_iter().map(|to| destination(kept, to, from.clone()));
        let told: Vec<_> = told.collect::<Result<_, _>>()?;
        let limits = Rule::ALL.map(|rule| (rule, rules.get(&rule).copied())).to_vec();
        let kept = kept("rules");
        let (cursor, memory) = kept.read::<Memory>()?.unwrap_or_default();
        let progress = Progress::new("the alert rules", cursor.clone());
        let rules = Rules::new(rules, memory);
        let watch = Watch::new(rules, (writes, Arc::clone(&clock)), kept, cursor);
        let parts = if exports.is_empty() { Parts::Members(&READ) } else { Parts::Whole };
        let (exporters, exports) = exports.into_iter().unzip();
        let (destinations, told) = told.into_iter().unzip();
        let watching = Arc::clone(&progress);
        let board = Board { exporters, rules: limits, watch: watching, destinations };
        let feed = Arc::new(Feed::new(Arc::clone(&ledger), parts));
        let (driven, watch) = (Base { feed, ledger, clock }, (progress, watch));
        Ok(Self { driven, exports, watch, told, board: Arc::new(board) })
    }

    /// How it stands, for people to look at.
    #[must_use]
    pub fn status(&self) -> Arc<dyn port::Relay> {
        self.board.clone()
    }

    /// Until it is told to stop; then as far as the journal goes, but no longer than [`STOP_MAX`].
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { driven, exports, watch: (progress, watch), told, board } = self;
        let (token, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for (progress, export) in exports {
            tasks.spawn(driven.by(progress, &token).drive(export));
        }
        for (progress, told) in told {
            tasks.spawn(driven.by(progress, &token).drive(told));
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

/// The members of a header that rules and those who tell people go by. Exporters hand on all of it.
const READ: [&str; 18] = [
    "agent", "alert", "applied", "at", "cause", "code", "count", "draft", "effect", "first",
    "kind", "last", "merged", "seq", "stream", "tenant", "tool", "usual",
];

type Exporting = ((String, String, Arc<Progress>), (Arc<Progress>, Export));

fn export(kept: impl Fn(&str) -> Kept, name: String, sink: Sink) -> Result<Exporting, RelayError> {
    let of = format!("exporter {name}");
    let kept = kept(&of);
    let cursor = kept.read::<()>()?.map_or_else(Cursor::default, |(cursor, ())| cursor);
    let progress = Progress::new(of, cursor.clone());
    let (to, path) = match &sink {
        Sink::File(path) => (path.display().to_string(), path.as_path()),
        Sink::Stdout => ("standard output".to_owned(), Path::new("/dev/stdout")),
    };
    let lines = Lines::open(sink.clone()).map_err(RelayError::file(path))?;
    let export = Export::new((sink, lines), kept, cursor);
    Ok(((name, to, Arc::clone(&progress)), (progress, export)))
}

type Telling = ((relaying::Destination, Arc<Progress>, Arc<Deliveries>), (Arc<Progress>, Notify));

fn destination(
    kept: impl Fn(&str) -> Kept,
    to: Destination,
    from: Sources,
) -> Result<Telling, RelayError> {
    let of = format!("notify {}", to.name);
    let kept = kept(&of);
    let before = kept.read::<Told>()?;
    let cursor = before.as_ref().map_or_else(Cursor::default, |(cursor, _)| cursor.clone());
    let (progress, deliveries) = (Progress::new(of, cursor), Arc::new(Deliveries::default()));
    let shown = relaying::Destination {
        name: to.name.clone(),
        how: to.by.how(),
        drafts: to.drafts,
        alerts: to.alerts,
        follower: progress.follower(),
        delivered: None,
        given_up: 0,
    };
    let notify = Notify::new(to, from, (kept, before), Arc::clone(&deliveries));
    Ok(((shown, Arc::clone(&progress), deliveries), (progress, notify)))
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
