//! The commands. Each returns how it ended; a failure to run at all is an error.

mod admin;
mod agents;
mod audit;
mod call;
mod check;
mod demo;
mod doctor;
mod drafts;
mod eval;
mod explain;
mod fit;
mod import;
mod init;
mod login;
mod mcp;
mod policy;
pub(crate) mod posture;
mod review;
mod schema;
mod serve;
mod switch;
mod token;
mod unknown;
mod vendor;

use crate::render::Failure;
use clap::Subcommand;
use std::{path::PathBuf, process::ExitCode};

/// How a command that ran has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing to report.
    Fine,
    /// It found something: exit code 1.
    Findings,
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Fine => Self::SUCCESS,
            End::Findings => Self::from(1),
        }
    }
}

/// Where the deployment is.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct At {
    /// The deployment file, or the folder it is in
    #[arg(default_value = "countersign.yaml")]
    config: PathBuf,
}

impl At {
    fn file(&self) -> PathBuf {
        if self.config.is_dir() {
            self.config.join("countersign.yaml")
        } else {
            self.config.clone()
        }
    }

    /// As it is to be typed after another command: nothing, where it was left out.
    fn words(&self) -> String {
        let named = self.config.display().to_string();
        match named.as_str() {
            "countersign.yaml" => String::new(),
            named if named.contains(char::is_whitespace) => format!(" '{named}'"),
            named => format!(" {named}"),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start an example company and watch an agent's calls allowed, refused, limited and recorded
    #[command(after_help = "Example: countersign demo --dir /tmp/acme")]
    Demo(demo::Demo),
    /// Write a commented posture and deployment, and make the journal
    #[command(after_help = "Example: countersign init my-gateway && countersign check my-gateway")]
    Init(init::Init),
    /// Read posture and deployment and say everything that is wrong with them
    #[command(after_help = "Example: countersign check examples/acme")]
    Check(check::Check),
    /// Ask the live systems what no file shows: row-level security, rights, reach, disk, clocks
    #[command(
        after_help = "Exit codes: 0 all is well, 1 something was found, 2 could not run.\n\nExample: countersign doctor my-gateway"
    )]
    Doctor(doctor::Doctor),
    /// Draft tools from an OpenAPI document, the tables of a database or what an MCP server defines
    #[command(subcommand)]
    Import(import::Import),
    /// Say what would be decided of a call, stage by stage, by which line, and what would change it
    #[command(
        after_help = "Exit codes: 0 allowed, 1 refused, 2 could not run.\n\nExample: countersign explain my-gateway --agent shop-assistant --tenant ann --user ann --tool list_orders --arguments '{\"count\": 5}'"
    )]
    Explain(explain::Explain),
    /// Try the posture on the cases of its evaluation suite, over copies of its systems
    #[command(subcommand)]
    Eval(eval::Eval),
    /// Write what a security review asks for, as one page: agents, permissions, threats, evidence
    #[command(
        after_help = "Exit codes: 0 written, 1 posture or deployment has an error, 2 could not run.\n\nExample: countersign review my-gateway --out review.html"
    )]
    Review(review::Review),
    /// Print the schema that hand-written policies are held against, or the policies of a tool
    #[command(subcommand)]
    Policy(policy::Policy),
    /// What a posture comes to, for whoever has to sign it
    #[command(subcommand)]
    Posture(posture::Posture),
    /// Write down whom agents depend on, and see who may have which data until when
    #[command(subcommand)]
    Vendor(vendor::Vendor),
    /// Say whether an agent is the right tool: from the ways its sessions went, or before there is one
    #[command(
        after_help = "Exit codes: 0 an agent fits or there is too little to say, 1 another tool would do, 2 could not run.\n\nExample: countersign fit my-gateway --since 2026-09-01T00:00:00Z\n         countersign fit --ask"
    )]
    Fit(fit::Fit),
    /// Print the JSON Schemas of posture and deployment files, for editors
    #[command(after_help = "Example: countersign schema --out .countersign/schemas")]
    Schema(schema::Schema),
    /// Run the gateway: MCP on /mcp, HTTP on /v1
    #[command(after_help = "Example: countersign serve my-gateway")]
    Serve(At),
    /// Bring a gateway to a host that only speaks stdio: standard input and output to its MCP endpoint
    #[command(
        after_help = "Environment: COUNTERSIGN_TOKEN holds the agent's token; COUNTERSIGN_URL and COUNTERSIGN_TENANT stand for what is not written.\n\nExample: COUNTERSIGN_TOKEN=… countersign mcp https://countersign.example"
    )]
    Mcp(mcp::Mcp),
    /// Get a token from the development issuer of a running gateway
    #[command(
        after_help = "Example: countersign token --agent support-copilot --tenant acct_alpha --user ann"
    )]
    Token(token::Token),
    /// Make one call as an agent does, through a running gateway
    #[command(
        after_help = "Exit codes: 0 completed, 1 refused or failed, 2 could not ask.\nEnvironment: COUNTERSIGN_TOKEN holds the agent's token; COUNTERSIGN_URL stands for --gateway.\n\nExample: COUNTERSIGN_TOKEN=… countersign call get_account_usage --arguments '{\"account_id\": \"acct_alpha\", \"days\": 7}'"
    )]
    Call(call::Call),
    /// Sign in to a gateway, as a person who approves, suspends or looks on
    #[command(
        after_help = "For machines without a browser: --device, --token-file, or the token in COUNTERSIGN_TOKEN.\n\nExample: countersign login --gateway https://countersign.example"
    )]
    Login(login::Login),
    /// Forget the sign-ins on this machine
    Logout(login::Logout),
    /// See what waits for people, approve, reject or withdraw it, and let somebody stand in for you
    #[command(
        after_help = "Exit codes: 0 done, 1 the gateway said no or it did not come off, 2 could not ask.\n\nExample: countersign drafts approve drf_0123456789abcdef0123456789abcdef"
    )]
    Drafts(drafts::Drafts),
    /// See the agents, and suspend or resume one
    #[command(
        after_help = "Example: countersign agents suspend support-copilot --reason \"it refunds at random\""
    )]
    Agents(agents::Agents),
    /// Switch an agent, a tool, a system, a tenant or everything off, and on again
    #[command(
        after_help = "Example: countersign switch off --tool refund_invoice --reason \"wrong amounts\""
    )]
    Switch(switch::Switch),
    /// See effects whose outcome is unknown, and say what came of them
    #[command(
        after_help = "Example: countersign unknown resolve CALL --not-happened --reason \"no refund in the ledger\""
    )]
    Unknown(unknown::Unknown),
    /// Read and verify the journal
    #[command(subcommand)]
    Audit(audit::Audit),
}

impl Command {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Demo(demo) => demo.run(),
            Self::Init(init) => init.run(),
            Self::Check(check) => check.run(),
            Self::Doctor(doctor) => doctor.run(),
            Self::Import(import) => import.run(),
            Self::Explain(explain) => explain.run(),
            Self::Eval(eval) => eval.run(),
            Self::Policy(policy) => policy.run(),
            Self::Posture(posture) => posture.run(),
            Self::Vendor(vendor) => vendor.run(),
            Self::Fit(fit) => fit.run(),
            Self::Review(review) => review.run(),
            Self::Schema(schema) => schema.run(),
            Self::Serve(at) => serve::run(&at.file()),
            Self::Mcp(mcp) => mcp.run(),
            Self::Token(token) => token.run(),
            Self::Call(call) => call.run(),
            Self::Login(login) => login.run(),
            Self::Logout(logout) => logout.run(),
            Self::Drafts(drafts) => drafts.run(),
            Self::Agents(agents) => agents.run(),
            Self::Switch(switch) => switch.run(),
            Self::Unknown(unknown) => unknown.run(),
            Self::Audit(audit) => audit.run(),
        }
    }
}
