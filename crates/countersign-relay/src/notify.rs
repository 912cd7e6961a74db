//! Who is told: each destination follows the journal by itself, and is sent one message at a time.
//!
//! What cannot be sent is tried again, and what comes after it waits in the journal. A message about a
//! draft is sent only while the draft waits, so that a destination that was away is not told of what is
//! long decided.

use crate::bound::{ATTEMPTS_MAX, NOTIFY_KEPT_EVERY, REFUSED_ATTEMPTS_MAX, TIMERS_MAX};
use crate::feed::Batch;
use crate::follow::{Follow, Stall};
use crate::kept::Kept;
use crate::message::{Message, Stage};
use crate::webhook::{Unsent, Webhook};
use countersign_core::draft::{Draft, State};
use countersign_core::id::{DraftId, TenantId, Timestamp};
use countersign_core::ladder::Gate;
use countersign_core::port::{Clock, Gates, Post, Register, Which};
use countersign_core::reading::{Cursor, Record};
use countersign_core::recipient::Recipient;
use countersign_core::record::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// Where people are told, and of what.
#[derive(Debug)]
pub struct Destination {
    /// Its name: how far it has come is kept under it.
    pub name: String,
    /// How it is reached.
    pub by: Means,
    /// Whether it is told of drafts that wait.
    pub drafts: bool,
    /// Whether it is told of alerts.
    pub alerts: bool,
    /// Of these tenants alone; of all, and of what is of none, without it.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// After how many seconds it is told once more of a draft that waits; half its time without it.
    pub remind_s: Option<u32>,
}

/// How people are told.
#[derive(Debug)]
pub enum Means {
    /// By requests to an address.
    Webhook(Webhook),
    /// By letters to these.
    Letters(Arc<dyn Post>, Vec<Recipient>),
}

impl Means {
    pub(crate) const fn how(&self) -> &'static str {
        match self {
            Self::Webhook(webhook) => webhook.how(),
            Self::Letters(..) => "email",
        }
    }

    async fn send(&self, message: &Message) -> Result<(), Unsent> {
        match self {
            Self::Webhook(webhook) => webhook.send(message).await,
            Self::Letters(post, to) => post.send(message.letter(to)).await.map_err(Unsent::for_now),
        }
    }
}

/// What is known of deliveries, for people to look at.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// When a message was last taken, in microseconds; 0 before there was one.
    delivered: AtomicI64,
    given_up: AtomicU64,
}

impl Deliveries {
    pub(crate) fn delivered(&self) -> Option<Timestamp> {
        let micros = self.delivered.load(Ordering::Relaxed);
        (micros != 0).then_some(Timestamp::from_micros(micros))
    }
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// What a destination keeps beside its place in the journal, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    /// What was recorded before is not told.
    since: i64,
    /// What was due before was told.
    until: i64,
}

/// What telling people takes.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) register: Arc<dyn Register>,
    pub(crate) gates: Arc<dyn Gates>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) public_url: Arc<str>,
}

/// One destination at work.
#[derive(Debug)]
pub(crate) struct Notify {
    to: Destination,
    from: Sources,
    kept: Kept,
    cursor: Cursor,
    told: Told,
    /// What is to be told when, of drafts that may wait then.
    timers: BTreeSet<(Timestamp, DraftId, Stage)>,
    /// Whether the drafts that waited at the start are among them.
    begun: bool,
    /// Of the message that is tried now: which, and how often.
    tried: (String, u32),
    deliveries: Arc<Deliveries>,
    kept_at: Instant,
    moved: bool,
}

impl Notify {
    /// One that was never told anything begins now.
    pub(crate) fn new(
        to: Destination,
        from: Sources,
        (kept, before): (Kept, Option<(Cursor, Told)>),
        deliveries: Arc<Deliveries>,
    ) -> Self {
        let now = from.clock.now().micros();
        // Kept before anything is told: what it could not be told by this process, it is by the next.
        let moved = before.is_none();
        let fresh = || (Cursor::default(), Told { since: now, until: now });
        let (cursor, told) = before.unwrap_or_else(fresh);
        Self {
            to,
            from,
            kept,
            cursor,
            told,
            timers: BTreeSet::new(),
            begun: false,
            tried: (String::new(), 0),
            deliveries,
            kept_at: Instant::now(),
            moved,
        }
    }

    fn concerns(&self, tenant: Option<&TenantId>) -> bool {
        let of = self.to.tenants.as_ref();
        of.is_none_or(|of| tenant.is_some_and(|tenant| of.contains(tenant)))
    }

    // ── what there is to tell ───────────────────────────────────────────────────────────────────

    /// What a record says that this destination is told.
    async fn told_of(&mut self, record: &Record) -> Result<(), Stall> {
        if record.at().micros() < self.told.since {
            return Ok(());
        }
        match record.kind() {
            Some(Kind::Alerted) if self.to.alerts => {
                let tenant = record.text("tenant").and_then(|tenant| TenantId::new(tenant).ok());
                let message = Message::of_alert(record, &self.from.public_url);
                match message.filter(|_| self.concerns(tenant.as_ref())) {
                    Some(message) => self.deliver(&message).await,
                    None => Ok(()),
                }
            }
            Some(Kind::DraftProposed) if self.to.drafts => {
                let draft = record.text("draft").and_then(|draft| DraftId::new(draft).ok());
                let Some(draft) = draft else { return Ok(()) };
                if let Some((draft, gate)) = self.waiting(&draft).await? {
                    self.tell(&draft, gate.as_ref(), Stage::Waits).await?;
                    // What was due before has been said with it.
                    self.expect(&draft, gate.as_ref(), self.from.clock.now().micros());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A draft that this destination is told of, as long as it waits.
    async fn waiting(&self, draft: &DraftId) -> Result<Option<(Draft, Option<Gate>)>, Stall> {
        let draft = self.from.register.draft(draft).await?;
        let now = self.from.clock.now();
        let draft = draft.filter(|draft| {
            draft.state == State::Waiting
                && now < draft.expires
                && self.concerns(Some(&draft.principal.tenant))
        });
        Ok(draft.map(|draft| {
            let gate = self.from.gates.gate(&draft);
            (draft, gate)
        }))
    }

    async fn tell(
        &mut self,
        draft: &Draft,
        gate: Option<&Gate>,
        stage: Stage,
    ) -> Result<(), Stall> {
        let now = self.from.clock.now();
        let message = Message::of_draft((draft, gate), stage, (&self.from.public_url, now));
        self.deliver(&message).await
    }

    /// Notes when it is told of again, as far as that is later than `since`, in microseconds.
    fn expect(&mut self, draft: &Draft, gate: Option<&Gate>, since: i64) {
        let Draft { proposed, expires, id, .. } = draft;
        let half = expires.micros_since(*proposed).div_euclid(2_000_000);
        let remind_s = self.to.remind_s.unwrap_or(u32::try_from(half).unwrap_or(u32::MAX));
        let reminder = (proposed.plus_secs(remind_s), Stage::Reminder);
        let escalated = gate.and_then(|gate| gate.escalates(*proposed));
        let escalated = escalated.map(|(at, _)| (at, Stage::Escalated));
        for (at, stage) in [reminder].into_iter().chain(escalated) {
            let timer = (at, id.clone(), stage);
            if at >= *expires || at.micros() <= since {
                self.timers.remove(&timer);
            } else if self.timers.len() < TIMERS_MAX {
                self.timers.insert(timer);
            }
        }
    }

    /// Takes up the drafts that wait at the start. What of them is still to come in the journal is
    /// noted once, not twice.
    async fn begin(&mut self) -> Result<(), Stall> {
        let mut before = None;
        loop {
            let which = Which { state: Some(State::Waiting), before, ..Which::default() };
            let drafts = self.from.register.drafts(which).await?;
            before = drafts.last().map(|draft| (draft.proposed, Some(draft.id.clone())));
            for draft in &drafts {
                if self.concerns(Some(&draft.principal.tenant)) {
                    let gate = self.from.gates.gate(draft);
                    self.expect(draft, gate.as_ref(), self.told.until);
                }
            }
            if drafts.is_empty() {
                self.begun = true;
                return Ok(());
            }
        }
    }

    /// Tells what is due.
    async fn remind(&mut self) -> Result<(), Stall> {
        let now = self.from.clock.now();
        while let Some((at, draft, stage)) = self.timers.first().filter(|due| due.0 <= now).cloned()
        {
            if let Some((draft, gate)) = self.waiting(&draft).await? {
                self.tell(&draft, gate.as_ref(), stage).await?;
            }
            self.timers.remove(&(at, draft, stage));
            // Those that are due at the same moment come first.
            if self.timers.first().is_none_or(|next| next.0 > at) {
                self.told.until = self.told.until.max(at.micros());
                self.moved = true;
            }
        }
        Ok(())
    }

    // ── sending ─────────────────────────────────────────────────────────────────────────────────

    /// Sends it. What was tried so often that nobody can be there is given up.
    async fn deliver(&mut self, message: &Message) -> Result<(), Stall> {
        if self.tried.0 != message.id {
            self.tried = (message.id.clone(), 0);
        }
        match self.to.by.send(message).await {
            Ok(()) => {
                let now = self.from.clock.now().micros();
                self.deliveries.delivered.store(now, Ordering::Relaxed);
                self.moved = true;
                Ok(())
            }
            Err(Unsent { why, for_good }) => {
                self.tried.1 = self.tried.1.saturating_add(1);
                let most = if for_good { REFUSED_ATTEMPTS_MAX } else { ATTEMPTS_MAX };
                if self.tried.1 < most {
                    return Err(Stall::Sent(why));
                }
                let (name, id) = (&self.to.name, &message.id);
                tracing::error!(name, id, why, "a message is given up: nobody takes it");
                self.deliveries.given_up.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    async fn keep(&mut self) -> Result<(), Stall> {
        let (kept, cursor, told) = (self.kept.clone(), self.cursor.clone(), self.told);
        spawn_blocking(move || kept.write(&cursor, told)).await?.map_err(Stall::Kept)?;
        (self.kept_at, self.moved) = (Instant::now(), false);
        Ok(())
    }

    /// Keeps how far it has come: at once if something was sent, or it would be sent again.
    async fn keep_now_and_then(&mut self) -> Result<(), Stall> {
        let due = self.moved || self.kept_at.elapsed() >= NOTIFY_KEPT_EVERY;
        if due { self.keep().await } else { Ok(()) }
    }
}

impl Follow for Notify {
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    async fn take(&mut self, batch: &Arc<Batch>) -> Result<(), Stall> {
        if self.moved {
            self.keep().await?;
        }
        if self.to.drafts && !self.begun {
            self.begin().await?;
        }
        for record in &batch.records {
            self.told_of(record).await?;
            let next = i64::try_from(record.sequence()).unwrap_or(i64::MAX).saturating_add(1);
            self.cursor.0.insert(record.stream().to_owned(), next);
            if self.moved {
                self.keep().await?;
            }
        }
        if self.cursor != batch.to {
            self.cursor = batch.to.clone();
        }
        self.remind().await?;
        self.keep_now_and_then().await
    }

    async fn end(&mut self) -> Result<(), Stall> {
        self.keep().await
    }
}
