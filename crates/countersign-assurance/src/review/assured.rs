//! Why it is believed: the threat model, the audit, what was tried and proved, who else is in the path.

use super::asked::of_record;
use super::evidence::{self, Kind};
use super::{Block, Inputs, Section, listed, text};
use crate::threat::{Ground, Lack, Model, Standing, Threat};
use countersign_core::id::Timestamp;
use countersign_core::tool::Plan;
use countersign_posture::{Covered, ExportTo, Loaded, Means, coverage};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn threats(model: &Model) -> Section {
    let controls = model.controls.iter().map(|standing| {
        let Standing { control, name, does, state, lacks, .. } = standing;
        let lacks = lacks.iter().map(|Lack { why, place }| format!("{why} ({place})"));
        let lacks: Vec<_> = lacks.collect();
        let lacks = if lacks.is_empty() { String::new() } else { lacks.join("; ") };
        vec![
            format!("{name} ({})", control.as_str()),
            does.clone(),
            state.as_str().to_owned(),
            lacks,
        ]
    });
    let shown = model.controls.iter().map(|standing| {
        vec![
            standing.control.as_str().to_owned(),
            listed(&standing.tests),
            listed(&standing.cases),
            listed(&standing.proofs),
        ]
    });
    let mut blocks = vec![
        text(
            "Each control is held against what is configured. A threat counts as mitigated only if every control against it is in force; one that is off leaves it unmitigated, whatever the others do, so that nothing is hidden by the rest. A control that no file can switch off names the tests that say it holds.",
        ),
        Block::Heading("Controls".to_owned()),
        Block::Table(
            &["control", "what it does", "state", "what is lacking, and where"],
            controls.collect(),
        ),
    ];
    for catalogue in &model.catalogues {
        blocks.push(Block::Heading(format!("{} {}", catalogue.name, catalogue.version)));
        blocks.push(text(format!("{} {}", catalogue.source, catalogue.licence)));
        let rows = catalogue.threats.iter().map(|threat| {
            let Threat { id, name, means, controls, remains, verdict } = threat;
            let open: BTreeSet<_> = model.open(threat).map(|standing| standing.control).collect();
            let controls = controls.iter().map(|control| {
                let mark = if open.contains(control) { " (not in force)" } else { "" };
                format!("{}{mark}", control.as_str())
            });
            vec![
                format!("{id} {name}"),
                means.clone(),
                listed(controls),
                verdict.as_str().to_owned(),
                remains.clone(),
            ]
        });
        let head = &["threat", "here", "controls", "verdict", "what remains"];
        blocks.push(Block::Table(head, rows.collect()));
    }
    blocks.push(Block::Heading("How each control is known to hold".to_owned()));
    blocks.push(text("Tests are in the project's repository, as crate and name. Cases are kinds of the deployment's own suite. Proofs are obligations of `countersign posture prove`."));
    blocks.push(Block::Table(&["control", "tests", "cases", "proofs"], shown.collect()));
    Section { id: "threats", title: "Threat model", blocks }
}

pub(super) fn audit(inputs: &Inputs<'_>) -> Section {
    let relay = &inputs.ground.deployment.relay;
    let mut blocks = vec![
        Block::List(vec![
            "No effect without a durable record of its intent, no result without one of its outcome: if the journal cannot be written, nothing is done.".to_owned(),
            "A record says when, who (agent, person, tenant), which tool with which arguments, what was decided by which policies under which posture, on which rung and by whose approval, and what came of it. Refusals are on record too.".to_owned(),
            "Records are chained by SHA-256 and their heads signed with Ed25519. Whoever has the public key finds what was changed, left out or put back.".to_owned(),
            "Its bytes are a published format, which a second program reads from the document alone.".to_owned(),
        ]),
        Block::Heading("Handed on".to_owned()),
    ];
    if relay.exporters.is_empty() {
        blocks.push(Block::Warning(
            "No exporter is named: the only copy is on this machine.".to_owned(),
        ));
    } else {
        let rows = relay.exporters.iter().map(|exporter| {
            let to = match &exporter.to {
                ExportTo::File(path) => format!("the file {}", path.display()),
                ExportTo::Stdout => "standard output".to_owned(),
            };
            vec![exporter.name.clone(), to]
        });
        blocks.push(Block::Table(&["exporter", "to"], rows.collect()));
        blocks.push(text("Each of these ends on this machine. What takes the records away from there is the company's own, and not seen here: until it has, whoever holds the machine can change them."));
    }
    blocks.push(Block::Heading("Alerts".to_owned()));
    let rules = countersign_core::alert::Rule::ALL.iter().map(|rule| match relay.rules.get(rule) {
        Some(by) => vec![
            rule.as_str().to_owned(),
            by.threshold.to_string(),
            format!("{} s", by.window_s),
            format!("{} s", by.cool_down_s),
        ],
        None => vec![rule.as_str().to_owned(), "off".to_owned(), String::new(), String::new()],
    });
    blocks.push(Block::Table(&["rule", "from", "within", "then quiet for"], rules.collect()));
    if relay.destinations.is_empty() {
        blocks.push(Block::Warning("Nobody is told of alerts or drafts.".to_owned()));
    } else {
        let rows = relay.destinations.iter().map(|to| {
            let by = match &to.by {
                Means::Webhook { url, .. } => format!("webhook, reference {url}"),
                Means::Email { to, .. } => format!("mail to {} addresses", to.len()),
            };
            let of = [(to.alerts, "alerts"), (to.drafts, "drafts")];
            vec![to.name.clone(), by, listed(of.iter().filter(|(is, _)| *is).map(|(_, of)| of))]
        });
        blocks.push(Block::Table(&["destination", "by", "told of"], rows.collect()));
    }
    blocks.push(Block::Heading("Verification".to_owned()));
    match &inputs.journal {
        None => blocks.push(text("The deployment has no journal yet: there is nothing to verify.")),
        Some(journal) => {
            blocks.push(text(if journal.findings == 0 {
                "The journal is as the gateway wrote it. What `countersign audit verify` said:"
            } else {
                "The journal is not as the gateway wrote it. What `countersign audit verify` said:"
            }));
            blocks.push(Block::Code(journal.transcript.clone()));
        }
    }
    Section { id: "audit", title: "Audit", blocks }
}

pub(super) fn evaluation(inputs: &Inputs<'_>) -> Section {
    type Told = fn(&Value) -> Vec<Block>;
    let of: [(Kind, &str, Told); 4] = [
        (Kind::Eval, "Evaluation", evidence::cases),
        (Kind::Hijack, "The same with an agent that obeys whatever it reads", evidence::cases),
        (Kind::Mutate, "Weakened on purpose", evidence::mutants),
        (Kind::Prove, "Proofs", evidence::obligations),
    ];
    let mut kinds = std::collections::BTreeMap::new();
    for case in inputs.ground.cases {
        let counted: &mut usize = kinds.entry(case.kind.as_str()).or_default();
        *counted = counted.saturating_add(1);
    }
    let written = kinds.iter().map(|(kind, count)| vec![(*kind).to_owned(), count.to_string()]);
    let mut blocks = vec![
        text(
            "Cases run against the real gateway over copies of the systems, and are judged by what the journal and the systems' own logs say. Only reports of this very posture are shown.",
        ),
        Block::Heading("Cases that are written".to_owned()),
        Block::Table(&["kind", "cases"], written.collect()),
    ];
    for (kind, title, told) in of {
        blocks.push(Block::Heading(title.to_owned()));
        match (
            evidence::current(inputs.ground.evidence, kind),
            evidence::lacking(inputs.ground.evidence, kind),
        ) {
            (Some(report), _) => {
                let numbers = evidence::figures(inputs.ground.evidence);
                let numbers = numbers.iter().filter(|figure| figure.command == kind.command());
                let numbers = numbers.map(|figure| format!("{}: {}", figure.name, figure.value));
                blocks.push(Block::List(numbers.collect()));
                blocks.extend(told(report));
            }
            (None, why) => blocks.push(Block::Warning(why.unwrap_or_default())),
        }
    }
    blocks.push(text("What no solver is asked about: that inputs fit their schemas, what a statement means to its database, what systems do, and that only the gate sets clearance. The last is held by the test countersign-store/no_walk_finds_an_effect_without_exactly_one_valid_approval."));
    Section { id: "evaluation", title: "Evaluation, weakening and proofs", blocks }
}

pub(super) fn vendors(inputs: &Inputs<'_>) -> Section {
    let Ground { loaded, now, .. } = inputs.ground;
    let rows = loaded.vendors.values().map(|vendor| {
        let said = |at: &str| {
            let value = vendor.record.pointer(at).and_then(Value::as_str);
            value.unwrap_or("not said").to_owned()
        };
        vec![
            vendor.name.to_string(),
            said("/product"),
            listed(vendor.classes.iter().map(|class| class.as_str())),
            vendor.decision.as_str().to_owned(),
            said("/assessment/approver"),
            vendor.review_by.map_or_else(|| "not said".to_owned(), |day| day.to_string()),
            listed(&vendor.open_conditions),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let mut blocks = Vec::new();
    if rows.is_empty() {
        blocks.push(Block::Warning("No vendor is named.".to_owned()));
    } else {
        let head = &[
            "vendor",
            "product",
            "classes of data",
            "decision",
            "by",
            "holds until",
            "conditions that are open",
        ];
        blocks.push(Block::Table(head, rows));
        blocks.push(Block::Heading("What they do with data, by their records".to_owned()));
        let rows = loaded.vendors.values().map(|vendor| {
            let said = ["training", "retention", "regions"].map(|key| of_record(vendor, key));
            std::iter::once(vendor.name.to_string()).chain(said).collect()
        });
        blocks.push(Block::Table(&["vendor", "training", "retention", "regions"], rows.collect()));
    }
    depending(loaded, now, &mut blocks);
    let agents = inputs.ground.loaded.posture.agents.values();
    let pins = agents.flat_map(|agent| agent.grants.values()).filter_map(|grant| {
        let Plan::Mcp(plan) = &grant.tool.plan else { return None };
        let (kind, name) = &plan.pin.of;
        let (tool, system) = (grant.tool.name.to_string(), grant.tool.system.to_string());
        Some(vec![tool, system, format!("{} {name}", kind.as_str()), plan.pin.digest.to_string()])
    });
    let pins: BTreeSet<_> = pins.collect();
    blocks.push(Block::Heading("Definitions of MCP servers that were reviewed".to_owned()));
    if pins.is_empty() {
        blocks.push(text("No granted tool is an MCP server's."));
    } else {
        let head = &["tool", "server", "definition", "SHA-256"];
        blocks.push(Block::Table(head, pins.into_iter().collect()));
    }
    Section { id: "vendors", title: "Vendors and servers of others", blocks }
}

/// Who depends on which vendors, and whether production would have it.
fn depending(loaded: &Loaded, now: Timestamp, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("Who depends on whom, as production would see it".to_owned()));
    let rows = coverage(loaded).into_iter().map(|covered| {
        let who = match &covered.of {
            Covered::Agent(name) => format!("the agent {name}"),
            Covered::System(name) => format!("the system {name}"),
        };
        let lacks: Vec<_> = covered.lacks(now).into_iter().map(|(why, _)| why).collect();
        let state = if lacks.is_empty() { "covered" } else { "not covered" };
        vec![
            who,
            listed(&covered.vendors),
            listed(covered.holds.iter().map(|class| class.as_str())),
            state.to_owned(),
            lacks.join("; "),
        ]
    });
    let head = &["who", "vendors", "classes that reach them", "", "what is lacking"];
    blocks.push(Block::Table(head, rows.collect()));
}
