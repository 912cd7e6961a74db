//! `check:`, `undo:` and `affects:` of a tool: what shows that an effect took place, how it is put back
//! if not, and how many rows it may change.

use crate::bound::AFFECTS_MAX;
use crate::decode::{Decoder, Fields, Item};
use crate::finding::Code;
use crate::node::{Kind, Span};
use crate::request::{self, Known, METHODS, Parts, Request};
use crate::statement::Beside;
use crate::system::SystemSpec;
use countersign_core::ladder::{Affects, Check, Expected};
use countersign_core::tool::{HttpPlan, Method, Parameter, Plan, ResultBounds, SqlPlan};
use std::sync::Arc;

/// A check as it is written.
#[derive(Debug)]
pub(crate) struct CheckEntry {
    pub(crate) span: Span,
    /// `None` if something is wrong with it.
    pub(crate) asks: Option<CheckAsks>,
}

#[derive(Debug)]
pub(crate) enum CheckAsks {
    Statement(Beside),
    Request { read: Request, expect: Option<Vec<(String, Expected)>> },
}

/// An undo as it is written.
#[derive(Debug)]
pub(crate) struct UndoEntry {
    pub(crate) span: Span,
    /// `None` if something is wrong with it.
    pub(crate) request: Option<Request>,
}

/// Reads `check:`.
pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>, known: &Known<'_>) -> CheckEntry {
    let asks = match item.node.kind {
        Kind::Text(_) => Beside::decode(decoder, item, "a check").map(CheckAsks::Statement),
        _ => decoder.fields(item).and_then(|fields| asks(decoder, fields, known)),
    };
    CheckEntry { span: item.span(), asks }
}

fn asks(decoder: &mut Decoder, mut fields: Fields<'_>, known: &Known<'_>) -> Option<CheckAsks> {
    let sql = fields.optional("sql");
    let get = fields.optional("get");
    let parts = Parts::take(&mut fields);
    let expect = fields.optional("expect");
    let open = fields.open();
    fields.finish(decoder);
    match (sql, get) {
        (Some(sql), None) => {
            parts.refuse(decoder);
            if let Some(item) = expect {
                let message = "`expect` has no part in a statement";
                decoder.report(Code::BadValue, item.span(), message);
                decoder.help("compare in the statement: its one column says `1` or `true`");
            }
            Beside::decode(decoder, sql, "a check").map(CheckAsks::Statement)
        }
        (None, Some(get)) => {
            if expect.is_none() {
                let message = "a check by `get` needs `expect`: what its answer must say";
                decoder.report(Code::MissingKey, open, message);
            }
            let read = request::decode(decoder, (Method::Get, get), &parts, known);
            let expect = expect.and_then(|item| request::expectations(decoder, item, known));
            Some(CheckAsks::Request { read, expect })
        }
        (Some(_), Some(get)) => {
            let message = "a check is one statement or one request";
            decoder.report(Code::BadValue, get.span(), message);
            None
        }
        (None, None) => {
            decoder.report(Code::MissingKey, open, "the check needs one of `sql` and `get`");
            None
        }
    }
}

/// Reads `undo:`.
pub(crate) fn decode_undo(decoder: &mut Decoder, item: Item<'_>, known: &Known<'_>) -> UndoEntry {
    let request = decoder.fields(item).and_then(|mut fields| {
        let ways = METHODS.into_iter().filter(|(_, method)| *method != Method::Get);
        let ways: Vec<_> =
            ways.filter_map(|(key, method)| Some((method, fields.optional(key)?))).collect();
        let parts = Parts::take(&mut fields);
        let open = fields.open();
        fields.finish(decoder);
        match ways.as_slice() {
            [] => {
                let message = "the undo needs one of `post`, `put`, `patch` and `delete`";
                decoder.report(Code::MissingKey, open, message);
                None
            }
            [asks] => Some(request::decode(decoder, *asks, &parts, known)),
            [_, (_, second), ..] => {
                decoder.report(Code::BadValue, second.span(), "an undo is one request");
                None
            }
        }
    });
    UndoEntry { span: item.span(), request }
}

/// Reads `affects:`.
pub(crate) fn decode_affects(decoder: &mut Decoder, item: Item<'_>) -> Option<Affects> {
    let mut fields = decoder.fields(item)?;
    let most = i64::from(AFFECTS_MAX);
    let max = fields.required(decoder, "max").and_then(|item| decoder.integer(item, 1, most));
    let min = fields.optional("min").map_or(Some(1), |item| decoder.integer(item, 0, most));
    fields.finish(decoder);
    let (min, max) = (u64::try_from(min?).ok()?, u64::try_from(max?).ok()?);
    if min > max {
        decoder.report(Code::BadValue, item.span(), "`min` must be at most `max`");
        return None;
    }
    Some(Affects { min, max })
}

impl CheckEntry {
    /// Puts it together. `None` if anything is wrong with it, which has been said.
    pub(crate) fn compile(
        &self,
        system: &SystemSpec,
        parameters: impl Fn(&[String]) -> Vec<Parameter>,
    ) -> Option<Check> {
        // The first row says it.
        let bounds = ResultBounds { rows_max: 1, bytes_max: system.bounds.bytes_max };
        let timeout_ms = system.timeout_ms;
        match self.asks.as_ref()? {
            CheckAsks::Statement(Beside { compiled, .. }) => Some(Check::Sql(SqlPlan {
                statement: compiled.statement.clone(),
                parameters: parameters(&compiled.parameters),
                timeout_ms,
                bounds,
            })),
            CheckAsks::Request { read, expect } => Some(Check::Http {
                read: HttpPlan { timeout_ms, bounds, ..read.plan.clone()? },
                expect: expect.clone().filter(|expect| !expect.is_empty())?,
            }),
        }
    }
}

impl UndoEntry {
    /// Puts it together. `None` if anything is wrong with it, which has been said.
    pub(crate) fn compile(&self, system: &SystemSpec) -> Option<Arc<Plan>> {
        let plan = self.request.as_ref()?.plan.clone()?;
        let (timeout_ms, bounds) = (system.timeout_ms, system.bounds);
        Some(Arc::new(Plan::Http(HttpPlan { timeout_ms, bounds, ..plan })))
    }
}
