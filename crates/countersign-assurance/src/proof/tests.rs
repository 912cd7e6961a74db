//! A hole in the policies of each kind is found, by a request that they permit and the sound ones do not.

use super::*;
use countersign_policy::{Bundle, PolicyFile};
use countersign_posture::{Loaded, load_posture};
use std::path::Path;

/// The example company's posture, with one text of its policies or schemas replaced.
struct Holed {
    loaded: Loaded,
    bundle: Bundle,
    texts: BTreeMap<ToolName, (String, String)>,
}

impl Texts for Holed {
    fn of(&self, tool: &ToolName) -> Option<(&str, &str)> {
        self.texts.get(tool).map(|(policies, schema)| (policies.as_str(), schema.as_str()))
    }
}

fn tool(name: &str) -> ToolName {
    ToolName::new(name).unwrap()
}

fn acme(more: &[PolicyFile<'_>]) -> Holed {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme/posture");
    let loaded = load_posture(&folder).0.unwrap();
    let attributes: Vec<_> = loaded.claims.attributes.keys().map(String::as_str).collect();
    let written = loaded.policies.iter();
    let written = written.map(|file| PolicyFile { name: file.path(), text: file.text() });
    let files: Vec<_> = written.chain(more.iter().copied()).collect();
    let bundle = Bundle::compile(&loaded.posture, &attributes, &files).unwrap();
    let names = loaded.posture.agents.values().flat_map(|agent| agent.grants.keys());
    let texts = names.map(|name| {
        let (policies, schema) = bundle.of(name).unwrap();
        (name.clone(), (policies.to_owned(), schema.to_owned()))
    });
    let texts = texts.collect();
    Holed { loaded, bundle, texts }
}

impl Holed {
    fn without(mut self, name: &str, (text, instead): (&str, &str)) -> Self {
        let (policies, _) = self.texts.get_mut(&tool(name)).unwrap();
        assert!(policies.contains(text), "{policies}");
        *policies = policies.replace(text, instead);
        self
    }

    async fn not_proved(&self) -> Vec<Obligation> {
        let proofs = prove(&self.loaded.posture, self, NonZeroUsize::MIN, None, &|_| {}).await;
        assert!(proofs.solver.is_ok(), "{:?}", proofs.solver);
        let all = proofs.obligations.into_iter();
        all.filter(|of| !matches!(of.verdict, Verdict::Proved)).collect()
    }

    /// Whether policies permit a request, held against the same tool's schema.
    fn permits(&self, name: &str, found: &Counterexample) -> bool {
        let granted = granted(&self.loaded.posture);
        let (policies, schema) = self.of(&tool(name)).unwrap();
        let ground = Ground::of(&granted[&tool(name)], policies, schema).unwrap();
        ground.decision(&found.found, &found.found.entities) == Decision::Allow
    }
}

#[tokio::test]
async fn everything_is_proved_of_the_example() {
    let acme = acme(&[]);
    let proofs = prove(&acme.loaded.posture, &acme.bundle, NonZeroUsize::MIN, None, &|_| {}).await;
    assert!(proofs.whole(), "{proofs:?}");
    // Of every tool and every agent that was granted it, and of each scope rule.
    let claims: Vec<String> = proofs
        .obligations
        .iter()
        .filter(|of| of.tool.as_str() == "refund_invoice")
        .map(|of| of.claim.name())
        .collect();
    let expected =
        ["scope.tenant", "clearance", "approver", "external", "errors", "use.support-copilot"];
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn a_hole_of_each_kind_is_found_and_no_other() {
    let known_as = " && !(principal[\"known-as\"].containsAny(context.approver))";
    let evidence = "context.scope has \"account_id\" && [principal.tenant].containsAll(context.scope[\"account_id\"]) && !context.scope[\"account_id\"].isEmpty()";
    let nested = evidence.replace("account_id", "filter.account_id");
    for (name, hole, claims) in [
        ("get_account_usage", (evidence, "true"), &["scope.account_id"][..]),
        ("find_shipments", (&nested, "true"), &["scope.filter.account_id"]),
        ("list_invoices", (evidence, "true"), &["scope.account_id"]),
        ("track_parcels", ("containsAll(", "containsAny("), &["scope.parcels[].account_id"]),
        ("refund_invoice", ("context.input.tenant == principal.tenant", "true"), &["scope.tenant"]),
        (
            "change_billing_address",
            ("context.clearance >= 3", "context.clearance >= 2"),
            &["clearance"],
        ),
        ("refund_invoice", ("context.clearance >= 4", "context.clearance >= 3"), &["clearance"]),
        ("send_customer_email", ("context.clearance >= 4", "true"), &["clearance", "external"]),
        ("refund_invoice", (known_as, ""), &["approver"]),
        // A hole in what people write: it keeps the finance team from nothing.
        (
            "refund_invoice",
            (
                "context.input.amount_cents > 20000",
                "context.input.amount_cents * 9223372036854775807 > 20000",
            ),
            &["errors"],
        ),
    ] {
        let sound = acme(&[]);
        let holed = acme(&[]).without(name, hole);
        let found = holed.not_proved().await;
        let names: Vec<_> = found.iter().map(|of| of.claim.name()).collect();
        assert_eq!(names, claims, "{found:#?}");
        for Obligation { tool, claim, verdict } in &found {
            assert_eq!(tool.as_str(), name);
            let Verdict::Refuted(Some(request)) = verdict else { panic!("{claim}: {verdict:?}") };
            if *claim == Claim::NoErrors {
                assert!(request.unfit.is_empty(), "{request:?}");
                continue;
            }
            assert!(holed.permits(name, request), "{request:?}");
            assert!(!sound.permits(name, request), "{request:?}");
            // It can be made: the tool's schema takes it.
            assert!(request.unfit.is_empty(), "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_grant_that_permits_nothing_is_found() {
    // The second leaves only hours that no day has.
    for when in ["principal.tenant like \"*\"", "context.hour >= 0 && context.hour <= 23"] {
        let text = format!(
            "@id(\"never\") forbid (principal, action == Action::\"list_invoices\", resource) when {{ {when} }};"
        );
        let acme = acme(&[PolicyFile { name: "more.cedar", text: &text }]);
        let found = acme.not_proved().await;
        let [Obligation { claim: Claim::Alive(agent), verdict: Verdict::Refuted(None), .. }] =
            &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!(agent.as_str(), "support-copilot");
    }
}

#[tokio::test]
async fn what_was_proved_earlier_is_proved_again_where_anything_it_rests_on_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = Earlier::new(folder.path().to_owned());
    let kept = || std::fs::read_dir(folder.path()).unwrap().count();
    let open = async |of: &Holed| {
        let solvers = NonZeroUsize::MIN;
        let proofs = prove(&of.loaded.posture, of, solvers, Some(&earlier), &|_| {}).await;
        let open = proofs.obligations.into_iter();
        open.filter(|of| !matches!(of.verdict, Verdict::Proved)).count()
    };
    assert_eq!((open(&acme(&[])).await, kept()), (0, 16));
    assert_eq!((open(&acme(&[])).await, kept()), (0, 16));
    let hole = ("context.clearance >= 3", "context.clearance >= 2");
    let holed = acme(&[]).without("change_billing_address", hole);
    // Nothing is kept of a tool that is not proved, so it is found again.
    for _ in 0..2 {
        assert_eq!((open(&holed).await, kept()), (1, 16));
    }
    // Another obligation of the same policies is another proof.
    let mut more = acme(&[]);
    let agents = more.loaded.posture.agents.values_mut();
    let agents = agents.map(|agent| std::sync::Arc::get_mut(agent).unwrap());
    for grant in agents.flat_map(|agent| agent.grants.values_mut()) {
        if grant.tool.name.as_str() == "list_contacts" {
            let tool = std::sync::Arc::get_mut(&mut grant.tool).unwrap();
            tool.effect = countersign_core::tool::Effect::Persistent;
        }
    }
    assert_eq!((open(&more).await, kept()), (1, 16));
}
