//! The words and lines of an explanation: what each stage knew, where that is written, and what
//! would have to change.

use super::Call;
use crate::report;
use countersign_core::call::{
    Caller, Evidence, Explained, Listed, LookedUpBy, Monitor, Proposed, RefusedCall,
};
use countersign_core::ladder::{Approvers, Clearance, Exception, Gate};
use countersign_core::posture::Agent;
use countersign_core::principal::CallerRef;
use countersign_core::quota::{Counter, Window};
use countersign_core::recipient::Domain;
use countersign_core::refusal::{Forbidden, Refusal};
use countersign_core::scope::{ArgumentPath, Asks, ScopeRule, ScopeViolation, Step};
use countersign_core::tool::{Issue, Rung, Tool};
use countersign_policy::Bundle;
use countersign_posture::{ClaimMap, Place, Places, Registered, did_you_mean};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// What is said of every explanation, because it is not what a call would do.
pub(super) const NOTES: [&str; 3] = [
    "no system was touched but by the look-ups named here",
    "limits are named, not counted: a call may still meet one",
    "nothing was recorded",
];

/// One thing said, with the line or the policy that it rests on.
#[derive(Debug)]
pub(super) struct Said {
    text: String,
    place: Option<Place>,
    /// Its id and its text.
    policy: Option<(String, String)>,
}

fn said(text: impl Into<String>, place: Option<Place>) -> Said {
    Said { text: text.into(), place, policy: None }
}

/// Where to look up what a posture says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) places: &'a Places,
    pub(super) register: &'a [Registered],
    pub(super) claims: &'a ClaimMap,
    pub(super) bundle: &'a Bundle,
}

/// An explanation in words.
#[derive(Debug)]
pub(super) struct Account {
    /// For each stage that was reached, in order, what it said.
    stages: Vec<Vec<Said>>,
    explained: Explained,
    /// What would have to change for the call to be allowed.
    change: Vec<Said>,
}

/// What makes good what was not reviewed in time.
const REVIEW: &str = "whoever reviews it writes until when that holds: `review_by`";

impl Account {
    /// Of a call by whom the monitor has met, or would not meet.
    pub(super) async fn of(
        ground: Ground<'_>,
        call: &Call,
        monitor: &Monitor,
        met: Result<Caller, RefusedCall>,
    ) -> Self {
        let (caller, explained) = match met {
            Ok(caller) => {
                let caller = Arc::new(caller);
                let (tool, arguments) = (call.tool.clone(), call.arguments.clone());
                let proposed =
                    Proposed { caller: Arc::clone(&caller), tool, arguments, answers: None };
                (Some(caller), monitor.explain(proposed).await)
            }
            Err(refused) => {
                let refusal = Some(refused.refusal().clone());
                (None, Explained { passed: Vec::new(), refusal })
            }
        };
        let mut subject = Subject {
            ground,
            name: &call.tool,
            client: &call.principal.agent,
            listed: caller.as_ref().map(|caller| monitor.tools(caller)).unwrap_or_default(),
            caller,
            agent: None,
            tool: None,
        };
        let mut stages: Vec<_> =
            explained.passed.iter().map(|evidence| subject.passed(evidence)).collect();
        let mut change = Vec::new();
        if let Some(refusal) = &explained.refusal {
            let because;
            (because, change) = subject.refused(refusal);
            stages.push(because);
        }
        Self { stages, explained, change }
    }

    /// What the words are about.
    pub(super) fn explained(&self) -> &Explained {
        &self.explained
    }
}

/// The call as far as it is known.
struct Subject<'a> {
    ground: Ground<'a>,
    /// The tool's name and the client's, as the call has them.
    name: &'a str,
    client: &'a str,
    /// The tools as this caller is shown them.
    listed: Vec<Listed>,
    /// `None` if it was not accepted.
    caller: Option<Arc<Caller>>,
    agent: Option<Arc<Agent>>,
    tool: Option<Arc<Tool>>,
}

/// What a refusal rests on, and what would have to change.
type Verdict = (Vec<Said>, Vec<Said>);

impl Subject<'_> {
    fn agent_id(&self) -> &str {
        self.agent.as_ref().map_or("", |agent| agent.id.as_str())
    }

    /// The rules that tie the tool's arguments to the caller.
    fn scope(&self) -> &[ScopeRule] {
        self.tool.as_ref().map_or(&[], |tool| &tool.scope)
    }

    fn passed(&mut self, evidence: &Evidence) -> Vec<Said> {
        let Self { ground: Ground { places, .. }, name: tool, client, .. } = *self;
        match evidence {
            Evidence::Authenticated(agent) => {
                self.agent = Some(Arc::clone(agent));
                let text = format!("the client `{client}` is the agent `{}`", agent.id);
                vec![said(text, places.identity(agent.id.as_str()))]
            }
            Evidence::Resolved(granted) => {
                self.tool = Some(Arc::clone(granted));
                vec![
                    said("the agent was granted it", places.grant(self.agent_id(), tool)),
                    said(format!("`{tool}` is declared"), places.tool(tool, "tool")),
                ]
            }
            Evidence::Metered(counters) => self.limits(counters),
            Evidence::Validated(arguments) if arguments.is_empty() => {
                vec![said("it takes no arguments and was given none", places.tool(tool, "input"))]
            }
            Evidence::Validated(arguments) => {
                let fits = |(name, value): (&String, &Value)| {
                    said(format!("`{name}` may be `{value}`"), places.argument(tool, name))
                };
                arguments.iter().map(fits).collect()
            }
            Evidence::Bound(_, arguments) => self.scoped(arguments),
            Evidence::Authorized(policies, clearance) => {
                let permitted = policies.iter().map(|id| self.policy("permitted by", id));
                let text = format!("at clearance {}", clearance.number());
                permitted.chain([said(text, places.tool(tool, "effect"))]).collect()
            }
            Evidence::LookedUp(asked) => self.confirmed(asked),
            Evidence::Cleared(by) => self.cleared(by),
        }
    }

    fn limits(&self, counters: &[Counter]) -> Vec<Said> {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let limit = |counter: &Counter| {
            let Counter { key, window, max, .. } = counter;
            let whose = match key.split('/').next() {
                Some("agent") => "for the agent",
                Some("tool") => "for the tool",
                Some("grant") => "for the grant",
                _ => "for the tenant, over all agents",
            };
            let span = match window {
                Window::Alike => "minute of the very same call",
                Window::Minute | Window::Hour | Window::Day | Window::Session => window.as_str(),
            };
            let text = format!("at most {max} per {span} {whose}");
            said(text, places.limit(self.agent_id(), tool, counter))
        };
        counters.iter().map(limit).collect()
    }

    fn scoped(&self, arguments: &Map<String, Value>) -> Vec<Said> {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let rules = self.scope();
        if rules.is_empty() {
            return vec![said("no rule ties it to the caller", None)];
        }
        let rule = |rule: &ScopeRule| match rule {
            ScopeRule::Equals { path, caller } | ScopeRule::In { path, caller } => {
                let path = path.to_string();
                let text = format!("`{path}` is the caller's own {}", self.reference(caller));
                said(text, places.scope(tool, &path))
            }
            ScopeRule::Domains { path, domains } => {
                let path = path.to_string();
                let domains: Vec<&str> = domains.iter().map(Domain::as_str).collect();
                let text = format!("`{path}` is an address of {}", domains.join(", "));
                said(text, places.scope(tool, &path))
            }
            ScopeRule::Bind { name, caller } => {
                let value = arguments.get(name).unwrap_or(&Value::Null);
                let text =
                    format!("`{name}` is put in as `{value}` from {}", self.reference(caller));
                said(text, places.scope(tool, name))
            }
        };
        rules.iter().map(rule).collect()
    }

    fn confirmed(&self, asked: &[LookedUpBy]) -> Vec<Said> {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let rule = |LookedUpBy { rule, .. }: &LookedUpBy| {
            let (path, system) = (rule.path.to_string(), &rule.query.system);
            let what = match rule.asks {
                Asks::Owned => "is the caller's",
                Asks::Allowed => "is allowed",
            };
            let text = format!("the system `{system}` was asked, and says that `{path}` {what}");
            said(text, places.scope(tool, &path))
        };
        match asked {
            [] => vec![said("no rule asks a system, and none was asked", None)],
            asked => asked.iter().map(rule).collect(),
        }
    }

    /// `caller.depots` (claim `/depots`).
    fn reference(&self, reference: &CallerRef) -> String {
        let ClaimMap { subject, actor, tenant, attributes, .. } = self.ground.claims;
        let (name, pointer) = match reference {
            CallerRef::Tenant => ("tenant", Some(tenant)),
            CallerRef::Subject => ("subject", Some(subject)),
            CallerRef::Actor => ("actor", actor.first()),
            CallerRef::Attribute(name) => (name.as_str(), attributes.get(name)),
        };
        format!("`caller.{name}` (claim `{}`)", pointer.map(String::as_str).unwrap_or_default())
    }

    /// A policy by its id: its text, and the line of the posture that it was made of.
    fn policy(&self, verb: &str, id: &str) -> Said {
        let Self { ground: Ground { places, bundle, .. }, name, .. } = *self;
        let text = self.tool.as_ref().and_then(|tool| bundle.policy(&tool.name, id));
        let of = id.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        let place = of.and_then(|of| match of.split_once('.') {
            None if of == "grant" => places.grant(self.agent_id(), name),
            None if of == "gate" => places.tool(name, "effect"),
            Some(("scope", path)) => places.scope(name, path),
            Some(("bound", path)) => places.argument(name, path),
            None | Some(_) => None,
        });
        let written = || bundle.written(id).and_then(|(file, span)| places.stretch(file, span));
        let place = place.or_else(written);
        let policy = text.map(|text| (id.to_owned(), text));
        Said { text: format!("{verb} `{id}`"), place, policy }
    }

    fn refused(&self, refusal: &Refusal) -> Verdict {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        match refusal {
            Refusal::Unauthenticated(_) => self.unknown_client(refusal),
            Refusal::UnknownTool => self.unknown_tool(),
            Refusal::InvalidArguments(issues) => self.misfits(issues),
            Refusal::OutOfScope(violation) => self.foreign(violation),
            Refusal::Forbidden(Forbidden { policies, .. }) if policies.is_empty() => {
                let change = "a policy has to permit it; the posture's grants make those";
                (vec![said("no policy permits it", None)], vec![said(change, None)])
            }
            Refusal::Forbidden(Forbidden { policies, .. }) => {
                let forbidden = policies.iter().map(|id| self.policy("forbidden by", id));
                let change = "the call has to be one that these policies do not forbid, or they have to be changed";
                (forbidden.collect(), vec![said(change, None)])
            }
            Refusal::Undecided(policy) => {
                let change = "the policy has to be mended: one that errs permits nothing";
                (vec![self.policy("not evaluated:", policy)], vec![said(change, None)])
            }
            Refusal::LookUpFailed(fault) => {
                let rules = self.tool.iter().flat_map(|tool| &tool.look_ups);
                let places = rules.map(|rule| places.scope(tool, &rule.path.to_string()));
                let because = places.map(|place| said("a system has to confirm it", place));
                let because = because.chain([said(format!("one did not: {}", fault.detail), None)]);
                let change = "the system has to answer: what it does not confirm is nobody's";
                (because.collect(), vec![said(change, None)])
            }
            Refusal::DefinitionChanged => {
                let change = "the server has to define it again as it was reviewed, or it has to be reviewed and imported anew";
                let because = "the server behind it defines it otherwise than the posture's pin";
                (vec![said(because, None)], vec![said(change, None)])
            }
            Refusal::InsufficientScope(scope) => {
                let text = format!("the grant asks for the scope `{scope}`");
                let because = vec![said(text, places.grant(self.agent_id(), tool))];
                let change = format!(
                    "the token has to carry `{scope}`, or `require_scope` has to ask for less"
                );
                (because, vec![said(change, None)])
            }
            Refusal::ApprovalRequired(pending) => {
                let text = format!("it stands on rung {} of the ladder", pending.rung.number());
                let ladder = "no policy and no grant lowers the rung that follows from `effect`";
                let because = vec![said(text, places.tool(tool, "effect")), said(ladder, None)];
                let gate = self.tool.as_ref().and_then(|tool| tool.ladder.gate.as_ref());
                let who = gate.map_or_else(|| "nobody is named who could".to_owned(), approves);
                let mut change = format!(
                    "a person has to agree: a call becomes a draft, and {who} decides about it"
                );
                if pending.rung < Rung::NAMED && gate.is_some_and(|gate| gate.decision.is_some()) {
                    change.push_str(", unless the company's decision point says yes");
                }
                (because, vec![said(change, places.tool(tool, "gate"))])
            }
            Refusal::Lapsed(_) => (vec![said(refusal.detail(), None)], vec![said(REVIEW, None)]),
            // Nothing was counted or recorded; were it so, this is what would be said.
            Refusal::RateLimited(_)
            | Refusal::OverBudget(_)
            | Refusal::Suspended(_)
            | Refusal::Rejected(_)
            | Refusal::OutcomeUnknown(_)
            | Refusal::DraftEnded(_)
            | Refusal::UnknownDraft { .. }
            | Refusal::OutsideApproval
            | Refusal::TooManyDrafts
            | Refusal::Stale
            | Refusal::Conflict
            | Refusal::JournalUnavailable(_) => (vec![said(refusal.detail(), None)], Vec::new()),
        }
    }

    /// What stands in the place of a person's leave.
    fn cleared(&self, by: &Clearance) -> Vec<Said> {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let exception = self.tool.as_ref().and_then(|tool| tool.ladder.exception.as_ref());
        let (text, key) = match by {
            Clearance::Ungated => ("nobody need approve it", "effect"),
            Clearance::Check => ("nobody need approve it: its `check` has to hold", "check"),
            Clearance::DecisionPoint => ("the company's decision point has to say yes", "gate"),
            Clearance::Approval(_) => ("people approved it", "gate"),
        };
        let leave = exception.map(|exception| {
            let Exception { rung, reason, reviewed_by, .. } = exception;
            let text = format!(
                "for a time it may stand on rung {}, by leave of {reviewed_by}: {reason}",
                rung.number()
            );
            said(text, places.tool(tool, "exception"))
        });
        std::iter::once(said(text, places.tool(tool, key))).chain(leave).collect()
    }

    fn unknown_client(&self, refusal: &Refusal) -> Verdict {
        let Self { ground: Ground { register, places, .. }, client, .. } = *self;
        let known = register.iter().map(|known| known.client.as_str());
        let near = did_you_mean(client, known).map(|near| format!("; {near}")).unwrap_or_default();
        let change = format!(
            "the token has to name a client that is some agent's `identity: {{ client_id: … }}`{near}"
        );
        let clients = register.iter().map(|known| {
            let text = format!("`{}` is the agent `{}`", known.client, known.agent);
            said(text, places.identity(known.agent.as_str()))
        });
        let change = std::iter::once(said(change, None)).chain(clients).collect();
        (vec![said(refusal.detail(), places.claim(&CallerRef::Actor))], change)
    }

    fn unknown_tool(&self) -> Verdict {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let agent = self.agent_id();
        let grants = places.grants(agent);
        if let Some(declared) = places.tool(tool, "tool") {
            let because = vec![
                said(format!("`{tool}` is a tool"), Some(declared)),
                said(format!("and `{agent}` was not granted it"), grants.clone()),
            ];
            let change = format!("grant it with a reason: `- {{ tool: {tool}, reason: … }}`");
            return (because, vec![said(change, grants)]);
        }
        let because = vec![said(format!("there is no tool `{tool}`"), None)];
        let granted = self.agent.iter().flat_map(|agent| agent.grants.keys());
        let change = did_you_mean(tool, granted.map(|name| name.as_str()));
        let change = change.unwrap_or_else(|| "call one of the tools that are granted".to_owned());
        (because, vec![said(change, grants)])
    }

    fn misfits(&self, issues: &[Issue]) -> Verdict {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let mut because: Vec<_> = issues
            .iter()
            .map(|Issue { path, expected, .. }| {
                let rule = places.scope(tool, path);
                let place = rule.or_else(|| places.argument(tool, path));
                said(format!("`{path}` must {expected}"), place)
            })
            .collect();
        // Its own identifier, and not among those that the tool is declared for.
        if because.is_empty() {
            let rules = self.scope().iter().filter_map(ScopeRule::at);
            because.extend(rules.map(ToString::to_string).map(|path| {
                let text = format!("`{path}` admits none of what is the caller's own");
                said(text, places.argument(tool, &path))
            }));
        }
        let change = "the arguments have to fit, or these lines have to admit more";
        (because, vec![said(change, None)])
    }

    /// A system was asked about it, and did not say that it is the caller's.
    fn unconfirmed(&self, path: &str) -> Verdict {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let look_ups = self.tool.iter().flat_map(|tool| &tool.look_ups);
        let because = look_ups.filter(|rule| rule.path.to_string() == path).map(|rule| {
            let text = match rule.asks {
                Asks::Owned => format!(
                    "the system `{}` was asked, and has no such `{path}` of the caller's",
                    rule.query.system
                ),
                Asks::Allowed => format!(
                    "the system `{}` was asked, and does not list this `{path}`",
                    rule.query.system
                ),
            };
            said(text, places.scope(tool, path))
        });
        (because.collect(), vec![said("the call has to name one that the system confirms", None)])
    }

    fn foreign(&self, violation: &ScopeViolation) -> Verdict {
        let Self { ground: Ground { places, .. }, name: tool, .. } = *self;
        let path = &violation.path;
        let is_it = |rule: &&ScopeRule| match rule {
            ScopeRule::Equals { path: at, .. }
            | ScopeRule::In { path: at, .. }
            | ScopeRule::Domains { path: at, .. } => at.to_string() == *path,
            ScopeRule::Bind { name, .. } => name == path,
        };
        let Some(rule) = self.scope().iter().find(is_it) else { return self.unconfirmed(path) };
        let Some(caller) = rule.caller() else {
            let because = said(format!("`{path}` must {}", violation.expected()), None);
            let rule = said("this line says where a message may go", places.scope(tool, path));
            let change = "the message has to go there, or this line has to name more domains";
            return (vec![because, rule], vec![said(change, places.scope(tool, path))]);
        };
        let own = self.caller.as_ref().map(|known| known.principal().values(caller));
        let own = own.unwrap_or_default();
        let of = self.reference(caller);
        let claim = |text: String| said(text, places.claim(caller));
        let Some((at, _)) = rule.path() else {
            let text = format!("`{path}` is put in from {of}");
            let because = vec![
                said(text, places.scope(tool, path)),
                claim(format!(
                    "the caller's holds {}, and it must be exactly one value",
                    list(&own)
                )),
            ];
            return (because, vec![said("the token has to hold exactly one value there", None)]);
        };
        let because = vec![
            said(format!("`{path}` must be {of}"), places.scope(tool, path)),
            claim(format!("the caller's holds {}", list(&own))),
            said("the argument itself is declared", places.argument(tool, path)),
        ];
        let may = self.own(at);
        let own = format!("`{path}` has to be one of {}, or", list(&may));
        let own = (!may.is_empty()).then_some(said(own, None));
        let text = format!("{of} has to hold what was sent, and the declaration has to admit it");
        (because, own.into_iter().chain([said(text, None)]).collect())
    }

    /// The values that this caller is told it may send at a path.
    fn own(&self, path: &ArgumentPath) -> BTreeSet<&str> {
        let tool = self.listed.iter().find(|listed| listed.name.as_str() == self.name);
        let leaf = tool.and_then(|listed| {
            let mut schema = &listed.input;
            for step in path.steps() {
                let next = match step {
                    Step::Member(name) => schema.get("properties")?.get(name)?,
                    Step::Each => schema.get("items")?,
                };
                schema = next.as_object()?;
            }
            schema.get("enum")?.as_array()
        });
        leaf.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

/// Who may agree.
fn approves(gate: &Gate) -> String {
    match &gate.approvers {
        Approvers::Named(people) => {
            let people: Vec<&str> = people.iter().map(String::as_str).collect();
            people.join(" or ")
        }
        Approvers::Group { group, subject: false } => format!("a member of `{group}`"),
        Approvers::Group { group, subject: true } => {
            format!("a member of `{group}`, or the person it is asked for,")
        }
    }
}

fn list(values: &BTreeSet<&str>) -> String {
    if values.is_empty() {
        return "nothing".to_owned();
    }
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    values.join(", ")
}

// ── text and JSON ───────────────────────────────────────────────────────────────────────────────

impl Said {
    /// Where it is written: file, line, and the line's text.
    fn line(&self) -> Option<(String, usize, &str)> {
        let Place { source, span } = self.place.as_ref()?;
        let (line, _column) = source.position(span.start);
        let text = source.text().lines().nth(line.checked_sub(1)?)?;
        Some((report::path(source), line, text.trim()))
    }

    fn json(&self) -> Value {
        let line = self
            .line()
            .map(|(file, line, written)| json!({ "file": file, "line": line, "text": written }));
        let policy = self.policy.as_ref().map(|(id, text)| json!({ "id": id, "text": text }));
        json!({ "text": self.text, "line": line, "policy": policy })
    }
}

/// What is said, line by line; a line of a file that several things rest on stands after the last.
fn lines(all: &[Said]) -> String {
    let mut text = String::new();
    for (index, said) in all.iter().enumerate() {
        text.push_str(&format!("    {}\n", report::visible(&said.text)));
        let next = all.get(index.saturating_add(1)).and_then(Said::line);
        if let Some((file, line, written)) = said.line().filter(|line| Some(line) != next.as_ref())
        {
            text.push_str(&format!("        {file}:{line}: {}\n", report::visible(written)));
        }
        for line in said.policy.iter().flat_map(|(_, policy)| policy.trim().lines()) {
            text.push_str(&format!("        {}\n", report::visible(line)));
        }
    }
    text
}

impl Account {
    /// For people: every stage, what it said, and what would have to change.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (index, stage) in Explained::STAGES.into_iter().enumerate() {
            let state = self.state(index).replace('_', " ");
            let said = self.stages.get(index).map(|said| lines(said)).unwrap_or_default();
            text.push_str(&format!("{stage}: {state}\n{said}"));
        }
        if let Some(refusal) = &self.explained.refusal {
            let public = refusal.public();
            text.push_str(&format!(
                "\nthe agent is told: {}: {} {}\n\nto be allowed:\n{}",
                public.code,
                report::visible(&public.message),
                report::visible(&public.next),
                lines(&self.change)
            ));
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let stages = Explained::STAGES.into_iter().enumerate().map(|(index, stage)| {
            let said = self.stages.get(index).into_iter().flatten().map(Said::json);
            json!({
                "stage": stage,
                "status": self.state(index),
                "evidence": said.collect::<Vec<_>>(),
            })
        });
        let refused = self.explained.refusal.as_ref().map(|refusal| {
            let public = refusal.public();
            json!({
                "code": public.code,
                "message": public.message,
                "next": public.next,
                "detail": refusal.detail(),
            })
        });
        json!({
            "allowed": self.explained.refusal.is_none(),
            "refusal": refused,
            "stages": stages.collect::<Vec<_>>(),
            "change": self.change.iter().map(Said::json).collect::<Vec<_>>(),
            "notes": NOTES,
        })
    }

    fn state(&self, index: usize) -> &'static str {
        let reached = self.stages.len();
        match self.explained.refusal {
            _ if index >= reached => "not_reached",
            Some(_) if index.saturating_add(1) == reached => "refused",
            // The one stage that an explanation does not run.
            _ if Explained::STAGES.get(index) == Some(&"metered") => "not_counted",
            Some(_) | None => "passed",
        }
    }
}
