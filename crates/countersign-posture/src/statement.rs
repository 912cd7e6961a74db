//! What every SQL statement of a posture has to be: one, that binds by name and interpolates nothing.

use crate::bound::STATEMENT_BYTES_MAX;
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::{Code, did_you_mean};
use crate::node::Span;
use crate::sql::tie::{self, Tie};
use crate::sql::{Compiled, Dialect, Scan, scan};
use countersign_core::id::SystemName;
use countersign_core::principal::CallerRef;
use std::collections::BTreeSet;

/// The names that can be bound to a statement.
pub(crate) type Bindable<'a> = BTreeSet<&'a str>;

/// One statement, and whole.
pub(crate) fn check_shape(decoder: &mut Decoder, statement: &Spanned<String>, scan: &Scan) {
    let whole = statement.span;
    for (range, message) in &scan.problems {
        let span = decoder.within(statement.span, &statement.value, range);
        decoder.report(Code::BadSql, span, message);
    }
    match scan.statements {
        0 => decoder.report(Code::BadSql, whole, "there is no statement in `sql`"),
        1 => {}
        count => {
            let message = format!("`sql` holds {count} statements, and one is run");
            decoder.report(Code::SeveralStatements, whole, message);
        }
    }
}

/// Nothing but a read.
pub(crate) fn check_reads(
    decoder: &mut Decoder,
    statement: &Spanned<String>,
    scan: &Scan,
    (who, instead): (&str, &str),
) {
    if scan.statements > 0 && !scan.reads() {
        let message = format!("{who} must only select");
        decoder.report(Code::ReadStatement, statement.span, message);
        decoder.help(format!("begin with `select`, `values` or `with … select`{instead}"));
    }
}

/// Every placeholder is one of `known`, and none stands where nothing is bound. Returns the names
/// that stand in quotes by mistake.
pub(crate) fn check_names(
    decoder: &mut Decoder,
    statement: &Spanned<String>,
    scan: &Scan,
    known: &Bindable<'_>,
) -> BTreeSet<String> {
    for (name, range) in &scan.placeholders {
        if !known.contains(name.as_str()) {
            let span = decoder.within(statement.span, &statement.value, range);
            let message = format!("`:{name}` is neither an argument nor bound");
            decoder.report(Code::UnknownPlaceholder, span, message);
            decoder.helped(did_you_mean(name, known.iter().copied()));
        }
    }
    let mut quoted = BTreeSet::new();
    for (range, name) in &scan.interpolations {
        let message = match name {
            Some(name) if !known.contains(name.as_str()) => continue,
            Some(name) => {
                quoted.insert(name.clone());
                let written = statement.value.get(range.clone()).unwrap_or_default();
                let written = if written.starts_with('{') {
                    format!("{{{name}}}")
                } else {
                    format!(":{name}")
                };
                format!(
                    "`{written}` stands in quotes: there it is text, and nothing is bound to it"
                )
            }
            None => "text is put into the statement: what stands in it then is SQL".to_owned(),
        };
        let span = decoder.within(statement.span, &statement.value, range);
        decoder.report(Code::SqlInterpolation, span, message);
        decoder.help("write `:name` without quotes; what surrounds it joins by `||`, as in `'%' || :name || '%'`");
    }
    quoted
}

/// A value by which a statement says whose rows it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) name: &'a str,
    /// What of the caller it is; `None` for what a system has confirmed.
    pub(crate) claim: Option<&'a CallerRef>,
}

/// The statement keeps to the rows of those values of `own` that it names. What cannot be read here is
/// a warning: the database knows its own dialect better.
pub(crate) fn check_tie(
    decoder: &mut Decoder,
    statement: &Spanned<String>,
    (scan, dialect): (&Scan, Dialect),
    own: &[Own<'_>],
) {
    let text = &statement.value;
    if !scan.problems.is_empty() || !scan.interpolations.is_empty() || scan.statements != 1 {
        return;
    }
    let names: Vec<_> = own.iter().map(|own| own.name).collect();
    let ties = match tie::ties(text, (scan, dialect), &names) {
        Ok(Some(ties)) => ties,
        Ok(None) => return,
        Err((range, why)) => {
            let span = decoder.within(statement.span, text, &range);
            let message = format!("the statement cannot be read from here: {}", lowered(&why));
            decoder.report(Code::UnreadSql, span, message);
            decoder.help("see whether it is a mistake; what the database takes is run, and `countersign doctor` asks it");
            return;
        }
    };
    let used = own.iter().zip(ties).filter_map(|(own, tie)| {
        let mut placeholders = scan.placeholders.iter();
        let (_, range) = placeholders.find(|(used, _)| used == own.name)?;
        Some((own, range, tie))
    });
    let used: Vec<_> = used.collect();
    let holds = |(_, _, tie): &&(&Own<'_>, _, Tie)| *tie == Tie::Holds;
    let held: Vec<_> = used.iter().filter(holds).map(|(own, ..)| own.claim).collect();
    let enough = |claim: &Option<&CallerRef>| claim.is_none_or(|c| *c == CallerRef::Tenant);
    if held.iter().any(enough) {
        return;
    }
    // Rows that are tied to the caller by something else may still be of another tenant.
    let of_tenant = |own: &Own<'_>| own.claim == Some(&CallerRef::Tenant);
    let mut loose = used.iter().filter(|(own, ..)| held.is_empty() || of_tenant(own));
    let fails = loose.clone().find_map(|(own, range, tie)| match tie {
        Tie::Fails(why) => Some((own.name, range, *why)),
        _ => None,
    });
    match (fails, loose.next()) {
        (Some((name, range, why)), _) if held.is_empty() => {
            let span = decoder.within(statement.span, text, range);
            decoder.report(Code::ScopeLoose, span, format!("`:{name}` {why}"));
            decoder
                .help(format!("ask it of every row: `… = :{name}`, joined to the rest by `and`"));
        }
        (_, Some((own, range, _))) => {
            let span = decoder.within(statement.span, text, range);
            let message = format!("it is not seen that every row is one of `:{}`", own.name);
            decoder.report(Code::ScopeUnsure, span, message);
            decoder.help(format!("say so as `… = :{}`, joined to the rest by `and`", own.name));
        }
        (_, None) => {}
    }
}

/// A statement of a tool that is asked beside the call's own, and only reads: a preview, a check.
#[derive(Debug)]
pub(crate) struct Beside {
    /// As messages call it: `a preview`.
    who: &'static str,
    text: Spanned<String>,
    /// The system that is asked, where it is not the tool's own.
    pub(crate) system: Option<Spanned<SystemName>>,
    /// The statement as the system takes it; empty if the system is not known.
    pub(crate) compiled: Compiled,
}

impl Beside {
    /// Reads its text.
    pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>, who: &'static str) -> Option<Self> {
        let text = decoder.text(item, STATEMENT_BYTES_MAX)?.to_owned();
        let text = Spanned { value: text, span: item.span() };
        Some(Self { who, text, system: None, compiled: Compiled::default() })
    }

    /// The same, asked of `system`.
    pub(crate) fn of(self, system: Option<Spanned<SystemName>>) -> Self {
        Self { system, ..self }
    }

    /// Where it is written.
    pub(crate) fn span(&self) -> Span {
        self.text.span
    }

    /// Checks it, and notes what is bound to it.
    pub(crate) fn check(
        &mut self,
        decoder: &mut Decoder,
        dialect: Dialect,
        known: &Bindable<'_>,
        own: &[Own<'_>],
    ) {
        let Self { who, text, .. } = self;
        let scan = scan(&text.value, dialect);
        check_shape(decoder, text, &scan);
        check_reads(decoder, text, &scan, (who, ""));
        check_names(decoder, text, &scan, known);
        if scan.reads() {
            check_tie(decoder, text, (&scan, dialect), own);
        }
        let uses = |name: &str| scan.placeholders.iter().any(|(used, _)| used == name);
        check_whose(decoder, text.span, (who, uses), own);
        self.compiled = scan.compile(&text.value, dialect);
    }
}

/// It names the tenant; or, where nothing says which name is the tenant's, something of the caller's.
pub(crate) fn check_whose(
    decoder: &mut Decoder,
    span: Span,
    (who, uses): (&str, impl Fn(&str) -> bool),
    own: &[Own<'_>],
) {
    let is_tenant = |own: &&Own<'_>| own.claim == Some(&CallerRef::Tenant);
    let tenant = own.iter().any(|own| is_tenant(&own));
    let mut whose = own.iter().filter(|own| is_tenant(own) || !tenant);
    if !whose.any(|own| uses(own.name)) {
        let message = format!("{who} must say whose, and this names nothing of the caller");
        decoder.report(Code::LookUpCaller, span, message);
        decoder.help("name the tenant, with `tenant: { bind: caller.tenant }` under `scope`");
    }
}

/// Messages here begin in lower case.
fn lowered(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
}
