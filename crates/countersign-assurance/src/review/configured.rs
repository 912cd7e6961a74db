//! What posture and deployment say: systems and boundaries, agents, permissions, gates, flow.

use super::{Block, Inputs, Section, listed, picture, text};
use crate::blast::{Blast, Worst};
use crate::permission::PermissionSet;
use crate::picture::picture as drawn;
use countersign_core::ladder::{Approvers, Budget, Gate, Per};
use countersign_core::posture::{Agent, Grant};
use countersign_core::principal::CallerRef;
use countersign_core::quota::Limits;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::{Effect, Flow, Plan, Tool};
use countersign_posture::{
    Backend, Encryption, KeySource, MailEncryption, McpReach, Registered, SystemSpec,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn system(inputs: &Inputs<'_>) -> Section {
    let ground = &inputs.ground;
    let (drawing, told) = picture::boundaries(ground);
    let systems = ground.loaded.systems.values().map(|system| {
        let SystemSpec { name, timeout_ms, bounds, concurrency, .. } = system;
        let (kind, way) = reached(&system.backend);
        vec![
            name.to_string(),
            kind.to_owned(),
            listed(system.backend.references()),
            way,
            format!("{timeout_ms} ms"),
            format!("{} rows, {} bytes", bounds.rows_max, bounds.bytes_max),
            concurrency.to_string(),
        ]
    });
    let mut blocks = vec![
        text(
            "An agent is known by its token and believed in nothing else. The gateway authenticates each call, resolves it among the agent's grants, counts it, checks its arguments, ties them to the caller's tenant, decides by policy, asks systems what they have to confirm, holds back what a person has to agree to, and writes the intent down. Only then does a system hear of it; its answer is checked, screened and recorded before the agent sees it.",
        ),
        Block::Drawing(drawing, told),
        Block::Heading("Systems".to_owned()),
        Block::Table(
            &["system", "kind", "references", "how", "time", "at most", "at once"],
            systems.collect(),
        ),
        Block::Heading("Whose tokens are accepted".to_owned()),
    ];
    let deployment = ground.deployment;
    let issuers = deployment.issuers.iter().map(|issuer| {
        let keys = match &issuer.keys {
            KeySource::File(_) => "a file on this machine",
            KeySource::Url(_) => "fetched",
            KeySource::Discovery => "by discovery",
        };
        let tenants = issuer.tenant.iter().chain(&issuer.tenants);
        let tenants = listed(tenants.map(ToString::to_string));
        let tenants = if tenants == "none" { "any".to_owned() } else { tenants };
        vec![issuer.issuer.to_string(), issuer.audiences.join(", "), keys.to_owned(), tenants]
    });
    let issuers: Vec<_> = issuers.collect();
    if deployment.development_issuer {
        blocks.push(Block::Warning(
            "The issuer for development is on: whoever can reach it on this machine gets a token."
                .to_owned(),
        ));
    }
    if issuers.is_empty() {
        blocks.push(text("No issuer of agents' tokens is named."));
    } else {
        blocks.push(Block::Table(&["issuer", "audience", "keys", "tenants"], issuers));
    }
    Section { id: "system", title: "System and trust boundaries", blocks }
}

/// Where addresses may lie.
fn within<N: ToString>(networks: &[N]) -> String {
    match networks {
        [] => "public addresses".to_owned(),
        networks => format!("within {}", listed(networks.iter().map(ToString::to_string))),
    }
}

/// What a system is, and how it is spoken to.
fn reached(backend: &Backend) -> (&'static str, String) {
    let tls = |plaintext| {
        if plaintext { "may be in the clear" } else { "verified TLS, or on this machine" }
    };
    match backend {
        Backend::Sqlite { .. } => ("SQLite", "a file on this machine".to_owned()),
        Backend::Postgres { tenant_setting, encryption, .. } => {
            let way = match encryption {
                Some(Encryption::VerifyFull) => "verified TLS",
                Some(Encryption::Off) => "unencrypted, on this machine",
                None => "verified TLS, or on this machine",
            };
            ("PostgreSQL", format!("{way}; told the tenant as {tenant_setting}"))
        }
        Backend::Http { networks, plaintext, .. } => {
            ("HTTP API", format!("{}; {}", tls(*plaintext), within(networks)))
        }
        Backend::Email(mail) => {
            let way = match mail.encryption {
                MailEncryption::Tls | MailEncryption::StartTls => "verified TLS",
                MailEncryption::Off => "unencrypted, on this machine",
            };
            ("mail server", format!("{way}; {}", within(&mail.networks)))
        }
        Backend::Mcp(server) => match &server.reach {
            McpReach::Http { networks, plaintext, .. } => {
                ("MCP server", format!("{}; {}", tls(*plaintext), within(networks)))
            }
            McpReach::Stdio { .. } => (
                "MCP server",
                "a program on this machine, without the gateway's environment".to_owned(),
            ),
        },
    }
}

pub(super) fn agents(inputs: &Inputs<'_>) -> Section {
    let loaded = inputs.ground.loaded;
    let rows = loaded.register.iter().map(|entry| {
        let Registered { agent, client, purpose, team, contact, vendors, review_by, .. } = entry;
        let vendors = if vendors.is_empty() { "not said".to_owned() } else { listed(vendors) };
        let issuer = loaded.posture.agents.get(client).and_then(|agent| agent.issuer.as_ref());
        let issuer = issuer.map_or_else(|| "the one there is".to_owned(), ToString::to_string);
        vec![
            agent.to_string(),
            purpose.clone(),
            format!("{team}, {contact}"),
            client.to_string(),
            issuer,
            vendors,
            review_by.map_or_else(|| "not said".to_owned(), |day| day.to_string()),
        ]
    });
    let head = &["agent", "purpose", "owner", "client", "issuer", "vendor", "review by"];
    let blocks = vec![
        text(
            "Each is an identity of its own, with an owner who is a person or a team. A call by a client that is not in this list is refused.",
        ),
        Block::Table(head, rows.collect()),
    ];
    Section { id: "agents", title: "Register of agents", blocks }
}

pub(super) fn permissions(inputs: &Inputs<'_>) -> Section {
    let ground = &inputs.ground;
    let mut blocks = vec![text(
        "This is all that each agent may ask for. What is not in its table does not exist for it. Scope says what ties a call to the caller; of the limits that count a call, all of them for each tenant, the tightest is shown with whose it is.",
    )];
    let set = PermissionSet::of(ground.loaded, inputs.bundle);
    let drawing = drawn(&set);
    blocks.push(Block::Drawing(drawing.inline(), drawing.told.clone()));
    let mut agents: Vec<&Agent> =
        ground.loaded.posture.agents.values().map(AsRef::as_ref).collect();
    agents.sort_by(|a, b| a.id.cmp(&b.id));
    for agent in agents {
        blocks.push(Block::Heading(agent.id.to_string()));
        let file = ground.files.get(&format!("agents/{}.yaml", agent.id));
        let written = file.and_then(|file| file.get("grants")).and_then(Value::as_array);
        let rows = agent.grants.iter().map(|(name, grant)| {
            let mut entries = written.into_iter().flatten();
            let entry = entries.find(|entry| entry["tool"] == name.as_str());
            granted(inputs, (agent, grant), entry)
        });
        let head = &[
            "tool",
            "system",
            "effect",
            "rung",
            "scope",
            "limits and budgets",
            "why",
            "reviewed",
            "stage",
        ];
        blocks.push(Block::Table(head, rows.collect()));
        let whole = limits(&agent.limits);
        blocks.push(text(format!("All tools together, for each tenant: {whole}.")));
        if let Some(may) = set.agents.iter().find(|may| may.agent.agent == agent.id) {
            blocks.push(text("The worst that all of it together comes to, for each tenant:"));
            blocks.push(worst(&may.worst));
        }
    }
    let tenant = limits(&ground.loaded.posture.tenant_limits);
    blocks.push(text(format!("All agents together, for each tenant: {tenant}.")));
    policies(inputs, &mut blocks);
    blocks.push(Block::Heading("What each argument may be".to_owned()));
    let rows = tools(inputs).into_iter().flat_map(arguments);
    blocks.push(Block::Table(&["tool", "argument", "JSON Schema"], rows.collect()));
    Section { id: "permissions", title: "Permission set", blocks }
}

fn granted(
    inputs: &Inputs<'_>,
    (agent, grant): (&Agent, &Grant),
    entry: Option<&Value>,
) -> Vec<String> {
    let Grant { tool, limits: of_grant, .. } = grant;
    let said = |key: &str| {
        let value = entry.and_then(|entry| entry.get(key)).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let reviewed = match tool.effect {
        Effect::Read => String::new(),
        Effect::Reversible | Effect::Persistent | Effect::Irreversible => {
            match (said("reviewed_by"), said("reviewed_on")) {
                (by, on) if by.is_empty() || on.is_empty() => "by nobody".to_owned(),
                (by, on) => format!("{by}, {on}"),
            }
        }
    };
    let now = inputs.ground.now;
    let rung = match tool.ladder.excepted(now) {
        Some(exception) => format!("{} by exception", exception.rung.number()),
        None => tool.ladder.rung.number().to_string(),
    };
    let tenant = &inputs.ground.loaded.posture.tenant_limits;
    let mut bounds = effective([
        ("of the tool", &tool.limits),
        ("of the grant", of_grant),
        ("of the agent", &agent.limits),
        ("of all agents together", tenant),
    ]);
    bounds.extend(tool.ladder.budgets.iter().map(budget));
    vec![
        tool.name.to_string(),
        tool.system.to_string(),
        tool.effect.as_str().to_owned(),
        rung,
        scope(tool),
        if bounds.is_empty() { NO_LIMIT.to_owned() } else { bounds.join("; ") },
        said("reason"),
        reviewed,
        inputs.ground.loaded.stage(&agent.id, &tool.name).name().to_owned(),
    ]
}

/// The arguments that a model may give, and the bounds of each as JSON Schema.
fn arguments(tool: &Tool) -> Vec<Vec<String>> {
    let declared = tool.input.get("properties").and_then(Value::as_object);
    let rows = declared.into_iter().flatten().map(|(name, schema)| {
        let mut bounds = schema.clone();
        bounds.as_object_mut().map(|members| members.remove("description"));
        vec![tool.name.to_string(), name.clone(), bounds.to_string()]
    });
    rows.collect()
}

/// What ties a call to its caller.
fn scope(tool: &Tool) -> String {
    let rules = tool.scope.iter().map(|rule| match rule {
        ScopeRule::Equals { path, caller } => format!("{path} is {}", own(caller)),
        ScopeRule::In { path, caller } => format!("{path} among {}", own(caller)),
        ScopeRule::Bind { name, caller } => format!("{name} from the token: {}", own(caller)),
        ScopeRule::Domains { path, domains } => format!("{path} at {}", listed(domains)),
    });
    let look_ups = tool.look_ups.iter().map(|look_up| {
        format!("{} {} by {}", look_up.path, look_up.asks.as_str(), look_up.query.system)
    });
    let results = tool.result.iter();
    let results =
        results.map(|rule| format!("each row's {} is {}", rule.column, own(&rule.caller)));
    let all: Vec<_> = rules.chain(look_ups).chain(results).collect();
    if all.is_empty() { "the same for everybody".to_owned() } else { all.join("; ") }
}

/// As the posture writes it.
fn own(caller: &CallerRef) -> String {
    match caller {
        CallerRef::Tenant => "caller.tenant".to_owned(),
        CallerRef::Subject => "caller.subject".to_owned(),
        CallerRef::Actor => "caller.actor".to_owned(),
        CallerRef::Attribute(name) => format!("caller.{name}"),
    }
}

const NO_LIMIT: &str = "no limit";

/// A way to count calls, in words, and where its bound stands.
type Count = (&'static str, fn(&Limits) -> Option<u32>);

const COUNTS: [Count; 4] = [
    ("a session", |limits| limits.per_session),
    ("a minute", |limits| limits.per_minute),
    ("an hour", |limits| limits.per_hour),
    ("alike a minute", |limits| limits.identical_per_minute),
];

fn limits(limits: &Limits) -> String {
    let said = COUNTS.iter().filter_map(|(per, of)| Some(format!("{} {per}", of(limits)?)));
    let said: Vec<_> = said.collect();
    if said.is_empty() { NO_LIMIT.to_owned() } else { said.join(", ") }
}

/// For each way to count, the tightest of several and whose it is.
fn effective<const N: usize>(all: [(&str, &Limits); N]) -> Vec<String> {
    let said = COUNTS.iter().filter_map(|(per, of)| {
        let each = all.iter().filter_map(|(whose, limits)| Some((of(limits)?, whose)));
        let (max, whose) = each.min_by_key(|(max, _)| *max)?;
        Some(format!("{max} {per} ({whose})"))
    });
    said.collect()
}

fn worst(Blast { figures }: &Blast) -> Block {
    let rows = figures.iter().map(|(name, worst)| {
        let Worst { call, spans: [minute, hour, day], gated, by } = worst;
        let figures = [call, minute, hour, day]
            .map(|figure| figure.map_or_else(|| "unbounded".to_owned(), |most| most.to_string()));
        let gated = if *gated { ["each after a person agreed"].as_slice() } else { &[] };
        let mut by: Vec<_> = by.iter().map(String::as_str).collect();
        by.dedup();
        let bounded = gated.iter().copied().chain(by).collect::<Vec<_>>().join("; ");
        std::iter::once(name.clone()).chain(figures).chain([bounded]).collect()
    });
    Block::Table(&["of", "a call", "a minute", "an hour", "a day", "bounded by"], rows.collect())
}

/// What people wrote beside the tables: each policy, and on what it bears.
fn policies(inputs: &Inputs<'_>, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("Policies that people wrote".to_owned()));
    blocks.push(text("Each only ever forbids what the tables above allow."));
    let all: Vec<_> = inputs.bundle.authored().collect();
    let rows = all.iter().map(|policy| {
        let mut agents = BTreeSet::new();
        let mut tools = BTreeSet::new();
        for agent in inputs.ground.loaded.posture.agents.values() {
            let of = agent.grants.keys().filter(|tool| inputs.bundle.bears_on(policy.id, tool));
            for tool in of {
                agents.insert(&agent.id);
                tools.insert(tool);
            }
        }
        vec![
            policy.id.to_owned(),
            policy.reason.unwrap_or("not said").to_owned(),
            listed(tools),
            listed(agents),
            policy.file.to_owned(),
        ]
    });
    let head = &["policy", "why", "bears on calls of", "by", "file"];
    blocks.push(Block::Table(head, rows.collect()));
    let texts = all.iter().map(|policy| policy.text.lines().map(str::to_owned).collect());
    blocks.extend(texts.map(Block::Code));
}

fn budget(budget: &Budget) -> String {
    let Budget { of, max, window, per } = budget;
    let per = match per {
        Per::Tenant => "tenant",
        Per::Agent => "tenant and agent",
    };
    format!("{} {max} per {} per {per}", of.name(), window.as_str())
}

/// Each tool that an agent was granted, once.
fn tools<'a>(inputs: &Inputs<'a>) -> Vec<&'a Tool> {
    let agents = inputs.ground.loaded.posture.agents.values();
    let grants = agents.flat_map(|agent| &agent.grants);
    let tools: BTreeMap<_, _> = grants.map(|(name, grant)| (name, grant.tool.as_ref())).collect();
    tools.into_values().collect()
}

pub(super) fn gates(inputs: &Inputs<'_>) -> Section {
    let tools = tools(inputs);
    let rows = tools.iter().filter_map(|tool| Some(gate(tool, tool.ladder.gate.as_ref()?)));
    let effects = tools.iter().filter(|tool| tool.effect != Effect::Read);
    let head = &[
        "tool",
        "rung",
        "who agrees",
        "in their stead",
        "later also",
        "a draft waits",
        "exception",
    ];
    let mut blocks = vec![
        text(
            "Rung 1 reads. Rung 2 happens if a check of its outcome holds. Rung 3 waits for a person. Rung 4 waits for a person who is named, who is not the one on whose behalf it is asked, and who has signed in a moment ago. An approval is of these arguments under this posture, is used once and ends. What a client answers is never an approval.",
        ),
        Block::Table(head, rows.collect()),
        Block::Heading("What shows that an effect took place".to_owned()),
        Block::Table(
            &["tool", "outcome", "rows that may change", "if not"],
            effects.map(|tool| outcome(tool)).collect(),
        ),
        Block::Heading("Who has which role".to_owned()),
    ];
    blocks.push(match &inputs.ground.deployment.people {
        None => Block::Warning(
            "Nobody can sign in: no draft can be approved and no switch be thrown.".to_owned(),
        ),
        Some(people) => {
            let roles = people.roles.iter();
            let roles = roles.map(|(role, groups)| vec![role.as_str().to_owned(), listed(groups)]);
            let of_all = vec!["sees every tenant".to_owned(), listed(&people.all_tenants)];
            let issuer = vec!["signs in at".to_owned(), people.issuer.to_string()];
            Block::Table(&["role", "groups"], roles.chain([of_all, issuer]).collect())
        }
    });
    Section { id: "gates", title: "Gates and approvers", blocks }
}

fn gate(tool: &Tool, gate: &Gate) -> Vec<String> {
    let Gate { approvers, expires_s, decision, escalation, delegates, .. } = gate;
    let exception = tool.ladder.exception.as_ref().map(|exception| {
        let (rung, by) = (exception.rung.number(), &exception.reviewed_by);
        format!("rung {rung} by leave of {by}: {}", exception.reason)
    });
    let later = escalation.as_ref();
    let later = later.map(|later| format!("{} after {}", who(&later.to), span(later.after_s)));
    let point = decision.as_ref();
    let point = point.map(|point| format!("; or the decision point {}", point.system));
    vec![
        tool.name.to_string(),
        tool.ladder.rung.number().to_string(),
        format!("{}{}", who(approvers), point.unwrap_or_default()),
        listed(delegates),
        later.unwrap_or_else(|| "nobody".to_owned()),
        span(*expires_s),
        exception.unwrap_or_default(),
    ]
}

fn outcome(tool: &Tool) -> Vec<String> {
    let ladder = &tool.ladder;
    let rows = match tool.plan {
        Plan::Sql(_) => format!("{} to {}", ladder.affects.min, ladder.affects.max),
        Plan::Http(_) | Plan::Email(_) | Plan::Mcp(_) => String::new(),
    };
    let check = if ladder.check.is_some() { "checked" } else { "not checked" };
    let undo = if ladder.undo.is_some() { "put back by a request" } else { "" };
    vec![tool.name.to_string(), check.to_owned(), rows, undo.to_owned()]
}

fn who(approvers: &Approvers) -> String {
    match approvers {
        Approvers::Named(names) => listed(names),
        Approvers::Group { group, subject: false } => format!("the group {group}"),
        Approvers::Group { group, subject: true } => {
            format!("the group {group}, also whoever it is asked for")
        }
    }
}

fn span(seconds: u32) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

pub(super) fn flow(inputs: &Inputs<'_>) -> Section {
    let tools = tools(inputs);
    let rows = tools.iter().map(|tool| {
        let Flow { reads, holds, sends } = tool.flow;
        let said = [reads.as_str(), holds.as_str(), sends.as_str()].map(str::to_owned);
        std::iter::once(tool.name.to_string()).chain(said).collect()
    });
    let blocks = vec![
        text("What each tool reads, holds and sends, in its author's words. What they left out counts as the strictest that can be of such a tool: untrusted, confidential, and external unless it asks only databases."),
        Block::Warning("Labels are declared and shown. That a session which has read untrusted text climbs a rung is not enforced.".to_owned()),
        Block::Table(&["tool", "reads", "holds", "sends"], rows.collect()),
    ];
    Section { id: "flow", title: "Flow of information", blocks }
}
