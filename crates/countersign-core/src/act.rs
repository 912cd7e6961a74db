//! What people do: approve, reject, withdraw, suspend, resume, resolve, let somebody stand in.
//!
//! ```text
//! Visitor → Entitled → recorded
//! ```
//!
//! A small pipeline of its own with the same journal. A [`Visitor`] is made from a person's own
//! sign-in alone; an agent's token, or what a client answers for somebody, makes none:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{act::Visitor, person::Person};
//! # fn person() -> std::sync::Arc<Person> { std::process::abort() }
//! let visitor = Visitor { person: person() };
//! ```

mod absence;

use crate::absence::Delegation;
use crate::bound::{DELEGATION_S_MAX, DRAFTS_LISTED_MAX, FRESH_SIGN_IN_S, PERSON_REASON_BYTES_MAX};
use crate::call::Monitor;
use crate::draft::{
    Change, Conflict, Decided, Draft, Reach, Step, Suspension, Switch, UnknownOutcome, Who,
};
use crate::id::{CallId, DelegationId, Digest, DraftId, Timestamp};
use crate::ladder::{Approvers, Gate};
use crate::person::{Kinship, Person, Role};
use crate::port::{Credential, Found, Place, Receipt, Refused, Unrecorded, Which};
use crate::posture::{Grant, Lapse};
use crate::record::{Entry, Kind};
use crate::refusal::AuthenticationFailure;
use crate::tool::Rung;
use serde_json::json;
use std::sync::Arc;

/// Evidence that a person signed in.
#[derive(Debug)]
#[must_use]
pub struct Visitor {
    person: Arc<Person>,
}

impl Visitor {
    /// Who it is.
    #[must_use]
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// Whether their sign-in is fresh enough for what asks for one.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        fresh(&self.person, now).is_ok()
    }
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Let it happen.
    Approve(DraftId),
    /// Do not; the model reads why.
    Reject(DraftId, String),
    /// Take it back.
    Withdraw(DraftId, String),
    /// Switch off, and say why.
    Suspend(Switch, String),
    /// Switch on again, and say why.
    Resume(Switch, String),
    /// Say whether an effect took place whose outcome is unknown, and how one knows.
    Resolve {
        /// The call.
        call: CallId,
        /// Whether it did.
        happened: bool,
        /// How one knows.
        reason: String,
    },
    /// Let somebody stand in.
    Delegate {
        /// Who, by address.
        to: String,
        /// Until when; at most [`DELEGATION_S_MAX`] ahead.
        until: Timestamp,
    },
    /// End an absence: that one, or one's own.
    Return(Option<DelegationId>),
}

impl Act {
    /// As records write it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Approve(_) => "approve",
            Self::Reject(..) => "reject",
            Self::Withdraw(..) => "withdraw",
            Self::Suspend(..) => "suspend",
            Self::Resume(..) => "resume",
            Self::Resolve { .. } => "resolve",
            Self::Delegate { .. } => "delegate",
            Self::Return(_) => "return",
        }
    }
}

/// Why a person is not given what they asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// There is no such thing, or it is not theirs to see: the same answer.
    NotFound,
    /// They may see it and not do this. Why.
    NotEntitled(&'static str),
    /// It takes a sign-in that is not older than [`FRESH_SIGN_IN_S`].
    StaleSignIn,
    /// It was switched off.
    Suspended(Box<Suspension>),
    /// The time is over for which it was reviewed.
    Lapsed(Box<Lapse>),
    /// What governs the draft has changed since it was proposed, or its time is over.
    Overtaken,
    /// It has got elsewhere by now.
    Conflict(Conflict),
    /// A reason is missing, too long or holds a control character.
    Reason,
    /// An end that is not later than now, or later than [`DELEGATION_S_MAX`] ahead.
    Until,
    /// A system that had to be asked did not answer.
    Unanswered,
    /// The journal takes no entry. For operators.
    Unavailable(String),
}

impl Barred {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotEntitled(_) => "not_entitled",
            Self::StaleSignIn => "stale_sign_in",
            Self::Suspended(_) | Self::Lapsed(_) => "suspended",
            Self::Overtaken => "overtaken",
            Self::Conflict(_) => "conflict",
            Self::Reason => "bad_reason",
            Self::Until => "bad_until",
            Self::Unanswered => "unanswered",
            Self::Unavailable(_) => "journal_unavailable",
        }
    }

    /// One sentence for the person.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::NotFound => "There is nothing of that name that you may see.".to_owned(),
            Self::NotEntitled(why) => (*why).to_owned(),
            Self::StaleSignIn => format!(
                "This takes a sign-in no older than {} minutes: sign in again.",
                FRESH_SIGN_IN_S.div_euclid(60)
            ),
            Self::Suspended(suspension) => format!(
                "The {} {} is suspended: {}",
                suspension.of.kind(),
                suspension.of.name(),
                suspension.reason
            ),
            Self::Lapsed(lapse) => {
                format!("Nothing is done until somebody reviews it again: {}.", lapse.of)
            }
            Self::Overtaken => {
                "What governs this draft has changed since it was proposed, or its time is over."
                    .to_owned()
            }
            Self::Conflict(Conflict::Draft(Some(state))) => {
                format!("It is {} by now.", state.as_str())
            }
            Self::Conflict(_) => "It is not, or no longer, as it was.".to_owned(),
            Self::Reason => format!(
                "Give a reason of one to {PERSON_REASON_BYTES_MAX} bytes without control characters."
            ),
            Self::Until => format!(
                "Give an end that is later than now, and at most {} days ahead.",
                DELEGATION_S_MAX.div_euclid(86_400)
            ),
            Self::Unanswered => "The system behind this did not answer.".to_owned(),
            Self::Unavailable(_) => "The journal takes no entry now: nothing was done.".to_owned(),
        }
    }
}

/// What was asked for is done and on record.
#[derive(Debug)]
#[must_use]
pub struct Done {
    /// Where it stands in the journal.
    pub receipt: Receipt,
    /// The draft that is to be carried out now: [`Monitor::tend`] does.
    pub approved: Option<DraftId>,
}

/// A person may do what they ask for. Only [`Monitor::entitle`] says so.
#[derive(Debug)]
#[must_use]
struct Entitled {
    entry: Entry,
    approved: Option<DraftId>,
}

impl Monitor {
    /// Verifies a person's own credential, once per request.
    ///
    /// # Errors
    /// [`AuthenticationFailure`]: a door answers 401.
    pub async fn welcome(&self, credential: &Credential) -> Result<Visitor, AuthenticationFailure> {
        let person = self.people.person(credential, self.clock.now()).await?;
        Ok(Visitor { person })
    }

    /// Does what a person asks for, if they may, and puts it on record. An approval is carried out
    /// afterwards, by [`Monitor::tend`].
    ///
    /// # Errors
    /// [`Barred`]: nothing was done, and that is on record as well.
    pub async fn act(&self, visitor: &Visitor, act: Act) -> Result<Done, Barred> {
        let now = self.clock.now();
        let kind = act.as_str();
        let done = match self.entitle(visitor, act, now).await {
            Ok(Entitled { entry, approved }) => {
                // It says who may do this, and so who could.
                let entry = entry.with("posture", self.posture.digest.to_string());
                match self.journal.append(entry).await {
                    Ok(receipt) => Ok(Done { receipt, approved }),
                    Err(Unrecorded::Refused(conflict)) => Err(Barred::Conflict(conflict)),
                    Err(Unrecorded::Unavailable(why)) => Err(Barred::Unavailable(why)),
                }
            }
            Err(barred) => Err(barred),
        };
        if let Err(barred) = &done {
            self.note_barred(visitor, kind, barred, now);
        }
        done
    }

    async fn entitle(
        &self,
        visitor: &Visitor,
        act: Act,
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let person = visitor.person();
        if person.expires <= now {
            return Err(Barred::StaleSignIn);
        }
        match act {
            Act::Approve(id) => self.approve(person, &id, now).await,
            Act::Reject(id, reason) => self.reject(person, &id, reason, now).await,
            Act::Withdraw(id, reason) => self.withdraw(person, &id, reason, now).await,
            Act::Suspend(of, reason) => suspend(person, of, reason, now),
            Act::Resume(of, reason) => self.resume(person, of, reason, now),
            Act::Resolve { call, happened, reason } => {
                self.resolve_unknown(person, call, (happened, reason), now).await
            }
            Act::Delegate { to, until } => self.delegate(person, (&to, until), now),
            Act::Return(id) => self.end_absence(person, id, now),
        }
    }

    async fn approve(
        &self,
        person: &Person,
        id: &DraftId,
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let (draft, grant) = self.governed(person, id).await?;
        let gate = grant.tool.ladder.gate.as_ref().ok_or(Barred::Overtaken)?;
        let rung = grant.tool.ladder.rung(now).max(draft.rung);
        if rung > draft.rung || now >= draft.expires {
            return Err(Barred::Overtaken);
        }
        let stead = self.may_decide(person, &draft, gate, now)?;
        not_their_own(person, &draft, gate)?;
        if rung >= Rung::NAMED {
            fresh(person, now)?;
        }
        if let Some(suspension) = self.register.suspended(&reach_of(&draft, grant)) {
            return Err(Barred::Suspended(Box::new(suspension)));
        }
        if let Some(lapse) = grant.lapsed(now) {
            return Err(Barred::Lapsed(Box::new(lapse.clone())));
        }
        let (step, decided) = ((Kind::DraftApproved, Step::Approve), decided(person, None, now));
        let entry = moved(&draft, step, decided, stead);
        Ok(Entitled { entry, approved: Some(draft.id) })
    }

    async fn reject(
        &self,
        person: &Person,
        id: &DraftId,
        reason: String,
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let reason = worded(reason)?;
        let draft = self.seen(person, id).await?;
        let grant = self.grant_of(&draft).ok_or(Barred::Overtaken)?;
        let gate = grant.tool.ladder.gate.as_ref().ok_or(Barred::Overtaken)?;
        let stead = self.may_decide(person, &draft, gate, now)?;
        let decided = decided(person, Some(reason), now);
        let entry = moved(&draft, (Kind::DraftRejected, Step::Reject), decided, stead);
        Ok(Entitled { entry, approved: None })
    }

    async fn withdraw(
        &self,
        person: &Person,
        id: &DraftId,
        reason: String,
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let reason = worded(reason)?;
        let draft = self.seen(person, id).await?;
        let own = person.who.kinship(&draft.principal) == Kinship::Same;
        if !own && !person.roles.contains(&Role::Operator) {
            let why = "Whoever asked for it may withdraw it, and operators.";
            return Err(Barred::NotEntitled(why));
        }
        let decided = decided(person, Some(reason), now);
        let entry = moved(&draft, (Kind::DraftWithdrawn, Step::Withdraw), decided, None);
        Ok(Entitled { entry, approved: None })
    }

    fn resume(
        &self,
        person: &Person,
        of: Switch,
        reason: String,
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let reason = worded(reason)?;
        operates(person, &of)?;
        let suspensions = self.register.suspensions();
        let suspension = suspensions.iter().find(|suspension| suspension.of == of);
        let suspension = suspension.ok_or(Barred::Conflict(Conflict::Nothing))?;
        if same(&suspension.by, &person.who) {
            let why = "Somebody else than who suspended it has to resume it.";
            return Err(Barred::NotEntitled(why));
        }
        fresh(person, now)?;
        let entry = switched(Kind::Resumed, &of, (person, &reason), now);
        Ok(Entitled { entry: entry.changing(Change::Resume(of)), approved: None })
    }

    async fn resolve_unknown(
        &self,
        person: &Person,
        call: CallId,
        (happened, reason): (bool, String),
        now: Timestamp,
    ) -> Result<Entitled, Barred> {
        let reason = worded(reason)?;
        let unknown = self.unknown(person, false).await?;
        let unknown = unknown.into_iter().find(|unknown| unknown.call == call);
        let unknown = unknown.ok_or(Barred::NotFound)?;
        if !person.roles.contains(&Role::Operator) {
            return Err(Barred::NotEntitled("Operators say what came of an unknown outcome."));
        }
        let decided = decided(person, Some(reason.clone()), now);
        let mut entry = by(Entry::new(Kind::UnknownResolved, now), person)
            .with("call", call.as_str())
            .with("happened", happened)
            .with("tenant", unknown.tenant.as_str())
            .with("agent", unknown.agent.as_str())
            .with("tool", unknown.tool.as_str())
            .body("reason", reason);
        if let Some(draft) = &unknown.draft {
            entry = entry.with("draft", draft.as_str());
        }
        let entry = entry.changing(Change::Resolve { call, decided, happened });
        Ok(Entitled { entry, approved: None })
    }

    /// A draft that this person may see and that is governed as it was when it was proposed. One
    /// that is not can no longer be carried out: it is void from here on.
    async fn governed(&self, person: &Person, id: &DraftId) -> Result<(Draft, &Grant), Barred> {
        let draft = self.seen(person, id).await?;
        let grant = self.grant_of(&draft).filter(|grant| grant.decision_digest == draft.decision);
        match grant {
            Some(grant) => Ok((draft, grant)),
            None => {
                self.outdate(&draft).await;
                Err(Barred::Overtaken)
            }
        }
    }

    /// What a draft's agent was granted of its tool, if it still is.
    pub(crate) fn grant_of(&self, draft: &Draft) -> Option<&Grant> {
        let agent = self.posture.agents.get(&draft.principal.actor)?;
        let stands = agent.id == draft.agent && agent.is(&draft.principal);
        agent.grants.get(&draft.tool).filter(|_| stands)
    }

    // ── what people see ─────────────────────────────────────────────────────────────────────────

    /// One draft, if the person may see it.
    ///
    /// # Errors
    /// [`Barred::NotFound`], [`Barred::Unavailable`].
    pub async fn look_at(&self, visitor: &Visitor, id: &DraftId) -> Result<Draft, Barred> {
        self.seen(visitor.person(), id).await
    }

    /// The drafts that the person may see, latest first, and where the next page begins
    /// ([`Which::before`]) unless this is the last. One may hold none of theirs and not be the last.
    ///
    /// # Errors
    /// [`Barred::Unavailable`].
    pub async fn queue(
        &self,
        visitor: &Visitor,
        which: Which,
    ) -> Result<(Vec<Draft>, Option<Place>), Barred> {
        let drafts = self.register.drafts(which).await.map_err(unavailable)?;
        let next = drafts.last().filter(|_| drafts.len() >= DRAFTS_LISTED_MAX);
        let next = next.map(|draft| (draft.proposed, Some(draft.id.clone())));
        let shown = drafts.into_iter().filter(|draft| self.shows(visitor.person(), draft));
        Ok((shown.collect(), next))
    }

    /// Whether the draft was asked for on this person's own behalf.
    #[must_use]
    pub fn is_theirs(&self, visitor: &Visitor, draft: &Draft) -> bool {
        visitor.person().who.kinship(&draft.principal) == Kinship::Same
    }

    /// Whether this person could approve the draft now, their sign-in's age apart.
    #[must_use]
    pub fn could_approve(&self, visitor: &Visitor, draft: &Draft) -> bool {
        self.may_approve(visitor, draft).is_ok()
    }

    /// The same, with why not.
    ///
    /// # Errors
    /// [`Barred`]: why.
    pub fn may_approve(&self, visitor: &Visitor, draft: &Draft) -> Result<(), Barred> {
        let person = visitor.person();
        let gate = self.grant_of(draft).and_then(|grant| grant.tool.ladder.gate.as_ref());
        let gate = gate.ok_or(Barred::Overtaken)?;
        self.may_decide(person, draft, gate, self.clock.now())?;
        not_their_own(person, draft, gate)
    }

    /// What the draft's preview finds now. It asks a system on the draft's behalf, and is on record.
    ///
    /// # Errors
    /// [`Barred`]; [`Barred::NotFound`] too if the tool has no preview.
    pub async fn preview(&self, visitor: &Visitor, id: &DraftId) -> Result<Found, Barred> {
        let now = self.clock.now();
        let (draft, grant) = self.governed(visitor.person(), id).await?;
        let gate = grant.tool.ladder.gate.as_ref().ok_or(Barred::Overtaken)?;
        let query = gate.preview.as_ref().ok_or(Barred::NotFound)?;
        let entry = of(&draft, by(Entry::new(Kind::DraftPreviewed, now), visitor.person()));
        self.journal.append(entry).await.map_err(unavailable)?;
        self.show_before(&draft, &grant.tool, query).await.map_err(|_why| Barred::Unanswered)
    }

    /// The effects whose outcome is unknown, as far as the person may see them.
    ///
    /// # Errors
    /// [`Barred::Unavailable`].
    pub async fn unknown_outcomes(
        &self,
        visitor: &Visitor,
        resolved: bool,
    ) -> Result<Vec<UnknownOutcome>, Barred> {
        self.unknown(visitor.person(), resolved).await
    }

    async fn unknown(
        &self,
        person: &Person,
        resolved: bool,
    ) -> Result<Vec<UnknownOutcome>, Barred> {
        let unknown = self.register.unknown(resolved).await.map_err(unavailable)?;
        let shown = |unknown: &UnknownOutcome| {
            !person.roles.is_empty() && person.tenants.include(&unknown.tenant)
        };
        Ok(unknown.into_iter().filter(shown).collect())
    }

    async fn seen(&self, person: &Person, id: &DraftId) -> Result<Draft, Barred> {
        let draft = self.register.draft(id).await.map_err(unavailable)?;
        draft.filter(|draft| self.shows(person, draft)).ok_or(Barred::NotFound)
    }

    fn shows(&self, person: &Person, draft: &Draft) -> bool {
        if person.who.kinship(&draft.principal) == Kinship::Same {
            return true;
        }
        let (now, gate) = (self.clock.now(), || self.grant_of(draft)?.tool.ladder.gate.as_ref());
        person.tenants.include(&draft.principal.tenant)
            && (!person.roles.is_empty()
                || gate().is_some_and(|gate| self.may_decide(person, draft, gate, now).is_ok()))
    }

    /// A person who is asked, or stands in for one who is, and then for whom. Whose draft it is, is
    /// another question.
    fn may_decide(
        &self,
        person: &Person,
        draft: &Draft,
        gate: &Gate,
        now: Timestamp,
    ) -> Result<Option<Delegation>, Barred> {
        if is_asked(person, draft, gate, now) {
            return Ok(None);
        }
        let stead = self.in_stead(person, (draft, gate), now);
        stead.map(Some).ok_or(Barred::NotEntitled("You are not one of its approvers."))
    }

    /// Notes what somebody was not given. It never waits.
    fn note_barred(&self, visitor: &Visitor, act: &'static str, barred: &Barred, now: Timestamp) {
        let Who { issuer, id, .. } = &visitor.person().who;
        let parts =
            [issuer.as_str().as_bytes(), id.as_bytes(), act.as_bytes(), barred.code().as_bytes()];
        let repeat = Digest::of("countersign/barred/1", &parts);
        let entry = by(Entry::new(Kind::ActRefused, now), visitor.person())
            .with("act", act)
            .with("code", barred.code());
        self.journal.note(Refused { entry, repeat });
    }
}

/// Whether a person is one of those that the tool names, now.
fn is_asked(person: &Person, draft: &Draft, gate: &Gate, now: Timestamp) -> bool {
    let escalated = gate.escalates(draft.proposed).filter(|(at, _)| *at <= now);
    // INVARIANT: on the fourth step nobody comes in by being of a group, however late it is.
    let escalated = escalated
        .map(|(_, to)| to)
        .filter(|to| draft.rung < Rung::NAMED || matches!(to, Approvers::Named(_)));
    let asked = std::iter::once(&gate.approvers).chain(escalated);
    asked.into_iter().any(|approvers| is_one_of(person, draft, approvers))
}

fn is_one_of(person: &Person, draft: &Draft, approvers: &Approvers) -> bool {
    let tenant = person.tenants.include(&draft.principal.tenant);
    match approvers {
        Approvers::Named(addresses) => {
            let address = person.who.address.as_deref().map(str::to_lowercase);
            tenant && address.is_some_and(|address| addresses.contains(&address))
        }
        Approvers::Group { group, subject } => {
            (tenant && person.groups.contains(group))
                || (*subject && person.who.kinship(&draft.principal) == Kinship::Same)
        }
    }
}

/// On the fourth step nobody approves what was asked for on their own behalf, nor what may have
/// been; on the third, only where the tool says so.
fn not_their_own(person: &Person, draft: &Draft, gate: &Gate) -> Result<(), Barred> {
    let themselves = matches!(gate.approvers, Approvers::Group { subject: true, .. });
    match (person.who.kinship(&draft.principal), draft.rung >= Rung::NAMED) {
        (Kinship::Same, true) => Err(Barred::NotEntitled(
            "It was asked for on your own behalf: somebody else has to approve it.",
        )),
        (Kinship::Same, false) if !themselves => Err(Barred::NotEntitled(
            "It was asked for on your own behalf: somebody else has to approve it.",
        )),
        (Kinship::Unclear, true) => Err(Barred::NotEntitled(
            "Whether it was asked for on your own behalf cannot be told: the token that asked, or yours, \
             does not name a person.",
        )),
        (Kinship::Same | Kinship::Unclear, false) | (Kinship::Other, _) => Ok(()),
    }
}

fn fresh(person: &Person, now: Timestamp) -> Result<(), Barred> {
    let age_s = |at: Timestamp| now.micros_since(at).div_euclid(1_000_000);
    match person.signed_in {
        Some(at) if at <= now.plus_secs(30) && age_s(at) <= FRESH_SIGN_IN_S => Ok(()),
        Some(_) | None => Err(Barred::StaleSignIn),
    }
}

/// An operator for what the switch stops.
fn operates(person: &Person, of: &Switch) -> Result<(), Barred> {
    let reaches = match of {
        Switch::Tenant(tenant) => person.tenants.include(tenant),
        Switch::Everything | Switch::Agent(_) | Switch::Tool(_) | Switch::System(_) => {
            person.tenants == crate::person::Tenants::All
        }
    };
    if reaches && person.roles.contains(&Role::Operator) {
        Ok(())
    } else {
        Err(Barred::NotEntitled("Operators do this, those of one tenant for that tenant."))
    }
}

fn suspend(
    person: &Person,
    of: Switch,
    reason: String,
    now: Timestamp,
) -> Result<Entitled, Barred> {
    let reason = worded(reason)?;
    operates(person, &of)?;
    let entry = switched(Kind::Suspended, &of, (person, &reason), now);
    let suspension = Suspension { of, at: now, by: person.who.clone(), reason };
    Ok(Entitled { entry: entry.changing(Change::Suspend(suspension)), approved: None })
}

fn same(one: &Who, other: &Who) -> bool {
    (&one.issuer, &one.id) == (&other.issuer, &other.id)
        || (one.address.is_some() && one.address == other.address)
}

fn worded(reason: String) -> Result<String, Barred> {
    let reason = reason.trim().to_owned();
    let fits = (1..=PERSON_REASON_BYTES_MAX).contains(&reason.len());
    if fits && !reason.chars().any(char::is_control) { Ok(reason) } else { Err(Barred::Reason) }
}

fn decided(person: &Person, reason: Option<String>, at: Timestamp) -> Decided {
    Decided { by: Some(person.who.clone()), in_stead_of: None, at, reason }
}

/// The entry of a person's decision about a draft, with the draft's step.
fn moved(
    draft: &Draft,
    (kind, step): (Kind, Step),
    mut decided: Decided,
    stead: Option<Delegation>,
) -> Entry {
    let mut entry = of(draft, Entry::new(kind, decided.at));
    if let Some(Delegation { id, from, .. }) = stead {
        // Whoever is absent is a person, and the delegation's name is not: by it their record is found.
        entry = entry.with("delegation", id.as_str()).body("in_stead_of", described(&from));
        decided.in_stead_of = Some(from);
    }
    if let Some(who) = &decided.by {
        entry = entry.body("person", described(who));
    }
    if let Some(reason) = &decided.reason {
        entry = entry.body("reason", reason.as_bytes());
    }
    entry.changing(Change::Move {
        draft: draft.id.clone(),
        step,
        decided: Some(decided),
        commit: None,
        outcome: None,
    })
}

/// The members that every record of a draft has.
pub(crate) fn of(draft: &Draft, entry: Entry) -> Entry {
    entry
        .with("draft", draft.id.as_str())
        .with("tenant", draft.principal.tenant.as_str())
        .with("agent", draft.agent.as_str())
        .with("tool", draft.tool.as_str())
        .with("rung", draft.rung.number())
}

fn switched(kind: Kind, of: &Switch, (person, reason): (&Person, &str), now: Timestamp) -> Entry {
    by(Entry::new(kind, now), person)
        .with("switch", of.kind())
        .with("name", of.name())
        .body("reason", reason)
}

fn by(entry: Entry, person: &Person) -> Entry {
    entry.body("person", described(&person.who))
}

/// What a record says of a person, as a body that can be erased.
pub(crate) fn described(who: &Who) -> String {
    let Who { issuer, id, address } = who;
    json!({ "issuer": issuer.as_str(), "id": id, "address": address }).to_string()
}

pub(crate) fn reach_of<'a>(draft: &'a Draft, grant: &'a Grant) -> Reach<'a> {
    let look_ups = grant.tool.look_ups.iter().map(|rule| &rule.query.system);
    Reach {
        agent: &draft.agent,
        tool: Some(&draft.tool),
        systems: std::iter::once(&grant.tool.system).chain(look_ups).collect(),
        tenant: &draft.principal.tenant,
    }
}

fn unavailable(error: Unrecorded) -> Barred {
    Barred::Unavailable(error.to_string())
}
