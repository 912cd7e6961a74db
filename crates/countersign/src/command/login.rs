//! `countersign login` and `logout`: a person's own sign-in, kept for the commands that need one.

pub(super) mod kept;
mod oidc;

use super::End;
use super::admin::{self, Answer, Api, Ask, text, token_in, who};
use crate::machine::SystemClock;
use crate::render::{self, Failure};
use countersign_core::port::Clock as _;
use countersign_gateway::oidc::{How, payload};
use kept::{Kept, SignIns};
use oidc::Manner;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    #[command(flatten)]
    ask: Ask,
    /// Prove anew who you are, as some approvals ask
    #[arg(long)]
    fresh: bool,
    /// Sign in on another device, with a code
    #[arg(long, conflicts_with_all = ["person", "fresh"])]
    device: bool,
    /// Open no browser: the address is shown
    #[arg(long)]
    no_browser: bool,
    /// The port that the identity provider sends you back to, where it has to know
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Be this made-up person: for gateways with the development issuer
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// With `--person`: a group of theirs; may be given several times
    #[arg(long = "group", requires = "person")]
    groups: Vec<String>,
    /// With `--person`: a tenant that they decide for; may be given several times
    #[arg(long = "tenant", requires = "person")]
    tenants: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// The gateway; without it, all of them
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
}

impl Login {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let mut kept = SignIns::read()?;
        let url = self.ask.url(&kept);
        let runtime = super::serve::runtime()?;
        let token = runtime.block_on(self.token(&url))?;
        let api = Api::new(url.clone(), Some(&token))?;
        let me = match runtime.block_on(api.get("/admin/v1/me"))? {
            Ok(me) => me,
            refused => return Ok(admin::told(&self.ask, refused, |_| {})),
        };
        let ends = payload(&token).map_err(Failure::new)?;
        let expires_s = ends.get("exp").and_then(Value::as_f64).unwrap_or_default();
        // Whole seconds, well within what a double holds.
        let expires_s = expires_s as i64;
        kept.of.retain(|_, kept| kept.expires_s > SystemClock.now().secs());
        kept.of.insert(url.clone(), Kept { token, expires_s });
        kept.last = Some(url.clone());
        kept.write()?;
        let tell = |me: &Value| {
            render::line(format_args!("signed in at {url} as {}", who(me, "/person")));
            render::line(format_args!("roles    {}", text(me, "/roles")));
            render::line(format_args!("groups   {}", text(me, "/groups")));
            render::line(format_args!("tenants  {}", text(me, "/tenants")));
            render::line(format_args!("until    {}", admin::moment(me, "/expires")));
        };
        Ok(admin::told(&self.ask, Ok(me), tell))
    }

    async fn token(&self, url: &str) -> Result<String, Failure> {
        if let Some(file) = &self.ask.token_file {
            return token_in(file);
        }
        let api = Api::new(url.to_owned(), None)?;
        if let Some(person) = &self.person {
            let body = json!({ "person": person, "groups": self.groups, "tenants": self.tenants });
            return developed(api.post("/dev/token", &body).await?);
        }
        let how = match api.get("/admin/v1/sign-in").await? {
            Ok(how) => how,
            Err(_nobody) => {
                return Err(Failure::new(format!("nobody can sign in at {url}"))
                    .help("its countersign.yaml says how, under `people`"));
            }
        };
        let how: How = serde_json::from_value(how)
            .map_err(|error| Failure::new(format!("{url} does not say how to sign in: {error}")))?;
        if how.made_up {
            return Err(
                Failure::new("people here are made up").help("say who to be: `--person NAME`")
            );
        }
        if self.device {
            return oidc::by_device(how).await;
        }
        let manner = Manner { fresh: self.fresh, port: self.port, browser: !self.no_browser };
        oidc::by_browser(how, manner).await
    }
}

/// The token of the development issuer.
pub(super) fn developed(answer: Answer) -> Result<String, Failure> {
    let token =
        answer.map(|value| value.get("access_token").and_then(Value::as_str).map(str::to_owned));
    match token {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(Failure::new("no token was given")),
        Err(refused) if refused.code == "not_found" => {
            Err(Failure::new("the gateway has no development issuer")
                .help("sign in without `--person`"))
        }
        Err(refused) => Err(Failure::new(format!("no token was given: {refused}"))),
    }
}

impl Logout {
    /// Forgets the tokens here. At the identity provider one stays signed in.
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let mut kept = SignIns::read()?;
        let before = kept.of.len();
        match &self.gateway {
            Some(url) => drop(kept.of.remove(url.trim_end_matches('/'))),
            None => kept.of.clear(),
        }
        let forgotten = before.saturating_sub(kept.of.len());
        kept.last = kept.last.filter(|last| kept.of.contains_key(last));
        kept.write()?;
        render::line(format_args!("{forgotten} sign-ins forgotten"));
        Ok(End::Fine)
    }
}
