//! The rows of a result, gathered within their bounds.

use crate::fault;
use countersign_core::port::{Report, Shape};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::ResultBounds;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Rows, as far as they fit.
#[derive(Debug)]
pub(crate) struct Gathered {
    rows: Vec<Value>,
    rows_max: usize,
    /// Of the rows as compact JSON.
    bytes: usize,
    bytes_max: usize,
    truncated: bool,
}

impl Gathered {
    pub(crate) fn within(bounds: ResultBounds) -> Self {
        Self {
            rows: Vec::new(),
            rows_max: usize::try_from(bounds.rows_max).unwrap_or(usize::MAX),
            bytes: "[]".len(),
            bytes_max: usize::try_from(bounds.bytes_max).unwrap_or(usize::MAX),
            truncated: false,
        }
    }

    /// Whether the row that has come may be kept; if not, the result is cut before it.
    pub(crate) fn has_room(&mut self) -> bool {
        self.truncated |= self.rows.len() >= self.rows_max;
        !self.truncated
    }

    /// Keeps a row, or cuts the result before it and says `false`.
    pub(crate) fn keep(&mut self, row: Map<String, Value>) -> bool {
        let row = Value::Object(row);
        // `Display` of a JSON value is its compact text. A comma goes before all but the first.
        self.bytes += row.to_string().len() + usize::from(!self.rows.is_empty());
        self.truncated |= self.bytes > self.bytes_max;
        if !self.truncated {
            self.rows.push(row);
        }
        !self.truncated
    }

    /// What a read brought back.
    pub(crate) fn report(self) -> Report {
        Report {
            rows: u64::try_from(self.rows.len()).unwrap_or(u64::MAX),
            result: Value::Array(self.rows),
            shape: Shape::Rows,
            truncated: self.truncated,
            changed: 0,
            applied: Applied::Applied,
        }
    }
}

/// The columns of a result, if there is one and each has a name of its own.
pub(crate) fn distinct(columns: Vec<String>) -> Result<Vec<String>, SystemFault> {
    let failed = |detail| Err(fault(SystemFaultKind::Failed, detail));
    if columns.is_empty() {
        return failed("the statement has no result".to_owned());
    }
    let mut seen = BTreeSet::new();
    match columns.iter().find(|&column| !seen.insert(column)) {
        Some(twice) => {
            failed(format!("two columns of the result are called `{twice}`: name one with `as`"))
        }
        None => Ok(columns),
    }
}
