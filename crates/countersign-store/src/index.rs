//! The index: a second file beside the journal that says where in it to look.
//!
//! ```text
//! journal.db ──► filler: a thread, batch by batch ──► journal.index.db
//!     ▲                                                      ▲
//!     └── what is shown ──────── questions ─── where it is ──┘
//! ```
//!
//! It is made from the journal alone and may be removed at any time; then it is made again. The journal
//! does not know of it, and no call waits for it.

mod ask;
mod block;
mod drafts;
mod file;
mod fill;
mod header;
mod profile;
mod statements;
#[cfg(test)]
mod tests;

use crate::audit::{self, AuditError, Filter, Known, Reader, verify};
use crate::bound::{BREATH, FILLER_CACHE_KIB, INDEX_ROOM_BYTES_MIN, PAUSE, QUESTIONS_MAX, RETRY};
use crate::file::resolve;
use crate::key::PublicKey;
use crate::sqlite::room::bytes_left;
use crate::sqlite::{Config, StoreError};
use crate::witness::Witness;
use ask::Desk;
use countersign_core::id::{AgentId, CallId, Digest, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::{Clock, Eventually, Ledger, Unrecorded};
use countersign_core::reading::{
    Behind, Calls, Chain, Cursor, Decisions, Line, News, Page, Parts, Position, Record, Search,
    SessionCall, Span, Tally, Verified,
};
use fill::Filler;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// A journal and its index, to be asked. The index is filled for as long as this lives.
#[derive(Debug)]
pub struct Index {
    shared: Arc<Shared>,
    /// Whoever waits for one is a request, and of those the gateway has no more than it may.
    turns: Arc<Semaphore>,
    /// Dropped to stop the filler.
    stop: Option<SyncSender<()>>,
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    journal: PathBuf,
    index: PathBuf,
    key: PathBuf,
    clock: Arc<dyn Clock>,
    /// Those that are not in use. No lock is held while one asks.
    desks: Mutex<Vec<Desk>>,
    /// Counts the indexes that this process has found to be this journal's, or made; 0 before there is
    /// one. Nobody is answered from another.
    turn: AtomicU64,
    /// Readers of those who follow the journal that are not in use: as many as have read at once.
    followers: Mutex<Vec<Reader>>,
    /// Somebody who asked found the index damaged.
    doubted: AtomicBool,
    checks: Mutex<Checks>,
}

/// What is known of the journal's verification.
#[derive(Debug, Clone, Default)]
struct Checks {
    under_way: bool,
    last: Option<Verified>,
}

impl Index {
    /// Begins to fill the index of a journal. What is wrong with the index is mended, or else said by
    /// whatever is asked: the journal is written without it.
    ///
    /// # Errors
    /// [`StoreError`] if there is no journal, or no thread to be had.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let journal = resolve(&config.path)?;
        let shared = Arc::new(Shared {
            index: file::index_of(&journal),
            journal,
            key: config.key.clone(),
            clock,
            desks: Mutex::default(),
            turn: AtomicU64::new(0),
            followers: Mutex::default(),
            doubted: AtomicBool::new(false),
            checks: Mutex::default(),
        });
        let (stop, stopped) = sync_channel(0);
        let fills = Arc::clone(&shared);
        let filler = Builder::new()
            .name("journal-index".to_owned())
            .spawn(move || fills.fill(&stopped))
            .map_err(StoreError::file(&shared.index))?;
        let turns = Arc::new(Semaphore::new(QUESTIONS_MAX));
        Ok(Self { shared, turns, stop: Some(stop), filler: Some(filler) })
    }

    /// Asks, on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Desk) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, Unrecorded> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(unavailable)?;
        let shared = Arc::clone(&self.shared);
        let asked = spawn_blocking(move || {
            // Until there is an answer, whoever waits for it.
            let _turn = turn;
            shared.answer(question)
        });
        asked.await.map_err(unavailable)?.map_err(|error| match error {
            AuditError::Database(error) => unavailable(error),
            error => unavailable(error),
        })
    }
}

fn unavailable(error: impl std::fmt::Display) -> Unrecorded {
    Unrecorded::Unavailable(error.to_string())
}

impl Drop for Index {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.filler.take().is_some_and(|filler| filler.join().is_err()) {
            tracing::error!("the filler of the journal's index panicked");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn answer<T>(
        &self,
        question: impl FnOnce(&Desk) -> Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        let turn = self.turn.load(Ordering::Acquire);
        if turn == 0 {
            return Err(AuditError::NotIndexed);
        }
        let kept = locked(&self.desks).pop().filter(|desk| desk.turn == turn);
        let mut desk = kept.map_or_else(|| Desk::open(&self.journal, &self.index, turn), Ok)?;
        let answer = desk.answer(&self.clock, question);
        match &answer {
            Ok(_) => locked(&self.desks).push(desk),
            Err(AuditError::Database(error)) if file::is_damage(error) => {
                self.doubted.store(true, Ordering::Release);
            }
            Err(_) => {}
        }
        answer
    }

    // ── the filler ──────────────────────────────────────────────────────────────────────────────

    fn fill(&self, stop: &Receiver<()>) {
        let mut said = String::new();
        loop {
            let failed = match self.keep_filling(stop) {
                Ok(true) => continue,
                Ok(false) => return,
                Err(error) => error,
            };
            // Once: a disk that is full stays so for a while.
            let what = failed.to_string();
            if what != said {
                tracing::warn!(error = %what, "the journal's index cannot be filled");
                said = what;
            }
            if stop.recv_timeout(RETRY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Fills until it is told to stop, or, with `true`, the index has to be opened again.
    fn keep_filling(&self, stop: &Receiver<()>) -> Result<bool, AuditError> {
        let journal = audit::open(&self.journal)?;
        // It reads every page once or twice, one after the other.
        journal.pragma_update(None, "cache_size", FILLER_CACHE_KIB.saturating_neg())?;
        self.has_room()?;
        let (mut filler, anew) = Filler::open(&self.index, &journal)?;
        if anew || self.turn.load(Ordering::Acquire) == 0 {
            self.turn.fetch_add(1, Ordering::AcqRel);
        }
        loop {
            let pause = if filler.fill(&journal)? { BREATH } else { PAUSE };
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return Ok(false);
            }
            if self.doubted.swap(false, Ordering::AcqRel) || !filler.is_in_place(&self.index) {
                return Ok(true);
            }
            self.has_room()?;
        }
    }

    fn has_room(&self) -> Result<(), AuditError> {
        let left = bytes_left(&self.journal).map_err(StoreError::file(&self.journal))?;
        if left < INDEX_ROOM_BYTES_MIN { Err(AuditError::NoRoom) } else { Ok(()) }
    }

    // ── what needs no index ─────────────────────────────────────────────────────────────────────

    fn follow(
        &self,
        mut cursor: Cursor,
        max: u32,
        parts: Parts,
    ) -> Result<(Vec<Record>, Cursor), AuditError> {
        let filter = Filter { limit: Some(max), ..Filter::default() };
        let records = self.by_reader(|reader| reader.follow(&mut cursor, &filter, parts))?;
        Ok((records, cursor))
    }

    /// Has a reader of the journal read. One that met an error is not used again.
    fn by_reader<T>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        let kept = locked(&self.followers).pop();
        let reader = kept.map_or_else(|| Reader::open(&self.journal), Ok)?;
        let found = read(&reader)?;
        locked(&self.followers).push(reader);
        Ok(found)
    }

    fn chain(&self, desk: &Desk, tenants: &Tenants) -> Result<Chain, AuditError> {
        let (streams, streams_count) = desk.streams()?;
        let Checks { under_way, last } = locked(&self.checks).clone();
        let told = |verified: Verified| match tenants {
            Tenants::All => verified,
            Tenants::Of(_) => Verified { findings: Vec::new(), ..verified },
        };
        let behind = desk.behind(self.clock.now())?;
        let verified = last.map(told);
        Ok(Chain { streams, streams_count, behind, verifying: under_way, verified })
    }

    fn check(&self) -> Verified {
        let begun = self.clock.now();
        let (mut findings, known) = self.known();
        let mut records = 0;
        match verify(&self.journal, &known) {
            Ok(found) => {
                records = found.entries;
                findings.extend(found.findings.iter().map(ToString::to_string));
            }
            Err(error) => findings.push(format!("it cannot be read: {error}")),
        }
        let wrong = u64::try_from(findings.len()).unwrap_or(u64::MAX);
        Verified { begun, ended: self.clock.now(), records, wrong, findings }
    }

    /// What is known from elsewhere, and what is wrong with that.
    fn known(&self) -> (Vec<String>, Known) {
        let mut findings = Vec::new();
        let key = std::fs::read_to_string(PublicKey::beside(&self.key))
            .map_err(|error| error.to_string())
            .and_then(|text| PublicKey::parse(&text).map_err(|error| error.to_string()))
            .map_err(|error| findings.push(format!("the public key beside its own: {error}")));
        let head = Witness::read(&Witness::beside(&self.key))
            .map_err(|error| findings.push(format!("the head beside its key: {error}")));
        let known = Known { key: key.ok(), head: head.ok(), now: Some(self.clock.now()) };
        (findings, known)
    }
}

impl Ledger for Index {
    fn follow(
        &self,
        cursor: Cursor,
        max: u32,
        parts: Parts,
    ) -> Eventually<'_, Result<(Vec<Record>, Cursor), Unrecorded>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let followed = spawn_blocking(move || shared.follow(cursor, max, parts)).await;
            followed.map_err(unavailable)?.map_err(unavailable)
        })
    }

    fn behind(&self, cursor: Cursor) -> Eventually<'_, Result<Behind, Unrecorded>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let asked = move || {
                let now = shared.clock.now();
                shared.by_reader(|reader| reader.behind(&cursor, now))
            };
            spawn_blocking(asked).await.map_err(unavailable)?.map_err(unavailable)
        })
    }

    fn records<'a>(
        &'a self,
        which: Search,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<(Position, Record)>, Unrecorded>> {
        let tenants = tenants.clone();
        Box::pin(self.ask(move |desk| desk.records(&which, &tenants)))
    }

    fn calls<'a>(
        &'a self,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<Line>, Unrecorded>> {
        let tenants = tenants.clone();
        Box::pin(self.ask(move |desk| desk.calls(&which, &tenants)))
    }

    fn calls_after<'a>(
        &'a self,
        position: Position,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<News, Unrecorded>> {
        let tenants = tenants.clone();
        Box::pin(self.ask(move |desk| desk.calls_after(position, &which, &tenants)))
    }

    fn of_call<'a>(
        &'a self,
        call: &'a CallId,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Vec<(Position, Record)>, Unrecorded>> {
        let (call, tenants) = (call.clone(), tenants.clone());
        Box::pin(self.ask(move |desk| desk.of_call(call.as_str(), &tenants)))
    }

    fn of_session<'a>(
        &'a self,
        session: Digest,
        before: Option<Position>,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<SessionCall>, Unrecorded>> {
        let tenants = tenants.clone();
        Box::pin(self.ask(move |desk| desk.of_session(&session, before, &tenants)))
    }

    fn tallies<'a>(
        &'a self,
        span: Span,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Vec<Tally>, Unrecorded>> {
        let tenants = tenants.clone();
        Box::pin(self.ask(move |desk| desk.tallies(span, &which, &tenants)))
    }

    fn decisions<'a>(
        &'a self,
        span: Span,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Decisions, Unrecorded>> {
        let tenants = tenants.clone();
        Box::pin(self.ask(move |desk| desk.decisions(span, &tenants)))
    }

    fn last_seen<'a>(
        &'a self,
        agent: &'a AgentId,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Option<Timestamp>, Unrecorded>> {
        let (agent, tenants) = (agent.clone(), tenants.clone());
        Box::pin(self.ask(move |desk| desk.last_seen(agent.as_str(), &tenants)))
    }

    fn chain<'a>(&'a self, tenants: &'a Tenants) -> Eventually<'a, Result<Chain, Unrecorded>> {
        let (shared, tenants) = (Arc::clone(&self.shared), tenants.clone());
        Box::pin(self.ask(move |desk| shared.chain(desk, &tenants)))
    }

    fn verify(&self) {
        if std::mem::replace(&mut locked(&self.shared.checks).under_way, true) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let checks = move || {
            let verified = shared.check();
            *locked(&shared.checks) = Checks { under_way: false, last: Some(verified) };
        };
        if let Err(error) = Builder::new().name("journal-verify".to_owned()).spawn(checks) {
            tracing::warn!(%error, "the journal cannot be verified: no thread to be had");
            locked(&self.shared.checks).under_way = false;
        }
    }
}
