//! What looks after a server beside the calls: a definition that changes is withdrawn also while nobody
//! asks for it.

use super::conversation::{Conversation, Holder};
use super::{Server, Trouble};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The least time between two looks, and between two attempts to listen; and the time if the posture has
/// every call look.
const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_IF_ALWAYS: Duration = Duration::from_secs(10);

/// Looks until it is dropped.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    pub(super) fn begin(server: &Arc<Server>) -> Self {
        let server = Arc::clone(server);
        let recheck = Duration::from_millis(server.system.recheck_ms.into());
        let every = if recheck.is_zero() { EVERY_IF_ALWAYS } else { recheck.max(EVERY_MIN) };
        Self(tokio::spawn(async move {
            let mut well = true;
            loop {
                let began = Instant::now();
                let watched = watch(&server, every).await;
                if let Err(trouble) = &watched
                    && well
                {
                    let detail = &trouble.detail;
                    tracing::warn!(detail, "an MCP server does not say what it defines");
                }
                well = watched.is_ok();
                // Whoever fails at once, or ends what they tell at once, is not asked over and over.
                let lived = began.elapsed() > EVERY_MIN;
                sleep(if lived { EVERY_MIN } else { every.min(EVERY_IF_ALWAYS) }).await;
            }
        }))
    }
}

/// Looks and listens in the gateway's own conversation, until what the server tells ends.
async fn watch(server: &Server, every: Duration) -> Result<(), Trouble> {
    server.tidy();
    let (_, conversation) = server.in_time(server.common()).await?;
    let outcome = keep_looking(server, &conversation, every).await;
    outcome.inspect_err(|trouble| server.after(trouble, (&Holder::gateway(), &conversation)))
}

async fn keep_looking(
    server: &Server,
    conversation: &Conversation,
    every: Duration,
) -> Result<(), Trouble> {
    let mut listening = std::pin::pin!(conversation.listen(server));
    loop {
        server.touch(&Holder::gateway());
        server.tidy();
        server.in_time(server.look((conversation, true))).await?;
        tokio::select! {
            _ = &mut listening, if conversation.tells() => {
                // What was to be told meanwhile was told to nobody.
                server.is_told();
                return server.in_time(server.look((conversation, true))).await;
            }
            // However often it says so.
            () = server.is_changed() => sleep(EVERY_MIN).await,
            () = sleep(every) => {}
        }
    }
}

impl Server {
    /// Within the time that the system has.
    pub(super) async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let patience = Duration::from_millis(self.system.timeout_ms.into());
        timeout(patience, asked).await.unwrap_or_else(|_elapsed| Err(Trouble::late()))
    }
}
