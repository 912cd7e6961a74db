//! Gated calls: drafted, decided, carried out once, and told once.

use crate::world::{Acts, World, now};
use countersign_core::act::{Act, Barred, Visitor};
use countersign_core::call::{Answer, Answers, Door, Monitor, Proposed};
use countersign_core::draft::{Draft, State, Switch};
use countersign_core::id::AgentId;
use countersign_core::ladder::{
    Affects, Approvers, Budget, Check, Escalation, Exception, Fragment, Gate, Ladder, Per, Phrase,
    Summed,
};
use countersign_core::port::Credential;
use countersign_core::quota::Window;
use countersign_core::scope::ArgumentPath;
use countersign_core::tool::{Effect, Parameter, ResultBounds, Rung, SqlPlan};
use countersign_core::{id::Timestamp, refusal::Refusal};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const SAM: &str = "sam-1 sam@acme.example support t1 10";
pub(crate) const LEE: &str = "lee-2 lee@acme.example support,sre * 10";
pub(crate) const ANN: &str = "ann-7 ann@acme.example support t1 10";

pub(crate) fn gate(approvers: Approvers) -> Gate {
    let days = Parameter { name: "days".into(), optional: true };
    let summary = vec![Fragment::Text("Pays ".into()), Fragment::Argument(days)];
    Gate {
        approvers,
        expires_s: 600,
        summary: Phrase(summary),
        preview: None,
        decision: None,
        escalation: None,
        delegates: [].into(),
    }
}

fn named() -> Ladder {
    let named = ["sam@acme.example".to_owned(), "ann@acme.example".to_owned()];
    Ladder { gate: Some(gate(Approvers::Named(named.into()))), ..Ladder::at(Rung::NAMED) }
}

fn grouped(subject: bool) -> Ladder {
    let approvers = Approvers::Group { group: "support".into(), subject };
    Ladder { gate: Some(gate(approvers)), ..Ladder::at(Rung::CONFIRMED) }
}

pub(crate) fn world(ladder: Ladder) -> World {
    World::with(|b| b.ladder = Some(ladder))
}

pub(crate) fn monitor(world: &World) -> Monitor {
    world.monitor(Effect::Irreversible)
}

fn ask_with(world: &World, days: u32, answers: Option<Answers>) -> Answer {
    let monitor = monitor(world);
    let caller = world.caller(&monitor);
    let arguments = json!({"account": "t1", "days": days});
    now(monitor.call(Proposed { caller, tool: "get_usage".into(), arguments, answers }))
}

pub(crate) fn ask(world: &World) -> Answer {
    ask_with(world, 7, None)
}

fn check_draft(world: &World, arguments: Value) -> Answer {
    let monitor = monitor(world);
    let caller = world.caller(&monitor);
    let tool = "check_draft".into();
    now(monitor.call(Proposed { caller, tool, arguments, answers: None }))
}

pub(crate) fn code(answer: &Answer) -> &'static str {
    match answer {
        Answer::Completed(_) => "completed",
        Answer::Refused(refused) => refused.refusal().code(),
        Answer::Faulted(faulted) => faulted.fault().code(),
    }
}

pub(crate) fn visitor(monitor: &Monitor, token: &str) -> Visitor {
    now(monitor.welcome(&Credential::bearer(token))).unwrap()
}

pub(crate) fn act(world: &World, who: &str, act: Act) -> Result<(), &'static str> {
    let monitor = monitor(world);
    let done = now(monitor.act(&visitor(&monitor, who), act));
    done.map(drop).map_err(|barred| barred.code())
}

pub(crate) fn approve(world: &World, who: &str) -> Result<(), &'static str> {
    act(world, who, Act::Approve(only(world).id))
}

pub(crate) fn only(world: &World) -> Draft {
    let drafts = world.drafts();
    drafts.last().expect("a draft").clone()
}

pub(crate) fn tend(world: &World) -> Option<&'static str> {
    let monitor = monitor(world);
    now(monitor.tend(only(world))).as_ref().map(code)
}

fn executed(world: &World) -> usize {
    world.asked().iter().filter(|asked| asked.starts_with("execute")).count()
}

#[test]
fn a_gated_call_becomes_one_draft_and_nothing_is_done() {
    let world = world(named());
    let Answer::Refused(refused) = ask(&world) else { panic!("drafted") };
    let draft = only(&world);
    let public = refused.public();
    assert_eq!((public.code, public.reference), ("approval_required", Some(draft.id.to_string())));
    assert!(public.message.contains("not executed"), "{}", public.message);
    assert_eq!(draft.summary, "Pays 7");
    assert_eq!(draft.arguments, br#"{"account":"t1","days":7}"#, "what is bound is not kept");
    assert_eq!(code(&ask(&world)), "approval_required");
    assert_eq!(world.drafts().len(), 1, "asking again meets the same draft");
    assert_eq!(tend(&world), None, "nobody has approved it");
    assert_eq!(executed(&world), 0);
}

#[test]
fn an_approved_draft_is_carried_out_once_and_told_once() {
    let world = world(named());
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Ok(()));
    assert_eq!(approve(&world, SAM), Err("conflict"));
    assert_eq!(tend(&world), Some("completed"));
    let draft = only(&world);
    assert_eq!((draft.state, draft.delivered), (State::Executed, false));
    assert!(draft.committed.is_some());
    assert_eq!(tend(&world), None, "one approval, one effect");
    assert_eq!(executed(&world), 1);

    assert_eq!(code(&ask(&world)), "completed");
    assert_eq!(code(&check_draft(&world, json!({"reference": draft.id.as_str()}))), "executed");
    assert_eq!(executed(&world), 0, "telling is not doing");
    assert_eq!(code(&ask(&world)), "approval_required");
    assert_eq!(only(&world).same_as, Some(draft.id), "the same call once more is a new draft");
}

#[test]
fn the_fourth_step_takes_a_named_person_who_is_somebody_else_and_has_just_signed_in() {
    for (who, expected) in [
        (SAM, Ok(())),
        (LEE, Err("not_entitled")),
        (ANN, Err("not_entitled")),
        ("ann-8 ann@acme.example support t1 10", Ok(())),
        ("sam-1 sam@acme.example support t2 10", Err("not_found")),
        ("sam-1 sam@acme.example support t1 301", Err("stale_sign_in")),
        ("sam-1 sam@acme.example support t1 -60", Err("stale_sign_in")),
        ("ann-7 sam@acme.example support t1 10", Err("not_entitled")),
        ("sam-1 SAM@acme.example support t1 10", Ok(())),
        ("x-9 eve@acme.example sales t1 10", Err("not_found")),
    ] {
        let world = world(named());
        let _drafted = ask(&world);
        assert_eq!(approve(&world, who), expected, "{who}");
        assert_eq!(tend(&world).is_some(), expected.is_ok(), "{who}");
    }
    // Without a name for the human behind the token nobody can be shown to be somebody else.
    let world = World::with(|b| (b.ladder, b.person) = (Some(named()), None));
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Err("not_entitled"));
}

#[test]
fn the_third_step_takes_a_member_for_the_tenant_and_the_subject_only_where_it_may() {
    for (subject, who, expected) in [
        (false, SAM, Ok(())),
        (false, "sam-1 sam@acme.example support t1 9999", Ok(())),
        (false, ANN, Err("not_entitled")),
        (true, ANN, Ok(())),
        (true, "ann-7 ann@acme.example none t9 10", Ok(())),
        (false, "kim-3 kim@acme.example support t2 10", Err("not_found")),
        (false, "kim-3 kim@acme.example sales t1 10", Err("not_found")),
        (false, "op-1 op@acme.example sre * 10", Err("not_entitled")),
    ] {
        let world = world(grouped(subject));
        let _drafted = ask(&world);
        assert_eq!(approve(&world, who), expected, "{subject} {who}");
    }
}

#[test]
fn what_a_client_answers_is_nobodys_approval() {
    let world = world(named());
    assert_eq!(code(&ask_with(&world, 7, Some(Answers::Form))), "outside_approval");
    assert_eq!(world.last_header()["alert"], "outside_approval_flow");
    assert!(world.drafts().is_empty());
    let _drafted = ask(&world);
    let own = Answers::State(only(&world).id.to_string());
    assert_eq!(code(&ask_with(&world, 7, Some(own.clone()))), "approval_required");
    assert_eq!(code(&ask_with(&world, 8, Some(own))), "outside_approval", "another call's state");
    let forged = Answers::State("drf_00000000000000000000000000000000".into());
    assert_eq!(code(&ask_with(&world, 7, Some(forged))), "outside_approval");
    assert_eq!(executed(&world), 0);
    assert_eq!(approve(&world, SAM), Ok(()));
    assert_eq!(tend(&world), Some("completed"));
}

#[test]
fn a_draft_is_its_own_callers_to_ask_after_and_to_take_back() {
    let world = world(named());
    let _drafted = ask(&world);
    let id = only(&world).id.to_string();
    assert_eq!(code(&check_draft(&world, json!({"reference": id}))), "approval_required");
    for (arguments, expected) in [
        (json!({"reference": "drf_1"}), "unknown_draft"),
        (json!({"reference": 7}), "invalid_arguments"),
        (json!({}), "invalid_arguments"),
        (json!({"reference": id, "approve": true}), "invalid_arguments"),
        (json!({"reference": id, "withdraw": "yes"}), "invalid_arguments"),
    ] {
        assert_eq!(code(&check_draft(&world, arguments.clone())), expected, "{arguments}");
    }
    assert_eq!(code(&check_draft(&world, json!({"reference": id, "withdraw": true}))), "withdrawn");
    assert_eq!(approve(&world, SAM), Err("conflict"));
    assert_eq!(code(&ask(&world)), "approval_required");
    assert_eq!(world.drafts().len(), 2);
}

#[test]
fn an_agent_without_gated_tools_has_no_drafts_to_ask_after() {
    let world = World::default();
    assert_eq!(code(&world.call("check_draft", json!({"reference": "drf_1"}))), "unknown_tool");
}

#[test]
fn a_rejection_is_told_with_its_reason_until_the_draft_would_have_expired() {
    let world = world(named());
    let _drafted = ask(&world);
    let id = only(&world).id;
    for wrong in ["", "  ", "a\nb", &"x".repeat(501)] {
        assert_eq!(act(&world, SAM, Act::Reject(id.clone(), wrong.into())), Err("bad_reason"));
    }
    assert_eq!(act(&world, LEE, Act::Reject(id.clone(), "no".into())), Err("not_entitled"));
    assert_eq!(act(&world, SAM, Act::Reject(id, "paid already".into())), Ok(()));
    let Answer::Refused(refused) = ask(&world) else { panic!("rejected") };
    assert!(refused.public().message.ends_with("paid already"));
    assert_eq!(code(&ask(&world)), "rejected");
    world.change(|b| b.now_s = 1_600);
    assert_eq!(code(&ask(&world)), "approval_required");
    assert_eq!(world.drafts().len(), 2);
}

#[test]
fn time_ends_what_waits_and_what_was_approved() {
    for approved in [false, true] {
        let world = world(named());
        let _drafted = ask(&world);
        if approved {
            assert_eq!(approve(&world, SAM), Ok(()));
        }
        world.change(|b| b.now_s = 1_600);
        assert_eq!(tend(&world), None);
        assert_eq!(only(&world).state, State::Expired);
        assert_eq!(executed(&world), 0);
    }
    let world = world(named());
    let _drafted = ask(&world);
    world.change(|b| b.now_s = 1_600);
    assert_eq!(approve(&world, SAM), Err("overtaken"));
    assert_eq!(code(&ask(&world)), "approval_required");
    assert_eq!(world.drafts().len(), 2);
}

#[test]
fn what_governs_a_draft_changing_makes_it_void_and_another_posture_alone_does_not() {
    let world = world(named());
    let _drafted = ask(&world);
    world.change(|b| b.governed = "edited");
    assert_eq!(approve(&world, SAM), Err("overtaken"));
    assert_eq!(only(&world).state, State::Void);
    assert_eq!(code(&ask(&world)), "approval_required");
    assert_eq!(approve(&world, SAM), Ok(()));
    world.change(|b| b.governed = "edited again");
    assert_eq!(tend(&world), Some("stale"));
    assert_eq!((only(&world).state, executed(&world)), (State::Void, 0));
}

#[test]
fn an_approved_draft_meets_every_check_again_and_waits_out_what_may_pass() {
    let world = world(named());
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Ok(()));
    world.change(|b| b.intent_fails = true);
    assert_eq!(tend(&world), Some("journal_unavailable"));
    assert_eq!(only(&world).state, State::Approved);
    world.change(|b| b.intent_fails = false);
    world.change(|b| b.require_scope = Some("pay"));
    assert_eq!(tend(&world), Some("insufficient_scope"));
    assert_eq!((only(&world).state, executed(&world)), (State::Void, 0));
}

#[test]
fn an_approval_is_spent_or_stale_even_if_nobody_need_agree_any_more() {
    let exception = Exception {
        rung: Rung::CHECKED,
        reason: "a pilot".into(),
        reviewed_by: "security@acme.example".into(),
        expires: Timestamp::from_secs(1_500),
    };
    let check = SqlPlan {
        statement: "select 1".into(),
        parameters: vec![],
        timeout_ms: 1_000,
        bounds: ResultBounds { rows_max: 1, bytes_max: 100 },
    };
    let check = Some(Check::Sql(check));
    let lowered = || Ladder { exception: Some(exception.clone()), check: check.clone(), ..named() };
    for (governed, expected, effects) in [("edited", "stale", 0), ("decision", "completed", 1)] {
        let world = world(named());
        let _drafted = ask(&world);
        assert_eq!(approve(&world, SAM), Ok(()));
        world.change(|b| (b.ladder, b.governed) = (Some(lowered()), governed));
        assert_eq!(tend(&world), Some(expected));
        for _ in 0..3 {
            assert_eq!(tend(&world), None, "{governed}");
        }
        assert_eq!(executed(&world), effects, "{governed}");
    }
}

#[test]
fn an_outcome_that_is_unknown_stands_in_the_way_until_it_is_known() {
    let world = world(named());
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Ok(()));
    world.change(|b| b.connector = Acts::Fails);
    assert_eq!(tend(&world), Some("system_failed"));
    assert_eq!(only(&world).state, State::Unknown);
    assert_eq!(code(&ask(&world)), "outcome_unknown");
    assert_eq!(world.drafts().len(), 1);
}

#[test]
fn what_is_suspended_is_refused_and_its_drafts_freeze_while_their_time_runs_on() {
    let world = world(named());
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Ok(()));
    let agent = || Switch::Agent(AgentId::new("copilot").unwrap());
    assert_eq!(act(&world, SAM, Act::Suspend(agent(), "odd".into())), Err("not_entitled"));
    assert_eq!(act(&world, LEE, Act::Suspend(agent(), "odd calls".into())), Ok(()));
    assert_eq!(code(&ask(&world)), "suspended");
    assert_eq!(tend(&world), None);
    assert_eq!((only(&world).state, executed(&world)), (State::Approved, 0));
    assert_eq!(act(&world, LEE, Act::Resume(agent(), "fine".into())), Err("not_entitled"));
    let other = "op-3 op@acme.example sre * 10";
    let stale = "op-3 op@acme.example sre * 999";
    assert_eq!(act(&world, stale, Act::Resume(agent(), "fine".into())), Err("stale_sign_in"));
    let one_tenant = "op-4 op4@acme.example sre t1 10";
    assert_eq!(act(&world, one_tenant, Act::Resume(agent(), "fine".into())), Err("not_entitled"));
    assert_eq!(act(&world, other, Act::Resume(agent(), "fine".into())), Ok(()));
    assert_eq!(tend(&world), Some("completed"));
}

#[test]
fn what_was_not_reviewed_in_time_is_refused_and_its_drafts_freeze_until_it_is() {
    let world = world(named());
    world.change(|is| is.lapses_s = Some(1_100));
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Ok(()));
    world.change(|is| is.now_s = 1_100);
    let answer = ask(&world);
    let Answer::Refused(refused) = &answer else { panic!("{answer:?}") };
    assert_eq!(refused.refusal().code(), "suspended");
    assert!(refused.public().message.contains("reviewed"), "{:?}", refused.public());
    assert_eq!(world.last_header()["code"], "suspended");
    assert_eq!(tend(&world), None);
    assert_eq!((only(&world).state, executed(&world)), (State::Approved, 0));
    world.change(|is| is.lapses_s = Some(1_101));
    assert_eq!(tend(&world), Some("completed"));
}

#[test]
fn nobody_approves_what_was_not_reviewed_in_time_and_its_agent_hears_nothing_of_it() {
    let world = world(named());
    let _drafted = ask(&world);
    world.change(|is| is.lapses_s = Some(1_000));
    assert_eq!(approve(&world, SAM), Err("suspended"));
    let id = only(&world).id.to_string();
    assert_eq!(code(&check_draft(&world, json!({ "reference": id }))), "suspended");
    world.change(|is| is.lapses_s = Some(1_001));
    assert_eq!(approve(&world, SAM), Ok(()));
}

#[test]
fn an_effect_that_nobody_agrees_to_has_a_post_condition() {
    let check = SqlPlan {
        statement: "select 1".into(),
        parameters: vec![],
        timeout_ms: 1_000,
        bounds: ResultBounds { rows_max: 1, bytes_max: 100 },
    };
    let checked = |rung| Ladder { check: Some(Check::Sql(check.clone())), ..Ladder::at(rung) };
    assert_eq!(code(&ask(&world(checked(Rung::CHECKED)))), "completed");
    assert_eq!(code(&ask(&world(Ladder::at(Rung::CHECKED)))), "approval_required");
    assert_eq!(code(&ask(&world(Ladder::at(Rung::UNGATED)))), "approval_required");
    // An exception counts until it ends, and is named while it does.
    let exception = Exception {
        rung: Rung::CHECKED,
        reason: "a pilot".into(),
        reviewed_by: "security@acme.example".into(),
        expires: Timestamp::from_secs(1_500),
    };
    let ladder =
        Ladder { exception: Some(exception), check: checked(Rung::CHECKED).check, ..named() };
    let world = world(ladder);
    assert_eq!(code(&ask(&world)), "completed");
    assert_eq!(world.last_header()["exception"]["rung"], 2);
    assert_eq!(world.last_header()["decided_by"], "check");
    world.change(|b| b.now_s = 1_500);
    assert_eq!(code(&ask(&world)), "approval_required");
}

#[test]
fn a_budget_is_reserved_by_what_is_carried_out_and_by_nothing_that_waits() {
    let budget = Budget {
        of: Summed::Argument(ArgumentPath::parse("days").unwrap()),
        max: 10,
        window: Window::Day,
        per: Per::Tenant,
    };
    let ladder = Ladder { budgets: vec![budget], affects: Affects::ONE, ..named() };
    let world = world(ladder);
    for days in [6, 5, 4] {
        assert_eq!(code(&ask_with(&world, days, None)), "approval_required", "{days}");
    }
    assert_eq!(code(&ask_with(&world, 11, None)), "over_budget");
    let drafts = world.drafts();
    let monitor = monitor(&world);
    let carry_out = |draft: &Draft| {
        assert_eq!(act(&world, SAM, Act::Approve(draft.id.clone())), Ok(()));
        let draft = world.drafts().into_iter().find(|d| d.id == draft.id).unwrap();
        now(monitor.tend(draft)).as_ref().map(code)
    };
    assert_eq!(carry_out(&drafts[0]), Some("completed"));
    assert_eq!(carry_out(&drafts[1]), Some("over_budget"), "6 + 5 is more than 10");
    assert_eq!(carry_out(&drafts[2]), Some("completed"));
    assert_eq!(executed(&world), 2);
}

#[test]
fn a_draft_is_told_to_nobody_twice_even_if_two_ask_at_once() {
    let world = world(named());
    let _drafted = ask(&world);
    assert_eq!(approve(&world, SAM), Ok(()));
    let monitor = monitor(&world);
    let draft = only(&world);
    // Both were due before either was begun.
    let first = now(monitor.tend(draft.clone()));
    let second = now(monitor.tend(draft));
    assert_eq!(first.as_ref().map(code), Some("completed"));
    assert!(
        matches!(second, Some(Answer::Refused(refused)) if *refused.refusal() == Refusal::Conflict)
    );
    assert_eq!((executed(&world), only(&world).state), (1, State::Executed));
}

#[test]
fn whoever_may_not_see_a_draft_is_told_what_nobody_is_told() {
    let world = world(named());
    let _drafted = ask(&world);
    let monitor = monitor(&world);
    let stranger = visitor(&monitor, "x-9 eve@acme.example sales t1 10");
    let id = only(&world).id;
    assert_eq!(now(monitor.look_at(&stranger, &id)).unwrap_err(), Barred::NotFound);
    assert!(now(monitor.queue(&stranger, Default::default())).unwrap().0.is_empty());
    let sam = visitor(&monitor, SAM);
    assert!(monitor.could_approve(&sam, &only(&world)));
    assert_eq!(now(monitor.queue(&sam, Default::default())).unwrap().0.len(), 1);
    let caller = world.caller(&monitor);
    let listed: Vec<_> = monitor.tools(&caller).iter().map(|t| t.name.to_string()).collect();
    assert_eq!(listed, ["check_draft", "get_usage"]);
    let _http = Door::Http;
    drop(Arc::new(caller));
}

// ── further people, after a time ────────────────────────────────────────────────────────────────

pub(crate) const PAT: &str = "pat-5 pat@acme.example directors t1 10";
const OTHER: &str = "pat-5 pat@acme.example directors t2 10";
pub(crate) const QUINN: &str = "quinn-6 quinn@acme.example nobody t1 10";

fn escalating(ladder: Ladder, to: Approvers) -> World {
    let gate = ladder
        .gate
        .clone()
        .map(|gate| Gate { escalation: Some(Escalation { after_s: 300, to }), ..gate });
    world(Ladder { gate, ..ladder })
}

#[test]
fn further_people_may_decide_from_their_time_on_and_no_earlier() {
    let directors = || Approvers::Group { group: "directors".into(), subject: false };
    for (act, after) in [
        (Act::Approve as fn(_) -> Act, State::Approved),
        (|id| Act::Reject(id, "no".into()), State::Rejected),
    ] {
        let world = escalating(grouped(false), directors());
        let _drafted = ask(&world);
        let id = only(&world).id;
        world.change(|b| b.now_s = 1_299);
        assert_eq!(self::act(&world, PAT, act(id.clone())), Err("not_found"), "not theirs to see");
        world.change(|b| b.now_s = 1_300);
        assert_eq!(self::act(&world, OTHER, act(id.clone())), Err("not_found"), "another tenant");
        assert_eq!(self::act(&world, QUINN, act(id.clone())), Err("not_found"), "nobody's");
        assert_eq!(self::act(&world, PAT, act(id)), Ok(()));
        assert_eq!(only(&world).state, after);
    }
    // Those who were asked first may still, and time ends it as before.
    let world = escalating(grouped(false), directors());
    let _drafted = ask(&world);
    world.change(|b| b.now_s = 1_400);
    assert_eq!(approve(&world, SAM), Ok(()));
    let world = escalating(grouped(false), directors());
    let _drafted = ask(&world);
    world.change(|b| b.now_s = 1_600);
    assert_eq!(approve(&world, PAT), Err("overtaken"));
}

#[test]
fn on_the_fourth_step_further_people_are_named_fresh_and_not_the_one_who_asked() {
    let named = |who: &str| Approvers::Named([who.to_owned()].into());
    let world = escalating(self::named(), named("pat@acme.example"));
    let _drafted = ask(&world);
    world.change(|b| b.now_s = 1_400);
    assert_eq!(approve(&world, QUINN), Err("not_found"));
    let stale = PAT.replace(" 10", " 301");
    assert_eq!(approve(&world, &stale), Err("stale_sign_in"));
    assert_eq!(approve(&world, PAT), Ok(()));
    // Whoever it was asked for is no further person either.
    let world = escalating(self::named(), named("ann@acme.example"));
    let _drafted = ask(&world);
    world.change(|b| b.now_s = 1_400);
    assert_eq!(approve(&world, ANN), Err("not_entitled"));
    // A group is nobody there, whatever a posture says.
    let world =
        escalating(self::named(), Approvers::Group { group: "directors".into(), subject: false });
    let _drafted = ask(&world);
    world.change(|b| b.now_s = 1_400);
    assert_eq!(approve(&world, PAT), Err("not_found"));
}
