//! Whether a policy's conditions can all hold, and whether they can fail: each is assumed, and what
//! things can then still be is narrowed, until nothing is left or the conditions end.
//!
//! Nothing that is satisfiable is ever called impossible: what is not understood narrows nothing.

use super::outcome::{Domain, Known, literal, path};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most expressions looked at for one policy and tool; what lies beyond narrows nothing.
const STEPS_MAX: usize = 4_096;

/// How a policy comes out at the calls of one tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It depends, for all that is known.
    Open,
    /// It forbids every call.
    Always,
    Never,
    /// It can be evaluated at no call.
    Errs,
}

/// Judges a policy as Cedar writes it in JSON.
pub(crate) fn judge(policy: &Value, known: Known<'_>) -> Verdict {
    let mut reader = Reader { known, steps: STEPS_MAX };
    let mut holding = vec![State::default()];
    let mut failing = false;
    for condition in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let Some(body) = condition.get("body") else { return Verdict::Open };
        let wanted = condition.get("kind").and_then(Value::as_str) != Some("unless");
        failing |= !reader.all(holding.clone(), body, !wanted).is_empty();
        holding = reader.all(holding, body, wanted);
    }
    match (holding.is_empty(), failing) {
        (true, true) => Verdict::Never,
        (true, false) => Verdict::Errs,
        (false, false) => Verdict::Always,
        (false, true) => Verdict::Open,
    }
}

/// What things can be by what was assumed; by expression, as Cedar writes it.
type State = BTreeMap<String, Domain>;

struct Reader<'a> {
    known: Known<'a>,
    steps: usize,
}

/// What an expression can be, and what it is known under unless it is written out.
struct Term {
    domain: Domain,
    key: Option<String>,
}

impl Reader<'_> {
    fn all(&mut self, states: Vec<State>, expression: &Value, wanted: bool) -> Vec<State> {
        states.into_iter().flat_map(|state| self.assume(state, expression, wanted)).collect()
    }

    /// The ways in which `expression` is evaluated and comes out as `wanted`.
    fn assume(&mut self, state: State, expression: &Value, wanted: bool) -> Vec<State> {
        let Some(steps) = self.steps.checked_sub(1) else { return vec![state] };
        self.steps = steps;
        let Some((operator, sides)) = expression.as_object().and_then(|map| map.iter().next())
        else {
            return vec![state];
        };
        let (left, right) = (&sides["left"], &sides["right"]);
        match operator.as_str() {
            "Value" if sides.as_bool() == Some(!wanted) => Vec::new(),
            "!" => self.assume(state, &sides["arg"], !wanted),
            "&&" | "||" => {
                // Where the left side decides, the right one is not evaluated.
                let decides = operator == "||";
                let on = self.assume(state.clone(), left, !decides);
                let mut states = self.all(on, right, wanted);
                if wanted == decides {
                    states.extend(self.assume(state, left, decides));
                }
                states
            }
            "if-then-else" => {
                let yes = self.assume(state.clone(), &sides["if"], true);
                let no = self.assume(state, &sides["if"], false);
                let mut states = self.all(yes, &sides["then"], wanted);
                states.extend(self.all(no, &sides["else"], wanted));
                states
            }
            _ => self.atom(state, expression, wanted).into_iter().collect(),
        }
    }

    /// What is no connective of others.
    fn atom(&mut self, mut state: State, expression: &Value, wanted: bool) -> Option<State> {
        let (operator, sides) = expression.as_object()?.iter().next()?;
        let (left, right) = (&sides["left"], &sides["right"]);
        let itself = self.term(&state, expression)?;
        state = narrow(state, &itself, Domain::truth(wanted))?;
        match operator.as_str() {
            "==" => self.equal(state, left, right, wanted),
            "!=" => self.equal(state, left, right, !wanted),
            "<" | "<=" | ">" | ">=" => {
                let (less, more) =
                    if operator.starts_with('<') { (left, right) } else { (right, left) };
                // `a < b` fails where `b <= a` holds.
                let (less, more) = if wanted { (less, more) } else { (more, less) };
                self.ordered(state, (less, more), (operator.len() == 1) == wanted)
            }
            "like" => {
                let term = self.term(&state, left)?;
                let domain = match &term.domain {
                    Domain::Texts(texts) => {
                        let fits = |text: &&String| matches(&sides["pattern"], text) == wanted;
                        Domain::Texts(texts.iter().filter(fits).cloned().collect())
                    }
                    Domain::Absent | Domain::Any | Domain::Except(_) | Domain::Range(..) => {
                        Domain::Any
                    }
                };
                narrow(state, &term, domain)
            }
            "contains" => self.listed(state, (left, right), wanted),
            _ => {
                // Where what is asked cannot be worked out, nothing is answered.
                for side in [left, right] {
                    self.term(&state, side)?;
                }
                Some(state)
            }
        }
    }

    fn equal(&self, state: State, left: &Value, right: &Value, wanted: bool) -> Option<State> {
        let (one, other) = (self.term(&state, left)?, self.term(&state, right)?);
        if one.key.is_some() && one.key == other.key {
            return wanted.then_some(state);
        }
        if wanted {
            let both = one.domain.meet(&other.domain);
            return narrow(narrow(state, &one, both.clone())?, &other, both);
        }
        let state = narrow(state, &one, one.domain.without(&other.domain))?;
        narrow(state, &other, other.domain.without(&one.domain))
    }

    fn ordered(
        &self,
        state: State,
        (less, more): (&Value, &Value),
        strictly: bool,
    ) -> Option<State> {
        let (less, more) = (self.term(&state, less)?, self.term(&state, more)?);
        if less.key.is_some() && less.key == more.key {
            return (!strictly).then_some(state);
        }
        let (a, b) = match (&less.domain, &more.domain) {
            (Domain::Range(..), _) | (_, Domain::Range(..)) => {
                (less.domain.ends(), more.domain.ends())
            }
            // Times are ordered as well, and nothing is known of them.
            _ => return Some(state),
        };
        let step = i64::from(strictly);
        let below = Domain::Range(i64::MIN, b.1.checked_sub(step)?);
        let above = Domain::Range(a.0.checked_add(step)?, i64::MAX);
        narrow(narrow(state, &less, below)?, &more, above)
    }

    /// `["a", "b"].contains(thing)`.
    fn listed(&self, state: State, (set, thing): (&Value, &Value), wanted: bool) -> Option<State> {
        let term = self.term(&state, thing)?;
        let members = set.get("Set").and_then(Value::as_array);
        let members = members.map(|members| members.iter().map(literal));
        let Some(members) = members.and_then(|members| members.collect::<Option<Vec<Domain>>>())
        else {
            return self.term(&state, set).map(|_| state);
        };
        if !wanted {
            let left = members.iter().fold(term.domain.clone(), |left, one| left.without(one));
            return narrow(state, &term, left);
        }
        let joined = members.into_iter().reduce(Domain::join)?;
        narrow(state, &term, joined)
    }

    /// `None` if it errs whatever things are.
    fn term(&self, state: &State, expression: &Value) -> Option<Term> {
        if let Some(domain) = literal(expression) {
            return Some(Term { domain, key: None });
        }
        let (key, known) = match path(expression) {
            Some(path) => {
                let path = self.known.canonical(path);
                (path.join("\u{0}"), self.known.domain(&path))
            }
            None => (expression.to_string(), self.worked_out(state, expression)?),
        };
        let domain = state.get(&key).map_or(known.clone(), |assumed| assumed.meet(&known));
        Some(Term { domain, key: Some(key) })
    }

    /// Sums, products and the like by their ends. One that no number of the type can be errs.
    fn worked_out(&self, state: &State, expression: &Value) -> Option<Domain> {
        let Some((operator, sides)) = expression.as_object().and_then(|map| map.iter().next())
        else {
            return Some(Domain::Any);
        };
        let ends = |name: &str| {
            let (low, high) = self.term(state, sides.get(name)?)?.domain.ends();
            Some((i128::from(low), i128::from(high)))
        };
        let (low, high) = match operator.as_str() {
            "neg" => {
                let (low, high) = ends("arg")?;
                (high.saturating_neg(), low.saturating_neg())
            }
            "+" | "-" | "*" => {
                let ((a, b), (c, d)) = (ends("left")?, ends("right")?);
                let results =
                    [(a, c), (a, d), (b, c), (b, d)].map(|(left, right)| match operator.as_str() {
                        "+" => left.saturating_add(right),
                        "-" => left.saturating_sub(right),
                        _ => left.saturating_mul(right),
                    });
                (results.into_iter().min()?, results.into_iter().max()?)
            }
            _ => return Some(Domain::Any),
        };
        let least = low.max(i128::from(i64::MIN));
        let most = high.min(i128::from(i64::MAX));
        let range = Domain::Range(i64::try_from(least).ok()?, i64::try_from(most).ok()?);
        (!range.is_empty()).then_some(range)
    }
}

/// What is left once `term` is also in `domain`; `None` if nothing is.
fn narrow(mut state: State, term: &Term, domain: Domain) -> Option<State> {
    let left = term.domain.meet(&domain);
    if left.is_empty() {
        return None;
    }
    if let Some(key) = &term.key {
        state.insert(key.clone(), left);
    }
    Some(state)
}

impl Domain {
    fn truth(value: bool) -> Self {
        Self::Range(i64::from(value), i64::from(value))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Texts(texts) => texts.is_empty(),
            Self::Range(from, to) => from > to,
            Self::Absent | Self::Any | Self::Except(_) => false,
        }
    }

    /// The ends of what may be a number.
    fn ends(&self) -> (i64, i64) {
        match self {
            Self::Range(from, to) => (*from, *to),
            Self::Absent | Self::Any | Self::Except(_) | Self::Texts(_) => (i64::MIN, i64::MAX),
        }
    }

    /// What is in both. Of things that cannot be compared, the first.
    fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Range(a, b), Self::Range(c, d)) => Self::Range(*a.max(c), *b.min(d)),
            (Self::Texts(one), Self::Texts(two)) => Self::Texts(one & two),
            (Self::Texts(texts), Self::Except(not)) | (Self::Except(not), Self::Texts(texts)) => {
                Self::Texts(texts.difference(not).cloned().collect())
            }
            (Self::Except(one), Self::Except(two)) => Self::Except(one | two),
            (Self::Any | Self::Absent, other) => other.clone(),
            _ => self.clone(),
        }
    }

    /// What is left without the one thing that `other` can be, if it can be but one.
    fn without(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Texts(texts), Self::Texts(one)) if one.len() == 1 => {
                Self::Texts(texts.difference(one).cloned().collect())
            }
            (Self::Except(not), Self::Texts(one)) if one.len() == 1 => Self::Except(not | one),
            (Self::Any, Self::Texts(one)) if one.len() == 1 => Self::Except(one.clone()),
            (Self::Range(from, to), Self::Range(one, same)) if one == same => {
                if from == one && to == one {
                    return Self::Texts(BTreeSet::new());
                }
                let step = |at: &i64| i64::from(at == one);
                Self::Range(from.saturating_add(step(from)), to.saturating_sub(step(to)))
            }
            _ => self.clone(),
        }
    }

    /// What holds both.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Range(a, b), Self::Range(c, d)) => Self::Range(a.min(c), b.max(d)),
            (Self::Texts(one), Self::Texts(two)) => Self::Texts(&one | &two),
            _ => Self::Any,
        }
    }
}

/// Whether a text is like a pattern of Cedar's.
fn matches(pattern: &Value, text: &str) -> bool {
    // Up to where in the text the parts so far can reach.
    let mut reached = BTreeSet::from([0]);
    for part in pattern.as_array().into_iter().flatten() {
        reached = match part.get("Literal").and_then(Value::as_str) {
            Some(literal) => {
                let here = |at: &usize| text.get(*at..).is_some_and(|t| t.starts_with(literal));
                let next = reached.into_iter().filter(here);
                next.map(|at| at.saturating_add(literal.len())).collect()
            }
            None => {
                let Some(&first) = reached.first() else { return false };
                (first..=text.len()).filter(|at| text.is_char_boundary(*at)).collect()
            }
        };
    }
    reached.contains(&text.len())
}
