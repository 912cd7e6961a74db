//! The explanation against the pipeline: the same random calls put to both.

use super::account::{Account, Ground};
use super::{Call, Stopped, Who, identity};
use crate::assemble;
use crate::machine::SystemEntropy;
use crate::policies;
use countersign_core::call::{
    Answer, Caller, Consultation, Door, Evidence, Inquiry, Monitor, Permit, Proposed,
};
use countersign_core::id::Timestamp;
use countersign_core::port::{
    Connector, Eventually, Found, Journal, Receipt, Refused, Report, Unrecorded,
};
use countersign_core::posture::Posture;
use countersign_core::quota::{Charge, Counter, LimitReached, Meter, Reservation};
use countersign_core::record::Entry;
use countersign_core::refusal::{Applied, Refusal, SystemFault, SystemFaultKind};
use countersign_posture::load_posture;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[path = "../../../../countersign-core/tests/it/nobody.rs"]
mod nobody;

const CALLS: u32 = 10_000;

/// A journal that admits and takes everything, and a system that answers everything with no rows
/// and keeps what it was asked.
#[derive(Debug, Default)]
struct World {
    executed: Mutex<Option<Map<String, Value>>>,
}

impl Journal for World {
    fn give_back(&self, _: &[Charge]) {}
    fn spent(&self, _: &Counter, _: Timestamp) -> u64 {
        0
    }
    fn reserve(&self, counters: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached> {
        Meter::default().reserve(counters, now)
    }
    fn append(&self, _entry: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>> {
        let hash = countersign_core::id::Digest::from_bytes([0; 32]);
        let receipt = Receipt { stream: "memory".into(), sequence: 0, hash };
        Box::pin(std::future::ready(Ok(receipt)))
    }
    fn note(&self, _refused: Refused) {}
}

impl Connector for World {
    fn is_withdrawn(&self, _: &countersign_core::tool::Tool) -> bool {
        false
    }

    fn changes(
        &self,
    ) -> Vec<(countersign_core::id::SystemName, countersign_core::port::DefinitionChange)> {
        Vec::new()
    }

    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        *self.executed.lock().unwrap() = Some(permit.arguments().clone());
        let report = Report {
            shape: countersign_core::port::Shape::Rows,
            result: json!([]),
            rows: 0,
            truncated: false,
            changed: 0,
            applied: Applied::Applied,
        };
        Box::pin(std::future::ready(Ok(report)))
    }
    /// Does not know numbers that end with a three, and fails at those that end with a seven.
    fn look_up(&self, inquiry: Inquiry) -> Eventually<'_, Result<Found, SystemFault>> {
        let values = Value::Object(inquiry.values().clone()).to_string();
        let digit = values.chars().rev().find(char::is_ascii_digit).unwrap_or('0');
        let known = digit != '3';
        let rows = if known { vec![json!({"1": 1})] } else { Vec::new() };
        let found = match digit {
            '7' => Err(SystemFault::new(
                SystemFaultKind::Unavailable,
                Applied::NotApplied,
                "away".to_owned(),
            )),
            _ => Ok(Found { rows, truncated: false, cached: false }),
        };
        Box::pin(std::future::ready(found))
    }

    /// There is no decision point here.
    fn consult(&self, _: Consultation) -> Eventually<'_, Result<bool, SystemFault>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// What callers and models mix up: identifiers, own and foreign, and what is none.
fn anything() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("acct_alpha"),
        json!("acct_bravo"),
        json!("HAM"),
        json!("MUC"),
        json!("'; drop table shipments; --"),
        json!(""),
        json!(null),
        json!(true),
        json!(-1),
        json!(9_000_000),
        json!(1e300),
        json!([]),
        json!({}),
    ])
}

/// Values that fit a schema of ours; identifiers among them are often somebody's.
fn fitting(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return prop::sample::select(values.clone()).boxed();
    }
    let number = |key: &str, default: i64| schema[key].as_i64().unwrap_or(default);
    let sizes = |min: &str, max: &str| {
        let size = |key, default| usize::try_from(number(key, default)).unwrap();
        size(min, 0)..=size(max, 3).min(4)
    };
    match schema["type"].as_str().unwrap() {
        "string" => match schema["pattern"].as_str() {
            Some("^[A-Z]{3}$") => {
                prop::sample::select(vec!["HAM", "BER", "MUC"]).prop_map(Value::from).boxed()
            }
            Some(pattern) => {
                let inner = pattern.trim_start_matches('^').trim_end_matches('$');
                prop::string::string_regex(inner).unwrap().prop_map(Value::from).boxed()
            }
            None => "[a-z ]{2,20}".prop_map(Value::from).boxed(),
        },
        "integer" => (number("minimum", 0)..=number("maximum", 9)).prop_map(Value::from).boxed(),
        "number" => (number("minimum", 0)..=number("maximum", 9))
            .prop_map(|whole| json!(f64::from(i32::try_from(whole).unwrap()) + 0.5))
            .boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "array" => prop::collection::vec(fitting(&schema["items"]), sizes("minItems", "maxItems"))
            .prop_map(Value::from)
            .boxed(),
        _ => object(schema),
    }
}

/// An object of a schema: a member now and then left out, put wrong or added.
fn object(schema: &Value) -> BoxedStrategy<Value> {
    let required = schema["required"].as_array().unwrap();
    let members = schema["properties"].as_object().unwrap().iter().map(|(name, schema)| {
        let usual = if required.contains(&json!(name)) { 60 } else { 10 };
        let value = prop_oneof![
            usual => fitting(schema).prop_map(Some),
            1 => anything().prop_map(Some),
            1 => Just(None),
        ];
        (Just(name.clone()), value)
    });
    let added = prop_oneof![40 => Just(None), 1 => anything().prop_map(Some)];
    (members.collect::<Vec<_>>(), added)
        .prop_map(|(members, added)| {
            let members = members.into_iter().chain([("tenant".to_owned(), added)]);
            let given = members.filter_map(|(name, value)| Some((name, value?)));
            Value::Object(given.collect())
        })
        .boxed()
}

/// Calls of every grant for every tenant; now and then by another agent, or of no tool.
fn calls(posture: &Posture) -> BoxedStrategy<Call> {
    let granted = posture.agents.iter().flat_map(|(actor, agent)| {
        let tools = agent.grants.values().map(|grant| &grant.tool);
        tools.map(|tool| (actor.to_string(), tool.name.to_string(), json!(tool.input)))
    });
    let grant = prop::sample::select(granted.collect::<Vec<_>>());
    let actors = posture.agents.keys().map(|actor| actor.to_string()).collect::<Vec<_>>();
    let asked = grant.prop_flat_map(move |(actor, tool, input)| {
        let others = actors.iter().cloned().chain(["nobody".to_owned()]).collect::<Vec<_>>();
        let actor = prop_oneof![12 => Just(actor), 1 => prop::sample::select(others)];
        let arguments = prop_oneof![30 => object(&input), 1 => anything()];
        let name = prop_oneof![30 => Just(tool.clone()), 1 => Just(tool + "s"), 1 => ".*"];
        (actor, name, arguments)
    });
    let tenants = vec!["acct_alpha", "acct_bravo", "acct_charlie", "acct_delta"];
    let depots = prop::sample::subsequence(vec!["HAM", "BER", "MUC"], 0..=3);
    (prop::sample::select(tenants), depots, asked)
        .prop_map(|(tenant, depots, (agent, tool, arguments))| {
            let depots = depots.into_iter().map(str::to_owned).collect();
            let claims = BTreeMap::from([("depots".to_owned(), depots)]);
            let principal = Who {
                agent,
                tenant: tenant.to_owned(),
                user: "ann".to_owned(),
                scopes: vec![],
                claims,
            };
            Call { principal, tool, arguments }
        })
        .boxed()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one property, told in full")]
fn the_explanation_says_what_the_pipeline_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme/posture");
    let (loaded, findings) = load_posture(&root);
    let mut loaded = loaded.unwrap_or_else(|| panic!("{findings:?}"));
    let bundle = Arc::new(policies::compile(&mut loaded).unwrap().unwrap());
    let posture = Arc::new(loaded.posture);
    let ground = Ground {
        places: &loaded.places,
        register: &loaded.register,
        claims: &loaded.claims,
        bundle: &bundle,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seen: RefCell<BTreeMap<&str, u32>> = RefCell::default();
    let mut runner =
        TestRunner::new(Config { cases: CALLS, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&calls(&posture), |call| {
        let world = Arc::new(World::default());
        let clock = Arc::new(Stopped(Timestamp::from_secs(1_795_000_000)));
        let claims = assemble::claims(&loaded.claims);
        let (identity, credential) =
            identity(&call.principal, claims, ("made-up", clock.0)).unwrap();
        let monitor = Monitor {
            posture: Arc::clone(&posture),
            authenticator: Arc::new(identity),
            pdp: bundle.clone(),
            journal: world.clone(),
            register: Arc::new(nobody::Nobody),
            people: Arc::new(nobody::Nobody),
            connector: world.clone(),
            clock,
            entropy: Arc::new(SystemEntropy),
        };
        let met = || runtime.block_on(monitor.authenticate(&credential, Door::Http));
        let account = runtime.block_on(Account::of(ground, &call, &monitor, met()));
        assert!(world.executed.lock().unwrap().is_none(), "an explanation has acted");
        let answer = met().map(|caller: Caller| {
            let (tool, arguments) = (call.tool.clone(), call.arguments.clone());
            let proposed = Proposed { caller: Arc::new(caller), tool, arguments, answers: None };
            runtime.block_on(monitor.call(proposed))
        });
        let decided = match &answer {
            Ok(Answer::Completed(_) | Answer::Faulted(_)) => None,
            Ok(Answer::Refused(refused)) | Err(refused) => Some(refused.refusal()),
        };
        let explained = account.explained().refusal.as_ref();
        match (explained, decided) {
            // An explanation drafts nothing.
            (
                Some(Refusal::ApprovalRequired(explained)),
                Some(Refusal::ApprovalRequired(drafted)),
            ) => {
                prop_assert_eq!((&explained.draft, explained.rung), (&None, drafted.rung));
            }
            _ => prop_assert_eq!(explained, decided),
        }
        let executed = world.executed.lock().unwrap().take();
        let bound = account.explained().passed.iter().find_map(|evidence| match evidence {
            Evidence::Bound(_, arguments) => Some(arguments.clone()),
            _ => None,
        });
        prop_assert_eq!(executed, bound.filter(|_| decided.is_none()));
        prop_assert_eq!(&account.json()["allowed"], &json!(decided.is_none()));
        prop_assert_eq!(account.text().contains("to be allowed:\n    "), decided.is_some());
        let code = decided.map_or("allowed", |refusal| refusal.code());
        *seen.borrow_mut().entry(code).or_default() += 1;
        Ok(())
    });
    ran.unwrap();
    let seen = seen.into_inner();
    println!("{seen:?}");
    for code in [
        "allowed",
        "unauthenticated",
        "unknown_tool",
        "invalid_arguments",
        "out_of_scope",
        "forbidden",
        "lookup_failed",
        "approval_required",
    ] {
        assert!(seen.get(code).is_some_and(|&often| often > CALLS / 100), "{code}: {seen:?}");
    }
}
