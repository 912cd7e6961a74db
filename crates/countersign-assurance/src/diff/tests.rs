//! Changes of the example whose meaning is known, and requests that tell two postures apart.

mod asked;

use super::*;
use countersign_policy::PolicyFile;
use countersign_posture::load_posture;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A posture in a folder of its own.
pub(crate) struct Posture {
    _folder: TempDir,
    loaded: Loaded,
    bundle: Bundle,
}

fn acme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme/posture")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

impl Posture {
    /// The example with some texts of its files replaced; a file that is not there is written.
    fn with(edits: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&acme(), folder.path());
        for (file, from, to) in edits {
            let path = folder.path().join(file);
            if *from == WHOLE {
                fs::remove_file(&path).unwrap();
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(from), "{file} does not have {from}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
        }
        let (loaded, findings) = load_posture(folder.path());
        let loaded = loaded.unwrap_or_else(|| panic!("{edits:?}: {findings:#?}"));
        let attributes: Vec<_> = loaded.claims.attributes.keys().map(String::as_str).collect();
        let files = loaded.policies.iter();
        let files: Vec<_> =
            files.map(|file| PolicyFile { name: file.path(), text: file.text() }).collect();
        let bundle = Bundle::compile(&loaded.posture, &attributes, &files).unwrap();
        Self { _folder: folder, loaded, bundle }
    }

    fn side(&self) -> Side<'_> {
        Side { loaded: &self.loaded, bundle: &self.bundle }
    }
}

const REFUND: &str = "tools/refund_invoice.yaml";
const NOTE: &str = "tools/annotate_ticket.yaml";
const ADDRESS: &str = "tools/change_billing_address.yaml";
const USAGE: &str = "tools/get_account_usage.yaml";
const PARCELS: &str = "tools/track_parcels.yaml";
const LETTER: &str = "tools/send_customer_email.yaml";
const CONTACTS: &str = "tools/list_contacts.yaml";
const CONTACT: &str = "tools/get_contact.yaml";
const DEPARTURES: &str = "tools/list_departures.yaml";
const TICKET: &str = "tools/read_ticket.yaml";
const SHIPMENT: &str = "tools/get_shipment.yaml";
const COPILOT: &str = "agents/support-copilot.yaml";
const PLANNER: &str = "agents/dispatch-planner.yaml";
const POSTURE: &str = "posture.yaml";
const LARGE: &str = "policies/refunds.cedar";

/// A file, what is replaced in it by what, what that is, what it is back again, and a sentence about it.
type Pair = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const WORDS: [Pair; 6] = [
    (REFUND, "# Rung 4", "# Step 4", "equal", "equal", "Both permit the same."),
    (
        REFUND,
        "Refunds a paid invoice",
        "Pays back an invoice",
        "equal",
        "equal",
        "in other words: “Pays back an invoice of",
    ),
    (
        REFUND,
        "\"Refund {amount_cents}",
        "\"Pay back {amount_cents}",
        "wider",
        "wider",
        "as “Pay back {amount_cents} cents of invoice {invoice_id} to {tenant}”, was “Refund {amount_cents} cents",
    ),
    (
        COPILOT,
        "Answers customers'",
        "Helps with customers'",
        "equal",
        "equal",
        "support-copilot: has another purpose: “Helps with customers'",
    ),
    (
        COPILOT,
        "team: customer-operations",
        "team: care",
        "equal",
        "equal",
        "support-copilot: has another team: “care”, was “customer-operations”",
    ),
    (POSTURE, "Acme Freight", "Acme Cargo", "equal", "equal", "is of Acme Cargo, was Acme Freight"),
];

const ARGUMENTS: [Pair; 19] = [
    (
        REFUND,
        "maximum: 50000",
        "maximum: 30000",
        "narrower",
        "wider",
        "up to 30000, was 50000 (300.00, was 500.00)",
    ),
    (REFUND, "minimum: 1,", "minimum: 0,", "wider", "narrower", "from 0, was 1"),
    (REFUND, "{6}$", "{5,6}$", "wider", "narrower", "has the form ^inv_[0-9]{5,6}$"),
    (REFUND, "[0-9]{6}$", "[0-8]{6}$", "narrower", "wider", "has the form ^inv_[0-8]{6}$"),
    (REFUND, "^inv_[0-9]{6}$", "^bil_[0-9]{6}$", "wider", "wider", "has the form ^bil_"),
    (REFUND, "^inv_[0-9]{6}$", "^inv_\\\\d{6}$", "equal", "equal", "which is the same"),
    (
        REFUND,
        "maxLength: 200",
        "maxLength: 300",
        "wider",
        "narrower",
        "up to 300 characters, was 200",
    ),
    (NOTE, "minLength: 1, ", "", "wider", "narrower", "from unbounded characters, was 1"),
    (NOTE, "minLength: 1,", "minLength: 2,", "narrower", "wider", "from 2 characters"),
    (
        USAGE,
        "acct_bravo, acct_charlie",
        "acct_bravo",
        "narrower",
        "wider",
        "may not be \"acct_charlie\" any more",
    ),
    (
        USAGE,
        "acct_charlie]",
        "acct_charlie, acct_delta]",
        "wider",
        "narrower",
        "may also be \"acct_delta\"",
    ),
    (
        USAGE,
        "type: integer, minimum: 1, maximum: 365",
        "type: integer, enum: [7, 30, 400]",
        "wider",
        "wider",
        "may also be 400",
    ),
    (
        USAGE,
        "minimum: 1, maximum: 365",
        "enum: [7, 30]",
        "narrower",
        "wider",
        "is one of 7, 30 only",
    ),
    (
        PARCELS,
        "maxItems: 20",
        "maxItems: 30",
        "wider",
        "narrower",
        "`parcels` may be up to 30 items",
    ),
    (
        PARCELS,
        "minItems: 1\n",
        "minItems: 1\n    uniqueItems: true\n",
        "narrower",
        "wider",
        "holds each thing once",
    ),
    (
        PARCELS,
        "^pcl_[0-9]{7}$",
        "^pcl_[0-9]{6,8}$",
        "wider",
        "narrower",
        "`parcels[].parcel_id` has the form",
    ),
    (
        CONTACTS,
        "optional: true, description: \"Only",
        "description: \"Only",
        "narrower",
        "wider",
        "`role` has to be there",
    ),
    (
        CONTACTS,
        "  limit: {",
        "  page: { type: integer, minimum: 1, maximum: 9, optional: true }\n  limit: {",
        "wider",
        "narrower",
        "takes a new argument `page`",
    ),
    (LETTER, "maxLength: 4000", "maxLength: 2000", "narrower", "wider", "up to 2000 characters"),
];

const SCOPE: [Pair; 7] = [
    (
        SHIPMENT,
        "shipment_id: { type: string, pattern: \"^shp_[0-9]{6}$\" }\nscope:\n  # The number does not say whose it is: the database is asked first.\n  shipment_id: { owned: { sql: select 1 from shipments where id = :shipment_id and account_id = :tenant } }",
        "shipment_id: { type: string, pattern: \"^shp_[0-9]{6}$\", public: \"Shipments of all are known to all, for a test.\" }\nscope:",
        "wider",
        "narrower",
        "is looked up no more",
    ),
    (
        SHIPMENT,
        "select 1 from shipments where id = :shipment_id",
        "select 1 from shipments where day > '2020-01-01' and id = :shipment_id",
        "wider",
        "wider",
        "by another statement",
    ),
    (
        CONTACT,
        "result: { account: caller.tenant }\n",
        "",
        "wider",
        "narrower",
        "is held to it no more: `account`",
    ),
    (
        DEPARTURES,
        "{ in: caller.depots }",
        "{ in: caller.groups }",
        "wider",
        "wider",
        "is bound no more: `depot` is one of caller.depots",
    ),
    (
        DEPARTURES,
        "depot: { type: string, pattern: \"^[A-Z]{3}$\",",
        "depot: { type: string, pattern: \"^[A-C]{3}$\",",
        "narrower",
        "wider",
        "has the form",
    ),
    (
        POSTURE,
        "tenant: /tenant",
        "tenant: /account",
        "wider",
        "wider",
        "reads `tenant` at another place of a token: /account, was /tenant",
    ),
    (
        POSTURE,
        "depots: /depots",
        "depots: /sites",
        "wider",
        "wider",
        "reads `caller.depots` at another place of a token: /sites, was /depots",
    ),
];

const LADDER: [Pair; 14] = [
    (
        REFUND,
        "[sam@acme.example, lee@acme.example]",
        "[sam@acme.example]",
        "narrower",
        "wider",
        "waits for sam@acme.example only",
    ),
    (
        REFUND,
        "[sam@acme.example, lee@acme.example]",
        "[sam@acme.example, pat@acme.example]",
        "wider",
        "wider",
        "may be agreed to by pat@acme.example or sam@acme.example",
    ),
    (
        REFUND,
        "delegates: [kim@acme.example]",
        "delegates: [kim@acme.example, ann@acme.example]",
        "wider",
        "narrower",
        "lets ann@acme.example stand in",
    ),
    (REFUND, "expires: 4h", "expires: 8h", "wider", "narrower", "people may agree for 8h, was 4h"),
    (
        REFUND,
        "100000 per day",
        "200000 per day",
        "wider",
        "narrower",
        "`amount_cents` per day up to 200000, was 100000",
    ),
    (REFUND, "100000 per day", "100000 per hour", "wider", "wider", "keeps to a sum no more"),
    (
        LETTER,
        "budget: { recipients: 10 per day per tenant }\n",
        "",
        "wider",
        "narrower",
        "keeps to a sum no more: `recipients`",
    ),
    (
        ADDRESS,
        "effect: persistent",
        "effect: persistent\nexception: { rung: 2, reason: \"A test.\", reviewed_by: sec@acme.example, expires: 2099-01-01 }",
        "wider",
        "narrower",
        "by an exception stands on step 2",
    ),
    (
        ADDRESS,
        "group: support-leads",
        "group: everybody",
        "wider",
        "wider",
        "anybody of the group everybody",
    ),
    (
        ADDRESS,
        "  preview: select name, street, city from accounts where id = :tenant\n",
        "",
        "wider",
        "narrower",
        "shows its approvers no preview any more",
    ),
    (
        ADDRESS,
        "select name, street",
        "select street",
        "wider",
        "wider",
        "shows its approvers another preview: “select street, city",
    ),
    (
        ADDRESS,
        "check: select street = :street and city = :city from accounts where id = :tenant\n",
        "",
        "wider",
        "narrower",
        "is checked afterwards no more",
    ),
    (
        NOTE,
        "select count(*) > 0",
        "select count(*) > -1",
        "wider",
        "wider",
        "is checked afterwards in another way",
    ),
    (
        NOTE,
        "flow: { reads: trusted, holds: confidential, sends: internal }",
        "flow: { reads: trusted, holds: internal, sends: internal }",
        "wider",
        "narrower",
        "holds what is internal, was confidential",
    ),
];

const CALLS: [Pair; 8] = [
    (
        USAGE,
        "  rows: 365\n",
        "  rows: 500\n",
        "wider",
        "narrower",
        "rows that come back up to 500, was 365",
    ),
    (
        USAGE,
        "where account_id = :account_id",
        "where account_id = :account_id and day > '2020-01-01'",
        "wider",
        "wider",
        "calls its system in another way",
    ),
    (
        CONTACT,
        "phone: /phone",
        "phone: /mobile",
        "wider",
        "wider",
        "calls its system in another way",
    ),
    (CONTACT, "get: /v2/", "get: /v3/", "wider", "wider", "calls its system in another way"),
    (
        LETTER,
        "Acme Freight, customer service",
        "Acme Freight",
        "wider",
        "wider",
        "calls its system in another way",
    ),
    (
        "systems/crm.yaml",
        "[127.0.0.1/32]",
        "[127.0.0.1/32, 10.0.0.0/8]",
        "wider",
        "narrower",
        "other networks: 127.0.0.1/32, 10.0.0.0/8, was 127.0.0.1/32",
    ),
    (
        "systems/freight-db.yaml",
        "database: freight-db",
        "database: support-db",
        "wider",
        "wider",
        "freight-db in another way, or as somebody else: by support-db, was freight-db",
    ),
    (
        "systems/freight-db.yaml",
        "timeout: 2s",
        "timeout: 3s",
        "equal",
        "equal",
        "gives freight-db other times and bounds",
    ),
];

const AGENTS: [Pair; 10] = [
    (
        COPILOT,
        "  - { tool: get_contact, reason: \"How to reach them.\" }\n",
        "",
        "narrower",
        "wider",
        "support-copilot, get_contact: may not use it any more",
    ),
    (
        PLANNER,
        "grants:\n",
        "grants:\n  - { tool: refund_invoice, reason: \"A test.\", reviewed_by: sec@acme.example, reviewed_on: 2026-11-20 }\n",
        "wider",
        "narrower",
        "dispatch-planner, refund_invoice: may now use it: irreversible, step 4, after lee@acme.example or sam@acme.example",
    ),
    (
        COPILOT,
        "limits: { per_minute: 20 }",
        "limits: { per_minute: 30 }",
        "wider",
        "narrower",
        "calls a minute by this agent up to 30, was 20",
    ),
    (
        COPILOT,
        "limits: { per_session: 100 }",
        "limits: { per_session: 90 }",
        "narrower",
        "wider",
        "calls a session for each tenant up to 90, was 100",
    ),
    (
        PLANNER,
        "per_hour: 1200",
        "per_hour: 1300",
        "wider",
        "narrower",
        "calls an hour for each tenant up to 1300",
    ),
    (
        POSTURE,
        "tenant_limits: { per_minute: 600,",
        "tenant_limits: { per_minute: 700,",
        "wider",
        "narrower",
        "calls a minute for a tenant over all agents up to 700",
    ),
    (
        POSTURE,
        "identical_per_minute: 5",
        "identical_per_minute: 6",
        "wider",
        "narrower",
        "the same call a minute for each tenant up to 6",
    ),
    (
        PLANNER,
        "identity: { client_id: dispatch-planner }",
        "identity: { client_id: another-planner }",
        "wider",
        "wider",
        "calls as the client another-planner",
    ),
    (
        PLANNER,
        "identity: { client_id: dispatch-planner }",
        "identity: { client_id: dispatch-planner, issuer: \"https://id.example\" }",
        "narrower",
        "wider",
        "calls with tokens of https://id.example only",
    ),
    (
        PLANNER,
        "grants:\n",
        "require_scope: tours\ngrants:\n",
        "narrower",
        "wider",
        "needs the scope tours",
    ),
];

const POLICIES: [Pair; 5] = [
    (
        LARGE,
        "> 20000",
        "> 30000",
        "wider",
        "narrower",
        "is forbidden less by policies written by hand: `large-refunds` is another (“Refunds above 200",
    ),
    (LARGE, "> 20000", ">= 20001", "equal", "equal", "has policies written by hand in other words"),
    (
        LARGE,
        "\"finance\"",
        "\"accounting\"",
        "wider",
        "wider",
        "is forbidden less by policies written by hand",
    ),
    (
        LARGE,
        "\nunless { principal.groups.contains(\"finance\") };",
        ";",
        "narrower",
        "wider",
        "is forbidden more by policies written by hand",
    ),
    (
        LARGE,
        "// What",
        "@id(\"night\") forbid (principal, action in Action::\"effect:write\", resource) when { context.hour < 6 };\n// What",
        "narrower",
        "wider",
        "refund_invoice: is forbidden more by policies written by hand: `night` is new",
    ),
];

/// What is replaced on either side, what that is, what it is back again, and a sentence about it.
type Sides = (Edits, Edits, &'static str, &'static str, &'static str);
/// Texts of files, each by another.
type Edits = &'static [Edit];
type Edit = (&'static str, &'static str, &'static str);
/// Replaced by nothing: the file is taken away.
const WHOLE: &str = "the whole of it";

const DAYS: &str = "days: { type: integer, minimum: 1, maximum: 365";
const FORM: &str = "^inv_[0-9]{6}$";
const LEADS: &str = "effect: persistent\ngate: { approvers: { group: support-leads }, expires: 4h, summary: \"A note on {ticket_id}\" }";
const NO_UNDOING: &str = "@id(\"nothing-undone\") forbid (principal, action, resource) when { action in [Action::\"effect:reversible\", Action::\"effect:read\"] && context.hour < 20 };\n// What";
const NO_READING: &str = "@id(\"by-day\") forbid (principal, action in Action::\"effect:read\", resource) when { context.hour < 20 };\n// What";
const ALL_AGREED: &str = "@id(\"agreed\") forbid (principal, action == Action::\"annotate_ticket\", resource) when { context.clearance < 3 };\n// What";

const ASKED: Edit = (USAGE, "= :account_id", "= :account_id and day <> :memo");
const MEMO: Edit = (
    USAGE,
    "input:\n",
    "input:\n  memo: { type: string, pattern: \"^[a-z]{1,8}$\", minLength: 5, maxLength: 8, public: \"A memo is nobody's own.\" }\n",
);

const SIDES: [Sides; 14] = [
    // No whole call with such a value can be made up: another argument has a form and a length.
    (
        &[ASKED, MEMO, (USAGE, DAYS, "days: { type: integer, minimum: 1, maximum: 50")],
        &[ASKED, MEMO, (USAGE, DAYS, "days: { type: integer, enum: [5000000]")],
        "wider",
        "wider",
        "`days` may also be 5000000",
    ),
    (
        &[(USAGE, DAYS, "days: { type: integer, enum: [10, 300], maximum: 100")],
        &[(USAGE, DAYS, "days: { type: integer, enum: [10, 300]")],
        "wider",
        "narrower",
        "`days` may also be 300",
    ),
    (
        &[(REFUND, FORM, "^\\\\d{6}$")],
        &[(REFUND, FORM, "^[0-9٠-٩]{6}$")],
        "wider",
        "narrower",
        "`invoice_id` has the form",
    ),
    (
        &[(REFUND, FORM, "^\\\\w{1,12}$")],
        &[(REFUND, FORM, "^[a-z0-9_а-я]{1,12}$")],
        "wider",
        "wider",
        "`invoice_id` has the form",
    ),
    (
        &[(REFUND, FORM, "^.{1,12}$")],
        &[(REFUND, FORM, "^[a-z\\\\u2028\\\\r]{1,12}$")],
        "wider",
        "wider",
        "`invoice_id` has the form",
    ),
    (
        &[(REFUND, FORM, "^\\\\S{6}$")],
        &[(REFUND, FORM, "^[^ ]{6}$")],
        "wider",
        "narrower",
        "`invoice_id` has the form",
    ),
    // Whom a policy forbids something follows the effect.
    (
        &[(LARGE, "// What", NO_UNDOING)],
        &[(LARGE, "// What", NO_UNDOING), (NOTE, "effect: reversible", LEADS)],
        "wider",
        "wider",
        "`nothing-undone` names a group of effects that the tool came into or left",
    ),
    (
        &[(LARGE, "// What", NO_READING)],
        &[
            (LARGE, "// What", NO_READING),
            (
                TICKET,
                "effect: read",
                "effect: reversible\ncheck: select count(*) > 0 from tickets where id = :ticket_id and account_id = :tenant",
            ),
            (TICKET, "sends: nowhere", "sends: internal"),
            (
                COPILOT,
                "tool: read_ticket, reason: \"The conversation that is to be answered.\"",
                "tool: read_ticket, reason: \"The conversation that is to be answered.\", reviewed_by: security@acme.example, reviewed_on: 2026-11-20",
            ),
        ],
        "wider",
        "wider",
        "`by-day` names a group of effects",
    ),
    (
        &[(LARGE, "// What", ALL_AGREED)],
        &[(LARGE, "// What", ALL_AGREED), (NOTE, "effect: reversible", LEADS)],
        "wider",
        "wider",
        "`agreed` asks who agreed",
    ),
    (
        &[],
        &[(LARGE, WHOLE, "")],
        "wider",
        "narrower",
        "policies written by hand: `large-refunds` is gone (“Refunds above 200 euros are prepared by the finance team.”)",
    ),
    // What a sum refuses all the same is not shown as what newly passes.
    (
        &[],
        &[(REFUND, "maximum: 50000", "maximum: 500000")],
        "wider",
        "narrower",
        "\"amount_cents\":100000",
    ),
    (
        &[(REFUND, "maximum: 50000", "maximum: 100000")],
        &[(REFUND, "maximum: 50000", "maximum: 500000")],
        "wider",
        "narrower",
        "its sum refuses what that lets through: `amount_cents` up to 100000 per day",
    ),
    (
        &[(
            COPILOT,
            "limits: { per_session: 100 }",
            "limits: { per_session: 100, per_minute: 60 }",
        )],
        &[
            (
                COPILOT,
                "limits: { per_session: 100 }",
                "limits: { per_session: 100, per_minute: 60 }",
            ),
            (COPILOT, ", limits: { per_minute: 20 }", ""),
        ],
        "wider",
        "narrower",
        "calls a minute by this agent up to 60 (no bound of its own, others hold), was 20",
    ),
    (
        &[],
        &[(POSTURE, "on_expiry: suspend", "on_expiry: warn")],
        "wider",
        "narrower",
        "no grant ends by itself any more when a review is not renewed",
    ),
];

/// In what a comparison is not as it should be.
async fn wrong(
    (old, new): (&Posture, &Posture),
    [there, back, says]: [&str; 3],
    what: &str,
) -> Option<String> {
    let found = diff(old.side(), new.side()).await;
    let again = diff(new.side(), old.side()).await;
    let text = found.text(false);
    let right = found.verdict() == there && text.contains(says) && again.verdict() == back;
    let asked = format!("{what}: {there}, {back}, {says}");
    (!right).then(|| format!("{asked}\n{text}\n\nback: {}\n", again.text(false)))
}

#[tokio::test]
async fn sixty_nine_changes_are_told_for_what_they_are() {
    let known = [&WORDS[..], &ARGUMENTS, &SCOPE, &LADDER, &CALLS, &AGENTS, &POLICIES];
    assert_eq!(known.iter().map(|pairs| pairs.len()).sum::<usize>(), 69);
    let base = Posture::with(&[]);
    let mut all = Vec::new();
    for &(file, from, to, there, back, says) in known.into_iter().flatten() {
        let edited = Posture::with(&[(file, from, to)]);
        let what = format!("{file}: {from} → {to}");
        all.extend(wrong((&base, &edited), [there, back, says], &what).await);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn changes_that_hide_behind_another_are_told_for_what_they_are() {
    let mut all = Vec::new();
    for &(old, new, there, back, says) in &SIDES {
        let [of_old, of_new] = [old, new].map(Posture::with);
        let what = format!("{old:?} → {new:?}");
        all.extend(wrong((&of_old, &of_new), [there, back, says], &what).await);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn a_new_name_for_the_same_is_told_as_that() {
    let base = Posture::with(&[]);
    let text = |file: &str| fs::read_to_string(acme().join(file)).unwrap();
    let planner = text(PLANNER).replace("agent: dispatch-planner", "agent: tour-planner");
    let renamed = [(PLANNER, WHOLE, ""), ("agents/tour-planner.yaml", "", planner.as_str())];
    let agent = Posture::with(&renamed);
    let found = diff(base.side(), agent.side()).await;
    assert_eq!(found.verdict(), "equal", "{}", found.text(false));
    assert!(found.text(false).contains("tour-planner: is renamed from dispatch-planner\n"));
    let departures = text(DEPARTURES).replace("tool: list_departures", "tool: list_tours");
    let tool = Posture::with(&[
        (DEPARTURES, WHOLE, ""),
        ("tools/list_tours.yaml", "", &departures),
        (PLANNER, "tool: list_departures", "tool: list_tours"),
    ]);
    let found = diff(base.side(), tool.side()).await;
    assert_eq!(found.verdict(), "equal", "{}", found.text(false));
    assert!(found.text(false).contains("list_tours: is renamed from list_departures\n"));
    // Another client is somebody else, and policies may name the agent.
    let other = ("agents/tour-planner.yaml", "client_id: dispatch-planner", "client_id: tours");
    let other = Posture::with(&[&renamed[..], &[other]].concat());
    assert_eq!(diff(base.side(), other.side()).await.verdict(), "wider");
    let night =
        "@id(\"night\") forbid (principal, action, resource) when { context.hour < 6 };\n// What";
    let night = (LARGE, "// What", night);
    let [old, new] = [&[][..], &renamed].map(|of| Posture::with(&[of, &[night]].concat()));
    let found = diff(old.side(), new.side()).await;
    assert_eq!(found.verdict(), "wider", "{}", found.text(false));
    assert!(found.text(false).contains("may name the old"), "{}", found.text(false));
}

#[tokio::test]
async fn what_others_wrote_ends_no_line_and_marks_nothing_up() {
    let old = Posture::with(&[]);
    let new = Posture::with(&[(REFUND, "\"^inv_[0-9]{6}$\"", "\"^[0-9\\n#@<>]{6}$\"")]);
    let found = diff(old.side(), new.side()).await;
    let [text, marked] = [false, true].map(|marks| found.text(marks));
    assert!(text.contains("[0-9\\n#@<>]") && text.lines().count() <= 6, "{text}");
    // An empty comment of the writer's own keeps a name from being called.
    let marked = marked.replace("@<!-- -->", "@");
    assert!(!marked.contains("@<") && !marked.contains("\n#@"), "{marked}");
}

#[tokio::test]
async fn what_newly_passes_is_shown_and_passes() {
    let old = Posture::with(&[]);
    let new = Posture::with(&[(REFUND, "[0-9]{6}$", "[0-9]{5,6}$")]);
    let found = diff(old.side(), new.side()).await;
    let [Change { example: Some(example), .. }] = &found.changes[..] else { panic!("{found:?}") };
    assert_eq!(example["invoice_id"], "inv_00000");
}

#[tokio::test]
async fn several_tools_with_an_effect_are_given_one_by_one() {
    let old = Posture::with(&[]);
    let grants = "grants:\n  - { tool: refund_invoice, reason: \"A test.\", reviewed_by: sec@acme.example, reviewed_on: 2026-11-20 }\n  - { tool: annotate_ticket, reason: \"A test.\", reviewed_by: sec@acme.example, reviewed_on: 2026-11-20 }\n";
    let new = Posture::with(&[(PLANNER, "grants:\n", grants)]);
    let found = diff(old.side(), new.side()).await;
    let [(agent, tools)] = &found.at_once[..] else { panic!("{found:?}") };
    assert_eq!((agent.as_str(), tools.len()), ("dispatch-planner", 2));
}

#[tokio::test]
async fn tools_that_come_further_or_newly_have_an_effect_are_given_one_by_one_too() {
    let grant = |stage: &str| {
        let grant = |tool| {
            format!(
                "  - {{ tool: {tool}, reason: \"A test.\", reviewed_by: sec@acme.example, reviewed_on: 2026-11-20, stage: {stage} }}\n"
            )
        };
        format!("grants:\n{}{}", grant("refund_invoice"), grant("annotate_ticket"))
    };
    let [draft, production] = ["draft", "production"].map(grant);
    let old = Posture::with(&[(PLANNER, "grants:\n", &draft)]);
    let new = Posture::with(&[(PLANNER, "grants:\n", &production)]);
    let found = diff(old.side(), new.side()).await;
    let [(agent, tools)] = &found.at_once[..] else { panic!("{found:?}") };
    assert_eq!((agent.as_str(), tools.len()), ("dispatch-planner", 2));
    assert!(diff(new.side(), old.side()).await.at_once.is_empty());
}
