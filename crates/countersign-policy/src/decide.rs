//! The decision: a pure function of the bundle and the question.

use crate::bundle::{Bundle, Slice};
use crate::text::KNOWN_AS;
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, PolicyId, PolicySet,
    Request, Response, RestrictedExpression,
};
use countersign_core::draft::Who;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::{Denial, Pdp, Permission, Question};
use countersign_core::refusal::Forbidden;
use countersign_core::tool::Rung;
use lru::LruCache;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

impl Pdp for Bundle {
    /// Asked at the clearance that every call holds. If nothing but gates stands in the way, asked
    /// once more at the clearance they ask for: what a person's approval could not make right is
    /// not put before a person.
    fn decide(&self, question: &Question<'_>) -> Result<Permission, Denial> {
        let slice = self.slice(question.tool).ok_or(Denial::Forbidden(Forbidden::default()))?;
        let caller = self.callers.of(slice, question)?;
        let forbidding = match slice.decide_at(question, &caller, Rung::UNGATED)? {
            Verdict::Permitted(determining) => {
                return Ok(Permission { determining, clearance: Rung::UNGATED });
            }
            Verdict::Forbidden(policies) => policies,
        };
        let clearance = slice.clearance(&forbidding).ok_or_else(|| slice.refusal(&forbidding))?;
        match slice.decide_at(question, &caller, clearance)? {
            Verdict::Permitted(determining) => Ok(Permission { determining, clearance }),
            Verdict::Forbidden(policies) => Err(slice.refusal(&policies)),
        }
    }
}

/// What Cedar says once no policy errs: by their ids, in order.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Permitted(Vec<String>),
    Forbidden(Vec<String>),
}

fn verdict(response: &Response) -> Result<Verdict, Denial> {
    // Cedar skips a policy that errs, so a broken `forbid` would not forbid. Here, nothing goes on.
    let broken = response.diagnostics().errors().map(|error| {
        let AuthorizationError::PolicyEvaluationError(error) = error;
        error.policy_id()
    });
    if let Some(policy) = broken.min() {
        return Err(Denial::Undecided(name(policy)));
    }
    let policies: BTreeSet<&PolicyId> = response.diagnostics().reason().collect();
    let policies: Vec<String> = policies.into_iter().map(name).collect();
    match response.decision() {
        Decision::Allow if policies.is_empty() => Err(Denial::Forbidden(Forbidden::default())),
        Decision::Allow => Ok(Verdict::Permitted(policies)),
        Decision::Deny => Ok(Verdict::Forbidden(policies)),
    }
}

/// A caller as Cedar sees it.
pub(crate) struct Caller {
    entities: Entities,
    /// The policies that can bear on it; `None` if that is all of them.
    bearing: Option<PolicySet>,
}

/// Callers from earlier questions: making one costs more than deciding.
pub(crate) struct Callers(Mutex<LruCache<Digest, Arc<Caller>>>);

/// Most callers remembered; the least recently used goes first.
const CALLERS_MAX: NonZeroUsize = match NonZeroUsize::new(1_024) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

impl Default for Callers {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CALLERS_MAX)))
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callers")
    }
}

impl Callers {
    fn of(&self, slice: &Slice, question: &Question<'_>) -> Result<Arc<Caller>, Denial> {
        let digest = slice.asked_by(question);
        // A poisoned cache is left alone: every caller is then made anew.
        let known = self.0.lock().ok().and_then(|mut known| known.get(&digest).map(Arc::clone));
        if let Some(caller) = known {
            return Ok(caller);
        }
        let caller = slice.caller(question).map_err(|error| undecided(question, &*error))?;
        let caller = Arc::new(caller);
        if let Ok(mut known) = self.0.lock() {
            known.put(digest, Arc::clone(&caller));
        }
        Ok(caller)
    }
}

fn undecided(question: &Question<'_>, error: &dyn Error) -> Denial {
    Denial::Undecided(format!("{}.question: {error}", question.tool))
}

impl Slice {
    fn decide_at(
        &self,
        question: &Question<'_>,
        caller: &Caller,
        clearance: Rung,
    ) -> Result<Verdict, Denial> {
        let undecided = |error: &dyn Error| undecided(question, error);
        let context = self.context(question, clearance).map_err(|error| undecided(&*error))?;
        let request = self.request(context).map_err(|error| undecided(&*error))?;
        let policies = caller.bearing.as_ref().unwrap_or(&self.policies);
        verdict(&Authorizer::new().is_authorized(&request, policies, &caller.entities))
    }

    /// Neither request nor context is checked against the schema: both are made to its measure, and
    /// checking costs more than deciding.
    fn request(&self, context: Context) -> Result<Request, Box<dyn Error>> {
        let [principal, action, resource] =
            [&self.caller, &self.action, &self.resource].map(Clone::clone);
        Ok(Request::new(principal, action, resource, context, None)?)
    }

    /// The policies without those of which what the caller alone decides does not hold: they forbid
    /// this caller nothing, whatever it asks for.
    fn bearing(&self, caller: &Entities) -> Result<Option<PolicySet>, Box<dyn Error>> {
        if self.caller_parts.is_empty() {
            return Ok(None);
        }
        let request = self.request(Context::empty())?;
        let response = Authorizer::new().is_authorized(&request, &self.caller_parts, caller);
        // INVARIANT: what errs is not left out.
        let erring = response.diagnostics().errors().map(|error| {
            let AuthorizationError::PolicyEvaluationError(error) = error;
            error.policy_id()
        });
        let bearing: BTreeSet<&PolicyId> = response.diagnostics().reason().chain(erring).collect();
        let mut policies = self.policies.clone();
        for part in self.caller_parts.policies() {
            if !bearing.contains(part.id()) {
                policies.remove_static(part.id().clone())?;
            }
        }
        Ok(Some(policies))
    }

    /// Whether a policy is not evaluated, whatever this caller asks for.
    #[cfg(test)]
    pub(crate) fn leaves_out(&self, policy: &str, question: &Question<'_>) -> bool {
        let bearing = self.caller(question).unwrap().bearing;
        bearing.is_some_and(|policies| policies.policy(&PolicyId::new(policy)).is_none())
    }

    /// Everything that [`Slice::caller`] is made from.
    fn asked_by(&self, question: &Question<'_>) -> Digest {
        let texts = texts(question).map(|(_name, value)| value.as_bytes());
        let sets = self.sets.iter().map(|name| {
            let values = values(question, name);
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            Digest::of("countersign/caller/set/1", &values)
        });
        let sets: Vec<Digest> = sets.collect();
        let tool = std::iter::once(question.tool.as_str().as_bytes());
        let sets = sets.iter().map(|set| set.as_bytes().as_slice());
        let parts: Vec<&[u8]> = tool.chain(texts).chain(sets).collect();
        Digest::of("countersign/caller/1", &parts)
    }

    fn caller(&self, question: &Question<'_>) -> Result<Caller, Box<dyn Error>> {
        let texts = texts(question).into_iter();
        let texts = texts.map(|(name, value)| (name.to_owned(), text(value)));
        // A claim that the token lacks is an empty set, which permits nothing.
        let sets = self.sets.iter().map(|name| {
            let values = values(question, name);
            (name.clone(), RestrictedExpression::new_set(values.iter().map(|value| text(value))))
        });
        let caller = Entity::new_with_tags(self.caller.clone(), texts.chain(sets), [], [])?;
        let entities = std::iter::once(caller).chain(self.grouped.clone());
        let entities = Entities::from_entities(entities, None)?;
        let bearing = self.bearing(&entities)?;
        Ok(Caller { entities, bearing })
    }

    fn context(&self, question: &Question<'_>, clearance: Rung) -> Result<Context, Box<dyn Error>> {
        let scope = self.scopes.iter().filter_map(|path| {
            let values = question.scope.get(path)?.iter().map(|value| text(value));
            Some((path.clone(), RestrictedExpression::new_set(values)))
        });
        let scope = RestrictedExpression::new_record(scope)?;
        let input = self.input.express(question.arguments)?;
        let clearance = RestrictedExpression::new_long(clearance.number().into());
        let members = [("clearance", clearance), ("input", input), ("scope", scope)];
        let time = self.written.iter().flat_map(|_| time(question.now));
        // Before anybody has agreed it is asked whether somebody could: it would be somebody else.
        let approver = self.asks_who_agreed.then(|| {
            let known_as = question.approver.map(Who::known_as).unwrap_or_default();
            ("approver", RestrictedExpression::new_set(known_as.iter().map(|name| text(name))))
        });
        let members = members.into_iter().chain(time).chain(approver);
        Ok(Context::from_pairs(members.map(|(name, value)| (name.to_owned(), value)))?)
    }

    /// The clearance that opens every one of these, if all are gates.
    fn clearance(&self, forbidding: &[String]) -> Option<Rung> {
        let gates: Option<Vec<Rung>> = forbidding.iter().map(|policy| self.gate(policy)).collect();
        gates?.into_iter().max()
    }

    /// The step a gate asks for; `None` for what is no gate. An illegible step is the strictest.
    fn gate(&self, policy: &str) -> Option<Rung> {
        let step = self.policies.annotation(&PolicyId::new(policy), "gate")?;
        Some(Rung::new(step.parse().unwrap_or(u8::MAX)))
    }

    /// A refusal for what forbids whatever anybody approves, with the first reason that is given.
    fn refusal(&self, forbidding: &[String]) -> Denial {
        let lasting = forbidding.iter().filter(|policy| self.gate(policy).is_none());
        let policies: Vec<String> = lasting.cloned().collect();
        let mut reasons =
            policies.iter().filter_map(|id| self.policies.annotation(&PolicyId::new(id), "reason"));
        let reason = reasons.next().map(str::to_owned);
        Denial::Forbidden(Forbidden { policies, reason })
    }
}

/// What every caller is known by.
fn texts<'a>(question: &Question<'a>) -> [(&'static str, &'a str); 4] {
    let Question { agent, principal, .. } = *question;
    [
        ("agent", agent.as_str()),
        ("tenant", principal.tenant.as_str()),
        ("subject", principal.subject.as_str()),
        ("actor", principal.actor.as_str()),
    ]
}

/// The values of one of the caller's attributes that are sets.
fn values<'a>(question: &Question<'a>, name: &str) -> Cow<'a, BTreeSet<String>> {
    let principal = question.principal;
    match (name, principal.attributes.get(name)) {
        (KNOWN_AS, _) => Cow::Owned(principal.known_as()),
        (_, Some(values)) => Cow::Borrowed(values),
        (_, None) => Cow::Owned(BTreeSet::new()),
    }
}

/// A moment as people who write policies see it: in UTC, the week beginning with Monday as 1.
fn time(now: Timestamp) -> [(&'static str, RestrictedExpression); 4] {
    const DAY_S: i64 = 24 * 60 * 60;
    let seconds = now.secs();
    let of_day = seconds.rem_euclid(DAY_S);
    // 1970-01-01 was a Thursday.
    let weekday = seconds.div_euclid(DAY_S).saturating_add(3).rem_euclid(7).saturating_add(1);
    [
        ("hour", of_day.div_euclid(3600)),
        ("minute", of_day.rem_euclid(3600).div_euclid(60)),
        ("now", seconds),
        ("weekday", weekday),
    ]
    .map(|(name, value)| (name, RestrictedExpression::new_long(value)))
}

/// An id as the policy's text gives it; Cedar's `Display` would escape it.
fn name(policy: &PolicyId) -> String {
    AsRef::<str>::as_ref(policy).to_owned()
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

#[cfg(test)]
mod tests;
