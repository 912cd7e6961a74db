//! Who is signed in to the console, and sign-ins that are under way.
//!
//! A session is a random cookie here and, on this side, the person's own token: every request shows
//! that to the monitor anew, so a session is worth no more than its token and ends with it. It is kept
//! in memory alone. A sign-in under way is kept nowhere: all of it is in a cookie of its own that only
//! this process could have made.

use aws_lc_rs::constant_time::verify_slices_are_equal as equal;
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::draft::Who;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::Entropy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Sessions at once; for one more, the one that was not used for longest ends.
const SESSIONS_MAX: usize = 4_096;
/// Sessions of one person at once; for one more, the one that was not used for longest ends.
const SESSIONS_PER_PERSON_MAX: usize = 8;
/// A session that is not used for so long ends, in seconds.
pub(super) const IDLE_S: u64 = 30 * 60;
/// A session ends after so long whatever happens, in seconds; with its token, if that is sooner.
pub(super) const SESSION_S: u64 = 8 * 60 * 60;
/// Pages of one session that are kept up to date at once.
const LIVE_PER_SESSION_MAX: usize = 8;
/// How long somebody may take to sign in, in seconds.
pub(super) const ATTEMPT_S: i64 = 10 * 60;
/// Sign-ins of the last minutes that are remembered, so that none is completed twice.
const COMPLETED_MAX: usize = 4_096;

/// All sessions of this process.
#[derive(Debug)]
pub(super) struct Sessions {
    held: Mutex<BTreeMap<Digest, Held>>,
    completed: Mutex<BTreeSet<(i64, String)>>,
    secret: hmac::Key,
    entropy: Arc<dyn Entropy>,
}

/// What is kept of a session: by the digest of its cookie, so that no copy of memory is a cookie.
struct Held {
    who: Who,
    token: Arc<str>,
    form: Arc<str>,
    live: Arc<Semaphore>,
    begun: Timestamp,
    used: Timestamp,
    ends: Timestamp,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({:?}, until {:?})", self.who, self.ends)
    }
}

impl Held {
    fn is_over(&self, now: Timestamp) -> bool {
        let since = |at: Timestamp| now.micros_since(at).div_euclid(1_000_000);
        now >= self.ends || since(self.used) >= IDLE_S || since(self.begun) >= SESSION_S
    }
}

/// A session that a request belongs to.
#[derive(Clone)]
pub(super) struct Session {
    /// The person's token.
    pub(super) token: Arc<str>,
    /// What every form of this session carries.
    pub(super) form: Arc<str>,
    /// Room for its pages that are kept up to date.
    pub(super) live: Arc<Semaphore>,
    name: Digest,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(…)")
    }
}

/// A sign-in under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    seed: String,
    begun_s: i64,
    /// Where it leads afterwards: a path of the console.
    pub(super) back: String,
}

impl Sessions {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Self { held: Mutex::default(), completed: Mutex::default(), secret, entropy }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 32 random bytes as text.
    fn drawn(&self) -> String {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        URL_SAFE_NO_PAD.encode(random)
    }

    /// Begins a session with a new cookie, and ends the one that the browser had.
    pub(super) fn begin(
        &self,
        (who, token, ends): (Who, String, Timestamp),
        before: Option<&str>,
        now: Timestamp,
    ) -> String {
        let (cookie, form) = (self.drawn(), self.drawn().into());
        let (token, live) = (token.into(), Arc::new(Semaphore::new(LIVE_PER_SESSION_MAX)));
        let session = Held { who, token, form, live, begun: now, used: now, ends };
        let mut held = self.held();
        if let Some(before) = before {
            held.remove(&named(before));
        }
        held.retain(|_, session| !session.is_over(now));
        let of_theirs = |held: &BTreeMap<Digest, Held>| {
            held.values().filter(|other| other.who == session.who).count()
        };
        while of_theirs(&held) >= SESSIONS_PER_PERSON_MAX {
            end_oldest(&mut held, Some(&session.who));
        }
        while held.len() >= SESSIONS_MAX {
            end_oldest(&mut held, None);
        }
        held.insert(named(&cookie), session);
        cookie
    }

    /// The session of a cookie, if it is not over. It counts as used.
    pub(super) fn find(&self, cookie: &str, now: Timestamp) -> Option<Session> {
        let name = named(cookie);
        let mut held = self.held();
        let session = held.get_mut(&name)?;
        if session.is_over(now) {
            held.remove(&name);
            return None;
        }
        session.used = session.used.max(now);
        let Held { token, form, live, .. } = session;
        let (token, form, live) = (Arc::clone(token), Arc::clone(form), Arc::clone(live));
        Some(Session { token, form, live, name })
    }

    /// Whether a session is not over. It does not count as used.
    pub(super) fn lasts(&self, session: &Session, now: Timestamp) -> bool {
        self.held().get(&session.name).is_some_and(|held| !held.is_over(now))
    }

    pub(super) fn end(&self, cookie: &str) {
        self.held().remove(&named(cookie));
    }

    // ── sign-ins under way ──────────────────────────────────────────────────────────────────────

    /// Begins a sign-in: what it is, and the cookie that says so.
    pub(super) fn attempt(&self, back: String, now: Timestamp) -> (Pending, String) {
        let pending = Pending { seed: self.drawn(), begun_s: now.secs(), back };
        let text = format!("{}.{}.{}", pending.seed, pending.begun_s, pending.back);
        let cookie = format!("{}.{}", self.signed("attempt", &text), URL_SAFE_NO_PAD.encode(&text));
        (pending, cookie)
    }

    /// What only this process and whoever holds the cookie's seed can say about it.
    pub(super) fn derived(&self, what: &str, pending: &Pending) -> String {
        self.signed(what, &pending.seed)
    }

    /// The sign-in that comes back with this cookie and this state. It comes back once.
    pub(super) fn returned(&self, cookie: &str, state: &str, now: Timestamp) -> Option<Pending> {
        let (signature, text) = cookie.split_once('.')?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        equal(signature.as_bytes(), self.signed("attempt", &text).as_bytes()).ok()?;
        let (seed, rest) = text.split_once('.')?;
        let (begun_s, back) = rest.split_once('.')?;
        let pending = Pending {
            seed: seed.to_owned(),
            begun_s: begun_s.parse().ok()?,
            back: back.to_owned(),
        };
        equal(state.as_bytes(), self.derived("state", &pending).as_bytes()).ok()?;
        let since = now.secs().saturating_sub(ATTEMPT_S);
        let mut completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        *completed = completed.split_off(&(since, String::new()));
        while completed.len() >= COMPLETED_MAX {
            completed.pop_first();
        }
        let first = completed.insert((pending.begun_s, pending.seed.clone()));
        (first && pending.begun_s > since).then_some(pending)
    }

    fn signed(&self, what: &str, text: &str) -> String {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in [what, "\0", text] {
            context.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.sign())
    }
}

impl Session {
    /// Whether a form that was sent is one of this session's.
    pub(super) fn is_form(&self, sent: &str) -> bool {
        equal(sent.as_bytes(), self.form.as_bytes()).is_ok()
    }
}

fn named(cookie: &str) -> Digest {
    Digest::of("countersign/console/1", &[cookie.as_bytes()])
}

/// Ends the session that was not used for longest, of one person or of all.
fn end_oldest(held: &mut BTreeMap<Digest, Held>, of: Option<&Who>) {
    let among = held.iter().filter(|(_, session)| of.is_none_or(|who| session.who == *who));
    let oldest = among.min_by_key(|(_, session)| session.used).map(|(name, _)| *name);
    if let Some(oldest) = oldest {
        held.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::id::IssuerId;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[derive(Debug, Default)]
    struct Counting(AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    fn sessions() -> Sessions {
        Sessions::new(Arc::new(Counting::default()))
    }

    fn at(s: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + s as i64)
    }

    fn who(id: &str) -> Who {
        Who { issuer: IssuerId::new("i").unwrap(), id: id.to_owned(), address: None }
    }

    fn begin(sessions: &Sessions, id: &str, before: Option<&str>, s: u64) -> String {
        sessions.begin((who(id), format!("token of {id}"), at(100_000)), before, at(s))
    }

    #[test]
    fn a_session_ends_when_it_rests_when_it_is_old_and_with_its_token() {
        let sessions = sessions();
        let cookie = begin(&sessions, "sam", None, 0);
        assert_eq!(&*sessions.find(&cookie, at(0)).unwrap().token, "token of sam");
        assert!(sessions.find(&cookie, at(IDLE_S - 1)).is_some());
        assert!(sessions.find(&cookie, at(2 * IDLE_S - 2)).is_some(), "it was used");
        assert!(sessions.find(&cookie, at(3 * IDLE_S)).is_none());
        assert!(sessions.find(&cookie, at(0)).is_none(), "what is over stays over");
        let cookie = begin(&sessions, "sam", None, 0);
        for s in (0..SESSION_S).step_by(600) {
            assert!(sessions.find(&cookie, at(s)).is_some());
        }
        assert!(sessions.find(&cookie, at(SESSION_S)).is_none());
        let cookie = begin(&sessions, "sam", None, 0);
        let session = sessions.find(&cookie, at(0)).unwrap();
        assert!(sessions.lasts(&session, at(IDLE_S - 1)));
        assert!(!sessions.lasts(&session, at(IDLE_S)), "looking whether it lasts is no use of it");
        sessions.end(&cookie);
        assert!(!sessions.lasts(&session, at(0)));
        let short = sessions.begin((who("lee"), String::new(), at(60)), None, at(0));
        assert!(sessions.find(&short, at(59)).is_some());
        assert!(sessions.find(&short, at(60)).is_none());
    }

    #[test]
    fn signing_in_makes_a_new_cookie_and_ends_the_one_before() {
        let sessions = sessions();
        let planted = begin(&sessions, "eve", None, 0);
        let own = begin(&sessions, "sam", Some(&planted), 1);
        assert_ne!(own, planted);
        assert!(sessions.find(&planted, at(1)).is_none());
        sessions.end(&own);
        assert!(sessions.find(&own, at(1)).is_none());
        assert!(sessions.find("made up", at(1)).is_none());
    }

    #[test]
    fn one_person_holds_a_bounded_number() {
        let sessions = sessions();
        let other = begin(&sessions, "lee", None, 0);
        let first = begin(&sessions, "sam", None, 0);
        for s in 1..=SESSIONS_PER_PERSON_MAX as u64 {
            begin(&sessions, "sam", None, s);
        }
        assert!(sessions.find(&first, at(9)).is_none());
        assert!(sessions.find(&other, at(9)).is_some());
    }

    #[test]
    fn a_sign_in_comes_back_once_in_time_and_with_its_own_state() {
        let sessions = sessions();
        let (pending, cookie) = sessions.attempt("/console/drafts/d.1".to_owned(), at(0));
        let state = sessions.derived("state", &pending);
        assert_ne!(state, sessions.derived("nonce", &pending));
        assert_eq!(sessions.returned(&cookie, "other", at(1)), None);
        assert_eq!(sessions.returned(&format!("x{cookie}"), &state, at(1)), None);
        assert_eq!(sessions.returned(&cookie, &state, at(1)), Some(pending));
        assert_eq!(sessions.returned(&cookie, &state, at(1)), None, "twice");
        let (late, cookie) = sessions.attempt("/console".to_owned(), at(0));
        let state = sessions.derived("state", &late);
        assert_eq!(sessions.returned(&cookie, &state, at(ATTEMPT_S as u64)), None);
        let others = Sessions::new(Arc::new(Counting(AtomicU8::new(9))));

        others.drawn();
        let (pending, _) = others.attempt("/console".to_owned(), at(0));
        assert_eq!(sessions.returned(&cookie, &others.derived("state", &pending), at(1)), None);
    }

    #[test]
    fn a_form_of_another_session_is_none_of_this_one() {
        let sessions = sessions();
        let mine = sessions.find(&begin(&sessions, "sam", None, 0), at(0)).unwrap();
        let other = sessions.find(&begin(&sessions, "lee", None, 0), at(0)).unwrap();
        assert!(mine.is_form(&mine.form) && !mine.is_form(&other.form) && !mine.is_form(""));
    }
}
