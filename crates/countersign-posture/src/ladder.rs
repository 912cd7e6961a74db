//! The approval ladder: the company's own steps in `posture.yaml`, and what a tool says of its own.
//! Whatever step a tool can stand on, now or when an exception ends, must have what the step asks for.

use crate::agent::date;
use crate::budget;
use crate::check::{self, CheckAsks, CheckEntry, UndoEntry};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::Code;
use crate::gate::{self, GateEntry, check_person, whole};
use crate::input::Arguments;
use crate::lint;
use crate::node::Span;
use crate::request::Known;
use crate::statement::{Beside, Own, check_whose};
use crate::system::{Dialects, SystemSpec};
use crate::tool::{Asked, Call, EFFECTS, ToolFile, own};
use countersign_core::id::{SystemName, Timestamp};
use countersign_core::ladder::{Affects, Approvers, Budget, Exception, Ladder};
use countersign_core::tool::{Effect, Method, Rung};
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::BTreeSet;

/// The step on which each effect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps([Rung; 4]);

impl Steps {
    /// The effects' own, for a company that does not say otherwise.
    pub(crate) const OWN: Self = Self([
        Effect::Read.rung(),
        Effect::Reversible.rung(),
        Effect::Persistent.rung(),
        Effect::Irreversible.rung(),
    ]);

    /// Of one effect.
    pub(crate) fn of(self, effect: Effect) -> Rung {
        let found = EFFECTS.iter().zip(self.0).find(|((_, of), _)| *of == effect);
        found.map_or(Rung::NAMED, |(_, rung)| rung)
    }
}

/// Reads `ladder:` of `posture.yaml`.
pub(crate) fn decode_steps(decoder: &mut Decoder, item: Item<'_>) -> Steps {
    let Some(mut fields) = decoder.fields(item) else { return Steps::OWN };
    if let Some(owner) = fields.required(decoder, "owner")
        && let Some(text) = decoder.line(owner)
    {
        check_person(decoder, &text, owner.span());
    }
    let steps = EFFECTS.map(|(word, effect)| {
        let own = effect.rung();
        let Some(item) = fields.optional(word) else { return own };
        let raised = raised(decoder, item, own).unwrap_or(own);
        if effect == Effect::Read && raised == Rung::CHECKED {
            let message =
                "a read has nothing to check: it stands on 1, or waits for people on 3 or 4";
            decoder.report(Code::MissingCheck, item.span(), message);
            return own;
        }
        raised
    });
    fields.finish(decoder);
    Steps(steps)
}

/// A step of the ladder, no lower than `least`.
fn raised(decoder: &mut Decoder, item: Item<'_>, least: Rung) -> Option<Rung> {
    let rung = step(decoder, item, 4)?;
    if rung < least {
        let (number, least) = (rung.number(), least.number());
        let message = format!("`{}` is {number}, below the step {least} of the effect", item.name);
        decoder.report(Code::LoweredRung, item.span(), message);
        decoder.help("a tool that is to stand lower says why, by whose leave and until when under `exception`");
        return None;
    }
    Some(rung)
}

fn step(decoder: &mut Decoder, item: Item<'_>, max: i64) -> Option<Rung> {
    decoder.integer(item, 1, max).and_then(|step| u8::try_from(step).ok()).map(Rung::new)
}

/// What a tool's file says of the ladder.
#[derive(Debug)]
pub(crate) struct LadderEntry {
    /// The step it stands on without an exception; `None` without an effect.
    rung: Option<Rung>,
    pub(crate) exception: Option<Spanned<Exception>>,
    pub(crate) gate: Option<GateEntry>,
    check: Option<CheckEntry>,
    undo: Option<UndoEntry>,
    affects: Option<Spanned<Option<Affects>>>,
    /// `None` if something is wrong with it.
    budgets: Option<Vec<Budget>>,
}

/// Reads what `fields`, a tool's, say of the ladder.
pub(crate) fn decode(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
    (effect, steps): (Option<Effect>, Steps),
    (known, sends): (&Known<'_>, Option<bool>),
) -> LadderEntry {
    let company = effect.map(|effect| steps.of(effect));
    let own = fields.optional("rung");
    let own = own.and_then(|item| raised(decoder, item, company.unwrap_or(Rung::UNGATED)));
    let exception = fields.optional("exception").and_then(|item| decode_exception(decoder, item));
    let gate = fields.optional("gate").and_then(|item| gate::decode(decoder, item, known));
    let check = fields.optional("check").map(|item| check::decode(decoder, item, known));
    let undo = fields.optional("undo").map(|item| check::decode_undo(decoder, item, known));
    let affects = fields.optional("affects");
    let affects = affects
        .map(|item| Spanned { value: check::decode_affects(decoder, item), span: item.span() });
    let budgets = fields
        .optional("budget")
        .map_or(Some(Vec::new()), |item| budget::decode(decoder, item, known.arguments, sends));
    LadderEntry {
        rung: company.map(|company| own.map_or(company, |own| own.max(company))),
        exception,
        gate,
        check,
        undo,
        affects,
        budgets,
    }
}

fn decode_exception(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Exception>> {
    let mut fields = decoder.fields(item)?;
    let rung = fields.required(decoder, "rung").and_then(|item| step(decoder, item, 3));
    let reason = fields.required(decoder, "reason").and_then(|item| decoder.line(item));
    let reviewed_by = fields.required(decoder, "reviewed_by").and_then(|item| decoder.line(item));
    let expires = fields.required(decoder, "expires").and_then(|item| date(decoder, item));
    fields.finish(decoder);
    // The first moment of the day: what ends on a day does not hold on it.
    let begins = expires?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let value = Exception {
        rung: rung?,
        reason: reason?,
        reviewed_by: reviewed_by?,
        expires: Timestamp::from_secs(begins.as_second()),
    };
    Some(Spanned { value, span: item.span() })
}

// ── what each step asks for ─────────────────────────────────────────────────────────────────────

/// Checks what a tool says of the ladder against all else that it says, and notes what is bound to its
/// statements. `place` is where its effect is written.
pub(crate) fn check(decoder: &mut Decoder, tool: &mut ToolFile, place: Span, dialects: &Dialects) {
    let mut ladder = std::mem::take(&mut tool.ladder);
    let Some(entry) = &mut ladder else { return };
    if let Some(effect) = tool.effect {
        check_exception(decoder, entry);
        check_reached(decoder, entry, (effect, place), tool.call.asked());
        check_understated(decoder, entry, tool, place);
        check_parts(decoder, entry, (effect, &tool.call));
    }
    check_asked(decoder, entry, tool, dialects);
    tool.ladder = ladder;
}

fn check_exception(decoder: &mut Decoder, entry: &LadderEntry) {
    if let (Some(rung), Some(exception)) = (entry.rung, &entry.exception)
        && exception.value.rung >= rung
    {
        let number = rung.number();
        let message = format!("the tool stands on step {number}, and this exception is no lower");
        decoder.report(Code::IdleException, exception.span, message);
        decoder.help("take `exception` out; `rung` raises a step, and needs no leave");
    }
}

impl LadderEntry {
    /// The steps that the tool stands on, now or later, and where each is written.
    fn reached(&self, place: Span) -> Vec<(Rung, Span)> {
        let exception = self.exception.iter().map(|e| (e.value.rung, e.span));
        self.rung.map(|rung| (rung, place)).into_iter().chain(exception).collect()
    }
}

fn check_reached(
    decoder: &mut Decoder,
    entry: &LadderEntry,
    (effect, place): (Effect, Span),
    by: Option<Asked>,
) {
    let reached = entry.reached(place);
    let unasked = reached.iter().find(|(rung, _)| *rung < Rung::CONFIRMED);
    let asked = reached.iter().find(|(rung, _)| *rung >= Rung::CONFIRMED);
    match (unasked, &entry.check) {
        (Some((Rung::CHECKED, span)), _) if effect == Effect::Read => {
            let message =
                "a read has nothing to check: it stands on 1, or waits for people on 3 or 4";
            decoder.report(Code::MissingCheck, *span, message);
        }
        (Some((_, span)), None) if effect != Effect::Read => {
            let message = "nobody agrees to this effect, and nothing shows that it took place";
            decoder.report(Code::MissingCheck, *span, message);
            decoder.help(match by {
                Some(Asked::Definition) => "what an MCP server did cannot be checked: write `rung: 3` and a `gate`",
                _ => "write a `check`: a statement that selects whether it did, or a request and what its answer must say",
            });
        }
        _ => {}
    }
    let Some(gate) = &entry.gate else {
        if let Some((_, span)) = asked {
            decoder.report(
                Code::GateApprovers,
                *span,
                "nobody is asked before this effect happens",
            );
            decoder.help("name them: `gate: { approvers: { named: [ann@example.com] }, expires: 4h, summary: … }`");
        }
        return;
    };
    let named = reached.iter().any(|(rung, _)| *rung >= Rung::NAMED);
    let escalated = gate.escalation.as_ref().and_then(|escalation| escalation.to.as_ref());
    for approvers in gate.approvers.iter().chain(escalated).filter(|_| named) {
        if let Spanned { value: Approvers::Group { .. }, span } = approvers {
            let message = "the fourth step needs approvers by name, not by group";
            decoder.report(Code::GateApprovers, *span, message);
            decoder.help("write `{ named: [ann@example.com] }`");
        }
    }
    let (span, message) = if asked.is_none() {
        (gate.span, "nobody is asked about a tool that never reaches the third step")
    } else if let Some(decision) = &gate.decision
        && !reached.iter().any(|(rung, _)| *rung == Rung::CONFIRMED)
    {
        let message = "a decision point stands in for people on the third step, and on no other";
        (decision.span, message)
    } else {
        return;
    };
    decoder.report(Code::IdleGate, span, message);
    decoder.help("take it out, or let the tool wait: by its `effect`, or by `rung`");
}

/// Money and deletion stand on the fourth step, whatever the tool calls them.
fn check_understated(decoder: &mut Decoder, entry: &LadderEntry, tool: &ToolFile, place: Span) {
    let changes = tool.effect.is_some_and(|effect| effect != Effect::Read);
    if !changes || entry.rung.is_none_or(|rung| rung >= Rung::NAMED) {
        return;
    }
    let method = tool.call.request.as_ref().and_then(|request| request.plan.as_ref());
    let asked = tool.call.ask.as_ref().and_then(|ask| ask.pinned.as_ref());
    let deletes = tool.call.deletes
        || method.is_some_and(|plan| plan.method == Method::Delete)
        || asked.is_some_and(|(_, name)| lint::deletes(name));
    let message = match (deletes, money(&tool.arguments)) {
        (true, _) => "this deletes, and stands below the fourth step".to_owned(),
        (false, Some(name)) => format!("`{name}` is money, and this stands below the fourth step"),
        (false, None) => return,
    };
    decoder.report(Code::UnderstatedEffect, place, message);
    decoder.help("write `effect: irreversible`, or `rung: 4`; an `exception` to that says why it may stand lower, and until when");
}

/// An argument that is a number and money, at any depth.
fn money(arguments: &Arguments) -> Option<String> {
    let found = |(name, argument): (&String, &crate::input::Argument)| {
        money_in(name, argument.schema.as_ref()?)
    };
    arguments.iter().find_map(found)
}

fn money_in(name: &str, schema: &Value) -> Option<String> {
    match schema.get("type").and_then(Value::as_str)? {
        "integer" | "number" => lint::is_money(name, true).then(|| name.to_owned()),
        "array" => money_in(name, schema.get("items")?),
        "object" => {
            let members = schema.get("properties")?.as_object()?;
            members.iter().find_map(|(name, schema)| money_in(name, schema))
        }
        _ => None,
    }
}

/// Each part is about something.
fn check_parts(decoder: &mut Decoder, entry: &LadderEntry, (effect, call): (Effect, &Call)) {
    let reads = effect == Effect::Read;
    let asked = call.asked();
    let mut idle = |span: Span, message: &str| decoder.report(Code::IdleCheck, span, message);
    if let Some(CheckEntry { span, .. }) = &entry.check {
        if reads {
            idle(*span, "a read changes nothing that could be checked");
        } else if asked == Some(Asked::Message) {
            idle(*span, "nothing can be asked about a message that was sent");
        } else if asked == Some(Asked::Definition) {
            idle(*span, "nothing can be asked about what an MCP server did");
        }
    }
    if let Some(UndoEntry { span, .. }) = &entry.undo {
        if reads {
            idle(*span, "a read changes nothing that could be put back");
        } else if asked.is_some_and(|asked| asked != Asked::Request) {
            idle(
                *span,
                "only requests are put back: a statement is rolled back, a message is sent",
            );
        } else if entry.check.is_none() {
            idle(*span, "an effect is put back when its `check` fails, and there is none");
        }
    }
    if let Some(Spanned { span, .. }) = &entry.affects {
        if reads {
            idle(*span, "a read changes no rows; `rows` under `call` bounds what comes back");
        } else if asked.is_some_and(|asked| asked != Asked::Statement) {
            idle(*span, "only of a statement it is known how many rows it changes");
        }
    }
}

/// What is asked beside the call is of the right kind, and says whose.
fn check_asked(
    decoder: &mut Decoder,
    entry: &mut LadderEntry,
    tool: &ToolFile,
    dialects: &Dialects,
) {
    let own: Vec<Own<'_>> = tool.scope.iter().filter_map(own).collect();
    let bound = tool.scope.iter().filter(|rule| rule.binds).map(|rule| rule.argument.as_str());
    let known: BTreeSet<&str> = tool.arguments.keys().map(String::as_str).chain(bound).collect();
    let system = tool.call.system.as_ref();
    let asked = tool.call.asked();
    let is_other = |kind: Asked| asked.is_some_and(|asked| asked != kind);
    let statement = |decoder: &mut Decoder, beside: &mut Beside, span: Span| {
        if beside.system.is_none() && is_other(Asked::Statement) {
            let message = "this is a statement, and the tool's own system takes none";
            decoder.report(Code::CallSystem, span, message);
        } else if let Some(dialect) =
            beside.system.as_ref().or(system).and_then(|system| dialects.of(&system.value))
        {
            beside.check(decoder, dialect, &known, &own);
        }
    };
    if let Some(gate) = &mut entry.gate
        && let Some(preview) = &mut gate.preview
    {
        statement(decoder, preview, preview.span());
    }
    if matches!(asked, Some(Asked::Message | Asked::Definition)) {
        return; // That there is nothing to check or put back is said already.
    }
    match &mut entry.check {
        Some(CheckEntry { span, asks: Some(CheckAsks::Statement(beside)) }) => {
            statement(decoder, beside, *span);
        }
        Some(CheckEntry { span, asks: Some(CheckAsks::Request { .. }) })
            if is_other(Asked::Request) =>
        {
            let message = "this is a request, and the tool's own system takes none";
            decoder.report(Code::CallSystem, *span, message);
        }
        Some(CheckEntry { span, asks: Some(CheckAsks::Request { read, .. }) }) => {
            let uses = |name: &str| read.names.contains(name);
            check_whose(decoder, *span, ("a check", uses), &own);
        }
        Some(CheckEntry { asks: None, .. }) | None => {}
    }
    if let Some(UndoEntry { span, request: Some(request) }) = &entry.undo {
        let uses = |name: &str| request.names.contains(name);
        check_whose(decoder, *span, ("an undo", uses), &own);
    }
}

/// Puts it together. `None` if anything is wrong with it, which has been said.
pub(crate) fn compile<'a>(
    entry: &LadderEntry,
    file: &ToolFile,
    own: &SystemSpec,
    systems: impl Fn(&SystemName) -> Option<&'a SystemSpec>,
) -> Option<Ladder> {
    let gate = entry.gate.as_ref().map(|gate| {
        let parameters = gate.preview.as_ref().map(|preview| &preview.compiled.parameters);
        let parameters = parameters.map_or_else(Vec::new, |names| file.parameters(names));
        let asked = gate.preview.as_ref().and_then(|preview| preview.system.as_ref());
        match asked {
            Some(system) => gate.compile(Some(systems(&system.value)?), parameters),
            None => gate.compile(Some(own), parameters),
        }
    });
    let check =
        entry.check.as_ref().map(|check| check.compile(own, |names| file.parameters(names)));
    Some(Ladder {
        rung: entry.rung?,
        exception: entry.exception.as_ref().map(|exception| exception.value.clone()),
        gate: whole(gate)?,
        check: whole(check)?,
        affects: entry.affects.as_ref().map_or(Some(Affects::ONE), |affects| affects.value)?,
        undo: whole(entry.undo.as_ref().map(|undo| undo.compile(own)))?,
        budgets: entry.budgets.clone()?,
    })
}
