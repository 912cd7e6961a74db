//! What every SQL statement of a posture has to be: one, that binds by name and interpolates nothing.

use crate::decode::{Decoder, Spanned};
use crate::finding::{Code, did_you_mean};
use crate::sql::Scan;
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
