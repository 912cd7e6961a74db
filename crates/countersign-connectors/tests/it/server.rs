//! A PostgreSQL server of the tests' own, in a folder of its own, on this machine alone.
//!
//! A shell starts it and waits for its standard input: when the test program ends, in whatever way,
//! the shell ends the server and removes the folder. Passwords are made up.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::{fs::chown, process::CommandExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// What the shell does: makes certificates and a cluster, then does as it is told.
const SHELL: &str = r#"
set -e
cd "$FOLDER"
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
openssl req -x509 $ec -keyout ca.key -out ca.pem -subj "/CN=made up for a test" 2>made
openssl req -x509 $ec -keyout server.key -out server.pem -subj /CN=localhost -CA ca.pem -CAkey ca.key \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2>>made
initdb -D data -U postgres --auth=trust --no-sync --encoding=UTF8 --locale=C >>made
printf 'local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n' >data/pg_hba.conf
start() {
    postgres -D data -p "$PORT" -k "$FOLDER" -c listen_addresses=127.0.0.1 -c fsync=off \
        -c ssl=on -c ssl_cert_file="$FOLDER/server.pem" -c ssl_key_file="$FOLDER/server.key" \
        -c log_statement=all -c log_line_prefix='%d %p ' -c log_parameter_max_length=-1 \
        -c shared_buffers=16MB -c max_connections=100 2>>log &
    server=$!
}
end() { kill "-$1" $server; wait $server || true; }
start
while read -r order; do
    case $order in
        stop) end QUIT ;;
        start) start ;;
    esac
done
end QUIT
cd /
rm -rf "$FOLDER"
"#;

/// A server, at work until the program ends.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    orders: Mutex<ChildStdin>,
    _shell: Child,
}

/// The server that most tests share, each with a database of its own.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// What a command prints, without its line's end.
fn printed(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Where Debian keeps the server's programs, or where the path leads.
fn programs() -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions.map(|entry| entry.unwrap().path().join("bin")).max();
    #[expect(clippy::disallowed_methods, reason = "a test looks for a program")]
    let path = std::env::var("PATH").unwrap();
    newest.map_or(path.clone(), |newest| format!("{}:{path}", newest.display()))
}

/// A port that nobody listens at, for a program that has to be told one. It is below those that a system
/// gives to connections of its own, so that none has it before the program does; no two are the same.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begun = u16::try_from(std::process::id() % 8_192).unwrap();
    loop {
        let port = 20_000 + (begun + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        let port = free_port();
        let mut shell = Command::new("sh");
        shell.args(["-c", SHELL]).stdin(Stdio::piped()).current_dir("/");
        shell.env("PATH", programs()).env("FOLDER", &folder).env("PORT", port.to_string());
        if printed("id", &["-u"]) == "0" {
            // The server refuses to run as root.
            let [user, group] = ["-u", "-g"].map(|of| printed("id", &[of, "postgres"]));
            let (user, group) = (user.parse().unwrap(), group.parse().unwrap());
            chown(&folder, Some(user), Some(group)).unwrap();
            shell.uid(user).gid(group);
        }
        let mut shell = shell.spawn().unwrap();
        let orders = Mutex::new(shell.stdin.take().unwrap());
        let server = Self { folder, port, orders, _shell: shell };
        server.wait();
        server
    }

    fn wait(&self) {
        for _ in 0..1_200 {
            if self.psql("postgres", "select 1").is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server did not start: {}", self.log());
    }

    /// Ends it, as a crash would.
    pub(crate) fn stop(&self) {
        writeln!(self.orders.lock().unwrap(), "stop").unwrap();
        while self.psql("postgres", "select 1").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again.
    pub(crate) fn start_again(&self) {
        writeln!(self.orders.lock().unwrap(), "start").unwrap();
        self.wait();
    }

    fn psql(&self, database: &str, script: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.env("PATH", programs()).args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-U", "postgres", "-p", &self.port.to_string(), "-d", database, "-f", "-"]);
        psql.arg("-h").arg(&self.folder);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = psql.spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        let script = script.to_owned();
        let writing = std::thread::spawn(move || drop(input.write_all(script.as_bytes())));
        let output = psql.wait_with_output().unwrap();
        writing.join().unwrap();
        let [said, complaint] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if output.status.success() { Ok(said.trim().to_owned()) } else { Err(complaint) }
    }

    /// A new database, and what a script made of it as superuser. `reader` may connect to it, with
    /// the password `made-up`.
    pub(crate) fn database(&self, script: &str) -> Database<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Roles belong to the whole server: scripts that make one if it is not there take turns.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let role = format!(
            "do $$ begin if not exists (select from pg_roles where rolname = 'reader') then \
            create role reader login password 'made-up' nosuperuser nobypassrls; end if; end $$; \
            create database {name};"
        );
        self.psql("postgres", &role).unwrap();
        let database = Database { server: self, name, executed: Mutex::default() };
        database.run(script);
        database
    }

    /// The certificate of who signed the server's, as PEM.
    pub(crate) fn authority(&self) -> String {
        fs::read_to_string(self.folder.join("ca.pem")).unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// One database of a server.
#[derive(Debug)]
pub(crate) struct Database<'a> {
    server: &'a Server,
    name: String,
    /// How far the log was read, and what it said.
    executed: Mutex<(u64, Vec<String>)>,
}

impl Database<'_> {
    /// Runs a script as superuser and says what it printed.
    pub(crate) fn run(&self, script: &str) -> String {
        self.server.psql(&self.name, script).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// The connection of a role, whose password is `made-up`.
    pub(crate) fn of(&self, role: &str) -> String {
        format!("postgres://{role}:made-up@127.0.0.1:{}/{}", self.server.port, self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server's log of this database: what it ran, and with which values.
    pub(crate) fn log(&self) -> Vec<String> {
        let mine = format!("{} ", self.name);
        let log = self.server.log();
        log.lines().filter_map(|line| line.strip_prefix(&mine)).map(str::to_owned).collect()
    }

    /// The statements that the server says it executed here with values, and the values; without
    /// those by which a connection tells what holds.
    pub(crate) fn executed(&self) -> Vec<String> {
        let mut seen = self.executed.lock().unwrap();
        let (offset, statements) = &mut *seen;
        let mut log = fs::File::open(self.server.folder.join("log")).unwrap();
        log.seek(SeekFrom::Start(*offset)).unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        *offset += u64::try_from(text.len()).unwrap();
        let mine = format!("{} ", self.name);
        let mut goes_on = false;
        for line in text.lines() {
            let said = line.strip_prefix(&mine).and_then(|line| line.split_once(' '));
            let statement = said.and_then(|(_, said)| said.strip_prefix("LOG:  execute "));
            if let Some((_name, statement)) = statement.and_then(|text| text.split_once(": ")) {
                statements.push(statement.to_owned());
                goes_on = true;
            } else if goes_on && (line.starts_with('\t') || line.contains(" DETAIL:  parameters: "))
            {
                statements.last_mut().unwrap().push_str(line);
            } else {
                goes_on = false;
            }
        }
        let told = |statement: &&String| statement.contains("pg_catalog.set_config(");
        statements.iter().filter(|statement| !told(statement)).cloned().collect()
    }
}
