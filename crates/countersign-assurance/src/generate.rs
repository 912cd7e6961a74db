//! Cases from the posture alone: for every tool and argument what an attacker would try, each with the
//! twin that is allowed. What is written are ordinary files.

mod budgets;
mod failures;
mod hostile;
mod injection;
mod people;
mod written;

use crate::overlay::Isolated;
use crate::run::{tenants_of, tied};
use crate::sample::{Leaf, Samples, leaves, own_values};
use crate::world::{self, Owned};
use countersign_core::posture::Agent;
use countersign_core::principal::CallerRef;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::{Effect, Tool};
use countersign_posture::Loaded;
use countersign_posture::evals::{Caller, CaseKind, Evals};
pub(crate) use people::STRANGER;
use rusqlite::Connection;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
pub use written::{CAUGHT, GENERATED, GeneratedFile, edited};
use written::{Drafted, Line};

/// What cases are made from.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) samples: Samples<'a>,
    pub(crate) tenants: Vec<String>,
    /// Groups whose members decide for every tenant, by the deployment.
    pub(crate) all_tenants: BTreeSet<String>,
}

/// One tool, one agent that has it, and what is made of them.
pub(crate) struct Subject<'g, 'a> {
    pub(crate) ground: &'g Ground<'a>,
    pub(crate) tool: &'g Tool,
    pub(crate) agent: &'g Agent,
    pub(crate) leaves: Vec<Leaf>,
    cases: Vec<Drafted>,
}

/// The files that the posture asks for, in order.
///
/// # Errors
/// A sentence, if a copy of a database cannot be made.
pub fn generate(
    loaded: &Loaded,
    (isolated, evals): (&Isolated, &Evals),
) -> Result<Vec<GeneratedFile>, String> {
    with_ground(loaded, (isolated, evals), |ground| {
        let mut files: Vec<_> = granted(loaded)
            .into_iter()
            .map(|(tool, agent)| Subject::new(ground, (tool, agent)).file())
            .collect();
        files.extend(people::agents(ground));
        files.retain(|file| file.cases > 0);
        files
    })
}

/// Copies the databases and has a look at them.
pub(crate) fn with_ground<T>(
    loaded: &Loaded,
    (isolated, evals): (&Isolated, &Evals),
    then: impl FnOnce(&Ground<'_>) -> T,
) -> Result<T, String> {
    let mut tenants = tenants_of(evals.cases.iter());
    tenants.extend(listed_tenants(loaded));
    let mut copies: BTreeMap<String, (Connection, Owned)> = BTreeMap::new();
    for (reference, real) in &isolated.databases {
        let failed = |error: rusqlite::Error| format!("a copy of {}: {error}", real.display());
        let database = world::copy_in_memory(real).map_err(failed)?;
        let owned =
            Owned::of(&database, &tenants, &tied(loaded, isolated, reference)).map_err(failed)?;
        copies.insert(reference.clone(), (database, owned));
    }
    let behind = isolated.behind.iter().filter_map(|(system, reference)| {
        let (database, owned) = copies.get(reference)?;
        Some((system.clone(), (database, owned)))
    });
    let people = isolated.data.get("people").and_then(|people| people.get("all_tenants"));
    let groups = people.and_then(Value::as_array).into_iter().flatten();
    let ground = Ground {
        loaded,
        samples: Samples::new(behind.collect(), &evals.answers),
        tenants: tenants.into_iter().collect(),
        all_tenants: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    Ok(then(&ground))
}

/// Tenants that the posture itself names: lists that are compared with the caller's.
fn listed_tenants(loaded: &Loaded) -> BTreeSet<String> {
    let mut tenants = BTreeSet::new();
    for (tool, _) in granted(loaded) {
        for leaf in leaves(tool) {
            let tied =
                tool.scope.iter().filter_map(ScopeRule::path).any(|(path, what)| {
                    *what == CallerRef::Tenant && path.to_string() == leaf.path
                });
            if tied {
                let listed = leaf.listed().into_iter().flatten();
                tenants.extend(listed.filter_map(Value::as_str).map(str::to_owned));
            }
        }
    }
    tenants
}

/// Every tool with the first agent that was granted it.
pub(crate) fn granted(loaded: &Loaded) -> Vec<(&Tool, &Agent)> {
    let mut found: BTreeMap<&str, (&Tool, &Agent)> = BTreeMap::new();
    let mut agents: Vec<_> = loaded.posture.agents.values().collect();
    agents.sort_by_key(|agent| agent.id.clone());
    for agent in agents {
        for (name, grant) in &agent.grants {
            found.entry(name.as_str()).or_insert((&grant.tool, agent));
        }
    }
    found.into_values().collect()
}

impl Ground<'_> {
    /// A caller of this agent and tenant, with values of its own for every attribute that the agent's
    /// tools ask for; the turn decides which.
    pub(crate) fn caller(&self, agent: &Agent, tenant: &str) -> Caller {
        let mut caller = Caller {
            agent: agent.id.to_string(),
            tenant: tenant.to_owned(),
            scopes: agent.grants.values().filter_map(|grant| grant.require_scope.clone()).collect(),
            ..Caller::default()
        };
        caller.scopes.sort();
        caller.scopes.dedup();
        for grant in agent.grants.values() {
            for (name, values) in self.attributes(&grant.tool) {
                let own = values.into_iter().take(2).collect();
                caller.claims.entry(name).or_insert(own);
            }
        }
        caller
    }

    /// For each attribute that a tool's scope compares with: what it could be.
    fn attributes(&self, tool: &Tool) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for (path, what) in tool.scope.iter().filter_map(ScopeRule::path) {
            let CallerRef::Attribute(name) = what else { continue };
            let leaf = leaves(tool).into_iter().find(|leaf| leaf.path == path.to_string());
            let Some(leaf) = leaf else { continue };
            let listed = leaf.listed().into_iter().flatten().filter_map(Value::as_str);
            let mut values: Vec<_> = listed.map(str::to_owned).collect();
            values.extend(self.samples.fitting(&leaf).into_iter().map(|(text, _)| text));
            found.push((name.clone(), values));
        }
        found
    }
}

impl<'g, 'a> Subject<'g, 'a> {
    pub(crate) fn new(ground: &'g Ground<'a>, (tool, agent): (&'g Tool, &'g Agent)) -> Self {
        Self { ground, tool, agent, leaves: leaves(tool), cases: Vec::new() }
    }

    fn file(mut self) -> GeneratedFile {
        self.allowed();
        self.foreign();
        self.malformed();
        self.limits();
        self.gates();
        self.injections();
        self.failures();
        self.budgets();
        let about = format!(
            "What an agent may not get from `{}`, and that it gets what it may.",
            self.tool.name
        );
        GeneratedFile::new(&format!("{GENERATED}{}", self.tool.name), &about, self.cases)
    }

    /// Whose turn it is: cases are spread over tenants, because limits are.
    pub(crate) fn turn(&self) -> Caller {
        let count = self.ground.tenants.len().max(1);
        let tenant = self.ground.tenants.get(self.cases.len().checked_rem(count).unwrap_or(0));
        self.ground.caller(self.agent, tenant.map_or("", String::as_str))
    }

    /// How an allowed call ends.
    pub(crate) fn allowed_end(&self) -> &'static str {
        if self.gated() { "approval_required" } else { "completed" }
    }

    pub(crate) fn gated(&self) -> bool {
        self.tool.ladder.least().number() >= 3
    }

    /// Whether the caller's own decide about a place, by rule or by look-up.
    pub(crate) fn scoped(&self, path: &str) -> bool {
        let rules = self.tool.scope.iter().filter_map(ScopeRule::at);
        let asked = self.tool.look_ups.iter().map(|look_up| &look_up.path);
        rules.chain(asked).any(|known| known.to_string() == path)
    }

    /// The caller's own values of a place that a rule compares with them.
    pub(crate) fn tied_to(&self, path: &str, caller: &Caller) -> Option<Vec<String>> {
        let rules = self.tool.scope.iter().filter_map(ScopeRule::path);
        let mut found = rules.filter(|(known, _)| known.to_string() == path);
        found.next().map(|(_, what)| own_values(what, caller))
    }

    /// A case that tries something, and then the allowed twin.
    pub(crate) fn try_this(
        &mut self,
        (name, shows, kind): (&str, String, CaseKind),
        caller: &Caller,
        (arguments, end): (Map<String, Value>, &str),
    ) {
        let Some(twin) = self.ground.samples.own(self.tool, caller) else { return };
        let tool = self.tool.name.as_str();
        let allowed = self.allowed_end();
        let script = vec![Line::call(tool, arguments, end), Line::call(tool, twin, allowed)];
        // Of two that both end well, both were carried out.
        let times = 1 + u32::from(end == "completed");
        let mut drafted = Drafted::new((name, shows, kind), caller, script);
        // What does not fit is refused before any system is asked.
        if kind == CaseKind::Malformed && end != allowed {
            self.asks().into_iter().for_each(|asked| drafted.asked(asked));
        }
        match self.gated() {
            true => drafted.never(tool),
            false => drafted.executed(tool, times),
        }
        self.push(drafted);
    }

    /// How many statements and requests an allowed call is; `None` where answers are kept.
    fn asks(&self) -> Option<usize> {
        let look_ups = self.tool.look_ups.iter();
        if look_ups.clone().any(|look_up| look_up.query.cached_ms.is_some()) {
            return None;
        }
        let looked_up = look_ups.len();
        Some(match self.tool.effect {
            _ if self.gated() => looked_up,
            Effect::Read => looked_up.saturating_add(1),
            // Within the effect's transaction it is looked up once more.
            Effect::Reversible | Effect::Persistent | Effect::Irreversible => looked_up
                .saturating_mul(2)
                .saturating_add(1)
                .saturating_add(usize::from(self.tool.ladder.check.is_some())),
        })
    }

    pub(crate) fn push(&mut self, mut drafted: Drafted) {
        let taken: BTreeSet<_> = self.cases.iter().map(|case| case.name.clone()).collect();
        drafted.rename(&taken);
        self.cases.push(drafted);
    }

    /// What is allowed works, for every tenant.
    fn allowed(&mut self) {
        for tenant in self.ground.tenants.clone() {
            let caller = self.ground.caller(self.agent, &tenant);
            let Some(arguments) = self.ground.samples.own(self.tool, &caller) else { continue };
            let tool = self.tool.name.to_string();
            let name = format!("allowed-{tenant}");
            let shows = format!("{tenant} gets its own from `{tool}`.");
            let script = vec![Line::call(&tool, arguments, self.allowed_end())];
            let mut drafted = Drafted::new((&name, shows, CaseKind::Normal), &caller, script);
            match self.gated() {
                true => drafted.never(&tool),
                false => drafted.executed(&tool, 1),
            }
            self.push(drafted);
        }
    }
}
