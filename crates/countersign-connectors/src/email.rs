//! One mail server as a production system: where it is, who may use it at a time, and one message.
//!
//! Who a message is from, where it is handed over and where it may go at most is the system's. An
//! address that is not one bare address, a domain beyond the system's own wall, or a subject with a
//! control character ends the call before anybody is connected to.

mod compose;
mod postman;
mod reach;
mod slow;

pub use postman::Postman;
pub use reach::{MailEncryption, MailServer, MailServerError};

use crate::doctor::Symptom;
use crate::fault;
use crate::gather::Gathered;
use crate::http::{Names, Networks};
use crate::leave::misplaced;
use crate::turns::Turns;
use compose::Composed;
use countersign_core::call::Permit;
use countersign_core::port::{Clock, Report};
use countersign_core::recipient::{Domain, Recipient};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, Plan, ResultBounds};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::response::{Response, Severity};
use reach::{Reach, Unreached};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a server may take to say goodbye, once nothing depends on it.
const QUIT_MAX: Duration = Duration::from_secs(1);
/// Most bytes of what a server says that the journal is shown.
const SAID_BYTES_MAX: usize = 512;

/// A mail server, as the deployment resolved it.
#[derive(Debug, Clone)]
pub struct EmailSystem {
    /// Host and port.
    pub server: MailServer,
    /// How it is spoken to.
    pub encryption: MailEncryption,
    /// The name and the password by which it is used.
    pub credential: Option<(SecretString, SecretString)>,
    /// The certificates to trust instead of the machine's own, as PEM.
    pub authorities: Option<String>,
    /// Where its addresses may lie.
    pub networks: Networks,
    /// Whose messages they are.
    pub from: Recipient,
    /// How that is called beside the address.
    pub from_name: Option<String>,
    /// To whom an answer goes, if not to `from`.
    pub reply_to: Option<Recipient>,
    /// The only domains that anything is sent to, if it is kept to some.
    pub domains: Option<BTreeSet<Domain>>,
    /// Most messages at a time; 0 counts as 1.
    pub concurrency: u32,
    /// What stands for what in the network. No part of whether two systems are the same.
    pub names: Arc<dyn Names>,
}

impl PartialEq for EmailSystem {
    fn eq(&self, other: &Self) -> bool {
        let place = |system: &Self| {
            let Self { server, encryption, authorities, networks, concurrency, .. } = system;
            (server.clone(), *encryption, authorities.clone(), networks.clone(), *concurrency)
        };
        let words = |system: &Self| {
            let Self { from, from_name, reply_to, domains, .. } = system;
            (from.clone(), from_name.clone(), reply_to.clone(), domains.clone())
        };
        let secrets = |system: &Self| {
            let exposed = |secret: &SecretString| secret.expose_secret().to_owned();
            system.credential.as_ref().map(|(user, password)| (exposed(user), exposed(password)))
        };
        place(self) == place(other)
            && words(self) == words(other)
            && secrets(self) == secrets(other)
    }
}

impl Eq for EmailSystem {}

impl EmailSystem {
    /// Whether it could be reached at all, as far as that shows without trying.
    ///
    /// # Errors
    /// [`MailServerError`].
    pub fn check(&self) -> Result<(), MailServerError> {
        Reach::new(self).map(drop)
    }

    /// `text` without the password, cut.
    fn screened(&self, text: &str) -> String {
        let text = match &self.credential {
            Some((_, password)) => text.replace(password.expose_secret(), "…"),
            None => text.to_owned(),
        };
        text.get(..text.floor_char_boundary(SAID_BYTES_MAX)).unwrap_or(&text).to_owned()
    }
}

/// The system at work.
#[derive(Debug)]
pub(crate) struct Email {
    system: EmailSystem,
    /// Or why there is no way to it.
    reach: Result<Reach, MailServerError>,
    turns: Turns,
    clock: Arc<dyn Clock>,
}

impl Email {
    pub(crate) fn new(system: EmailSystem, clock: Arc<dyn Clock>) -> Self {
        let turns = Turns::new(system.concurrency);
        Self { reach: Reach::new(&system), system, turns, clock }
    }

    pub(crate) const fn system(&self) -> &EmailSystem {
        &self.system
    }

    /// Hands one message over, once: whatever becomes of it, it is not tried again.
    pub(crate) async fn run(&self, permit: Permit) -> Result<Report, SystemFault> {
        let Plan::Email(plan) = permit.plan() else {
            return Err(misplaced("anything but a message"));
        };
        if permit.tool().effect != Effect::Irreversible {
            let detail = "a message cannot be taken back, and the tool says otherwise".to_owned();
            return Err(fault(SystemFaultKind::Failed, detail));
        }
        let key = permit.idempotency_key();
        let composed =
            compose::message(&self.system, plan, (permit.arguments(), &key), self.clock.now());
        let composed = composed.map_err(|detail| fault(SystemFaultKind::Failed, detail))?;
        let patience = Duration::from_millis(plan.timeout_ms.into());
        let _turn = self.turns.take(patience).await?;
        // INVARIANT: false means that no byte of the message has been sent.
        let begun = AtomicBool::new(false);
        let delivered = timeout(patience, self.deliver(&composed, &begun)).await;
        let mut connection = delivered.unwrap_or_else(|_elapsed| {
            let applied = match begun.load(Ordering::Relaxed) {
                true => Applied::Unknown,
                false => Applied::NotApplied,
            };
            let detail = "the mail server was given up when the time was over".to_owned();
            Err(SystemFault::new(SystemFaultKind::TimedOut, applied, detail))
        })?;
        // It has the message: how it takes its leave changes nothing.
        drop(timeout(QUIT_MAX, connection.quit()).await);
        Ok(report(&composed, plan.bounds))
    }

    /// The connection over which the server took the message for all recipients.
    async fn deliver(
        &self,
        message: &Composed,
        begun: &AtomicBool,
    ) -> Result<AsyncSmtpConnection, SystemFault> {
        let unreachable =
            |error: &MailServerError| fault(SystemFaultKind::Unavailable, error.to_string());
        let reach = self.reach.as_ref().map_err(unreachable)?;
        let mut connection =
            reach.connect(&self.system).await.map_err(|why| self.unreached(&why))?;
        let mail = Mail::new(Some(message.from.clone()), Vec::new());
        let refused = |error: &Error| self.refused("the sender", error);
        connection.command(mail).await.map_err(|error| refused(&error))?;
        for recipient in &message.recipients {
            let taken = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await;
            if let Err(error) = taken {
                // All or nobody: those it took are told to be forgotten, and nothing was sent to them.
                drop(timeout(QUIT_MAX, connection.command(Rset)).await);
                drop(timeout(QUIT_MAX, connection.quit()).await);
                return Err(self.refused("a recipient", &error));
            }
        }
        let ready = connection.command(Data).await;
        let ready = ready.map_err(|error| self.refused("that a message follows", &error))?;
        if !ready.has_code(354) {
            let detail = "the mail server did not ask for the message".to_owned();
            return Err(fault(SystemFaultKind::Failed, detail));
        }
        begun.store(true, Ordering::Relaxed);
        let taken = connection.message(&message.bytes).await;
        self.taken(taken).map(|()| connection)
    }

    /// What the answer to the message's end says of it. Without one it may have been sent.
    fn taken(&self, answer: Result<Response, Error>) -> Result<(), SystemFault> {
        match answer {
            Ok(answer) if answer.code().severity == Severity::PositiveCompletion => Ok(()),
            Err(error) if error.is_transient() || error.is_permanent() => {
                Err(self.refused("the message", &error))
            }
            other => {
                let said = match &other {
                    Ok(answer) => format!("it answered {}", answer.code()),
                    Err(error) => chain(error),
                };
                let detail =
                    format!("it is not known whether the mail server took the message: {said}");
                let (kind, applied) = (SystemFaultKind::Failed, Applied::Unknown);
                Err(SystemFault::new(kind, applied, self.system.screened(&detail)))
            }
        }
    }

    /// The server said no, or nothing, before it had the message.
    fn refused(&self, what: &str, error: &Error) -> SystemFault {
        let kind = match error {
            error if error.is_transient() => SystemFaultKind::Busy,
            error if error.is_permanent() => SystemFaultKind::Failed,
            error if error.is_timeout() => SystemFaultKind::TimedOut,
            _ => SystemFaultKind::Unavailable,
        };
        let detail = format!("the mail server did not take {what}: {}", chain(error));
        fault(kind, self.system.screened(&detail))
    }

    fn unreached(&self, why: &Unreached) -> SystemFault {
        fault(SystemFaultKind::Unavailable, self.system.screened(&why.to_string()))
    }
}

/// One row that says what was handed over.
fn report(message: &Composed, bounds: ResultBounds) -> Report {
    let recipients = message.recipients.iter().map(|to| Value::from(to.to_string())).collect();
    let mut gathered = Gathered::within(bounds);
    gathered.keep(Map::from_iter([
        ("message_id".to_owned(), Value::from(message.id.as_str())),
        ("recipients".to_owned(), Value::Array(recipients)),
        ("accepted".to_owned(), Value::Bool(true)),
    ]));
    gathered.report()
}

/// Looks the server up, connects, has its certificate verified and signs in. Nothing is sent.
pub(crate) async fn examine(system: &EmailSystem) -> Result<Vec<Symptom>, SystemFault> {
    let unavailable = |detail: String| fault(SystemFaultKind::Unavailable, detail);
    let reach = Reach::new(system).map_err(|error| unavailable(error.to_string()))?;
    let symptom = |code, message: &str, mend: &str| {
        Ok(vec![Symptom::new(code, system.screened(message), mend)])
    };
    match timeout(reach::CONNECT_MAX, reach.connect(system)).await {
        Err(_elapsed) => Err(unavailable("nobody answers there in time".to_owned())),
        Ok(Ok(mut connection)) => {
            drop(timeout(QUIT_MAX, connection.quit()).await);
            Ok(Vec::new())
        }
        Ok(Err(why)) => {
            let said = why.to_string();
            match why {
                Unreached::Nowhere(_) => Err(unavailable(said)),
                Unreached::Foreign(_) => symptom(
                    "foreign-address",
                    &said,
                    "see to the name, or name the address's network under `networks`",
                ),
                Unreached::Plain => symptom(
                    "no-starttls",
                    &said,
                    "say `encryption: tls`, or have the server offer it",
                ),
                Unreached::Untrusted(_) => symptom(
                    "mail-certificate",
                    &said,
                    "see to the server's certificate, or name its authority under `ca`",
                ),
                Unreached::Unknown(_) => {
                    symptom("mail-credential", &said, "see to the references under `auth`")
                }
            }
        }
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
