//! Whatever one posture admits and another refuses, or admits on a higher step, is told as wider.

use super::super::pattern::beyond;
use super::*;
use countersign_core::id::{ActorId, IssuerId, SubjectId, TenantId, Timestamp};
use countersign_core::port::{Pdp as _, Question};
use countersign_core::principal::Principal;
use countersign_core::scope;
use countersign_core::tool::Rung;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Map;
use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;

/// A source of choices, the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// A request, and whose.
struct Request {
    principal: Principal,
    tool: ToolName,
    arguments: Map<String, Value>,
}

/// On which step a posture admits a request; `None` if it refuses it. As the pipeline's stages do, up to
/// those that ask systems.
fn admitted(side: Side<'_>, request: &Request) -> Option<Rung> {
    let Request { principal, tool, arguments } = request;
    let agent = side.loaded.posture.agents.get(&principal.actor)?;
    let grant = agent.grants.get(tool).filter(|_| agent.is(principal))?;
    if grant.lacking(principal).is_some() {
        return None;
    }
    let tool = &grant.tool;
    if !tool.schema.issues(&Value::Object(arguments.clone())).is_empty() {
        return None;
    }
    let (evidence, bound) = scope::bind(&tool.scope, principal, arguments).ok()?;
    let mut arguments = arguments.clone();
    arguments.extend(bound);
    let now = Timestamp::from_secs(1_800_000_000);
    let question = Question {
        agent: &agent.id,
        principal,
        tool: &tool.name,
        arguments: &arguments,
        scope: &evidence,
        now,
        approver: None,
    };
    let permission = side.bundle.decide(&question).ok()?;
    Some(permission.clearance.max(tool.ladder.rung(now)))
}

/// Values that a schema takes, or nearly, beside those of another.
fn values(of: [Option<&Value>; 2], dice: &mut Dice) -> Value {
    let schema = dice.one_of(&of.into_iter().flatten().collect::<Vec<_>>());
    let other =
        |key: &'static str| of.into_iter().flatten().filter_map(move |schema| schema.get(key));
    match schema["type"].as_str().unwrap() {
        "object" => object(of, dice),
        "array" => {
            let items = of.map(|schema| schema.and_then(|schema| schema.get("items")));
            let sizes: Vec<_> = ["minItems", "maxItems"].into_iter().flat_map(other).collect();
            let size = dice.one_of(&sizes).as_u64().unwrap() + u64::from(dice.below(4) == 0);
            (0..size).map(|_| values(items, dice)).collect()
        }
        "boolean" => Value::Bool(dice.below(2) == 0),
        "integer" | "number" => {
            let ends = ["minimum", "maximum"].into_iter().flat_map(other).filter_map(Value::as_i64);
            let listed = other("enum").flat_map(|listed| listed.as_array().unwrap());
            let near = ends.chain(listed.filter_map(Value::as_i64));
            let near: Vec<_> = near.flat_map(|n| [n - 1, n, n + 1, n / 2]).collect();
            dice.one_of(&near).into()
        }
        _ => {
            let mut texts: Vec<String> = Vec::new();
            for schema in of.into_iter().flatten() {
                let fitting = crate::proof::example::fitting(schema.as_object().unwrap());
                texts.extend(fitting.and_then(|text| Some(text.as_str()?.to_owned())));
                let listed = schema.get("enum").and_then(Value::as_array);
                texts.extend(listed.into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()));
                for key in ["minLength", "maxLength"] {
                    let length = schema.get(key).and_then(Value::as_u64);
                    let length = length.and_then(|length| usize::try_from(length).ok());
                    texts.extend(length.map(|length| "a".repeat(length + dice.below(2))));
                }
            }
            let patterns: Vec<_> = other("pattern").filter_map(Value::as_str).collect();
            texts.extend(
                patterns.iter().filter_map(|pattern| odd(&regex_syntax::parse(pattern).ok()?)),
            );
            if let [one, another] = patterns[..] {
                texts.extend(told_apart(one, another));
                texts.extend(told_apart(another, one));
            }
            dice.one_of(&texts).into()
        }
    }
}

/// The last text of a form, whoever would write it: without what compares patterns, which may err.
fn odd(form: &Hir) -> Option<String> {
    match form.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Class(Class::Unicode(class)) => Some(class.ranges().last()?.end().to_string()),
        HirKind::Class(Class::Bytes(class)) => {
            Some(char::from(class.ranges().last()?.end()).to_string())
        }
        HirKind::Repetition(of) => Some(odd(&of.sub)?.repeat(of.min.max(1).try_into().ok()?)),
        HirKind::Capture(capture) => odd(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(odd).collect(),
        HirKind::Alternation(ways) => odd(ways.last()?),
    }
}

/// A text that tells two patterns apart, found once.
fn told_apart(new: &str, old: &str) -> Option<String> {
    static FOUND: Mutex<BTreeMap<[String; 2], Option<String>>> = Mutex::new(BTreeMap::new());
    let key = [new, old].map(str::to_owned);
    let mut found = FOUND.lock().unwrap();
    found.entry(key).or_insert_with(|| beyond(new, old).unwrap()).clone()
}

fn object(of: [Option<&Value>; 2], dice: &mut Dice) -> Value {
    let names =
        of.into_iter().flatten().flat_map(|schema| schema["properties"].as_object().unwrap());
    let mut members = Map::new();
    for (name, _) in names {
        let inner = of.map(|schema| schema.and_then(|schema| schema["properties"].get(name)));
        if dice.below(12) > 0 {
            members.insert(name.clone(), values(inner, dice));
        }
    }
    Value::Object(members)
}

/// Of any tool, or of those `about` which something was edited.
fn request(sides: [Side<'_>; 2], about: &str, dice: &mut Dice) -> Request {
    let agents = sides.iter().flat_map(|side| &side.loaded.posture.agents);
    let all: Vec<(ActorId, ToolName)> = agents
        .flat_map(|(actor, agent)| agent.grants.keys().map(|tool| (actor.clone(), tool.clone())))
        .collect();
    let about: Vec<_> = all.iter().filter(|(_, tool)| tool.as_str() == about).cloned().collect();
    let (actor, tool) = dice.one_of(if about.is_empty() { &all } else { &about });
    let agents = sides.map(|side| side.loaded.posture.agents.get(&actor));
    let schemas =
        agents.map(|agent| Some(Value::Object(agent?.grants.get(&tool)?.tool.input.clone())));
    let arguments = object(schemas.each_ref().map(Option::as_ref), dice);
    let sets = |dice: &mut Dice, of: &[&str]| {
        of.iter().filter(|_| dice.below(2) == 0).map(|&text| text.to_owned()).collect()
    };
    let attributes = [
        ("depots".to_owned(), sets(dice, &["AAA", "HAM", "ZZZ"])),
        ("groups".to_owned(), sets(dice, &["finance", "accounting", "AAA"])),
    ];
    let text = arguments.to_string();
    let tenants = ["acct_alpha", "acct_bravo", "acct_charlie", "acct_delta"];
    let own = tenants.into_iter().find(|tenant| text.contains(tenant));
    let tenant = own.filter(|_| dice.below(8) > 0).unwrap_or_else(|| dice.one_of(&tenants));
    let issuer = dice.one_of(&["https://id.example", "https://other.example"]);
    let principal = Principal {
        issuer: IssuerId::new(issuer).unwrap(),
        subject: SubjectId::new("ann").unwrap(),
        actor,
        tenant: TenantId::new(tenant).unwrap(),
        sid: None,
        person: None,
        scopes: sets(dice, &["tours"]),
        attributes: attributes.into(),
        agent_build: None,
        model: None,
        expires: Timestamp::from_secs(2_000_000_000),
    };
    let Value::Object(arguments) = arguments else { panic!("an object") };
    Request { principal, tool, arguments }
}

/// How many requests each pair of postures is asked: in CI few.
fn requests() -> usize {
    let named = env::var_os("COUNTERSIGN_DIFF_REQUESTS").and_then(|named| named.into_string().ok());
    named.map_or(150, |number| number.parse().unwrap())
}

#[tokio::test]
async fn whatever_is_newly_admitted_is_told_as_wider() {
    let mut dice = Dice(0x5eed_0000_0001);
    let known = [&ARGUMENTS[..], &SCOPE, &LADDER, &AGENTS, &POLICIES];
    let base = Posture::with(&[]);
    let edits = known.into_iter().flatten().map(|&(file, from, to, ..)| {
        (None, Posture::with(&[(file, from, to)]), file, format!("{file}: {from} → {to}"))
    });
    let sides = SIDES.iter().map(|&(old, new, ..)| {
        let &(file, ..) = new.last().unwrap();
        let [of_old, of_new] = [old, new].map(Posture::with);
        (Some(of_old), of_new, file, format!("{old:?} → {new:?}"))
    });
    let (mut apart, mut wider) = (0, 0);
    for (old, new, file, what) in edits.chain(sides) {
        let about = file.strip_prefix("tools/").and_then(|name| name.strip_suffix(".yaml"));
        let about = about.unwrap_or(if file == LARGE { "refund_invoice" } else { "" });
        let old = old.as_ref().unwrap_or(&base);
        for (old, new) in [(old, &new), (&new, old)] {
            let found = diff(old.side(), new.side()).await;
            let mut newly = 0;
            for _ in 0..requests() {
                let request = request([old.side(), new.side()], about, &mut dice);
                let Some(after) = admitted(new.side(), &request) else { continue };
                let before = admitted(old.side(), &request);
                // A step less is something more.
                newly += usize::from(before.is_none_or(|before| after < before));
            }
            assert!(newly == 0 || found.wider(), "{what}: {newly}\n{}", found.text(false));
            apart += newly;
            wider += usize::from(newly > 0);
        }
    }
    eprintln!("{apart} requests told {wider} pairs of postures apart");
    assert!(apart >= requests() / 2 && wider >= 15, "{apart} requests, {wider} pairs");
}
