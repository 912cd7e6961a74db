//! What the rules remember can be kept and taken up at any record, and does not grow.

use super::{Memory, Raised, Rules};
use crate::bound::{PACE_WINDOWS_MAX, PACES_MAX, SUBJECTS_MAX};
use countersign_core::alert::{Limits, Rule};
use countersign_core::reading::Record;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn usual() -> BTreeMap<Rule, Limits> {
    Rule::ALL.map(|rule| (rule, rule.usual())).into()
}

fn record(seq: u64, at_s: i64, members: Value) -> Record {
    let mut header = members.as_object().unwrap().clone();
    header.insert("stream".into(), "s".into());
    header.insert("seq".into(), seq.into());
    header.insert("at".into(), (at_s * 1_000_000).into());
    Record::new(header, [])
}

fn of(agent: u64, kind: &str, more: Value) -> Value {
    let mut members = json!({
        "kind": kind, "agent": format!("agent-{agent}"), "tenant": "t", "tool": "pay",
        "effect": "irreversible",
    });
    let more = more.as_object().unwrap().clone();
    members.as_object_mut().unwrap().extend(more);
    members
}

/// Records of every kind that rules count, in a time that now and then goes back.
fn stream(length: u64) -> Vec<Record> {
    let mut dice = 7_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut at_s = 1_000_000_i64;
    let next = |seq| {
        at_s += [0, 1, 2, 60, -30, 900][roll(6) as usize];
        let agent = roll(3);
        let members = match roll(8) {
            0 => of(agent, "refusal", json!({ "code": "out_of_scope", "count": 1 + roll(5) })),
            1 => of(agent, "refusal", json!({ "code": "unknown_tool", "count": 1 + roll(9) })),
            2 => {
                of(agent, "refusal", json!({ "code": "out_of_scope", "merged": true, "count": 30 }))
            }
            3 => of(agent, "outcome", json!({ "applied": "unknown" })),
            4 => of(agent, "outcome", json!({ "applied": "applied", "alert": "foreign_rows" })),
            5 if agent == 2 => {
                of(agent, "definition_changed", json!({ "alert": "definition_changed" }))
            }
            5 => of(agent, "draft_expired", json!({})),
            6 => of(
                agent,
                "refusal",
                json!({ "code": "outside_approval", "alert": "outside_approval_flow" }),
            ),
            _ => of(agent, "refusal", json!({ "code": "rate_limited", "count": 1 + roll(200) })),
        };
        record(seq, at_s, members)
    };
    (0..length).map(next).collect()
}

#[test]
fn what_is_kept_and_taken_up_again_at_any_record_finds_the_same() {
    let records = stream(4_000);
    let mut whole = Rules::new(usual(), Memory::default());
    let mut found: Vec<Raised> = Vec::new();
    let mut cut = Memory::default();
    for record in &records {
        let raised = whole.see(record);
        let kept = serde_json::to_string(&cut).unwrap();
        let mut again = Rules::new(usual(), serde_json::from_str(&kept).unwrap());
        assert_eq!(again.see(record), raised);
        cut = again.memory().clone();
        found.extend(raised);
    }
    assert_eq!(cut, *whole.memory());
    for rule in Rule::ALL {
        assert!(found.iter().any(|raised| raised.rule == rule), "{rule:?} was never raised");
    }
    let causes: std::collections::BTreeSet<_> =
        found.iter().map(|raised| (raised.rule, raised.cause.clone())).collect();
    assert_eq!(causes.len(), found.len(), "each has a cause of its own");
}

#[test]
fn what_is_remembered_is_bounded_and_the_latest_is_not_forgotten() {
    let mut rules = Rules::new(usual(), Memory::default());
    for agent in 0..30_000 {
        let at_s = 1_000_000 + i64::try_from(agent).unwrap();
        let probing = of(agent, "refusal", json!({ "code": "unknown_tool", "count": 19 }));
        assert_eq!(rules.see(&record(agent, at_s, probing)), []);
    }
    assert!(rules.memory().tallies.len() <= SUBJECTS_MAX);
    assert!(rules.memory().paces.len() <= PACES_MAX);
    let once_more = of(29_999, "refusal", json!({ "code": "unknown_tool", "count": 1 }));
    assert_eq!(rules.see(&record(30_000, 1_030_001, once_more)).len(), 1);
    let mut paced = Rules::new(usual(), Memory::default());
    for window in 0..2_000 {
        let one = of(1, "refusal", json!({ "code": "rate_limited" }));
        paced.see(&record(window, 300 * i64::try_from(window).unwrap(), one));
    }
    let kept = serde_json::to_string(paced.memory()).unwrap();
    assert!(kept.len() < 10 * PACE_WINDOWS_MAX, "{}", kept.len());
}

#[test]
fn a_rule_that_is_switched_off_raises_nothing_and_remembers_nothing() {
    let mut rules = Rules::new(BTreeMap::new(), Memory::default());
    for record in stream(500) {
        assert_eq!(rules.see(&record), []);
    }
    assert_eq!(*rules.memory(), Memory::default());
}

#[test]
fn a_clock_that_was_far_ahead_for_a_moment_silences_no_rule() {
    let mut rules = Rules::new(usual(), Memory::default());
    let expired = || of(1, "draft_expired", json!({}));
    let year_s = 365 * 86_400;
    assert_eq!(rules.see(&record(0, year_s, expired())).len(), 1);
    assert_eq!(rules.see(&record(1, 1_000, expired())).len(), 1);
    assert_eq!(rules.see(&record(2, 1_001, expired())).len(), 0, "it cools down");
    // Spikes are found again once the clock is back for as long as a window.
    let mut paced = Rules::new(usual(), Memory::default());
    let calls = |count: u64| of(1, "refusal", json!({ "code": "rate_limited", "count": count }));
    paced.see(&record(0, year_s, calls(5)));
    let windows = (0..8).map(|window| (window, 10));
    let found = windows.chain([(9, 500)]).flat_map(|(window, count)| {
        paced.see(&record(1 + window, 300 * i64::try_from(window).unwrap(), calls(count)))
    });
    assert_eq!(found.count(), 1);
}
