//! `countersign token`: an identity for development, from a gateway that runs on this machine.

use super::End;
use crate::render::{self, Doing, Failure};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub(crate) struct Token {
    /// The agent's client id
    #[arg(long, required_unless_present = "person", default_value = "", hide_default_value = true)]
    agent: String,
    /// Whose data it may touch; of a person, for whom they decide
    #[arg(long, required_unless_present = "person", default_value = "", hide_default_value = true)]
    tenant: String,
    /// On whose behalf it calls
    #[arg(long, required_unless_present = "person", default_value = "", hide_default_value = true)]
    user: String,
    /// Instead of an agent's, the token of this made-up person
    #[arg(long, value_name = "NAME", conflicts_with_all = ["agent", "user", "session", "claims", "scopes"])]
    person: Option<String>,
    /// With `--person`: a group of theirs; may be given several times
    #[arg(long = "group", requires = "person")]
    groups: Vec<String>,
    /// The session; without one, a new one
    #[arg(long)]
    session: Option<String>,
    /// A further claim that the posture names, e.g. `depots=HAM,BER`
    #[arg(long = "claim", value_name = "NAME=VALUE,…", value_parser = claim)]
    claims: Vec<(String, Vec<String>)>,
    /// A scope that the token carries; may be given several times
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// Where the gateway listens
    #[arg(long, default_value = "http://127.0.0.1:8787")]
    url: String,
}

pub(super) fn claim(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, values) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), values.split(',').map(str::to_owned).collect()))
}

impl Token {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let runtime = super::serve::runtime()?;
        if let Some(person) = &self.person {
            let tenants: Vec<_> = [&self.tenant].into_iter().filter(|t| !t.is_empty()).collect();
            let body = json!({ "person": person, "groups": self.groups, "tenants": tenants });
            render::line(runtime.block_on(sent(&self.url, &body))?);
            return Ok(End::Fine);
        }
        let request = Request {
            agent: &self.agent,
            tenant: &self.tenant,
            user: &self.user,
            session: self.session.as_deref(),
            scopes: &self.scopes,
            attributes: self.claims.iter().cloned().collect(),
        };
        render::line(runtime.block_on(request.send(&self.url))?);
        Ok(End::Fine)
    }
}

/// What is asked of the development issuer.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) agent: &'a str,
    pub(super) tenant: &'a str,
    pub(super) user: &'a str,
    pub(super) session: Option<&'a str>,
    pub(super) scopes: &'a [String],
    pub(super) attributes: BTreeMap<String, Vec<String>>,
}

impl Request<'_> {
    /// The token that the gateway at `url` makes for it.
    pub(super) async fn send(&self, url: &str) -> Result<String, Failure> {
        let Self { agent, tenant, user, session, scopes, attributes } = self;
        let mut body = json!({
            "agent": agent, "tenant": tenant, "user": user, "scopes": scopes, "attributes": attributes,
        });
        if let (Some(session), Some(members)) = (session, body.as_object_mut()) {
            members.insert("session".to_owned(), json!(session));
        }
        sent(url, &body).await
    }
}

/// The token that the gateway at `url` makes for what is asked.
pub(super) async fn sent(url: &str, body: &Value) -> Result<String, Failure> {
    let client = reqwest::Client::builder().no_proxy().build().doing("no HTTP client")?;
    let sent = client.post(format!("{}/dev/token", url.trim_end_matches('/'))).json(body);
    let answer = sent.send().await.map_err(|error| {
            Failure::new(format!("no gateway answers at {url}: {}", without_url(error)))
                .help("start one with `countersign serve` or `countersign demo`, or name its address with `--url`")
        })?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(without_url).doing("its answer")?;
    match body.get("access_token").and_then(Value::as_str) {
            Some(token) => Ok(token.to_owned()),
            None if status == reqwest::StatusCode::NOT_FOUND => {
                Err(Failure::new("the gateway has no development issuer").help(
                    "set `development_issuer: true` in its countersign.yaml, with `environment: development`",
                ))
            }
            None => {
                let message = body.pointer("/error/message").and_then(Value::as_str);
                Err(Failure::new(format!("no token was given: {}", message.unwrap_or("no reason was given"))))
            }
        }
}

fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}
