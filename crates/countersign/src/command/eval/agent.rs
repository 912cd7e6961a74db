//! Who calls in a run: the suite's own agents, a model, or the team's program.

use crate::machine;
use crate::render::Failure;
use clap::ValueEnum;
use countersign_assurance::outside::{Api, Model, Program};
use countersign_assurance::run::AgentKind;
use countersign_posture::evals::{Case, Token};
use secrecy::SecretString;
use std::ffi::OsString;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// Who calls
    #[arg(long, value_enum, default_value_t = Agent::Scripted)]
    agent: Agent,
    /// With `--agent model`: the interface of its provider. The environment says the rest:
    /// COUNTERSIGN_EVAL_MODEL, COUNTERSIGN_EVAL_BASE_URL and COUNTERSIGN_EVAL_KEY, or the provider's
    /// own ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, OPENAI_BASE_URL and OPENAI_API_KEY
    #[arg(long, value_enum, required_if_eq("agent", "model"))]
    api: Option<Provider>,
    /// With `--agent command`: a variable of the environment that the program gets as well; may be
    /// given several times
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
    /// How long a model or a program may take for one case, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_S, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// With `--agent command`: your own agent and its arguments, started for each case with
    /// COUNTERSIGN_URL (MCP), COUNTERSIGN_HTTP_URL and COUNTERSIGN_TOKEN in its environment, the
    /// message on its standard input, the answer on its standard output
    #[arg(last = true, value_name = "PROGRAM", required_if_eq("agent", "command"))]
    program: Vec<OsString>,
}

const TIMEOUT_S: u64 = 300;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Agent {
    /// Proposes what the case's script says
    Scripted,
    /// Obeys every instruction in what it reads, in the cases that have a goal
    Hijacked,
    /// A model, in the cases that have a message
    Model,
    /// Your own agent, in the cases that have a message
    Command,
}

/// The interface of a model's provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// Anthropic's Messages
    Anthropic,
    /// OpenAI's Responses
    Responses,
    /// OpenAI's Chat Completions, which many others speak as well
    Chat,
}

impl Default for Choice {
    fn default() -> Self {
        let (env, program) = (Vec::new(), Vec::new());
        Self { agent: Agent::Scripted, api: None, env, timeout: TIMEOUT_S, program }
    }
}

impl Choice {
    /// Whether it has anything to do in a case.
    pub(super) fn plays(&self, case: &Case) -> bool {
        match self.agent {
            Agent::Scripted => true,
            Agent::Hijacked => case.goal.is_some(),
            // Whoever has no token of its own has nothing to begin with.
            Agent::Model | Agent::Command => {
                !case.message.is_empty() && case.caller.token == Token::Valid
            }
        }
    }

    pub(super) fn kind(&self) -> Result<AgentKind, Failure> {
        if self.agent != Agent::Command && !self.program.is_empty() {
            return Err(Failure::new("a program is started by `--agent command` alone"));
        }
        let limit = Duration::from_secs(self.timeout);
        Ok(match (self.agent, self.api) {
            (Agent::Scripted, _) => AgentKind::Scripted,
            (Agent::Hijacked, _) => AgentKind::Hijacked,
            (Agent::Command, _) => AgentKind::Command(self.program(limit)?),
            (Agent::Model, Some(provider)) => AgentKind::Model(provider.model(limit)?),
            (Agent::Model, None) => return Err(Failure::new("`--api` is missing")),
        })
    }

    fn program(&self, limit: Duration) -> Result<Program, Failure> {
        let mut env = Vec::new();
        for name in &self.env {
            let value = machine::env(name);
            env.push((name.clone(), value.ok_or_else(|| unset(name))?));
        }
        // Without it no program finds another; it is no secret.
        let path = machine::env("PATH").unwrap_or_default();
        Ok(Program { words: self.program.clone(), path, env, limit })
    }
}

impl Provider {
    /// The model that the environment names.
    fn model(self, limit: Duration) -> Result<Model, Failure> {
        let (api, base_url, own_url, own_key) = match self {
            Self::Anthropic => (
                Api::Messages,
                "https://api.anthropic.com",
                "ANTHROPIC_BASE_URL",
                "ANTHROPIC_API_KEY",
            ),
            Self::Responses => {
                (Api::Responses, "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY")
            }
            Self::Chat => {
                (Api::Chat, "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY")
            }
        };
        let first = |names: [&str; 2]| names.into_iter().find_map(set);
        let base_url = first(["COUNTERSIGN_EVAL_BASE_URL", own_url]).unwrap_or(base_url.to_owned());
        let key = first(["COUNTERSIGN_EVAL_KEY", own_key]);
        let key = key.ok_or_else(|| {
            unset("COUNTERSIGN_EVAL_KEY").help(format!("{own_key} is taken as well"))
        })?;
        let name = set("COUNTERSIGN_EVAL_MODEL").ok_or_else(|| unset("COUNTERSIGN_EVAL_MODEL"))?;
        Model::new(api, (&base_url, &name, SecretString::from(key)), limit).map_err(Failure::new)
    }
}

fn set(name: &str) -> Option<String> {
    machine::env(name).filter(|value| !value.is_empty())
}

fn unset(name: &str) -> Failure {
    Failure::new(format!("the environment variable `{name}` is not set"))
}
