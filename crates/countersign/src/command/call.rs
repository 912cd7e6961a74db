//! `countersign call`: one call as an agent makes it, over the HTTP door of a running gateway.

use super::End;
use super::admin::{Api, HERE, TOKEN, URL, moves_no_terminal, text};
use super::explain::{self, Who};
use super::token::Request as TokenRequest;
use crate::machine::env;
use crate::render::{self, Doing, Failure};
use countersign_core::args;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Call {
    /// The tool
    #[arg(required_unless_present = "request", conflicts_with = "request")]
    tool: Option<String>,
    /// The arguments, a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "request")]
    arguments: Option<String>,
    /// The whole call as JSON, from a file or from `-`, as `explain --call` takes it and `posture prove`
    /// shows it. With a `principal`, the development issuer gives the token
    #[arg(long, value_name = "FILE")]
    request: Option<String>,
    /// The gateway; without it, COUNTERSIGN_URL
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// How the answer is told
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// As the gateway answers
    Json,
}

/// A call, and who makes it, if that is not whoever the token is for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    principal: Option<Who>,
    tool: String,
    #[serde(default)]
    arguments: Value,
}

impl Call {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let Request { principal, tool, arguments } = self.request()?;
        let url = self.gateway.clone().or_else(|| env(URL)).unwrap_or_else(|| HERE.to_owned());
        let url = url.trim_end_matches('/').to_owned();
        let runtime = super::serve::runtime()?;
        let token = match principal {
            Some(who) => runtime.block_on(token(who, &url))?,
            None => env(TOKEN).filter(|token| !token.trim().is_empty()).ok_or_else(|| {
                Failure::new(format!("{TOKEN} is not set")).help(
                    "set it to the agent's token, as `countersign token` gives one in development",
                )
            })?,
        };
        let api = Api::new(url, Some(&token))?;
        let body = json!({ "tool": tool, "arguments": arguments });
        let (status, answer) =
            runtime.block_on(api.send(Method::POST, "/v1/calls", Some(&body)))?;
        let Some(answer) = answer.filter(|answer| answer.is_object()) else {
            return Err(Failure::new(format!("what answers at {} is no gateway", api.url)));
        };
        if answer.get("status").is_none() {
            return Err(Failure::new(match status {
                StatusCode::UNAUTHORIZED => "the gateway does not accept the token".to_owned(),
                _ => text(&answer, "/error/message"),
            }));
        }
        match self.format {
            Format::Text => tell(&answer),
            Format::Json => render::line(moves_no_terminal(&answer)),
        }
        let completed = answer.get("status").is_some_and(|status| status == "completed");
        Ok(if completed { End::Fine } else { End::Findings })
    }

    fn request(&self) -> Result<Request, Failure> {
        if let Some(file) = &self.request {
            let value = args::parse(&explain::read(file).doing(file)?).doing(file)?;
            return serde_json::from_value(value).doing(file);
        }
        let arguments = match &self.arguments {
            Some(json) => args::parse(json.as_bytes()).doing("--arguments")?,
            None => json!({}),
        };
        // Clap asks for the tool where there is no `--request`.
        Ok(Request { principal: None, tool: self.tool.clone().unwrap_or_default(), arguments })
    }
}

/// A token that says what the request says of its caller.
async fn token(who: Who, url: &str) -> Result<String, Failure> {
    let Who { agent, tenant, user, scopes, claims: attributes } = &who;
    let attributes = attributes.clone();
    TokenRequest { agent, tenant, user, session: None, scopes, attributes }.send(url).await.map_err(
        |failure| {
            failure.help(format!(
                "without a development issuer, leave `principal` out and set {TOKEN} to such a caller's token"
            ))
        },
    )
}

fn tell(answer: &Value) {
    let of = |pointer: &str| text(answer, pointer);
    match answer.get("result") {
        Some(result) => {
            render::line(format_args!("completed ({})", of("/call")));
            render::line(moves_no_terminal(result));
        }
        None => {
            let (status, code) = (of("/status"), of("/error/code"));
            render::line(format_args!("{status} as `{code}` ({})", of("/call")));
            render::line(of("/error/message"));
            for issue in
                answer.pointer("/error/issues").and_then(Value::as_array).into_iter().flatten()
            {
                let (argument, message) = (text(issue, "/argument"), text(issue, "/message"));
                render::line(format_args!("  {argument}: {message}"));
            }
            for more in ["reference", "next"].map(|name| format!("/error/{name}")) {
                if answer.pointer(&more).is_some() {
                    render::line(of(&more));
                }
            }
        }
    }
}
