//! The record of a vendor's assessment: its keys, in the order in which people would write them.

/// One key.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    pub(crate) is: Is,
}

/// What stands there. Words in it are examples.
#[derive(Debug)]
pub(crate) enum Is {
    Name(&'static str),
    Line(&'static str),
    Date,
    YesNo,
    Count(i64),
    Sha256,
    Choice(&'static [&'static str]),
    Map(&'static [Field]),
    List(&'static Is),
}

use Is::{Choice, Count, Date, Line, List, Map, Name, Sha256, YesNo};

const fn must(name: &'static str, about: &'static str, is: Is) -> Field {
    Field { name, required: true, about, is }
}

const fn may(name: &'static str, about: &'static str, is: Is) -> Field {
    Field { name, required: false, about, is }
}

/// All of it.
pub(crate) const RECORD: &[Field] = &[
    must("vendor", "Its name, which is also the file's.", Name("example-models")),
    must("legal_name", "The company, as its contract names it.", Line("Example Models Ltd")),
    must("product", "What is used of it.", Line("Example Models API")),
    must(
        "service",
        "What kind of service it is.",
        Choice(&["model_api", "mcp_server", "saas_tool", "hosting"]),
    ),
    may(
        "role",
        "Its role under data protection law.",
        Choice(&["processor", "sub_processor", "controller"]),
    ),
    must(
        "owner",
        "Who answers for its use here.",
        Map(&[
            must("team", "The team.", Line("platform")),
            must("contact", "How to reach them.", Line("platform@example.com")),
        ]),
    ),
    must("purpose", "What it is used for.", Line("Answers customers' questions.")),
    may(
        "models",
        "Models that may be used, with their versions.",
        List(&Line("example-large-2026-10")),
    ),
    may("deployment", "Where and how it runs.", Line("shared, over its public API")),
    must("data", "What of ours it gets.", Map(DATA)),
    may("security", "How it keeps it.", Map(SECURITY)),
    may("ai", "What is known of its models.", Map(AI)),
    may("contract", "What was agreed.", Map(CONTRACT)),
    may("supply_chain", "Of an MCP server or other software: what is run.", Map(SUPPLY_CHAIN)),
    must("assessment", "What was decided, on which grounds, until when.", Map(ASSESSMENT)),
];

const DATA: &[Field] = &[
    must(
        "classes",
        "The classes of data that the decision is about, as `flow.holds` of tools names them.",
        List(&Choice(&["public", "internal", "confidential"])),
    ),
    may("personal", "Personal or special data among it.", Line("names and addresses of customers")),
    may("tenant_separation", "How customers are kept apart.", Line("by account")),
    may(
        "training",
        "Whether it learns from it. An approval of a `model_api` rests on this.",
        Map(&[
            must(
                "default",
                "What holds if nothing is done.",
                Choice(&["never", "opted_out", "opted_in", "always"]),
            ),
            may("contractual", "Whether the contract says so.", YesNo),
            may("evidence_url", "Where it says so.", Line("https://models.example/terms")),
            may("checked_at", "When that was read.", Date),
        ]),
    ),
    may(
        "retention",
        "How long it keeps it. An approval of a `model_api` rests on this.",
        Map(&[
            may("prompts", "Prompts.", Line("30 days")),
            may("outputs", "Outputs.", Line("30 days")),
            may("logs", "Logs.", Line("90 days")),
            may(
                "abuse_monitoring",
                "What is kept against abuse.",
                Line("flagged prompts, two years"),
            ),
            may(
                "zero_retention",
                "Whether nothing can be kept.",
                Map(&[
                    may("eligible", "Whether it is offered.", YesNo),
                    may("approved", "Whether it was granted to us.", YesNo),
                    may("scope", "For what.", Line("the messages endpoint")),
                    may("exceptions", "For what not.", Line("files, batches")),
                ]),
            ),
        ]),
    ),
    may("human_review", "Who there may read it.", Line("trained staff, after a report of abuse")),
    may(
        "regions",
        "Where it is. An approval of a `model_api` rests on this.",
        Map(&[
            may("processing", "Where it is worked on.", List(&Line("EU"))),
            may("storage", "Where it is kept.", List(&Line("EU"))),
            may("transfer", "What allows its transfer.", Line("standard contractual clauses")),
        ]),
    ),
    may(
        "subprocessors",
        "Whom it hands it to.",
        Map(&[
            may("list_url", "Their list.", Line("https://models.example/subprocessors")),
            may("list_sha256", "The list as it was read.", Sha256),
            may("notice_days", "How many days ahead a new one is told of.", Count(30)),
            may("checked_at", "When it was read.", Date),
        ]),
    ),
    may("encryption", "How it is encrypted, and by whose keys.", Line("AES-256, its own keys")),
    may(
        "deletion",
        "How and how soon it is deleted or given back.",
        Line("within 30 days of the end"),
    ),
];

const SECURITY: &[Field] = &[
    may(
        "certifications",
        "What others attest.",
        List(&Map(&[
            must("name", "Which.", Line("SOC 2 type II")),
            may("scope", "Of what.", Line("the API")),
            may("issuer", "By whom.", Line("Example Auditors")),
            may("valid_until", "Until when.", Date),
            may("report", "Which report.", Line("R-2026-17")),
        ])),
    ),
    may("penetration_test", "When it was last tested.", Date),
    may("bug_bounty", "Where faults are reported.", Line("https://models.example/security")),
    may("sign_in", "How people sign in: SSO, SCIM.", Line("SAML, SCIM")),
    may("authentication", "How programs do.", Line("API keys per project")),
    may("audit_export", "Whether its logs can be had.", Line("by API")),
    may("incident_notice_hours", "Within how many hours it tells of an incident.", Count(72)),
    may("service_level", "What it promises of being there.", Line("99.9% a month")),
    may("status_page", "Where it tells how it is.", Line("https://status.models.example")),
];

const AI: &[Field] = &[
    may("card_url", "The model or system card.", Line("https://models.example/card")),
    may("red_team", "How it was attacked before.", Line("report R-2026-9")),
    may("injection_defences", "What it does against injected instructions.", Line("none promised")),
    may("output_filtering", "What it filters.", Line("a safety classifier")),
    may("change_notice", "How far ahead a model's end is told.", Line("60 days")),
    may("indemnity", "Who pays for claims about outputs.", Line("the vendor, under its terms")),
    may("usage_limits", "What may not be done with it.", Line("https://models.example/usage")),
];

const CONTRACT: &[Field] = &[
    may(
        "dpa",
        "The data processing agreement.",
        Map(&[must("version", "Which.", Line("3.1")), must("date", "Of when.", Date)]),
    ),
    may("terms", "The agreement it is used under.", Line("MSA 2026-114")),
    may("ai_addendum", "What was added about AI.", Line("AI addendum 2")),
    may("liability", "How far it is liable.", Line("twelve months' fees")),
    may("audit_right", "Whether we may look.", Line("reports only")),
    may("exit_plan", "How we leave.", Line("a second provider is tried each quarter")),
];

const SUPPLY_CHAIN: &[Field] = &[
    may("package", "Its package.", Line("@example/tracker-server")),
    may("version", "Its version.", Line("1.4.2")),
    may("sha256", "Its digest.", Sha256),
    may("publisher", "Who published it.", Line("Example Tracker Ltd")),
    may("registry_verified", "Whether the registry knows the publisher.", YesNo),
    may("transport", "How it is spoken to.", Choice(&["stdio", "http"])),
    may("definitions_sha256", "The file of pins as it was reviewed.", Sha256),
    may("scopes", "What it asks for.", List(&Line("issues:read"))),
    may("sandbox", "What it is kept in.", Line("a user of its own")),
];

const ASSESSMENT: &[Field] = &[
    may("method", "How it was assessed.", Choice(&["ai_caiq", "sig", "own"])),
    may(
        "answers",
        "Where the answers are.",
        Line("https://wiki.example.com/vendors/example-models"),
    ),
    may(
        "findings",
        "What was found.",
        List(&Map(&[
            must("finding", "What.", Line("no audit right")),
            must("severity", "How bad.", Choice(&["low", "medium", "high", "critical"])),
            may("owner", "Who sees to it.", Line("legal@example.com")),
            may("due", "By when.", Date),
        ])),
    ),
    may("risk", "How much is at stake.", Choice(&["low", "medium", "high", "critical"])),
    may(
        "decision",
        "What was decided. Left out, nothing is: an agent of this vendor's does not go to production.",
        Choice(&["approve", "conditional", "reject"]),
    ),
    may(
        "conditions",
        "Of `conditional`: under which conditions.",
        List(&Map(&[
            must("condition", "What has to be so.", Line("zero retention is granted")),
            may("met_on", "Since when it is.", Date),
            may("accepted_by", "Who stands for it that it is not.", Line("ciso@example.com")),
        ])),
    ),
    may("approver", "Who decided. A decision in favour rests on this.", Line("ciso@example.com")),
    may("assessed_at", "When. A decision in favour rests on this.", Date),
    may("review_by", "The last day on which it holds. A decision in favour rests on this.", Date),
    may(
        "evidence",
        "What it was decided on. A decision in favour rests on this.",
        List(&Map(&[
            may("url", "Where it was found.", Line("https://models.example/terms")),
            may("file", "Where a copy is kept.", Line("vendors/example-models/terms.pdf")),
            may("sha256", "Its digest.", Sha256),
            must("retrieved_at", "When it was read.", Date),
        ])),
    ),
];
