//! What only a test inside can bring about: a disk that fails, a writer that stands still.

mod drafts;

use super::*;
use crate::file::beside;
use countersign_core::record::Kind;
use rusqlite::Connection;
use std::sync::atomic::{AtomicI64, AtomicU64};

#[derive(Debug, Default)]
struct TestClock(AtomicI64);
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
            chunk.copy_from_slice(&next[8 - chunk.len()..]);
        }
    }
}

struct Place {
    _folder: tempfile::TempDir,
    config: Config,
    entropy: Arc<Counting>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            path: folder.path().join("journal.db"),
            key: folder.path().join("journal.key"),
        };
        let entropy = Arc::new(Counting::default());
        SqliteStore::create(&config.path, &config.key, &*entropy).unwrap();
        Self { _folder: folder, config, entropy }
    }
    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.config, Arc::new(TestClock::default()), self.entropy.clone())
    }
    fn findings(&self) -> Vec<crate::audit::Finding> {
        crate::audit::verify(&self.config.path, &Default::default()).unwrap().findings
    }
}

fn entry(call: &str) -> Entry {
    Entry::new(Kind::Refusal, Timestamp::from_micros(0))
        .with("call", call)
        .body("detail", vec![b'x'; 2_000])
}

fn intent(call: &str) -> Entry {
    let at = Timestamp::from_micros(0);
    Entry::new(Kind::Intent, at).with("call", call).with("effect", "read").with("rung", 1)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Runs `change` on the writer's connection, and returns when it has.
fn on_writer(store: &SqliteStore, change: impl FnOnce(&mut Connection) + Send + 'static) {
    on_files(store, |files| change(&mut files.connection));
}

/// The same, with all its files.
fn on_files(store: &SqliteStore, change: impl FnOnce(&mut Files) + Send + 'static) {
    let (done, changed) = channel();
    let run = Box::new(move |files: &mut Files| {
        change(files);
        done.send(()).unwrap();
    });
    assert!(store.queue.send(Message::Run(run)).is_ok());
    changed.recv().unwrap();
}

#[test]
fn a_full_disk_records_nothing_and_service_returns_with_room() {
    let place = Place::new();
    let store = place.open().unwrap();
    wait(store.append(entry("before"))).unwrap();
    on_writer(&store, |connection| {
        let pages: i64 =
            connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    });
    let failed =
        (0..50).filter(|i| wait(store.append(entry(&format!("full{i}")))).is_err()).count();
    assert!(failed > 40, "{failed} of 50 failed");
    assert!(store.health().is_err());
    let noted = Refused { entry: entry("noted while full"), repeat: Digest::of("test", &[]) };
    store.note(noted);
    assert!(wait(store.append(entry("full"))).is_err());
    on_writer(&store, |connection| {
        connection.pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
    });
    wait(store.append(entry("after"))).unwrap();
    assert_eq!(store.health(), Ok(()));
    store.close().unwrap();
    let reader = crate::audit::Reader::open(&place.config.path).unwrap();
    let calls: Vec<_> = reader.query(&Default::default()).unwrap();
    let call = |name: &str| calls.iter().filter(|record| record.text("call") == Some(name)).count();
    assert_eq!((call("after"), call("noted while full"), call("full")), (1, 1, 0));
    assert_eq!(place.findings(), []);
}

#[test]
fn an_error_at_commit_ends_all_service() {
    let place = Place::new();
    let store = place.open().unwrap();
    wait(store.append(entry("before"))).unwrap();
    on_writer(&store, |connection| connection.commit_hook(Some(|| true)).unwrap());
    assert!(wait(store.append(entry("a"))).is_err());
    on_writer(&store, |connection| connection.commit_hook(None::<fn() -> bool>).unwrap());
    let why = wait(store.append(entry("b"))).unwrap_err();
    assert_eq!(store.health(), Err(why), "no second try");
    let log = || std::fs::read(beside(&place.config.path, LOG)).unwrap();
    let left = log();
    assert!(store.close().is_err());
    drop(store);
    assert!(!left.is_empty() && log() == left, "nor does SQLite copy the log at its end");
    let store = place.open().unwrap();
    wait(store.append(entry("c"))).unwrap();
    store.close().unwrap();
    assert_eq!(place.findings(), []);
}

#[test]
fn a_journal_that_was_moved_away_takes_nothing_and_goes_on_when_it_is_back() {
    for name in ["", LOG] {
        let place = Place::new();
        let store = place.open().unwrap();
        wait(store.append(entry("before"))).unwrap();
        let path = beside(&place.config.path, name);
        let away = beside(&place.config.path, ".away");
        std::fs::rename(&path, &away).unwrap();
        let refused = wait(store.append(entry("moved"))).unwrap_err();
        assert!(refused.to_string().contains("not in its place"), "{refused}");
        assert_eq!(store.health(), Err(refused));
        std::fs::write(&path, "").unwrap();
        let refused = wait(store.append(entry("replaced"))).unwrap_err();
        assert!(refused.to_string().contains("another file"), "{refused}");
        std::fs::rename(&away, &path).unwrap();
        wait(store.append(entry("after"))).unwrap();
        assert_eq!(store.health(), Ok(()));
        store.close().unwrap();
        let reader = crate::audit::Reader::open(&place.config.path).unwrap();
        let records = reader.query(&Default::default()).unwrap();
        let calls: Vec<_> = records.iter().filter_map(|record| record.text("call")).collect();
        assert_eq!(calls, ["before", "after"]);
        assert_eq!(place.findings(), []);
    }
}

#[test]
fn a_journal_that_is_gone_is_not_closed_in_good_order() {
    let place = Place::new();
    let store = place.open().unwrap();
    wait(store.append(entry("before"))).unwrap();
    std::fs::remove_file(&place.config.path).unwrap();
    let closed = store.close().unwrap_err();
    assert!(closed.to_string().contains("not in its place"), "{closed}");
}

#[test]
fn a_full_queue_is_an_error_at_once_and_noting_goes_on() {
    let place = Place::new();
    let store = place.open().unwrap();
    let (release, held) = channel::<()>();
    let (stopped, stands) = channel();
    let run = Box::new(move |_: &mut Files| {
        stopped.send(()).unwrap();
        held.recv().unwrap();
    });
    assert!(store.queue.send(Message::Run(run)).is_ok());
    stands.recv().unwrap();
    let waiting: Vec<_> = (0..QUEUE_MAX).map(|_| store.append(entry("queued"))).collect();
    let error = wait(store.append(entry("too many"))).unwrap_err();
    assert!(error.to_string().contains("waiting"), "{error}");
    store.note(Refused { entry: entry("noted"), repeat: Digest::of("test", &[]) });
    release.send(()).unwrap();
    for verdict in waiting {
        wait(verdict).unwrap();
    }
    store.close().unwrap();
    assert_eq!(place.findings(), []);
}

#[test]
fn an_entry_that_is_too_long_harms_no_neighbour() {
    let place = Place::new();
    let store = place.open().unwrap();
    let long = Entry::new(Kind::Refusal, Timestamp::from_micros(0))
        .body("detail", vec![b'x'; crate::place::BODIES_BYTES_MAX + 1]);
    let (before, long, after) =
        (store.append(entry("a")), store.append(long), store.append(entry("b")));
    assert_eq!(wait(before).unwrap().sequence, 1);
    assert!(wait(long).is_err());
    assert_eq!(wait(after).unwrap().sequence, 2);
    store.close().unwrap();
    assert_eq!(place.findings(), []);
}

#[test]
fn a_dropped_future_does_not_withdraw_its_entry() {
    let place = Place::new();
    let store = place.open().unwrap();
    drop(store.append(entry("dropped")));
    assert_eq!(wait(store.append(entry("next"))).unwrap().sequence, 2);
}

#[test]
fn a_second_process_and_a_second_journal_in_its_place_are_refused() {
    let place = Place::new();
    let store = place.open().unwrap();
    assert!(matches!(place.open(), Err(StoreError::InUse(_))));
    store.close().unwrap();
    assert!(matches!(store.close(), Err(StoreError::Writer(_))), "closed once");
    assert!(wait(store.append(entry("late"))).is_err());

    let again = SqliteStore::create(&place.config.path, &place.config.key, &*place.entropy);
    assert!(matches!(again, Err(StoreError::Exists(_))));
}

#[test]
fn another_key_a_newer_store_another_file_and_no_file_are_refused() {
    let place = Place::new();
    let other = Place::new();
    let other = Config { key: other.config.key.clone(), ..place.config.clone() };
    std::fs::write(&other.key, "07".repeat(32)).unwrap();
    let clock = Arc::new(TestClock::default());
    let opened = SqliteStore::open(&other, clock.clone(), place.entropy.clone());
    assert!(matches!(opened, Err(StoreError::OtherKey(_))));

    let connection = Connection::open(&place.config.path).unwrap();
    connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    assert!(matches!(place.open(), Err(StoreError::Newer { found: 2, known: 1 })));
    connection.pragma_update(None, "application_id", 0).unwrap();
    assert!(matches!(place.open(), Err(StoreError::NotAJournal(_))));

    let nowhere = Config { path: place.config.path.with_extension("no"), ..place.config.clone() };
    let missing = SqliteStore::open(&nowhere, clock, place.entropy.clone()).unwrap_err();
    assert!(missing.to_string().contains("countersign init"), "{missing}");
    assert!(!nowhere.path.exists(), "never made in passing");
}

#[test]
fn a_link_to_a_journal_is_that_journal() {
    let place = Place::new();
    let link = place.config.path.with_file_name("link.db");
    std::os::unix::fs::symlink(&place.config.path, &link).unwrap();
    let linked = Config { path: link.clone(), key: place.config.key.clone() };
    let open = || SqliteStore::open(&linked, Arc::new(TestClock::default()), place.entropy.clone());
    let store = place.open().unwrap();
    assert!(matches!(open(), Err(StoreError::InUse(_))), "one lock");
    store.close().unwrap();
    drop(store);
    let store = open().unwrap();
    assert!(matches!(place.open(), Err(StoreError::InUse(_))));
    wait(store.append(entry("a"))).unwrap();
    assert!(beside(&place.config.path, "-wal").exists() && !beside(&link, "-wal").exists());
    assert!(!beside(&link, ".lock").exists());
    drop(store);
    std::fs::hard_link(&place.config.path, link.with_extension("hard")).unwrap();
    assert!(matches!(place.open(), Err(StoreError::Linked(_))));
}

#[test]
fn a_writer_whose_journal_was_taken_over_writes_nothing_more() {
    for taken in [
        "UPDATE streams SET state = 'settled'",
        "INSERT INTO streams VALUES ('ff', 9, 'open', 0, 0, -1, x'', x'')",
    ] {
        let place = Place::new();
        let store = place.open().unwrap();
        wait(store.append(entry("before"))).unwrap();
        Connection::open(&place.config.path).unwrap().execute_batch(taken).unwrap();
        let refused = wait(store.append(entry("after"))).unwrap_err();
        assert!(refused.to_string().contains("taken the journal over"), "{refused}");
        assert_eq!(store.health(), Err(refused));
        assert!(wait(store.append(entry("later"))).is_err());
        assert!(store.close().is_err(), "nor does it end the stream");
        let reader = crate::audit::Reader::open(&place.config.path).unwrap();
        assert_eq!(reader.query(&Default::default()).unwrap().len(), 2);
    }
}

#[test]
fn an_alien_object_of_any_name_keeps_a_journal_from_being_opened() {
    for (alien, says) in [
        ("CREATE TRIGGER sqlitex AFTER INSERT ON entries BEGIN SELECT 1; END", "trigger `sqlitex`"),
        ("CREATE VIEW sqlitex AS SELECT 1", "view `sqlitex`"),
        ("CREATE INDEX sqlitex ON bodies (body)", "index `sqlitex`"),
        ("CREATE TABLE sqlitex (x)", "table `sqlitex`"),
        ("DROP TRIGGER entries_keep", "trigger `entries_keep`"),
        (
            "PRAGMA writable_schema = ON;
             INSERT INTO sqlite_schema VALUES ('trigger', 'sqlite_x', 'entries', 0,
               'CREATE TRIGGER sqlite_x AFTER INSERT ON entries BEGIN SELECT 1; END')",
            "trigger `sqlite_x`",
        ),
    ] {
        let place = Place::new();
        Connection::open(&place.config.path).unwrap().execute_batch(alien).unwrap();
        let findings = place.findings();
        assert!(findings.iter().any(|finding| finding.what.contains(says)), "{findings:?}");
        let refused = place.open().unwrap_err();
        assert!(matches!(refused, StoreError::Tampered(_)), "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn without_room_no_call_is_begun_and_those_under_way_are_ended_on_record() {
    let place = Place::new();
    let clock = Arc::new(TestClock::default());
    let store = SqliteStore::open(&place.config, clock.clone(), place.entropy.clone()).unwrap();
    let begun = wait(store.append(intent("under way"))).unwrap();
    on_files(&store, |files| {
        files.room.bytes_min = u64::MAX;
    });
    clock.0.fetch_add(500_000, Ordering::SeqCst);
    wait(store.append(intent("measured a moment ago"))).unwrap();
    clock.0.fetch_add(1_000_000, Ordering::SeqCst);

    let refused = wait(store.append(intent("refused"))).unwrap_err();
    assert!(refused.to_string().contains("no call is begun"), "{refused}");
    assert_eq!(store.health(), Err(refused.clone()));
    store.note(Refused { entry: entry("noted"), repeat: Digest::of("test", &[]) });
    let outcome = Entry::new(Kind::Outcome, Timestamp::from_micros(0))
        .with("call", "under way")
        .with("status", "ok")
        .with("applied", "applied")
        .with("intent", serde_json::json!({ "stream": &*begun.stream, "seq": begun.sequence }));
    assert_eq!(wait(store.append(outcome)).unwrap().sequence, begun.sequence + 2);
    assert_eq!(store.health(), Err(refused), "an outcome that was written makes no room");

    on_files(&store, |files| {
        files.room.bytes_min = room::ROOM_BYTES_MIN;
        files.room.forget();
    });
    wait(store.append(intent("again"))).unwrap();
    assert_eq!(store.health(), Ok(()));
    store.close().unwrap();
    let reader = crate::audit::Reader::open(&place.config.path).unwrap();
    let records = reader.query(&Default::default()).unwrap();
    let calls = |call: &str| records.iter().filter(|r| r.text("call") == Some(call)).count();
    assert_eq!((calls("refused"), calls("noted"), calls("again")), (0, 1, 2));
    assert_eq!(place.findings(), []);
}

#[test]
fn a_signing_key_that_others_can_read_or_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let set = |mode| {
        std::fs::set_permissions(&place.config.key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
        set(mode);
        let refused = place.open().unwrap_err();
        assert!(matches!(refused, StoreError::Exposed(_)), "{mode:o}: {refused}");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }
    for mode in [0o600, 0o400] {
        set(mode);
        place.open().unwrap().close().unwrap();
    }
}

#[test]
fn folders_made_for_a_journal_are_this_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (state, keys) = (folder.path().join("a/state"), folder.path().join("b/keys"));
    let entropy = Counting::default();
    SqliteStore::create(&state.join("journal.db"), &keys.join("journal.key"), &entropy).unwrap();
    for made in [&state, &keys, &folder.path().join("a"), &folder.path().join("b")] {
        let mode = std::fs::metadata(made).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", made.display());
    }
}

#[test]
fn journal_and_key_are_this_users_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let store = place.open().unwrap();
    wait(store.append(entry("a"))).unwrap();
    for path in [
        place.config.path.clone(),
        place.config.key.clone(),
        beside(&place.config.path, "-wal"),
        beside(&place.config.path, "-shm"),
    ] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn the_log_is_copied_into_the_database_now_and_then() {
    let place = Place::new();
    let store = place.open().unwrap();
    let queued: Vec<_> = (0..3_000).map(|_| store.append(entry("a"))).collect();
    for append in queued {
        wait(append).unwrap();
    }
    let database = std::fs::metadata(&place.config.path).unwrap().len();
    assert!(database > 1_000_000, "{database} bytes");
}

#[test]
fn closing_from_within_a_runtime_does_not_panic() {
    let place = Place::new();
    let store = place.open().unwrap();
    wait(async { store.close() }).unwrap();
    assert_eq!(store.health(), Err(ended()));
}
