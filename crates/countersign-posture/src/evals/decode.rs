//! `evals/NAME.yaml` → cases.

use super::{
    CallStep, Caller, CannedAnswer, Case, CaseDoor, CaseKind, DecideStep, Equivalent, Expect, Goal,
    JOURNAL, Known, Person, Plant, StandInStep, Step, Token, text,
};
use crate::bound::{
    DESCRIPTION_BYTES_MAX, EVAL_CASES_MAX, EVAL_SIGNED_IN_S_MAX, EVAL_STEPS_MAX,
    EVAL_TEXT_BYTES_MAX, EVAL_TIMES_MAX, EVAL_WAIT_MS_MAX, ROWS_MAX,
};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::{Code, Place};
use crate::gate::DURATIONS as SPANS;
use crate::node::{Entry, Kind, Node, Span};
use crate::system::DURATIONS;
use countersign_core::call::CHECK_DRAFT;
use countersign_core::id::ToolName;
use countersign_core::tool::Method;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(crate) const KINDS: [(&str, CaseKind); 7] = [
    ("normal", CaseKind::Normal),
    ("cross-tenant", CaseKind::CrossTenant),
    ("injection", CaseKind::Injection),
    ("malformed", CaseKind::Malformed),
    ("approval", CaseKind::Approval),
    ("limits", CaseKind::Limits),
    ("failure", CaseKind::Failure),
];
pub(crate) const DOORS: [(&str, CaseDoor); 2] = [("mcp", CaseDoor::Mcp), ("http", CaseDoor::Http)];
pub(crate) const TOKENS: [(&str, Token); 5] = [
    ("valid", Token::Valid),
    ("missing", Token::Missing),
    ("forged", Token::Forged),
    ("expired", Token::Expired),
    ("other-audience", Token::OtherAudience),
];

/// How a step may end: a call's codes, then those of what people decide.
pub(crate) const ENDS: [&str; 47] = [
    "completed",
    "refused",
    "unauthenticated",
    "insufficient_scope",
    "unknown_tool",
    "rate_limited",
    "invalid_arguments",
    "out_of_scope",
    "forbidden",
    "undecided",
    "lookup_failed",
    "over_budget",
    "suspended",
    "approval_required",
    "rejected",
    "executed",
    "commit_failed",
    "outcome_unknown",
    "withdrawn",
    "expired",
    "void",
    "unknown_draft",
    "outside_approval",
    "too_many_drafts",
    "stale",
    "conflict",
    "journal_unavailable",
    "system_unavailable",
    "system_timed_out",
    "system_failed",
    "system_busy",
    "post_condition_failed",
    "withheld",
    "too_large",
    "malformed",
    "approved",
    "committing",
    "failed",
    "unknown",
    "waiting",
    "malformed_request",
    "bad_reason",
    "stale_sign_in",
    "not_entitled",
    "not_found",
    "overtaken",
    "unanswered",
];

/// A file of cases, as it is written.
pub(super) struct EvalFile {
    pub(super) answers: Vec<Spanned<CannedAnswer>>,
    pub(super) cases: Vec<Written>,
    pub(super) equivalents: Vec<Equivalent>,
}

/// A case, and where it names what.
pub(super) struct Written {
    case: Option<Case>,
    names: Vec<(Named, String, Span)>,
}

impl Written {
    pub(super) fn into_case(self) -> Option<Case> {
        self.case
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Agent,
    Tool,
    System,
    Attribute,
}

impl EvalFile {
    /// Names that lead nowhere. What an agent calls may well be a tool that there is not.
    pub(super) fn check(&self, decoder: &mut Decoder, known: &Known) {
        for Spanned { value, span } in &self.answers {
            unknown(decoder, known, (Named::System, &value.system, *span));
        }
        for (what, name, span) in self.cases.iter().flat_map(|case| &case.names) {
            unknown(decoder, known, (*what, name, *span));
        }
    }
}

fn unknown(decoder: &mut Decoder, known: &Known, (what, name, span): (Named, &str, Span)) {
    let (names, code, kind) = match what {
        Named::Agent => (&known.agents, Code::UnknownAgent, "agent"),
        Named::Tool => (&known.tools, Code::UnknownTool, "tool"),
        Named::System => (&known.systems, Code::UnknownSystem, "system"),
        Named::Attribute => (&known.attributes, Code::UnknownCaller, "attribute"),
    };
    let built_in = what == Named::Tool && name == CHECK_DRAFT;
    if !built_in && !names.contains(name) {
        decoder.report(code, span, format!("there is no {kind} `{name}`"));
        decoder.helped(Known::near(names, name));
    }
}

pub(super) fn file(decoder: &mut Decoder) -> Option<EvalFile> {
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the suite", node: &node })?;
    let suite = fields.required(decoder, "suite").and_then(|item| named(decoder, item));
    if let Some(Spanned { value, span }) = &suite {
        decoder.named_after_file(value, *span);
    }
    fields.optional("about").and_then(|item| decoder.text(item, DESCRIPTION_BYTES_MAX));
    let mut names = Vec::new();
    let caller = fields.optional("caller");
    let caller = caller.and_then(|item| caller_of(decoder, item, (&Caller::default(), &mut names)));
    let answers = fields.optional("answers").map(|item| answers(decoder, item));
    let equivalents = fields.optional("equivalents").map(|item| equivalents(decoder, item));
    let list = fields.optional("cases");
    let nodes = list.and_then(|item| decoder.list(item)).unwrap_or_default();
    fields.finish(decoder);
    if nodes.len() > EVAL_CASES_MAX {
        let message = format!("the file has more than {EVAL_CASES_MAX} cases");
        decoder.report(Code::TooLarge, node.span, message);
    }
    let ground = Ground {
        suite: suite.map(|suite| suite.value).unwrap_or_default(),
        caller: caller.unwrap_or_default(),
    };
    let mut cases = vec![Written { case: None, names }];
    cases.extend(nodes.iter().filter_map(|node| case(decoder, node, &ground)));
    let found = cases.iter().filter_map(|written| written.case.as_ref());
    let found: Vec<_> = found.map(|case| (case.name.clone(), span_of(&case.place))).collect();
    decoder.distinct("the case", found.into_iter());
    let (answers, equivalents) = (answers.unwrap_or_default(), equivalents.unwrap_or_default());
    Some(EvalFile { answers, cases, equivalents })
}

const fn span_of(place: &Place) -> Span {
    Span { start: place.span.start, end: place.span.end }
}

/// What the cases of a file have in common.
struct Ground {
    suite: String,
    caller: Caller,
}

fn named(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<String>> {
    let name = decoder.name(item, ToolName::new)?;
    Some(Spanned { value: name.value.as_str().to_owned(), span: name.span })
}

fn case(decoder: &mut Decoder, node: &Node, ground: &Ground) -> Option<Written> {
    let mut fields = decoder.fields(Item { name: "cases", node })?;
    let mut names = Vec::new();
    let name = fields.required(decoder, "case").and_then(|item| named(decoder, item));
    let shows = fields.required(decoder, "shows").and_then(|item| decoder.line(item));
    let kind = fields.required(decoder, "kind").and_then(|item| decoder.choice(item, &KINDS));
    let own = fields.optional("caller");
    let caller = match own {
        Some(item) => caller_of(decoder, item, (&ground.caller, &mut names)),
        None => Some(ground.caller.clone()),
    };
    let door = fields.optional("door").and_then(|item| decoder.choice(item, &DOORS));
    let message = fields.optional("message").and_then(|item| expanded(decoder, item));
    let plants = fields.optional("plants").map(|item| plants(decoder, item, &mut names));
    let goal = fields.optional("goal").and_then(|item| decode_goal(decoder, item, &mut names));
    let caller = caller.filter(|caller| {
        let whole = !caller.agent.is_empty() && !caller.tenant.is_empty();
        if !whole {
            let message = "a case needs `agent` and `tenant` under `caller`, its own or the file's";
            decoder.report(Code::MissingKey, fields.open(), message);
        }
        whole
    });
    let within = caller.clone().unwrap_or_default();
    let script = fields.optional("script");
    let script = script.map(|item| script_of(decoder, item, (&within, &mut names)));
    let expect = fields.optional("expect").map(|item| decode_expect(decoder, item, &mut names));
    let open = fields.open();
    fields.finish(decoder);
    let (script, expect) = (script.unwrap_or_default(), expect.unwrap_or_default());
    let says = |step: &Step| match step {
        Step::Call(call) => call.expect.is_some() || call.rows.is_some(),
        Step::Decide(decide) => decide.expect.is_some(),
        Step::StandIn(stand_in) => stand_in.expect.is_some(),
        Step::Fail(_) | Step::Lose(_) | Step::Wait(_) => false,
    };
    if goal.is_none() && expect.is_nothing() && !script.iter().any(says) {
        decoder.report(Code::IdleCase, open, "the case expects nothing of its own");
        decoder.help("say how its calls end, under `expect` of each, or what must hold afterwards");
    }
    let Spanned { value: name, span } = name?;
    let case = (|| {
        Some(Case {
            suite: ground.suite.clone(),
            name,
            shows: shows?,
            kind: kind?,
            caller: caller?,
            door,
            message: message.unwrap_or_default(),
            plants: plants.unwrap_or_default(),
            goal,
            script,
            expect,
            place: decoder.place(span),
        })
    })();
    Some(Written { case, names })
}

type Names<'a> = &'a mut Vec<(Named, String, Span)>;

/// A caller: what another says, and over it what stands here.
fn caller_of(
    decoder: &mut Decoder,
    item: Item<'_>,
    (before, names): (&Caller, Names<'_>),
) -> Option<Caller> {
    let mut fields = decoder.fields(item)?;
    let mut caller = before.clone();
    if let Some(agent) = fields.optional("agent").and_then(|item| named(decoder, item)) {
        names.push((Named::Agent, agent.value.clone(), agent.span));
        caller.agent = agent.value;
    }
    let mut line =
        |decoder: &mut Decoder, key| fields.optional(key).and_then(|item| decoder.line(item));
    if let Some(tenant) = line(decoder, "tenant") {
        caller.tenant = tenant;
    }
    caller.user = line(decoder, "user").or(caller.user);
    caller.session = line(decoder, "session").or(caller.session);
    if let Some(item) = fields.optional("claims") {
        for entry in decoder.entries(item).unwrap_or_default() {
            names.push((Named::Attribute, entry.key.clone(), entry.key_span));
            let values = one_or_more(decoder, entry);
            caller.claims.insert(entry.key.clone(), values);
        }
    }
    if let Some(item) = fields.optional("scopes") {
        caller.scopes = decoder.lines(item).into_iter().map(|line| line.value).collect();
    }
    let token = fields.optional("token").and_then(|item| decoder.choice(item, &TOKENS));
    caller.token = token.unwrap_or(caller.token);
    fields.finish(decoder);
    Some(caller)
}

fn one_or_more(decoder: &mut Decoder, entry: &Entry) -> Vec<String> {
    let item = Item { name: &entry.key, node: &entry.value };
    match &entry.value.kind {
        Kind::Text(_) => decoder.line(item).into_iter().collect(),
        _ => decoder.lines(item).into_iter().map(|line| line.value).collect(),
    }
}

/// A text that a case sends or plants, with what it stands for.
fn expanded(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let written = decoder.text(item, EVAL_TEXT_BYTES_MAX)?;
    meant(decoder, written, item.span())
}

fn meant(decoder: &mut Decoder, written: &str, span: Span) -> Option<String> {
    let meant = text::meant(written);
    if meant.is_none() {
        let message = format!("the text comes to more than {EVAL_TEXT_BYTES_MAX} bytes");
        decoder.report(Code::BadValue, span, message);
    }
    meant
}

fn plants(decoder: &mut Decoder, item: Item<'_>, names: Names<'_>) -> Vec<Plant> {
    let nodes = decoder.list(item).unwrap_or_default();
    let mut plants = Vec::new();
    for node in nodes {
        let Some(mut fields) = decoder.fields(Item { name: item.name, node }) else { continue };
        let tool = fields.required(decoder, "tool").and_then(|item| tool(decoder, item, names));
        let arguments = fields.optional("arguments").and_then(|item| arguments(decoder, item));
        let text = fields.required(decoder, "text").and_then(|item| expanded(decoder, item));
        fields.finish(decoder);
        let arguments = arguments.unwrap_or_default();
        plants.extend(tool.zip(text).map(|(tool, text)| Plant { tool, arguments, text }));
    }
    plants
}

/// The name of a tool that has to be there.
fn tool(decoder: &mut Decoder, item: Item<'_>, names: Names<'_>) -> Option<String> {
    let Spanned { value, span } = named(decoder, item)?;
    names.push((Named::Tool, value.clone(), span));
    Some(value)
}

fn decode_goal(decoder: &mut Decoder, item: Item<'_>, names: Names<'_>) -> Option<Goal> {
    let mut fields = decoder.fields(item)?;
    let sees = fields.optional("sees").map(|item| texts(decoder, item));
    let does = fields.optional("does").map(|item| tool(decoder, item, names));
    let with = fields.optional("with").map(|item| arguments(decoder, item));
    fields.finish(decoder);
    match (sees, does, with) {
        (Some(sees), None, None) => Some(Goal::Sees(sees)),
        (None, Some(tool), with) => {
            let with = with.flatten().unwrap_or_default();
            tool.map(|tool| Goal::Does { tool, with })
        }
        _ => {
            let message = "`goal` needs one of `sees` and `does`, and `with` only beside `does`";
            decoder.report(Code::BadValue, item.span(), message);
            None
        }
    }
}

fn texts(decoder: &mut Decoder, item: Item<'_>) -> Vec<String> {
    let nodes = decoder.list(item).unwrap_or_default();
    let named = |node| Item { name: item.name, node };
    nodes.iter().filter_map(|node| expanded(decoder, named(node))).collect()
}

// ── the script ──────────────────────────────────────────────────────────────────────────────────

fn script_of(
    decoder: &mut Decoder,
    item: Item<'_>,
    (caller, names): (&Caller, Names<'_>),
) -> Vec<Step> {
    let nodes = decoder.list(item).unwrap_or_default();
    if nodes.len() > EVAL_STEPS_MAX {
        let message = format!("the script has more than {EVAL_STEPS_MAX} steps");
        decoder.report(Code::BadValue, item.span(), message);
    }
    let mut drafts = BTreeSet::new();
    let mut steps = Vec::new();
    for node in nodes {
        let Some(step) = step(decoder, node, (caller, names)) else { continue };
        match &step {
            Step::Call(CallStep { name: Some(name), .. }) => drop(drafts.insert(name.clone())),
            Step::Decide(DecideStep { draft, .. }) if !drafts.contains(draft) => {
                let message = format!("no step before is called `{draft}`");
                decoder.report(Code::BadValue, node.span, message);
                decoder.help("give the call whose draft is meant a name, with `as`");
            }
            _ => {}
        }
        steps.push(step);
    }
    steps
}

/// The keys that say what a step is.
const STEPS: [&str; 7] = ["call", "approve", "reject", "stand_in", "fail", "lose", "wait"];

fn step(decoder: &mut Decoder, node: &Node, (caller, names): (&Caller, Names<'_>)) -> Option<Step> {
    let mut fields = decoder.fields(Item { name: "script", node })?;
    let [call, approve, reject, stand_in, fail, lose, wait] = STEPS.map(|key| fields.optional(key));
    let beside = Beside::take(decoder, &mut fields, (caller, names));
    let open = fields.open();
    fields.finish(decoder);
    match (call, approve.or(reject), stand_in, fail.or(lose), wait) {
        (Some(item), None, None, None, None) => {
            let tool = named(decoder, item)?.value;
            beside.only(decoder, (open, "a call"), &["by", "reason"]);
            Some(Step::Call(beside.into_call(tool)))
        }
        (None, Some(item), None, None, None) if approve.is_none() || reject.is_none() => {
            let draft = named(decoder, item)?.value;
            let calls = ["arguments", "as", "times", "rows", "caller"];
            let about = ["reason"].into_iter().filter(|_| reject.is_none());
            let others: Vec<_> = calls.into_iter().chain(about).collect();
            beside.only(decoder, (open, "a decision"), &others);
            beside.into_decision(decoder, (approve.is_some(), draft), open).map(Step::Decide)
        }
        (None, None, Some(item), None, None) => {
            let to = decoder.line(item)?;
            let others = ["arguments", "as", "times", "rows", "caller", "reason"];
            beside.only(decoder, (open, "standing in"), &others);
            beside.into_stand_in(decoder, to, open).map(Step::StandIn)
        }
        (None, None, None, Some(item), None) if fail.is_none() || lose.is_none() => {
            let Spanned { value, span } = named(decoder, item)?;
            beside.only(decoder, (open, "a failure"), &BESIDE);
            if lose.is_some() || value != JOURNAL {
                names.push((Named::System, value.clone(), span));
            }
            Some(if lose.is_some() { Step::Lose(value) } else { Step::Fail(value) })
        }
        (None, None, None, None, Some(item)) => {
            beside.only(decoder, (open, "a pause"), &BESIDE);
            decoder.quantity(item, &DURATIONS, EVAL_WAIT_MS_MAX).map(Step::Wait)
        }
        _ => {
            let message =
                format!("a step needs one of {}", STEPS.map(|s| format!("`{s}`")).join(", "));
            decoder.report(Code::BadValue, open, message);
            None
        }
    }
}

const BESIDE: [&str; 8] = ["arguments", "as", "times", "expect", "rows", "caller", "by", "reason"];

/// What may stand beside the key that says what a step is.
#[derive(Default)]
struct Beside {
    present: Vec<&'static str>,
    arguments: Option<Map<String, Value>>,
    name: Option<String>,
    times: Option<u32>,
    expect: Option<String>,
    rows: Option<u32>,
    caller: Option<Caller>,
    by: Option<Person>,
    reason: Option<String>,
}

impl Beside {
    fn take(
        decoder: &mut Decoder,
        fields: &mut Fields<'_>,
        (caller, names): (&Caller, Names<'_>),
    ) -> Self {
        let mut beside = Self::default();
        for key in BESIDE {
            let Some(item) = fields.optional(key) else { continue };
            beside.present.push(key);
            match key {
                "arguments" => beside.arguments = arguments(decoder, item),
                "as" => beside.name = named(decoder, item).map(|name| name.value),
                "times" => beside.times = decoder.count(item, EVAL_TIMES_MAX),
                "expect" => {
                    let ends = ENDS.map(|end| (end, end));
                    beside.expect = decoder.choice(item, &ends).map(str::to_owned);
                }
                "rows" => {
                    let rows = decoder.integer(item, 0, i64::from(ROWS_MAX));
                    beside.rows = rows.and_then(|rows| u32::try_from(rows).ok());
                }
                "caller" => beside.caller = caller_of(decoder, item, (caller, names)),
                "by" => beside.by = person(decoder, item),
                _ => beside.reason = decoder.line(item),
            }
        }
        beside
    }

    /// Reports what belongs to another kind of step.
    fn only(&self, decoder: &mut Decoder, (open, what): (Span, &str), others: &[&str]) {
        for key in self.present.iter().filter(|key| others.contains(key)) {
            decoder.report(Code::BadValue, open, format!("`{key}` does not belong to {what}"));
        }
    }

    fn into_call(self, tool: String) -> CallStep {
        CallStep {
            tool,
            arguments: self.arguments.unwrap_or_default(),
            name: self.name,
            times: self.times.unwrap_or(1),
            expect: self.expect,
            rows: self.rows,
            caller: self.caller,
        }
    }

    fn into_decision(
        self,
        decoder: &mut Decoder,
        (approves, draft): (bool, String),
        open: Span,
    ) -> Option<DecideStep> {
        let present = |key| self.present.contains(&key);
        if !present("by") || (!approves && !present("reason")) {
            let message = "a decision needs `by`, and a rejection `reason` as well";
            decoder.report(Code::MissingKey, open, message);
        }
        let Self { by, reason, expect, .. } = self;
        Some(DecideStep { approves, draft, by: by?, reason: reason.unwrap_or_default(), expect })
    }

    fn into_stand_in(self, decoder: &mut Decoder, to: String, open: Span) -> Option<StandInStep> {
        if !self.present.contains(&"by") {
            let message = "that somebody stands in needs `by`: for whom";
            decoder.report(Code::MissingKey, open, message);
        }
        Some(StandInStep { to, by: self.by?, expect: self.expect })
    }
}

fn person(decoder: &mut Decoder, item: Item<'_>) -> Option<Person> {
    let mut fields = decoder.fields(item)?;
    let person = fields.required(decoder, "person").and_then(|item| decoder.line(item));
    let mut lines = |decoder: &mut Decoder, key| -> Vec<String> {
        let lines = fields.optional(key).map(|item| decoder.lines(item)).unwrap_or_default();
        lines.into_iter().map(|line| line.value).collect()
    };
    let groups = lines(decoder, "groups");
    let tenants = lines(decoder, "tenants");
    let ago = fields.optional("signed_in");
    let ago = ago.and_then(|item| decoder.quantity(item, &SPANS, EVAL_SIGNED_IN_S_MAX));
    fields.finish(decoder);
    Some(Person { person: person?, groups, tenants, signed_in_s: ago.unwrap_or(0) })
}

// ── what must hold, and what APIs answer ────────────────────────────────────────────────────────

fn decode_expect(decoder: &mut Decoder, item: Item<'_>, names: Names<'_>) -> Expect {
    let Some(mut fields) = decoder.fields(item) else { return Expect::default() };
    let mut expect = Expect::default();
    if let Some(item) = fields.optional("executed") {
        for (tool, count) in counts(decoder, item) {
            names.push((Named::Tool, tool.value.clone(), tool.span));
            expect.executed.insert(tool.value, count);
        }
    }
    for tool in fields.optional("never").map(|item| decoder.lines(item)).unwrap_or_default() {
        names.push((Named::Tool, tool.value.clone(), tool.span));
        expect.never.push(tool.value);
    }
    expect.contains = fields.optional("contains").map(|i| texts(decoder, i)).unwrap_or_default();
    expect.lacks = fields.optional("lacks").map(|i| texts(decoder, i)).unwrap_or_default();
    let drafts = fields.optional("drafts").and_then(|item| decoder.integer(item, 0, 1_000));
    expect.drafts = drafts.and_then(|drafts| u32::try_from(drafts).ok());
    let asked = fields.optional("asked").and_then(|item| decoder.integer(item, 0, 1_000));
    expect.asked = asked.and_then(|asked| u32::try_from(asked).ok());
    let alerts = fields.optional("alerts").map(|item| decoder.lines(item));
    expect.alerts = alerts.map(|alerts| alerts.into_iter().map(|alert| alert.value).collect());
    if let Some(item) = fields.optional("changed") {
        let changed = counts(decoder, item).into_iter();
        expect.changed = changed.map(|(place, count)| (place.value, count)).collect();
    }
    fields.finish(decoder);
    expect
}

fn counts(decoder: &mut Decoder, item: Item<'_>) -> Vec<(Spanned<String>, u32)> {
    let entries = decoder.entries(item).unwrap_or_default();
    let counted = entries.iter().filter_map(|Entry { key, key_span, value }| {
        let item = Item { name: key, node: value };
        let count = decoder.integer(item, 0, i64::from(ROWS_MAX))?;
        let key = Spanned { value: key.clone(), span: *key_span };
        Some((key, u32::try_from(count).ok()?))
    });
    counted.collect()
}

fn equivalents(decoder: &mut Decoder, item: Item<'_>) -> Vec<Equivalent> {
    let nodes = decoder.list(item).unwrap_or_default();
    let one = |node| {
        let mut fields = decoder.fields(Item { name: item.name, node })?;
        let mut line = |decoder: &mut Decoder, key| {
            fields.required(decoder, key).and_then(|item| decoder.line(item))
        };
        let (mutant, because) = (line(decoder, "mutant"), line(decoder, "because"));
        fields.finish(decoder);
        Some(Equivalent { mutant: mutant?, because: because? })
    };
    nodes.iter().filter_map(one).collect()
}

fn answers(decoder: &mut Decoder, item: Item<'_>) -> Vec<Spanned<CannedAnswer>> {
    let nodes = decoder.list(item).unwrap_or_default();
    nodes.iter().filter_map(|node| answer(decoder, Item { name: item.name, node })).collect()
}

fn answer(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<CannedAnswer>> {
    let mut fields = decoder.fields(item)?;
    let system = fields.required(decoder, "system").and_then(|item| named(decoder, item));
    let method = fields.optional("method");
    let methods = Method::ALL.map(|method| (method.as_str(), method));
    let method = method.and_then(|item| decoder.choice(item, &methods)).unwrap_or(Method::Get);
    let path = fields.required(decoder, "path").and_then(|item| decoder.line(item));
    let query = fields.optional("query").and_then(|item| decoder.entries(item));
    let query = query.unwrap_or_default().iter().filter_map(|Entry { key, value, .. }| {
        Some((key.clone(), decoder.line(Item { name: key, node: value })?))
    });
    let query = query.collect();
    let status = fields.optional("status").and_then(|item| decoder.integer(item, 100, 599));
    let body = fields.optional("body");
    let body = body.and_then(|item| plain(decoder, item.node)).unwrap_or(Value::Null);
    let takes = fields.optional("takes");
    let takes = takes.and_then(|item| decoder.quantity(item, &DURATIONS, EVAL_WAIT_MS_MAX));
    fields.finish(decoder);
    let Spanned { value: system, span } = system?;
    let value = CannedAnswer {
        system,
        method: method.as_str().to_owned(),
        path: path?,
        query,
        status: status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
        body,
        takes_ms: takes.unwrap_or(0),
    };
    Some(Spanned { value, span })
}

// ── data ────────────────────────────────────────────────────────────────────────────────────────

fn arguments(decoder: &mut Decoder, item: Item<'_>) -> Option<Map<String, Value>> {
    decoder.entries(item)?;
    match plain(decoder, item.node)? {
        Value::Object(arguments) => Some(arguments),
        _ => None,
    }
}

/// A value as JSON, with what its texts stand for.
fn plain(decoder: &mut Decoder, node: &Node) -> Option<Value> {
    node.data(&mut |written| meant(decoder, written, node.span))
}
