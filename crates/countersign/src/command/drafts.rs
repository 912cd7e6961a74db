//! `countersign drafts`: what waits for people, and deciding about it.

use super::End;
use super::admin::{Answer, Api, Ask, away_from, encoded, moment, state, text, told, who};
use crate::machine::SystemClock;
use crate::render::{self, Doing as _, Failure};
use comfy_table::ColumnConstraint;
use countersign_core::port::Clock as _;
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
    /// Let somebody decide in your stead while you are away, whom a gate names beside you: with a fresh
    /// sign-in
    Delegate {
        /// Their address
        #[arg(long, value_name = "ADDRESS")]
        to: String,
        /// Until when, at most 30 days ahead: your first day back (UTC), a time, or for how long (`5d`,
        /// `12h`)
        #[arg(long, value_name = "DAY|TIME|SPAN", value_parser = until)]
        until: Until,
    },
    /// You are back: nobody stands in for you any more
    Return {
        /// Somebody else's absence, as an operator
        #[arg(long, value_name = "REFERENCE")]
        delegation: Option<String>,
    },
    /// Who stands in for whom, and who may for you
    Delegates,
}

/// When an absence ends: by the clock, or so long from when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    At(jiff::Timestamp),
    In(jiff::SignedDuration),
}

fn until(text: &str) -> Result<Until, &'static str> {
    const WRONG: &str = "write `2026-12-01`, `2026-12-01T08:00:00Z`, `5d` or `12h`";
    let unit = |unit: char, s: i64| {
        let count: i64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Until::In(jiff::SignedDuration::from_secs(count.checked_mul(s)?)))
    };
    let day = || {
        let day: jiff::civil::Date = text.parse().ok()?;
        Some(Until::At(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
    };
    let time = || text.parse().ok().map(Until::At);
    unit('d', 86_400).or_else(|| unit('h', 3_600)).or_else(time).or_else(day).ok_or(WRONG)
}

impl Until {
    fn at(self) -> Result<jiff::Timestamp, Failure> {
        match self {
            Self::At(at) => Ok(at),
            Self::In(span) => {
                let now = jiff::Timestamp::from_second(SystemClock.now().secs());
                now.and_then(|now| now.checked_add(span)).doing("no such time")
            }
        }
    }
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
            What::Delegate { to, until } => {
                let until = until.at()?;
                let body = json!({ "to": to, "until": until.to_string() });
                let answer = api.post("/admin/v1/delegations", &body).await?;
                let done = format!("{to} stands in for you until {until}");
                Ok(told(&self.ask, answer, |_| render::line(done)))
            }
            What::Return { delegation } => {
                let body = match delegation {
                    Some(id) => json!({ "delegation": id }),
                    None => json!({}),
                };
                let answer = api.post("/admin/v1/delegations/end", &body).await?;
                Ok(told(&self.ask, answer, |_| render::line("ended")))
            }
            What::Delegates => {
                Ok(told(&self.ask, api.get("/admin/v1/delegations").await?, stand_ins))
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
            away_from(draft, "/expires"),
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
            let mut table = render::table(&header, rows);
            // A reference is there to be copied.
            if let Some(reference) = table.column_mut(0) {
                reference.set_constraint(ColumnConstraint::ContentWidth);
            }
            render::line(table);
        }
    }
    if page["next"].is_string() {
        render::line(format_args!("older ones: --before {}", text(page, "/next")));
    }
}

fn stand_ins(page: &Value) {
    let delegations = page["delegations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = delegations.iter().map(|one| {
        vec![
            text(one, "/delegation"),
            text(one, "/who"),
            who(one, "/in_stead_of"),
            moment(one, "/at"),
            moment(one, "/until"),
        ]
    });
    match delegations {
        [] => render::line("nobody is away"),
        _ => {
            let header = ["reference", "stands in", "for", "since", "until"];
            render::line(render::table(&header, rows));
        }
    }
    let may = page["stand_ins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let may: Vec<String> = may.iter().map(|one| text(one, "")).collect();
    match may.as_slice() {
        [] => render::line("for you nobody may stand in: no gate that names you has `delegates`"),
        _ => render::line(format_args!("for you may stand in: {}", may.join(", "))),
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
        ("standing in", stood_in(draft)),
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

fn stood_in(draft: &Value) -> String {
    let all = draft["standing_in"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |one: &Value| {
        let (who, absent) = (text(one, "/who"), who(one, "/in_stead_of"));
        format!("{who} in the stead of {absent} until {}", moment(one, "/until"))
    };
    if all.is_empty() {
        "–".to_owned()
    } else {
        all.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn decided(draft: &Value) {
    if draft["decided"].is_object() {
        let (mut by, reason) = (who(draft, "/decided/by"), text(draft, "/decided/reason"));
        if draft.pointer("/decided/in_stead_of").is_some_and(Value::is_object) {
            by = format!("{by} in the stead of {}", who(draft, "/decided/in_stead_of"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_day_a_time_or_a_span_and_nothing_else() {
        let at = |text: &str| Ok(Until::At(text.parse().unwrap()));
        let hours = |hours| Ok(Until::In(jiff::SignedDuration::from_hours(hours)));
        assert_eq!(until("2026-12-01"), at("2026-12-01T00:00:00Z"));
        assert_eq!(until("2026-12-01T08:30:00+02:00"), at("2026-12-01T06:30:00Z"));
        assert_eq!((until("5d"), until("12h")), (hours(120), hours(12)));
        for wrong in ["", "5", "d", "5w", "tomorrow", "2026-13-01", "9223372036854775807h", "1.5d"]
        {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }
}
