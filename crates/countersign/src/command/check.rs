//! `countersign check`: everything that is wrong, at once.

use super::{At, End};
use crate::assemble::{self, Posture};
use crate::evidence::cover;
use crate::here;
use crate::render::{self, Failure};
use crate::report::{self, Format};
use countersign_core::ladder::Exception;
use countersign_posture::evals::{Evals, load_evals};
use countersign_posture::lock::Signed;
use countersign_posture::{Deployment, Finding, Profile, Severity, posture_folder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    at: At,
    /// How findings are told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also tell what keeps `serve` from starting on this machine: for whoever runs it, where it runs
    #[arg(long)]
    here: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let gathered = assemble::gather(&self.at.file());
        let (gathered, mut findings) = gathered.inspect_err(|failure| self.not_run(failure))?;
        let (evals, of_cases) = self.suite(gathered.as_ref());
        findings.extend(of_cases);
        let (deployment, posture) = gathered.unzip();
        let posture = posture.flatten();
        let look = |deployment| here::look(deployment, posture.as_ref()).1;
        let mut missing = deployment.as_ref().map(look).unwrap_or_default();
        let not_here = missing.iter().filter(|f| f.severity() == Severity::Error).count();
        if self.here {
            findings.append(&mut missing);
        }
        let errors = findings.iter().filter(|f| f.severity() == Severity::Error).count();
        let warnings = findings.len().saturating_sub(errors);
        let posture = posture.filter(|_| errors == 0);
        let (mut line, mut summary) = summed(posture.as_ref(), errors, warnings);
        let signed = deployment.as_ref().zip(posture.as_ref());
        let signed = signed.map(|(at, posture)| cover(at, (&posture.loaded, evals.as_ref())));
        let (signed, unsigned) = signed.unwrap_or_default();
        for Signed { role, by, key } in &signed {
            let said = format!("signed as `{role}` by {by}, {key}");
            line.push_str(&format!("\n{}", report::visible(&said)));
        }
        for finding in &unsigned {
            line.push_str(&format!("\nnot signed: {}", report::visible(&finding.message)));
        }
        if !unsigned.is_empty() {
            line.push_str(
                "\n`countersign posture lock` writes what is to be signed, `posture sign` signs it",
            );
        }
        if let (Some(told), Some(_)) = (summary.as_object_mut(), &posture) {
            let wrong: Vec<_> = unsigned.iter().map(|finding| &finding.message).collect();
            told.insert("unsigned".to_owned(), json!(wrong));
            let all =
                signed.iter().map(|of| json!({ "role": of.role, "by": of.by, "key": of.key }));
            told.insert("signed".to_owned(), all.collect());
        }
        if not_here > 0 && !self.here {
            line.push_str(&format!(
                "\nwhat `serve` needs and this machine lacks: {not_here}; see `check --here`"
            ));
            summary.as_object_mut().map(|told| told.insert("not_here".to_owned(), json!(not_here)));
        }
        let others = report::bound(&mut findings);
        if others > 0 {
            summary.as_object_mut().map(|told| told.insert("not_shown".to_owned(), json!(others)));
            line.push_str(&format!("; {others} more are not shown"));
        }
        match self.format {
            Format::Text => {
                render::findings(&findings);
                render::line(line);
            }
            Format::Json => render::line(report::json(&findings, &summary)),
            Format::Github => {
                report::github(&findings).for_each(render::line);
                render::line(line);
            }
            Format::Sarif => render::line(report::sarif(&findings, None)),
        }
        Ok(if posture.is_some() { End::Fine } else { End::Findings })
    }

    /// The evaluation suite and what is wrong with it, which `serve` does not read.
    fn suite(
        &self,
        gathered: Option<&(Deployment, Option<Posture>)>,
    ) -> (Option<Evals>, Vec<Finding>) {
        let folder = match gathered {
            Some((deployment, _)) => Some(deployment.base.join(&deployment.posture)),
            None => posture_folder(&self.at.file()),
        };
        let posture = gathered.and_then(|(_, posture)| posture.as_ref());
        let loaded = posture.map(|posture| &posture.loaded);
        folder.map(|folder| load_evals(&folder, loaded)).unwrap_or_default()
    }

    /// Whoever reads standard output as JSON reads there as well that there was nothing to check.
    fn not_run(&self, failure: &Failure) {
        let said = failure.to_string();
        match self.format {
            Format::Json => render::line(json!({ "findings": [], "summary": null, "error": said })),
            Format::Sarif => render::line(report::sarif(&[], Some(&said))),
            Format::Text | Format::Github => {}
        }
    }
}

/// What was found and read, in a line and for programs.
fn summed(posture: Option<&Posture>, errors: usize, warnings: usize) -> (String, Value) {
    let Some(Posture { loaded, .. }) = posture else {
        let summary = json!({ "errors": errors, "warnings": warnings });
        return (format!("{errors} errors, {warnings} warnings"), summary);
    };
    let grants = || loaded.posture.agents.values().flat_map(|agent| &agent.grants);
    let tools = grants().map(|(name, _)| name);
    let (agents, systems) = (loaded.posture.agents.len(), loaded.systems.len());
    let tools = tools.collect::<BTreeSet<_>>().len();
    let digest = loaded.posture.digest.to_string();
    let exceptions = grants()
        .filter_map(|(name, grant)| Some((name.as_str(), grant.tool.ladder.exception.as_ref()?)));
    // Of a tool that several agents were granted, once.
    let exceptions: BTreeMap<_, _> = exceptions.collect();
    let profile = loaded.profile.map(Profile::as_str);
    let of_profile = profile.map(|word| format!("; profile {word}")).unwrap_or_default();
    let mut line = format!(
        "fine: {agents} agents, {tools} granted tools, {systems} systems; {warnings} warnings{of_profile}; posture {digest}"
    );
    let summary = json!({
        "errors": errors, "warnings": warnings, "agents": agents, "granted_tools": tools,
        "systems": systems, "posture": digest, "exceptions": excepted(&exceptions), "profile": profile,
    });
    for (tool, exception) in exceptions {
        let Exception { rung, reason, reviewed_by, .. } = exception;
        let said = format!(
            "exception: `{tool}` stands on rung {} until {}, by leave of {reviewed_by}: {reason}",
            rung.number(),
            day(exception)
        );
        line.push_str(&format!("\n{}", report::visible(&said)));
    }
    (line, summary)
}

/// Leave to stand below an effect's step, for programs.
fn excepted(exceptions: &BTreeMap<&str, &Exception>) -> Vec<Value> {
    let one = |(tool, exception): (&&str, &&Exception)| {
        let Exception { rung, reason, reviewed_by, .. } = exception;
        json!({
            "tool": tool, "rung": rung.number(), "reason": reason,
            "reviewed_by": reviewed_by, "expires": day(exception),
        })
    };
    exceptions.iter().map(one).collect()
}

/// The day on which an exception ends, as the posture writes it.
fn day(exception: &Exception) -> String {
    let ends = jiff::Timestamp::from_microsecond(exception.expires.micros());
    ends.map_or_else(|_| "never".to_owned(), |ends| ends.strftime("%Y-%m-%d").to_string())
}
