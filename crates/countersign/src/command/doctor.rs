//! `countersign doctor`: what only the live systems show.

use super::{At, End};
use crate::assemble::{self, Posture, Read};
use crate::here::{self, Systems};
use crate::machine::{SystemClock, SystemEntropy};
use crate::render::{self, Failure};
use crate::report::visible;
use countersign_connectors::doctor::{Needs, Symptom, examine};
use countersign_core::id::SystemName;
use countersign_core::ladder::Check;
use countersign_core::port::{Clock as _, Entropy as _};
use countersign_core::tool::{Effect, Plan, Tool};
use countersign_gateway::identity::{IssuerConfig, KeySource, LEEWAY_S};
use countersign_posture::{Backend, Deployment, Issuer, Loaded, Severity, SystemSpec, reviews};
use countersign_store::Disk;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A median write that takes longer than this, in microseconds, is worth telling.
const SYNC_US_MAX: u64 = 20_000;
/// Less room than this many times what stops the gateway is worth telling.
const ROOM_TIMES_MIN: u64 = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    at: At,
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

/// One thing that was examined, and what was found.
struct Examined {
    /// `system freight-db`, `journal`, `issuer …`.
    what: String,
    /// In a few words, what it is like where nothing is wrong.
    like: String,
    symptoms: Vec<Symptom>,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let (read, findings) = assemble::read(&self.at.file())?;
        let Some(Read { posture: Posture { loaded, systems, .. }, deployment }) = read else {
            render::findings(&findings);
            return Err(Failure::new("a posture with errors reaches no system")
                .help("mend what `countersign check` finds first"));
        };
        let mut errors = findings;
        errors.retain(|finding| finding.severity() == Severity::Error);
        render::findings(&errors);
        let runtime = super::serve::runtime()?;
        let mut examined = Vec::new();
        for (name, spec) in &loaded.systems {
            examined.push(runtime.block_on(system(&systems, &loaded, name, spec)));
        }
        for written in &deployment.issuers {
            examined.push(runtime.block_on(issuer(&deployment, written)));
        }
        examined.push(journal(&deployment));
        examined.push(reviewed(&deployment, &loaded));
        let found = examined.iter().any(|examined| !examined.symptoms.is_empty());
        match self.format {
            Format::Text => examined.iter().for_each(tell),
            Format::Json => render::line(json!({
                "examined": examined.iter().map(written).collect::<Vec<_>>(),
            })),
        }
        Ok(if found { End::Findings } else { End::Fine })
    }
}

/// One line where all is well, and one for each thing that is not.
fn tell(Examined { what, like, symptoms }: &Examined) {
    if symptoms.is_empty() {
        return render::line(format_args!("✓ {what}: {like}"));
    }
    render::line(format_args!("✗ {what}"));
    for Symptom { code, message, mend } in symptoms {
        render::line(format_args!("    {code}: {}", visible(message)));
        for line in mend.lines() {
            render::line(format_args!("        {}", visible(line)));
        }
    }
}

fn written(Examined { what, like, symptoms }: &Examined) -> Value {
    let symptoms = symptoms.iter().map(
        |Symptom { code, message, mend }| json!({ "code": code, "message": message, "mend": mend }),
    );
    json!({ "what": what, "like": like, "symptoms": symptoms.collect::<Vec<_>>() })
}

async fn system(
    systems: &Systems,
    loaded: &Loaded,
    name: &SystemName,
    spec: &SystemSpec,
) -> Examined {
    let what = format!("system {name}");
    let unreachable = |message: String| {
        let mend = "see to its reference in the deployment, and to the system itself".to_owned();
        vec![Symptom { code: "unreachable", message, mend }]
    };
    let needs = needs(loaded, name, spec);
    let like = match spec.backend {
        Backend::Http { .. } => "is where it may be, and listens".to_owned(),
        Backend::Email(_) => {
            "is where it may be, and its encryption and the credential hold; nothing was sent"
                .to_owned()
        }
        Backend::Mcp(_) => "answers, and defines what is pinned as it is pinned".to_owned(),
        _ => format!(
            "answers, and takes all {} statements",
            needs.statements.len() + needs.effects.len()
        ),
    };
    let mut nobody = [0; 8];
    SystemEntropy.fill(&mut nobody);
    let nobody = format!("countersign:{}", hex::encode(nobody));
    let symptoms = match systems.at.get(name) {
        Some(system) => match examine(system, &needs, &nobody, &SystemClock).await {
            Ok(symptoms) => symptoms,
            Err(fault) => unreachable(fault.detail),
        },
        None => {
            let missing = systems.missing.get(name).into_iter().flatten();
            missing.flat_map(|finding| unreachable(finding.message.clone())).collect()
        }
    };
    Examined { what, like, symptoms }
}

/// What granted tools, with their look-ups, checks and previews, ask of a system.
fn needs(loaded: &Loaded, name: &SystemName, spec: &SystemSpec) -> Needs {
    let grants = loaded.posture.agents.values().flat_map(|agent| agent.grants.values());
    let tools: BTreeMap<_, &Arc<Tool>> =
        grants.map(|grant| (grant.tool.name.clone(), &grant.tool)).collect();
    let (mut statements, mut effects) = (Vec::new(), Vec::new());
    for tool in tools.values() {
        if let Plan::Sql(plan) = &tool.plan
            && tool.system == *name
        {
            let of = if tool.effect == Effect::Read { &mut statements } else { &mut effects };
            of.push((format!("`{}`", tool.name), plan.statement.clone()));
        }
        if let Some(Check::Sql(plan)) = &tool.ladder.check
            && tool.system == *name
        {
            statements.push((format!("the check of `{}`", tool.name), plan.statement.clone()));
        }
        let preview = tool.ladder.gate.as_ref().and_then(|gate| gate.preview.as_ref());
        if let Some(query) = preview.filter(|query| query.system == *name) {
            statements
                .push((format!("the preview of `{}`", tool.name), query.plan.statement.clone()));
        }
        for rule in tool.look_ups.iter().filter(|rule| rule.query.system == *name) {
            let who = format!("`{}` for `{}`", tool.name, rule.path);
            statements.push((who, rule.query.plan.statement.clone()));
        }
    }
    let shared = match &spec.backend {
        Backend::Postgres { shared, .. } => shared.clone(),
        Backend::Sqlite { .. } | Backend::Http { .. } | Backend::Email(_) | Backend::Mcp(_) => {
            BTreeSet::new()
        }
    };
    Needs { statements, effects, shared }
}

async fn issuer(deployment: &Deployment, written: &Issuer) -> Examined {
    let what = format!("issuer {}", written.issuer);
    let now = SystemClock.now();
    let asked = match here::issuer(deployment, written) {
        Ok(IssuerConfig { keys: KeySource::Fetched(fetched), .. }) => fetched.examine(now).await,
        Ok(IssuerConfig { keys: KeySource::Fixed(_), .. }) => {
            let like = "its keys are in a file, and can be read".to_owned();
            return Examined { what, like, symptoms: Vec::new() };
        }
        Err(failure) => Err(failure.to_string()),
    };
    let symptom = |code, message, mend: &str| Symptom { code, message, mend: mend.to_owned() };
    let (like, symptoms) = match asked {
        Err(why) => {
            let mend = "see to its address, to the network on the way, and to the certificate";
            (String::new(), vec![symptom("no-keys", why, mend)])
        }
        Ok((0, _)) => {
            let why = "it publishes no key that can be used here".to_owned();
            (String::new(), vec![symptom("no-keys", why, "see which algorithms it signs with")])
        }
        Ok((keys, ahead)) => {
            let skewed = ahead.filter(|ahead| ahead.unsigned_abs() > LEEWAY_S.unsigned_abs());
            let skewed = skewed.map(|ahead| {
                let which = if ahead > 0 { "ahead of" } else { "behind" };
                let seconds = ahead.unsigned_abs();
                let message = format!("its clock is {seconds} s {which} this machine's");
                symptom("clock-skew", message, "have both follow the same time servers")
            });
            (format!("answers, with {keys} keys"), skewed.into_iter().collect())
        }
    };
    Examined { what, like, symptoms }
}

/// What ends by itself, before it does.
fn reviewed(deployment: &Deployment, loaded: &Loaded) -> Examined {
    let due = reviews(deployment.environment, loaded, SystemClock.now());
    let symptoms = due.into_iter().map(|finding| Symptom {
        code: "review-due",
        message: finding.message,
        mend: finding.help.unwrap_or_default(),
    });
    let like = "no agent and no vendor is to be reviewed soon".to_owned();
    Examined { what: "reviews".to_owned(), like, symptoms: symptoms.collect() }
}

fn journal(deployment: &Deployment) -> Examined {
    let path = deployment.base.join(&deployment.store.sqlite);
    let what = format!("journal {}", path.display());
    let symptom =
        |code, message: String, mend: &str| vec![Symptom { code, message, mend: mend.to_owned() }];
    let folder = path.parent().unwrap_or(&deployment.base);
    let measured = Disk::measure(folder, &SystemClock);
    let (like, symptoms) = match measured {
        _ if !path.is_file() => {
            let message = "there is no journal, and `serve` makes none".to_owned();
            (String::new(), symptom("no-journal", message, "make it with `countersign init`"))
        }
        Err(error) => {
            let message = format!("nothing can be written beside it: {error}");
            (String::new(), symptom("not-writable", message, "see to the folder and its rights"))
        }
        Ok(Disk { bytes_left, bytes_min, sync_us }) => {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            let ms = format!("{}.{:02} ms", sync_us / 1_000, sync_us % 1_000 / 10);
            let like =
                format!("{} MiB are left, and a write is durable after {ms}", mib(bytes_left));
            let mut symptoms = Vec::new();
            if bytes_left < bytes_min.saturating_mul(ROOM_TIMES_MIN) {
                let message = format!(
                    "{} MiB are left, and with less than {} no call is begun",
                    mib(bytes_left),
                    mib(bytes_min)
                );
                symptoms.extend(symptom("little-room", message, "make room on its disk"));
            }
            if sync_us > SYNC_US_MAX {
                let message =
                    format!("a write is durable after {ms}, and every call waits for two");
                let mend = "put the journal on a disk of its own, or a faster one";
                symptoms.extend(symptom("slow-sync", message, mend));
            }
            (like, symptoms)
        }
    };
    Examined { what, like, symptoms }
}
