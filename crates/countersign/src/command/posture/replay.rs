//! `countersign posture replay`: recorded calls, decided again under another posture. Nothing is touched:
//! no system is asked, and nothing is recorded.

use crate::assemble;
use crate::command::{At, End, audit, explain, serve};
use crate::machine::{SystemClock, SystemEntropy};
use crate::render::{self, Doing as _, Failure};
use clap::ValueEnum;
use countersign_connectors::Connectors;
use countersign_core::call::{Caller, Door, Evidence, Explained, Monitor, Proposed};
use countersign_core::id::Timestamp;
use countersign_core::port::Clock as _;
use countersign_core::posture::Agent;
use countersign_core::principal::CallerRef;
use countersign_core::reading::{Cursor, Parts, Record};
use countersign_core::record::Kind;
use countersign_core::refusal::Refusal;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::Tool;
use countersign_gateway::identity::{Agents, Claims, Identity, SignIn};
use countersign_policy::Bundle;
use countersign_posture::Loaded;
use countersign_store::MemoryJournal;
use countersign_store::audit::{Filter, Reader};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Most records that one replay reads.
const RECORDS_MAX: usize = 500_000;
/// How many are read at once.
const PAGE: u32 = 1_000;
/// Most changes that are told apart by why; further ones are counted together.
const WHYS_MAX: usize = 1_000;
/// Most places in the journal that are named of one change.
const EXAMPLES_MAX: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// What is to be: a posture or deployment
    #[arg(value_name = "NEW", default_value = "countersign.yaml")]
    new: PathBuf,
    /// The journal's file, instead of that of the deployment NEW
    #[arg(long)]
    journal: Option<PathBuf>,
    /// Calls not older than this: `30d`, `12h`, or a time such as 2026-11-23T09:00:00Z
    #[arg(long, default_value = "30d", value_parser = audit::time)]
    since: Timestamp,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// What became, or would become, of a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Allowed,
    /// Somebody, or something, has to agree first.
    Gated(u8),
    Refused(String),
}

impl Fate {
    fn told(&self) -> String {
        match self {
            Self::Allowed => "allowed".to_owned(),
            Self::Gated(rung) => format!("held for clearance at rung {rung}"),
            Self::Refused(code) => format!("refused as {code}"),
        }
    }
}

/// What differs: agent, tool, what came of the call, what would, and why.
type Change = (String, String, Fate, Fate, String);

/// What a replay has come to.
#[derive(Debug, Default)]
struct Tally {
    /// Calls by agent and tool.
    calls: BTreeMap<(String, String), u64>,
    /// How often, and where in the journal.
    changed: BTreeMap<Change, (u64, Vec<String>)>,
    same: u64,
    /// How many could not be judged, by why.
    unjudged: BTreeMap<&'static str, u64>,
    /// Whether there was more than is read.
    cut: bool,
}

impl Replay {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let (loaded, bundle) = super::diff::read(&super::diff::folder(&self.new)?)?;
        let journal = match &self.journal {
            Some(journal) => journal.clone(),
            None => audit::config(&At { config: self.new.clone() })?.path,
        };
        let reader = Reader::open(&journal).doing("the journal cannot be read")?;
        let again = Again::new(loaded, bundle);
        let filter = Filter {
            since: Some(self.since),
            until: Some(SystemClock.now()),
            limit: Some(PAGE),
            ..Filter::default()
        };
        let runtime = serve::runtime()?;
        let (mut cursor, mut read, mut tally) = (Cursor::default(), 0_usize, Tally::default());
        loop {
            let records = reader.follow(&mut cursor, &filter, Parts::Whole);
            let records = records.doing("the journal cannot be read")?;
            if records.is_empty() {
                break;
            }
            read = read.saturating_add(records.len());
            for record in records {
                runtime.block_on(again.judge(&record, &mut tally))?;
            }
            if read >= RECORDS_MAX {
                tally.cut = true;
                break;
            }
        }
        match self.format {
            Format::Text => render::line(tally.text()),
            Format::Json => render::line(format_args!("{:#}", tally.json())),
        }
        Ok(if tally.changed.is_empty() { End::Fine } else { End::Findings })
    }
}

/// The posture that decides again.
struct Again {
    posture: Arc<countersign_core::posture::Posture>,
    bundle: Arc<Bundle>,
    claims: Claims,
    /// Whether people's policies may ask for what the journal does not keep of a caller.
    asks_more: bool,
}

impl Again {
    fn new(loaded: Loaded, bundle: Bundle) -> Self {
        let claims = assemble::claims(&loaded.claims);
        let kept_back =
            loaded.claims.attributes.keys().map(String::as_str).chain(["model", "agent_build"]);
        let kept_back: Vec<_> = kept_back.collect();
        let asks_more = loaded
            .policies
            .iter()
            .any(|policy| kept_back.iter().any(|name| policy.text().contains(name)));
        Self { posture: Arc::new(loaded.posture), bundle: Arc::new(bundle), claims, asks_more }
    }

    /// Decides again what a record tells of, if it tells of a call.
    async fn judge(&self, record: &Record, tally: &mut Tally) -> Result<(), Failure> {
        let rung = || record.header.get("rung").and_then(Value::as_u64);
        let rung = || rung().and_then(|rung| u8::try_from(rung).ok()).unwrap_or(u8::MAX);
        let was = match record.kind() {
            // An approved call was counted when it was proposed.
            Some(Kind::Intent) if record.header.contains_key("draft") => return Ok(()),
            Some(Kind::Intent) if record.header.contains_key("decided_by") => Fate::Gated(rung()),
            Some(Kind::Intent) => Fate::Allowed,
            Some(Kind::DraftProposed) => Fate::Gated(rung()),
            Some(Kind::Refusal) => {
                Fate::Refused(record.text("code").unwrap_or_default().to_owned())
            }
            _ => return Ok(()),
        };
        let count = record.header.get("count").and_then(Value::as_u64).unwrap_or(1);
        let body = |name: &str| record.bodies.get(name);
        let claimed = || body("claimed_tool").and_then(Value::as_str);
        let agent = record.text("agent").unwrap_or("-").to_owned();
        let tool = record.text("tool").or_else(claimed).unwrap_or("-").to_owned();
        let calls = tally.calls.entry((agent.clone(), tool.clone())).or_default();
        *calls = calls.saturating_add(count);
        match self.again(record, &was, &tool).await? {
            Err(why) => {
                let unjudged = tally.unjudged.entry(why).or_default();
                *unjudged = unjudged.saturating_add(count);
            }
            Ok((is, _why)) if is == was => tally.same = tally.same.saturating_add(count),
            Ok((is, why)) => {
                let why = if tally.changed.len() < WHYS_MAX { why } else { String::new() };
                let change = tally.changed.entry((agent, tool, was, is, why)).or_default();
                change.0 = change.0.saturating_add(count);
                if change.1.len() < EXAMPLES_MAX {
                    let call = record.text("call").unwrap_or("-");
                    let (stream, seq) = (record.stream(), record.sequence());
                    change.1.push(format!("{call} (stream {stream}, entry {seq})"));
                }
            }
        }
        Ok(())
    }

    /// What decides, at this moment, with nothing behind it.
    fn monitor(
        &self,
        identity: Identity,
        clock: Arc<explain::Stopped>,
    ) -> Result<Monitor, Failure> {
        let journal = Arc::new(MemoryJournal::new(clock.clone(), Arc::new(SystemEntropy)));
        let nobody = Agents { pointers: Vec::new(), clients: BTreeSet::new() };
        Ok(Monitor {
            posture: Arc::clone(&self.posture),
            authenticator: Arc::new(identity),
            pdp: self.bundle.clone(),
            journal: journal.clone(),
            register: journal,
            people: Arc::new(SignIn::new(None, nobody).doing("nobody decides here")?),
            // No system is there to be asked.
            connector: Arc::new(Connectors::new(BTreeMap::new(), clock.clone())),
            clock,
            entropy: Arc::new(SystemEntropy),
        })
    }

    /// What would become of it and why, or why nobody can say.
    async fn again(
        &self,
        record: &Record,
        was: &Fate,
        name: &str,
    ) -> Result<Result<(Fate, String), &'static str>, Failure> {
        const JUDGED: [&str; 4] =
            ["unknown_tool", "invalid_arguments", "out_of_scope", "forbidden"];
        if let Fate::Refused(code) = was
            && !JUDGED.contains(&code.as_str())
        {
            return Ok(Err("refused for a limit, a look-up, a token or a state that is gone"));
        }
        let Some(who) = record.bodies.get("principal").and_then(Value::as_object) else {
            return Ok(Err("who called was erased"));
        };
        let has = |agent: &Arc<Agent>| agent.grants.keys().any(|tool| tool.as_str() == name);
        let arguments = match kept(record) {
            Ok(arguments) => arguments,
            // Whatever was sent, a tool that nobody has is still none.
            Err(_) if *was == unknown() && !self.posture.agents.values().any(has) => {
                return Ok(Ok((unknown(), String::new())));
            }
            Err(why) => return Ok(Err(why)),
        };
        let said = |name: &str| who.get(name).and_then(Value::as_str).unwrap_or_default();
        let caller = explain::Who {
            agent: said("actor").to_owned(),
            tenant: record.text("tenant").unwrap_or_default().to_owned(),
            user: said("subject").to_owned(),
            scopes: Vec::new(),
            claims: BTreeMap::new(),
        };
        let clock = Arc::new(explain::Stopped(record.at()));
        let identity = explain::identity(&caller, self.claims.clone(), (said("issuer"), clock.0));
        let Ok((identity, credential)) = identity else {
            return Ok(Err("the posture's claims do not fit what is kept of who called"));
        };
        let monitor = self.monitor(identity, clock)?;
        let met: Caller = match monitor.authenticate(&credential, Door::Http).await {
            Ok(met) => met,
            Err(refused) => return Ok(Ok(refused_as(refused.refusal()))),
        };
        let agent = self.posture.agents.get(&met.principal().actor);
        let grant = agent.and_then(|agent| {
            agent.grants.iter().find_map(|(tool, grant)| (tool.as_str() == name).then_some(grant))
        });
        if grant.is_some_and(|grant| grant.require_scope.is_some()) {
            return Ok(Err("the scopes of tokens are not kept"));
        }
        let mut arguments = arguments.clone();
        let before = ["unknown_tool", "invalid_arguments"];
        let bound = !matches!(was, Fate::Refused(code) if before.contains(&code.as_str()));
        if let (Some(grant), true) = (grant, bound) {
            without_bound(&grant.tool, &mut arguments);
        }
        let proposed = Proposed {
            caller: Arc::new(met),
            tool: name.to_owned(),
            arguments: Value::Object(arguments),
            answers: None,
        };
        let explained = monitor.explain(proposed).await;
        Ok(self.fate(explained, grant.map(|grant| &*grant.tool)))
    }

    /// What an explanation comes to, unless it rests on what nobody knows any more.
    fn fate(
        &self,
        explained: Explained,
        tool: Option<&Tool>,
    ) -> Result<(Fate, String), &'static str> {
        let Explained { passed, refusal } = explained;
        let validated = passed.iter().any(|evidence| matches!(evidence, Evidence::Validated(_)));
        let authorized = passed.iter().any(|evidence| matches!(evidence, Evidence::Authorized(..)));
        if let Some(tool) = tool.filter(|_| validated) {
            let by_claim =
                |rule: &ScopeRule| matches!(rule.caller(), Some(CallerRef::Attribute(_)));
            let written = self.asks_more && self.bundle.written_digest(&tool.name).is_some();
            if tool.scope.iter().any(by_claim) || written {
                return Err("the claims of tokens that it rests on are not kept");
            }
            if authorized && !tool.look_ups.is_empty() {
                return Err("a system would have to be asked");
            }
        }
        Ok(match refusal {
            None => (Fate::Allowed, String::new()),
            Some(Refusal::ApprovalRequired(pending)) => {
                (Fate::Gated(pending.rung.number()), String::new())
            }
            Some(refusal) => refused_as(&refusal),
        })
    }
}

fn unknown() -> Fate {
    Fate::Refused("unknown_tool".to_owned())
}

fn refused_as(refusal: &Refusal) -> (Fate, String) {
    (Fate::Refused(refusal.code().to_owned()), crate::report::visible(&refusal.detail()))
}

/// A call's arguments, or why they are not known.
fn kept(record: &Record) -> Result<&Map<String, Value>, &'static str> {
    let arguments = record.bodies.get("arguments").and_then(Value::as_object);
    let arguments = arguments.ok_or("the arguments are not kept")?;
    let is_digest =
        arguments.len() == 2 && arguments.contains_key("sha256") && arguments.contains_key("bytes");
    if is_digest { Err("the arguments are kept as a digest alone") } else { Ok(arguments) }
}

/// Takes out what the gateway puts in itself: the journal has the arguments with it.
fn without_bound(tool: &Tool, arguments: &mut Map<String, Value>) {
    for rule in &tool.scope {
        if let ScopeRule::Bind { name, .. } = rule {
            arguments.remove(name);
        }
    }
}

impl Tally {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for ((agent, tool, was, is, why), (count, places)) in &self.changed {
            let all = self.calls.get(&(agent.clone(), tool.clone())).copied().unwrap_or_default();
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            let tool = crate::report::visible(tool);
            let (was, is) = (was.told(), is.told());
            lines.push(format!(
                "{count} of {agent}'s {all} {tool} calls would be {is}, were {was}{why}"
            ));
            lines.extend(places.iter().map(|place| format!("    {place}")));
        }
        let changed = self.changed.values().fold(0_u64, |sum, (n, _)| sum.saturating_add(*n));
        let same = self.same;
        lines.push(format!("{changed} calls would be decided otherwise, {same} as they were"));
        let unjudged = &self.unjudged;
        lines.extend(unjudged.iter().map(|(why, n)| format!("{n} could not be judged: {why}")));
        if self.cut {
            lines.push(format!("only the first {RECORDS_MAX} records were read"));
        }
        lines.push(
            "limits and budgets were not counted; nothing was touched or recorded".to_owned(),
        );
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let changed = self.changed.iter();
        let changed = changed.map(|((agent, tool, was, is, why), (count, places))| {
            json!({
                "agent": agent, "tool": tool, "was": was.told(), "would_be": is.told(), "why": why,
                "count": count, "of": self.calls.get(&(agent.clone(), tool.clone())), "examples": places,
            })
        });
        json!({
            "changed": changed.collect::<Vec<_>>(), "same": self.same,
            "not_judged": self.unjudged, "cut": self.cut,
        })
    }
}
