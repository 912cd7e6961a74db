//! What is asked of a journal, answered by going through all of it: slow, and plain enough to be what
//! the index is measured against. A journal in memory is read in no other way.

use crate::answer::{
    Counts, Deciding, ends, fits, intent_of, is_one_of, known_by, last_at, limit, session_call, who,
};
use countersign_core::bound::{
    APPROVERS_LISTED_MAX, NEWS_COUNTED_MAX, RECORDS_OF_CALL_MAX, STREAMS_LISTED_MAX,
};
use countersign_core::chain::GENESIS;
use countersign_core::draft::Who;
use countersign_core::id::{AgentId, CallId, Digest, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::{Eventually, Ledger, Unrecorded};
use countersign_core::reading::{
    Behind, Calls, Chain, Class, Cursor, Decisions, Line, News, Page, Parts, Position, Record,
    Search, SessionCall, Span, StreamEnd, Tally, session,
};
use countersign_core::record::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

/// Records, to be asked as a journal is.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    records: Vec<(Position, Record)>,
    /// Where a record of this stream and sequence is among them.
    places: BTreeMap<(String, u64), usize>,
    /// The intents that have an outcome.
    ended: BTreeSet<(String, u64)>,
}

/// A draft that was proposed, and the record with which it ceased to wait.
struct Proposal<'a> {
    at: Timestamp,
    tenant: Option<&'a str>,
    end: Option<(Position, &'a Record)>,
}

impl Scan {
    /// Of records in the order of the journal.
    #[must_use]
    pub fn of(records: Vec<(Position, Record)>) -> Self {
        let place = |(at, (_, record)): (usize, &(Position, Record))| (name(record), at);
        let places = records.iter().enumerate().map(place).collect();
        let intent = |(_, record): &(Position, Record)| {
            intent_of(record).map(|(stream, sequence)| (stream.to_owned(), sequence))
        };
        let ended = records.iter().filter_map(intent).collect();
        Self { records, places, ended }
    }

    /// Those that such readers may see, newest first.
    fn seen<'a>(
        &'a self,
        tenants: &'a Tenants,
    ) -> impl Iterator<Item = (Position, &'a Record)> + 'a {
        let records = self.records.iter().rev().map(|(position, record)| (*position, record));
        records.filter(|(_, record)| tenants.see(record.text("tenant")))
    }

    fn intent_of(&self, record: &Record) -> Option<&Record> {
        let (stream, sequence) = intent_of(record)?;
        let at = self.places.get(&(stream.to_owned(), sequence))?;
        self.records.get(*at).map(|(_, intent)| intent)
    }

    fn session_of(&self, record: &Record) -> Option<Digest> {
        session(record).or_else(|| session(self.intent_of(record)?))
    }

    /// What became of calls, newest first.
    fn lines<'a>(
        &'a self,
        which: &'a Calls,
        tenants: &'a Tenants,
    ) -> impl Iterator<Item = (Line, &'a Record)> + 'a {
        self.seen(tenants).filter_map(|(position, record)| {
            let line = Line::of(position, record)?;
            let stale = line.class == Class::UnderWay && self.ended.contains(&name(record));
            (!stale && is_one_of(which, &line)).then_some((line, record))
        })
    }

    /// How many drafts there are, and what is known of each.
    fn proposals(&self) -> BTreeMap<&str, Proposal<'_>> {
        let mut proposals = BTreeMap::new();
        for (position, record) in &self.records {
            let (Some(draft), Some(kind)) = (record.text("draft"), record.kind()) else { continue };
            if kind == Kind::DraftProposed {
                let (at, tenant) = (record.at(), record.text("tenant"));
                proposals.entry(draft).or_insert(Proposal { at, tenant, end: None });
            } else if ends(kind)
                && let Some(proposal) = proposals.get_mut(draft)
            {
                proposal.end.get_or_insert((*position, record));
            }
        }
        proposals
    }

    fn counted(&self, span: Span, tenants: &Tenants) -> Decisions {
        let (mut counts, mut waiting) = (Counts::new(span), 0_u64);
        let mut people: BTreeMap<_, (Deciding, Position, Option<Who>)> = BTreeMap::new();
        for (draft, Proposal { at, tenant, end }) in self.proposals() {
            if !tenants.see(tenant) {
                continue;
            }
            counts.proposed(at);
            let ended = end.map_or(Timestamp::from_micros(i64::MAX), |(_, end)| end.at());
            let waited = at < span.since() && ended >= span.since();
            waiting = waiting.saturating_add(u64::from(waited));
            let Some((position, end)) = end else { continue };
            let Some(how) = end.kind() else { continue };
            counts.ended(how, at, ended);
            let decision = matches!(how, Kind::DraftApproved | Kind::DraftRejected);
            if !decision || span.step_of(ended).is_none() {
                continue;
            }
            let who = who(end);
            let person = |who: &Who| {
                let (issuer, id) = known_by(who);
                (issuer.to_owned(), id.to_owned())
            };
            let key = who.as_ref().map(person);
            let shown = |(at, record): &(Position, Record)| {
                *at < position
                    && record.kind() == Some(Kind::DraftPreviewed)
                    && record.text("draft") == Some(draft)
                    && self::who(record).as_ref().map(person) == key
            };
            let seen = key.is_some() && self.records.iter().any(shown);
            let theirs = people.entry(key).or_insert((Deciding::default(), position, None));
            theirs.0.decided(how, ended.micros_since(at), seen);
            if position >= theirs.1 {
                (theirs.1, theirs.2) = (position, who);
            }
        }
        let cut = people.len() > APPROVERS_LISTED_MAX;
        let approvers = people.into_values().map(|(deciding, _, who)| deciding.of(who));
        counts.into_decisions(waiting, (approvers.collect(), cut))
    }
}

/// Its stream and sequence.
fn name(record: &Record) -> (String, u64) {
    (record.stream().to_owned(), record.sequence())
}

fn answer<'a, T: Send + 'a>(answer: T) -> Eventually<'a, Result<T, Unrecorded>> {
    Box::pin(ready(Ok(answer)))
}

/// The first so many, and whether there are others.
fn page<T>(
    items: impl Iterator<Item = T>,
    asked: Option<u32>,
    position: impl Fn(&T) -> Position,
) -> Page<T> {
    let mut items = items.peekable();
    let shown: Vec<T> = items.by_ref().take(limit(asked)).collect();
    let next = items.peek().and_then(|_| shown.last().map(position));
    Page { items: shown, next }
}

impl Ledger for Scan {
    fn follow(
        &self,
        cursor: Cursor,
        max: u32,
        _parts: Parts,
    ) -> Eventually<'_, Result<(Vec<Record>, Cursor), Unrecorded>> {
        let mut cursor = cursor;
        let mut found = Vec::new();
        for (_, record) in &self.records {
            let next = cursor.0.entry(record.stream().to_owned()).or_default();
            let sequence = i64::try_from(record.sequence()).unwrap_or(i64::MAX);
            if sequence >= *next && found.len() < usize::try_from(max).unwrap_or(usize::MAX) {
                *next = sequence.saturating_add(1);
                found.push(record.clone());
            }
        }
        answer((found, cursor))
    }

    fn behind(&self, cursor: Cursor) -> Eventually<'_, Result<Behind, Unrecorded>> {
        let left = self.records.iter().filter(|(_, record)| {
            let next = cursor.0.get(record.stream()).copied().unwrap_or(0);
            i64::try_from(record.sequence()).is_ok_and(|sequence| sequence >= next)
        });
        let ats: Vec<_> = left.map(|(_, record)| record.at()).collect();
        // It has no clock but the last record's.
        let ends = ats.first().zip(ats.last());
        let micros = ends.map_or(0, |(first, last)| last.micros_since(*first));
        answer(Behind { records: u64::try_from(ats.len()).unwrap_or(u64::MAX), micros })
    }

    fn records<'a>(
        &'a self,
        which: Search,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<(Position, Record)>, Unrecorded>> {
        let fitting = self.seen(tenants).filter(|(position, record)| {
            which.before.is_none_or(|before| *position < before)
                && fits(&which, record)
                && which.session.is_none_or(|asked| self.session_of(record) == Some(asked))
        });
        let found = fitting.map(|(position, record)| (position, record.clone()));
        answer(page(found, which.limit, |(position, _)| *position))
    }

    fn calls<'a>(
        &'a self,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<Line>, Unrecorded>> {
        let before = |line: &Line| which.before.is_none_or(|before| line.position < before);
        let lines = self.lines(&which, tenants).map(|(line, _)| line).filter(before);
        answer(page(lines, which.limit, |line| line.position))
    }

    fn calls_after<'a>(
        &'a self,
        position: Position,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<News, Unrecorded>> {
        let mut lines: Vec<_> = self
            .lines(&which, tenants)
            .map(|(line, _)| line)
            .take_while(|line| line.position > position)
            .collect();
        let more = lines.len().saturating_sub(limit(which.limit));
        lines.truncate(limit(which.limit));
        let last = self.records.last().map_or(position, |(last, _)| *last);
        let more = u64::try_from(more).unwrap_or(u64::MAX).min(NEWS_COUNTED_MAX);
        answer(News { lines, more, position: position.max(last) })
    }

    fn of_call<'a>(
        &'a self,
        call: &'a CallId,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Vec<(Position, Record)>, Unrecorded>> {
        let of =
            self.seen(tenants).filter(|(_, record)| record.text("call") == Some(call.as_str()));
        let most = usize::try_from(RECORDS_OF_CALL_MAX).unwrap_or(usize::MAX);
        let mut records: Vec<_> =
            of.take(most).map(|(position, record)| (position, record.clone())).collect();
        records.reverse();
        answer(records)
    }

    fn of_session<'a>(
        &'a self,
        session: Digest,
        before: Option<Position>,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<SessionCall>, Unrecorded>> {
        let any = Calls::default();
        let lines = self.lines(&any, tenants).filter(|(line, record)| {
            before.is_none_or(|before| line.position < before)
                && self.session_of(record) == Some(session)
        });
        let calls = lines.map(|(line, record)| {
            session_call(line, record, self.intent_of(record).unwrap_or(record))
        });
        answer(page(calls, None, |call| call.line.position))
    }

    fn tallies<'a>(
        &'a self,
        span: Span,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Vec<Tally>, Unrecorded>> {
        let mut tallies: Vec<_> = span.steps().into_iter().map(Tally::empty).collect();
        let which = Calls { since: None, until: None, ..which };
        for (line, _) in self.lines(&which, tenants) {
            if let Some(tally) = span.step_of(line.at).and_then(|step| tallies.get_mut(step)) {
                tally.count(line.class, line.code.as_deref(), line.count);
            }
        }
        answer(tallies)
    }

    fn decisions<'a>(
        &'a self,
        span: Span,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Decisions, Unrecorded>> {
        answer(self.counted(span, tenants))
    }

    fn last_seen<'a>(
        &'a self,
        agent: &'a AgentId,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Option<Timestamp>, Unrecorded>> {
        let made = |(_, record): &(Position, &Record)| {
            record.text("agent") == Some(agent.as_str())
                && matches!(
                    record.kind(),
                    Some(Kind::Intent | Kind::Refusal | Kind::DraftProposed | Kind::DraftDelivered)
                )
        };
        answer(self.seen(tenants).find(made).map(|(_, record)| last_at(record)))
    }

    fn chain<'a>(&'a self, _tenants: &'a Tenants) -> Eventually<'a, Result<Chain, Unrecorded>> {
        let mut streams: BTreeMap<&str, (Position, StreamEnd)> = BTreeMap::new();
        for (position, record) in &self.records {
            let end = StreamEnd {
                stream: record.stream().to_owned(),
                sequence: record.sequence(),
                // A record as it is read does not know its own.
                hash: GENESIS,
                closed: record.kind() == Some(Kind::StreamClosed),
            };
            streams.insert(record.stream(), (*position, end));
        }
        let streams_count = u64::try_from(streams.len()).unwrap_or(u64::MAX);
        let mut streams: Vec<_> = streams.into_values().collect();
        streams.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
        let most = usize::try_from(STREAMS_LISTED_MAX).unwrap_or(usize::MAX);
        let streams = streams.into_iter().take(most).map(|(_, end)| end).collect();
        let behind = Behind::default();
        answer(Chain { streams, streams_count, behind, verifying: false, verified: None })
    }

    /// There is no chain to follow.
    fn verify(&self) {}
}
