//! A disk that fails on demand under the real binary: the library `tests/faults/faults.c`, preloaded.
//! Its head says what it does.

use crate::load::Dice;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// How much of a write a disk does whole.
const SECTOR_BYTES: usize = 512;
/// What the library reads orders from.
const CONTROL_BYTES: usize = 64;

/// The library, made once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/faults.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = folder.join(format!("faults-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o"]).arg(&made);
        let compiled = compiler.arg(source).arg("-ldl").status();
        assert!(compiled.expect("a C compiler, `cc`").success());
        // In one step: another run of the tests may have it under its programs.
        let library = folder.join("faults.so");
        fs::rename(made, &library).unwrap();
        library
    })
}

/// One folder's disk.
pub(crate) struct Disk {
    state: PathBuf,
    folder: TempDir,
    control: File,
    orders: AtomicU32,
}

impl Disk {
    /// Under the files of this folder.
    pub(crate) fn under(state: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shadow")).unwrap();
        let control = File::create(folder.path().join("control")).unwrap();
        let disk = Self {
            state: state.canonicalize().unwrap(),
            folder,
            control,
            orders: AtomicU32::default(),
        };
        disk.order("none");
        disk
    }

    /// A program with this disk under it. With `goes_on` shadows are as the last program left them.
    fn under_program(&self, program: &str, goes_on: bool) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.folder.path().join(name);
        command
            .env("LD_PRELOAD", library())
            .env("FAULTS_STATE", &self.state)
            .env("FAULTS_WATCH", self.state.with_file_name("logs"))
            .env("FAULTS_CONTROL", at("control"))
            .env("FAULTS_LOG", at("log"))
            .env("FAULTS_SHADOW", at("shadow"));
        if goes_on {
            command.env("FAULTS_KEEP", "1");
        }
        command
    }

    /// The gateway with this disk under it.
    pub(crate) fn command(&self) -> Command {
        self.under_program(env!("CARGO_BIN_EXE_countersign"), false)
    }

    /// The same where the machine has not stopped since the last one.
    pub(crate) fn command_that_goes_on(&self) -> Command {
        self.under_program(env!("CARGO_BIN_EXE_countersign"), true)
    }

    /// What to do from now on, in the library's words; counting begins anew.
    pub(crate) fn order(&self, what: &str) {
        let order = format!("{} {what}", self.orders.fetch_add(1, Ordering::Relaxed) + 1);
        assert!(order.len() < CONTROL_BYTES);
        // One write, of which the program sees all or nothing that it could misread.
        self.control.write_all_at(format!("{order:<CONTROL_BYTES$}").as_bytes(), 0).unwrap();
    }

    /// What the program did to its files, one line each.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Puts in place what is on the disk after a power cut: what was synced and, with dice, some of
    /// what was not, sector by sector.
    pub(crate) fn cut_power(&self, mut dice: Option<&mut Dice>) {
        let shadow = self.folder.path().join("shadow");
        let all: BTreeMap<String, PathBuf> = fs::read_dir(&shadow)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .collect();
        for (name, durable) in &all {
            if name.ends_with(".pending") || name.ends_with(".new") {
                continue;
            }
            if all.contains_key(&format!("{name}.new")) {
                drop(fs::remove_file(self.state.join(name)));
                continue;
            }
            if let (Some(dice), Some(pending)) = (&mut dice, all.get(&format!("{name}.pending"))) {
                some_of(&fs::read(pending).unwrap(), durable, dice);
            }
            // Over the file that is there: its lock and its mode are its own.
            fs::write(self.state.join(name), fs::read(durable).unwrap()).unwrap();
            if name.ends_with(".db") {
                drop(fs::remove_file(self.state.join(format!("{name}-shm")))); // It was memory.
            }
        }
        all.values().for_each(|file| fs::remove_file(file).unwrap());
    }
}

/// Does to a file some of what was pending.
fn some_of(pending: &[u8], durable: &Path, dice: &mut Dice) {
    let file = File::options().write(true).open(durable).unwrap();
    let mut rest = pending;
    // A record that the kill cut off has not happened.
    while let Some((head, after)) = rest.split_at_checked(24) {
        let [kind, offset, length] =
            [0, 8, 16].map(|at| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap()));
        let Some((bytes, after)) = after.split_at_checked(usize::try_from(length).unwrap()) else {
            return;
        };
        rest = after;
        let fate = dice.roll(3); // None of it, all, or some sectors.
        if kind == 2 {
            if fate == 1 {
                file.set_len(offset).unwrap();
            }
            continue;
        }
        let mut at = usize::try_from(offset).unwrap();
        let mut left = bytes;
        while !left.is_empty() {
            let (sector, after) = left.split_at(left.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
            if fate == 1 || fate == 2 && dice.roll(2) == 1 {
                file.write_all_at(sector, u64::try_from(at).unwrap()).unwrap();
            }
            (at, left) = (at + sector.len(), after);
        }
    }
}

/// A database of a folder of its own, and a row put into it by a program that is killed before it
/// can do more: whether the row is there after a power cut.
fn kept(synchronous: &str, order: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("a.db");
    let sql = |command: &mut Command, text: &str| {
        let mut child = command.arg(&database).stdin(std::process::Stdio::piped());
        child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let plain = || Command::new("sqlite3");
    sql(&mut plain(), "pragma journal_mode = wal; create table t (x);");
    let disk = Disk::under(folder.path());
    disk.order(order);
    let insert = format!(
        "pragma synchronous = {synchronous}; insert into t values (1);\n.shell kill -9 $PPID\n"
    );
    sql(&mut disk.under_program("sqlite3", false), &insert);
    assert_eq!(sql(&mut plain(), "select count(*) from t;"), "1\n", "before the power cut");
    fs::write(folder.path().join("a.db-shm"), "").unwrap();
    disk.cut_power(None);
    sql(&mut plain(), "select count(*) from t;") == "1\n"
}

#[test]
fn the_disk_loses_what_is_not_synced_and_keeps_what_is() {
    assert!(kept("full", "none"));
    assert!(!kept("off", "none"), "it would find no program that does not sync");
}

#[test]
fn the_disk_loses_what_a_failed_sync_was_to_keep() {
    // The second one: the first is of the log's head.
    assert!(!kept("full", "sync-once 2"));
}
