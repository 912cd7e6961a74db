//! What the systems' own logs and contents say of a case.

use super::{Broken, Facts, Own, broken};
use crate::own::words;
use crate::plant::{Part, placeholders, tool};
use crate::run::Known;
use countersign_core::ladder::Check;
use countersign_core::tool::{Plan, SqlPlan, Tool};
use regex::Regex;
use std::collections::BTreeSet;

pub(super) fn judge(
    known: &Known<'_>,
    (facts, own): (&Facts<'_>, &Own<'_>),
    found: &mut Vec<Broken>,
) {
    declared(known, (facts, own), found);
    for (ran, tenant) in &facts.observed.wider {
        let told = format!(
            "a statement of {tenant} reads what is not {tenant}'s on {}: {}",
            ran.system, ran.sql
        );
        found.push(broken("no-statement-outside-scope", told));
    }
    changes(known, (facts, own), found);
    requests(known, facts, found);
}

/// Whatever a system ran is a statement of the posture, for a tool that was called.
fn declared(known: &Known<'_>, (facts, own): (&Facts<'_>, &Own<'_>), found: &mut Vec<Broken>) {
    let calls = facts.observed.calls.iter().map(|made| made.tool.as_str());
    let called: BTreeSet<_> = calls.chain(own.tools()).collect();
    let tools: Vec<_> = called.iter().filter_map(|name| tool(known.loaded, name)).collect();
    let declared: Vec<_> = tools.iter().flat_map(|tool| statements(tool)).collect();
    let forms: Vec<_> =
        declared.iter().filter_map(|(system, sql)| Some((system, form(sql)?))).collect();
    for (ran, _) in &facts.observed.statements {
        let ours = control(&ran.sql)
            || forms.iter().any(|(system, form)| **system == ran.system && form.is_match(&ran.sql));
        if !ours {
            let told =
                format!("no tool that was called declares what {} ran: {}", ran.system, ran.sql);
            found.push(broken("no-statement-outside-scope", told));
        }
    }
}

/// Whether a statement only begins or ends a transaction, or is a remark of the engine's.
pub(super) fn control(sql: &str) -> bool {
    let words = ["begin", "commit", "rollback", "savepoint", "release", "pragma", "--"];
    let sql = sql.trim_start().to_ascii_lowercase();
    words.iter().any(|word| sql.starts_with(word))
}

/// Every statement that a call of a tool may run, and on which system.
fn statements(tool: &Tool) -> Vec<(String, String)> {
    let own = |plan: &SqlPlan| (tool.system.to_string(), plan.statement.clone());
    let mut statements = Vec::new();
    if let Plan::Sql(plan) = &tool.plan {
        statements.push(own(plan));
    }
    if let Some(Check::Sql(plan)) = &tool.ladder.check {
        statements.push(own(plan));
    }
    if let Some(Plan::Sql(plan)) = tool.ladder.undo.as_deref() {
        statements.push(own(plan));
    }
    let preview = tool.ladder.gate.iter().filter_map(|gate| gate.preview.as_ref());
    let queries = tool.look_ups.iter().map(|look_up| &look_up.query).chain(preview);
    statements.extend(queries.map(|q| (q.system.to_string(), q.plan.statement.clone())));
    statements
}

/// What a statement looks like once its values are in it.
fn form(statement: &str) -> Option<Regex> {
    let parts = placeholders(statement.trim().trim_end_matches(';').trim_end());
    let parts = parts.into_iter().map(|part| match part {
        Part::Text(text) => regex::escape(text),
        Part::Name(_) => {
            "(?:'(?:[^']|'')*'|x'[0-9a-fA-F]*'|NULL|null|[-+.0-9eE]+|:[A-Za-z_0-9]+)".to_owned()
        }
    });
    Regex::new(&format!(r"(?s)^\s*{}\s*;?\s*$", parts.collect::<String>())).ok()
}

/// What changed is the caller's, and something on record changed it.
fn changes(known: &Known<'_>, (facts, own): (&Facts<'_>, &Own<'_>), found: &mut Vec<Broken>) {
    let tenants: BTreeSet<_> =
        facts.observed.callers.iter().map(|(_, _, tenant)| tenant.as_str()).collect();
    let effects = own.effects();
    let systems: BTreeSet<_> = effects
        .keys()
        .filter_map(|name| tool(known.loaded, name))
        .map(|tool| tool.system.as_str())
        .collect();
    for change in &facts.observed.changes {
        let place = format!("{}.{}", change.system, change.table);
        if change.tenants.iter().any(|tenant| !tenants.contains(tenant.as_str())) {
            let told = format!("a row of another tenant has changed in `{place}`: {}", change.key);
            found.push(broken("nothing-of-another-tenant", told));
        }
        if !systems.contains(change.system.as_str()) {
            let told = format!(
                "a row has changed in `{place}`, and no effect on record did it: {}",
                change.key
            );
            found.push(broken("no-effect-without-its-record", told));
        }
    }
    // The other way round: what the log shows was carried out is on record as often.
    for (name, recorded) in &effects {
        let Some(tool) = tool(known.loaded, name) else { continue };
        let Plan::Sql(plan) = &tool.plan else { continue };
        let Some(form) = form(&plan.statement) else { continue };
        let ran = facts
            .observed
            .statements
            .iter()
            .filter(|(ran, _)| ran.system == tool.system.as_str() && form.is_match(&ran.sql));
        let ran = ran.count();
        if ran > *recorded && own.intents(name) < ran {
            let told = format!("`{name}` ran {ran} times and is on record {recorded} times");
            found.push(broken("no-effect-without-its-record", told));
        }
    }
}

/// A request names no other tenant.
fn requests(known: &Known<'_>, facts: &Facts<'_>, found: &mut Vec<Broken>) {
    for (asked, tenant) in &facts.observed.requests {
        let text = format!("{} {}", asked.path, asked.body);
        let foreign = |word: &&str| known.tenants.contains(*word) && *word != tenant;
        if asked.method != "MAIL"
            && let Some(other) = words(&text).find(foreign)
        {
            let told =
                format!("a request of {tenant} to {} names {other}: {}", asked.system, asked.path);
            found.push(broken("no-statement-outside-scope", told));
        }
    }
}
