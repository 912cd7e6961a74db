//! Somebody stands in for an approver who is away: what that takes, what it opens, and what it never does.

use crate::drafts::{
    ANN, LEE, PAT, QUINN, SAM, act, approve, ask, code, gate, monitor, only, tend, visitor,
};
use crate::world::{World, now};
use countersign_core::absence::Delegation;
use countersign_core::act::Act;
use countersign_core::bound::DELEGATION_S_MAX;
use countersign_core::draft::State;
use countersign_core::id::{DelegationId, Timestamp};
use countersign_core::ladder::{Approvers, Gate, Ladder};
use countersign_core::port::Register as _;
use countersign_core::tool::Rung;

const ADDRESS_OF_PAT: &str = "pat@acme.example";

fn addresses<const N: usize>(names: [&str; N]) -> std::collections::BTreeSet<String> {
    names.map(|name| format!("{name}@acme.example")).into()
}

/// A tool on this step whose gate names these, and these to stand in.
fn gated<const N: usize, const M: usize>(
    rung: Rung,
    named: [&str; N],
    delegates: [&str; M],
) -> Ladder {
    let gate = gate(Approvers::Named(addresses(named)));
    let gate = Gate { delegates: addresses(delegates), ..gate };
    Ladder { gate: Some(gate), ..Ladder::at(rung) }
}

fn drafted(ladder: Ladder) -> World {
    let world = World::with(|b| b.ladder = Some(ladder));
    let _drafted = ask(&world);
    world
}

/// Sam is named, and Pat may stand in.
fn usual() -> World {
    drafted(gated(Rung::NAMED, ["sam"], ["pat"]))
}

fn lets(world: &World, who: &str, to: &str, until_s: i64) -> Result<(), &'static str> {
    let until = Timestamp::from_secs(until_s);
    act(world, who, Act::Delegate { to: to.to_owned(), until })
}

/// `who` with another word in the place of one.
fn but(who: &str, place: usize, word: &str) -> String {
    let mut words: Vec<&str> = who.split(' ').collect();
    words[place] = word;
    words.join(" ")
}

fn of(world: &World) -> Delegation {
    let all = world.delegations();
    assert_eq!(all.len(), 1);
    all.values().next().unwrap().clone()
}

#[test]
fn whoever_stands_in_decides_and_it_is_on_record_in_whose_stead() {
    let world = usual();
    assert_eq!(approve(&world, PAT), Err("not_found"), "nobody is away");
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    let header = world.last_header();
    assert_eq!(
        (&header["kind"], &header["until"]),
        (&"delegated".into(), &5_000_000_000_i64.into())
    );
    assert_eq!(header["delegation"], of(&world).id.as_str());
    assert_eq!(header["posture"].as_str().map(str::len), Some(64));
    let named = header.to_string();
    assert!(!named.contains("sam") && !named.contains("pat"), "headers are kept for ever: {named}");
    assert_eq!(approve(&world, PAT), Ok(()));
    let header = world.last_header();
    assert_eq!(header["delegation"], of(&world).id.as_str());
    assert!(header["fields"]["in_stead_of"].is_string() && header["fields"]["person"].is_string());
    let decided = only(&world).decided.unwrap();
    assert_eq!(decided.by.unwrap().id, "pat-5");
    assert_eq!(decided.in_stead_of.unwrap().id, "sam-1");
    assert_eq!(tend(&world), Some("completed"));
}

#[test]
fn whoever_is_away_may_decide_as_well_and_then_in_nobodys_stead() {
    let world = usual();
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    assert_eq!(approve(&world, SAM), Ok(()));
    assert!(world.last_header().get("delegation").is_none());
    assert_eq!(only(&world).decided.unwrap().in_stead_of, None);
}

#[test]
fn a_rejection_is_made_in_somebodys_stead_as_well_and_no_withdrawal() {
    for (act, expected, after) in [
        (Act::Reject as fn(_, _) -> Act, Ok(()), State::Rejected),
        (Act::Withdraw, Err("not_entitled"), State::Waiting),
    ] {
        let world = usual();
        assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
        let act = act(only(&world).id, "no".into());
        assert_eq!(self::act(&world, PAT, act), expected);
        assert_eq!(only(&world).state, after);
    }
}

#[test]
fn letting_somebody_stand_in_takes_a_gate_that_names_both_an_end_and_a_fresh_sign_in() {
    let last = 1_000 + i64::from(DELEGATION_S_MAX);
    for (who, to, until_s, expected) in [
        (SAM, ADDRESS_OF_PAT, 5_000, Ok(())),
        (SAM, " PAT@acme.example ", 5_000, Ok(())),
        ("sam-1 SAM@acme.example support t1 10", ADDRESS_OF_PAT, 5_000, Ok(())),
        (SAM, "quinn@acme.example", 5_000, Err("not_entitled")),
        (SAM, "sam@acme.example", 5_000, Err("not_entitled")),
        (SAM, "", 5_000, Err("not_entitled")),
        (LEE, ADDRESS_OF_PAT, 5_000, Err("not_entitled")),
        (PAT, ADDRESS_OF_PAT, 5_000, Err("not_entitled")),
        ("sam-1 - support t1 10", ADDRESS_OF_PAT, 5_000, Err("not_entitled")),
        ("sam-1 sam@acme.example support t1 300", ADDRESS_OF_PAT, 5_000, Ok(())),
        ("sam-1 sam@acme.example support t1 301", ADDRESS_OF_PAT, 5_000, Err("stale_sign_in")),
        (SAM, ADDRESS_OF_PAT, 1_001, Ok(())),
        (SAM, ADDRESS_OF_PAT, 1_000, Err("bad_until")),
        (SAM, ADDRESS_OF_PAT, last, Ok(())),
        (SAM, ADDRESS_OF_PAT, last + 1, Err("bad_until")),
    ] {
        let world = usual();
        assert_eq!(lets(&world, who, to, until_s), expected, "{who}, {to}, {until_s}");
        assert_eq!(world.delegations().len(), usize::from(expected.is_ok()));
        assert_eq!(approve(&world, PAT).is_ok(), expected.is_ok(), "{who}, {to}, {until_s}");
    }
    // A gate that names nobody to stand in, and one that names them beside a group, which no posture does.
    let world = drafted(gated(Rung::NAMED, ["sam"], []));
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Err("not_entitled"));
    let group = Approvers::Group { group: "support".into(), subject: false };
    let grouped = Gate { delegates: addresses(["pat"]), ..gate(group) };
    let world = drafted(Ladder { gate: Some(grouped), ..Ladder::at(Rung::CONFIRMED) });
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Err("not_entitled"));
    world.stands_in(Delegation { id: DelegationId::drawn([1; 16]), ..away(SAM, "pat", 5_000) });
    assert_eq!(approve(&world, PAT), Err("not_found"));
}

/// The absence of `who`, as if it had been asked for.
fn away(who: &str, to: &str, until_s: i64) -> Delegation {
    let world = World::default();
    let monitor = monitor(&world);
    let visitor = visitor(&monitor, who);
    Delegation {
        id: DelegationId::drawn([7; 16]),
        from: visitor.person().who.clone(),
        tenants: visitor.person().tenants.clone(),
        to: format!("{to}@acme.example"),
        at: Timestamp::from_secs(900),
        until: Timestamp::from_secs(until_s),
    }
}

#[test]
fn everything_that_is_asked_of_an_approver_is_asked_of_who_stands_in() {
    let stale = but(PAT, 4, "301");
    let elsewhere = but(PAT, 3, "t2");
    for (who, expected) in [
        (PAT, Ok(())),
        ("pat-5 PAT@acme.example none * 10", Ok(())),
        (&*stale, Err("stale_sign_in")),
        (&*elsewhere, Err("not_found")),
        // By the address of the one who was let, and the id of the one who was asked for.
        ("ann-7 pat@acme.example none t1 10", Err("not_entitled")),
        // The absent person themselves, who has another address by now.
        ("sam-1 pat@acme.example none t1 10", Err("not_found")),
        (QUINN, Err("not_found")),
    ] {
        let world = usual();
        assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
        assert_eq!(approve(&world, who), expected, "{who}");
    }
    // On the third step an old sign-in does for who is asked, and so for who stands in.
    let world = drafted(gated(Rung::CONFIRMED, ["sam"], ["pat"]));
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    assert_eq!(approve(&world, &stale), Ok(()));
}

#[test]
fn it_ends_with_its_time_and_with_the_posture_that_names_both() {
    for (at_s, expected) in [(1_399, Ok(())), (1_400, Err("not_found"))] {
        let world = usual();
        assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 1_400), Ok(()));
        world.change(|b| b.now_s = at_s);
        assert_eq!(approve(&world, PAT), expected, "{at_s}");
    }
    for (ladder, expected) in [
        (gated(Rung::NAMED, ["sam", "lee"], ["pat", "quinn"]), Ok(())),
        (gated(Rung::NAMED, ["sam"], ["quinn"]), Err("not_found")),
        (gated(Rung::NAMED, ["lee"], ["pat"]), Err("not_found")),
    ] {
        let world = usual();
        assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
        world.change(|b| b.ladder = Some(ladder));
        assert_eq!(approve(&world, PAT), expected);
    }
}

#[test]
fn nobody_hands_on_what_they_stand_in_for() {
    let world = drafted(gated(Rung::NAMED, ["sam"], ["pat", "quinn"]));
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    assert_eq!(lets(&world, PAT, "quinn@acme.example", 5_000), Err("not_entitled"));
    // Not even if they had been let by another gate, which names them.
    world.stands_in(away(PAT, "quinn", 5_000));
    assert_eq!(approve(&world, QUINN), Err("not_found"));
    assert_eq!(approve(&world, PAT), Ok(()));
}

#[test]
fn a_new_one_takes_the_place_of_the_one_before() {
    let world = drafted(gated(Rung::NAMED, ["sam"], ["pat", "quinn"]));
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    let before = of(&world).id;
    assert!(world.last_header().get("replaces").is_none());
    assert_eq!(lets(&world, SAM, "quinn@acme.example", 6_000), Ok(()));
    assert_eq!(world.last_header()["replaces"], before.as_str());
    assert_eq!(of(&world).to, "quinn@acme.example");
    assert_eq!(approve(&world, PAT), Err("not_found"));
    assert_eq!(approve(&world, QUINN), Ok(()));
}

#[test]
fn it_is_ended_by_who_is_away_and_by_operators_for_all_that_they_decide() {
    let everywhere = but(SAM, 3, "*");
    let operator = |tenant: &str| format!("op-3 op@acme.example sre {tenant} 999");
    for (absent, who, named, expected) in [
        (SAM, SAM.to_owned(), false, Ok(())),
        (SAM, SAM.to_owned(), true, Ok(())),
        (SAM, operator("t1"), true, Ok(())),
        (SAM, operator("*"), true, Ok(())),
        (SAM, operator("t2"), true, Err("not_found")),
        (&*everywhere, operator("t1"), true, Err("not_entitled")),
        (&*everywhere, operator("*"), true, Ok(())),
        (SAM, operator("t1"), false, Err("conflict")),
        (SAM, PAT.to_owned(), true, Err("not_entitled")),
        (SAM, QUINN.to_owned(), true, Err("not_found")),
    ] {
        let world = usual();
        assert_eq!(lets(&world, absent, ADDRESS_OF_PAT, 5_000), Ok(()));
        let id = named.then(|| of(&world).id);
        assert_eq!(act(&world, &who, Act::Return(id.clone())), expected, "{absent}, {who}");
        assert_eq!(approve(&world, PAT).is_err(), expected.is_ok(), "{absent}, {who}");
        if expected.is_ok() {
            assert_eq!(world.delegations().len(), 0);
            let again = if named { "not_found" } else { "conflict" };
            assert_eq!(act(&world, &who, Act::Return(id)), Err(again));
        }
    }
}

#[test]
fn an_absence_is_seen_by_both_and_by_those_who_look_on_for_their_tenants() {
    let world = usual();
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    let monitor = monitor(&world);
    let seen = |who: &str| monitor.delegations(&visitor(&monitor, who)).len();
    assert_eq!((seen(SAM), seen(PAT), seen(LEE)), (1, 1, 1));
    assert_eq!((seen(QUINN), seen("op-3 op@acme.example sre t2 10")), (0, 0));
    let may =
        |who: &str| monitor.stand_ins(&visitor(&monitor, who)).into_iter().collect::<Vec<_>>();
    assert_eq!((may(SAM), may(PAT)), (vec![ADDRESS_OF_PAT.to_owned()], vec![]));
    let standing_in = |world: &World| monitor.standing_in(&only(world)).len();
    assert_eq!(standing_in(&world), 1);
    world.change(|b| b.now_s = 5_000);
    assert_eq!((seen(SAM), standing_in(&world)), (0, 0), "its time is over");
}

/// Every way in which these can be put together: a gate opens to who stands in just if it would have to
/// who is away, and everything else is as it has to be.
#[test]
fn a_delegate_never_opens_a_gate_that_its_absent_approver_could_not() {
    let absent = [SAM, &but(SAM, 3, "t2"), &but(SAM, 3, "*"), ANN, LEE];
    let delegates =
        [PAT, &but(PAT, 3, "t2"), &but(PAT, 3, "*"), QUINN, ANN, "sam-1 pat@acme.example x t1 10"];
    let gates = [(["sam", "ann"], ["pat", "kim"]), (["lee", "kim"], ["pat", "ann"])];
    let mut opened = 0;
    for (rung, person) in
        [Rung::CONFIRMED, Rung::NAMED].into_iter().flat_map(|r| [(r, None), (r, Some("ann-7"))])
    {
        for ((named, may), until_s) in gates.into_iter().flat_map(|g| [(g, 1_000), (g, 1_001)]) {
            for (away_from, who) in
                absent.iter().flat_map(|a| delegates.iter().map(move |d| (*a, *d)))
            {
                let told =
                    format!("{rung:?} {person:?} {named:?} {may:?} {until_s} {away_from} {who}");
                let world = || {
                    let ladder = gated(rung, named, may);
                    let world = World::with(|b| (b.ladder, b.person) = (Some(ladder), person));
                    assert_eq!(code(&ask(&world)), "approval_required");
                    world
                };
                let (alone, stood_in, themselves) = (world(), world(), world());
                stood_in.stands_in(away(away_from, name_of(who), until_s));
                let opens = approve(&stood_in, who).is_ok();
                if approve(&alone, who).is_ok() {
                    assert!(opens, "who is asked needs nobody's leave: {told}");
                    continue;
                }
                let could = approve(&themselves, away_from).is_ok();
                assert!(!opens || could, "{told}");
                // On the third step whoever cannot be told from them is not taken for them.
                let own = match person {
                    Some(_) => who.starts_with("ann-7"),
                    None => rung >= Rung::NAMED,
                };
                let let_in = may.contains(&name_of(who)) && !who.contains(" t2 ") && !own;
                let let_in = let_in
                    && until_s > 1_000
                    && who.split(' ').next() != away_from.split(' ').next();
                assert_eq!(opens, could && let_in, "{told}");
                opened += usize::from(opens);
                let in_stead_of = only(&stood_in).decided.and_then(|decided| decided.in_stead_of);
                assert_eq!(in_stead_of.is_some(), opens, "{told}");
            }
        }
    }
    assert!(opened >= 10, "{opened}");
}

fn name_of(who: &str) -> &str {
    who.split(' ').nth(1).and_then(|address| address.split('@').next()).unwrap()
}

#[test]
fn a_person_without_an_address_stands_in_for_nobody() {
    let world = usual();
    assert_eq!(lets(&world, SAM, ADDRESS_OF_PAT, 5_000), Ok(()));
    assert_eq!(approve(&world, &but(PAT, 1, "-")), Err("not_found"));
    let monitor = monitor(&world);
    assert!(!monitor.could_approve(&visitor(&monitor, QUINN), &only(&world)));
    assert!(monitor.could_approve(&visitor(&monitor, PAT), &only(&world)));
    assert_eq!(now(monitor.queue(&visitor(&monitor, PAT), Default::default())).unwrap().0.len(), 1);
}
