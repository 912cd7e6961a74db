//! `countersign unknown`: effects of which nobody knows whether they took place.

use super::End;
use super::admin::{Ask, encoded, moment, text, told, who};
use crate::render::{self, Failure};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Unknown {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Those that wait for somebody who says what came of them
    List {
        /// Also those that somebody has resolved
        #[arg(long)]
        resolved: bool,
    },
    /// Say whether an effect took place, after looking in the system itself
    Resolve(Resolve),
}

#[derive(Debug, clap::Args)]
struct Resolve {
    /// The call
    call: String,
    #[command(flatten)]
    happened: Happened,
    /// How one knows
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Happened {
    /// It took place
    #[arg(long)]
    happened: bool,
    /// It did not
    #[arg(long)]
    not_happened: bool,
}

impl Unknown {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let api = self.ask.api()?;
        let runtime = super::serve::runtime()?;
        match &self.what {
            What::List { resolved } => {
                let path = format!("/admin/v1/unknown?resolved={resolved}");
                Ok(told(&self.ask, runtime.block_on(api.get(&path))?, table))
            }
            What::Resolve(Resolve { call, happened, reason }) => {
                let happened = happened.happened;
                let path = format!("/admin/v1/unknown/{}/resolve", encoded(call));
                let body = json!({ "happened": happened, "reason": reason });
                let said = if happened { "it happened" } else { "it did not happen" };
                let answer = runtime.block_on(api.post(&path, &body))?;
                Ok(told(&self.ask, answer, |_| render::line(format_args!("on record: {said}"))))
            }
        }
    }
}

fn table(page: &Value) {
    let unknown = page["unknown"].as_array().map(Vec::as_slice).unwrap_or_default();
    if unknown.is_empty() {
        return render::line("no outcome is unknown");
    }
    let rows = unknown.iter().map(|unknown| {
        let resolved = match unknown.pointer("/resolved/happened").and_then(Value::as_bool) {
            None => String::new(),
            Some(happened) => format!(
                "{}, says {}: {}",
                if happened { "it happened" } else { "it did not happen" },
                who(unknown, "/resolved/decided/by"),
                text(unknown, "/resolved/decided/reason")
            ),
        };
        vec![
            text(unknown, "/call"),
            moment(unknown, "/at"),
            text(unknown, "/agent"),
            text(unknown, "/tenant"),
            text(unknown, "/tool"),
            text(unknown, "/system"),
            resolved,
        ]
    });
    let header = ["call", "at", "agent", "tenant", "tool", "system", "resolved"];
    render::line(render::table(&header, rows));
}
