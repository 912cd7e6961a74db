//! What an organisation of its kind has besides: the same seven controls, and who decides, signs and is
//! told.

use crate::render::{Doing, Failure};
use std::fs;
use std::path::Path;

const TOOL: &str = include_str!("profile/cancel_order.yaml");
const CASES: &str = include_str!("profile/shop.yaml");

/// For whom it is.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Profile {
    /// One person who answers for everything
    Micro,
    /// A company with somebody for security
    Sme,
    /// Whoever runs agents for several client organisations
    Agency,
    /// A company with security, compliance and people on call
    MidMarket,
}

/// Where profiles differ.
struct Differs {
    word: &'static str,
    /// Who agrees to an effect, and the step it stands on.
    approvers: &'static str,
    rung: &'static str,
    /// One who may, as a case of the suite says it.
    by: &'static str,
    /// What groups of people may, and who sees every tenant.
    roles: &'static str,
    all_tenants: &'static str,
    /// When reviews that are due are told of.
    warn: &'static str,
    /// Whom the journal is handed to, and who is told.
    relay: &'static str,
    /// Who signs, and on which evidence.
    sign_off: &'static str,
}

impl Profile {
    const fn differs(self) -> Differs {
        match self {
            Self::Micro => Differs {
                word: "micro",
                approvers: "{ named: [owner@example.com] }",
                rung: "",
                by: "{ person: owner@example.com, groups: [owners] }",
                roles: "{ operator: [owners], auditor: [owners] }",
                all_tenants: "[owners]",
                warn: "30d",
                relay: "exporters: [{ name: journal, file: state/journal.jsonl }]\nnotify:\n  - { name: owner, webhook: { url: on-call-hook, template: slack }, drafts: true, alerts: true }\n",
                sign_off: "#   roles: [owner]\n#   evidence: [check, eval]\n#   change: optional\n#   staging: { runs: 0, days: 0 }     # a write need not have run in staging before\n#   reviewers:\n#     - { name: owner@example.com, roles: [owner], key: \"ssh-ed25519 …\" }\n",
            },
            Self::Sme => Differs {
                word: "sme",
                approvers: "{ group: shop-leads }",
                rung: "",
                by: "{ person: lea@example.com, groups: [shop-leads] }",
                roles: "{ operator: [operators], auditor: [security], viewer: [shop-leads] }",
                all_tenants: "[operators, security, shop-leads]",
                warn: "30d",
                relay: "exporters: [{ name: journal, file: state/journal.jsonl }]\nnotify:\n  - { name: shop, webhook: { url: on-call-hook, template: slack }, drafts: true, alerts: true }\n",
                sign_off: "#   roles: [security, owner]\n#   evidence: [check, prove, eval]\n#   change: optional\n#   staging: { runs: 5, days: 1 }     # what a write must have done in staging before\n#   reviewers:\n#     - { name: security@example.com, roles: [security], key: \"ssh-ed25519 …\" }\n#     - { name: owner@example.com, roles: [owner], key: \"ssh-ed25519 …\" }\n",
            },
            Self::Agency => Differs {
                word: "agency",
                approvers: "{ group: client-leads }   # of the client whose data it is: their token names the tenants",
                rung: "",
                by: "{ person: lea@ann.example, groups: [client-leads], tenants: [ann] }",
                roles: "{ operator: [operators], auditor: [account-leads, client-auditors], viewer: [client-leads] }",
                all_tenants: "[operators]   # a client's own people see their own tenant, which their token names",
                warn: "30d",
                relay: "exporters: [{ name: journal, file: state/journal.jsonl }]\nnotify:\n  - { name: agency, webhook: { url: on-call-hook, template: slack }, alerts: true }\n  # One for each client, who hears of nobody else's drafts and alerts:\n  - { name: client-ann, webhook: { url: client-ann-hook, template: slack }, drafts: true, alerts: true, tenants: [ann] }\n",
                sign_off: "#   roles: [security, owner, client]\n#   evidence: [check, prove, eval]\n#   change: required\n#   staging: { runs: 20, days: 2 }    # what a write must have done in staging before\n#   reviewers:\n#     - { name: security@example.com, roles: [security], key: \"ssh-ed25519 …\" }\n#     - { name: owner@example.com, roles: [owner], key: \"ssh-ed25519 …\" }\n#     - { name: lea@ann.example, roles: [client], key: \"ssh-ed25519 …\" }\n",
            },
            Self::MidMarket => Differs {
                word: "mid-market",
                approvers: "{ named: [lea@example.com, max@example.com] }\n  delegates: [kim@example.com]      # for one of them who is away and says so\n  escalate: { after: 1h, to: { named: [head@example.com] } }",
                rung: "rung: 4                         # one who is named, by a sign-in of a moment ago\n",
                by: "{ person: lea@example.com, groups: [shop-leads] }",
                roles: "{ operator: [operations], auditor: [compliance, security], viewer: [shop-leads] }",
                all_tenants: "[operations, compliance, security, shop-leads]",
                warn: "60d",
                relay: "exporters:\n  - { name: siem, stdout: true }\n  - { name: archive, file: state/journal.jsonl }\nnotify:\n  - { name: on-call, webhook: { url: on-call-hook, template: slack }, alerts: true }\n  - { name: shop, webhook: { url: shop-hook, template: slack }, drafts: true }\n",
                sign_off: "#   roles: [security, compliance, owner]\n#   evidence: [check, prove, eval, mutate]\n#   change: required\n#   staging: { runs: 20, days: 2 }    # what a write must have done in staging before\n#   reviewers:\n#     - { name: security@example.com, roles: [security], key: \"ssh-ed25519 …\" }\n#     - { name: compliance@example.com, roles: [compliance], key: \"ssh-ed25519 …\" }\n#     - { name: owner@example.com, roles: [owner], key: \"ssh-ed25519 …\" }\n",
            },
        }
    }

    /// Makes what the template wrote into `dir` this profile's.
    pub(super) fn apply(self, dir: &Path) -> Result<(), Failure> {
        let Differs { word, approvers, rung, by, roles, all_tenants, warn, relay, sign_off } =
            self.differs();
        let posture = dir.join("posture");
        let tool = TOOL.replace("{{approvers}}", approvers).replace("{{rung}}", rung);
        write(&posture.join("tools/cancel_order.yaml"), &tool)?;
        fs::create_dir_all(posture.join("evals")).doing(posture.display())?;
        write(&posture.join("evals/shop.yaml"), &CASES.replace("{{by}}", by))?;
        edit(&posture.join("agents/shop-assistant.yaml"), |line| match line {
            line if line.starts_with("limits:") => format!("{GRANT}{line}"),
            line => line.to_owned(),
        })?;
        edit(&posture.join("posture.yaml"), |line| match line {
            line if line.starts_with("organisation:") => format!(
                "{line}\nprofile: {word}\n\n# What is not reviewed again by its day, agents and vendors, is suspended; it is said ahead.\nreviews: {{ on_expiry: suspend, warn: {warn} }}"
            ),
            line => line.to_owned(),
        })?;
        let hooks: String = ["on-call-hook", "client-ann-hook", "shop-hook"]
            .into_iter()
            .filter(|hook| relay.contains(&format!("url: {hook},")))
            .map(|hook| format!("\n  {hook}: {{ value: \"https://hooks.example.com/{hook}\" }}   # yours, by `env` or `file`"))
            .collect();
        edit(&dir.join("countersign.yaml"), |line| match line {
            line if line.starts_with("  roles:") => format!("  roles: {roles}"),
            line if line.starts_with("  all_tenants:") => format!("  all_tenants: {all_tenants}"),
            "references:" => format!("{line}{hooks}"),
            line if line.starts_with("# What the posture's systems refer to") => format!(
                "# Whom the journal is handed to, and who is told of drafts that wait and of alerts.\n{relay}\n{line}"
            ),
            "# sign_off:" => format!("{line}\n{}", sign_off.trim_end()),
            line => line.to_owned(),
        })
    }
}

/// What the template says of who signs, line by line: a profile says it otherwise.
const SIGNS: [&str; 5] =
    ["#   roles:", "#   evidence:", "#   change:", "#   staging:", "#   reviewers:"];

/// Reviewed by whoever reviews what they make of this.
const GRANT: &str = "  - tool: cancel_order\n    reason: \"Customers change their minds; a person agrees to each.\"\n    # Production asks who reviewed it, and when:\n    # reviewed_by: security@example.com\n    # reviewed_on: 2026-11-20\n";

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).doing(path.display())
}

/// Puts something in the place of lines.
fn edit(path: &Path, line: impl Fn(&str) -> String) -> Result<(), Failure> {
    let text = fs::read_to_string(path).doing(path.display())?;
    let lines = text.lines().filter(|line| !SIGNS.iter().any(|of| line.starts_with(of)));
    let edited: String = lines.map(|written| format!("{}\n", line(written))).collect();
    write(path, &edited)
}
