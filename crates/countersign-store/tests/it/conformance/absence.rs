//! Who stands in for whom.

use crate::conformance::drafts::{at_once, queued, refused};
use crate::conformance::{Subject, conformance};
use crate::support::{
    append, at, delegating, delegation, draft, moving, proposing, returning, wait,
};
use countersign_core::absence::Delegation;
use countersign_core::bound::DELEGATIONS_MAX;
use countersign_core::draft::{Change, Conflict, Draft, State, Step};
use countersign_core::record::Entry;

conformance!(
    one_stands_in_for_each_person_until_it_is_ended,
    a_new_one_takes_the_place_of_the_one_that_it_names_and_of_no_other,
    those_whose_time_is_over_go_when_somebody_else_is_let,
    a_decision_in_somebodys_stead_is_made_while_that_holds_and_no_longer,
    no_decision_in_a_stead_comes_after_its_end_whoever_acts_at_once,
    of_32_who_are_let_at_once_by_one_person_one_is,
    as_many_people_are_away_as_may_be_and_no_more,
);

fn ids(subject: &impl Subject) -> Vec<String> {
    let all = subject.register().delegations();
    all.keys().map(ToString::to_string).collect()
}

/// Sam is away.
fn sam(id: &str, to: &str) -> Delegation {
    delegation(id, ("sam", to), (10, 900))
}

fn one_stands_in_for_each_person_until_it_is_ended<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    let moved = subject.register().moved();
    assert_eq!(refused(append(journal, returning("dlg_a"))), Conflict::Nothing);
    append(journal, delegating(&sam("dlg_a", "pat"), None)).unwrap();
    let all = subject.register().delegations();
    let [kept] = all.values().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(*kept, sam("dlg_a", "pat"), "as it was said");
    assert_ne!(subject.register().moved(), moved);
    append(journal, delegating(&delegation("dlg_b", ("lee", "pat"), (10, 900)), None)).unwrap();
    assert_eq!(ids(&subject), ["dlg_a", "dlg_b"]);
    append(journal, returning("dlg_a")).unwrap();
    assert_eq!(ids(&subject), ["dlg_b"]);
    assert_eq!(refused(append(journal, returning("dlg_a"))), Conflict::Nothing);
    append(journal, delegating(&sam("dlg_c", "kim"), None)).unwrap();
    assert_eq!(ids(&subject), ["dlg_b", "dlg_c"]);
    subject.close();
}

fn a_new_one_takes_the_place_of_the_one_that_it_names_and_of_no_other<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    append(journal, delegating(&sam("dlg_a", "pat"), None)).unwrap();
    append(journal, delegating(&delegation("dlg_l", ("lee", "pat"), (10, 900)), None)).unwrap();
    for (id, replaces) in [
        ("dlg_b", None),
        ("dlg_b", Some("dlg_none")),
        ("dlg_b", Some("dlg_l")),
        ("dlg_a", None),
        ("dlg_a", Some("dlg_a")),
        ("dlg_l", Some("dlg_a")),
    ] {
        let verdict = append(journal, delegating(&sam(id, "kim"), replaces));
        assert_eq!(refused(verdict), Conflict::Nothing, "{id} for {replaces:?}");
    }
    append(journal, delegating(&sam("dlg_b", "kim"), Some("dlg_a"))).unwrap();
    assert_eq!(ids(&subject), ["dlg_b", "dlg_l"]);
    assert_eq!(subject.register().delegations().values().next().unwrap().to, "kim@x");
    subject.close();
}

fn those_whose_time_is_over_go_when_somebody_else_is_let<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    append(journal, delegating(&delegation("dlg_a", ("a", "pat"), (10, 20)), None)).unwrap();
    append(journal, delegating(&delegation("dlg_b", ("b", "pat"), (10, 21)), None)).unwrap();
    append(journal, delegating(&delegation("dlg_c", ("c", "pat"), (20, 30)), None)).unwrap();
    assert_eq!(ids(&subject), ["dlg_b", "dlg_c"], "at its end it does not hold any more");
    assert_eq!(refused(append(journal, returning("dlg_a"))), Conflict::Nothing);
    // Its own one is named as long as it is there, whether its time is over or not.
    append(journal, delegating(&delegation("dlg_d", ("c", "pat"), (90, 99)), Some("dlg_c")))
        .unwrap();
    assert_eq!(ids(&subject), ["dlg_d"]);
    subject.close();
}

/// An approval, or a rejection, at this second, by leave of that.
fn in_stead(draft: &Draft, step: Step, (id, second): (&str, i64)) -> Entry {
    moving(&Draft { proposed: at(second), ..draft.clone() }, step).with("delegation", id)
}

fn a_decision_in_somebodys_stead_is_made_while_that_holds_and_no_longer<S: Subject>() {
    for (step, after) in [(Step::Approve, State::Approved), (Step::Reject, State::Rejected)] {
        let subject = S::new();
        let journal = subject.journal();
        let draft = draft("drf_a", "a", at(10));
        append(journal, proposing(&draft)).unwrap();
        append(journal, delegating(&delegation("dlg_a", ("sam", "pat"), (10, 30)), None)).unwrap();
        append(journal, delegating(&delegation("dlg_b", ("lee", "pat"), (10, 90)), None)).unwrap();
        append(journal, returning("dlg_b")).unwrap();
        for late in [("dlg_a", 30), ("dlg_b", 29), ("dlg_none", 29), ("", 29)] {
            let verdict = append(journal, in_stead(&draft, step, late));
            assert_eq!(refused(verdict), Conflict::Nothing, "{late:?}");
        }
        let found = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
        assert_eq!((found.state, found.decided), (State::Waiting, None));
        append(journal, in_stead(&draft, step, ("dlg_a", 29))).unwrap();
        let found = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
        assert_eq!(found.state, after);
        subject.close();
    }
    // In whose stead is kept.
    let subject = S::new();
    let draft = draft("drf_a", "a", at(10));
    append(subject.journal(), proposing(&draft)).unwrap();
    let mut decided = crate::support::decided("pat");
    decided.in_stead_of = Some(crate::support::who("sam"));
    let entry = Entry::new(countersign_core::record::Kind::DraftApproved, at(10))
        .with("draft", "drf_a")
        .with("tenant", "t0")
        .with("agent", "copilot")
        .with("tool", "pay")
        .changing(Change::Move {
            draft: draft.id.clone(),
            step: Step::Approve,
            decided: Some(decided.clone()),
            commit: None,
            outcome: None,
        });
    append(subject.journal(), entry).unwrap();
    let found = wait(subject.register().draft(&draft.id)).unwrap().unwrap();
    assert_eq!(found.decided, Some(decided));
    subject.close();
}

fn no_decision_in_a_stead_comes_after_its_end_whoever_acts_at_once<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    append(journal, delegating(&sam("dlg_a", "pat"), None)).unwrap();
    let drafts: Vec<Draft> =
        (0..8).map(|n| draft(&format!("drf_{n}"), &format!("{n}"), at(10))).collect();
    drafts.iter().for_each(|draft| drop(append(journal, proposing(draft)).unwrap()));
    let mut entries: Vec<Entry> =
        drafts.iter().map(|draft| in_stead(draft, Step::Approve, ("dlg_a", 20))).collect();
    entries.insert(4, returning("dlg_a"));
    let verdicts = queued(&subject, entries);
    let passed: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(passed, [true, true, true, true, true, false, false, false, false]);
    subject.close();
}

fn of_32_who_are_let_at_once_by_one_person_one_is<S: Subject>() {
    let subject = S::new();
    let entries =
        (0..32).map(|n| delegating(&sam(&format!("dlg_{n}"), &format!("p{n}")), None)).collect();
    let verdicts = at_once(&subject, entries);
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
    let n = verdicts.iter().position(Result::is_ok).unwrap();
    assert_eq!(ids(&subject), [format!("dlg_{n}")]);
    subject.close();
}

fn as_many_people_are_away_as_may_be_and_no_more<S: Subject>() {
    let subject = S::new();
    let away = |n: usize, times| {
        let (id, who) = (format!("dlg_{n}"), format!("p{n}"));
        delegating(&delegation(&id, (&who, "pat"), times), None)
    };
    let entries = (0..DELEGATIONS_MAX).map(|n| away(n, (10, 900))).collect();
    assert!(queued(&subject, entries).iter().all(Result::is_ok));
    let one_more = away(DELEGATIONS_MAX, (11, 900));
    assert_eq!(refused(append(subject.journal(), one_more)), Conflict::Full);
    assert_eq!(subject.register().delegations().len(), DELEGATIONS_MAX);
    // Once theirs is over there is room.
    append(subject.journal(), away(DELEGATIONS_MAX, (900, 901))).unwrap();
    assert_eq!(subject.register().delegations().len(), 1);
    subject.close();
}
