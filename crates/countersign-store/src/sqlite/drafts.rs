//! The tables of drafts, suspensions, delegations and unknown outcomes: changed in the transaction of the entries
//! that change them, read by a connection of their own.

use crate::codec::{self, Columns};
use crate::desk::{self, Move, Standing};
use crate::sqlite::StoreError;
use countersign_core::absence::Delegation;
use countersign_core::bound::DRAFTS_LISTED_MAX;
use countersign_core::draft::{
    Change, Conflict, Decided, Draft, Outcome, Step, Suspension, Switch, UnknownOutcome,
};
use countersign_core::id::{
    AgentId, CallId, DelegationId, Digest, DraftId, SystemName, TenantId, Timestamp, ToolName,
};
use countersign_core::port::Which;
use countersign_core::record::Entry;
use countersign_core::refusal::Applied;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use serde_json::Value;

/// How long an ended draft is kept, in microseconds.
const KEPT_US: i64 = 30 * 24 * 60 * 60 * 1_000_000;
/// Most drafts forgotten in one sweep.
const FORGOTTEN_MAX: i64 = 1_000;

const COLUMNS: &str = "id, binding, state, proposed, expires, agent, fixed, decided, committed, \
                       outcome, delivered";

/// Makes an entry's changes, in the transaction that it is written in. On a conflict some of them may
/// have been made.
///
/// # Errors
/// The database's own: the transaction cannot be gone on with.
pub(super) fn judge(
    connection: &Connection,
    standing: &mut Standing,
    entry: &Entry,
) -> rusqlite::Result<Result<(), Conflict>> {
    if let Err(conflict) = standing.admit(entry).and_then(|()| desk::spends(entry)) {
        return Ok(Err(conflict));
    }
    if let Some(unknown) = desk::unknown(entry) {
        open(connection, &unknown)?;
    }
    for change in entry.changes() {
        if let Err(conflict) = make(connection, standing, (change, entry.at()))? {
            return Ok(Err(conflict));
        }
    }
    match desk::known(entry) {
        Some((call, applied)) => close(connection, &call, applied, entry.at()),
        None => Ok(Ok(())),
    }
}

/// Whether [`judge`] may change anything for this entry: its caller then has to be able to undo it.
pub(super) fn changes(entry: &Entry) -> bool {
    !entry.changes().is_empty() || desk::tells(entry)
}

fn make(
    connection: &Connection,
    standing: &mut Standing,
    (change, now): (&Change, Timestamp),
) -> rusqlite::Result<Result<(), Conflict>> {
    match change {
        Change::Propose(draft) => propose(connection, draft),
        Change::Move { draft, step, decided, commit, outcome } => {
            let (decided, commit) = (decided.as_ref(), commit.as_ref());
            let by = Move { step: *step, decided, commit, outcome: outcome.as_ref() };
            change_draft(connection, draft, now, |draft| by.take(draft))
        }
        Change::Deliver(draft) => change_draft(connection, draft, now, desk::deliver),
        Change::Suspend(suspension) => {
            if standing.suspend(suspension.clone()) {
                suspend(connection, suspension)?;
            }
            Ok(Ok(()))
        }
        Change::Resume(of) => {
            let resumed = standing.resume(of);
            if resumed.is_ok() {
                connection
                    .prepare_cached("DELETE FROM suspensions WHERE switch = ?1 AND name = ?2")?
                    .execute([of.kind(), of.name()])?;
            }
            Ok(resumed)
        }
        Change::Delegate { delegation, replaces } => {
            let let_in = standing.delegate(delegation, replaces.as_ref());
            if let_in.is_ok() {
                delegate(connection, delegation, replaces.as_ref())?;
            }
            Ok(let_in)
        }
        Change::Return(id) => {
            let given_back = standing.give_back(id);
            if given_back.is_ok() {
                end(connection, id)?;
            }
            Ok(given_back)
        }
        Change::Resolve { call, decided, happened } => {
            resolve(connection, call, (decided, *happened), now)
        }
    }
}

fn propose(connection: &Connection, draft: &Draft) -> rusqlite::Result<Result<(), Conflict>> {
    const LIVE: &str = "state IN ('waiting', 'approved', 'committing', 'unknown')";
    if let Err(conflict) = desk::begins(draft) {
        return Ok(Err(conflict));
    }
    let twin: Option<String> = connection
        .prepare_cached(&format!("SELECT id FROM drafts WHERE binding = ?1 AND {LIVE}"))?
        .query_row([draft.binding.as_bytes()], |row| row.get(0))
        .optional()?;
    if let Some(twin) = twin {
        return Ok(Err(DraftId::new(twin).map_or(Conflict::Full, Conflict::Live)));
    }
    if let Some(taken) = self::draft(connection, &draft.id)? {
        return Ok(Err(Conflict::Draft(Some(taken.state))));
    }
    let theirs: i64 = connection
        .prepare_cached(&format!(
            "SELECT count(*) FROM drafts WHERE agent = ?1 AND tenant = ?2 AND {LIVE}"
        ))?
        .query_row([draft.agent.as_str(), draft.principal.tenant.as_str()], |row| row.get(0))?;
    let all: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM drafts WHERE {LIVE}"))?
        .query_row([], |row| row.get(0))?;
    let live = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
    if let Err(conflict) = desk::fits(live(theirs), live(all)) {
        return Ok(Err(conflict));
    }
    connection
        .prepare_cached(
            "INSERT INTO drafts VALUES
               (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, NULL, NULL, 0, ?4)",
        )?
        .execute(params![
            draft.id.as_str(),
            draft.binding.as_bytes(),
            draft.state.as_str(),
            draft.proposed.micros(),
            draft.expires.micros(),
            draft.principal.tenant.as_str(),
            draft.agent.as_str(),
            codec::fixed(draft),
        ])?;
    Ok(Ok(()))
}

fn change_draft(
    connection: &Connection,
    id: &DraftId,
    now: Timestamp,
    change: impl FnOnce(&mut Draft) -> Result<(), Conflict>,
) -> rusqlite::Result<Result<(), Conflict>> {
    let Some(mut draft) = draft(connection, id)? else { return Ok(Err(Conflict::Draft(None))) };
    if let Err(conflict) = change(&mut draft) {
        return Ok(Err(conflict));
    }
    connection
        .prepare_cached(
            "UPDATE drafts SET state = ?2, decided = ?3, committed = ?4, outcome = ?5,
               delivered = ?6, moved = ?7
             WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            draft.state.as_str(),
            draft.decided.as_ref().map(|decided| codec::decided(decided).to_string()),
            draft.committed.as_ref().map(CallId::as_str),
            draft.outcome.as_ref().map(|outcome| codec::outcome(outcome).to_string()),
            draft.delivered,
            now.micros(),
        ])?;
    Ok(Ok(()))
}

fn suspend(connection: &Connection, suspension: &Suspension) -> rusqlite::Result<()> {
    let Suspension { of, at, by, reason } = suspension;
    connection
        .prepare_cached("INSERT INTO suspensions VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![of.kind(), of.name(), at.micros(), codec::who(by).to_string(), reason])?;
    Ok(())
}

/// As [`Standing::delegate`] has it.
fn delegate(
    connection: &Connection,
    delegation: &Delegation,
    replaces: Option<&DelegationId>,
) -> rusqlite::Result<()> {
    replaces.map_or(Ok(()), |old| end(connection, old))?;
    let Delegation { id, at, until, .. } = delegation;
    connection
        .prepare_cached("DELETE FROM delegations WHERE until <= ?1")?
        .execute([at.micros()])?;
    connection
        .prepare_cached("INSERT INTO delegations VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.as_str(), at.micros(), until.micros(), delegation.terms()])?;
    Ok(())
}

fn end(connection: &Connection, id: &DelegationId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM delegations WHERE id = ?1")?.execute([id.as_str()])?;
    Ok(())
}

fn open(connection: &Connection, unknown: &UnknownOutcome) -> rusqlite::Result<()> {
    let UnknownOutcome { call, at, agent, tenant, tool, system, draft, resolved: _ } = unknown;
    connection
        .prepare_cached(
            "INSERT INTO unknowns VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            call.as_str(),
            at.micros(),
            agent.as_str(),
            tenant.as_str(),
            tool.as_str(),
            system.as_str(),
            draft.as_ref().map(DraftId::as_str),
        ])?;
    Ok(())
}

fn resolve(
    connection: &Connection,
    call: &CallId,
    (decided, happened): (&Decided, bool),
    now: Timestamp,
) -> rusqlite::Result<Result<(), Conflict>> {
    let draft: Option<Option<String>> = connection
        .prepare_cached("SELECT draft FROM unknowns WHERE call = ?1 AND decided IS NULL")?
        .query_row([call.as_str()], |row| row.get(0))
        .optional()?;
    let Some(draft) = draft else { return Ok(Err(Conflict::Nothing)) };
    if let Some(draft) = draft {
        let Ok(draft) = DraftId::new(draft) else { return Ok(Err(Conflict::Draft(None))) };
        let (step, outcome) = desk::resolved(happened);
        let by = Move { step, decided: None, commit: None, outcome: Some(&outcome) };
        let moved = change_draft(connection, &draft, now, |draft| by.take(draft))?;
        if moved.is_err() {
            return Ok(moved);
        }
    }
    connection
        .prepare_cached("UPDATE unknowns SET decided = ?2, happened = ?3 WHERE call = ?1")?
        .execute(params![call.as_str(), codec::decided(decided).to_string(), happened])?;
    Ok(Ok(()))
}

/// An outcome is known: if it was one that nobody knew, it no longer is, and its draft moves on.
fn close(
    connection: &Connection,
    call: &CallId,
    applied: Applied,
    at: Timestamp,
) -> rusqlite::Result<Result<(), Conflict>> {
    let draft: Option<Option<String>> = connection
        .prepare_cached(
            "UPDATE unknowns SET decided = ?2, happened = ?3 WHERE call = ?1 AND decided IS NULL
             RETURNING draft",
        )?
        .query_row(
            params![
                call.as_str(),
                codec::decided(&desk::by_itself(at)).to_string(),
                applied == Applied::Applied
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(Ok(draft)) = draft.flatten().map(DraftId::new) else { return Ok(Ok(())) };
    match change_draft(connection, &draft, at, |draft| desk::late(draft, applied))? {
        Err(Conflict::Draft(None)) => Ok(Ok(())),
        moved => Ok(moved),
    }
}

/// The draft of a call that was cut off, and the effect that nobody knows of.
///
/// # Errors
/// The database's own, or a draft that is somewhere it cannot be.
pub(super) fn cut_off(
    connection: &Connection,
    entry: &Entry,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(unknown) = desk::unknown(entry) {
        open(connection, &unknown)?;
    }
    let draft = entry.member("draft").and_then(Value::as_str).map(DraftId::new);
    let Some(Ok(draft)) = draft else { return Ok(()) };
    let unknown = entry.member("applied").and_then(Value::as_str) == Some("unknown");
    let applied = if unknown { Applied::Unknown } else { Applied::NotApplied };
    let outcome =
        Outcome { applied, code: Some("cut_off".to_owned()), result: None, resolved: false };
    let by = Move { step: Step::of(applied), decided: None, commit: None, outcome: Some(&outcome) };
    let moved = change_draft(connection, &draft, now, |draft| by.take(draft))?;
    moved.map_err(|conflict| {
        StoreError::Tampered(format!("the draft `{draft}` of a call cannot be: {conflict:?}"))
    })
}

/// What stands, as the last process left it.
pub(super) fn standing(connection: &Connection) -> Result<Standing, StoreError> {
    let mut standing = Standing::default();
    suspensions(connection, &mut standing)?;
    let mut statement = connection.prepare("SELECT id, at, until, terms FROM delegations")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, terms): (String, String) = (row.get(0)?, row.get(3)?);
        let times = (Timestamp::from_micros(row.get(1)?), Timestamp::from_micros(row.get(2)?));
        let kept = codec::delegation(&id, times, &terms);
        let kept = kept.and_then(|delegation| standing.restore(delegation));
        kept.ok_or_else(|| StoreError::Tampered(format!("the delegation `{id}`")))?;
    }
    Ok(standing)
}

fn suspensions(connection: &Connection, standing: &mut Standing) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare("SELECT switch, name, at, who, reason FROM suspensions")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name, who): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        // INVARIANT: what cannot be read is not left out, or it would be switched on.
        let unreadable = || StoreError::Tampered(format!("the suspension of {kind} `{name}`"));
        let who = codec::parse(&who).map(Value::Object);
        standing.suspend(Suspension {
            of: Switch::parse(&kind, &name).ok_or_else(unreadable)?,
            at: Timestamp::from_micros(row.get(2)?),
            by: who.as_ref().and_then(codec::who_back).ok_or_else(unreadable)?,
            reason: row.get(4)?,
        });
    }
    Ok(())
}

/// Forgets drafts that ended long ago, and unknown outcomes that were resolved as long ago. What has not
/// expired is kept, whenever it ended: a rejection answers the same call until then.
pub(super) fn sweep(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.micros().saturating_sub(KEPT_US);
    connection.execute(
        "DELETE FROM drafts WHERE id IN (SELECT id FROM drafts
           WHERE state IN ('executed', 'failed', 'rejected', 'withdrawn', 'expired', 'void')
             AND expires < ?1 AND moved < ?1 LIMIT ?2)",
        [before, FORGOTTEN_MAX],
    )?;
    connection.execute(
        "DELETE FROM unknowns WHERE call IN (SELECT call FROM unknowns
           WHERE decided IS NOT NULL AND json_extract(decided, '$.at') < ?1 LIMIT ?2)",
        [before, FORGOTTEN_MAX],
    )?;
    Ok(())
}

// ── reading ─────────────────────────────────────────────────────────────────────────────────────

pub(super) fn draft(connection: &Connection, id: &DraftId) -> rusqlite::Result<Option<Draft>> {
    read_one(connection, "WHERE id = ?1", &[&id.as_str()])
}

pub(super) fn latest(connection: &Connection, binding: &Digest) -> rusqlite::Result<Option<Draft>> {
    // In the order of the journal: one proposed by a call that began earlier may come later.
    let latest = "WHERE binding = ?1 ORDER BY rowid DESC LIMIT 1";
    read_one(connection, latest, &[binding.as_bytes()])
}

pub(super) fn listed(connection: &Connection, which: &Which) -> rusqlite::Result<Vec<Draft>> {
    let Which { tenant, agent, state, before } = which;
    // The first half bounds where the index is begun.
    let mut condition = "WHERE proposed <= ?1 AND (proposed < ?1 OR id < ?2)".to_owned();
    let (at, id) = match before {
        Some((at, id)) => (at.micros(), id.as_ref().map_or("", DraftId::as_str)),
        None => (i64::MAX, ""),
    };
    let (tenant, agent) =
        (tenant.as_ref().map(TenantId::as_str), agent.as_ref().map(AgentId::as_str));
    let state = state.map(countersign_core::draft::State::as_str);
    let mut values: Vec<&dyn ToSql> = vec![&at, &id];
    for (column, value) in [("tenant", &tenant), ("agent", &agent), ("state", &state)] {
        if value.is_some() {
            values.push(value);
            condition.push_str(&format!(" AND {column} = ?{}", values.len()));
        }
    }
    let listed = format!("{condition} ORDER BY proposed DESC, id DESC LIMIT {DRAFTS_LISTED_MAX}");
    read(connection, &listed, &values)
}

pub(super) fn due(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Draft>> {
    let due = format!(
        "WHERE state = 'approved' OR (state = 'waiting' AND expires <= ?1)
         ORDER BY expires LIMIT {DRAFTS_LISTED_MAX}"
    );
    read(connection, &due, &[&now.micros()])
}

fn read_one(
    connection: &Connection,
    which: &str,
    values: &[&dyn ToSql],
) -> rusqlite::Result<Option<Draft>> {
    Ok(read(connection, which, values)?.into_iter().next())
}

fn read(
    connection: &Connection,
    which: &str,
    values: &[&dyn ToSql],
) -> rusqlite::Result<Vec<Draft>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM drafts {which}"))?;
    let rows = statement.query_map(values, |row| {
        let columns = Columns {
            id: row.get(0)?,
            binding: row.get(1)?,
            state: row.get(2)?,
            proposed: row.get(3)?,
            expires: row.get(4)?,
            agent: row.get(5)?,
            fixed: row.get(6)?,
            decided: row.get(7)?,
            committed: row.get(8)?,
            outcome: row.get(9)?,
            delivered: row.get(10)?,
        };
        codec::draft(columns).ok_or_else(|| unreadable("a draft"))
    })?;
    rows.collect()
}

pub(super) fn unknown(
    connection: &Connection,
    resolved: bool,
) -> rusqlite::Result<Vec<UnknownOutcome>> {
    let which = if resolved { "" } else { "WHERE decided IS NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT call, at, agent, tenant, tool, system, draft, decided, happened FROM unknowns
         {which} ORDER BY at DESC, call DESC LIMIT {DRAFTS_LISTED_MAX}"
    ))?;
    let rows = statement
        .query_map([], |row| outcome_of(row)?.ok_or_else(|| unreadable("an unknown outcome")))?;
    rows.collect()
}

fn outcome_of(row: &Row<'_>) -> rusqlite::Result<Option<UnknownOutcome>> {
    let text = |column: usize| row.get::<_, String>(column);
    let (call, agent, tenant) =
        (CallId::new(text(0)?), AgentId::new(text(2)?), TenantId::new(text(3)?));
    let (tool, system) = (ToolName::new(text(4)?), SystemName::new(text(5)?));
    let draft = row.get::<_, Option<String>>(6)?.map(DraftId::new).transpose();
    let (decided, happened): (Option<String>, Option<bool>) = (row.get(7)?, row.get(8)?);
    let decided = decided.and_then(|text| codec::decided_back(&codec::parse(&text)?.into()));
    let (Ok(call), Ok(agent), Ok(tenant), Ok(tool), Ok(system), Ok(draft)) =
        (call, agent, tenant, tool, system, draft)
    else {
        return Ok(None);
    };
    let at = Timestamp::from_micros(row.get(1)?);
    let resolved = decided.zip(happened);
    Ok(Some(UnknownOutcome { call, at, agent, tenant, tool, system, draft, resolved }))
}

fn unreadable(what: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(0, what.to_owned(), rusqlite::types::Type::Text)
}
