//! `countersign explain`: what would be decided of a call, stage by stage, and by which line.

mod account;
#[cfg(test)]
mod tests;

use super::{At, End};
use crate::assemble::{self, Read};
use crate::here::{self, Systems};
use crate::machine::{SystemClock, SystemEntropy};
use crate::render::{self, Doing, Failure};
use crate::report;
use account::{Account, Ground, NOTES};
use countersign_connectors::Connectors;
use countersign_core::args;
use countersign_core::bound::BODY_BYTES_MAX;
use countersign_core::call::{Door, Monitor};
use countersign_core::id::{IssuerId, SystemName, Timestamp};
use countersign_core::port::{Clock, Credential, Entropy};
use countersign_core::posture::Posture;
use countersign_gateway::identity::development::{DevelopmentIssuer, TTL_S_MAX, TokenRequest};
use countersign_gateway::identity::{Agents, Claims, Identity, SignIn};
use countersign_store::MemoryJournal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, stdin};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    at: At,
    /// The agent's client id
    #[arg(long, required_unless_present = "call", conflicts_with = "call")]
    agent: Option<String>,
    /// Whose data it may touch
    #[arg(long, required_unless_present = "call", conflicts_with = "call")]
    tenant: Option<String>,
    /// On whose behalf it calls
    #[arg(long, required_unless_present = "call", conflicts_with = "call")]
    user: Option<String>,
    /// A further claim that the posture names, e.g. `depots=HAM,BER`
    #[arg(long = "claim", value_name = "NAME=VALUE,…", value_parser = super::token::claim)]
    #[arg(conflicts_with = "call")]
    claims: Vec<(String, Vec<String>)>,
    /// A scope that the token carries; may be given several times
    #[arg(long = "scope", conflicts_with = "call")]
    scopes: Vec<String>,
    /// The tool
    #[arg(long, required_unless_present = "call", conflicts_with = "call")]
    tool: Option<String>,
    /// The arguments, a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "call")]
    arguments: Option<String>,
    /// The whole call as JSON, from a file or from `-`: `{"principal": {"agent": …, "tenant": …,
    /// "user": …, "scopes": […], "claims": {…}}, "tool": …, "arguments": {…}}`
    #[arg(long, value_name = "FILE")]
    call: Option<String>,
    /// When it would be made, e.g. `2026-11-23T10:00:00Z`; now if left out
    #[arg(long = "at", value_name = "TIME", value_parser = super::audit::time)]
    when: Option<Timestamp>,
    /// How it is told
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// A call, and who makes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    principal: Who,
    tool: String,
    #[serde(default)]
    arguments: Value,
}

/// What a token says of a caller.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Who {
    pub(super) agent: String,
    pub(super) tenant: String,
    pub(super) user: String,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    #[serde(default)]
    pub(super) claims: BTreeMap<String, Vec<String>>,
}

impl Explain {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let call = self.call()?;
        let (read, mut findings) = assemble::read(&self.at.file())?;
        let Some(Read { posture, deployment }) = read else {
            let not_shown = report::bound(&mut findings);
            match self.format {
                Format::Text => render::findings(&findings),
                Format::Json => {
                    let summary = json!({ "decided": null, "not_shown": not_shown });
                    render::line(report::json(&findings, &summary));
                }
            }
            return Err(Failure::new("a posture with errors decides nothing"));
        };
        let assemble::Posture { mut loaded, bundle, systems } = posture;
        loaded.keep_in(deployment.environment);
        let clock = Arc::new(Stopped(self.when.unwrap_or_else(|| SystemClock.now())));
        let claims = assemble::claims(&loaded.claims);
        // An agent that calls with one issuer's tokens is asked about as with one of those.
        let agents = loaded.posture.agents.iter();
        let agent = agents.filter(|(client, _)| client.as_str() == call.principal.agent);
        let issuer = agent.filter_map(|(_, agent)| agent.issuer.as_ref()).next();
        let issuer = issuer.map_or("countersign:explain", IssuerId::as_str);
        let (identity, credential) = identity(&call.principal, claims, (issuer, clock.0))?;
        // Only these are reached, so only what they need of the deployment has to be there.
        let asked = looked_up(&loaded.posture, &call.tool);
        let Systems { at: mut systems, missing, .. } = systems;
        if let Some(finding) = asked.iter().filter_map(|name| missing.get(name)).flatten().next() {
            return Err(Failure::new(finding.message.clone()));
        }
        systems.retain(|name, _| asked.contains(name));
        if !systems.is_empty() {
            here::make_logs(&deployment)?;
        }
        let bundle = Arc::new(bundle);
        // It does not reach beyond this process: nothing is recorded.
        let journal = Arc::new(MemoryJournal::new(clock.clone(), Arc::new(SystemEntropy)));
        let nobody = Agents { pointers: Vec::new(), clients: BTreeSet::new() };
        let monitor = Monitor {
            posture: Arc::new(loaded.posture),
            authenticator: Arc::new(identity),
            pdp: bundle.clone(),
            journal: journal.clone(),
            register: journal,
            people: Arc::new(SignIn::new(None, nobody).doing("nobody decides here")?),
            // An explanation holds no permit: these answer declared look-ups and nothing else.
            connector: Arc::new(Connectors::new(systems, clock.clone())),
            clock,
            entropy: Arc::new(SystemEntropy),
        };
        let runtime = super::serve::runtime()?;
        let met = runtime.block_on(monitor.authenticate(&credential, Door::Http));
        let ground = Ground {
            places: &loaded.places,
            register: &loaded.register,
            claims: &loaded.claims,
            bundle: &bundle,
        };
        let account = runtime.block_on(Account::of(ground, &call, &monitor, met));
        self.tell(&call, &monitor, &account);
        Ok(if account.explained().refusal.is_none() { End::Fine } else { End::Findings })
    }

    fn tell(&self, call: &Call, monitor: &Monitor, account: &Account) {
        let Call { principal: Who { agent, tenant, user, scopes, claims }, tool, arguments } = call;
        let now = monitor.clock.now();
        let at = jiff::Timestamp::from_microsecond(now.micros())
            .map_or_else(|_beyond| now.micros().to_string(), |at| at.to_string());
        let posture = monitor.posture.digest;
        match self.format {
            Format::Text => {
                let verdict = account.explained().refusal.as_ref().map_or_else(
                    || "allowed".to_owned(),
                    |refusal| format!("refused as `{}`", refusal.code()),
                );
                let call = report::visible(&format!(
                    "{agent} calling {tool} for {user} of {tenant}: {verdict}"
                ));
                render::line(format_args!(
                    "{call}\nat {at} under posture {posture}\n\n{}\n{}",
                    account.text(),
                    NOTES.join("; ")
                ));
            }
            Format::Json => render::line(json!({
                "call": {
                    "principal": {
                        "agent": agent, "tenant": tenant, "user": user, "scopes": scopes, "claims": claims,
                    },
                    "tool": tool,
                    "arguments": arguments,
                },
                "at": at,
                "posture": posture.to_string(),
                "decided": account.json(),
            })),
        }
    }

    fn call(&self) -> Result<Call, Failure> {
        let Self { agent, tenant, user, tool, scopes, claims, arguments, call, .. } = self;
        if let Some(file) = call {
            let value = read(file).doing(file)?;
            let value = args::parse(&value).doing(file)?;
            return serde_json::from_value(value).doing(file);
        }
        // Clap asks for all four where there is no `--call`.
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        let arguments = match arguments {
            Some(json) => args::parse(json.as_bytes()).doing("--arguments")?,
            None => Value::Null,
        };
        let principal = Who {
            agent: text(agent),
            tenant: text(tenant),
            user: text(user),
            scopes: scopes.clone(),
            claims: claims.iter().cloned().collect(),
        };
        Ok(Call { principal, tool: text(tool), arguments })
    }
}

/// The systems that a tool's look-ups ask.
fn looked_up(posture: &Posture, tool: &str) -> BTreeSet<SystemName> {
    let grants = posture.agents.values().flat_map(|agent| &agent.grants);
    let granted = grants.filter(|(name, _)| name.as_str() == tool);
    let rules = granted.flat_map(|(_, grant)| &grant.tool.look_ups);
    rules.map(|rule| rule.query.system.clone()).collect()
}

/// A file, or standard input for `-`: one byte more than is allowed tells that it is too long.
pub(super) fn read(file: &str) -> std::io::Result<Vec<u8>> {
    let max = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    match file {
        "-" => stdin().take(max).read_to_end(&mut bytes)?,
        path => File::open(path)?.take(max).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// A caller of whom a token says this, and who accepts it. The token is made and read as any other
/// is, so that the posture's mapping of claims has its say; its key never leaves this process.
pub(super) fn identity(
    who: &Who,
    claims: Claims,
    (issuer, now): (&str, Timestamp),
) -> Result<(Identity, Credential), Failure> {
    let Who { agent, tenant, user, scopes, claims: attributes } = who;
    let request = TokenRequest {
        actor: agent.clone(),
        tenant: tenant.clone(),
        subject: user.clone(),
        session: None,
        scopes: scopes.clone(),
        attributes: attributes.clone(),
        ttl_s: TTL_S_MAX,
    };
    let name = || issuer.to_owned();
    let issuer = DevelopmentIssuer::new(&SystemEntropy, name(), name()).doing("no key")?;
    let mut id = [0; 16];
    SystemEntropy.fill(&mut id);
    let token = issuer.mint(&request, &claims, now, id).doing("no token can say this")?;
    let identity = Identity::new(vec![issuer.issuer_config()], claims).doing("the claims")?;
    Ok((identity, Credential::bearer(token)))
}

/// The moment that is asked about.
#[derive(Debug)]
pub(super) struct Stopped(pub(super) Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}
