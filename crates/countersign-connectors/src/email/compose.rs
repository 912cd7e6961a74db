//! The message, made of the plan and the arguments of one permit.

use super::EmailSystem;
use countersign_core::bound::RECIPIENTS_MAX;
use countersign_core::id::Timestamp;
use countersign_core::recipient::Recipient;
use countersign_core::tool::EmailPlan;
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, SinglePart};
use serde_json::{Map, Value};
use std::time::{Duration, UNIX_EPOCH};

/// Longest subject, in bytes: a line of a header (RFC 5322 §2.1.1).
const SUBJECT_BYTES_MAX: usize = 998;

/// A message that is ready to be handed over.
#[derive(Debug)]
pub(super) struct Composed {
    /// Whose it is, in the envelope as in the header.
    pub(super) from: Address,
    /// To whom it goes, each once, in the order of the argument; at least one.
    pub(super) recipients: Vec<Address>,
    /// The message's own name (RFC 5322 §3.6.4): the same for the same call.
    pub(super) id: String,
    /// Headers and text, with CRLF.
    pub(super) bytes: Vec<u8>,
}

/// Makes the message of one call, which `key` stands for.
///
/// # Errors
/// Why there is none, for the journal.
pub(super) fn message(
    system: &EmailSystem,
    plan: &EmailPlan,
    (arguments, key): (&Map<String, Value>, &str),
    now: Timestamp,
) -> Result<Composed, String> {
    let recipients = recipients(arguments.get(&plan.to))?;
    let (subject, text) = (plan.subject.with(arguments), plan.text.with(arguments));
    composed(system, &recipients, (subject, &text), (key, now))
}

/// Makes a message of its parts, which `key` stands for.
///
/// # Errors
/// Why there is none.
pub(super) fn composed(
    system: &EmailSystem,
    recipients: &[Recipient],
    (subject, text): (String, &str),
    (key, now): (&str, Timestamp),
) -> Result<Composed, String> {
    let walled =
        |to: &Recipient| system.domains.as_ref().is_some_and(|known| !known.contains(to.domain()));
    if recipients.iter().any(walled) {
        return Err("a recipient's domain is none of the system's own `domains`".to_owned());
    }
    let recipients: Vec<_> = recipients.iter().map(address).collect::<Result<_, _>>()?;
    // INVARIANT: no header is built from a text that could end it, whatever the schema let through.
    if subject.chars().any(ends_a_line) || subject.len() > SUBJECT_BYTES_MAX {
        return Err("the subject holds a control character or a line break, or is too long".into());
    }
    let text = text.replace("\r\n", "\n");
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err("the text holds a control character".to_owned());
    }
    let from = address(&system.from)?;
    let id = format!("<{key}@{}>", system.from.domain());
    let made = UNIX_EPOCH + Duration::from_micros(now.micros().try_into().unwrap_or_default());
    let mut builder = Message::builder()
        .from(Mailbox::new(system.from_name.clone(), from.clone()))
        .subject(subject)
        .date(made)
        .message_id(Some(id.clone()))
        // A machine wrote it: no machine is to answer (RFC 3834 §5).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    if let Some(reply_to) = &system.reply_to {
        builder = builder.reply_to(Mailbox::new(None, address(reply_to)?));
    }
    for recipient in &recipients {
        builder = builder.to(Mailbox::new(None, recipient.clone()));
    }
    let made = builder
        .singlepart(SinglePart::plain(text))
        .map_err(|error| format!("the message has no form: {error}"))?;
    Ok(Composed { from, recipients, id, bytes: made.formatted() })
}

/// The addresses of an argument, read once more: what is sent to is what was read.
fn recipients(argument: Option<&Value>) -> Result<Vec<Recipient>, String> {
    let texts = match argument {
        Some(Value::String(one)) => vec![Some(one.as_str())],
        Some(Value::Array(many)) => many.iter().map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if texts.is_empty() || texts.len() > RECIPIENTS_MAX {
        return Err(format!("a message goes to 1 to {RECIPIENTS_MAX} addresses"));
    }
    let mut recipients: Vec<Recipient> = Vec::new();
    for text in texts {
        let text = text.ok_or("a recipient is no text")?;
        let read = Recipient::parse(text).map_err(|why| format!("a recipient is none: {why}"))?;
        if !recipients.contains(&read) {
            recipients.push(read);
        }
    }
    Ok(recipients)
}

fn address(recipient: &Recipient) -> Result<Address, String> {
    let address = Address::new(recipient.local(), recipient.domain().as_str());
    address.map_err(|error| format!("the mail library does not take an address: {error}"))
}

/// What ends a line for some reader, or is not seen at all.
fn ends_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}
