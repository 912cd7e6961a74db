//! Drafts, by their records alone: each goes along the one machine, and what carries one out was agreed
//! to, in nobody's stead who had not let them. The tables that the gateway works with are held against that: no signature covers them.

use crate::audit::verify::{Verifier, text};
use countersign_core::draft::{State, Step};
use countersign_core::id::Digest;
use countersign_core::record::Kind;
use countersign_core::refusal::Applied;
use countersign_core::tool::{Effect, Rung};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

type Header = Map<String, Value>;

/// What one journal says of its drafts, switches, delegations and unknown outcomes.
#[derive(Debug, Default)]
pub(super) struct Told {
    drafts: BTreeMap<String, Draft>,
    /// The draft that a call carries out.
    carried_out: BTreeMap<String, String>,
    /// What is switched off: its kind and name.
    suspended: BTreeSet<(String, String)>,
    /// Who stands in for whom, by the delegation's name.
    delegations: BTreeMap<String, Delegation>,
    /// Effects of which nobody knows, by their call, and the draft of each.
    unknown: BTreeMap<String, Option<String>>,
}

/// What a delegation's record says of it.
#[derive(Debug, PartialEq, Eq)]
struct Delegation {
    at: Option<i64>,
    until: Option<i64>,
    /// SHA-256 of its terms.
    terms: Option<Digest>,
}

#[derive(Debug)]
struct Draft {
    state: State,
    /// The proposal's [`GOVERNED`], rung and end.
    governed: [Option<Value>; 4],
    rung: Option<u64>,
    expires: Option<i64>,
    /// SHA-256 of its arguments, as the record has them.
    arguments: Option<Digest>,
    delivered: bool,
}

/// What the intent of a draft has in common with its proposal.
const GOVERNED: [&str; 4] = ["agent", "tenant", "tool", "decision"];

impl Told {
    /// Takes one record along. `said` is the digest of its arguments, or of a delegation's terms.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        header: &Header,
        said: Option<Digest>,
    ) -> Result<(), String> {
        let step = match kind {
            Kind::DraftProposed => return self.propose(header, said),
            Kind::DraftApproved => Step::Approve,
            Kind::DraftRejected => Step::Reject,
            Kind::DraftWithdrawn => Step::Withdraw,
            Kind::DraftExpired => Step::Expire,
            Kind::DraftVoid => Step::Void,
            Kind::DraftPreviewed => return self.draft(header).map(drop),
            Kind::DraftDelivered => return self.draft(header)?.deliver(),
            Kind::Intent => return self.intent(header, said),
            Kind::Outcome => return self.outcome(header),
            Kind::UnknownResolved => return self.resolve(header),
            Kind::Suspended => {
                self.suspended.insert(switch(header));
                return Ok(());
            }
            Kind::Resumed if self.suspended.remove(&switch(header)) => return Ok(()),
            Kind::Resumed => return Err("what it switches on was not off".to_owned()),
            Kind::Delegated => return self.delegate(header, said),
            Kind::DelegationEnded => {
                let id = named(header, "delegation").unwrap_or_default();
                let ended = self.delegations.remove(id);
                return ended.map(drop).ok_or_else(|| format!("the delegation `{id}` was none"));
            }
            Kind::StreamOpened
            | Kind::StreamClosed
            | Kind::PostureLoaded
            | Kind::DefinitionChanged
            | Kind::Refusal
            | Kind::ActRefused
            | Kind::Alerted => return Ok(()),
        };
        let stood_in = self.stands_in(header);
        let draft = self.draft(header)?;
        draft.step(step)?;
        draft.is_of(header, &GOVERNED[..3])?;
        if step == Step::Approve {
            draft.in_time(header)?;
        }
        stood_in
    }

    /// Whoever decides in somebody's stead was let by them, and is still.
    fn stands_in(&self, header: &Header) -> Result<(), String> {
        let Some(id) = named(header, "delegation") else { return Ok(()) };
        let until = self.delegations.get(id).and_then(|delegation| delegation.until);
        match header.get("at").and_then(Value::as_i64).zip(until) {
            Some((at, until)) if at < until => Ok(()),
            Some(_) | None => Err(format!("the delegation `{id}` that it names does not hold")),
        }
    }

    /// One of each person: a new one names the one that it replaces. Those whose time is over go.
    fn delegate(&mut self, header: &Header, terms: Option<Digest>) -> Result<(), String> {
        let id = named(header, "delegation").ok_or("it names no delegation")?;
        let number = |member: &str| header.get(member).and_then(Value::as_i64);
        let (at, until) = (number("at"), number("until"));
        let replaced = named(header, "replaces").map(|old| (old, self.delegations.remove(old)));
        self.delegations.retain(|_, old| old.until > at);
        let before = self.delegations.insert(id.to_owned(), Delegation { at, until, terms });
        if let Some((old, None)) = replaced {
            return Err(format!("the delegation `{old}` that it replaces was none"));
        }
        match before {
            Some(_) => Err(format!("the delegation `{id}` was made before")),
            None if until > at => Ok(()),
            None => Err("its end is not after it".to_owned()),
        }
    }

    fn draft(&mut self, header: &Header) -> Result<&mut Draft, String> {
        let id = named(header, "draft").ok_or("it names no draft")?;
        self.drafts.get_mut(id).ok_or_else(|| format!("nobody has proposed the draft `{id}`"))
    }

    fn propose(&mut self, header: &Header, arguments: Option<Digest>) -> Result<(), String> {
        let id = named(header, "draft").ok_or("it names no draft")?;
        let draft = Draft {
            state: State::Waiting,
            governed: GOVERNED.map(|member| header.get(member).cloned()),
            rung: header.get("rung").and_then(Value::as_u64),
            expires: header.get("expires").and_then(Value::as_i64),
            arguments,
            delivered: false,
        };
        match self.drafts.insert(id.to_owned(), draft) {
            Some(_) => Err(format!("the draft `{id}` was proposed before")),
            None => Ok(()),
        }
    }

    /// An effect that people have to agree to carries a draft out, or a decision point stood in for
    /// them. The approval is of this very call, and is spent by it.
    fn intent(&mut self, header: &Header, arguments: Option<Digest>) -> Result<(), String> {
        let rung = rung(header)?;
        if !header.contains_key("draft") {
            let consulted = header.get("consulted").and_then(|consulted| consulted.get("said"));
            let stood_in = rung == Rung::CONFIRMED
                && named(header, "decided_by") == Some("decision_point")
                && consulted.and_then(Value::as_str) == Some("yes");
            return if rung < Rung::CONFIRMED || stood_in {
                Ok(())
            } else {
                Err(format!(
                    "it stands on step {} of the ladder, and neither a draft nor a decision point is behind it",
                    rung.number()
                ))
            };
        }
        if let Some((call, id)) = named(header, "call").zip(named(header, "draft")) {
            self.carried_out.insert(call.to_owned(), id.to_owned());
        }
        let draft = self.draft(header)?;
        draft.step(Step::Claim)?;
        draft.is_of(header, &GOVERNED)?;
        draft.in_time(header)?;
        if draft.rung.is_none_or(|approved| approved < rung.number().into()) {
            return Err("its step of the ladder is above the one that was agreed to".to_owned());
        }
        if draft.arguments == arguments {
            Ok(())
        } else {
            Err("its arguments are not those that were agreed to".to_owned())
        }
    }

    fn outcome(&mut self, header: &Header) -> Result<(), String> {
        let call = named(header, "call").unwrap_or_default();
        let applied = Applied::ALL.into_iter().find(|applied| {
            header.get("applied").and_then(Value::as_str) == Some(applied.as_str())
        });
        let applied = applied.ok_or("it does not say what became of the effect")?;
        let of = named(header, "draft").map(str::to_owned);
        if applied == Applied::Unknown && named(header, "effect") != Some("read") {
            self.unknown.insert(call.to_owned(), of.clone());
        } else {
            self.unknown.remove(call);
        }
        if of.as_ref() != self.carried_out.get(call) {
            return Err("it names another draft than its intent".to_owned());
        }
        if of.is_none() { Ok(()) } else { self.draft(header)?.step(Step::of(applied)) }
    }

    fn resolve(&mut self, header: &Header) -> Result<(), String> {
        let call = named(header, "call").unwrap_or_default();
        let of = self.unknown.remove(call);
        let of = of.ok_or_else(|| format!("the outcome of call `{call}` is not unknown"))?;
        if of.as_deref() != named(header, "draft") {
            return Err(format!("it names another draft than call `{call}` carried out"));
        }
        let happened = header.get("happened").and_then(Value::as_bool);
        let happened = happened.ok_or("it does not say whether it happened")?;
        let step = if happened { Step::Succeed } else { Step::Fail };
        if of.is_none() { Ok(()) } else { self.draft(header)?.step(step) }
    }
}

impl Draft {
    /// Takes it one step on. What cannot be is found once: from then on it is where the step leads.
    fn step(&mut self, step: Step) -> Result<(), String> {
        let from = self.state;
        let leads = State::ALL.into_iter().find_map(|state| state.after(step));
        self.state = from.after(step).or(leads).unwrap_or(from);
        match from.after(step) {
            Some(_) => Ok(()),
            None => {
                let (from, to) = (from.as_str(), self.state.as_str());
                Err(format!("its draft was {from}, from where no step leads to {to}"))
            }
        }
    }

    fn deliver(&mut self) -> Result<(), String> {
        let first = !std::mem::replace(&mut self.delivered, true);
        match self.state {
            State::Executed | State::Failed if first => Ok(()),
            State::Executed | State::Failed => Err("its outcome was told before".to_owned()),
            state => Err(format!("its draft was {}, and has no outcome to tell", state.as_str())),
        }
    }

    fn is_of(&self, header: &Header, members: &[&str]) -> Result<(), String> {
        let mut members = members.iter().zip(&self.governed);
        match members.find(|(member, proposed)| header.get(**member) != proposed.as_ref()) {
            Some((member, _)) => Err(format!("its `{member}` is not the one that was proposed")),
            None => Ok(()),
        }
    }

    fn in_time(&self, header: &Header) -> Result<(), String> {
        let at = header.get("at").and_then(Value::as_i64);
        match at.zip(self.expires) {
            Some((at, expires)) if at < expires => Ok(()),
            Some(_) | None => Err("the time of its draft was over".to_owned()),
        }
    }
}

/// The step of the ladder that a call stands on: not below its effect's own, but for an exception.
fn rung(header: &Header) -> Result<Rung, String> {
    let effects = [Effect::Read, Effect::Reversible, Effect::Persistent, Effect::Irreversible];
    let effect = effects.into_iter().find(|e| named(header, "effect") == Some(e.as_str()));
    let least = effect.map_or(Rung::NAMED, Effect::rung);
    let number = header.get("rung").and_then(Value::as_u64);
    let number = number.and_then(|number| u8::try_from(number).ok());
    let rung = number.map_or(Rung::NAMED, Rung::new);
    if rung < least && !header.contains_key("exception") {
        return Err("it stands below its effect's step of the ladder, by no exception".to_owned());
    }
    Ok(rung)
}

fn named<'a>(header: &'a Header, member: &str) -> Option<&'a str> {
    header.get(member).and_then(Value::as_str)
}

fn switch(header: &Header) -> (String, String) {
    let member = |name: &str| named(header, name).unwrap_or_default().to_owned();
    (member("switch"), member("name"))
}

impl Verifier<'_> {
    /// What the gateway works with is what the records make of it. Only what ended may be forgotten.
    pub(super) fn tables(&mut self) -> rusqlite::Result<()> {
        let rows = |sql: &str| -> rusqlite::Result<BTreeSet<(String, String)>> {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map([], |row| Ok((text(row, 0)?, text(row, 1)?)))?.collect()
        };
        let drafts = rows("SELECT id, state FROM drafts")?;
        let suspended = rows("SELECT switch, name FROM suspensions")?;
        let unknown = rows("SELECT call, coalesce(draft, '') FROM unknowns WHERE decided IS NULL")?;
        let mut delegations = BTreeMap::new();
        let mut statement =
            self.connection.prepare("SELECT id, at, until, terms FROM delegations")?;
        let mut kept = statement.query([])?;
        while let Some(row) = kept.next()? {
            let terms = Some(Digest::sha256(text(row, 3)?.as_bytes()));
            let kept = Delegation { at: row.get(1)?, until: row.get(2)?, terms };
            delegations.insert(text(row, 0)?, kept);
        }
        let mut odd: Vec<String> = Vec::new();
        let told = &self.told;
        for (id, state) in &drafts {
            let recorded = told.drafts.get(id).map(|draft| draft.state.as_str());
            if recorded != Some(state) {
                let recorded = recorded.unwrap_or("not proposed");
                odd.push(format!(
                    "the draft `{id}` stands at {state}, and is {recorded} by the records"
                ));
            }
        }
        let live = told.drafts.iter().filter(|(_, draft)| draft.state.is_live());
        let kept: BTreeSet<&str> = drafts.iter().map(|(id, _)| id.as_str()).collect();
        let lost = live.filter(|(id, _)| !kept.contains(id.as_str()));
        odd.extend(lost.map(|(id, _)| format!("the draft `{id}` is missing, and has not ended")));
        for (kind, name) in suspended.symmetric_difference(&told.suspended) {
            odd.push(format!("whether {kind} `{name}` is suspended, the records say otherwise"));
        }
        let ids: BTreeSet<&String> = delegations.keys().chain(told.delegations.keys()).collect();
        for id in ids.into_iter().filter(|id| delegations.get(*id) != told.delegations.get(*id)) {
            odd.push(format!("who stands in by `{id}`, the records say otherwise"));
        }
        let open = told
            .unknown
            .iter()
            .map(|(call, draft)| (call.clone(), draft.clone().unwrap_or_default()));
        for (call, _) in unknown.symmetric_difference(&open.collect()) {
            odd.push(format!(
                "whether the outcome of call `{call}` is known, the records say otherwise"
            ));
        }
        odd.into_iter().for_each(|what| self.find(None, None, what));
        Ok(())
    }
}
