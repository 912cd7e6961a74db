//! `countersign drafts`: what waits for people, and deciding about it.

use super::End;
use super::admin::{Answer, Api, Ask, encoded, moment, state, text, told, who};
use crate::render::{self, Failure};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an approval waits to see what came of it, and how often it looks.
const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Most pages that are looked through for drafts to show.
const PAGES_MAX: usize = 50;

#[derive(Debug, clap::Args)]
pub(crate) struct Drafts {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Those that you may see, latest first
    List(List),
    /// All of one: what will happen, with exactly which arguments, for whom, and who may approve it
    Show {
        /// Its reference
        id: String,
        /// Also what its preview finds now: it asks a production system, and is on record
        #[arg(long)]
        preview: bool,
    },
    /// Let it happen, and see what comes of it
    Approve {
        /// Its reference
        id: String,
        /// Do not wait for what comes of it
        #[arg(long)]
        no_wait: bool,
    },
    /// Do not let it happen
    Reject {
        /// Its reference
        id: String,
        /// Why; the agent reads it
        #[arg(long)]
        reason: String,
    },
    /// Take it back: as whoever asked for it, or as an operator
    Withdraw {
        /// Its reference
        id: String,
        /// Why; the agent reads it
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// In this state; `all` for every one
    #[arg(long, default_value = "waiting")]
    state: String,
    /// For this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Proposed by this agent
    #[arg(long)]
    agent: Option<String>,
    /// Asked for on your own behalf
    #[arg(long)]
    mine: bool,
    /// Proposed before this moment, as an answer says under `next`
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
}

impl Drafts {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let api = self.ask.api()?;
        super::serve::runtime()?.block_on(self.asked(&api))
    }

    async fn asked(&self, api: &Api) -> Result<End, Failure> {
        let act = async |id: &str, what: &str, body: Value| {
            api.post(&format!("/admin/v1/drafts/{}/{what}", encoded(id)), &body).await
        };
        match &self.what {
            What::List(list) => Ok(told(&self.ask, list.fetch(api).await?, table)),
            What::Show { id, preview } => self.show(api, id, *preview).await,
            What::Approve { id, no_wait } => {
                let approved = act(id, "approve", json!({})).await?;
                match approved {
                    Ok(_) if !no_wait => self.wait(api, id).await,
                    answer => Ok(told(&self.ask, answer, |_| render::line("approved"))),
                }
            }
            What::Reject { id, reason } => {
                let answer = act(id, "reject", json!({ "reason": reason })).await?;
                Ok(told(&self.ask, answer, |_| render::line("rejected")))
            }
            What::Withdraw { id, reason } => {
                let answer = act(id, "withdraw", json!({ "reason": reason })).await?;
                Ok(told(&self.ask, answer, |_| render::line("withdrawn")))
            }
        }
    }

    async fn show(&self, api: &Api, id: &str, preview: bool) -> Result<End, Failure> {
        let path = format!("/admin/v1/drafts/{}", encoded(id));
        let mut answer = api.get(&path).await?;
        if preview && let Ok(Value::Object(draft)) = &mut answer {
            match api.get(&format!("{path}/preview")).await? {
                Ok(found) => drop(draft.insert("preview".to_owned(), found)),
                refused => return Ok(told(&self.ask, refused, |_| {})),
            }
        }
        Ok(told(&self.ask, answer, all))
    }

    /// Looks until the draft is carried out, or it takes too long: it goes on without us.
    async fn wait(&self, api: &Api, id: &str) -> Result<End, Failure> {
        let path = format!("/admin/v1/drafts/{}", encoded(id));
        let until = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            let answer = api.get(&path).await?;
            let state = match &answer {
                Ok(draft) => text(draft, "/state"),
                Err(_) => return Ok(told(&self.ask, answer, |_| {})),
            };
            let going_on = matches!(state.as_str(), "approved" | "committing");
            if going_on && tokio::time::Instant::now() < until {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            told(&self.ask, answer, came_of);
            return Ok(if going_on || state == "executed" { End::Fine } else { End::Findings });
        }
    }
}

impl List {
    /// The first page that has any.
    async fn fetch(&self, api: &Api) -> Result<Answer, Failure> {
        let mut before = self.before.clone();
        let mut answer = Ok(json!({ "drafts": [], "next": null }));
        for _page in 0..PAGES_MAX {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            let state = Some(self.state.clone()).filter(|state| state != "all");
            let mine = self.mine.then(|| "true".to_owned());
            let members = [
                ("state", &state),
                ("tenant", &self.tenant),
                ("agent", &self.agent),
                ("mine", &mine),
                ("before", &before),
            ];
            query.extend_pairs(members.into_iter().filter_map(|(k, v)| Some((k, v.as_ref()?))));
            answer = api.get(&format!("/admin/v1/drafts?{}", query.finish())).await?;
            let Ok(page) = &answer else { break };
            let empty = page["drafts"].as_array().is_none_or(Vec::is_empty);
            match page["next"].as_str() {
                Some(next) if empty => before = Some(next.to_owned()),
                Some(_) | None => break,
            }
        }
        Ok(answer)
    }
}

fn table(page: &Value) {
    let drafts = page["drafts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = drafts.iter().map(|draft| {
        vec![
            text(draft, "/id"),
            state(draft),
            text(draft, "/rung"),
            text(draft, "/agent"),
            text(draft, "/tenant"),
            text(draft, "/summary"),
            moment(draft, "/expires"),
            if draft["could_approve"] == true { "yes".to_owned() } else { String::new() },
        ]
    });
    match drafts {
        [] => render::line("no drafts"),
        _ => {
            let header = [
                "reference",
                "state",
                "rung",
                "agent",
                "tenant",
                "what",
                "expires",
                "yours to decide",
            ];
            render::line(render::table(&header, rows));
        }
    }
    if page["next"].is_string() {
        render::line(format_args!("older ones: --before {}", text(page, "/next")));
    }
}

fn all(draft: &Value) {
    render::line(text(draft, "/summary"));
    render::line("");
    let approvers = match draft.pointer("/approvers/group") {
        Some(_) => format!("members of {}", text(draft, "/approvers/group")),
        None => text(draft, "/approvers/named"),
    };
    let fresh = if draft["fresh_sign_in"] == true { ", signed in a moment ago" } else { "" };
    let yes = |member: &str| if draft[member] == true { "yes" } else { "no" };
    for (name, value) in [
        ("reference", text(draft, "/id")),
        ("state", state(draft)),
        ("tool", format!("{} on {}", text(draft, "/tool"), text(draft, "/system"))),
        ("arguments", text(draft, "/arguments")),
        ("tenant", text(draft, "/tenant")),
        ("agent", text(draft, "/agent")),
        ("on behalf of", text(draft, "/on_behalf_of/subject")),
        ("rung", text(draft, "/rung")),
        ("approvers", format!("{approvers}{fresh}")),
        ("you may approve", yes("could_approve").to_owned()),
        ("proposed", moment(draft, "/proposed")),
        ("expires", moment(draft, "/expires")),
        ("same as", text(draft, "/same_as")),
    ] {
        render::line(format_args!("{name:<16}{value}"));
    }
    decided(draft);
    if let Some(found) = draft.get("preview") {
        let rows = found["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        render::line(format_args!("preview         {} rows", rows.len()));
        for row in rows {
            render::line(format_args!("  {}", text(row, "")));
        }
    }
}

fn decided(draft: &Value) {
    if draft["decided"].is_object() {
        let (by, reason) = (who(draft, "/decided/by"), text(draft, "/decided/reason"));
        let at = moment(draft, "/decided/at");
        render::line(format_args!("{:<16}by {by}, {at}: {reason}", "decided"));
    }
    if draft["outcome"].is_object() {
        let (applied, code) = (text(draft, "/outcome/applied"), text(draft, "/outcome/code"));
        let call = text(draft, "/committed");
        render::line(format_args!("{:<16}{applied} (code {code}, call {call})", "outcome"));
    }
}

fn came_of(draft: &Value) {
    render::line(format_args!("{}: {}", state(draft), text(draft, "/summary")));
    decided(draft);
}
