//! `countersign switch`: the kill switch, for whatever can be switched off.

use super::End;
use super::admin::{Ask, moment, text, told, who};
use crate::render::{self, Failure};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Switch {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What is switched off, since when, by whom and why
    List,
    /// Switch off: no call of it begins from then on, and its drafts freeze
    Off(Turn),
    /// Switch on again: somebody else than who switched it off, with a fresh sign-in
    On(Turn),
}

#[derive(Debug, clap::Args)]
struct Turn {
    #[command(flatten)]
    of: Of,
    /// Why
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// All calls of an agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// All calls of a tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// All calls that reach a system, or ask it
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// All calls for a tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// All calls
    #[arg(long)]
    everything: bool,
}

impl Of {
    fn switched(&self) -> Switched {
        let Self { agent, tool, system, tenant, everything: _ } = self;
        let named = [("agent", agent), ("tool", tool), ("system", system), ("tenant", tenant)];
        let named = named.into_iter().find_map(|(kind, name)| Some((kind, name.clone()?)));
        let (kind, name) = named.unwrap_or(("everything", String::new()));
        Switched { kind, name }
    }
}

/// What is switched.
pub(super) struct Switched {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Off,
    On,
}

impl Switched {
    pub(super) fn turn(&self, ask: &Ask, way: Way, reason: &str) -> Result<End, Failure> {
        let Self { kind, name } = self;
        let body = json!({ "kind": kind, "name": name, "reason": reason });
        let (path, done) = match way {
            Way::Off => ("/admin/v1/suspensions", "suspended"),
            Way::On => ("/admin/v1/suspensions/resume", "resumed"),
        };
        let api = ask.api()?;
        let answer = super::serve::runtime()?.block_on(api.post(path, &body))?;
        Ok(told(ask, answer, |_| render::line(format_args!("{done}: {kind} {name}"))))
    }
}

impl Switch {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        match &self.what {
            What::Off(turn) => turn.of.switched().turn(&self.ask, Way::Off, &turn.reason),
            What::On(turn) => turn.of.switched().turn(&self.ask, Way::On, &turn.reason),
            What::List => {
                let api = self.ask.api()?;
                let answer = super::serve::runtime()?.block_on(api.get("/admin/v1/suspensions"))?;
                Ok(told(&self.ask, answer, table))
            }
        }
    }
}

fn table(page: &Value) {
    let suspensions = page["suspensions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if suspensions.is_empty() {
        return render::line("nothing is switched off");
    }
    let rows = suspensions.iter().map(|suspension| {
        vec![
            text(suspension, "/kind"),
            text(suspension, "/name"),
            moment(suspension, "/at"),
            who(suspension, "/by"),
            text(suspension, "/reason"),
        ]
    });
    render::line(render::table(&["kind", "name", "since", "by", "why"], rows));
}
