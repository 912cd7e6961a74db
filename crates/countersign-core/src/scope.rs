//! Scope: which argument must lie within what the token says of the caller.

use crate::bound::{ISSUES_SHOWN_MAX, LOOK_UP_VALUES_MAX};
use crate::id::SystemName;
use crate::principal::{CallerRef, Principal};
use crate::recipient::{Domain, Recipient};
use crate::tool::SqlPlan;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// One rule of a tool's `scope:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeRule {
    /// Every value at `path` equals the one value of `caller`.
    Equals {
        /// Where in the arguments.
        path: ArgumentPath,
        /// With what.
        caller: CallerRef,
    },
    /// Every value at `path` is one of `caller`'s.
    In {
        /// Where in the arguments.
        path: ArgumentPath,
        /// With what.
        caller: CallerRef,
    },
    /// `name` is not in the model's schema at all: it is put in from the token.
    Bind {
        /// The argument's name.
        name: String,
        /// Its value.
        caller: CallerRef,
    },
    /// Every value at `path` is a mail address of one of `domains`, and of nothing below them. It
    /// says where a message may go, and nothing of the caller.
    Domains {
        /// Where in the arguments.
        path: ArgumentPath,
        /// At least one.
        domains: BTreeSet<Domain>,
    },
}

/// One rule of a tool's `scope:` that a system has to answer: for an identifier that carries no
/// tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookUp {
    /// Where in the arguments.
    pub path: ArgumentPath,
    /// What is asked.
    pub asks: Asks,
    /// How. [`VALUE`] stands for the identifier.
    pub query: Arc<Query>,
}

/// A statement of the posture's author that only reads, with what it takes to put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which system.
    pub system: SystemName,
    /// The statement, with its time and bounds.
    pub plan: SqlPlan,
    /// How long an answer holds, in milliseconds; without it every call asks.
    pub cached_ms: Option<u32>,
}

impl LookUp {
    /// The texts and numbers at the path, each once. `None` if a step leads nowhere, to something
    /// else, or to more of them than are asked about in one call.
    #[must_use]
    pub fn identifiers<'a>(&self, arguments: &'a Map<String, Value>) -> Option<Vec<&'a Value>> {
        let mut distinct = Vec::new();
        for value in self.path.values(arguments)? {
            if !(value.is_string() || value.is_i64()) {
                return None;
            }
            if !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        (distinct.len() <= LOOK_UP_VALUES_MAX).then_some(distinct)
    }

    /// What is bound to the statement for `value`: [`VALUE`] stands for it, every other parameter
    /// for the argument of its name. Without `value`, every parameter does.
    #[must_use]
    pub fn binding(
        &self,
        arguments: &Map<String, Value>,
        value: Option<&Value>,
    ) -> Map<String, Value> {
        let value_of = |name: &str| match value {
            Some(value) if name == VALUE => Some(value),
            Some(_) | None => arguments.get(name),
        };
        let names = self.query.plan.parameters.iter().map(|parameter| &parameter.name);
        names.filter_map(|name| Some((name.clone(), value_of(name)?.clone()))).collect()
    }
}

/// What a [`LookUp`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// For each value at the path: whether a row comes back that says so, by `1`, `true` or the
    /// value itself.
    Owned,
    /// Once: the list that every value at the path must be in, the first column of the rows.
    Allowed,
}

impl Asks {
    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::Allowed => "allowed",
        }
    }
}

/// The parameter of an [`Asks::Owned`] statement that stands for the value at the path.
pub const VALUE: &str = "value";

/// One rule of a tool's `result:`: every row carries the caller's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRule {
    /// The member of each row.
    pub column: String,
    /// Whose value it must hold: one of these.
    pub caller: CallerRef,
}

impl ResultRule {
    /// Whether every row is an object that carries one of the caller's values. No row is none
    /// of somebody else's.
    pub(crate) fn holds(&self, principal: &Principal, rows: &[Value]) -> bool {
        let own = principal.values(&self.caller);
        rows.iter().all(|row| {
            row.get(&self.column).and_then(Value::as_str).is_some_and(|value| own.contains(value))
        })
    }
}

/// Where in the arguments: `account_id`, `parcel.account_id`, `parcels[].account_id`, `ids[]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArgumentPath(Vec<Step>);

/// One step of an [`ArgumentPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a member of an object.
    Member(String),
    /// Into every element of an array.
    Each,
}

impl ArgumentPath {
    /// Reads a path. `None` if it is empty, has an empty name or begins with `[]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let name = part.trim_end_matches("[]");
            let each = part.len().checked_sub(name.len())?.checked_div(2)?;
            if name.is_empty() || name.contains(['[', ']']) {
                return None;
            }
            steps.push(Step::Member(name.to_owned()));
            steps.extend(std::iter::repeat_n(Step::Each, each));
        }
        Some(Self(steps))
    }

    /// Its steps; the first is a member.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Every text at this path, or `None` if a step leads nowhere or to something that is no text.
    fn texts<'a>(&self, arguments: &'a Map<String, Value>) -> Option<Vec<&'a str>> {
        self.values(arguments)?.into_iter().map(Value::as_str).collect()
    }

    /// Everything at this path, or `None` if a step leads nowhere.
    pub(crate) fn values<'a>(&self, arguments: &'a Map<String, Value>) -> Option<Vec<&'a Value>> {
        let (first, rest) = self.0.split_first()?;
        let Step::Member(first) = first else { return None };
        let mut at = vec![arguments.get(first)?];
        for step in rest {
            let mut next = Vec::new();
            for value in at {
                match step {
                    Step::Member(name) => next.push(value.as_object()?.get(name)?),
                    Step::Each => next.extend(value.as_array()?),
                }
            }
            at = next;
        }
        Some(at)
    }
}

impl fmt::Display for ArgumentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Member(name) if index == 0 => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Each => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

/// An argument that reaches outside what the caller may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeViolation {
    /// Which argument.
    pub path: String,
    /// What this caller may name there: its own values, never another's.
    pub allowed: Vec<String>,
    /// Whether those are domains, and an address of one of them is meant.
    pub domains: bool,
}

impl ScopeViolation {
    /// The caller's own values, as a phrase that follows "must"; at most [`ISSUES_SHOWN_MAX`].
    #[must_use]
    pub fn expected(&self) -> String {
        if self.allowed.is_empty() {
            return "be left alone: nothing there is yours".to_owned();
        }
        let own: Vec<String> =
            self.allowed.iter().take(ISSUES_SHOWN_MAX).map(|value| format!("`{value}`")).collect();
        match self.domains {
            true => format!("be an address of one of these domains: {}", own.join(", ")),
            false => format!("be one of your own: {}", own.join(", ")),
        }
    }
}

/// What the scope rules were shown: for each rule's path, the values found there.
pub type ScopeEvidence = BTreeMap<String, BTreeSet<String>>;

impl ScopeRule {
    /// Where the model supplies a value that is the caller's own.
    #[must_use]
    pub fn path(&self) -> Option<(&ArgumentPath, &CallerRef)> {
        match self {
            Self::Equals { path, caller } | Self::In { path, caller } => Some((path, caller)),
            Self::Bind { .. } | Self::Domains { .. } => None,
        }
    }

    /// Where the model supplies a value; `None` for a bound argument.
    #[must_use]
    pub const fn at(&self) -> Option<&ArgumentPath> {
        match self {
            Self::Equals { path, .. } | Self::In { path, .. } | Self::Domains { path, .. } => {
                Some(path)
            }
            Self::Bind { .. } => None,
        }
    }

    /// What of the caller it compares with or puts in.
    #[must_use]
    pub const fn caller(&self) -> Option<&CallerRef> {
        match self {
            Self::Equals { caller, .. } | Self::In { caller, .. } | Self::Bind { caller, .. } => {
                Some(caller)
            }
            Self::Domains { .. } => None,
        }
    }

    /// The values at the rule's path, if there is at least one and all are the caller's.
    pub(crate) fn verify(
        &self,
        principal: &Principal,
        arguments: &Map<String, Value>,
    ) -> Result<Option<(String, BTreeSet<String>)>, ScopeViolation> {
        if let Self::Domains { path, domains } = self {
            return reached(path, domains, arguments).map(Some);
        }
        let Some((path, caller)) = self.path() else { return Ok(None) };
        let allowed = principal.values(caller);
        let found = path.texts(arguments).unwrap_or_default();
        // Nothing there is not "within": an absent filter reads everybody's rows.
        if found.is_empty() || !found.iter().all(|text| allowed.contains(text)) {
            return Err(ScopeViolation {
                path: path.to_string(),
                allowed: allowed.into_iter().map(str::to_owned).collect(),
                domains: false,
            });
        }
        Ok(Some((path.to_string(), found.into_iter().map(str::to_owned).collect())))
    }

    fn bound(&self, principal: &Principal) -> Result<Option<(String, Value)>, ScopeViolation> {
        let Self::Bind { name, caller } = self else { return Ok(None) };
        let values = principal.values(caller);
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Ok(Some((name.clone(), Value::from(only)))),
            (None, _) | (Some(_), Some(_)) => {
                Err(ScopeViolation { path: name.clone(), allowed: Vec::new(), domains: false })
            }
        }
    }
}

/// The domains of the addresses at `path`, if there is at least one address and all are of `domains`.
fn reached(
    path: &ArgumentPath,
    domains: &BTreeSet<Domain>,
    arguments: &Map<String, Value>,
) -> Result<(String, BTreeSet<String>), ScopeViolation> {
    let texts = path.texts(arguments).unwrap_or_default();
    let read = texts.into_iter().map(|text| {
        let domain = Recipient::parse(text).ok()?.domain().clone();
        domains.contains(&domain).then(|| domain.to_string())
    });
    let found = read.collect::<Option<BTreeSet<_>>>().filter(|found| !found.is_empty());
    found.map(|found| (path.to_string(), found)).ok_or_else(|| ScopeViolation {
        path: path.to_string(),
        allowed: domains.iter().map(Domain::to_string).collect(),
        domains: true,
    })
}

/// Verifies every rule and returns the values to put in beside the model's own.
///
/// # Errors
/// The first [`ScopeViolation`]; what a token lacks permits nothing.
pub fn bind(
    rules: &[ScopeRule],
    principal: &Principal,
    arguments: &Map<String, Value>,
) -> Result<(ScopeEvidence, Vec<(String, Value)>), ScopeViolation> {
    let mut evidence = ScopeEvidence::new();
    let mut bound = Vec::new();
    for rule in rules {
        evidence.extend(rule.verify(principal, arguments)?);
        bound.extend(rule.bound(principal)?);
    }
    Ok((evidence, bound))
}

/// The input schema as this caller is shown it: a scoped argument lists the caller's own values
/// and nobody else's.
#[must_use]
pub fn shown_to(
    principal: &Principal,
    rules: &[ScopeRule],
    schema: &Map<String, Value>,
) -> Map<String, Value> {
    let mut shown = schema.clone();
    for (path, caller) in rules.iter().filter_map(ScopeRule::path) {
        let Some(leaf) = leaf_schema(&mut shown, path.steps()) else { continue };
        let declared: Option<BTreeSet<String>> = leaf
            .get("enum")
            .and_then(Value::as_array)
            .map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        let own: Vec<Value> = principal
            .values(caller)
            .into_iter()
            .filter(|value| declared.as_ref().is_none_or(|declared| declared.contains(*value)))
            .map(Value::from)
            .collect();
        // Nothing else of it: a pattern or a constant may spell out other tenants' identifiers.
        leaf.retain(|keyword, _| matches!(keyword.as_str(), "type" | "description"));
        leaf.insert("enum".to_owned(), Value::Array(own));
    }
    shown
}

/// The schema object that governs what stands at `steps`.
fn leaf_schema<'a>(
    schema: &'a mut Map<String, Value>,
    steps: &[Step],
) -> Option<&'a mut Map<String, Value>> {
    let Some((step, rest)) = steps.split_first() else { return Some(schema) };
    let next = match step {
        Step::Member(name) => schema.get_mut("properties")?.as_object_mut()?.get_mut(name)?,
        Step::Each => schema.get_mut("items")?,
    };
    leaf_schema(next.as_object_mut()?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ActorId, IssuerId, SubjectId, TenantId, Timestamp};
    use proptest::prelude::*;
    use serde_json::json;

    fn principal(tenant: &str, accounts: &[&str]) -> Principal {
        Principal {
            issuer: IssuerId::new("i").unwrap(),
            subject: SubjectId::new("s").unwrap(),
            actor: ActorId::new("a").unwrap(),
            tenant: TenantId::new(tenant).unwrap(),
            sid: None,
            person: None,
            scopes: BTreeSet::new(),
            attributes: BTreeMap::from([(
                "accounts".to_owned(),
                accounts.iter().map(|&a| a.to_owned()).collect(),
            )]),
            agent_build: None,
            model: None,
            expires: Timestamp::from_secs(0),
        }
    }

    fn equals(path: &str) -> ScopeRule {
        ScopeRule::Equals { path: ArgumentPath::parse(path).unwrap(), caller: CallerRef::Tenant }
    }

    fn within(path: &str) -> ScopeRule {
        ScopeRule::In {
            path: ArgumentPath::parse(path).unwrap(),
            caller: CallerRef::Attribute("accounts".to_owned()),
        }
    }

    fn outcome(rule: ScopeRule, caller: &Principal, arguments: Value) -> bool {
        bind(&[rule], caller, arguments.as_object().unwrap()).is_ok()
    }

    #[test]
    fn equals_holds_for_every_value_at_the_path_and_refuses_none_at_all() {
        let caller = principal("t1", &[]);
        assert!(outcome(equals("a"), &caller, json!({"a": "t1"})));
        assert!(outcome(
            equals("x.y[].a"),
            &caller,
            json!({"x": {"y": [{"a": "t1"}, {"a": "t1"}]}})
        ));
        for (path, arguments) in [
            ("a", json!({"a": "t2"})),
            ("a", json!({})),
            ("a", json!({"a": null})),
            ("a", json!({"a": ["t1"]})),
            ("a[]", json!({"a": []})),
            ("a[]", json!({"a": ["t1", "t2"]})),
            ("a[]", json!({"a": "t1"})),
            ("x.y[].a", json!({"x": {"y": [{"a": "t1"}, {"a": "t2"}]}})),
            ("x.y[].a", json!({"x": {"y": [{"a": "t1"}, {}]}})),
        ] {
            assert!(!outcome(equals(path), &caller, arguments.clone()), "{path} {arguments}");
        }
    }

    #[test]
    fn an_address_reaches_an_allowed_domain_and_no_look_alike_of_it() {
        let domains = ["acme.example", "bücher.example"].map(|text| Domain::parse(text).unwrap());
        let rule = |path: &str| ScopeRule::Domains {
            path: ArgumentPath::parse(path).unwrap(),
            domains: domains.clone().into(),
        };
        let bound = |arguments: &Value| {
            bind(&[rule("to[]")], &principal("t", &[]), arguments.as_object().unwrap())
        };
        let arguments = json!({"to": ["ann@ACME.example", "bob@bücher.example"]});
        let (evidence, _) = bound(&arguments).unwrap();
        let reached = ["acme.example", "xn--bcher-kva.example"].map(str::to_owned);
        assert_eq!(evidence["to[]"], reached.into());
        for text in [
            "eve@evil.example",
            "ann@sub.acme.example",
            "ann@acme.example.evil.example",
            "ann@acme.example.",
            "ann@\u{430}cme.example",
            "ann@xn--cme-7cd.example",
            "ann@асме.example",
            "Ann <ann@acme.example>",
            "ann@acme.example, eve@evil.example",
            "ann@acme.example\r\nBcc: eve@evil.example",
        ] {
            for to in [json!([text]), json!(["ann@acme.example", text])] {
                let violation = bound(&json!({"to": to})).unwrap_err();
                assert_eq!(
                    violation.expected(),
                    "be an address of one of these domains: `acme.example`, `xn--bcher-kva.example`",
                    "{text}"
                );
            }
        }
        for arguments in [json!({}), json!({"to": []}), json!({"to": "ann@acme.example"})] {
            assert!(bound(&arguments).is_err(), "{arguments}");
        }
    }

    #[test]
    fn a_set_claim_that_is_absent_permits_nothing() {
        assert!(outcome(within("a"), &principal("t", &["p", "q"]), json!({"a": "q"})));
        assert!(!outcome(within("a"), &principal("t", &["p"]), json!({"a": "q"})));
        assert!(!outcome(within("a"), &principal("t", &[]), json!({"a": "q"})));
    }

    #[test]
    fn a_bound_argument_needs_exactly_one_value() {
        let rule = |caller| ScopeRule::Bind { name: "tenant".to_owned(), caller };
        let (_, bound) =
            bind(&[rule(CallerRef::Tenant)], &principal("t1", &[]), &Map::new()).unwrap();
        assert_eq!(bound, [("tenant".to_owned(), json!("t1"))]);
        for accounts in [&[][..], &["p", "q"]] {
            let caller = principal("t1", accounts);
            assert!(
                bind(&[rule(CallerRef::Attribute("accounts".to_owned()))], &caller, &Map::new())
                    .is_err()
            );
        }
    }

    #[test]
    fn the_schema_shows_the_callers_own_values_only() {
        let schema = json!({"properties": {
            "a": {"type": "string", "enum": ["t1", "t2", "t3"]},
            "l": {"type": "array", "items": {"properties": {"b": {"type": "string", "pattern": "^(p|q)$"}}}},
        }});
        let rules = [equals("a"), within("l[].b")];
        let shown = shown_to(&principal("t2", &["p"]), &rules, schema.as_object().unwrap());
        assert_eq!(
            Value::Object(shown),
            json!({"properties": {
                "a": {"type": "string", "enum": ["t2"]},
                "l": {"type": "array", "items": {"properties": {"b": {"type": "string", "enum": ["p"]}}}},
            }})
        );
    }

    #[test]
    fn paths_that_lead_nowhere_are_not_paths() {
        for text in ["", ".", "a.", "[]", "a[0]", "a..b", "a[]b"] {
            assert_eq!(ArgumentPath::parse(text), None, "{text}");
        }
        assert_eq!(ArgumentPath::parse("a.b[].c[][]").unwrap().to_string(), "a.b[].c[][]");
    }

    proptest! {
        #[test]
        fn what_passes_equals_is_all_the_tenants(values in prop::collection::vec("t[1-3]", 0..4)) {
            let passes = outcome(equals("l[].a"), &principal("t1", &[]),
                json!({"l": values.iter().map(|v| json!({"a": v})).collect::<Vec<_>>()}));
            prop_assert_eq!(passes, !values.is_empty() && values.iter().all(|v| v == "t1"));
        }
    }
}
