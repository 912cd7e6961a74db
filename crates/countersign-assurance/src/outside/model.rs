//! A model in a loop of the suite's own: the case's message, the tools of its caller, every call to
//! the gateway, until the model has come to its end.

use super::api::{Api, Turn};
use super::{Stopped, without};
use crate::bound::{
    CONNECT_MAX, MODEL_BYTES_MAX, RETRY_AFTER_MAX, RETRY_FIRST, TRIES_MAX, TURNS_MAX,
};
use crate::script::Session;
use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A model, and where it is.
#[derive(Clone)]
pub struct Model {
    api: Api,
    url: Url,
    name: String,
    key: SecretString,
    /// How long it may take for one case.
    limit: Duration,
    client: Client,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("api", &self.api).field("name", &self.name).finish()
    }
}

/// What came of one request.
enum Asked {
    Answer(Value),
    /// It may be asked again, after a while if it says so.
    Again(Stopped, Option<Duration>),
}

impl Model {
    /// A model by its provider's interface, base URL, name and key.
    ///
    /// # Errors
    /// A sentence without the key.
    pub fn new(
        api: Api,
        (base_url, name, key): (&str, &str, SecretString),
        limit: Duration,
    ) -> Result<Self, String> {
        let url = Url::parse(&format!("{}{}", base_url.trim_end_matches('/'), api.path()));
        let url = url.map_err(|error| format!("the model's base URL is none: {error}"))?;
        let encrypted = match url.scheme() {
            "https" => true,
            "http" if is_here(&url) => false,
            _ => {
                return Err(
                    "the model's base URL must begin with `https://`; `http://` is for an \
                     address of this very machine, as `http://127.0.0.1:8080`"
                        .to_owned(),
                );
            }
        };
        let client = client(encrypted).map_err(|error| format!("no request can be made: {error}"));
        Ok(Self { api, url, name: name.to_owned(), key, limit, client: client? })
    }

    /// Asks until there is an answer, as often as that may be.
    async fn turn(&self, body: &Value) -> Result<Turn, Stopped> {
        let mut pause = RETRY_FIRST;
        for left in (0..TRIES_MAX).rev() {
            let (why, wait) = match self.asked(body).await? {
                Asked::Answer(answer) => return Ok(self.api.read(&answer)?),
                Asked::Again(why, wait) => (why, wait.unwrap_or(pause)),
            };
            if left == 0 || wait > RETRY_AFTER_MAX {
                return Err(why);
            }
            tokio::time::sleep(wait).await;
            pause = pause.saturating_mul(2);
        }
        Err(Stopped::Case("the model was never asked".to_owned()))
    }

    async fn asked(&self, body: &Value) -> Result<Asked, Stopped> {
        let key = self.key.expose_secret();
        let mut secret = HeaderValue::from_str(&match self.api {
            Api::Messages => key.to_owned(),
            Api::Responses | Api::Chat => format!("Bearer {key}"),
        })
        .map_err(|_unshown| Stopped::Run("the model's key is no header's text".to_owned()))?;
        secret.set_sensitive(true);
        let request = self.client.post(self.url.clone()).json(body);
        let request = match self.api {
            Api::Messages => {
                request.header("x-api-key", secret).header("anthropic-version", "2023-06-01")
            }
            Api::Responses | Api::Chat => request.header("authorization", secret),
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let connects = error.is_connect();
                let why = format!("the model cannot be reached: {}", chain(&error.without_url()));
                let stopped = if connects { Stopped::Run(why) } else { Stopped::Case(why) };
                return Ok(Asked::Again(stopped, None));
            }
        };
        let (status, wait) = (response.status(), retry_after(&response));
        let text = self.text(response).await?;
        if status.is_success() {
            let answer = serde_json::from_str(&text);
            let answer = answer.map_err(|error| format!("the model's answer is no JSON: {error}"));
            return Ok(Asked::Answer(answer?));
        }
        self.refused(status, &text, wait)
    }

    /// The whole body, without the key, whatever a provider repeats of it.
    async fn text(&self, mut response: Response) -> Result<String, Stopped> {
        let mut bytes = Vec::new();
        let broke = |error: reqwest::Error| {
            format!("the model's answer broke off: {}", chain(&error.without_url()))
        };
        while let Some(chunk) = response.chunk().await.map_err(broke)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MODEL_BYTES_MAX {
                let why = format!("the model's answer is longer than {MODEL_BYTES_MAX} bytes");
                return Err(Stopped::Case(why));
            }
        }
        let key = ("key".to_owned(), self.key.expose_secret().to_owned());
        Ok(without(&String::from_utf8_lossy(&bytes), &[key]))
    }

    fn refused(
        &self,
        status: StatusCode,
        text: &str,
        wait: Option<Duration>,
    ) -> Result<Asked, Stopped> {
        let said: Value = serde_json::from_str(text).unwrap_or_default();
        let said = said.pointer("/error/message").or_else(|| said.get("message"));
        let said: String =
            said.and_then(Value::as_str).unwrap_or_default().chars().take(200).collect();
        let code = status.as_u16();
        let host = self.url.host_str().unwrap_or_default();
        match code {
            401 | 403 => {
                let why = format!("{host} does not take the model's key ({code})");
                Err(Stopped::Run(why))
            }
            404 => Err(Stopped::Run(format!(
                "{host} has no model `{}` at `{}` (404): {said}",
                self.name,
                self.url.path()
            ))),
            429 => {
                let long =
                    wait.map(|wait| format!(" for {} s", wait.as_secs())).unwrap_or_default();
                let why = format!("{host} asks not to be asked{long} (429): {said}");
                Ok(Asked::Again(Stopped::Case(why), wait))
            }
            500.. => {
                let why = format!("the model's provider has failed ({code}): {said}");
                Ok(Asked::Again(Stopped::Case(why), wait))
            }
            _ => Err(Stopped::Case(format!("the model's provider refuses ({code}): {said}"))),
        }
    }
}

impl Session<'_, '_> {
    /// Has a model answer the message.
    pub(crate) fn converse(&mut self, model: &Model) -> Result<(), Stopped> {
        let caller = self.case.caller.clone();
        let token = self.token(&caller)?;
        self.observed.outside = true;
        let (tools, listed) = self.site.doors.tools(self.door, token.as_deref())?;
        self.observed.told.extend(listed);
        let tools: Vec<Value> = tools.iter().map(|tool| model.api.declared(tool)).collect();
        let mut said = vec![json!({ "role": "user", "content": self.case.message })];
        let began = self.ground.now_ms();
        for _ in 0..TURNS_MAX {
            let took = Duration::from_millis(self.ground.now_ms().saturating_sub(began));
            let left = model.limit.saturating_sub(took);
            let body = model.api.body(&model.name, (&said, &tools));
            let asked = async { tokio::time::timeout(left, model.turn(&body)).await };
            let turn = self.site.doors.runtime.block_on(asked).map_err(|_elapsed| {
                format!("the model has come to no end in {} s", model.limit.as_secs())
            })??;
            self.observed.tokens = self.observed.tokens.and(turn.tokens);
            if turn.wanted.is_empty() {
                self.observed.answer = Some(turn.words);
                return Ok(());
            }
            said.extend(turn.said);
            let mut results = Vec::new();
            for wanted in turn.wanted {
                let (told, error) = match wanted.arguments {
                    Some(arguments) => {
                        let told = self.call(None, &caller, (&wanted.tool, arguments))?.told;
                        (told.heard(), told.end != "completed")
                    }
                    None => ("The arguments are no JSON object.".to_owned(), true),
                };
                results.push((wanted.id, told, error));
            }
            said.extend(model.api.results(results));
        }
        Err(Stopped::Case(format!("the model has come to no end in {TURNS_MAX} turns")))
    }
}

/// Seconds alone: a date would be somebody else's clock.
fn retry_after(response: &Response) -> Option<Duration> {
    let after = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(after.trim().parse().ok()?))
}

/// Whether it is an address of this machine, written as one.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn client(encrypted: bool) -> Result<Client, reqwest::Error> {
    let client = Client::builder()
        .user_agent(concat!("countersign-eval/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_MAX);
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
