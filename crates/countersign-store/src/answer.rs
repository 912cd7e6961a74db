//! What answers about a journal have in common, wherever the records are found.

use crate::{codec, place};
use countersign_core::bound::{HASTY_S, RECORDS_LISTED_MAX};
use countersign_core::draft::Who;
use countersign_core::id::Timestamp;
use countersign_core::reading::{
    Approver, Calls, Decisions, DraftTally, Line, Record, Search, SessionCall, Span, Waited,
};
use countersign_core::record::Kind;
use serde_json::Value;
use std::cmp::Reverse;

/// As many as may be on a page.
pub(crate) fn limit(asked: Option<u32>) -> usize {
    let limit = asked.unwrap_or(RECORDS_LISTED_MAX).min(RECORDS_LISTED_MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Whether a record is one of those, its session and its place apart.
pub(crate) fn fits(which: &Search, record: &Record) -> bool {
    let Search {
        since,
        until,
        kind,
        agent,
        tenant,
        tool,
        code,
        status,
        call,
        draft,
        session: _,
        alerts,
        before: _,
        limit: _,
    } = which;
    let texts = [
        ("agent", agent),
        ("tenant", tenant),
        ("tool", tool),
        ("code", code),
        ("status", status),
        ("call", call),
        ("draft", draft),
    ];
    since.is_none_or(|since| record.at() >= since)
        && until.is_none_or(|until| record.at() < until)
        && kind.is_none_or(|kind| record.kind() == Some(kind))
        && texts
            .iter()
            .all(|(name, asked)| asked.is_none() || record.text(name) == asked.as_deref())
        && (!alerts || record.text("alert").is_some())
}

/// Whether what became of a call is one of those, its place apart.
pub(crate) fn is_one_of(which: &Calls, line: &Line) -> bool {
    let Calls { since, until, agent, tenant, tool, class, code, before: _, limit: _ } = which;
    let texts =
        [(agent, &line.agent), (tenant, &line.tenant), (tool, &line.tool), (code, &line.code)];
    since.is_none_or(|since| line.at >= since)
        && until.is_none_or(|until| line.at < until)
        && class.is_none_or(|class| line.class == class)
        && texts.iter().all(|(asked, found)| asked.is_none() || asked == found)
}

/// Who a record says did it, unless that was erased.
pub(crate) fn who(record: &Record) -> Option<Who> {
    said(record.bodies.get("person")?.as_str()?.as_bytes())
}

/// The person that a body names.
pub(crate) fn said(body: &[u8]) -> Option<Who> {
    codec::who_back(&serde_json::from_slice(body).ok()?)
}

/// Whether a draft that waited no longer does.
pub(crate) const fn ends(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::DraftApproved
            | Kind::DraftRejected
            | Kind::DraftWithdrawn
            | Kind::DraftExpired
            | Kind::DraftVoid
    )
}

/// A line of a session, with what is in the record of the call's arguments: of one that was carried
/// out, that is its intent.
pub(crate) fn session_call(line: Line, record: &Record, of_arguments: &Record) -> SessionCall {
    let arguments = of_arguments.bodies.get("arguments").cloned();
    SessionCall { line, arguments, rows: record.header.get("rows").and_then(Value::as_u64) }
}

/// When what a record says last was so: of refusals alike, the last of them.
pub(crate) fn last_at(record: &Record) -> Timestamp {
    let last = record.header.get("last").and_then(Value::as_i64);
    last.map_or_else(|| record.at(), Timestamp::from_micros)
}

/// The stream and sequence of the intent that a record is the outcome of.
pub(crate) fn intent_of(record: &Record) -> Option<(&str, u64)> {
    place::intent_of(record.header.get("intent")?)
}

/// By what a person is told from others.
pub(crate) fn known_by(who: &Who) -> (&str, &str) {
    (who.issuer.as_str(), &who.id)
}

/// How somebody decides: the counts of an [`Approver`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deciding {
    pub(crate) decisions: u64,
    approvals: u64,
    hasty: u64,
    unseen: u64,
    stamps: u64,
}

impl Deciding {
    /// They decided on a draft that had waited so long, and had or had not been shown its preview.
    pub(crate) fn decided(&mut self, how: Kind, waited_us: u64, shown: bool) {
        let Self { decisions, approvals, hasty, unseen, stamps } = self;
        let approved = how == Kind::DraftApproved;
        let in_haste = waited_us <= HASTY_S.saturating_mul(1_000_000);
        for (count, so) in [
            (decisions, true),
            (approvals, approved),
            (hasty, approved && in_haste),
            (unseen, approved && !shown),
            (stamps, approved && (in_haste || !shown)),
        ] {
            *count = count.saturating_add(u64::from(so));
        }
    }

    pub(crate) fn of(self, who: Option<Who>) -> Approver {
        let Self { decisions, approvals, hasty, unseen, stamps } = self;
        Approver { who, decisions, approvals, hasty, unseen, stamps }
    }
}

/// Counts what became of drafts.
#[derive(Debug)]
pub(crate) struct Counts {
    span: Span,
    steps: Vec<DraftTally>,
    /// How long those waited that people decided on, by steps.
    waits: Vec<Vec<u64>>,
}

impl Counts {
    pub(crate) fn new(span: Span) -> Self {
        let step = |at| DraftTally {
            at,
            proposed: 0,
            approved: 0,
            rejected: 0,
            ended: 0,
            waiting: 0,
            waited: None,
        };
        let steps: Vec<_> = span.steps().into_iter().map(step).collect();
        Self { span, waits: vec![Vec::new(); steps.len()], steps }
    }

    pub(crate) fn proposed(&mut self, at: Timestamp) {
        if let Some(step) = self.span.step_of(at).and_then(|step| self.steps.get_mut(step)) {
            step.proposed = step.proposed.saturating_add(1);
        }
    }

    /// One that was proposed then ceased to wait at `at`.
    pub(crate) fn ended(&mut self, how: Kind, proposed: Timestamp, at: Timestamp) {
        let Some(number) = self.span.step_of(at) else { return };
        let (Some(step), Some(waits)) = (self.steps.get_mut(number), self.waits.get_mut(number))
        else {
            return;
        };
        let count = match how {
            Kind::DraftApproved => &mut step.approved,
            Kind::DraftRejected => &mut step.rejected,
            _ => &mut step.ended,
        };
        *count = count.saturating_add(1);
        if matches!(how, Kind::DraftApproved | Kind::DraftRejected) {
            waits.push(at.micros_since(proposed));
        }
    }

    /// With how many waited when the span began, and who decided.
    pub(crate) fn into_decisions(
        self,
        waiting: u64,
        (mut approvers, cut): (Vec<Approver>, bool),
    ) -> Decisions {
        let Self { span: _, mut steps, waits } = self;
        let mut waiting = waiting;
        for (step, waits) in steps.iter_mut().zip(&waits) {
            let DraftTally { proposed, approved, rejected, ended, .. } = *step;
            let gone = approved.saturating_add(rejected).saturating_add(ended);
            waiting = waiting.saturating_add(proposed).saturating_sub(gone);
            step.waiting = waiting;
            step.waited = Waited::of(waits.clone());
        }
        let waited = Waited::of(waits.concat());
        approvers.sort_by(|one, other| {
            (Reverse(one.decisions), &one.who).cmp(&(Reverse(other.decisions), &other.who))
        });
        Decisions { steps, waited, approvers, cut }
    }
}
