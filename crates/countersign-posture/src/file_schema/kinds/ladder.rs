//! The keys of the approval ladder: in `posture.yaml`, and in a tool.

use super::{
    IDENTIFIER, between, boolean, date, leaf, line, name, optional, parts, path_of_request,
    pattern, quantity, required, text,
};
use crate::bound::{
    AFFECTS_MAX, APPROVERS_MAX, DECISION_TIMEOUT_MS_MAX, GATE_EXPIRES_SECONDS_MAX, LINE_BYTES_MAX,
    STATEMENT_BYTES_MAX,
};
use crate::budget::{DIGITS_MAX, PERS, WINDOWS};
use crate::file_schema::{Key, Shape};
use crate::gate;
use crate::request::METHODS;
use countersign_core::tool::Method;
use serde_json::json;

const PERSON: &str = r"^[^@ \r\n]+@[^@ \r\n]+$";

fn person(example: &str) -> Shape {
    pattern("an address", PERSON, LINE_BYTES_MAX, example)
}

/// `ladder:` of `posture.yaml`.
pub(super) fn steps() -> Shape {
    let step = |of, about, own| optional(of, about, between(1, 4, own));
    Shape::Map(vec![
        required("owner", "Who answers for these steps.", person("ciso@example.com")),
        step("read", "The step of reads: 1, or 3 or 4 to have people asked.", 1),
        step("reversible", "The step of what can be undone: from 2.", 3),
        step("persistent", "The step of what stays: from 3.", 4),
        step("irreversible", "The step of what cannot be taken back: 4.", 4),
    ])
}

/// What a tool says of it.
pub(super) fn tool() -> Vec<Key> {
    vec![
        optional(
            "rung",
            "The step of the ladder it stands on, above the effect's own: 1 is free, 2 needs `check`, 3 and 4 need `gate`.",
            between(1, 4, 4),
        ),
        optional(
            "exception",
            "Leave to stand below the effect's step for a time. Every record that it touches names it.",
            Shape::Map(vec![
                required("rung", "The step it stands on instead.", between(1, 3, 2)),
                required("reason", "Why.", line("The sandbox holds nobody's money.")),
                required("reviewed_by", "By whose leave.", line("security@example.com")),
                required(
                    "expires",
                    "The first day on which it does not hold any more (UTC).",
                    date("2027-01-31"),
                ),
            ]),
        ),
        optional(
            "gate",
            "Who has to agree before the effect happens: on the third step and the fourth, and there required.",
            gate(),
        ),
        optional(
            "check",
            "What shows that the effect took place: required where nobody agrees to it. A statement is part of the effect's transaction, and its first row has one column that says so, by `1` or `true`; if not, all is rolled back.",
            check(),
        ),
        optional(
            "undo",
            "The request that puts an effect back whose check fails; a statement is rolled back by itself.",
            undo(),
        ),
        optional(
            "affects",
            "How many rows a statement with an effect changes; exactly one if left out. Outside it, none is.",
            Shape::Map(vec![
                required("max", "At most.", between(1, i64::from(AFFECTS_MAX), 20)),
                optional("min", "At least; 1 if left out.", between(0, i64::from(AFFECTS_MAX), 1)),
            ]),
        ),
        optional(
            "budget",
            "Sums that all calls of the clock's hour or day keep to together, by what is added up: an integer argument that is never negative, by its path, `rows`, or `recipients` of a message.",
            budget(),
        ),
    ]
}

fn named() -> Shape {
    Shape::List {
        of: Box::new(person("ann@example.com")),
        items_min: 1,
        items_max: Some(APPROVERS_MAX),
    }
}

fn escalation() -> Key {
    let to = vec![
        optional("named", "Any of these people.", named()),
        optional("group", "Any member of this group; not on the fourth step.", line("directors")),
    ];
    let keys = vec![
        required(
            "after",
            "How long after its proposal; shorter than `expires`.",
            quantity(&gate::DURATIONS, GATE_EXPIRES_SECONDS_MAX, "1h"),
        ),
        required("to", "Who may agree as well from then on.", Shape::One(to)),
    ];
    let about = "Further people, for a draft that has waited for long. They are told then.";
    optional("escalate", about, Shape::Map(keys))
}

fn gate() -> Shape {
    let subject = optional(
        "subject",
        "Beside `group`: whether the person on whose behalf the agent acts may agree as well.",
        boolean(),
    );
    let approvers = vec![
        optional("named", "Any of these people.", named()),
        optional(
            "group",
            "Any member of this group whose tenants include the draft's; not on the fourth step.",
            line("billing-leads"),
        ),
    ];
    let statement =
        "select id, amount_cents from invoices where id = :invoice_id and account_id = :tenant";
    let preview = vec![
        required("sql", "One read.", text(STATEMENT_BYTES_MAX, statement)),
        optional("system", "The system that is asked, if not the tool's own.", name("shop-db")),
    ];
    let decision = vec![
        required("system", "The system it is, an API.", name("decisions")),
        required("path", "Where it answers.", path_of_request("/access/v1/evaluation")),
        required(
            "timeout",
            "How long it may take; later than that is a no.",
            quantity(&gate::TIMEOUTS, DECISION_TIMEOUT_MS_MAX, "2s"),
        ),
    ];
    Shape::Map(vec![
        required("approvers", "Who may agree.", Shape::Kinds(vec![subject], approvers)),
        required(
            "expires",
            "How long a draft waits for them.",
            quantity(&gate::DURATIONS, GATE_EXPIRES_SECONDS_MAX, "4h"),
        ),
        required(
            "summary",
            "What will happen, in your words. `{name}` stands for an argument, bound ones too, but for free text.",
            line("Refund {amount_cents} cents of invoice {invoice_id}"),
        ),
        optional(
            "preview",
            "One read whose rows approvers see beside it.",
            either(text(STATEMENT_BYTES_MAX, statement), Shape::Map(preview)),
        ),
        optional(
            "decision",
            "A decision point (AuthZEN 1.0) that stands in for people on the third step. What it does not say yes to in time waits for them.",
            Shape::Map(decision),
        ),
        escalation(),
        optional(
            "delegates",
            "Beside `named`: who may stand in for one of them who is away and says so, for a time. Nobody decides in anybody's stead who is not named here.",
            named(),
        ),
    ])
}

fn either(text: Shape, map: Shape) -> Shape {
    Shape::Either(Box::new(text), Box::new(map))
}

fn check() -> Shape {
    let statement =
        "select status = 'refunded' from invoices where id = :invoice_id and account_id = :tenant";
    let says = "a text, a number, `true`, `false` or null, or an argument";
    let words = ["string", "integer", "number", "boolean", "null"];
    let scalar = json!({ "type": words, "pattern": super::LINE, "maxLength": LINE_BYTES_MAX });
    let scalar = leaf(says, scalar, "{amount_cents}");
    let mut keys = parts().map(|key| Key { about: "", ..key }).into_iter().collect::<Vec<_>>();
    keys.push(optional(
        "expect",
        "Beside `get`: what the first row of the answer must say, by JSON pointer into it.",
        Shape::Entries(vec![(super::POINTER.to_owned(), scalar)]),
    ));
    let ways = vec![
        optional("sql", "The same statement.", text(STATEMENT_BYTES_MAX, statement)),
        optional(
            "get",
            "For an API: the path of a read after the effect. What belongs to a request stands beside it, as under `call`.",
            path_of_request("/v2/invoices/{invoice_id}"),
        ),
    ];
    either(text(STATEMENT_BYTES_MAX, statement), Shape::Kinds(keys, ways))
}

fn undo() -> Shape {
    let ways = METHODS.into_iter().filter(|(_, method)| *method != Method::Get);
    let ways = ways.map(|(key, _)| {
        let about = match key {
            "post" => "Its path. What belongs to a request stands beside it, as under `call`.",
            _ => "",
        };
        optional(key, about, path_of_request("/v2/invoices/{invoice_id}/reopen"))
    });
    let keys = parts().map(|key| Key { about: "", ..key }).into_iter().collect();
    Shape::Kinds(keys, ways.collect())
}

fn budget() -> Shape {
    let words = |words: Vec<&str>| words.join("|");
    let windows = words(WINDOWS.map(|(word, _)| word).into());
    let pers = words(PERS.map(|(word, _)| word).into());
    let digits = DIGITS_MAX.saturating_sub(1);
    let allowance = format!("^[1-9][0-9]{{0,{digits}}} per (?:{windows}) per (?:{pers})$");
    let allowance = pattern("a sum", &allowance, LINE_BYTES_MAX, "100000 per day per tenant");
    let path = format!(r"^{IDENTIFIER}(?:\[\])*(?:\.{IDENTIFIER}(?:\[\])*)*$");
    Shape::Entries(vec![(path, allowance)])
}
