//! `countersign demo`: the example company on embedded databases, and a scripted agent that calls
//! its tools over the real MCP door while a table tells what became of each call.

mod approvals;
mod company;
mod crm;
pub(super) mod mail;
mod story;

use super::End;
use super::serve::Relaying;
use crate::assemble::{self, Assembled};
use crate::render::{self, Doing, Failure};
use company::{Addresses, Company};
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The example company's folder; made where there is none
    #[arg(long, default_value = "countersign-demo")]
    dir: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Where the company's CRM listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8790")]
    crm: SocketAddr,
    /// Where the company's mail server listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8725")]
    mail: SocketAddr,
    /// Start afresh: remove the company's data and journal that an earlier demo made in the folder
    #[arg(long)]
    fresh: bool,
    /// Make the company and end: to look at it, or to serve it with `countersign serve`
    #[arg(long)]
    only_make: bool,
    /// Serve the company's CRM and its mail server and nothing else, beside `countersign serve`
    #[arg(long, conflicts_with_all = ["only_make", "once", "fresh"])]
    only_crm: bool,
    /// Let the demo's made-up people approve what waits for them, instead of waiting for you
    #[arg(long)]
    auto_approve: bool,
    /// End after the story, with `--auto-approve`; exit code 1 if it went otherwise than told
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        for (option, address) in [("listen", self.listen), ("crm", self.crm), ("mail", self.mail)] {
            if !address.ip().is_loopback() {
                return Err(Failure::new(format!(
                    "`--{option} {address}` is not a loopback address"
                ))
                .help("the demo gives tokens to whoever asks: only this machine may reach it"));
            }
        }
        if self.only_make {
            let at = Addresses { listen: self.listen, crm: self.crm, mail: self.mail };
            return Company::open(&self.dir, at, self.fresh).map(|_company| End::Fine);
        }
        let crm = listener("the CRM", "crm", self.crm)?;
        let mail = listener("the mail server", "mail", self.mail)?;
        if self.only_crm {
            return Self::serve_crm(&Company::made(&self.dir)?, crm, mail);
        }
        let at = Addresses {
            listen: self.listen,
            crm: crm.local_addr().doing("the CRM's listener")?,
            mail: mail.local_addr().doing("the mail server's listener")?,
        };
        let company = Company::open(&self.dir, at, self.fresh)?;
        let runtime = super::serve::runtime()?;
        let Some(assembled) = runtime.block_on(assemble::assemble(&company.config()))? else {
            return Err(Failure::new(format!("the posture in {} has errors", self.dir.display()))
                .help("mend it, or start afresh with `countersign demo --fresh`"));
        };
        let store = Arc::clone(&assembled.store);
        let ended = match company.crm() {
            Ok(serving) => {
                runtime.spawn(serving.serve(crm));
                runtime.spawn(company.mail().serve(mail));
                runtime.block_on(self.tell(&company, assembled))
            }
            Err(failure) => Err(failure),
        };
        drop(runtime);
        // Also after a failure: what is queued must reach the disk, and the stream end in good order.
        let closed = store.close().doing("the journal could not be closed in good order");
        ended.and_then(|end| closed.map(|()| end))
    }

    /// The CRM and the mail server alone, until somebody stops them.
    fn serve_crm(company: &Company, crm: TcpListener, mail: TcpListener) -> Result<End, Failure> {
        let address = crm.local_addr().doing("the CRM's listener")?;
        let of_mail = mail.local_addr().doing("the mail server's listener")?;
        let serving = company.crm()?;
        super::serve::runtime()?.block_on(async {
            let serving = tokio::spawn(serving.serve(crm));
            let taking = tokio::spawn(company.mail().serve(mail));
            render::note(format_args!("the CRM listens on http://{address}"));
            render::note(format_args!("the mail server listens on smtp://{of_mail}"));
            super::serve::stopping().await;
            serving.abort();
            taking.abort();
        });
        Ok(End::Fine)
    }

    async fn tell(&self, company: &Company, assembled: Assembled) -> Result<End, Failure> {
        let Assembled { gateway, store, relay, listen, reloader: _ } = assembled;
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(|error| {
            Failure::new(format!("cannot listen on {listen}: {error}"))
                .help("name another address, e.g. `countersign demo --listen 127.0.0.1:8788`")
        })?;
        let address = listener.local_addr().doing("the listener")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(gateway.serve(listener, async move {
            // The other end being dropped means the same: stop.
            drop(stopped.await);
        }));
        let relaying = Relaying::begin(relay);
        let told = self.story(company, address).await;
        if told.is_ok() && !self.once {
            super::serve::stopping().await;
            render::note(
                "\nstopping: calls under way may end, the journal is closed in good order",
            );
        }
        drop(stop);
        serving.await.doing("the gateway")?.doing("serving ended")?;
        relaying.end().await;
        drop(store);
        told
    }

    async fn story(&self, company: &Company, address: SocketAddr) -> Result<End, Failure> {
        let automatic = self.auto_approve || self.once;
        let went_as_told = story::tell(company, address, automatic).await?;
        if !self.once {
            story::invite(company, address).await?;
        }
        Ok(if went_as_told { End::Fine } else { End::Findings })
    }
}

/// Where one of the company's own servers listens.
fn listener(who: &str, option: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        Failure::new(format!("{who} cannot listen on {address}: {error}")).help(format!(
            "name another address, e.g. `countersign demo --{option} 127.0.0.1:8791`"
        ))
    })
}
