//! Keys that are fetched from an issuer, and kept.
//!
//! Whoever holds a token with a known key never waits: keys are fetched anew in the background before
//! they are old, and those that are there serve meanwhile. A key id that is not known may be a new
//! key: its bearer waits for the next fetch. One fetch is under way at a time, and not before
//! [`FLOOR`] after the last began, whoever asks and how often.

use super::KeySet;
use arc_swap::ArcSwapOption;
use countersign_core::args;
use countersign_core::id::{Digest, Timestamp};
use http::header::DATE;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::{Client, Url, redirect};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

/// Shortest time between the beginnings of two fetches.
pub const FLOOR: Duration = Duration::from_secs(5);
/// Keys older than this are fetched anew in the background, in seconds.
const FRESH_S: i64 = 5 * 60;
/// Keys older than this are not trusted, in seconds: their issuer may have taken one back.
const TRUSTED_S: i64 = 24 * 60 * 60;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// Most bearers of unknown key ids who wait for a fetch; one more is refused at once.
const WAITING_MAX: usize = 256;
/// Fetches that one of them waits for: the one under way may have begun before the key was there.
const ROUNDS: usize = 2;
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// They are these.
    Fixed(Arc<KeySet>),
    /// They are fetched.
    Fetched(Arc<Fetched>),
}

/// An issuer's keys as they are now.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: Arc<KeySet>,
    /// Another number, another set of keys.
    pub(super) generation: u64,
}

impl KeySource {
    /// The keys that are trusted now, if any. Has them fetched anew if they are not fresh.
    pub(super) fn held(&self, now: Timestamp) -> Option<Held> {
        match self {
            Self::Fixed(keys) => Some(Held { keys: Arc::clone(keys), generation: 0 }),
            Self::Fetched(fetched) => fetched.held(now),
        }
    }

    /// Waits for a set of keys in which `fits` finds something, within bounds.
    pub(super) async fn newer<T>(
        &self,
        now: Timestamp,
        fits: impl Fn(&Held) -> Option<T>,
    ) -> Option<T> {
        let Self::Fetched(fetched) = self else { return None };
        let _waiting = fetched.waiting.try_acquire().ok()?;
        for _ in 0..ROUNDS {
            fetched.next(now).await;
            let found = fetched.held(now).as_ref().and_then(&fits);
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Where keys are fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A JWK set.
    KeySet(String),
    /// The metadata of this issuer, which says where (OpenID Connect Discovery 1.0, RFC 8414).
    Metadata(String),
}

/// The keys of one issuer, fetched.
#[derive(Debug)]
pub struct Fetched {
    place: Place,
    /// The `use` that its keys must have, if they have one.
    purpose: &'static str,
    client: Client,
    kept: ArcSwapOption<Kept>,
    attempt: Mutex<Attempt>,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    waiting: Semaphore,
}

#[derive(Debug)]
struct Kept {
    keys: Arc<KeySet>,
    digest: Digest,
    generation: u64,
    at: Timestamp,
}

#[derive(Debug, Default)]
struct Attempt {
    begun: Option<Instant>,
    under_way: bool,
}

impl Fetched {
    /// Fetches nothing yet. Plain HTTP is for a loopback address alone, which `place` was checked for.
    ///
    /// # Errors
    /// A sentence: TLS cannot be set up.
    pub fn new(place: Place, purpose: &'static str) -> Result<Self, String> {
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|why| format!("keys cannot be fetched: {why}"))?;
        Ok(Self {
            place,
            purpose,
            client,
            kept: ArcSwapOption::empty(),
            attempt: Mutex::default(),
            ended: watch::Sender::new(0),
            waiting: Semaphore::new(WAITING_MAX),
        })
    }

    /// Fetches the keys before anybody asks.
    pub async fn warm(self: &Arc<Self>, now: Timestamp) -> bool {
        self.next(now).await;
        self.kept.load().is_some()
    }

    /// Fetches the keys once, for whoever wants to know whether they can be: how many there are, and
    /// by how many seconds the issuer's clock is ahead of `now`, if it says.
    ///
    /// # Errors
    /// A sentence: why there are none.
    pub async fn examine(&self, now: Timestamp) -> Result<(usize, Option<i64>), String> {
        let url = self.key_set().await?;
        let Got { text, date } = self.get(&url).await?;
        let keys = KeySet::usable(&text, self.purpose)?.iter().count();
        Ok((keys, date.map(|date| date.secs().saturating_sub(now.secs()))))
    }

    fn held(self: &Arc<Self>, now: Timestamp) -> Option<Held> {
        let kept = self.kept.load_full()?;
        let older_than = |seconds: i64| now.secs().saturating_sub(kept.at.secs()) >= seconds;
        if older_than(FRESH_S) {
            let _begun = self.begin(now); // In the background: what is here serves meanwhile.
        }
        let Kept { keys, generation, .. } = &*kept;
        (!older_than(TRUSTED_S)).then(|| Held { keys: Arc::clone(keys), generation: *generation })
    }

    /// Waits until the next fetch has ended, or has taken too long.
    async fn next(self: &Arc<Self>, now: Timestamp) {
        let mut ended = self.ended.subscribe();
        if let Err(wait) = self.begin(now) {
            sleep(wait).await;
            let _begun = self.begin(now);
        }
        // An error here would be that nobody fetches any more, which ends the wait as well.
        drop(timeout(REQUEST_TIMEOUT.saturating_mul(2), ended.changed()).await);
    }

    /// Begins a fetch, if none is under way; the error says how long after the last it is too soon.
    fn begin(self: &Arc<Self>, now: Timestamp) -> Result<(), Duration> {
        // What it holds is whole at every moment.
        let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt.under_way {
            return Ok(());
        }
        // By a clock that never goes back: requests that wait carry a time that has passed.
        let since = attempt.begun.map(|begun| begun.elapsed());
        if let Some(wait) = since.and_then(|since| FLOOR.checked_sub(since)) {
            return Err(wait);
        }
        *attempt = Attempt { begun: Some(Instant::now()), under_way: true };
        drop(attempt);
        let fetched = Arc::clone(self);
        // A task of its own: whoever waits for it may hang up.
        tokio::spawn(async move {
            match fetched.fetch().await {
                Ok((keys, digest)) => fetched.keep(keys, digest, now),
                Err(why) => tracing::warn!(from = ?fetched.place, why, "keys were not fetched"),
            }
            fetched.attempt.lock().unwrap_or_else(PoisonError::into_inner).under_way = false;
            fetched.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
        });
        Ok(())
    }

    fn keep(&self, keys: KeySet, digest: Digest, at: Timestamp) {
        let before = self.kept.load_full();
        let kept = match before.as_deref() {
            Some(Kept { keys, digest: same, generation, .. }) if *same == digest => {
                Kept { keys: Arc::clone(keys), digest, generation: *generation, at }
            }
            other => {
                let generation = other.map_or(1, |before| before.generation.wrapping_add(1));
                tracing::info!(from = ?self.place, generation, "an issuer's keys are new");
                Kept { keys: Arc::new(keys), digest, generation, at }
            }
        };
        self.kept.store(Some(Arc::new(kept)));
    }

    async fn fetch(&self) -> Result<(KeySet, Digest), String> {
        let url = self.key_set().await?;
        let Got { text, .. } = self.get(&url).await?;
        Ok((KeySet::usable(&text, self.purpose)?, Digest::sha256(&text)))
    }

    /// Where the key set is.
    async fn key_set(&self) -> Result<String, String> {
        match &self.place {
            Place::KeySet(url) => Ok(url.clone()),
            Place::Metadata(issuer) => self.discover(issuer).await,
        }
    }

    /// Where an issuer says that its keys are.
    async fn discover(&self, issuer: &str) -> Result<String, String> {
        let mut failed = String::new();
        for url in metadata_urls(issuer)? {
            match self.get(&url).await {
                Ok(Got { text, .. }) => return key_set_url(issuer, &text),
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    async fn get(&self, url: &str) -> Result<Got, String> {
        let failed = |why: reqwest::Error| format!("`{url}`: {}", why.without_url());
        let mut answer = self.client.get(url).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(format!("`{url}` answers {}", answer.status().as_u16()));
        }
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
        let date = date.map(|date| Timestamp::from_secs(date.as_second()));
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if text.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                return Err(format!("`{url}` answers more than {ANSWER_BYTES_MAX} bytes"));
            }
            text.extend_from_slice(&chunk);
        }
        Ok(Got { text, date })
    }
}

/// What an issuer answered, and what time it was there.
struct Got {
    text: Vec<u8>,
    date: Option<Timestamp>,
}

/// Where metadata may be: after the issuer (OpenID Connect), or between its host and path (RFC 8414).
fn metadata_urls(issuer: &str) -> Result<[String; 2], String> {
    let url = Url::parse(issuer).map_err(|why| format!("`{issuer}` is no URL: {why}"))?;
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    let openid = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    Ok([openid, format!("{origin}/.well-known/oauth-authorization-server{path}")])
}

/// The `jwks_uri` of metadata that is this issuer's.
fn key_set_url(issuer: &str, text: &[u8]) -> Result<String, String> {
    let metadata = args::parse(text).map_err(|why| format!("the metadata is not JSON: {why}"))?;
    // Byte for byte: metadata of another issuer lends it this one's name.
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(format!("the metadata at `{issuer}` is another issuer's"));
    }
    let url = metadata.get("jwks_uri").and_then(Value::as_str);
    let url = url.ok_or_else(|| format!("the metadata of `{issuer}` has no `jwks_uri`"))?;
    // What the issuer itself was reached by is the least that its keys need.
    if issuer.starts_with("https://") && !url.starts_with("https://") {
        return Err(format!("the keys of `{issuer}` are not fetched without TLS"));
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_both_specifications_put_it() {
        let urls = metadata_urls("https://login.example/realms/acme").unwrap();
        assert_eq!(
            urls,
            [
                "https://login.example/realms/acme/.well-known/openid-configuration",
                "https://login.example/.well-known/oauth-authorization-server/realms/acme",
            ]
        );
        assert_eq!(
            metadata_urls("https://login.example/").unwrap()[0],
            "https://login.example/.well-known/openid-configuration"
        );
        assert!(metadata_urls("login").is_err());
    }

    #[test]
    fn metadata_of_another_issuer_or_without_tls_leads_nowhere() {
        let issuer = "https://login.example";
        let says = |text: &str| key_set_url(issuer, text.as_bytes());
        assert_eq!(
            says(r#"{"issuer":"https://login.example","jwks_uri":"https://k.example/j"}"#).unwrap(),
            "https://k.example/j"
        );
        for text in [
            r#"{"issuer":"https://login.example/","jwks_uri":"https://k.example"}"#,
            r#"{"jwks_uri":"https://k.example"}"#,
            r#"{"issuer":"https://login.example"}"#,
            r#"{"issuer":"https://login.example","jwks_uri":"http://k.example"}"#,
            r#"{"issuer":"https://login.example","issuer":"x","jwks_uri":"https://k.example"}"#,
            "<html>",
        ] {
            assert!(says(text).is_err(), "{text}");
        }
    }
}
