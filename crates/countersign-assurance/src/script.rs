//! A scripted agent: proposes what the case says, and lets people decide what it says.

use crate::bound::{SETTLES_EVERY, SETTLES_MAX};
use crate::door::Told;
use crate::outside::Tokens;
use crate::port::{Ground, TokenFor};
use crate::site::{Ran, Site};
use crate::stand_in::Asked;
use crate::world::Change;
use countersign_core::posture::Agent;
use countersign_posture::Loaded;
use countersign_posture::evals::{
    CallStep, Caller, Case, CaseDoor, CaseKind, DecideStep, StandInStep, Step,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happened while a case ran, as the suite itself saw it.
#[derive(Debug, Default)]
pub struct Observed {
    /// Whether the script was followed.
    pub scripted: bool,
    /// Whether the agent is not the suite's own: it did what it would.
    pub outside: bool,
    /// The calls, in order.
    pub calls: Vec<Made>,
    /// What people decided.
    pub decisions: Vec<Decided>,
    /// Who was let stand in, at which step, and how that ended.
    pub stood_in: Vec<(usize, StandInStep, String)>,
    /// What the systems ran, with the tenant of the step.
    pub statements: Vec<(Ran, String)>,
    /// Statements that answer otherwise where there is no other tenant.
    pub wider: Vec<(Ran, String)>,
    /// What reached stand-ins, with the tenant of the step.
    pub requests: Vec<(Asked, String)>,
    /// What changed in the systems.
    pub changes: Vec<Change>,
    /// Texts that no agent may be told.
    pub secrets: Vec<String>,
    /// What else the agent was told, such as its tools.
    pub told: Vec<String>,
    /// Who called: on whose behalf, in which session, for which tenant.
    pub callers: BTreeSet<(String, String, String)>,
    /// What it said in the end.
    pub answer: Option<String>,
    /// What it said on its standard error, the end of it.
    pub stderr: String,
    /// What the model cost.
    pub tokens: Tokens,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it came to no end.
    pub broke: Option<String>,
}

/// A call that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Which step of the script.
    pub step: Option<usize>,
    /// Whose data it was about.
    pub tenant: String,
    /// On whose behalf.
    pub user: String,
    /// Its session.
    pub session: String,
    /// The door.
    pub door: CaseDoor,
    /// The tool.
    pub tool: String,
    /// With what.
    pub arguments: Map<String, Value>,
    /// What the agent was told.
    pub told: Told,
}

/// What a person decided.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Which step of the script.
    pub step: usize,
    /// What it was.
    pub what: DecideStep,
    /// The draft.
    pub draft: String,
    /// The tool of it.
    pub tool: String,
    /// On whose behalf it was asked for.
    pub user: String,
    /// Whose data it is about.
    pub tenant: String,
    /// Whether the gateway took it.
    pub taken: bool,
    /// How it ended: the draft's state, or the code.
    pub end: String,
}

/// An agent at work on one case.
pub(crate) struct Session<'s, 'a> {
    pub(crate) site: &'s mut Site<'a>,
    pub(crate) ground: &'s dyn Ground,
    pub(crate) loaded: &'s Loaded,
    pub(crate) case: &'s Case,
    pub(crate) door: CaseDoor,
    pub(crate) observed: Observed,
    drafts: BTreeMap<String, (String, Made)>,
    tokens: BTreeMap<String, Option<String>>,
}

impl<'s, 'a> Session<'s, 'a> {
    pub(crate) fn new(
        site: &'s mut Site<'a>,
        (ground, loaded): (&'s dyn Ground, &'s Loaded),
        (case, door): (&'s Case, CaseDoor),
    ) -> Self {
        let (drafts, tokens) = Default::default();
        Self { site, ground, loaded, case, door, observed: Observed::default(), drafts, tokens }
    }

    /// Puts the plants where the calls that they are for find them.
    pub(crate) fn plant(&mut self) -> Result<(), String> {
        for plant in &self.case.plants {
            let planted = crate::plant::plant(self.site, self.loaded, (&self.case.caller, plant))?;
            if !planted {
                return Err(format!(
                    "`{}` finds no text that the plant could be put after",
                    plant.tool
                ));
            }
        }
        self.site.begin()
    }

    /// Goes through the script.
    pub(crate) fn follow(&mut self) -> Result<(), String> {
        self.observed.scripted = true;
        let steps = &self.case.script;
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Call(call) => self.calls(at, call)?,
                Step::Decide(decide) => self.decide(at, decide)?,
                Step::StandIn(stand_in) => self.stand_in(at, stand_in)?,
                Step::Fail(system) => self.site.fail(system)?,
                Step::Lose(system) => self.site.lose(system)?,
                Step::Wait(ms) => {
                    std::thread::sleep(std::time::Duration::from_millis((*ms).into()))
                }
            }
        }
        Ok(())
    }

    fn calls(&mut self, at: usize, call: &CallStep) -> Result<(), String> {
        let caller = call.caller.as_ref().unwrap_or(&self.case.caller).clone();
        for number in 1..=call.times {
            let arguments = call.arguments.iter();
            let filled = arguments.map(|(name, value)| (name.clone(), self.filled(value, number)));
            let filled: Map<_, _> = filled.collect();
            let made = self.call(Some(at), &caller, (&call.tool, filled))?;
            if let (Some(name), Some(draft)) = (&call.name, made.told.draft.clone()) {
                self.drafts.insert(name.clone(), (draft, made));
            }
        }
        Ok(())
    }

    /// A text that stands for something else.
    fn filled(&self, value: &Value, number: u32) -> Value {
        match value {
            Value::String(text) => {
                let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
                match name {
                    Some("n") => Value::from(number),
                    Some(name) if self.drafts.contains_key(name) => {
                        self.drafts.get(name).map_or(Value::Null, |(draft, _)| json!(draft))
                    }
                    Some(_) | None => Value::from(text.replace("{n}", &number.to_string())),
                }
            }
            Value::Array(items) => items.iter().map(|item| self.filled(item, number)).collect(),
            Value::Object(members) => {
                let filled = members.iter();
                let filled = filled.map(|(name, item)| (name.clone(), self.filled(item, number)));
                Value::Object(filled.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Makes one call and takes in what the systems did meanwhile.
    pub(crate) fn call(
        &mut self,
        step: Option<usize>,
        caller: &Caller,
        (tool, arguments): (&str, Map<String, Value>),
    ) -> Result<Made, String> {
        let token = self.token(caller)?;
        let told = self.site.doors.call(self.door, token.as_deref(), (tool, &arguments))?;
        let made = self.made(step, (caller, self.door), (tool, arguments, told))?;
        self.look(&caller.tenant);
        Ok(made)
    }

    /// Takes in a call that was made.
    pub(crate) fn made(
        &mut self,
        step: Option<usize>,
        (caller, door): (&Caller, CaseDoor),
        (tool, arguments, told): (&str, Map<String, Value>, Told),
    ) -> Result<Made, String> {
        let (user, session) = self.who(caller);
        let (tenant, tool) = (caller.tenant.clone(), tool.to_owned());
        let made = Made { step, tenant, user, session, door, tool, arguments, told };
        self.observed.calls.push(made.clone());
        Ok(made)
    }

    /// On whose behalf a caller calls, and in which session.
    fn who(&mut self, caller: &Caller) -> (String, String) {
        let id = self.case.id();
        let user = caller.user.clone().unwrap_or_else(|| format!("user of {id}"));
        let session = caller.session.clone().unwrap_or_else(|| format!("session of {id}"));
        self.observed.callers.insert((user.clone(), session.clone(), caller.tenant.clone()));
        (user, session)
    }

    /// The token of a caller.
    pub(crate) fn token(&mut self, caller: &Caller) -> Result<Option<String>, String> {
        let (user, session) = self.who(caller);
        let key = format!("{caller:?}");
        // Limits are the caller's, whatever token it comes with: there each call has another.
        let kept = self.tokens.get(&key).filter(|_| self.case.kind != CaseKind::Limits);
        if let Some(token) = kept {
            return Ok(token.clone());
        }
        let agents = &self.loaded.posture.agents;
        let found = agents.iter().find(|(_, agent)| agent.id.as_str() == caller.agent);
        let (client, agent): (_, &Arc<Agent>) = found.ok_or("there is no such agent")?;
        let asked = TokenFor {
            issuer: agent.issuer.as_ref().map(ToString::to_string),
            client: client.to_string(),
            tenant: caller.tenant.clone(),
            user,
            session: self.loaded.claims.session.as_ref().map(|_| session),
            claims: caller.claims.clone(),
            scopes: caller.scopes.clone(),
            token: caller.token,
        };
        let token = self.ground.token(&asked)?;
        if let Some(token) = &token {
            self.observed.secrets.push(token.clone());
        }
        self.tokens.insert(key, token.clone());
        Ok(token)
    }

    fn decide(&mut self, at: usize, step: &DecideStep) -> Result<(), String> {
        let Some((draft, made)) = self.drafts.get(&step.draft).cloned() else {
            return Err(format!("step {} has made no draft", step.draft));
        };
        let token = self.ground.person(&step.by)?;
        let code = self.site.doors.decide(&token, (&draft, step))?;
        let taken = code.is_none();
        let end = match code {
            Some(code) => code,
            None => self.settled(&token, &draft)?,
        };
        let Made { tool, user, tenant, .. } = made;
        self.look(&tenant);
        let what = step.clone();
        self.observed.decisions.push(Decided {
            step: at,
            what,
            draft,
            tool,
            user,
            tenant,
            taken,
            end,
        });
        Ok(())
    }

    fn stand_in(&mut self, at: usize, step: &StandInStep) -> Result<(), String> {
        let token = self.ground.person(&step.by)?;
        let code = self.site.doors.stand_in(&token, (&step.to, &self.ground.in_an_hour()))?;
        let end = code.unwrap_or_else(|| "completed".to_owned());
        self.observed.stood_in.push((at, step.clone(), end));
        Ok(())
    }

    /// How a draft ended, once it has been carried out.
    fn settled(&self, token: &str, draft: &str) -> Result<String, String> {
        let mut left = SETTLES_MAX;
        loop {
            let state = self.site.doors.state(token, draft)?.unwrap_or_default();
            if !matches!(state.as_str(), "waiting" | "approved" | "committing") || left.is_zero() {
                return Ok(state);
            }
            std::thread::sleep(SETTLES_EVERY);
            left = left.saturating_sub(SETTLES_EVERY);
        }
    }

    /// Takes in what the systems did since.
    pub(crate) fn look(&mut self, tenant: &str) {
        let ran = self.site.statements();
        self.observed.statements.extend(ran.into_iter().map(|ran| (ran, tenant.to_owned())));
        let asked = self.site.requests();
        self.observed.requests.extend(asked.into_iter().map(|asked| (asked, tenant.to_owned())));
    }

    /// Ends the case: what changed, and which statements saw more than their tenant's.
    pub(crate) fn end(mut self) -> Result<Observed, String> {
        self.look(&self.case.caller.tenant.clone());
        for (ran, tenant) in self.observed.statements.clone() {
            if self.site.keeps_to(&ran, &tenant)? == Some(false) {
                self.observed.wider.push((ran, tenant));
            }
        }
        self.observed.changes = self.site.end()?;
        self.observed.secrets.extend(self.site.secrets());
        Ok(self.observed)
    }
}
