//! Who may have what, by whose decision, until when.

use crate::folder::{Company, NOW};
use crate::loaded::loaded;
use countersign_core::id::Timestamp;
use countersign_core::posture::Lapse;
use countersign_posture::{Code, Covered, coverage};

const AGENT: &str = "posture/agents/support-copilot.yaml";
const VENDOR: &str = "posture/vendors/meridian.yaml";
const SYSTEM: &str = "posture/systems/freight-db.yaml";

/// What keeps the agent, or else a system, from production.
fn gaps(company: &Company) -> Vec<(String, Code, String)> {
    let of = |covered: &Covered| match covered {
        Covered::Agent(name) => name.to_string(),
        Covered::System(name) => name.to_string(),
    };
    let all = coverage(&loaded(company)).into_iter();
    all.flat_map(|covered| {
        let who = of(&covered.of);
        covered.gaps.into_iter().map(move |gap| (who.clone(), gap.code, gap.message))
    })
    .collect()
}

#[test]
fn only_a_decision_in_favour_that_is_about_the_data_lets_a_vendor_have_it() {
    let conditional = |rest: &str| {
        format!("conditional\n  conditions: [{{ condition: its logs are exported{rest} }}]")
    };
    for (decision, told) in [
        ("approve".to_owned(), None),
        (conditional(", met_on: 2026-11-12"), None),
        (conditional(", accepted_by: ciso@acme.example"), None),
        (conditional(""), Some("of whom it is not so yet: its logs are exported")),
        ("reject".to_owned(), Some("was rejected")),
    ] {
        let company = Company::new();
        company.edit(VENDOR, "approve\n", &format!("{decision}\n"));
        let told: Vec<_> = told.into_iter().collect();
        let found = gaps(&company);
        assert_eq!(found.len(), told.len(), "{decision}: {found:?}");
        for ((who, code, message), told) in found.iter().zip(told) {
            assert_eq!((who.as_str(), *code), ("support-copilot", Code::VendorDecision));
            assert!(message.contains(told), "{message}");
        }
    }
    let open = Company::new();
    open.edit(VENDOR, "  decision: approve\n", "");
    assert!(gaps(&open)[0].2.contains("nobody has decided"), "{:?}", gaps(&open));
    let less = Company::new();
    less.edit(VENDOR, "[internal, confidential]", "[internal]");
    assert!(gaps(&less)[0].2.contains("`confidential`"), "what is not said counts as that");
    for file in ["get_account_usage", "list_parcels"] {
        less.edit(
            &format!("posture/tools/{file}.yaml"),
            "effect: read",
            "effect: read\nflow: { holds: internal }",
        );
    }
    assert_eq!(gaps(&less), []);
}

#[test]
fn a_systems_vendor_is_asked_about_what_its_tools_hold() {
    let company = Company::new();
    let other = company.text(VENDOR).replace("vendor: meridian", "vendor: host");
    company
        .write("posture/vendors/host.yaml", other.replace("[internal, confidential]", "[public]"));
    company.edit(SYSTEM, "system: freight-db", "system: freight-db\nvendor: host");
    let found = gaps(&company);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "freight-db");
}

#[test]
fn whoever_runs_a_decision_point_or_a_preview_is_asked_about_what_they_are_sent() {
    let company = Company::new();
    let other = company.text(VENDOR).replace("vendor: meridian", "vendor: host");
    company.write(
        "posture/vendors/host.yaml",
        other.replace("[internal, confidential]", "[public]").replace("2027-11-16", "2027-11-10"),
    );
    let system = |name: &str, how: &str| {
        let text =
            format!("system: {name}\nvendor: host\n{how}\ntimeout: 1s\nrows: 1\nbytes: 4KiB\n");
        company.write(&format!("posture/systems/{name}.yaml"), text);
    };
    system("pdp", "http: { origin: pdp }");
    system("look-db", "sqlite: { database: look-db }");
    let tool = company.text("posture/tools/get_account_usage.yaml");
    let gated = |with: &str| {
        let gate = format!(
            "effect: persistent\ngate: {{ approvers: {{ group: g }}, expires: 1d, summary: s, {with} }}"
        );
        company.write("posture/tools/get_account_usage.yaml", tool.replace("effect: read", &gate));
        let agents = loaded(&company).posture.agents;
        let mut grants = agents.values().flat_map(|agent| agent.grants.values());
        let grant = grants.find(|grant| grant.tool.name.as_str() == "get_account_usage").unwrap();
        let of = |lapse: &Option<Lapse>| {
            lapse.as_ref().map(|lapse| lapse.of.clone()).unwrap_or_default()
        };
        (of(&grant.lapses), of(&grant.point_lapses))
    };
    let (whole, point) =
        gated("decision: { system: pdp, path: /access/v1/evaluation, timeout: 500ms }");
    assert!(whole.contains("`meridian`") && point.contains("`host`"), "{whole}; {point}");
    let found = gaps(&company);
    assert!(found.iter().any(|(who, ..)| who == "pdp"), "{found:?}");
    let (whole, point) =
        gated("preview: { sql: select 1 from a where b = :tenant, system: look-db }");
    assert!(whole.contains("`host`") && point.is_empty(), "{whole}; {point}");
    let found = gaps(&company);
    assert!(found.iter().any(|(who, ..)| who == "look-db"), "{found:?}");
}

/// When the grants end by themselves, and why.
fn lapses(company: &Company) -> Vec<Option<Lapse>> {
    let agents = loaded(company).posture.agents;
    agents.values().flat_map(|agent| agent.grants.values()).map(|g| g.lapses.clone()).collect()
}

#[test]
fn a_grant_lapses_after_the_first_day_that_it_was_reviewed_for_if_the_posture_says_so() {
    let company = Company::new();
    let day = |days: i64| Timestamp::from_secs(NOW.secs() + days * 86_400);
    company.edit(AGENT, "vendor: meridian", "vendor: meridian\nreview_by: 2027-11-15");
    let [Some(first), Some(_)] = &lapses(&company)[..] else { panic!("{:?}", lapses(&company)) };
    // 2027-11-16 begins 359 days after 2026-11-22.
    assert_eq!(first.at, day(359), "all of the day is in time");
    assert_eq!(first.of, "the agent `support-copilot` was to be reviewed by 2027-11-15");
    company.edit(AGENT, "2027-11-15", "2027-11-17");
    let of_vendor = lapses(&company)[0].clone().unwrap();
    assert_eq!(of_vendor.at, day(360));
    assert_eq!(of_vendor.of, "the vendor `meridian` was to be reviewed by 2027-11-16");
    company.edit(
        "posture/posture.yaml",
        "\nlimits: {",
        "\nreviews: { on_expiry: warn }\nlimits: {",
    );
    assert_eq!(lapses(&company), [None, None]);
}

#[test]
fn a_record_is_closed_and_bounded() {
    for (from, to) in [
        ("decision: approve", "decision: maybe"),
        ("product: Meridian API", "produkt: Meridian API"),
        ("training: { default: never }", "training: { default: never, asked: nobody }"),
        ("prompts: 30 days", "prompts: [30]"),
        ("https://meridian.example/terms", "\"\""),
        ("[internal, confidential]", "[]"),
        ("[internal, confidential]", "[secret]"),
        ("2026-11-16", "2026-02-30"),
    ] {
        let company = Company::new();
        company.edit(VENDOR, from, to);
        assert!(company.posture().0.is_none(), "{to}");
        assert!(
            company.posture().1.iter().all(|f| f.place.source.path() == "vendors/meridian.yaml")
        );
    }
}
