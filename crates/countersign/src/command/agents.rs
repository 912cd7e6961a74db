//! `countersign agents`: the agents there are, and switching them off and on.

use super::End;
use super::admin::{Ask, encoded, moment, text, told, who};
use super::switch::{Switched, Way};
use crate::render::{self, Failure};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Agents {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The agents of the posture in force
    List,
    /// One of them: its tools, who has to agree to what, whether it is suspended
    Show {
        /// Its name
        name: String,
    },
    /// Stop its calls, and freeze its drafts, from now on
    Suspend {
        /// Its name
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Let it go on: somebody else than who suspended it, with a fresh sign-in
    Resume {
        /// Its name
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

impl Agents {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let agent = |name: &str| Switched { kind: "agent", name: name.to_owned() };
        match &self.what {
            What::Suspend { name, reason } => agent(name).turn(&self.ask, Way::Off, reason),
            What::Resume { name, reason } => agent(name).turn(&self.ask, Way::On, reason),
            What::List => {
                let api = self.ask.api()?;
                let answer = super::serve::runtime()?.block_on(api.get("/admin/v1/agents"))?;
                Ok(told(&self.ask, answer, table))
            }
            What::Show { name } => {
                let api = self.ask.api()?;
                let path = format!("/admin/v1/agents/{}", encoded(name));
                let answer = super::serve::runtime()?.block_on(api.get(&path))?;
                Ok(told(&self.ask, answer, all))
            }
        }
    }
}

fn tools(agent: &Value) -> &[Value] {
    agent["tools"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn table(page: &Value) {
    let agents = page["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = agents.iter().map(|agent| {
        let gated = tools(agent).iter().filter(|tool| tool["approvers"].is_object()).count();
        vec![
            text(agent, "/agent"),
            text(agent, "/client_id"),
            tools(agent).len().to_string(),
            gated.to_string(),
            suspended(agent),
        ]
    });
    let header = ["agent", "client", "tools", "of them gated", "suspended"];
    render::line(render::table(&header, rows));
}

fn suspended(agent: &Value) -> String {
    match agent["suspended"].is_object() {
        false => "no".to_owned(),
        true => format!(
            "{}, by {}: {}",
            moment(agent, "/suspended/at"),
            who(agent, "/suspended/by"),
            text(agent, "/suspended/reason")
        ),
    }
}

fn all(agent: &Value) {
    for (name, value) in [
        ("agent", text(agent, "/agent")),
        ("client", text(agent, "/client_id")),
        ("issuer", text(agent, "/issuer")),
        ("suspended", suspended(agent)),
    ] {
        render::line(format_args!("{name:<12}{value}"));
    }
    let rows = tools(agent).iter().map(|tool| {
        let approvers = match tool.pointer("/approvers/group") {
            Some(_) => format!("members of {}", text(tool, "/approvers/group")),
            None => text(tool, "/approvers/named"),
        };
        vec![text(tool, "/tool"), text(tool, "/effect"), text(tool, "/system"), approvers]
    });
    render::line(render::table(&["tool", "effect", "system", "approvers"], rows));
}
