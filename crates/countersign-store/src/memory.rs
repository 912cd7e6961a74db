//! The journal without a disk: the reference for what the port promises while a process lives,
//! and what the tests of other crates write into.

use crate::desk::Desk;
use crate::place::{Head, Placed, Placer};
use crate::refusals::{Noted, Refusals};
use crate::scan::Scan;
use countersign_core::absence::Delegations;
use countersign_core::draft::{Draft, Reach, Suspension, UnknownOutcome};
use countersign_core::id::{Digest, DraftId, Timestamp};
use countersign_core::port::{
    Clock, Entropy, Eventually, Journal, Receipt, Refused, Register, Unrecorded, Which,
};
use countersign_core::quota::{Charge, Counter, LimitReached, Meter, Reservation};
use countersign_core::reading::{Position, Record};
use countersign_core::record::Entry;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Its stream's name.
const STREAM: &str = "memory";

/// A journal in memory. Nothing in it survives; what is read from it is what was appended.
#[derive(Debug)]
pub struct MemoryJournal {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    refusals: Refusals,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    meter: Meter,
    head: Option<Head>,
    records: Vec<Record>,
    desk: Desk,
    /// Why nothing can be written, if a test said so.
    broken: Option<String>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let (refusals, state) = (Refusals::default(), Mutex::default());
        Self { clock, entropy, refusals, state }
    }

    /// From now on nothing can be written, because of `why`; with `None`, it can again.
    pub fn break_with(&self, why: Option<&str>) {
        self.state().broken = why.map(str::to_owned);
    }

    /// What has been written so far, in order. Repeated refusals appear when their minute is over.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let (due, _owed) = self.refusals.due(self.clock.now());
        self.write_refusals(due);
        self.state().records.clone()
    }

    /// What has been written so far, to be asked as a journal is.
    #[must_use]
    pub fn ledger(&self) -> Scan {
        let places = (0..).map(Position::from_number);
        Scan::of(places.zip(self.records()).collect())
    }

    /// Writes the refusals that are waiting for repeats, as closing does.
    pub fn close(&self) {
        let (all, _owed) = self.refusals.all(self.clock.now());
        self.write_refusals(all);
    }

    fn write_refusals(&self, refusals: Vec<Noted>) {
        for noted in refusals {
            let (entry, _, _) = noted.into_entry();
            if let Err(error) = self.write(entry) {
                tracing::error!(%error, "a refusal could not be recorded");
            }
        }
    }

    fn write(&self, entry: Entry) -> Result<Receipt, Unrecorded> {
        let state = &mut *self.state();
        if let Some(why) = &state.broken {
            return Err(Unrecorded::Unavailable(why.clone()));
        }
        let mut desk = state.desk.clone();
        desk.judge(&entry).map_err(Unrecorded::Refused)?;
        let mut placer =
            Placer { stream: STREAM, epoch: 1, head: state.head, entropy: &*self.entropy };
        let Placed { head, header, bodies, .. } =
            placer.place(entry).map_err(Unrecorded::Unavailable)?;
        let members = serde_json::from_slice(&header).unwrap_or_default();
        state.head = Some(head);
        state.desk = desk;
        let bodies = bodies.into_iter().map(|body| (body.field.to_owned(), body.bytes));
        state.records.push(Record::new(members, bodies));
        Ok(Receipt { stream: STREAM.into(), sequence: head.sequence, hash: head.hash })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn reserve(&self, counters: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached> {
        self.state().meter.reserve(counters, now)
    }

    fn append(&self, entry: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>> {
        let verdict = self.write(entry);
        Box::pin(ready(verdict))
    }

    fn spent(&self, counter: &Counter, now: Timestamp) -> u64 {
        self.state().meter.spent(counter, now)
    }

    fn give_back(&self, charges: &[Charge]) {
        self.state().meter.give_back(charges);
    }

    fn note(&self, refused: Refused) {
        self.refusals.note(refused);
    }
}

impl Register for MemoryJournal {
    fn moved(&self) -> u64 {
        self.state().records.len() as u64
    }

    fn suspended(&self, reach: &Reach<'_>) -> Option<Suspension> {
        self.state().desk.standing.suspended(reach)
    }

    fn suspensions(&self) -> Vec<Suspension> {
        self.state().desk.standing.suspensions()
    }

    fn delegations(&self) -> Arc<Delegations> {
        self.state().desk.standing.delegations()
    }

    fn draft<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        let draft = self.state().desk.draft(id);
        Box::pin(ready(Ok(draft)))
    }

    fn latest(&self, binding: Digest) -> Eventually<'_, Result<Option<Draft>, Unrecorded>> {
        let draft = self.state().desk.latest(&binding);
        Box::pin(ready(Ok(draft)))
    }

    /// As it is: nobody else moves it while a test asks.
    fn settled<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        self.draft(id)
    }

    fn drafts(&self, which: Which) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        let drafts = self.state().desk.listed(&which);
        Box::pin(ready(Ok(drafts)))
    }

    fn due(&self, now: Timestamp) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        let due = self.state().desk.due(now);
        Box::pin(ready(Ok(due)))
    }

    fn unknown(&self, resolved: bool) -> Eventually<'_, Result<Vec<UnknownOutcome>, Unrecorded>> {
        let unknown = self.state().desk.unknown(resolved);
        Box::pin(ready(Ok(unknown)))
    }
}
