//! Two tools of one name.

use super::{Notes, Way, duration, schema};
use crate::permission::{approvers, budget, caller};
use countersign_core::ladder::{
    Affects, Approvers, Check, Exception, Fragment, Gate, Ladder, Phrase,
};
use countersign_core::quota::Limits;
use countersign_core::scope::{LookUp, Query, ResultRule, ScopeRule};
use countersign_core::tool::{
    EmailPlan, Flow, HttpPlan, McpAsk, McpPlan, Parameter, Piece, Plan, ResultBounds, SqlPlan,
    Template, Tool,
};

/// Compares all that a tool is, taken apart whole.
pub(super) fn diff(notes: &mut Notes<'_>, old: &Tool, new: &Tool) {
    let Tool {
        name: _,
        description,
        input: _,
        schema: _,
        scope,
        look_ups,
        result,
        effect,
        ladder,
        system,
        plan,
        limits,
        offered,
        flow,
    } = new;
    if *description != old.description {
        let says = format!(
            "is described to the model in other words: “{description}”, was “{}”",
            old.description
        );
        notes.note(Way::Other, says);
    }
    if *offered != old.offered {
        notes.note(Way::Other, "is offered to clients as another kind of thing");
    }
    schema::diff(notes, old, new);
    scopes(notes, &old.scope, scope);
    look_ups_of(
        notes,
        old.look_ups.iter().map(AsRef::as_ref).collect(),
        look_ups.iter().map(AsRef::as_ref).collect(),
    );
    results(notes, &old.result, result);
    if *effect != old.effect {
        let way = if *effect < old.effect { Way::Wider } else { Way::Narrower };
        notes.note(way, format!("is said to be {}, was {}", effect.as_str(), old.effect.as_str()));
    }
    ladders(notes, &old.ladder, ladder);
    if *system != old.system {
        notes.note(Way::Wider, format!("reaches {system}, was {}", old.system));
    }
    plans(notes, &old.plan, plan);
    self::limits(notes, "for the tool over all agents", [&old.limits, limits], [&[], &[]]);
    flows(notes, old.flow, *flow);
}

/// Limits on calls, each by itself; with those `around` them, which count these calls and others.
pub(super) fn limits(
    notes: &mut Notes<'_>,
    whose: &str,
    of: [&Limits; 2],
    around: [&[&Limits]; 2],
) {
    // Taken apart, so that a new one is compared.
    let each = |Limits { per_session, per_minute, per_hour, identical_per_minute }: &Limits| {
        [*per_session, *per_minute, *per_hour, *identical_per_minute]
    };
    let whats = ["calls a session", "calls a minute", "calls an hour", "the same call a minute"];
    let [was, is] = of.map(each);
    let [around_old, around_new] = around.map(|around| {
        let least = |at: usize| around.iter().filter_map(|of| each(of).get(at).copied()?).min();
        [0, 1, 2, 3].map(|at| least(at).map(u64::from))
    });
    let olds = was.into_iter().zip(around_old);
    let news = is.into_iter().zip(around_new);
    for ((what, old), new) in whats.into_iter().zip(olds).zip(news) {
        notes.bound_within(&format!("{what} {whose} up to"), [old, new]);
    }
}

fn scopes(notes: &mut Notes<'_>, old: &[ScopeRule], new: &[ScopeRule]) {
    for rule in new.iter().filter(|rule| !old.contains(rule)) {
        // A rule of domains may have grown: what was there is taken away below.
        let before = old.iter().find_map(|before| match (before, rule) {
            (
                ScopeRule::Domains { path, domains },
                ScopeRule::Domains { path: of, domains: now },
            ) if path == of && now.is_subset(domains) => Some(()),
            _ => None,
        });
        let says = match before {
            Some(()) => format!("goes to fewer domains: {}", told(rule)),
            None => format!("is newly bound: {}", told(rule)),
        };
        notes.note(Way::Narrower, says);
    }
    for rule in old.iter().filter(|rule| !new.contains(rule)) {
        let narrowed = new.iter().any(|after| match (rule, after) {
            (
                ScopeRule::Domains { path, domains },
                ScopeRule::Domains { path: of, domains: now },
            ) => path == of && now.is_subset(domains),
            _ => false,
        });
        if !narrowed {
            notes.note(Way::Wider, format!("is bound no more: {}", told(rule)));
        }
    }
}

fn told(rule: &ScopeRule) -> String {
    crate::permission::scope_rule(rule)
}

fn look_ups_of(notes: &mut Notes<'_>, old: Vec<&LookUp>, new: Vec<&LookUp>) {
    let told = |rule: &LookUp| {
        format!("`{}` is {} by {}", rule.path, rule.asks.as_str(), rule.query.system)
    };
    let among = |all: &[&LookUp], one: &LookUp| all.iter().any(|of| look_ups_alike(of, one));
    for rule in new.iter().filter(|rule| !among(&old, rule)) {
        notes.note(Way::Narrower, format!("is newly looked up: {}", told(rule)));
    }
    for rule in old.iter().filter(|rule| !among(&new, rule)) {
        notes.note(
            Way::Wider,
            format!("is looked up no more, or by another statement: {}", told(rule)),
        );
    }
}

/// Whether two look-ups ask the same. For how long an answer holds is part of it.
fn look_ups_alike(old: &LookUp, new: &LookUp) -> bool {
    let LookUp { path, asks, query } = new;
    (path, asks) == (&old.path, &old.asks) && queries(&old.query, query)
}

fn queries(old: &Query, new: &Query) -> bool {
    let Query { system, plan, cached_ms } = new;
    (system, cached_ms) == (&old.system, &old.cached_ms)
        && plan.bounds == old.plan.bounds
        && statements(&old.plan, plan)
}

fn results(notes: &mut Notes<'_>, old: &[ResultRule], new: &[ResultRule]) {
    let told =
        |rule: &ResultRule| format!("`{}` of every row is {}", rule.column, caller(&rule.caller));
    for rule in new.iter().filter(|rule| !old.contains(rule)) {
        notes.note(Way::Narrower, format!("is newly held to it: {}", told(rule)));
    }
    for rule in old.iter().filter(|rule| !new.contains(rule)) {
        notes.note(Way::Wider, format!("is held to it no more: {}", told(rule)));
    }
}

fn ladders(notes: &mut Notes<'_>, old: &Ladder, new: &Ladder) {
    let Ladder { rung, exception, gate, check, affects, undo, budgets } = new;
    let steps = format!("stands on step {}, was {}", rung.number(), old.rung.number());
    match rung.cmp(&old.rung) {
        std::cmp::Ordering::Less => notes.note(Way::Wider, steps),
        std::cmp::Ordering::Greater => notes.note(Way::Narrower, steps),
        std::cmp::Ordering::Equal => {}
    }
    exceptions(notes, old.exception.as_ref(), exception.as_ref());
    match (&old.gate, gate) {
        (None, None) => {}
        (None, Some(gate)) => {
            notes.note(Way::Narrower, format!("waits for {}", approvers(&gate.approvers)))
        }
        (Some(gate), None) => {
            notes.note(Way::Wider, format!("waits no more for {}", approvers(&gate.approvers)));
        }
        (Some(old), Some(new)) => gates(notes, old, new),
    }
    match (&old.check, check) {
        (None, None) => {}
        (None, Some(_)) => {
            notes.note(Way::Narrower, "is checked afterwards, and put back if that fails");
        }
        (Some(_), None) => notes.note(Way::Wider, "is checked afterwards no more"),
        (Some(old), Some(new)) => {
            if !checks(old, new) {
                notes.note(Way::Wider, "is checked afterwards in another way");
            }
        }
    }
    let Affects { min, max } = *affects;
    notes.bound("rows changed up to", Some(old.affects.max), Some(max));
    // From how many: fewer is more.
    match min.cmp(&old.affects.min) {
        std::cmp::Ordering::Less => {
            notes.note(Way::Wider, format!("rows changed from {min}, was {}", old.affects.min));
        }
        std::cmp::Ordering::Greater => {
            notes.note(Way::Narrower, format!("rows changed from {min}, was {}", old.affects.min));
        }
        std::cmp::Ordering::Equal => {}
    }
    let undone = match (&old.undo, undo) {
        (None, None) => true,
        (Some(old), Some(new)) => alike(old, new),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !undone {
        notes.note(Way::Wider, "is put back in another way if its check fails");
    }
    for sum in budgets {
        let before = old.budgets.iter().find(|before| {
            (&before.of, before.window, before.per) == (&sum.of, sum.window, sum.per)
        });
        match before {
            None => notes.note(Way::Narrower, format!("newly keeps to a sum: {}", budget(sum))),
            Some(before) => {
                let what = format!("`{}` per {} up to", sum.of.name(), sum.window.as_str());
                notes.bound(&what, Some(before.max), Some(sum.max));
            }
        }
    }
    for sum in &old.budgets {
        let after = |after: &&countersign_core::ladder::Budget| {
            (&after.of, after.window, after.per) == (&sum.of, sum.window, sum.per)
        };
        if budgets.iter().find(after).is_none() {
            notes.note(Way::Wider, format!("keeps to a sum no more: {}", budget(sum)));
        }
    }
}

fn exceptions(notes: &mut Notes<'_>, old: Option<&Exception>, new: Option<&Exception>) {
    match (old, new) {
        (None, None) => {}
        (None, Some(Exception { rung, reason, reviewed_by, expires: _ })) => notes.note(
            Way::Wider,
            format!("by an exception stands on step {}: {reason} ({reviewed_by})", rung.number()),
        ),
        (Some(_), None) => notes.note(Way::Narrower, "has an exception no more"),
        (Some(old), Some(new)) => {
            if new.rung < old.rung || new.expires > old.expires {
                notes.note(Way::Wider, "has an exception that goes further, or holds for longer");
            } else if new.rung > old.rung || new.expires < old.expires {
                notes.note(Way::Narrower, "has an exception that goes less far, or ends sooner");
            } else if new != old {
                notes.note(Way::Other, "has an exception with other words");
            }
        }
    }
}

fn gates(notes: &mut Notes<'_>, old: &Gate, new: &Gate) {
    let Gate { approvers: who, expires_s, summary, preview, decision, escalation, delegates } = new;
    people(notes, "", &old.approvers, who);
    let times =
        format!("people may agree for {}, was {}", duration(*expires_s), duration(old.expires_s));
    match expires_s.cmp(&old.expires_s) {
        std::cmp::Ordering::Greater => notes.note(Way::Wider, times),
        std::cmp::Ordering::Less => notes.note(Way::Narrower, times),
        std::cmp::Ordering::Equal => {}
    }
    // They agree to what they are told, whatever is done.
    if phrase(summary) != phrase(&old.summary) {
        let [was, is] = [&old.summary, summary].map(words);
        notes.note(Way::Wider, format!("is told to its approvers as “{is}”, was “{was}”"));
    }
    match (&old.preview, preview) {
        (None, None) => {}
        (None, Some(_)) => notes.note(Way::Narrower, "shows its approvers a preview"),
        (Some(_), None) => notes.note(Way::Wider, "shows its approvers no preview any more"),
        (Some(old), Some(new)) => {
            if !queries(old, new) {
                let told = |of: &Query| format!("“{}” of {}", of.plan.statement, of.system);
                let [was, is] = [old, new].map(|of| told(of));
                notes.note(
                    Way::Wider,
                    format!("shows its approvers another preview: {is}, was {was}"),
                );
            }
        }
    }
    match (&old.decision, decision) {
        (was, is) if was == is => {}
        (Some(_), None) => {
            notes.note(Way::Narrower, "has no decision point that stands in for people")
        }
        (_, Some(point)) => {
            notes.note(
                Way::Wider,
                format!("may be agreed to by the decision point {}", point.system),
            );
        }
        (None, None) => {}
    }
    match (&old.escalation, escalation) {
        (was, is) if was == is => {}
        (Some(_), None) => notes.note(Way::Narrower, "asks nobody further after a while"),
        (Some(old), Some(new)) => {
            people(notes, "after a while ", &old.to, &new.to);
            let times = format!("after {}, was {}", duration(new.after_s), duration(old.after_s));
            if new.after_s < old.after_s {
                notes.note(Way::Wider, format!("asks further people sooner: {times}"));
            } else if new.after_s > old.after_s {
                notes.note(Way::Narrower, format!("asks further people later: {times}"));
            }
        }
        (None, Some(new)) => {
            notes.note(Way::Wider, format!("after a while also asks {}", approvers(&new.to)))
        }
        (None, None) => {}
    }
    let more: Vec<_> = delegates.difference(&old.delegates).map(String::as_str).collect();
    let less: Vec<_> = old.delegates.difference(delegates).map(String::as_str).collect();
    if !more.is_empty() {
        notes.note(Way::Wider, format!("lets {} stand in for one who is named", more.join(", ")));
    }
    if !less.is_empty() {
        notes.note(Way::Narrower, format!("lets {} stand in for nobody any more", less.join(", ")));
    }
}

fn people(notes: &mut Notes<'_>, when: &str, old: &Approvers, new: &Approvers) {
    let is = approvers(new);
    let was = approvers(old);
    match (old, new) {
        (was, is) if was == is => {}
        (Approvers::Named(old), Approvers::Named(new)) => {
            if new.is_subset(old) {
                notes.note(Way::Narrower, format!("{when}waits for {is} only, was {was}"));
            } else {
                notes.note(Way::Wider, format!("{when}may be agreed to by {is}, was {was}"));
            }
        }
        (
            Approvers::Group { group: before, subject: true },
            Approvers::Group { group: after, subject: false },
        ) if before == after => {
            notes.note(Way::Narrower, format!("{when}waits for {is}, was {was}"))
        }
        _ => notes.note(Way::Wider, format!("{when}may be agreed to by {is}, was {was}")),
    }
}

/// What a call does. Nobody can say what another statement comes to: people have to read it.
fn plans(notes: &mut Notes<'_>, old: &Plan, new: &Plan) {
    let ResultBounds { rows_max, bytes_max } = new.bounds();
    notes.bound("rows that come back up to", Some(old.bounds().rows_max), Some(rows_max));
    notes.bound("bytes that come back up to", Some(old.bounds().bytes_max), Some(bytes_max));
    let same = alike(old, new);
    if !same {
        notes.note(
            Way::Wider,
            "calls its system in another way: what that comes to, people have to read",
        );
    }
}

/// Whether two calls are the same apart from times and bounds, and from which arguments may be left out:
/// that is the input's.
fn alike(old: &Plan, new: &Plan) -> bool {
    match (old, new) {
        (Plan::Sql(old), Plan::Sql(new)) => statements(old, new),
        (
            Plan::Http(old),
            Plan::Http(HttpPlan {
                method,
                path,
                query,
                headers,
                body,
                result,
                pick,
                empty_on,
                timeout_ms: _,
                bounds: _,
            }),
        ) => {
            let bodies = (body.as_ref().map(template), old.body.as_ref().map(template));
            (method, result, pick, empty_on) == (&old.method, &old.result, &old.pick, &old.empty_on)
                && path.iter().map(piece).eq(old.path.iter().map(piece))
                && named(query) == named(&old.query)
                && named(headers) == named(&old.headers)
                && bodies.0 == bodies.1
        }
        (
            Plan::Email(old),
            Plan::Email(EmailPlan { to, subject, text, timeout_ms: _, bounds: _ }),
        ) => {
            (to, phrase(subject), phrase(text))
                == (&old.to, phrase(&old.subject), phrase(&old.text))
        }
        (
            Plan::Mcp(old),
            Plan::Mcp(McpPlan { ask, pin, rows, pick, undone_on_error, timeout_ms: _, bounds: _ }),
        ) => {
            (asked(ask), pin, rows, pick, undone_on_error)
                == (asked(&old.ask), &old.pin, &old.rows, &old.pick, &old.undone_on_error)
        }
        (Plan::Sql(_) | Plan::Http(_) | Plan::Email(_) | Plan::Mcp(_), _) => false,
    }
}

fn statements(old: &SqlPlan, new: &SqlPlan) -> bool {
    let SqlPlan { statement, parameters, timeout_ms: _, bounds: _ } = new;
    let names = |of: &[Parameter]| of.iter().map(|of| of.name.clone()).collect::<Vec<_>>();
    *statement == old.statement && names(parameters) == names(&old.parameters)
}

/// Whether two post-conditions ask the same.
fn checks(old: &Check, new: &Check) -> bool {
    match (old, new) {
        (Check::Sql(old), Check::Sql(new)) => statements(old, new),
        (Check::Http { read: before, expect: held }, Check::Http { read, expect }) => {
            expect == held && alike(&Plan::Http(before.clone()), &Plan::Http(read.clone()))
        }
        (Check::Sql(_) | Check::Http { .. }, _) => false,
    }
}

/// An argument of which it is not said whether it may be left out.
fn parameter(Parameter { name, optional: _ }: &Parameter) -> Parameter {
    Parameter { name: name.clone(), optional: false }
}

fn piece(of: &Piece) -> Piece {
    match of {
        Piece::Literal(text) => Piece::Literal(text.clone()),
        Piece::Argument(of) => Piece::Argument(parameter(of)),
    }
}

fn named(of: &[(String, Piece)]) -> Vec<(String, Piece)> {
    of.iter().map(|(name, of)| (name.clone(), piece(of))).collect()
}

fn template(of: &Template) -> Template {
    match of {
        Template::Literal(value) => Template::Literal(value.clone()),
        Template::Argument(of) => Template::Argument(parameter(of)),
        Template::Object(members) => {
            let members = members.iter().map(|(name, of)| (name.clone(), template(of)));
            Template::Object(members.collect())
        }
        Template::Array(elements) => Template::Array(elements.iter().map(template).collect()),
    }
}

fn phrase(Phrase(of): &Phrase) -> Vec<Fragment> {
    let fragments = of.iter().map(|of| match of {
        Fragment::Text(text) => Fragment::Text(text.clone()),
        Fragment::Argument(of) => Fragment::Argument(parameter(of)),
    });
    fragments.collect()
}

/// A phrase as its author wrote it.
fn words(Phrase(of): &Phrase) -> String {
    let fragments = of.iter().map(|of| match of {
        Fragment::Text(text) => text.clone(),
        Fragment::Argument(of) => format!("{{{}}}", of.name),
    });
    fragments.collect()
}

fn asked(of: &McpAsk) -> McpAsk {
    match of {
        McpAsk::Tool { name, arguments } => {
            McpAsk::Tool { name: name.clone(), arguments: template(arguments) }
        }
        McpAsk::Resource(uri) => McpAsk::Resource(uri.clone()),
        McpAsk::Prompt { name, arguments } => {
            McpAsk::Prompt { name: name.clone(), arguments: named(arguments) }
        }
    }
}

/// Labels: a weaker one lets more through where labels are asked for.
fn flows(notes: &mut Notes<'_>, old: Flow, new: Flow) {
    let Flow { reads, holds, sends } = new;
    for (what, was, is, order) in [
        ("reads what is", old.reads.as_str(), reads.as_str(), reads.cmp(&old.reads)),
        ("holds what is", old.holds.as_str(), holds.as_str(), holds.cmp(&old.holds)),
        ("sends", old.sends.as_str(), sends.as_str(), sends.cmp(&old.sends)),
    ] {
        let says = format!("is said to be a tool that {what} {is}, was {was}");
        match order {
            std::cmp::Ordering::Less => notes.note(Way::Wider, says),
            std::cmp::Ordering::Greater => notes.note(Way::Narrower, says),
            std::cmp::Ordering::Equal => {}
        }
    }
}
