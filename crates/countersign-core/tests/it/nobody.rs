//! Ports for tests in which nothing is drafted, nothing is suspended and no person comes.

use countersign_core::absence::Delegations;
use countersign_core::draft::{Draft, Reach, Suspension, UnknownOutcome};
use countersign_core::id::{Digest, DraftId, Timestamp};
use countersign_core::person::Person;
use countersign_core::port::{Credential, Eventually, People, Register, Relay, Unrecorded, Which};
use countersign_core::refusal::AuthenticationFailure;
use countersign_core::relaying::Relaying;
use std::future::ready;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Nobody;

impl Register for Nobody {
    fn moved(&self) -> u64 {
        0
    }
    fn suspended(&self, _: &Reach<'_>) -> Option<Suspension> {
        None
    }
    fn suspensions(&self) -> Vec<Suspension> {
        Vec::new()
    }
    fn delegations(&self) -> Arc<Delegations> {
        Arc::default()
    }
    fn draft<'a>(&'a self, _: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        Box::pin(ready(Ok(None)))
    }
    fn latest(&self, _: Digest) -> Eventually<'_, Result<Option<Draft>, Unrecorded>> {
        Box::pin(ready(Ok(None)))
    }
    fn settled<'a>(&'a self, _: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        Box::pin(ready(Ok(None)))
    }
    fn drafts(&self, _: Which) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        Box::pin(ready(Ok(Vec::new())))
    }
    fn due(&self, _: Timestamp) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        Box::pin(ready(Ok(Vec::new())))
    }
    fn unknown(&self, _: bool) -> Eventually<'_, Result<Vec<UnknownOutcome>, Unrecorded>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

impl People for Nobody {
    fn person<'a>(
        &'a self,
        _: &'a Credential,
        _: Timestamp,
    ) -> Eventually<'a, Result<Arc<Person>, AuthenticationFailure>> {
        Box::pin(ready(Err(AuthenticationFailure::Missing)))
    }
}

impl Relay for Nobody {
    fn status(&self) -> Relaying {
        Relaying::default()
    }
}
