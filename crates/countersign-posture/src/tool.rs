//! `tools/NAME.yaml`: what a model may ask for, and the statement or request that answers it.

use crate::ask::{self, ASKS, Ask, Sent, Servers};
use crate::bound::{ROWS_MAX, STATEMENT_BYTES_MAX};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::Code;
use crate::flow;
use crate::input::{self, Arguments, Identifier, Input};
use crate::ladder::{self, LadderEntry, Steps};
use crate::lint;
use crate::look_up::{self, LookUpEntry};
use crate::message::{self, Message, Words};
use crate::node::Span;
use crate::posture::limits;
use crate::request::{self, Known, METHODS, Parts, Request};
use crate::schema;
use crate::scope::{self, ScopeEntry};
use crate::sql::{Compiled, Dialect, Scan, scan};
use crate::statement::{self, Bindable, Own};
use crate::system::{Dialects, SystemSpec};
use countersign_core::call::CHECK_DRAFT;
use countersign_core::id::{SystemName, ToolName};
use countersign_core::principal::CallerRef;
use countersign_core::quota::Limits;
use countersign_core::scope::{ResultRule, ScopeRule};
use countersign_core::tool::{
    Effect, EmailPlan, Flow, HttpPlan, InputSchema, McpPlan, Offered, Parameter, Plan,
    ResultBounds, SqlPlan, Tool,
};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, sync::Arc};

/// What a tool's file says.
#[derive(Debug)]
pub(crate) struct ToolFile {
    pub(crate) name: Option<Spanned<ToolName>>,
    pub(crate) description: Option<String>,
    pub(crate) effect: Option<Effect>,
    pub(crate) arguments: Arguments,
    /// The whole of the input, as JSON Schema and compiled.
    pub(crate) input: Option<(Map<String, Value>, Arc<dyn InputSchema>)>,
    pub(crate) scope: Vec<ScopeEntry>,
    /// `None` if something is wrong with it.
    pub(crate) result: Option<Vec<ResultRule>>,
    pub(crate) flow: Flow,
    /// There in every tool that was read.
    pub(crate) ladder: Option<LadderEntry>,
    pub(crate) limits: Limits,
    pub(crate) call: Call,
    /// `None` if something is wrong with it.
    pub(crate) offered: Option<Offered>,
}

/// What `call:` says.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) system: Option<Spanned<SystemName>>,
    pub(crate) statement: Option<Spanned<String>>,
    /// The statement as the system takes it; empty if the system is not known.
    pub(crate) compiled: Compiled,
    /// Whether the statement takes rows or tables away.
    pub(crate) deletes: bool,
    /// Instead of a statement.
    pub(crate) request: Option<Request>,
    /// Instead of either.
    pub(crate) message: Option<Message>,
    /// Instead of all of these.
    pub(crate) ask: Option<Ask>,
    pub(crate) rows: Option<u32>,
}

/// What a system is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Statement,
    Request,
    Message,
    Definition,
}

impl Asked {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Request => "request",
            Self::Message => "message",
            Self::Definition => "call of a definition",
        }
    }
}

impl Call {
    /// By what the system is asked, if it is known.
    pub(crate) fn asked(&self) -> Option<Asked> {
        match (&self.statement, &self.request, &self.message, &self.ask) {
            (_, _, _, Some(_)) => Some(Asked::Definition),
            (_, _, Some(_), None) => Some(Asked::Message),
            (_, Some(_), None, None) => Some(Asked::Request),
            (Some(_), None, None, None) => Some(Asked::Statement),
            (None, None, None, None) => None,
        }
    }
}

impl ToolFile {
    /// Every system that a call asks something, and by what.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&Spanned<SystemName>, Asked)> {
        let system = &self.call.system;
        let look_ups = self.scope.iter().filter_map(|entry| entry.look_up.as_ref());
        let look_ups = look_ups.filter_map(|look_up| look_up.system.as_ref().or(system.as_ref()));
        let own = system.iter().zip(self.call.asked());
        own.chain(look_ups.map(|system| (system, Asked::Statement))).chain(self.gate_asks())
    }

    /// Every system that a call reaches: its own and those that its look-ups and its gate name.
    pub(crate) fn systems(&self) -> impl Iterator<Item = &Spanned<SystemName>> {
        let look_ups = self.scope.iter().filter_map(|entry| entry.look_up.as_ref());
        let look_ups = look_ups.filter_map(|look_up| look_up.system.as_ref());
        self.call.system.iter().chain(look_ups).chain(self.gate_asks().map(|(system, _)| system))
    }

    /// The systems that a gate names.
    fn gate_asks(&self) -> impl Iterator<Item = (&Spanned<SystemName>, Asked)> {
        let gate = self.ladder.iter().filter_map(|ladder| ladder.gate.as_ref());
        gate.flat_map(|gate| {
            let preview = gate.preview.as_ref().and_then(|preview| preview.system.as_ref());
            let decision = gate.decision.as_ref().and_then(|decision| decision.system.as_ref());
            let preview = preview.map(|system| (system, Asked::Statement));
            preview.into_iter().chain(decision.map(|system| (system, Asked::Request)))
        })
    }

    /// The placeholders as what is bound to them.
    pub(crate) fn parameters(&self, names: &[String]) -> Vec<Parameter> {
        let optional = |name| self.arguments.get(name).is_some_and(|argument| argument.optional);
        names
            .iter()
            .map(|name| Parameter { name: name.clone(), optional: optional(name) })
            .collect()
    }
}

pub(crate) const EFFECTS: [(&str, Effect); 4] = [
    (Effect::Read.as_str(), Effect::Read),
    (Effect::Reversible.as_str(), Effect::Reversible),
    (Effect::Persistent.as_str(), Effect::Persistent),
    (Effect::Irreversible.as_str(), Effect::Irreversible),
];

/// What a tool is read by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// What is known of a caller. Without it (the file is broken) every caller reference is taken.
    pub(crate) attributes: Option<&'a BTreeSet<String>>,
    /// How the systems read the statements.
    pub(crate) dialects: &'a Dialects,
    /// The MCP servers among them.
    pub(crate) servers: &'a Servers<'a>,
    /// The company's ladder.
    pub(crate) steps: Steps,
}

/// Reads a tool.
pub(crate) fn decode(decoder: &mut Decoder, ground: Ground<'_>) -> Option<ToolFile> {
    let Ground { attributes, dialects, servers, steps } = ground;
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the tool", node: &node })?;
    let name = fields.required(decoder, "tool").and_then(|item| decoder.name(item, ToolName::new));
    if let Some(name) = &name {
        check_name(decoder, name);
    }
    let description = fields
        .required(decoder, "description")
        .and_then(|item| lint::description(decoder, item))
        .map(str::to_owned);
    let effect = fields.required(decoder, "effect");
    let place = effect.map_or(fields.open(), |item| item.span());
    let effect = effect.and_then(|item| decoder.choice(item, &EFFECTS));
    let input = fields.required(decoder, "input");
    let Input { arguments, identifiers } =
        input.map(|item| input::decode(decoder, item)).unwrap_or_default();
    let schema = input.and_then(|item| compile_input(decoder, &arguments, item.span()));
    let scope = fields.optional("scope").filter(|item| !item.node.is_empty());
    let scope = scope.map(|item| scope::decode(decoder, item, &arguments, attributes));
    let public = fields.optional("public");
    let scoped = scope.is_some();
    let scope = scope.unwrap_or_default();
    check_identifiers(decoder, &identifiers, &arguments, &scope);
    let result = fields.optional("result");
    let rules =
        result.map_or(Some(Vec::new()), |item| scope::decode_result(decoder, item, attributes));
    let limits = fields.optional("limits").map(|item| limits(decoder, item));
    let call = fields.required(decoder, "call").and_then(|item| decoder.fields(item));
    let bound = scope.iter().filter(|entry| entry.binds).map(|entry| entry.argument.as_str());
    let known = Known { arguments: &arguments, bound: bound.collect() };
    let call = call.map(|fields| decode_call(decoder, fields, effect, (&known, servers)));
    let sends = call.as_ref().and_then(Call::asked).map(|asked| asked == Asked::Message);
    let ask = call.as_ref().and_then(|call| call.ask.as_ref());
    check_result(decoder, result, ask);
    let offered = ask::offered(decoder, fields.optional("offer"), ask, &known);
    let ladder = ladder::decode(decoder, &mut fields, (effect, steps), (&known, sends));
    match call.as_ref().and_then(|call| call.message.as_ref()) {
        Some(sent) => message::check(decoder, (effect, place), sent, &scope),
        None => {
            let scope = scoped.then_some(scope.as_slice());
            check_scope(decoder, (effect, place), scope, public, ask.is_some());
        }
    }
    let flow = fields.optional("flow");
    fields.finish(decoder);
    let mut tool = ToolFile {
        name,
        description,
        effect,
        arguments,
        input: schema,
        scope,
        result: rules,
        flow: Flow::STRICTEST,
        ladder: Some(ladder),
        limits: limits.unwrap_or_default(),
        call: call.unwrap_or_default(),
        offered,
    };
    tool.flow = flow::decode(decoder, flow, &tool);
    check_statements(decoder, &mut tool, dialects);
    ladder::check(decoder, &mut tool, place, dialects);
    Some(tool)
}

fn check_name(decoder: &mut Decoder, name: &Spanned<ToolName>) {
    decoder.named_after_file(name.value.as_str(), name.span);
    if name.value.as_str() == CHECK_DRAFT {
        let message = format!("`{CHECK_DRAFT}` is the gateway's own tool, which asks after drafts");
        decoder.report(Code::BadName, name.span, message);
    }
}

/// The statements of the call and its look-ups, each as its system reads it.
fn check_statements(decoder: &mut Decoder, tool: &mut ToolFile, dialects: &Dialects) {
    let arguments: Vec<_> = tool.arguments.keys().cloned().collect();
    let dialect_of = |system: Option<&Spanned<SystemName>>| dialects.of(&system?.value);
    let own = tool.call.system.as_ref();
    look_up::check(decoder, &mut tool.scope, &arguments, |system| dialect_of(system.or(own)));
    if let (Some(statement), Some(dialect)) = (&tool.call.statement, dialect_of(own)) {
        let scan = scan(&statement.value, dialect);
        check_statement(decoder, tool, statement, (&scan, dialect));
        tool.call.deletes = scan.deletes;
        tool.call.compiled = scan.compile(&statement.value, dialect);
    }
    if let Some(request) = &tool.call.request {
        check_used(decoder, tool, |name| request.names.contains(name), "request");
    }
    if let Some(message) = &tool.call.message {
        check_used(decoder, tool, |name| message.names.contains(name), "message");
    }
    if let Some(ask) = &tool.call.ask {
        check_used(decoder, tool, |name| ask.names.contains(name), "call");
    }
}

/// Only rows have columns.
fn check_result(decoder: &mut Decoder, result: Option<Item<'_>>, ask: Option<&Ask>) {
    if let Some(item) = result.filter(|_| ask.is_some_and(|ask| !ask.rows)) {
        let message = "`result` speaks of rows, and this answers what the server says";
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help(
            "say under `call` where in the structured content the rows are: `result: /items`",
        );
    }
}

/// Whether a rule compares with nothing but which agent calls, or with nothing of the caller.
fn names_no_tenant(entry: &ScopeEntry) -> bool {
    entry.rule.as_ref().is_some_and(|rule| rule.caller().is_none_or(|c| *c == CallerRef::Actor))
}

/// Whether a rule ties an effect to the caller's tenant. What an MCP server has no argument for it cannot
/// be told: there another rule for the tenant will do than the name `tenant`.
fn ties_effect(entry: &ScopeEntry, of_server: bool) -> bool {
    match &entry.rule {
        Some(rule) if of_server => rule.caller() == Some(&CallerRef::Tenant),
        Some(ScopeRule::Bind { name, caller }) => name == "tenant" && *caller == CallerRef::Tenant,
        Some(_) => false,
        // A rule that is wrong in itself has been spoken of.
        None if entry.look_up.is_some() => of_server,
        None => entry.path == "tenant",
    }
}

/// Something must tie a tool to its caller; and an effect to the caller's tenant, in the statement.
fn check_scope(
    decoder: &mut Decoder,
    (effect, place): (Option<Effect>, Span),
    scope: Option<&[ScopeEntry]>,
    public: Option<Item<'_>>,
    of_server: bool,
) {
    if let Some(item) = public {
        lint::sentence(decoder, item);
        if scope.is_some() {
            let message = "`public` says that everybody may read this, and `scope` says who may";
            decoder.report(Code::IdlePublic, item.span(), message);
            decoder.help("take one of them out");
        }
    }
    let tied = scope.unwrap_or_default().iter().any(|entry| ties_effect(entry, of_server));
    let tied = tied || (of_server && public.is_some());
    if effect.is_some_and(|effect| effect != Effect::Read) && !tied {
        let (message, help) = match of_server {
            true => (
                "nothing ties this effect to the caller's tenant",
                "write a rule for `caller.tenant` under `scope`, or say in `public` why anybody may do this",
            ),
            false => (
                "an effect must name the caller's tenant as `:tenant` in its statement",
                "write `tenant: { bind: caller.tenant }` under `scope`",
            ),
        };
        decoder.report(Code::EffectTenant, place, message);
        decoder.help(help);
    } else if scope.is_some_and(|rules| rules.iter().all(names_no_tenant)) {
        let message = "nothing ties this tool to a tenant: an agent is the same for all of them";
        decoder.report(Code::UnscopedTool, place, message);
        decoder.help(
            "write a rule for `caller.tenant`, `caller.subject` or an attribute under `scope`",
        );
    } else if public.is_none() && scope.is_none() {
        let message = "nothing ties this tool to its caller: it reads every tenant's rows";
        decoder.report(Code::UnscopedTool, place, message);
        decoder.help("write a rule under `scope`, as `tenant: { bind: caller.tenant }`, or say in `public` why everybody may read this");
    }
}

/// What names something must be tied to the caller, or be said to be anybody's.
fn check_identifiers(
    decoder: &mut Decoder,
    identifiers: &[Identifier],
    arguments: &Arguments,
    scope: &[ScopeEntry],
) {
    for Identifier { path, span, public } in identifiers {
        // A rule with a mistake in it may be meant for this one.
        let meant = |entry: &ScopeEntry| {
            let ScopeEntry { argument, .. } = entry;
            let here = path.split(['.', '[']).next() == Some(argument);
            !entry.is_whole() && (here || !arguments.contains_key(argument))
        };
        match (public, scope.iter().any(|entry| entry.path == *path)) {
            (None, false) if scope.iter().any(meant) => {}
            (None, false) => {
                let message = format!("nothing says whose `{path}` the model may name");
                decoder.report(Code::UnscopedIdentifier, *span, message);
                decoder.help("tie it to the caller under `scope`, have a system look it up there (`owned`), list its values in `enum`, or say in `public` why any will do");
            }
            (Some(public), true) => {
                let message =
                    format!("`public` says that any `{path}` will do, and `scope` says whose");
                decoder.report(Code::IdlePublic, *public, message);
                decoder.help("take one of them out");
            }
            (None, true) | (Some(_), false) => {}
        }
    }
}

fn compile_input(
    decoder: &mut Decoder,
    arguments: &Arguments,
    span: Span,
) -> Option<(Map<String, Value>, Arc<dyn InputSchema>)> {
    let input = input::object(arguments)?;
    match schema::compile(&input) {
        Ok(compiled) => Some((input, compiled)),
        Err(error) => {
            decoder.report(Code::SchemaConflict, span, format!("`input` is no schema: {error}"));
            None
        }
    }
}

fn decode_call(
    decoder: &mut Decoder,
    mut fields: Fields<'_>,
    effect: Option<Effect>,
    (known, servers): (&Known<'_>, &Servers<'_>),
) -> Call {
    let system =
        fields.required(decoder, "system").and_then(|item| decoder.name(item, SystemName::new));
    let sql = fields.optional("sql");
    let methods = METHODS.map(|(key, method)| fields.optional(key).map(|item| (method, item)));
    let parts = Parts::take(&mut fields);
    let to = fields.optional("to");
    let words = Words::take(&mut fields);
    let asks = ASKS.map(|(key, of)| fields.optional(key).map(|item| (of, item)));
    let sent = Sent::take(&mut fields);
    let ways = sql.iter().map(Item::span).chain(methods.iter().flatten().map(|(_, i)| i.span()));
    let ways = ways.chain(to.iter().map(Item::span));
    let mut ways = ways.chain(asks.iter().flatten().map(|(_, item)| item.span()));
    let (first, second) = (ways.next(), ways.next());
    let statement = sql.and_then(|item| {
        let text = decoder.text(item, STATEMENT_BYTES_MAX)?;
        Some(Spanned { value: text.to_owned(), span: item.span() })
    });
    if first.is_none() {
        let message = "the call needs `sql`, `to`, one of `get`, `post`, `put`, `patch` and `delete`, or one of `tool`, `resource` and `prompt`";
        decoder.report(Code::MissingKey, fields.open(), message);
    }
    if let Some(span) = second {
        decoder.report(
            Code::BadValue,
            span,
            "a call is one statement, one request, one message or one definition",
        );
    }
    let method = methods.into_iter().flatten().next();
    let request = method.map(|asks| {
        request::check_reads(decoder, effect, asks);
        request::decode(decoder, asks, &parts, known)
    });
    let ask = asks.into_iter().flatten().next();
    let ask = ask.map(|asks| {
        let asked = (system.as_ref(), servers);
        ask::decode(decoder, asks, (&sent, &parts), asked, known)
    });
    if request.is_none() && ask.is_none() {
        parts.refuse(decoder);
    }
    if ask.is_none() {
        sent.refuse(decoder);
    }
    let message = to.map(|item| message::decode(decoder, item, &words, known));
    if message.is_none() {
        words.refuse(decoder);
    }
    let rows = fields.optional("rows").and_then(|item| decoder.count(item, ROWS_MAX));
    fields.finish(decoder);
    Call { system, statement, request, message, ask, rows, ..Call::default() }
}

fn check_statement(
    decoder: &mut Decoder,
    tool: &ToolFile,
    statement: &Spanned<String>,
    (scan, dialect): (&Scan, Dialect),
) {
    statement::check_shape(decoder, statement, scan);
    let reads = tool.effect == Some(Effect::Read);
    if !reads || scan.reads() {
        let own: Vec<_> = tool.scope.iter().filter_map(own).collect();
        statement::check_tie(decoder, statement, (scan, dialect), &own);
    }
    if reads {
        let who = ("a tool that reads", ", or declare its effect");
        statement::check_reads(decoder, statement, scan, who);
    }
    let bound = tool.scope.iter().filter(|entry| entry.binds).map(|entry| &entry.argument);
    let known: Bindable<'_> = tool.arguments.keys().chain(bound).map(String::as_str).collect();
    let quoted = statement::check_names(decoder, statement, scan, &known);
    let used = |name: &str| {
        scan.placeholders.iter().any(|(used, _)| used == name) || quoted.contains(name)
    };
    check_used(decoder, tool, used, "statement");
}

/// The value of a rule, if nothing is wrong with it.
pub(crate) fn own(entry: &ScopeEntry) -> Option<Own<'_>> {
    let claim = match &entry.rule {
        Some(rule) => Some(rule.caller()?),
        None if entry.is_whole() => None,
        None => return None,
    };
    Some(Own { name: &entry.argument, claim })
}

/// Every argument is used, those above all that say whose.
fn check_used(decoder: &mut Decoder, tool: &ToolFile, used: impl Fn(&str) -> bool, by: &str) {
    // A message names its rows by nothing: to whom it goes is all that a look-up has to confirm.
    let reads = tool.effect == Some(Effect::Read) || tool.call.message.is_some();
    let known = |name: &str, binds| binds || tool.arguments.contains_key(name);
    let look_ups = || tool.scope.iter().filter_map(|entry| entry.look_up.as_ref());
    let mut scoped = BTreeSet::new();
    for ScopeEntry { argument, binds, span, .. } in &tool.scope {
        scoped.insert(argument.as_str());
        // What a read's look-up confirmed is the caller's; an effect must say so once more.
        let confirms = |look_up: &LookUpEntry| look_up.compiled.parameters.contains(argument);
        let confirmed = *binds && reads && look_ups().any(confirms);
        if !used(argument) && !confirmed && known(argument, *binds) {
            let message = format!("`{argument}` is scoped, and the {by} does not use it");
            decoder.report(Code::ScopeUnused, *span, message);
            decoder.help(format!("what the {by} does not use keeps nobody's rows out"));
        }
    }
    let unused = tool.arguments.iter().filter(|(name, _)| !used(name));
    for (name, argument) in unused.filter(|(name, _)| !scoped.contains(name.as_str())) {
        let message = format!("the {by} does not use the argument `{name}`");
        decoder.report(Code::UnusedArgument, argument.span, message);
    }
}

/// Puts a tool together. `None` if anything is wrong with it, which has been said.
pub(crate) fn compile<'a>(
    file: &ToolFile,
    systems: impl Fn(&SystemName) -> Option<&'a SystemSpec>,
) -> Option<Tool> {
    let own = &file.call.system.as_ref()?.value;
    let system = systems(own)?;
    let (input, schema) = file.input.clone()?;
    let rules = file.scope.iter().filter(|entry| entry.look_up.is_none());
    let scope = rules.map(|entry| entry.rule.clone()).collect::<Option<_>>()?;
    let look_ups = file.scope.iter().filter_map(|entry| entry.look_up.as_ref()).map(|entry| {
        let asked = entry.system.as_ref().map_or(own, |system| &system.value);
        let parameters = file.parameters(&entry.compiled.parameters);
        look_up::compile(entry, systems(asked)?, parameters).map(Arc::new)
    });
    let rows_max = file.call.rows.unwrap_or(system.bounds.rows_max);
    let bounds = ResultBounds { rows_max, bytes_max: system.bounds.bytes_max };
    let timeout_ms = system.timeout_ms;
    let Call { request, message, ask, .. } = &file.call;
    let plan = match (request, message, ask) {
        (_, _, Some(ask)) => Plan::Mcp(McpPlan { timeout_ms, bounds, ..ask.plan.clone()? }),
        (_, Some(message), None) => {
            Plan::Email(EmailPlan { timeout_ms, bounds, ..message.plan.clone()? })
        }
        (Some(request), None, None) => {
            Plan::Http(HttpPlan { timeout_ms, bounds, ..request.plan.clone()? })
        }
        (None, None, None) => Plan::Sql(SqlPlan {
            statement: file.call.compiled.statement.clone(),
            parameters: file.parameters(&file.call.compiled.parameters),
            timeout_ms,
            bounds,
        }),
    };
    Some(Tool {
        name: file.name.as_ref()?.value.clone(),
        description: file.description.clone()?,
        input,
        schema,
        scope,
        look_ups: look_ups.collect::<Option<_>>()?,
        result: file.result.clone()?,
        effect: file.effect?,
        flow: file.flow,
        ladder: ladder::compile(file.ladder.as_ref()?, file, system, systems)?,
        system: system.name.clone(),
        plan,
        limits: file.limits,
        offered: file.offered.clone()?,
    })
}
