//! Letters of the gateway itself: the same server, the same way to it, and no permit, because no call
//! stands behind them.

use super::{Email, EmailSystem, MailServerError, QUIT_MAX, compose};
use countersign_core::port::{Clock, Eventually, Letter, Post};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::timeout;

/// How long one letter may take.
const LETTER_MAX: Duration = Duration::from_secs(30);

/// Hands letters over to a mail server.
#[derive(Debug)]
pub struct Postman(Email);

impl Postman {
    /// By this server.
    ///
    /// # Errors
    /// [`MailServerError`], as far as that shows without trying.
    pub fn new(system: EmailSystem, clock: Arc<dyn Clock>) -> Result<Self, MailServerError> {
        system.check()?;
        Ok(Self(Email::new(system, clock)))
    }

    async fn hand_over(&self, letter: &Letter) -> Result<(), String> {
        let Self(email) = self;
        let Letter { to, subject, text, id } = letter;
        let words = (subject.clone(), text.as_str());
        let composed = compose::composed(&email.system, to, words, (id, email.clock.now()))?;
        // What a call would have to know of it: here whoever tries again does so by the same id.
        let begun = AtomicBool::new(false);
        let delivered = timeout(LETTER_MAX, email.deliver(&composed, &begun)).await;
        let late = |_elapsed| "the mail server was given up when the time was over".to_owned();
        let mut connection = delivered.map_err(late)?.map_err(|fault| fault.detail)?;
        drop(timeout(QUIT_MAX, connection.quit()).await);
        Ok(())
    }
}

impl Post for Postman {
    fn send(&self, letter: Letter) -> Eventually<'_, Result<(), String>> {
        Box::pin(async move { self.hand_over(&letter).await })
    }
}
