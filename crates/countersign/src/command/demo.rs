//! `countersign demo`: the example company on embedded databases, and a scripted agent that calls
//! its tools over the real MCP door while a table tells what became of each call.

mod company;
mod story;

use super::End;
use crate::assemble::{self, Assembled};
use crate::render::{self, Doing, Failure};
use company::Company;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::net::TcpListener;

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The example company's folder; made where there is none
    #[arg(long, default_value = "countersign-demo")]
    dir: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Start afresh: remove the company's data and journal that an earlier demo made in the folder
    #[arg(long)]
    fresh: bool,
    /// Make the company and end: to look at it, or to serve it with `countersign serve`
    #[arg(long)]
    only_make: bool,
    /// End after the story; exit code 1 if it went otherwise than told
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        if !self.listen.ip().is_loopback() {
            return Err(Failure::new(format!(
                "`--listen {}` is not a loopback address",
                self.listen
            ))
            .help("the demo gives tokens to whoever asks: only this machine may reach it"));
        }
        let company = Company::open(&self.dir, self.listen, self.fresh)?;
        if self.only_make {
            return Ok(End::Fine);
        }
        let runtime = super::serve::runtime()?;
        let Some(assembled) = runtime.block_on(assemble::assemble(&company.config()))? else {
            return Err(Failure::new(format!("the posture in {} has errors", self.dir.display()))
                .help("mend it, or start afresh with `countersign demo --fresh`"));
        };
        let store = Arc::clone(&assembled.store);
        let ended = runtime.block_on(self.tell(&company, assembled));
        drop(runtime);
        // Also after a failure: what is queued must reach the disk, and the stream end in good order.
        let closed = store.close().doing("the journal could not be closed in good order");
        ended.and_then(|end| closed.map(|()| end))
    }

    async fn tell(&self, company: &Company, assembled: Assembled) -> Result<End, Failure> {
        let Assembled { gateway, store, listen, reloader: _ } = assembled;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Failure::new(format!("cannot listen on {listen}: {error}"))
                .help("name another address, e.g. `countersign demo --listen 127.0.0.1:8788`")
        })?;
        let address = listener.local_addr().doing("the listener")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(gateway.serve(listener, async move {
            // The other end being dropped means the same: stop.
            drop(stopped.await);
        }));
        let told = self.story(company, address).await;
        if told.is_ok() && !self.once {
            super::serve::stopping().await;
            render::note(
                "\nstopping: calls under way may end, the journal is closed in good order",
            );
        }
        drop(stop);
        serving.await.doing("the gateway")?.doing("serving ended")?;
        drop(store);
        told
    }

    async fn story(&self, company: &Company, address: SocketAddr) -> Result<End, Failure> {
        let went_as_told = story::tell(company, address).await?;
        if !self.once {
            story::invite(company, address).await?;
        }
        Ok(if went_as_told { End::Fine } else { End::Findings })
    }
}
