//! `owned:` and `allowed:` of a scope rule: what a system has to confirm of an identifier that
//! carries no tenant.

use crate::bound::{
    ALLOWED_ROWS_MAX, CACHE_MS_MAX, LOOK_UP_BYTES_MAX, LOOK_UP_TIMEOUT_MS_MAX, STATEMENT_BYTES_MAX,
};
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::Code;
use crate::scope::ScopeEntry;
use crate::sql::{Compiled, Dialect, Scan, scan};
use crate::statement::{self, Bindable, Own};
use crate::system::{DURATIONS, SystemSpec};
use countersign_core::id::SystemName;
use countersign_core::principal::CallerRef;
use countersign_core::scope::{ArgumentPath, Asks, LookUp, Query, ScopeRule, VALUE};
use countersign_core::tool::{Parameter, ResultBounds, SqlPlan};
use std::sync::Arc;

/// A look-up as it is written.
#[derive(Debug)]
pub(crate) struct LookUpEntry {
    pub(crate) asks: Asks,
    /// Where in the arguments; `None` if something is wrong with it.
    pub(crate) path: Option<ArgumentPath>,
    pub(crate) statement: Option<Spanned<String>>,
    /// The system that is asked, where it is not the tool's own.
    pub(crate) system: Option<Spanned<SystemName>>,
    /// How long an answer holds.
    pub(crate) cached_ms: Option<u32>,
    /// The statement as the system takes it; empty if the system is not known.
    pub(crate) compiled: Compiled,
}

/// Reads one.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    asks: Asks,
    path: Option<ArgumentPath>,
) -> Option<LookUpEntry> {
    let mut fields = decoder.fields(item)?;
    let statement = fields.required(decoder, "sql").and_then(|item| {
        let text = decoder.text(item, STATEMENT_BYTES_MAX)?;
        Some(Spanned { value: text.to_owned(), span: item.span() })
    });
    let system = fields.optional("system").and_then(|item| decoder.name(item, SystemName::new));
    let cached_ms =
        fields.optional("cache").and_then(|item| decoder.quantity(item, &DURATIONS, CACHE_MS_MAX));
    fields.finish(decoder);
    Some(LookUpEntry { asks, path, statement, system, cached_ms, compiled: Compiled::default() })
}

/// Checks the statements of a tool's look-ups, and notes what is bound to them.
pub(crate) fn check(
    decoder: &mut Decoder,
    scope: &mut [ScopeEntry],
    arguments: &[String],
    dialect_of: impl Fn(Option<&Spanned<SystemName>>) -> Option<Dialect>,
) {
    let binds = scope.iter().filter_map(|entry| match &entry.rule {
        Some(ScopeRule::Bind { name, caller }) => Some((name.clone(), caller.clone())),
        _ => None,
    });
    let binds: Vec<(String, CallerRef)> = binds.collect();
    let own: Vec<_> =
        binds.iter().map(|(name, caller)| Own { name, claim: Some(caller) }).collect();
    let bound: Vec<String> =
        scope.iter().filter(|entry| entry.binds).map(|entry| entry.argument.clone()).collect();
    for entry in scope {
        let plain = entry.path == entry.argument;
        let identifier = entry.argument.clone();
        let Some(look_up) = &mut entry.look_up else { continue };
        let Some(statement) = &look_up.statement else { continue };
        let Some(dialect) = dialect_of(look_up.system.as_ref()) else { continue };
        let scan = scan(&statement.value, dialect);
        statement::check_shape(decoder, statement, &scan);
        statement::check_reads(decoder, statement, &scan, ("a look-up", ""));
        let names = arguments.iter().chain(&bound).map(String::as_str);
        let owned = (look_up.asks == Asks::Owned).then_some(VALUE);
        let known: Bindable<'_> = names.chain(owned).collect();
        statement::check_names(decoder, statement, &scan, &known);
        if scan.reads() {
            statement::check_tie(decoder, statement, (&scan, dialect), &own);
        }
        if scan.reads() && look_up.asks == Asks::Owned {
            let name = if plain && !uses_value(&scan) { identifier.as_str() } else { VALUE };
            let asked = [Own { name, claim: None }];
            statement::check_tie(decoder, statement, (&scan, dialect), &asked);
        }
        look_up.compiled = scan.compile(&statement.value, dialect);
        let uses = |name: &str| look_up.compiled.parameters.iter().any(|used| used == name);
        let whole = statement.span;
        if !bound.iter().any(|name| uses(name)) {
            let message = "this look-up does not say whose: it names nothing of the caller";
            decoder.report(Code::LookUpCaller, whole, message);
            decoder.help("name the tenant as `:tenant`, with `tenant: { bind: caller.tenant }` under `scope`");
        }
        if look_up.asks == Asks::Owned && !(uses(VALUE) || plain && uses(&identifier)) {
            let message = format!("this look-up does not ask about `{}`", entry.path);
            decoder.report(Code::LookUpValue, whole, message);
            decoder.help("`:value` stands for the identifier that is looked up");
        }
        let taken = |name: &String| name == VALUE && !(plain && identifier == VALUE);
        if look_up.asks == Asks::Owned && arguments.iter().chain(&bound).any(taken) {
            let message =
                "`:value` is the identifier that is looked up, and an argument is called so too";
            decoder.report(Code::LookUpValue, whole, message);
            decoder.help("call the argument something else");
        }
    }
}

fn uses_value(scan: &Scan) -> bool {
    scan.placeholders.iter().any(|(name, _)| name == VALUE)
}

/// Puts one together. `None` if anything is wrong with it, which has been said.
pub(crate) fn compile(
    entry: &LookUpEntry,
    system: &SystemSpec,
    parameters: Vec<Parameter>,
) -> Option<LookUp> {
    let rows_max = match entry.asks {
        Asks::Owned => 1,
        Asks::Allowed => ALLOWED_ROWS_MAX,
    };
    let bytes_max = system.bounds.bytes_max.min(LOOK_UP_BYTES_MAX);
    Some(LookUp {
        path: entry.path.clone()?,
        asks: entry.asks,
        query: Arc::new(Query {
            system: system.name.clone(),
            plan: SqlPlan {
                statement: entry.compiled.statement.clone(),
                parameters,
                timeout_ms: system.timeout_ms.min(LOOK_UP_TIMEOUT_MS_MAX),
                bounds: ResultBounds { rows_max, bytes_max },
            },
            cached_ms: entry.cached_ms,
        }),
    })
}
