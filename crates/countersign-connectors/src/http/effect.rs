//! A request with an effect: sent once, on a connection of its own, and then checked.
//!
//! What is known of the effect follows from how far the exchange came and what the status says:
//! `decisions/0022-what-is-known-of-an-effect.md` has the table.

use super::{Arguments, Http, HttpSystem, builder, failed, late, patience};
use crate::fault;
use crate::gather::Gathered;
use crate::leave::{misplaced, unknown};
use countersign_core::call::Permit;
use countersign_core::ladder::{Check, Expected};
use countersign_core::port::Report;
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::HttpPlan;
use lru::LruCache;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Request, Response, StatusCode};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::{num::NonZeroUsize, time::Duration};
use tokio::time::timeout;

/// What a system that refuses to do a thing twice knows a call by
/// (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Most clients kept, for as many times that a connection may take.
const SENDERS_MAX: NonZeroUsize = match NonZeroUsize::new(8) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// What a status says of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done,
    /// It will be, perhaps, or was in part.
    Taken,
    NotDone,
    Nothing,
}

impl Said {
    /// RFC 9110 §15, read against the caller where intermediaries use a status in another way.
    fn by(status: StatusCode) -> Self {
        match status.as_u16() {
            // Accepted, and several statuses in one (RFC 4918): done later, or in part.
            202 | 207 => Self::Taken,
            200..=299 => Self::Done,
            // To be sent again elsewhere as it is. Other redirects may follow what was done.
            307 | 308 => Self::NotDone,
            // Who says that the request took too long, or that its sender went away, may be someone
            // on the way who had passed it on.
            408 | 499 => Self::Nothing,
            400..=499 => Self::NotDone,
            _ => Self::Nothing,
        }
    }
}

/// What the row that a check reads must hold, and where.
type Expectations<'a> = Vec<(&'a str, &'a Value)>;

impl Http {
    /// Sends one effect and, if the permit asks for it, checks it.
    pub(super) async fn act(
        &self,
        permit: &Permit,
        plan: &HttpPlan,
    ) -> Result<Report, SystemFault> {
        // Before anything is sent: what cannot be checked is not done.
        let check = match permit.check() {
            None => None,
            Some(Check::Http { read, expect }) => {
                Some((read, expectations(expect, permit.arguments())?))
            }
            Some(Check::Sql(_)) => return Err(misplaced("a check that is a statement")),
        };
        let mut request = self.request(plan, permit.arguments())?;
        let key = HeaderValue::from_str(&permit.idempotency_key());
        let key = key.map_err(|_odd| failed("the call's id cannot be sent".to_owned()))?;
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        let mut said = Said::Nothing;
        let sent = timeout(patience(plan), self.send(request, plan, &mut said)).await;
        let report = match (sent, said) {
            (Ok(outcome), _) => outcome?,
            // What breaks off after the status is how it is told.
            (Err(_elapsed), Said::Done | Said::Taken) => untold(plan),
            (Err(_elapsed), Said::NotDone) => return Err(late()),
            (Err(_elapsed), Said::Nothing) => return Err(unknown(late())),
        };
        match check {
            Some((read, expect)) => {
                let checked = self.check(read, &expect, permit.arguments()).await;
                // What may yet be done cannot be put back.
                let settled = |fault| if said == Said::Done { fault } else { unknown(fault) };
                checked.map(|()| report).map_err(settled)
            }
            None if said == Said::Done => Ok(report),
            None => {
                let detail = "the system took the request and does not say that it was done";
                Err(unknown(failed(detail.to_owned())))
            }
        }
    }

    /// One exchange. What the status says is in `said` from the moment on that it is there.
    async fn send(
        &self,
        request: Request,
        plan: &HttpPlan,
        said: &mut Said,
    ) -> Result<Report, SystemFault> {
        let client = self.senders.of(&self.system, connect_max(plan))?;
        let response = client.execute(request).await.map_err(|error| {
            // A connection of its own: if it did not come about, nothing was sent. Else the whole
            // request may have arrived, however it ended.
            let unsent = error.is_connect() || error.is_builder();
            let fault = self.broken(error);
            if unsent { fault } else { unknown(fault) }
        })?;
        *said = Said::by(response.status());
        match *said {
            Said::Done | Said::Taken => Ok(self.told(response, plan).await),
            Said::NotDone => Err(self.refused(response).await),
            Said::Nothing => Err(unknown(self.refused(response).await)),
        }
    }

    /// The rows of an answer to an effect. One that is none does not undo the effect: it is left out,
    /// and the report says that there was more.
    async fn told(&self, response: Response, plan: &HttpPlan) -> Report {
        let empty = response.status() == StatusCode::NO_CONTENT
            || plan.empty_on.contains(&response.status().as_u16())
            || response.content_length() == Some(0);
        if empty {
            return Gathered::within(plan.bounds).report();
        }
        let told = self.answer(response, plan).await;
        let told = told.and_then(|value| super::answer::report(value, plan).map_err(failed));
        told.unwrap_or_else(|fault| {
            tracing::warn!(detail = fault.detail, "an effect's answer is left out");
            untold(plan)
        })
    }

    /// Whether the system shows that the effect is the one that was to be.
    async fn check(
        &self,
        read: &HttpPlan,
        expect: &Expectations<'_>,
        arguments: &Arguments,
    ) -> Result<(), SystemFault> {
        let found = self.read(read, arguments).await.map_err(|fault| {
            let detail = format!("it was done, and its check is unanswered: {}", fault.detail);
            unknown(SystemFault { detail, ..fault })
        })?;
        let row = found.result.get(0);
        let holds = |&(at, expected): &(&str, &Value)| {
            row.and_then(|row| row.pointer(at)).is_some_and(|found| alike(found, expected))
        };
        let Some((at, _)) = expect.iter().find(|expected| !holds(expected)) else { return Ok(()) };
        let detail = format!("the check does not find at `{at}` what it must");
        Err(SystemFault::new(SystemFaultKind::PostCondition, Applied::Applied, detail))
    }
}

/// A report that leaves out what was answered.
fn untold(plan: &HttpPlan) -> Report {
    Report { truncated: true, ..Gathered::within(plan.bounds).report() }
}

/// # Errors
/// There is nothing to expect, or an argument to compare with was left out.
fn expectations<'a>(
    expect: &'a [(String, Expected)],
    arguments: &'a Arguments,
) -> Result<Expectations<'a>, SystemFault> {
    if expect.is_empty() {
        return Err(failed("the check expects nothing".to_owned()));
    }
    let expected = |(at, expected): &'a (String, Expected)| match expected {
        Expected::Literal(value) => Ok((at.as_str(), value)),
        Expected::Argument(name) => match arguments.get(name) {
            Some(value) => Ok((at.as_str(), value)),
            None => Err(failed(format!("there is no argument `{name}` to check against"))),
        },
    };
    expect.iter().map(expected).collect()
}

/// Equal, with numbers by what they are worth: many systems write 5 as 5.0.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if !(one.is_i64() && other.is_i64()) => {
            one.as_f64() == other.as_f64()
        }
        _ => one == other,
    }
}

/// Half of the exchange's time at most: that a connection does not come about shows before the time
/// is over, and then it is known that nothing was sent.
pub(super) fn connect_max(plan: &HttpPlan) -> Duration {
    super::CONNECT_MAX.min(patience(plan) / 2)
}

/// Clients that make a connection for each request and keep none: one that the other side closes
/// while it is idle would leave it unknown whether a request on it arrived.
#[derive(Debug)]
pub(super) struct Senders(Mutex<LruCache<Duration, Client>>);

impl Senders {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(SENDERS_MAX)))
    }

    /// One whose connections come about within `connect_max` or not at all.
    pub(super) fn of(
        &self,
        system: &HttpSystem,
        connect_max: Duration,
    ) -> Result<Client, SystemFault> {
        // A list of clients is whole at every moment, even if a thread died holding it.
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = senders.try_get_or_insert(connect_max, || {
            builder(system).connect_timeout(connect_max).pool_max_idle_per_host(0).build()
        });
        let unready = |error: reqwest::Error| {
            fault(SystemFaultKind::Unavailable, super::chain(&error.without_url()))
        };
        client.cloned().map_err(unready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_says_one_thing_of_an_effect() {
        let of = |said: Said| -> Vec<u16> {
            let status = |code: &u16| StatusCode::from_u16(*code).unwrap();
            (100..1_000).filter(|code| Said::by(status(code)) == said).collect()
        };
        let done: Vec<_> = (200..300).filter(|code| ![202, 207].contains(code)).collect();
        let not_done: Vec<_> = (400..500).filter(|code| ![408, 499].contains(code)).collect();
        assert_eq!(of(Said::Done), done);
        assert_eq!(of(Said::NotDone), [vec![307, 308], not_done].concat());
        assert_eq!(of(Said::Taken), [202, 207]);
        assert_eq!(of(Said::Nothing).len(), 900 - 98 - 100 - 2);
    }

    #[test]
    fn numbers_are_alike_by_what_they_are_worth_and_nothing_else_is_converted() {
        for (one, other, same) in [
            ("5", "5.0", true),
            ("5", "6", false),
            ("9007199254740993", "9007199254740992", false),
            ("\"5\"", "5", false),
            ("true", "1", false),
            ("null", "false", false),
            ("{\"a\": 1}", "{\"a\": 1}", true),
        ] {
            let [a, b] = [one, other].map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(alike(&a, &b), same, "{one} {other}");
        }
    }
}
