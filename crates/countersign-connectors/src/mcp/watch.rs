//! What looks after a server beside the calls: a definition that changes is withdrawn also while nobody
//! asks for it.

use super::{Server, conversation::Holder};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How often it is looked, at least and at most, whatever the posture says for calls.
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
        Self(tokio::spawn(watch(Arc::clone(server))))
    }
}

async fn watch(server: Arc<Server>) {
    let recheck = Duration::from_millis(server.system.recheck_ms.into());
    let every = if recheck.is_zero() { EVERY_IF_ALWAYS } else { recheck.max(EVERY_MIN) };
    let patience = Duration::from_millis(server.system.timeout_ms.into());
    let mut well = true;
    loop {
        server.tidy();
        let begun = timeout(patience, server.common()).await;
        let conversation = match begun {
            Ok(Ok((_, conversation))) => Some(conversation),
            Ok(Err(trouble)) => {
                if std::mem::take(&mut well) {
                    tracing::warn!(
                        detail = trouble.detail,
                        "an MCP server is not there to be looked at"
                    );
                }
                None
            }
            Err(_late) => None,
        };
        let Some(conversation) = conversation else {
            sleep(every).await;
            continue;
        };
        let mut listening = std::pin::pin!(conversation.listen(&server));
        let (began, listens) = (Instant::now(), conversation.tells());
        loop {
            server.touch(&Holder::gateway());
            server.tidy();
            let looked = timeout(patience, server.look(&conversation)).await;
            match looked {
                Ok(Ok(())) => well = true,
                Ok(Err(trouble)) => {
                    if std::mem::take(&mut well) {
                        tracing::warn!(
                            detail = trouble.detail,
                            "an MCP server does not say what it defines"
                        );
                    }
                    server.after(&trouble, &Holder::gateway());
                    sleep(every).await;
                    break;
                }
                Err(_late) => {}
            }
            tokio::select! {
                _ = &mut listening, if listens => {
                    // What was to be told meanwhile was told to nobody: it is looked, and listened anew.
                    server.is_told();
                    if let Ok(Err(trouble)) = timeout(patience, server.look(&conversation)).await {
                        server.after(&trouble, &Holder::gateway());
                    }
                    let lived = began.elapsed() > EVERY_MIN;
                    sleep(if lived { EVERY_MIN } else { every }).await;
                    break;
                }
                () = server.is_changed() => {}
                () = sleep(every) => {}
            }
        }
    }
}
