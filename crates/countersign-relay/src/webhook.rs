//! One request to an address that the company gave: TLS verified, no redirect followed, nothing read of
//! the answer but its status.

use crate::bound::{CONNECT_MAX, DELIVERY_MAX};
use crate::message::{Message, Template};
use reqwest::{Client, Url, redirect, retry};
use std::fmt;

/// Where requests go. The address may be a secret, and is never shown.
#[derive(Clone)]
pub struct Webhook {
    url: Url,
    template: Template,
    client: Client,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("template", &self.template).finish_non_exhaustive()
    }
}

/// Why an address is none. It never holds what was written.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No URL, or of another scheme.
    #[error("the address must be a URL that begins with `https://`")]
    Form,
    /// What is told would cross a network in the clear.
    #[error("`http://` is for an address of this very machine, and for development")]
    Plaintext,
    /// No client could be made: no certificates on this machine, above all.
    #[error("no request can be made: {0}")]
    Client(String),
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// One sentence.
    pub(crate) why: String,
    /// Whether it will not be taken later either.
    pub(crate) for_good: bool,
}

impl Unsent {
    pub(crate) const fn for_now(why: String) -> Self {
        Self { why, for_good: false }
    }
}

impl Webhook {
    /// Reads an address. In development an address of this machine may be spoken to in the clear.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn new(address: &str, template: Template, development: bool) -> Result<Self, WebhookError> {
        let url = Url::parse(address).map_err(|_unshown| WebhookError::Form)?;
        let encrypted = match url.scheme() {
            "https" => true,
            "http" if development && is_here(&url) => false,
            "http" => return Err(WebhookError::Plaintext),
            _ => return Err(WebhookError::Form),
        };
        let client = client(encrypted).map_err(|error| WebhookError::Client(chain(&error)))?;
        Ok(Self { url, template, client })
    }

    pub(crate) const fn how(&self) -> &'static str {
        match self.template {
            Template::Slack => "slack",
            Template::Teams => "teams",
            Template::Json => "json",
        }
    }

    /// Sends one message, once.
    ///
    /// # Errors
    /// [`Unsent`], without the address.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), Unsent> {
        let request = self
            .client
            .post(self.url.clone())
            .header("idempotency-key", &message.id)
            .json(&message.body(self.template));
        let answer = request.send().await;
        let answer = answer.map_err(|error| Unsent::for_now(chain(&error.without_url())))?;
        // What it says beside its status is nobody's here, and is not read.
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let for_good = status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429);
        Err(Unsent { why: format!("it answered {}", status.as_u16()), for_good })
    }
}

/// Whether it is an address of this machine, written as one.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn client(encrypted: bool) -> Result<Client, reqwest::Error> {
    let client = Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT_MAX)
        .timeout(DELIVERY_MAX)
        // The next message may be hours away.
        .pool_max_idle_per_host(0);
    match encrypted {
        true => client.https_only(true).build(),
        // Trusts no certificate, so it needs none on this machine.
        false => client.tls_certs_only([]).build(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
