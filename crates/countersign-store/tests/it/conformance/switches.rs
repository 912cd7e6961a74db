//! What is switched off, and effects of which nobody knows.

use crate::conformance::drafts::{at_once, brought_to, queued, refused};
use crate::conformance::{Subject, conformance};
use crate::support::{
    append, at, commit_of, decided, delivering, ending, intent, outcome, resolving, resuming,
    suspending, wait,
};
use countersign_core::draft::{Conflict, Reach, State, Step, Switch};
use countersign_core::id::{AgentId, CallId, SystemName, TenantId, ToolName};
use countersign_core::port::Receipt;
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use serde_json::json;

conformance!(
    a_switch_stops_the_intents_it_names_and_no_others,
    who_suspended_first_is_who_suspended,
    intents_queued_around_a_suspension_are_judged_in_their_order,
    no_intent_comes_after_a_suspension_whoever_calls_at_once,
    an_outcome_of_what_is_suspended_is_recorded,
    an_unknown_outcome_is_listed_until_it_is_resolved,
    a_read_is_never_an_unknown_outcome,
    an_unknown_outcome_of_a_draft_is_resolved_with_it,
    of_32_who_resolve_at_once_one_does,
    an_outcome_that_comes_late_ends_what_was_unknown,
);

/// The switches that stop `intent` of the tests' support, and one of each kind that does not.
fn switches() -> (Vec<Switch>, Vec<Switch>) {
    let of = |agent: &str, tool: &str, system: &str, tenant: &str| {
        vec![
            Switch::Agent(AgentId::new(agent).unwrap()),
            Switch::Tool(ToolName::new(tool).unwrap()),
            Switch::System(SystemName::new(system).unwrap()),
            Switch::Tenant(TenantId::new(tenant).unwrap()),
        ]
    };
    let mut stop = of("copilot", "get_usage", "freight-db", "acct_alpha");
    stop.push(Switch::System(SystemName::new("crm").unwrap()));
    stop.push(Switch::Everything);
    (stop, of("planner", "pay", "bank", "acct_bravo"))
}

/// One whose look-ups asked another system.
fn looked_up(call: &str) -> Entry {
    intent(call, "read").with("look_ups", json!([{ "system": "crm", "asked": 1 }]))
}

fn end(subject: &impl Subject, call: &str, intent: &Receipt) {
    append(subject.journal(), outcome(call, intent)).unwrap();
}

fn a_switch_stops_the_intents_it_names_and_no_others<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    let (stop, pass) = switches();
    let (agent, tool) = (AgentId::new("copilot").unwrap(), ToolName::new("get_usage").unwrap());
    let systems = ["freight-db", "crm"].map(|name| SystemName::new(name).unwrap());
    let tenant = TenantId::new("acct_alpha").unwrap();
    let reach = Reach {
        agent: &agent,
        tool: Some(&tool),
        systems: systems.iter().collect(),
        tenant: &tenant,
    };
    for of in &pass {
        append(journal, suspending(of, "op")).unwrap();
    }
    assert_eq!(subject.register().suspended(&reach), None);
    let passed = append(journal, looked_up("call_a")).unwrap();
    end(&subject, "call_a", &passed);
    for of in &stop {
        append(journal, suspending(of, "op")).unwrap();
        let suspension = subject.register().suspended(&reach).unwrap();
        assert_eq!(suspension.of, *of);
        let conflict = refused(append(journal, looked_up("call_b")));
        assert_eq!(conflict, Conflict::Suspended(Box::new(suspension)));
        append(journal, resuming(of)).unwrap();
    }
    let resumed = append(journal, looked_up("call_c")).unwrap();
    end(&subject, "call_c", &resumed);
    // One that does not say whose it is, is stopped by whatever is there.
    let nameless = Entry::new(Kind::Intent, at(10)).with("call", "call_d");
    assert!(matches!(refused(append(journal, nameless)), Conflict::Suspended(_)));
    subject.close();
}

fn who_suspended_first_is_who_suspended<S: Subject>() {
    let subject = S::new();
    let of = Switch::Everything;
    assert_eq!(refused(append(subject.journal(), resuming(&of))), Conflict::Nothing);
    append(subject.journal(), suspending(&of, "one")).unwrap();
    append(subject.journal(), suspending(&of, "other")).unwrap();
    let [suspension] = subject.register().suspensions().try_into().unwrap();
    assert_eq!((suspension.by.id.as_str(), suspension.at), ("one", at(30)));
    append(subject.journal(), resuming(&of)).unwrap();
    assert_eq!(subject.register().suspensions(), []);
    assert_eq!(refused(append(subject.journal(), resuming(&of))), Conflict::Nothing);
    append(subject.journal(), suspending(&of, "other")).unwrap();
    assert_eq!(subject.register().suspensions()[0].by.id, "other");
    subject.close();
}

fn intents_queued_around_a_suspension_are_judged_in_their_order<S: Subject>() {
    let subject = S::new();
    let of = Switch::Tool(ToolName::new("get_usage").unwrap());
    let verdicts = queued(
        &subject,
        vec![
            intent("call_a", "read"),
            suspending(&of, "op"),
            intent("call_b", "read"),
            resuming(&of),
            intent("call_c", "read"),
        ],
    );
    let passed: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(passed, [true, true, false, true, true]);
    end(&subject, "call_a", verdicts[0].as_ref().unwrap());
    end(&subject, "call_c", verdicts[4].as_ref().unwrap());
    subject.close();
}

fn no_intent_comes_after_a_suspension_whoever_calls_at_once<S: Subject>() {
    let subject = S::new();
    let mut entries: Vec<Entry> = (0..32).map(|n| intent(&format!("call_{n}"), "read")).collect();
    entries.insert(16, suspending(&Switch::Everything, "op"));
    let verdicts = at_once(&subject, entries);
    let suspended = verdicts[16].clone().unwrap().sequence;
    for (n, verdict) in verdicts.iter().enumerate().filter(|(n, _)| *n != 16) {
        let call = format!("call_{}", if n < 16 { n } else { n - 1 });
        match verdict {
            Ok(receipt) => {
                assert!(receipt.sequence < suspended);
                end(&subject, &call, receipt);
            }
            verdict => assert!(matches!(refused(verdict.clone()), Conflict::Suspended(_))),
        }
    }
    let conflict = refused(append(subject.journal(), intent("call_late", "read")));
    assert!(matches!(conflict, Conflict::Suspended(_)));
    subject.close();
}

fn an_outcome_of_what_is_suspended_is_recorded<S: Subject>() {
    let subject = S::new();
    let begun = append(subject.journal(), intent("call_a", "read")).unwrap();
    let committing = brought_to(&subject, "drf_a", State::Committing);
    append(subject.journal(), suspending(&Switch::Everything, "op")).unwrap();
    end(&subject, "call_a", &begun);
    append(subject.journal(), ending(&committing, Applied::Applied, None)).unwrap();
    append(subject.journal(), delivering(&committing)).unwrap();
}

/// An effect without a draft, whose outcome is this.
fn effect(subject: &impl Subject, call: &str, applied: &str) -> Receipt {
    let begun = append(subject.journal(), intent(call, "reversible")).unwrap();
    let ended = outcome(call, &begun)
        .with("effect", "reversible")
        .with("system", "freight-db")
        .with("applied", applied);
    append(subject.journal(), ended).unwrap();
    begun
}

fn an_unknown_outcome_is_listed_until_it_is_resolved<S: Subject>() {
    let subject = S::new();
    let call = |name: &str| CallId::new(name).unwrap();
    let open = |resolved| {
        let unknown = wait(subject.register().unknown(resolved)).unwrap();
        unknown.into_iter().map(|unknown| unknown.call.to_string()).collect::<Vec<_>>()
    };
    effect(&subject, "call_a", "unknown");
    effect(&subject, "call_b", "applied");
    effect(&subject, "call_c", "unknown");
    assert_eq!(open(false), ["call_c", "call_a"]);
    for nothing in ["call_b", "call_none"] {
        let verdict = append(subject.journal(), resolving(&call(nothing), None, true));
        assert_eq!(refused(verdict), Conflict::Nothing, "{nothing}");
    }
    append(subject.journal(), resolving(&call("call_a"), None, false)).unwrap();
    let again = append(subject.journal(), resolving(&call("call_a"), None, true));
    assert_eq!(refused(again), Conflict::Nothing);
    assert_eq!(open(false), ["call_c"]);
    assert_eq!(open(true), ["call_c", "call_a"]);
    let all = wait(subject.register().unknown(true)).unwrap();
    assert_eq!(all[1].resolved, Some((decided("op"), false)));
    assert_eq!((all[0].at, all[0].draft.clone(), all[0].resolved.clone()), (at(11), None, None));
    subject.close();
}

fn a_read_is_never_an_unknown_outcome<S: Subject>() {
    let subject = S::new();
    let begun = append(subject.journal(), intent("call_a", "read")).unwrap();
    let ended = outcome("call_a", &begun)
        .with("effect", "read")
        .with("system", "freight-db")
        .with("applied", "unknown");
    append(subject.journal(), ended).unwrap();
    assert_eq!(wait(subject.register().unknown(true)).unwrap(), []);
    subject.close();
}

fn an_unknown_outcome_of_a_draft_is_resolved_with_it<S: Subject>() {
    for happened in [true, false] {
        let subject = S::new();
        let draft = brought_to(&subject, "drf_a", State::Unknown);
        let [unknown] = wait(subject.register().unknown(false)).unwrap().try_into().unwrap();
        assert_eq!((&unknown.call, &unknown.draft), (&commit_of(&draft), &Some(draft.id.clone())));
        let entry = resolving(&unknown.call, Some(&draft), happened);
        append(subject.journal(), entry).unwrap();
        let resolved = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
        let outcome = resolved.outcome.unwrap();
        let expected = if happened {
            (State::Executed, Applied::Applied)
        } else {
            (State::Failed, Applied::NotApplied)
        };
        assert_eq!((resolved.state, outcome.applied), expected);
        assert!(outcome.resolved);
        assert_eq!(resolved.decided, Some(decided("sam")), "who approved is still who decided");
        append(subject.journal(), delivering(&draft)).unwrap();
        let entry = resolving(&unknown.call, Some(&draft), happened);
        assert_eq!(refused(append(subject.journal(), entry)), Conflict::Nothing);
        subject.close();
    }
}

fn of_32_who_resolve_at_once_one_does<S: Subject>() {
    let subject = S::new();
    let draft = brought_to(&subject, "drf_a", State::Unknown);
    let call = commit_of(&draft);
    let entries = (0..32).map(|n| resolving(&call, Some(&draft), n % 2 == 0)).collect();
    let verdicts = at_once(&subject, entries);
    let (n, _) = verdicts.iter().enumerate().find(|(_, verdict)| verdict.is_ok()).unwrap();
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
    let [unknown] = wait(subject.register().unknown(true)).unwrap().try_into().unwrap();
    let resolved = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
    let (step, happened) = if n % 2 == 0 { (Step::Succeed, true) } else { (Step::Fail, false) };
    assert_eq!(Some(resolved.state), State::Unknown.after(step));
    assert_eq!(unknown.resolved.map(|(_, happened)| happened), Some(happened));
    subject.close();
}

fn an_outcome_that_comes_late_ends_what_was_unknown<S: Subject>() {
    // Whether its record moves the draft itself or leaves that to the store.
    for moves in [true, false] {
        for applied in [Applied::Applied, Applied::NotApplied, Applied::Compensated] {
            let subject = S::new();
            let draft = brought_to(&subject, "drf_a", State::Unknown);
            let call = commit_of(&draft);
            let late = if moves {
                ending(&draft, applied, None)
            } else {
                let bare = outcome(call.as_str(), &effect(&subject, "call_b", "applied"));
                bare.with("effect", "irreversible").with("applied", applied.as_str())
            };
            append(subject.journal(), late).unwrap();
            assert_eq!(wait(subject.register().unknown(false)).unwrap(), []);
            let [unknown] = wait(subject.register().unknown(true)).unwrap().try_into().unwrap();
            let (decided, happened) = unknown.resolved.unwrap();
            assert_eq!((decided.by, happened), (None, applied == Applied::Applied));
            let ended = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
            assert_eq!(Some(ended.state), State::Unknown.after(Step::of(applied)));
            assert_eq!(ended.outcome.map(|known| known.applied), Some(applied));
            let verdict = append(subject.journal(), resolving(&call, Some(&draft), true));
            assert_eq!(refused(verdict), Conflict::Nothing);
        }
    }
}
