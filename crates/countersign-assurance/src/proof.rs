//! What must hold of every request that policy permits, proved or refuted tool by tool: the agent, the
//! caller's claims, the arguments and the time are symbols.
//!
//! What is proved is proved of the policies that are evaluated, with the schema that they were validated
//! against. What a request can hold at all is the pipeline's: [`NOT_COVERED`] says which tests hold that.

mod claim;
mod compared;
mod earlier;
pub(crate) mod example;
mod request;
#[cfg(test)]
mod tests;

use crate::bound::SOLVERS_MAX;
use crate::solver::{Answer, Found, NoSolver, Solver, told};
use cedar_policy::{Authorizer, Decision, Entities, Policy, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::{
    CompiledPolicy, CompiledPolicySet, Env, disjoint_asserts, implies_asserts, never_errors_asserts,
};
pub use claim::Claim;
use claim::claims;
pub(crate) use compared::{Compared, compare};
use countersign_core::id::{ActorId, AgentId, ToolName};
use countersign_core::posture::Posture;
use countersign_core::tool::Tool;
pub use earlier::Earlier;
pub use request::Counterexample;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;
use tokio::runtime::Builder;

/// What these proofs say nothing of, and what holds it instead.
pub const NOT_COVERED: [(&str, &str); 7] = [
    (
        "That only a gate sets the clearance and the approver of a request, and that somebody agreed at all.",
        "the doctests of `core/src/call.rs`; core: `drafts::a_gated_call_becomes_one_draft_and_nothing_is_done`, `drafts::the_fourth_step_takes_a_named_person_who_is_somebody_else_and_has_just_signed_in`; the program: `commits`",
    ),
    (
        "What a tool's JSON Schema says beyond types, ranges of integers and enumerations: patterns, lengths, elements of arrays.",
        "`check`, which refuses a schema that is open or unbounded; posture: `loaded::a_tool_arrives_closed_bound_and_bounded`, `loaded::a_nested_input_is_closed_at_every_level`",
    ),
    (
        "That the values which a scope rule compares are those of the arguments.",
        "core: the property tests of `scope.rs`; the evaluation suite's `scope` cases",
    ),
    (
        "That the statement, the request or the message of a tool keeps to what its arguments say.",
        "the lints `scope-loose`, `unscoped-tool` and `unscoped-identifier`; row-level security, which `doctor` asks for",
    ),
    ("What a look-up (`owned`, `allowed`) answers.", "the evaluation suite's cases over copies"),
    (
        "That a session which has read untrusted text is treated otherwise.",
        "nothing: taint is not kept. The obligation about external tools asks for more, whatever was read",
    ),
    (
        "That Cedar's symbolic compiler and cvc5 are right when they say that something holds.",
        "those who keep them. What they say does not hold, Cedar's own evaluator confirms here",
    ),
];

/// What is to be proved of one tool, and what came of it.
#[derive(Debug)]
pub struct Obligation {
    /// Of which tool.
    pub tool: ToolName,
    /// What.
    pub claim: Claim,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of an obligation.
#[derive(Debug)]
pub enum Verdict {
    /// It holds of every request.
    Proved,
    /// It does not hold of this one, or of none where one is needed.
    Refuted(Option<Box<Counterexample>>),
    /// It is not proved, and why.
    Undecided(String),
}

/// All obligations of a posture, by tool and in the order of [`Claim`].
#[derive(Debug)]
pub struct Proofs {
    /// Which solver answered.
    pub solver: Result<String, NoSolver>,
    /// What was to be proved.
    pub obligations: Vec<Obligation>,
}

impl Proofs {
    /// Whether everything is proved, and somebody was there to prove it.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.solver.is_ok()
            && self.obligations.iter().all(|of| matches!(of.verdict, Verdict::Proved))
    }
}

/// Everything that is to be proved of a posture, by tool.
#[must_use]
pub fn obligations(posture: &Posture) -> Vec<(ToolName, Claim)> {
    let granted = granted(posture);
    let of = |(tool, granted): (&&ToolName, &Granted<'_>)| {
        let tool = ToolName::clone(tool);
        claims(granted).into_iter().map(move |claim| (tool.clone(), claim)).collect::<Vec<_>>()
    };
    granted.iter().flat_map(of).collect()
}

/// The compiled policies of a tool, and their schema, as Cedar text.
pub trait Texts: Sync {
    /// Both, of a tool that is granted to somebody.
    fn of(&self, tool: &ToolName) -> Option<(&str, &str)>;
}

impl Texts for countersign_policy::Bundle {
    fn of(&self, tool: &ToolName) -> Option<(&str, &str)> {
        self.policies(tool).zip(self.schema(tool))
    }
}

/// A tool, and who was granted it: each agent with its client.
pub(crate) struct Granted<'a> {
    pub(crate) tool: &'a Tool,
    pub(crate) agents: BTreeMap<&'a AgentId, &'a ActorId>,
}

/// Proves what is to be proved of each tool of a posture, with as many solvers at once; what was proved
/// earlier is not proved again, where there is a folder that says so.
pub async fn prove(
    posture: &Posture,
    texts: &impl Texts,
    solvers: NonZeroUsize,
    earlier: Option<&Earlier>,
    done: &(impl Fn(&ToolName) + Sync),
) -> Proofs {
    let found = Found::here().await;
    let granted = granted(posture);
    // INVARIANT: an obligation is not proved until a solver has said so.
    let why = found.as_ref().map_or_else(ToString::to_string, |_| ENDED_EARLY.to_owned());
    let unproved =
        |(tool, claim)| Obligation { tool, claim, verdict: Verdict::Undecided(why.clone()) };
    let mut obligations: Vec<_> = obligations(posture).into_iter().map(unproved).collect();
    let Ok(found) = &found else { return Proofs { solver: found.map(|f| f.version), obligations } };
    let mut chunks: BTreeMap<ToolName, Vec<&mut Obligation>> = BTreeMap::new();
    for obligation in &mut obligations {
        chunks.entry(obligation.tool.clone()).or_default().push(obligation);
    }
    let waiting: Mutex<VecDeque<_>> = Mutex::new(chunks.into_iter().collect());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
    // What writes a question down takes as long as what answers it, so each solver has a thread.
    thread::scope(|scope| {
        for _ in 0..solvers.get().min(SOLVERS_MAX) {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build();
                let Ok(runtime) = runtime else { return };
                let mut solver = Solver::new(found.clone());
                while let Some((name, mut obligations)) = next() {
                    if let Some(granted) = granted.get(&name) {
                        let kept = earlier.zip(texts.of(&name)).map(|(earlier, texts)| {
                            earlier.file(&found.version, (granted.tool, &obligations), texts)
                        });
                        if kept.as_ref().is_some_and(|file| file.is_file()) {
                            obligations.iter_mut().for_each(|of| of.verdict = Verdict::Proved);
                        } else {
                            let settled = settle(&mut solver, granted, texts, &mut obligations);
                            runtime.block_on(settled);
                            kept.iter().for_each(|file| earlier::keep(file, &obligations));
                        }
                    }
                    done(&name);
                }
            });
        }
    });
    Proofs { solver: Ok(found.version.clone()), obligations }
}

const ENDED_EARLY: &str = "the proof ended before it came to this";
const NOT_PERMITTED: &str = "the solver found a request that is not permitted";

fn granted(posture: &Posture) -> BTreeMap<&ToolName, Granted<'_>> {
    let mut granted: BTreeMap<_, Granted<'_>> = BTreeMap::new();
    for (client, agent) in &posture.agents {
        for (name, grant) in &agent.grants {
            let tool = grant.tool.as_ref();
            let of =
                granted.entry(name).or_insert_with(|| Granted { tool, agents: BTreeMap::new() });
            of.agents.insert(&agent.id, client);
        }
    }
    granted
}

/// Puts a verdict to each obligation of a tool.
async fn settle(
    solver: &mut Solver,
    granted: &Granted<'_>,
    texts: &impl Texts,
    obligations: &mut [&mut Obligation],
) {
    let ground = texts
        .of(&granted.tool.name)
        .ok_or_else(|| "it has no policies".to_owned())
        .and_then(|(policies, schema)| Ground::of(granted, policies, schema));
    let ground = match ground {
        Ok(ground) => ground,
        Err(why) => {
            obligations.iter_mut().for_each(|of| of.verdict = Verdict::Undecided(why.clone()));
            return;
        }
    };
    let mut alive = None;
    // Mostly all of it holds, and is one question. Where it does not, each is a question of its own.
    let all_hold = ground.all_hold(solver, obligations.iter().map(|of| &of.claim)).await;
    for obligation in obligations {
        let verdict = match &obligation.claim {
            Claim::NoErrors => ground.no_errors(solver).await,
            Claim::Alive(agent) => ground.alive(solver, agent, &mut alive).await,
            _ if all_hold => Ok(Verdict::Proved),
            claim => ground.implies(solver, claim).await,
        };
        obligation.verdict = verdict.unwrap_or_else(Verdict::Undecided);
    }
}

/// The policies of a tool, ready to be asked about.
struct Ground<'a> {
    granted: &'a Granted<'a>,
    schema: Schema,
    env: RequestEnv,
    policies: PolicySet,
    compiled: CompiledPolicySet,
}

impl<'a> Ground<'a> {
    fn of(granted: &'a Granted<'a>, policies: &str, schema: &str) -> Result<Self, String> {
        let schema: Schema = schema.parse().map_err(|error| told(&error))?;
        let policies: PolicySet = policies.parse().map_err(|error| told(&error))?;
        let mut environments = schema.request_envs();
        let env = environments.next().filter(|_| environments.next().is_none());
        let env = env.ok_or_else(|| "its schema is not of one action".to_owned())?;
        drop(environments);
        let compiled = CompiledPolicySet::compile(&policies, &env, &schema);
        let compiled = compiled.map_err(|error| told(&error))?;
        Ok(Self { granted, schema, env, policies, compiled })
    }

    fn compile(&self, policies: &PolicySet) -> Result<CompiledPolicySet, String> {
        CompiledPolicySet::compile(policies, &self.env, &self.schema).map_err(|error| told(&error))
    }

    /// Policies, and others that narrow them.
    fn narrowed(&self, policies: &PolicySet, by: &PolicySet) -> Result<CompiledPolicySet, String> {
        let mut all = policies.clone();
        all.merge(by, true).map_err(|error| told(&error))?;
        self.compile(&all)
    }

    /// Whether what is permitted meets every condition: those are proved then.
    async fn all_hold(&self, solver: &mut Solver, claims: impl Iterator<Item = &Claim>) -> bool {
        let conditions = claims
            .filter(|claim| !matches!(claim, Claim::NoErrors | Claim::Alive(_)))
            .map(|claim| Some(format!("({})", claim.condition(self.granted.tool)?)));
        // INVARIANT: a claim that cannot be put into Cedar is not left out, and so not proved.
        let Some(conditions) = conditions.collect::<Option<Vec<_>>>() else { return false };
        let all = permit(&conditions.join(" && ")).and_then(|all| self.compile(&all));
        match all {
            Ok(all) => {
                matches!(solver.ask(&implies_asserts(&self.compiled, &all)).await, Answer::Holds)
            }
            Err(_none) => false, // Each is tried by itself, and says why.
        }
    }

    /// Whether what is permitted meets a condition. A request that does not is looked for among those
    /// that the earlier stages let through, so that it can be made.
    async fn implies(&self, solver: &mut Solver, claim: &Claim) -> Result<Verdict, String> {
        let condition = claim.condition(self.granted.tool).ok_or("it cannot be put into Cedar")?;
        let condition = self.compile(&permit(&condition)?)?;
        let any = match solver.ask(&implies_asserts(&self.compiled, &condition)).await {
            Answer::Holds => return Ok(Verdict::Proved),
            Answer::Undecided(why) => return Err(why),
            Answer::Fails(any) => any,
        };
        let likely = self.likely(solver, &condition, &any).await.ok();
        let found = likely.flatten().unwrap_or(any);
        // INVARIANT: what Cedar itself does not permit refutes nothing.
        match self.decision(&found, &found.entities) {
            Decision::Allow => self.refuted(&found),
            Decision::Deny => Err(NOT_PERMITTED.to_owned()),
        }
    }

    /// A permitted request that does not meet a condition, among those that can be made.
    async fn likely(
        &self,
        solver: &mut Solver,
        condition: &CompiledPolicySet,
        any: &Env,
    ) -> Result<Option<Box<Env>>, String> {
        let unlikely = example::unlikely(self.granted, any)?;
        let likely = self.narrowed(&self.policies, &unlikely)?;
        match solver.ask(&implies_asserts(&likely, condition)).await {
            Answer::Fails(found) => Ok(Some(found)),
            Answer::Holds | Answer::Undecided(_) => Ok(None),
        }
    }

    /// Whether no policy can err: one that does refuses the call, but says so to nobody beforehand.
    async fn no_errors(&self, solver: &mut Solver) -> Result<Verdict, String> {
        for policy in self.policies.policies() {
            let compiled = CompiledPolicy::compile(policy, &self.env, &self.schema);
            let compiled = compiled.map_err(|error| told(&error))?;
            match solver.ask(&never_errors_asserts(&compiled)).await {
                Answer::Holds => {}
                Answer::Undecided(why) => return Err(why),
                Answer::Fails(any) => {
                    let likely = self.likely_error(solver, policy, &any).await.ok();
                    let found = likely.flatten().filter(|found| self.errs(found)).unwrap_or(any);
                    // INVARIANT: as for what is permitted.
                    return match self.errs(&found) {
                        true => self.refuted(&found),
                        false => {
                            Err("the solver found a request of which no policy errs".to_owned())
                        }
                    };
                }
            }
        }
        Ok(Verdict::Proved)
    }

    /// A request of which a policy errs, of those that the earlier stages let through.
    async fn likely_error(
        &self,
        solver: &mut Solver,
        policy: &Policy,
        any: &Env,
    ) -> Result<Option<Box<Env>>, String> {
        let likely = self.narrowed(&permit("true")?, &example::unlikely(self.granted, any)?)?;
        let decided = PolicySet::from_policies(example::decided(policy));
        let decided = self.compile(&decided.map_err(|error| told(&error))?)?;
        match solver.ask(&implies_asserts(&likely, &decided)).await {
            Answer::Fails(found) => Ok(Some(found)),
            Answer::Holds | Answer::Undecided(_) => Ok(None),
        }
    }

    fn errs(&self, Env { request, entities }: &Env) -> bool {
        let response = Authorizer::new().is_authorized(request, &self.policies, entities);
        response.diagnostics().errors().next().is_some()
    }

    /// Whether there is a request of this agent's that is permitted. One that is known of another is
    /// tried first.
    async fn alive(
        &self,
        solver: &mut Solver,
        agent: &AgentId,
        known: &mut Option<Env>,
    ) -> Result<Verdict, String> {
        if let Some(known) = known
            && self.permits(known, agent)
        {
            return Ok(Verdict::Proved);
        }
        let its = self.compile(&permit(&claim::is_agent(agent))?)?;
        // A request at the 25th hour is none.
        let possible = self.narrowed(&self.policies, &example::impossible()?)?;
        match solver.ask(&disjoint_asserts(&possible, &its)).await {
            Answer::Holds => Ok(Verdict::Refuted(None)),
            Answer::Undecided(why) => Err(why),
            Answer::Fails(found) if self.permits(&found, agent) => {
                *known = Some(*found);
                Ok(Verdict::Proved)
            }
            Answer::Fails(_) => Err(NOT_PERMITTED.to_owned()),
        }
    }

    fn permits(&self, known: &Env, agent: &AgentId) -> bool {
        let Some(entities) = request::with_agent(known, agent) else { return false };
        self.decision(known, &entities) == Decision::Allow
    }

    fn decision(&self, Env { request, .. }: &Env, entities: &Entities) -> Decision {
        Authorizer::new().is_authorized(request, &self.policies, entities).decision()
    }

    fn refuted(&self, found: &Env) -> Result<Verdict, String> {
        let found = Counterexample::of(self.granted, found);
        let found = found.ok_or("the solver found a request without a caller")?;
        Ok(Verdict::Refuted(Some(Box::new(found))))
    }
}

fn permit(condition: &str) -> Result<PolicySet, String> {
    let text = format!("permit (principal, action, resource) when {{ {condition} }};");
    text.parse().map_err(|error| told(&error))
}
