//! The controls there are, and what has to be configured for each to be in force.

use super::{Ground, Lack, State};
use crate::review::Kind;
use countersign_core::id::ToolName;
use countersign_core::ladder::Approvers;
use countersign_core::person::Role;
use countersign_core::quota::Limits;
use countersign_core::tool::{Effect, Plan, Rung, Tool};
use countersign_posture::evals::CaseKind;
use countersign_posture::{
    Auth, Backend, ExportTo, McpReach, Place, Reference, SystemSpec, coverage,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Something that stands between an agent and production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "what each is stands in catalogues/controls.yaml")]
pub enum Control {
    LeastPrivilege,
    ReviewedGrants,
    TenantScope,
    StrictInput,
    Approval,
    SecondPerson,
    PostCondition,
    Limits,
    TenantLimits,
    Budgets,
    Errors,
    Audit,
    Export,
    Alerts,
    Screening,
    Destinations,
    Encryption,
    PinnedServers,
    ServerIsolation,
    VendorRegister,
    SignOff,
    Evaluation,
    KillSwitch,
    Identity,
    Issuer,
    Credentials,
    SessionTaint,
}

/// The deployment's own file.
const DEPLOYMENT: &str = "countersign.yaml";

impl Control {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::LeastPrivilege,
        Self::ReviewedGrants,
        Self::TenantScope,
        Self::StrictInput,
        Self::Approval,
        Self::SecondPerson,
        Self::PostCondition,
        Self::Limits,
        Self::TenantLimits,
        Self::Budgets,
        Self::Errors,
        Self::Audit,
        Self::Export,
        Self::Alerts,
        Self::Screening,
        Self::Destinations,
        Self::Encryption,
        Self::PinnedServers,
        Self::ServerIsolation,
        Self::VendorRegister,
        Self::SignOff,
        Self::Evaluation,
        Self::KillSwitch,
        Self::Identity,
        Self::Issuer,
        Self::Credentials,
        Self::SessionTaint,
    ];

    /// As the catalogues write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastPrivilege => "least-privilege",
            Self::ReviewedGrants => "reviewed-grants",
            Self::TenantScope => "tenant-scope",
            Self::StrictInput => "strict-input",
            Self::Approval => "approval",
            Self::SecondPerson => "second-person",
            Self::PostCondition => "post-condition",
            Self::Limits => "limits",
            Self::TenantLimits => "tenant-limits",
            Self::Budgets => "budgets",
            Self::Errors => "errors",
            Self::Audit => "audit",
            Self::Export => "export",
            Self::Alerts => "alerts",
            Self::Screening => "screening",
            Self::Destinations => "destinations",
            Self::Encryption => "encryption",
            Self::PinnedServers => "pinned-servers",
            Self::ServerIsolation => "server-isolation",
            Self::VendorRegister => "vendor-register",
            Self::SignOff => "sign-off",
            Self::Evaluation => "evaluation",
            Self::KillSwitch => "kill-switch",
            Self::Identity => "identity",
            Self::Issuer => "issuer",
            Self::Credentials => "credentials",
            Self::SessionTaint => "session-taint",
        }
    }

    /// Whether it is in force, and what keeps it from that.
    pub(super) fn state(self, ground: &Ground<'_>) -> (State, Vec<Lack>) {
        let found = match self {
            Self::LeastPrivilege
            | Self::StrictInput
            | Self::Limits
            | Self::Errors
            | Self::Audit
            | Self::Screening
            | Self::Destinations
            | Self::PinnedServers
            | Self::Identity => return (State::Fixed, Vec::new()),
            Self::ReviewedGrants => reviewed_grants(ground),
            Self::TenantScope => tenant_scope(ground),
            Self::Approval => approval(ground),
            Self::SecondPerson => second_person(ground),
            Self::PostCondition => post_condition(ground),
            Self::TenantLimits => tenant_limits(ground),
            Self::Budgets => budgets(ground),
            Self::Export => export(ground),
            Self::Alerts => alerts(ground),
            Self::Encryption => encryption(ground),
            Self::ServerIsolation => server_isolation(ground),
            Self::VendorRegister => vendor_register(ground),
            Self::SignOff => whole(ground.unsigned.map(|why| lack(why, "posture.lock"))),
            Self::Evaluation => evaluation(ground),
            Self::KillSwitch => kill_switch(ground),
            Self::Issuer => {
                whole(ground.deployment.development_issuer.then(|| {
                    missing("`development_issuer` gives a token to anybody on the machine")
                }))
            }
            Self::Credentials => credentials(ground),
            Self::SessionTaint => whole(Some(Lack {
                why: "no session is tainted yet: labels say what flows, and nothing enforces them"
                    .to_owned(),
                place: "not built".to_owned(),
            })),
        };
        let lacks: Vec<_> = found.iter().flatten().cloned().collect();
        let state = match lacks.len() {
            0 if found.is_empty() && self.is_of_things() => State::Idle,
            0 => State::InForce,
            all if all == found.len() => State::Off,
            _ => State::Partly,
        };
        (state, lacks)
    }
}

impl Control {
    /// Whether it is for tools, grants or agents of a kind, of which there may be none.
    const fn is_of_things(self) -> bool {
        matches!(
            self,
            Self::ReviewedGrants
                | Self::TenantScope
                | Self::Approval
                | Self::SecondPerson
                | Self::PostCondition
                | Self::Budgets
                | Self::VendorRegister
        )
    }
}

/// For each thing that a control is for, what it lacks. Nothing to be for is nothing lacking.
type Found = Vec<Option<Lack>>;

fn whole(lacking: Option<Lack>) -> Found {
    vec![lacking]
}

/// One that holds for all or does not count.
fn all_or_none(found: Found) -> Found {
    found.into_iter().filter(Option::is_some).collect()
}

fn lack(why: &str, place: &str) -> Lack {
    Lack { why: why.to_owned(), place: place.to_owned() }
}

fn missing(why: &str) -> Lack {
    lack(why, DEPLOYMENT)
}

/// A file and its line, as the posture's folder has it.
fn at(place: Option<&Place>, else_file: &str) -> String {
    match place {
        Some(place) => {
            let (line, _) = place.source.position(place.span.start);
            format!("{}:{line}", place.source.path())
        }
        None => else_file.to_owned(),
    }
}

/// Each tool that an agent was granted, once.
fn tools<'a>(ground: &Ground<'a>) -> BTreeMap<&'a ToolName, &'a Tool> {
    let agents = ground.loaded.posture.agents.values();
    let grants = agents.flat_map(|agent| &agent.grants);
    grants.map(|(name, grant)| (name, grant.tool.as_ref())).collect()
}

/// What each of some tools lacks, said where `key` stands in its file.
fn of_tools(
    ground: &Ground<'_>,
    concerned: impl Fn(&Tool) -> bool,
    (key, lacking): (&str, impl Fn(&Tool) -> Option<String>),
) -> Found {
    let tools = tools(ground).into_iter().filter(|(_, tool)| concerned(tool));
    let found = tools.map(|(name, tool)| {
        let why = lacking(tool)?;
        let places = &ground.loaded.places;
        let place = places.tool(name.as_str(), key);
        let place = place.or_else(|| places.tool(name.as_str(), "effect"));
        Some(Lack { why, place: at(place.as_ref(), &format!("tools/{name}.yaml")) })
    });
    found.collect()
}

fn reviewed_grants(ground: &Ground<'_>) -> Found {
    let mut found = Vec::new();
    for agent in ground.loaded.posture.agents.values() {
        let file = format!("agents/{}.yaml", agent.id);
        let written = ground.files.get(&file).and_then(|file| file.get("grants"));
        for (name, _) in agent.grants.iter().filter(|(_, grant)| grant.tool.effect != Effect::Read)
        {
            let entry = written.and_then(Value::as_array).into_iter().flatten();
            let mut entry = entry.filter(|entry| entry["tool"] == name.as_str());
            let reviewed = entry.next().is_some_and(|entry| {
                entry.get("reviewed_by").is_some() && entry.get("reviewed_on").is_some()
            });
            let place = ground.loaded.places.grant(agent.id.as_str(), name.as_str());
            found.push((!reviewed).then(|| Lack {
                why: format!("nobody reviewed that `{}` may use `{name}`", agent.id),
                place: at(place.as_ref(), &file),
            }));
        }
    }
    found
}

fn tenant_scope(ground: &Ground<'_>) -> Found {
    let lacking = |tool: &Tool| {
        let tied = !(tool.scope.is_empty() && tool.look_ups.is_empty() && tool.result.is_empty());
        (!tied).then(|| {
            format!("`{}` reads the same for every tenant: its author says why", tool.name)
        })
    };
    of_tools(ground, |_| true, ("public", lacking))
}

fn gated(tool: &Tool) -> bool {
    tool.ladder.rung >= Rung::CONFIRMED || tool.effect.rung() >= Rung::CONFIRMED
}

fn approval(ground: &Ground<'_>) -> Found {
    if ground.deployment.people.is_none() && tools(ground).values().any(|tool| gated(tool)) {
        return whole(Some(missing("nobody can sign in, so nobody decides about a draft")));
    }
    let lacking = |tool: &Tool| {
        let exception = tool.ladder.excepted(ground.now)?;
        (exception.rung < Rung::CONFIRMED)
            .then(|| format!("an exception lets `{}` happen without a person", tool.name))
    };
    of_tools(ground, gated, ("exception", lacking))
}

/// Where people are named, it holds whatever is written.
fn second_person(ground: &Ground<'_>) -> Found {
    fn group(tool: &Tool) -> Option<bool> {
        match tool.ladder.gate.as_ref()?.approvers {
            Approvers::Group { subject, .. } => Some(subject),
            Approvers::Named(_) => None,
        }
    }
    let lacking = |tool: &Tool| {
        group(tool)
            .filter(|subject| *subject)
            .map(|_| format!("whoever `{}` is asked for may agree to it", tool.name))
    };
    of_tools(ground, |tool| group(tool).is_some(), ("gate", lacking))
}

/// On the second step nothing happens without one. Mail is handed over or not: there is nothing to look at
/// afterwards.
fn post_condition(ground: &Ground<'_>) -> Found {
    let concerned =
        |tool: &Tool| tool.ladder.least() > Rung::CHECKED && !matches!(tool.plan, Plan::Email(_));
    let lacking = |tool: &Tool| {
        tool.ladder.check.is_none().then(|| format!("nothing checks what `{}` did", tool.name))
    };
    of_tools(ground, concerned, ("check", lacking))
}

fn tenant_limits(ground: &Ground<'_>) -> Found {
    let none = ground.loaded.posture.tenant_limits == Limits::default();
    let why = "`tenant_limits` is not there: only each agent by itself is limited";
    whole(none.then(|| lack(why, "posture.yaml")))
}

fn budgets(ground: &Ground<'_>) -> Found {
    let lacking = |tool: &Tool| {
        let none = tool.ladder.budgets.is_empty();
        none.then(|| {
            format!("what `{}` comes to by many calls has no bound but their number", tool.name)
        })
    };
    let concerned =
        |tool: &Tool| tool.effect == Effect::Irreversible || !tool.ladder.budgets.is_empty();
    of_tools(ground, concerned, ("budget", lacking))
}

/// A file on this machine, or what reads its output, is a second copy; nobody has taken it away yet.
fn export(ground: &Ground<'_>) -> Found {
    let exporters = &ground.deployment.relay.exporters;
    if exporters.is_empty() {
        let why = "`exporters` names nothing: the only copy of the journal is on this machine";
        return whole(Some(missing(why)));
    }
    let here = exporters.iter().map(|exporter| {
        let to = match exporter.to {
            ExportTo::File(_) => "a file on this machine",
            ExportTo::Stdout => "standard output on this machine",
        };
        Some(missing(&format!(
            "`{}` hands records to {to}: until something else takes them away, whoever holds the machine can change them",
            exporter.name
        )))
    });
    std::iter::once(None).chain(here).collect()
}

fn alerts(ground: &Ground<'_>) -> Found {
    let relay = &ground.deployment.relay;
    if !relay.destinations.iter().any(|destination| destination.alerts) {
        return whole(Some(missing("`notify` names nobody who is told of alerts")));
    }
    let rules = countersign_core::alert::Rule::ALL.iter().map(|rule| {
        let off = !relay.rules.contains_key(rule);
        off.then(|| missing(&format!("the rule `{}` is switched off", rule.as_str())))
    });
    rules.collect()
}

fn systems<'a>(ground: &Ground<'a>, lacking: impl Fn(&'a SystemSpec) -> Option<String>) -> Found {
    let found = ground.loaded.systems.values().map(|system| {
        Some(Lack { why: lacking(system)?, place: at(Some(&system.place), "systems") })
    });
    found.collect()
}

fn encryption(ground: &Ground<'_>) -> Found {
    all_or_none(systems(ground, |system| {
        let plain = match &system.backend {
            Backend::Http { plaintext, .. } => *plaintext,
            Backend::Mcp(server) => {
                matches!(server.reach, McpReach::Http { plaintext: true, .. })
            }
            // A database or a mail server without it is on the same machine: all else is refused.
            Backend::Sqlite { .. } | Backend::Postgres { .. } | Backend::Email(_) => false,
        };
        plain.then(|| format!("`{}` may be spoken to in the clear on other machines", system.name))
    }))
}

fn server_isolation(ground: &Ground<'_>) -> Found {
    all_or_none(systems(ground, |system| match &system.backend {
        Backend::Mcp(server) => server
            .shared
            .as_ref()
            .map(|why| format!("`{}` serves all callers by one session: {why}", system.name)),
        Backend::Sqlite { .. }
        | Backend::Postgres { .. }
        | Backend::Http { .. }
        | Backend::Email(_) => None,
    }))
}

/// As `check` and `vendor check` see it, in production.
fn vendor_register(ground: &Ground<'_>) -> Found {
    let covered = coverage(ground.loaded).into_iter().map(|covered| {
        let lacks = covered.lacks(ground.now);
        let (_, place) = lacks.first()?;
        let place = at(Some(place), "vendors");
        let why: Vec<_> = lacks.into_iter().map(|(why, _)| why).collect();
        Some(Lack { why: why.join("; "), place })
    });
    covered.collect()
}

fn evaluation(ground: &Ground<'_>) -> Found {
    let kinds: BTreeSet<_> = ground.cases.iter().map(|case| case.kind).collect();
    let found = CaseKind::ALL.iter().map(|kind| {
        let none = !kinds.contains(kind);
        none.then(|| lack(&format!("there is no case of the kind `{}`", kind.as_str()), "evals"))
    });
    match ground.lacks(Kind::Eval) {
        None => found.collect(),
        // Cases that nothing shows to hold are words.
        Some(why) => all_or_none(found.chain([Some(lack(&why, "evidence/eval.json"))]).collect()),
    }
}

fn kill_switch(ground: &Ground<'_>) -> Found {
    let operators = ground.deployment.people.as_ref().and_then(|p| p.roles.get(&Role::Operator));
    let none = operators.is_none_or(BTreeSet::is_empty);
    whole(none.then(|| missing("no group has the role `operator`: nobody can stop an agent by it")))
}

/// What opens a system must not stand where the deployment is reviewed.
fn credentials(ground: &Ground<'_>) -> Found {
    let mut found = Vec::new();
    for system in ground.loaded.systems.values() {
        for name in secrets(&system.backend) {
            let reference = ground.deployment.references.get(name);
            let written = matches!(reference, Some(Reference::Value(_)));
            let place = ground.deployment.written.references.get(name);
            found.push(written.then(|| Lack {
                why: format!(
                    "`{name}`, which opens `{}`, stands in the deployment's file",
                    system.name
                ),
                place: at(place, DEPLOYMENT),
            }));
        }
    }
    all_or_none(found)
}

/// The references of a system that hold something secret.
pub(crate) fn secrets(backend: &Backend) -> Vec<&str> {
    fn of(auth: &Auth) -> Vec<&str> {
        match auth {
            Auth::Bearer(token) => vec![token],
            Auth::Basic { password, .. } => vec![password],
            Auth::Header { value, .. } => vec![value],
        }
    }
    match backend {
        Backend::Sqlite { .. } => Vec::new(),
        Backend::Postgres { connection, .. } => vec![connection],
        Backend::Http { auth, .. } => auth.as_ref().map(of).unwrap_or_default(),
        Backend::Email(mail) => {
            mail.auth.as_ref().map(|(_, password)| vec![password.as_str()]).unwrap_or_default()
        }
        Backend::Mcp(server) => match &server.reach {
            McpReach::Http { auth, .. } => auth.as_ref().map(of).unwrap_or_default(),
            McpReach::Stdio { environment, .. } => {
                environment.values().map(String::as_str).collect()
            }
        },
    }
}
