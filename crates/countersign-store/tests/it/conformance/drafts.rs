//! Drafts: the machine, whoever tries at once, and what is refused leaves nothing.

use crate::conformance::{Subject, conformance};
use crate::support::{
    append, at, brought, claiming, commit_of, delivering, draft, ending, intent, moving, proposing,
    suspending, wait, way_to,
};
use countersign_core::bound::DRAFTS_LIVE_PER_AGENT_MAX;
use countersign_core::draft::{Change, Conflict, Draft, State, Step, Switch};
use countersign_core::id::{AgentId, CallId, DraftId, TenantId};
use countersign_core::port::{Receipt, Unrecorded, Which};
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use std::sync::Barrier;

conformance!(
    every_step_leads_where_the_machine_says_and_no_other_is_taken,
    what_was_proposed_and_decided_is_what_is_read,
    a_draft_that_nobody_proposed_goes_nowhere,
    a_binding_has_one_live_draft,
    a_draft_begins_with_nothing_done,
    an_agent_has_no_more_than_its_share_of_live_drafts,
    of_32_who_propose_one_call_at_once_one_does,
    of_32_who_claim_one_approval_at_once_one_does,
    of_32_who_decide_at_once_the_machine_lets_one_through,
    nothing_is_carried_out_without_spending_its_approval,
    an_outcome_is_told_once_and_only_of_what_was_carried_out,
    entries_queued_together_are_judged_one_after_the_other,
    what_is_refused_leaves_no_gap_and_no_trace,
    drafts_are_listed_latest_first_by_what_is_asked,
    what_is_due_comes_by_the_longest_due,
);

pub(super) fn refused(verdict: Result<Receipt, Unrecorded>) -> Conflict {
    match verdict {
        Err(Unrecorded::Refused(conflict)) => conflict,
        other => panic!("{other:?} is not refused"),
    }
}

fn state(subject: &impl Subject, draft: &Draft) -> Option<State> {
    wait(subject.register().draft(&draft.id)).unwrap().map(|draft| draft.state)
}

/// Proposed, and moved to this state.
pub(super) fn brought_to(subject: &impl Subject, id: &str, to: State) -> Draft {
    let draft = draft(id, id, at(10));
    brought(subject.journal(), &draft, way_to(to));
    draft
}

/// As many at once as there are entries, all of them at the same moment.
pub(super) fn at_once(
    subject: &impl Subject,
    entries: Vec<Entry>,
) -> Vec<Result<Receipt, Unrecorded>> {
    let journal = subject.journal();
    let together = Barrier::new(entries.len());
    std::thread::scope(|scope| {
        let callers: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                scope.spawn(|| {
                    together.wait();
                    append(journal, entry)
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

/// Sent to the journal one after the other before any is answered.
pub(super) fn queued(
    subject: &impl Subject,
    entries: Vec<Entry>,
) -> Vec<Result<Receipt, Unrecorded>> {
    let verdicts: Vec<_> =
        entries.into_iter().map(|entry| subject.journal().append(entry)).collect();
    verdicts.into_iter().map(wait).collect()
}

fn every_step_leads_where_the_machine_says_and_no_other_is_taken<S: Subject>() {
    for from in State::ALL {
        for step in Step::ALL {
            // Never closed: an outcome without its intent would be found.
            let subject = S::new();
            let draft = brought_to(&subject, "drf_a", from);
            let verdict = append(subject.journal(), moving(&draft, step));
            match from.after(step) {
                Some(after) => {
                    verdict.unwrap();
                    assert_eq!(state(&subject, &draft), Some(after), "{from:?} {step:?}");
                }
                None => {
                    assert_eq!(refused(verdict), Conflict::Draft(Some(from)), "{step:?}");
                    assert_eq!(state(&subject, &draft), Some(from), "{step:?}");
                }
            }
        }
    }
}

fn what_was_proposed_and_decided_is_what_is_read<S: Subject>() {
    let subject = S::new();
    let mut expected = draft("drf_a", "a", at(10));
    let read = |expected: &Draft| {
        let register = subject.register();
        assert_eq!(wait(register.draft(&expected.id)).unwrap().as_ref(), Some(expected));
        assert_eq!(wait(register.latest(expected.binding)).unwrap().as_ref(), Some(expected));
        assert_eq!(
            wait(register.drafts(Which::default())).unwrap(),
            std::slice::from_ref(expected)
        );
    };
    append(subject.journal(), proposing(&expected)).unwrap();
    read(&expected);
    append(subject.journal(), moving(&expected, Step::Approve)).unwrap();
    expected.state = State::Approved;
    expected.decided = Some(crate::support::decided("sam"));
    read(&expected);
    let claimed = append(subject.journal(), moving(&expected, Step::Claim)).unwrap();
    expected.state = State::Committing;
    expected.committed = Some(commit_of(&expected));
    read(&expected);
    let entry = ending(&expected, Applied::Applied, Some(&claimed));
    let Some(Change::Move { outcome, .. }) = entry.changes().first().cloned() else { panic!() };
    append(subject.journal(), entry).unwrap();
    expected.state = State::Executed;
    expected.outcome = outcome;
    read(&expected);
    append(subject.journal(), delivering(&expected)).unwrap();
    expected.delivered = true;
    read(&expected);
    subject.close();
}

fn a_draft_that_nobody_proposed_goes_nowhere<S: Subject>() {
    let subject = S::new();
    let nobodys = draft("drf_a", "a", at(10));
    for step in Step::ALL {
        let verdict = append(subject.journal(), moving(&nobodys, step));
        assert_eq!(refused(verdict), Conflict::Draft(None), "{step:?}");
    }
    let verdict = append(subject.journal(), delivering(&nobodys));
    assert_eq!(refused(verdict), Conflict::Draft(None));
    assert_eq!(state(&subject, &nobodys), None);
    assert_eq!(wait(subject.register().latest(nobodys.binding)).unwrap(), None);
    subject.close();
}

fn a_binding_has_one_live_draft<S: Subject>() {
    for first in State::ALL {
        let subject = S::new();
        let one = brought_to(&subject, "drf_a", first);
        // A call that began earlier, and got here later.
        let other = Draft { binding: one.binding, ..draft("drf_b", "b", at(5)) };
        let verdict = append(subject.journal(), proposing(&other));
        let latest = wait(subject.register().latest(one.binding)).unwrap().unwrap();
        if first.is_live() {
            assert_eq!(refused(verdict), Conflict::Live(one.id.clone()), "{first:?}");
            assert_eq!(latest.id, one.id);
        } else {
            verdict.unwrap();
            assert_eq!(latest.id, other.id, "{first:?}");
        }
    }
}

fn a_draft_begins_with_nothing_done<S: Subject>() {
    let subject = S::new();
    let fresh = || draft("drf_a", "a", at(10));
    let born = |change: &dyn Fn(&mut Draft)| {
        let mut draft = fresh();
        change(&mut draft);
        refused(append(subject.journal(), proposing(&draft)))
    };
    for state in State::ALL.into_iter().filter(|state| *state != State::Waiting) {
        assert_eq!(born(&|draft| draft.state = state), Conflict::Draft(Some(state)));
    }
    let waiting = Conflict::Draft(Some(State::Waiting));
    assert_eq!(born(&|draft| draft.decided = Some(crate::support::decided("sam"))), waiting);
    assert_eq!(born(&|draft| draft.committed = Some(draft.call.clone())), waiting);
    assert_eq!(born(&|draft| draft.delivered = true), waiting);
    append(subject.journal(), proposing(&fresh())).unwrap();
    // A name is given once, whatever became of it.
    append(subject.journal(), moving(&fresh(), Step::Reject)).unwrap();
    let again = refused(append(subject.journal(), proposing(&fresh())));
    assert_eq!(again, Conflict::Draft(Some(State::Rejected)));
    subject.close();
}

fn an_agent_has_no_more_than_its_share_of_live_drafts<S: Subject>() {
    let subject = S::new();
    let mine = |n: usize| draft(&format!("drf_{n}"), &format!("{n}"), at(10));
    let others = |n: usize, agent: &str, tenant: &str| {
        let mut draft = mine(n);
        draft.agent = AgentId::new(agent).unwrap();
        draft.principal.tenant = TenantId::new(tenant).unwrap();
        draft
    };
    let max = DRAFTS_LIVE_PER_AGENT_MAX;
    // In several batches: one queue holds so many, and no more.
    for part in (0..max + 7).collect::<Vec<_>>().chunks(512) {
        let verdicts = queued(&subject, part.iter().map(|n| proposing(&mine(*n))).collect());
        for (n, verdict) in part.iter().zip(verdicts) {
            if *n < max {
                verdict.unwrap();
            } else {
                assert_eq!(refused(verdict), Conflict::Full);
            }
        }
    }
    append(subject.journal(), proposing(&others(9_001, "planner", "t0"))).unwrap();
    append(subject.journal(), proposing(&others(9_002, "copilot", "t1"))).unwrap();
    append(subject.journal(), moving(&mine(3), Step::Withdraw)).unwrap();
    append(subject.journal(), proposing(&mine(9_003))).unwrap();
    let verdict = append(subject.journal(), proposing(&mine(9_004)));
    assert_eq!(refused(verdict), Conflict::Full);
    subject.close();
}

fn of_32_who_propose_one_call_at_once_one_does<S: Subject>() {
    let subject = S::new();
    let twins: Vec<Draft> = (0..32).map(|n| draft(&format!("drf_{n}"), "same", at(n))).collect();
    let verdicts = at_once(&subject, twins.iter().map(proposing).collect());
    let first = wait(subject.register().latest(twins[0].binding)).unwrap().unwrap();
    for (twin, verdict) in twins.iter().zip(verdicts) {
        if twin.id == first.id {
            verdict.unwrap();
        } else {
            assert_eq!(refused(verdict), Conflict::Live(first.id.clone()));
            assert_eq!(state(&subject, twin), None);
        }
    }
    subject.close();
}

fn of_32_who_claim_one_approval_at_once_one_does<S: Subject>() {
    let subject = S::new();
    let draft = brought_to(&subject, "drf_a", State::Approved);
    let calls: Vec<CallId> = (0..32).map(|n| CallId::new(format!("call_{n}")).unwrap()).collect();
    let verdicts = at_once(&subject, calls.iter().map(|call| claiming(&draft, call)).collect());
    let claimed = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
    for (call, verdict) in calls.iter().zip(verdicts) {
        if Some(call) == claimed.committed.as_ref() {
            verdict.unwrap();
        } else {
            assert_eq!(refused(verdict), Conflict::Draft(Some(State::Committing)));
        }
    }
    let records = subject.close();
    let intents: Vec<_> = records.iter().filter(|r| r.kind() == Some(Kind::Intent)).collect();
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0].text("call"), claimed.committed.as_ref().map(CallId::as_str));
}

fn of_32_who_decide_at_once_the_machine_lets_one_through<S: Subject>() {
    let subject = S::new();
    for round in 0..8 {
        let draft = brought_to(&subject, &format!("drf_{round}"), State::Waiting);
        let steps = [Step::Approve, Step::Reject, Step::Withdraw, Step::Expire];
        let entries = (0..32).map(|n| moving(&draft, steps[n % 4])).collect();
        let verdicts = at_once(&subject, entries);
        let taken: Vec<Step> = verdicts
            .iter()
            .enumerate()
            .filter(|(_, verdict)| verdict.is_ok())
            .map(|(n, _)| steps[n % 4])
            .collect();
        let now = state(&subject, &draft).unwrap();
        match taken.as_slice() {
            [only] => assert_eq!(State::Waiting.after(*only), Some(now)),
            // Agreed to, and ended before it was carried out.
            [one, other] => {
                assert!([one, other].contains(&&Step::Approve));
                assert!(matches!(now, State::Withdrawn | State::Expired));
            }
            more => panic!("{more:?}"),
        }
    }
    subject.close();
}

fn nothing_is_carried_out_without_spending_its_approval<S: Subject>() {
    let subject = S::new();
    let approved = brought_to(&subject, "drf_a", State::Approved);
    let other = brought_to(&subject, "drf_b", State::Approved);
    let call = commit_of(&approved);
    let bare = intent("call_x", "irreversible").with("draft", approved.id.as_str());
    let for_another = claiming(&other, &call).with("draft", approved.id.as_str());
    let by_another_call = claiming(&approved, &call).with("call", "call_y");
    let unnamed = Entry::new(Kind::Intent, at(10))
        .with("call", call.as_str())
        .changing(claiming(&approved, &call).changes()[0].clone());
    let no_intent = Entry::new(Kind::DraftApproved, at(10))
        .changing(claiming(&approved, &call).changes()[0].clone());
    for entry in [bare, for_another, by_another_call, unnamed, no_intent] {
        assert_eq!(refused(append(subject.journal(), entry)), Conflict::Draft(None));
    }
    assert_eq!(state(&subject, &approved), Some(State::Approved));
    assert_eq!(state(&subject, &other), Some(State::Approved));
    subject.close();
}

fn an_outcome_is_told_once_and_only_of_what_was_carried_out<S: Subject>() {
    for from in State::ALL {
        let subject = S::new();
        let draft = brought_to(&subject, "drf_a", from);
        if matches!(from, State::Executed | State::Failed) {
            let tellers = (0..32).map(|_| delivering(&draft)).collect();
            let told = at_once(&subject, tellers);
            assert_eq!(told.iter().filter(|verdict| verdict.is_ok()).count(), 1);
        }
        let verdict = append(subject.journal(), delivering(&draft));
        assert_eq!(refused(verdict), Conflict::Draft(Some(from)));
        let told = wait(subject.register().draft(&draft.id)).unwrap().unwrap().delivered;
        assert_eq!(told, matches!(from, State::Executed | State::Failed));
    }
}

fn entries_queued_together_are_judged_one_after_the_other<S: Subject>() {
    let subject = S::new();
    let (one, twin) = (draft("drf_a", "a", at(10)), draft("drf_b", "a", at(11)));
    let (call, again) = (commit_of(&one), CallId::new("call_again").unwrap());
    let verdicts = queued(
        &subject,
        vec![
            proposing(&one),
            proposing(&twin),
            claiming(&one, &call),
            moving(&one, Step::Approve),
            moving(&one, Step::Approve),
            claiming(&one, &call),
            claiming(&one, &again),
            moving(&one, Step::Withdraw),
        ],
    );
    let said: Vec<Option<Conflict>> = verdicts
        .iter()
        .map(|verdict| verdict.clone().is_err().then(|| refused(verdict.clone())))
        .collect();
    let elsewhere = |state| Some(Conflict::Draft(Some(state)));
    assert_eq!(
        said,
        [
            None,
            Some(Conflict::Live(one.id.clone())),
            elsewhere(State::Waiting),
            None,
            elsewhere(State::Approved),
            None,
            elsewhere(State::Committing),
            elsewhere(State::Committing),
        ]
    );
    let places: Vec<u64> = verdicts.iter().flatten().map(|receipt| receipt.sequence).collect();
    assert!(places.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{places:?}");
    subject.close();
}

fn what_is_refused_leaves_no_gap_and_no_trace<S: Subject>() {
    let subject = S::new();
    let waiting = brought_to(&subject, "drf_a", State::Waiting);
    let everything = Switch::Everything;
    // The second change of each may not be; the first one then has not been.
    let nothing = Change::Resume(Switch::Tool(waiting.tool.clone()));
    let nobodys = Change::Deliver(DraftId::new("drf_none").unwrap());
    let long = "x".repeat(300_000);
    let verdicts = queued(
        &subject,
        vec![
            suspending(&everything, "op").changing(nothing.clone()),
            moving(&waiting, Step::Approve).changing(nobodys.clone()),
            proposing(&draft("drf_c", "c", at(12))).changing(nobodys.clone()),
            // It fits nowhere, which shows only once its changes have been made.
            moving(&waiting, Step::Reject).with("long", long.as_str()),
            suspending(&everything, "op").with("long", long.as_str()),
            intent("call_x", "read"),
        ],
    );
    let intended = verdicts[5].clone().unwrap();
    assert_eq!(refused(verdicts[0].clone()), Conflict::Nothing);
    assert_eq!(refused(verdicts[1].clone()), Conflict::Draft(None));
    assert_eq!(refused(verdicts[2].clone()), Conflict::Draft(None));
    for verdict in &verdicts[3..5] {
        assert!(matches!(verdict, Err(Unrecorded::Unavailable(_))), "{verdict:?}");
    }
    let register = subject.register();
    assert_eq!(register.suspensions(), []);
    assert_eq!(wait(register.drafts(Which::default())).unwrap(), [waiting]);
    append(subject.journal(), crate::support::outcome("call_x", &intended)).unwrap();
    let records = subject.close();
    let kinds: Vec<&str> = records
        .iter()
        .map(|record| record.text("kind").unwrap())
        .filter(|kind| !kind.starts_with("stream_"))
        .collect();
    assert_eq!(kinds, ["draft_proposed", "intent", "outcome"]);
}

fn drafts_are_listed_latest_first_by_what_is_asked<S: Subject>() {
    let subject = S::new();
    for n in 0..12_i64 {
        let mut draft = draft(&format!("drf_{n}"), &format!("{n}"), at(100 - n * 7 % 12));
        draft.agent = AgentId::new(["copilot", "planner"][n as usize % 2]).unwrap();
        draft.principal.tenant = TenantId::new(["t0", "t1", "t2"][n as usize % 3]).unwrap();
        append(subject.journal(), proposing(&draft)).unwrap();
        if n % 4 == 0 {
            append(subject.journal(), moving(&draft, Step::Approve)).unwrap();
        }
    }
    let register = subject.register();
    let all = wait(register.drafts(Which::default())).unwrap();
    assert_eq!(all.len(), 12);
    assert!(all.windows(2).all(|pair| pair[0].proposed >= pair[1].proposed));
    let (agent, tenant) = (AgentId::new("copilot").ok(), TenantId::new("t1").ok());
    let (state, before) = (Some(State::Approved), Some((all[4].proposed, Some(all[4].id.clone()))));
    for mask in 0..16 {
        let which = Which {
            agent: agent.clone().filter(|_| mask & 1 != 0),
            tenant: tenant.clone().filter(|_| mask & 2 != 0),
            state: state.filter(|_| mask & 4 != 0),
            before: before.clone().filter(|_| mask & 8 != 0),
        };
        let fits = |draft: &&Draft| {
            which.agent.as_ref().is_none_or(|agent| *agent == draft.agent)
                && which.tenant.as_ref().is_none_or(|t| *t == draft.principal.tenant)
                && which.state.is_none_or(|state| state == draft.state)
                && which
                    .before
                    .as_ref()
                    .is_none_or(|(at, id)| (draft.proposed, Some(&draft.id)) < (*at, id.as_ref()))
        };
        let expected: Vec<Draft> = all.iter().filter(fits).cloned().collect();
        assert_eq!(wait(register.drafts(which.clone())).unwrap(), expected, "{which:?}");
    }
    subject.close();
}

fn what_is_due_comes_by_the_longest_due<S: Subject>() {
    let subject = S::new();
    for (n, to) in State::ALL.into_iter().enumerate() {
        let mut draft = draft(&format!("drf_{n}"), &format!("{n}"), at(10));
        draft.expires = at(1_000 - i64::try_from(n).unwrap());
        append(subject.journal(), proposing(&draft)).unwrap();
        for step in way_to(to) {
            append(subject.journal(), moving(&draft, *step)).unwrap();
        }
    }
    let due = |now| {
        let due = wait(subject.register().due(at(now))).unwrap();
        due.into_iter().map(|draft| draft.state).collect::<Vec<_>>()
    };
    assert_eq!(due(999), [State::Approved]);
    assert_eq!(due(1_000), [State::Approved, State::Waiting]);
}
