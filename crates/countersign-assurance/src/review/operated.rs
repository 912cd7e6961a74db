//! How it is run: credentials, the runbook, what is kept, what is not seen, what is not done, who signed.

use super::{Block, Inputs, Open, Section, evidence, listed, text};
use crate::threat::{Control, Model, Verdict, secrets};
use countersign_posture::Reference;
use countersign_posture::lock::Signed;
use countersign_posture::sign_off::fingerprint;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn credentials(inputs: &Inputs<'_>) -> Section {
    let deployment = inputs.ground.deployment;
    let mut users: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut secret = BTreeSet::new();
    for system in inputs.ground.loaded.systems.values() {
        secret.extend(secrets(&system.backend));
        for reference in system.backend.references() {
            users.entry(reference).or_default().insert(format!("system {}", system.name));
        }
    }
    for destination in &deployment.relay.destinations {
        for reference in destination.references() {
            secret.insert(reference);
            users.entry(reference).or_default().insert(format!("destination {}", destination.name));
        }
    }
    let rows = deployment.references.iter().map(|(name, reference)| {
        let (kept, rotated) = match reference {
            Reference::Value(_) => ("in the deployment's file", "edit the file and restart"),
            Reference::Env(_) => ("a variable of the environment", "set it and restart"),
            Reference::File(_) => ("a file of its own", "replace the file, then reload by SIGHUP"),
        };
        let opens = if secret.contains(name.as_str()) { "yes" } else { "no: it says where" };
        let used = users.get(name.as_str()).map_or_else(|| "nothing".to_owned(), listed);
        vec![name.clone(), used, opens.to_owned(), kept.to_owned(), rotated.to_owned()]
    });
    let blocks = vec![
        text(
            "The posture names references alone; the deployment says where each is kept, and the gateway reads it when it is spent. No value is in this document, in what a model reads, in an error or in a record. The journal's signing key is made by `countersign init` and stays on the machine.",
        ),
        Block::Table(&["reference", "used by", "secret", "kept as", "rotated"], rows.collect()),
    ];
    Section { id: "credentials", title: "Credentials and their rotation", blocks }
}

pub(super) fn runbook(inputs: &Inputs<'_>) -> Section {
    let ground = &inputs.ground;
    let url = &ground.deployment.public_url;
    let mut stops = vec![format!("countersign login --gateway {url}")];
    let agents = ground.loaded.register.iter().map(|entry| &entry.agent);
    stops.extend(agents.map(|a| format!("countersign agents suspend {a} --reason \"…\"")));
    let effects = ground.loaded.posture.agents.values().flat_map(|agent| &agent.grants);
    let effects = effects
        .filter(|(_, grant)| grant.tool.effect != countersign_core::tool::Effect::Read)
        .map(|(name, _)| name);
    let effects: BTreeSet<_> = effects.collect();
    let tools =
        effects.iter().map(|tool| format!("countersign switch off --tool {tool} --reason \"…\""));
    let systems = ground
        .loaded
        .systems
        .keys()
        .map(|system| format!("countersign switch off --system {system} --reason \"…\""));
    let operators = ground
        .deployment
        .people
        .as_ref()
        .and_then(|people| people.roles.get(&countersign_core::person::Role::Operator));
    let mut blocks = vec![
        Block::Heading("Stop an agent".to_owned()),
        text(format!(
            "By a member of: {}. From the moment the command ends no call of it is begun and its drafts are frozen; calls under way end on record.",
            operators.map_or_else(|| "nobody".to_owned(), listed)
        )),
        Block::Code(stops),
        Block::Heading("Stop a tool, a system, a tenant, everything".to_owned()),
        Block::Code(
            tools
                .chain(systems)
                .chain([
                    "countersign switch off --tenant TENANT --reason \"…\"".to_owned(),
                    "countersign switch off --everything --reason \"…\"".to_owned(),
                ])
                .collect(),
        ),
        Block::Heading("See what it did".to_owned()),
    ];
    let agents = ground.loaded.register.iter().map(|entry| &entry.agent);
    let looks = agents.map(|agent| format!("countersign audit query --agent {agent} --since TIME"));
    blocks.push(Block::Code(
        looks
            .chain(["countersign unknown list".to_owned(), "countersign audit verify".to_owned()])
            .collect(),
    ));
    blocks.push(Block::Heading("Let it go on".to_owned()));
    blocks.push(text("Somebody else than who stopped it, after a fresh sign-in:"));
    let agents = ground.loaded.register.iter().map(|entry| &entry.agent);
    blocks.push(Block::Code(
        agents.map(|a| format!("countersign agents resume {a} --reason \"…\"")).collect(),
    ));
    blocks.push(Block::Heading("Whom to call".to_owned()));
    let owners = ground
        .loaded
        .register
        .iter()
        .map(|entry| vec![entry.agent.to_string(), entry.team.clone(), entry.contact.clone()]);
    blocks.push(Block::Table(&["agent", "team", "contact"], owners.collect()));
    Section { id: "runbook", title: "Runbook and kill switch", blocks }
}

pub(super) fn retention(inputs: &Inputs<'_>) -> Section {
    let deployment = inputs.ground.deployment;
    let mut points = vec![
        format!("The journal ({}) is kept whole: this version neither removes nor shortens it.", deployment.store.sqlite.display()),
        "A record's header holds nothing of a person; arguments and results are bodies of their own, each with a salted commitment, so that a later version can erase one without breaking the chain. This one does not.".to_owned(),
        "Results beyond a bound are kept as digest and size.".to_owned(),
    ];
    if deployment.relay.exporters.is_empty() {
        points.push("Nothing is exported, so nothing is kept elsewhere.".to_owned());
    } else {
        points.push("What is handed on is kept as long as where it goes says.".to_owned());
    }
    if let Some(logs) = &deployment.statement_logs {
        points.push(format!(
            "Databases' own logs ({}) hold arguments, and are not shortened.",
            logs.display()
        ));
    }
    let blocks = vec![Block::List(points)];
    Section { id: "retention", title: "Retention", blocks }
}

pub(super) fn unseen() -> Section {
    let points = [
        "It governs what passes through it. An agent with a shell, a database login or another MCP server of its own goes around it: so credentials of production live here alone, and the ways around have to be closed where the agent runs.",
        "It does not see the model's prompt, nor which model answered. The token may say; the record then does.",
        "It does not judge whether what an agent tells a person is true.",
        "Types and tests hold the order of checks inside one process. That a system did what it answered, they do not.",
        "Whoever can write the journal and read its signing key can rewrite it, unless records or heads were sent elsewhere.",
        "A session that has read untrusted text is not treated otherwise yet.",
    ];
    let blocks = vec![Block::List(points.map(str::to_owned).to_vec())];
    Section { id: "unseen", title: "What the gateway cannot see", blocks }
}

/// Everything that is not done, each with whose it is.
pub(super) fn open(inputs: &Inputs<'_>, model: &Model) -> Vec<Open> {
    let ground = &inputs.ground;
    let owners = Owners::of(inputs);
    let item = |kind, what: String, place: String| {
        let owner = owners.of_place(&place);
        Open { kind, what, place, owner, due: String::new() }
    };
    let mut open = Vec::new();
    for finding in inputs.findings {
        let (line, _) = finding.place.source.position(finding.place.span.start);
        let place = format!("{}:{line}", finding.place.source.path());
        open.push(item("check", format!("{}: {}", finding.code.as_str(), finding.message), place));
    }
    for standing in &model.controls {
        let against = model.threats().filter(|threat| threat.controls.contains(&standing.control));
        let against = listed(against.map(|threat| &threat.id));
        for lack in &standing.lacks {
            let kind = match standing.control {
                Control::ReviewedGrants => "grant",
                _ => "control",
            };
            let what = format!("{}: {}; leaves open {against}", standing.name, lack.why);
            open.push(item(kind, what, lack.place.clone()));
        }
    }
    let grants = ground.loaded.posture.agents.values().flat_map(|agent| &agent.grants);
    let tools: BTreeMap<_, _> = grants.map(|(name, grant)| (name, &grant.tool)).collect();
    for (name, tool) in tools {
        let Some(exception) = &tool.ladder.exception else { continue };
        let what =
            format!("{name} stands on rung {}: {}", exception.rung.number(), exception.reason);
        let due = inputs.ends(exception.expires);
        let (place, owner) = (format!("tools/{name}.yaml"), exception.reviewed_by.clone());
        open.push(Open { kind: "exception", what, place, owner, due });
    }
    open.extend(
        evidence::open(inputs.ground.evidence)
            .into_iter()
            .map(|(kind, what, at)| item(kind, what, at)),
    );
    open.sort();
    open.dedup();
    open
}

/// Who answers for what is written where.
struct Owners {
    agents: BTreeMap<String, String>,
    ladder: String,
}

impl Owners {
    fn of(inputs: &Inputs<'_>) -> Self {
        let register = inputs.ground.loaded.register.iter();
        let agents =
            register.map(|entry| (format!("agents/{}.yaml", entry.agent), entry.contact.clone()));
        let ladder = inputs.ground.files.get("posture.yaml");
        let ladder = ladder.and_then(|file| file.pointer("/ladder/owner")).and_then(Value::as_str);
        Self { agents: agents.collect(), ladder: ladder.unwrap_or("nobody is named").to_owned() }
    }

    /// An agent's is its owner's; all else is theirs who answer for the ladder.
    fn of_place(&self, place: &str) -> String {
        let file = place.split(':').next().unwrap_or_default();
        self.agents.get(file).unwrap_or(&self.ladder).clone()
    }
}

pub(super) fn open_items(open: &[Open]) -> Section {
    let rows = open.iter().map(|item| {
        let Open { kind, what, place, owner, due } = item;
        vec![(*kind).to_owned(), what.clone(), place.clone(), owner.clone(), due.clone()]
    });
    let blocks = vec![
        text(format!(
            "{} items are open. Leave to stand below a rung is here until it ends, whatever its day.",
            open.len()
        )),
        Block::Table(&["kind", "what", "where", "owner", "until"], rows.collect()),
    ];
    Section { id: "open", title: "Exceptions and open items", blocks }
}

pub(super) fn signatures(inputs: &Inputs<'_>) -> Section {
    let deployment = inputs.ground.deployment;
    let mut blocks = Vec::new();
    match inputs.ground.unsigned {
        Some(why) => blocks.push(Block::Warning(format!("Not signed: {why}."))),
        None => blocks.push(text("The posture is signed as the deployment asks.")),
    }
    let rows = inputs.signed.iter().map(|signed| {
        let Signed { role, by, key } = signed;
        vec![role.clone(), by.clone(), key.clone()]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        blocks.push(Block::Table(&["role", "signed by", "key"], rows));
    }
    if let Some(asked) = &deployment.sign_off {
        blocks.push(Block::Heading("Who may sign, by the deployment".to_owned()));
        let rows = asked.reviewers.iter().map(|reviewer| {
            vec![reviewer.name.clone(), listed(&reviewer.roles), fingerprint(&reviewer.key)]
        });
        blocks.push(Block::Table(&["reviewer", "roles", "key"], rows.collect()));
        let evidence = asked.evidence.iter().map(|of| of.name());
        blocks.push(text(format!(
            "Each of these roles has to have signed: {}. A lock has to have evidence of: {}. It is signed over a ticket or pull request: {}.",
            listed(&asked.roles),
            listed(evidence),
            if asked.change_required { "required" } else { "optional" }
        )));
    }
    blocks.push(text("Reviewers' keys stand in the deployment, outside the posture: nobody becomes a reviewer by editing what is reviewed. What is signed is the canonical form of posture.lock without its signatures; `ssh-keygen -Y verify` in the namespace posture-lock@countersign agrees."));
    Section { id: "signatures", title: "Signatures", blocks }
}

impl Model {
    /// How many threats are as `verdict` says.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.threats().filter(|threat| threat.verdict == verdict).count()
    }
}
