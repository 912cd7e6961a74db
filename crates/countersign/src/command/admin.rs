//! What the commands for people share: which gateway, whose token, and how an answer is told.

use super::End;
use super::login::kept::{Kept, SignIns};
use crate::machine::{SystemClock, env};
use crate::render::{self, Doing, Failure};
use crate::report::{unseen, visible};
use countersign_connectors::{Origin, OriginError};
use countersign_core::port::Clock as _;
use countersign_gateway::oidc::client;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection, and an answer, may take: a preview asks a system.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(330);

pub(super) const URL: &str = "COUNTERSIGN_URL";
pub(super) const TOKEN: &str = "COUNTERSIGN_TOKEN";
/// Where a gateway is that nobody names.
pub(super) const HERE: &str = "http://127.0.0.1:8787";

/// Which gateway, as whom, and how it is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Ask {
    /// The gateway; without it, COUNTERSIGN_URL, or the one signed in to last
    #[arg(long, value_name = "URL", global = true)]
    pub(super) gateway: Option<String>,
    /// A file with a person's token; without it, COUNTERSIGN_TOKEN, or what `login` kept
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) token_file: Option<PathBuf>,
    /// How the answer is told
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub(super) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// As the admin API answers
    Json,
}

/// A gateway's admin API.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    pub(super) url: String,
}

/// The gateway's answer: yes, or its no.
pub(super) type Answer = Result<Value, Refused>;

/// What the gateway said no to, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: String,
    detail: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Ask {
    /// The gateway's address, without a path.
    pub(super) fn url(&self, kept: &SignIns) -> String {
        let named = self.gateway.clone().or_else(|| env(URL)).or_else(|| kept.last.clone());
        let url = named.unwrap_or_else(|| HERE.to_owned());
        url.trim_end_matches('/').to_owned()
    }

    /// The API, as the person who signed in.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        let kept = SignIns::read()?;
        let url = self.url(&kept);
        let token = match &self.token_file {
            Some(file) => Some(token_in(file)?),
            None => env(TOKEN).filter(|token| !token.trim().is_empty()),
        };
        let token = match (token, kept.of.get(&url)) {
            (Some(token), _) => token,
            (None, Some(Kept { token, expires_s })) if *expires_s > SystemClock.now().secs() => {
                token.clone()
            }
            (None, Some(_)) => return Err(signed_out(&url, "your sign-in has ended")),
            (None, None) => return Err(signed_out(&url, "you are not signed in")),
        };
        Api::new(url, Some(&token))
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// What a file holds as a token.
pub(super) fn token_in(file: &PathBuf) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).doing(format!("{}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn signed_out(url: &str, why: &str) -> Failure {
    Failure::new(format!("{why} at {url}")).help(format!("run `countersign login --gateway {url}`"))
}

impl Api {
    /// At `url`, with a token or without.
    pub(super) fn new(url: String, token: Option<&str>) -> Result<Self, Failure> {
        let origin = Origin::parse(&url, false).map_err(|error| match error {
            OriginError::Plaintext => {
                Failure::new("your token would go unencrypted to what may be another machine")
                    .help(format!("write `https://…`; `{HERE}` is for a gateway on this machine"))
            }
            OriginError::Form | OriginError::Address => Failure::new(error.to_string()),
        })?;
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_shown| Failure::new("what should be a token is none"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let client = client(origin.is_encrypted())
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        let client = client.build().doing("no HTTP client")?;
        Ok(Self { client, url })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// What the gateway answers, whatever that is: its status, and its JSON if it is some.
    pub(super) async fn send(
        &self,
        way: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Option<Value>), Failure> {
        let url = &self.url;
        let request = self.client.request(way, format!("{url}{path}"));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.map_err(|error| away(url, error))?;
        let status = answer.status();
        Ok((status, whole(answer).await.map_err(|error| away(url, error))?))
    }

    async fn ask(&self, way: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let url = &self.url;
        let (status, value) = self.send(way, path, body).await?;
        if status.is_success() {
            return match value {
                Some(value) => Ok(Ok(value)),
                None => Err(Failure::new(format!("what answers at {url} is no gateway"))),
            };
        }
        let value = value.unwrap_or_default();
        let member = |name: &str, inside: &str| {
            let found = value.get(name).or_else(|| value.pointer(inside)).and_then(Value::as_str);
            found.map(visible)
        };
        let code = member("code", "/error/code").unwrap_or_default();
        let said = member("detail", "/error/message");
        let detail = said.unwrap_or_else(|| format!("the gateway answered {status}"));
        match status {
            StatusCode::UNAUTHORIZED if code == "stale_sign_in" => Err(Failure::new(detail)
                .help(format!("run `countersign login --fresh --gateway {url}`, then again"))),
            StatusCode::UNAUTHORIZED => Err(signed_out(url, "your sign-in does not count")),
            StatusCode::NOT_FOUND if code.is_empty() => {
                Err(Failure::new(format!("what answers at {url} is no gateway")))
            }
            _ if status.is_client_error() => Ok(Err(Refused { code, detail })),
            _ => Err(Failure::new(detail)),
        }
    }
}

fn away(url: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let why =
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    Failure::new(format!("no gateway answers at {url}: {why}"))
        .help("name its address with `--gateway`, or in COUNTERSIGN_URL")
}

/// The answer's JSON, within bounds. `None` if it is none.
pub(super) async fn whole(mut answer: reqwest::Response) -> Result<Option<Value>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&body).ok())
}

// ── how it is told ──────────────────────────────────────────────────────────────────────────────

/// Tells a yes by `tell` or as JSON, and a no on standard error.
pub(super) fn told(ask: &Ask, answer: Answer, tell: impl FnOnce(&Value)) -> End {
    match answer {
        Ok(value) if ask.is_json() => render::line(moves_no_terminal(&value)),
        Ok(value) => tell(&value),
        Err(Refused { code, detail }) => {
            render::note(format_args!("refused ({code}): {detail}"));
            return End::Findings;
        }
    }
    End::Fine
}

/// JSON in which whatever moves a terminal, or cannot be seen, is escaped.
pub(crate) fn moves_no_terminal(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match unseen(c) {
            false => text.push(c),
            true => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    text
}

/// A member's text as it may be shown; a dash where there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => visible(text),
        Some(other) => visible(&other.to_string()),
    }
}

/// A moment as people read it: `2026-11-25 23:10:05 UTC`, and how far that is from now.
pub(super) fn moment(value: &Value, pointer: &str) -> String {
    match at(value, pointer) {
        Some(at) => format!("{} ({})", at.strftime("%Y-%m-%d %H:%M:%S UTC"), from_now(at)),
        None => text(value, pointer),
    }
}

/// How far a moment is from now.
pub(super) fn away_from(value: &Value, pointer: &str) -> String {
    at(value, pointer).map_or_else(|| text(value, pointer), from_now)
}

fn at(value: &Value, pointer: &str) -> Option<jiff::Timestamp> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

fn from_now(at: jiff::Timestamp) -> String {
    span(at.as_second().saturating_sub(SystemClock.now().secs()))
}

/// `in 3 h`, `2 min ago`.
fn span(away_s: i64) -> String {
    let s = away_s.unsigned_abs();
    let amount = match s {
        0..90 => format!("{s} s"),
        90..5_400 => format!("{} min", s.div_ceil(60)),
        5_400..172_800 => format!("{} h", s.div_ceil(3_600)),
        _ => format!("{} days", s.div_ceil(86_400)),
    };
    if away_s < 0 { format!("{amount} ago") } else { format!("in {amount}") }
}

/// Who somebody is, as others write them.
pub(super) fn who(value: &Value, pointer: &str) -> String {
    let at = |member: &str| value.pointer(&format!("{pointer}/{member}")).filter(|v| !v.is_null());
    match at("address").or_else(|| at("id")) {
        Some(_) if at("address").is_some() => text(value, &format!("{pointer}/address")),
        Some(_) => text(value, &format!("{pointer}/id")),
        None => "–".to_owned(),
    }
}

/// A state in its colour, where there is a terminal that has colours.
pub(super) fn state(value: &Value) -> String {
    let state = text(value, "/state");
    let colour = match state.as_str() {
        "waiting" | "approved" | "committing" => 33,
        "executed" => 32,
        "failed" | "unknown" | "rejected" => 31,
        _ => return state,
    };
    if stdout().is_terminal() && env("NO_COLOR").is_none() {
        format!("\u{1b}[{colour}m{state}\u{1b}[0m")
    } else {
        state
    }
}

/// A text as part of an address.
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_told_as_people_say_them() {
        for (away_s, told) in [
            (0, "in 0 s"),
            (-5, "5 s ago"),
            (89, "in 89 s"),
            (240, "in 4 min"),
            (-14_400, "4 h ago"),
            (864_000, "in 10 days"),
            (i64::MIN, "106751991167301 days ago"),
        ] {
            assert_eq!(span(away_s), told);
        }
    }

    #[test]
    fn what_an_agent_wrote_moves_no_terminal() {
        let value = json!({"a": "x\u{1b}[2J\u{202e}y", "b": null, "c": {"d": "\n"}});
        assert_eq!(text(&value, "/a"), "x\\u{1b}[2J\\u{202e}y");
        assert_eq!(moves_no_terminal(&value["a"]), "\"x\\u001b[2J\\u202ey\"");
        assert_eq!(text(&value, "/b"), "–");
        assert!(!text(&value, "/c").contains('\n'));
    }

    #[test]
    fn a_name_stays_one_part_of_an_address() {
        assert_eq!(encoded("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
