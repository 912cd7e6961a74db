//! `countersign audit`: the journal, read and verified. Works while a gateway writes it.

use super::{At, End};
use crate::machine::{SystemClock, SystemEntropy};
use crate::render::{self, Doing, Failure};
use clap::ValueEnum;
use countersign_core::id::Timestamp;
use countersign_core::port::Clock as _;
use countersign_core::reading::{Cursor, Parts, Record};
use countersign_core::record::Kind;
use countersign_posture::{Deployment, load_deployment};
use countersign_store::audit::{Filter, Known, Reader, Verification, verify};
use countersign_store::{Config, PublicKey, SqliteStore, StoreError, Witness};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a followed journal is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    /// The last records, and with --follow those that come
    #[command(after_help = "Example: countersign audit tail my-gateway --follow")]
    Tail(Tail),
    /// The records that fit all the filters given, oldest first
    #[command(
        after_help = "Example: countersign audit query my-gateway --tenant acct_alpha --kind refusal --since 2026-11-23T00:00:00Z"
    )]
    Query(Query),
    /// Everything that is recorded of one call: who, with which arguments, what came of it and why
    #[command(after_help = "Example: countersign audit show call_5f0c… my-gateway")]
    Show(Show),
    /// Whether the journal is as the gateway wrote it: exit code 1 if not
    #[command(after_help = "Example: countersign audit verify --journal copy.db --key journal.pub")]
    Verify(Verify),
    /// Go on with a journal that was put back from a copy, or has lost the head beside its key. That
    /// this was done is put on record in it
    #[command(after_help = "Example: countersign audit accept my-gateway")]
    Accept(At),
}

impl Audit {
    pub(super) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Tail(tail) => tail.run(),
            Self::Query(query) => query.run(),
            Self::Show(show) => show.run(),
            Self::Verify(verify) => verify.run(),
            Self::Accept(at) => accept(at),
        }
    }
}

/// Which journal.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    #[command(flatten)]
    pub(super) at: At,
    /// The journal's file, instead of the deployment's
    #[arg(long)]
    pub(super) journal: Option<PathBuf>,
}

impl Which {
    /// The journal's file and, if the deployment is known, its signing key's.
    fn files(&self) -> Result<(PathBuf, Option<PathBuf>), Failure> {
        if let Some(journal) = &self.journal {
            return Ok((journal.clone(), None));
        }
        let Config { path, key } = config(&self.at)?;
        Ok((path, Some(key)))
    }

    pub(super) fn reader(&self) -> Result<Reader, Failure> {
        Reader::open(&self.files()?.0).doing("the journal cannot be read")
    }
}

/// Where the deployment keeps its journal.
pub(super) fn config(at: &At) -> Result<Config, Failure> {
    let file = at.file();
    if !file.exists() {
        return Err(Failure::new(format!("there is no {}", file.display()))
            .help("name the deployment's folder, or the journal's file with `--journal`"));
    }
    let (deployment, findings) = load_deployment(&file);
    let Some(Deployment { base, store, .. }) = deployment else {
        render::findings(&findings);
        return Err(Failure::new(format!("{} has errors", file.display())));
    };
    Ok(Config { path: base.join(&store.sqlite), key: base.join(&store.signing_key) })
}

fn accept(at: &At) -> Result<End, Failure> {
    let store = SqliteStore::accept(&config(at)?, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .doing("the journal cannot be opened")?;
    match store.accepted() {
        Some(why) => {
            render::line(format_args!("accepted, and put on record in the journal: {why}"))
        }
        None => render::line("the journal is as it was left: there was nothing to accept"),
    }
    store.close().doing("the journal could not be closed in good order")?;
    Ok(End::Fine)
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One line each: time, record, call, agent, tenant, user, tool, what came of it
    Text,
    /// One object a line: the header's members, and `bodies`
    Json,
}

#[derive(Debug, clap::Args)]
struct Filters {
    /// Records of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Records of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Records of this tool
    #[arg(long)]
    tool: Option<String>,
    /// Records with this code, e.g. out_of_scope
    #[arg(long)]
    code: Option<String>,
    /// Outcomes with this status: ok, fault, unknown
    #[arg(long)]
    status: Option<String>,
    /// Records of this kind: intent, outcome, refusal, posture_loaded, stream_opened, stream_closed
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Records of one call
    #[arg(long)]
    call: Option<String>,
    /// Not earlier than this, e.g. 2026-11-23T09:00:00Z
    #[arg(long, value_parser = time)]
    since: Option<Timestamp>,
    /// Earlier than this
    #[arg(long, value_parser = time)]
    until: Option<Timestamp>,
    /// How they are written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| {
        "one of intent, outcome, refusal, posture_loaded, stream_opened, stream_closed".to_owned()
    })
}

/// A time, or how long ago in days or hours.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let hours = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => days.parse::<u32>().ok().map(|days| i64::from(days).saturating_mul(24)),
        (_, Some(hours)) => hours.parse::<u32>().ok().map(i64::from),
        _ => None,
    };
    if let Some(hours) = hours {
        let micros = hours.saturating_mul(3_600_000_000);
        return Ok(Timestamp::from_micros(SystemClock.now().micros().saturating_sub(micros)));
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    let time = time.map_err(|_what| "write `30d`, `12h`, or a time: 2026-11-23T09:00:00Z")?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

impl Filters {
    fn filter(&self, limit: u32) -> Filter {
        let Self { agent, tenant, tool, code, status, kind, call, since, until, format: _ } = self;
        Filter {
            since: *since,
            until: *until,
            kind: *kind,
            agent: agent.clone(),
            tenant: tenant.clone(),
            tool: tool.clone(),
            code: code.clone(),
            status: status.clone(),
            call: call.clone(),
            limit: Some(limit),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    which: Which,
    /// How many
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u32,
    /// Go on with those that come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    filters: Filters,
}

impl Tail {
    fn run(&self) -> Result<End, Failure> {
        let reader = self.which.reader()?;
        let (records, mut cursor) =
            reader.tail(&self.filters.filter(self.lines)).doing("the journal cannot be read")?;
        show(records, self.filters.format);
        if !self.follow {
            return Ok(End::Fine);
        }
        loop {
            std::thread::sleep(FOLLOW_EVERY);
            show(self.next(&reader, &mut cursor)?, self.filters.format);
        }
    }

    fn next(&self, reader: &Reader, cursor: &mut Cursor) -> Result<Vec<Record>, Failure> {
        reader
            .follow(cursor, &self.filters.filter(1_000), Parts::Whole)
            .doing("the journal cannot be read")
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    #[command(flatten)]
    which: Which,
    /// At most so many, the newest of those that fit
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
    #[command(flatten)]
    filters: Filters,
}

impl Query {
    fn run(&self) -> Result<End, Failure> {
        let records = self.which.reader()?.query(&self.filters.filter(self.limit));
        let records = records.doing("the journal cannot be read")?;
        if records.is_empty() {
            render::note("no record fits");
        }
        show(records, self.filters.format);
        Ok(End::Fine)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The call's id, from an answer, a log line or another record
    call: String,
    #[command(flatten)]
    which: Which,
}

impl Show {
    fn run(&self) -> Result<End, Failure> {
        let filter =
            Filter { call: Some(self.call.clone()), limit: Some(1_000), ..Filter::default() };
        let records = self.which.reader()?.query(&filter).doing("the journal cannot be read")?;
        if records.is_empty() {
            return Err(Failure::new(format!("there is no record of `{}`", self.call))
                .help("refusals that are repeats of one another share one record, under the first one's id"));
        }
        for record in records {
            render::line(format_args!("{:#}", record.into_json()));
        }
        Ok(End::Fine)
    }
}

fn show(records: Vec<Record>, format: Format) {
    for record in records {
        match format {
            Format::Json => render::line(record.into_json()),
            Format::Text => {
                render::line(row(&record));
                for line in differs(&record) {
                    render::line(format_args!("    {line}"));
                }
            }
        }
    }
}

/// How a definition differs from what was reviewed, with what nobody would see spelt out.
fn differs(record: &Record) -> Vec<String> {
    let changed = record.kind() == Some(Kind::DefinitionChanged);
    let diff = record.bodies.get("detail").filter(|_| changed).and_then(Value::as_str);
    let spelt = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        other => other.escape_debug().to_string(),
    };
    diff.into_iter().flat_map(str::lines).map(|line| line.chars().map(spelt).collect()).collect()
}

/// One record on one line: a journal is read with `grep` as often as with eyes.
fn row(record: &Record) -> String {
    let text = |name: &str| record.text(name).unwrap_or("-");
    let number = |name: &str| record.header.get(name).and_then(Value::as_u64);
    let body = |name: &str| record.bodies.get(name);
    let at = jiff::Timestamp::from_microsecond(record.at().micros())
        .map_or_else(|_beyond| record.at().micros().to_string(), |at| format!("{at:.3}"));
    let user = body("principal").and_then(|p| p.get("subject")).and_then(Value::as_str);
    // A tool that does not exist has only the name that the agent gave it.
    let claimed = || body("claimed_tool").and_then(Value::as_str).map(|name| format!("{name:?}?"));
    let tool = record.text("tool").map(str::to_owned).or_else(claimed);
    let mut what: Vec<String> = ["status", "code"]
        .into_iter()
        .filter_map(|name| record.text(name))
        .map(str::to_owned)
        .collect();
    if record.kind() == Some(Kind::PostureLoaded) {
        what.extend(record.text("posture").map(str::to_owned));
    }
    if let Some(rows) = number("rows") {
        what.push(format!("rows={rows}"));
    }
    if let Some(micros) = number("duration_us") {
        what.push(format!("ms={}.{:03}", micros / 1_000, micros % 1_000));
    }
    if let Some(count @ 2..) = number("count") {
        what.push(format!("times={count}"));
    }
    format!(
        "{at}  {:<13}  {:<29}  {:<18}  {:<14}  {:<12}  {:<20}  {}",
        text("kind"),
        text("call"),
        text("agent"),
        text("tenant"),
        user.unwrap_or("-"),
        tool.as_deref().unwrap_or("-"),
        what.join(" "),
    )
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    which: Which,
    /// The public key's file, instead of the one beside the deployment's signing key
    #[arg(long)]
    key: Option<PathBuf>,
    /// A head's file, instead of the one beside the deployment's signing key
    #[arg(long)]
    head: Option<PathBuf>,
    /// How it is told
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Verify {
    fn run(&self) -> Result<End, Failure> {
        let (journal, signing_key) = self.which.files()?;
        let beside = signing_key.as_deref();
        let key = self.key.clone().or_else(|| beside.map(PublicKey::beside));
        let head = self.head.clone().or_else(|| beside.map(Witness::beside));
        let files = Files { journal: &journal, key: key.as_deref(), head: head.as_deref() };
        let verified =
            verified(&files, Some(SystemClock.now()), &|path| path.display().to_string())?;
        match self.format {
            Format::Text => verified.lines.iter().for_each(render::line),
            Format::Json => render::line(verified.json()),
        }
        Ok(if verified.findings.is_empty() { End::Fine } else { End::Findings })
    }
}

/// What a journal is verified by.
pub(super) struct Files<'a> {
    pub(super) journal: &'a Path,
    pub(super) key: Option<&'a Path>,
    pub(super) head: Option<&'a Path>,
}

/// What became of it.
pub(super) struct Verified {
    pub(super) found: Verification,
    /// What is wrong, of journal and head.
    pub(super) findings: Vec<String>,
    /// All of it, for people.
    pub(super) lines: Vec<String>,
}

impl Verified {
    fn json(&self) -> Value {
        let Verification { streams, entries, waiting, key, .. } = &self.found;
        let streams = streams.iter().map(|head| {
            let (stream, hash) = (head.stream.to_string(), head.hash.to_string());
            json!({ "stream": stream, "seq": head.seq, "hash": hash, "closed": head.closed })
        });
        json!({
            "findings": self.findings, "found": self.findings.len(), "records": entries,
            "streams": streams.collect::<Vec<_>>(), "waiting": waiting,
            "key": key.map(|key| key.fingerprint().to_string()),
        })
    }
}

/// Verifies a journal; `shown` is how a file is named.
pub(super) fn verified(
    files: &Files<'_>,
    now: Option<Timestamp>,
    shown: &dyn Fn(&Path) -> String,
) -> Result<Verified, Failure> {
    let key = files.key.map(read_key).transpose()?;
    // Before the journal, which may be growing.
    let (head, no_head) = match files.head.map(Witness::read).transpose() {
        Ok(head) => (head, None),
        Err(error @ (StoreError::NoWitness(_) | StoreError::Tampered(_))) => (None, Some(error)),
        Err(error) => return Err(error).doing("the head cannot be read"),
    };
    let known = Known { key, head, now };
    let found = verify(files.journal, &known).doing("the journal cannot be read")?;
    let findings = found.findings.iter().map(ToString::to_string);
    let findings: Vec<_> = findings.chain(no_head.map(|error| error.to_string())).collect();
    let mut lines: Vec<_> = findings.iter().map(|finding| format!("finding: {finding}")).collect();
    for head in &found.streams {
        let state = if head.closed { "closed" } else { "open" };
        lines.push(format!("stream {} ends at {} {} ({state})", head.stream, head.seq, head.hash));
    }
    lines.push(key_line(&found, files.key.map(shown)));
    lines.push(head_line(known.head.as_ref(), files.head.map(shown)));
    lines.push(format!(
        "{} findings in {} records of {} streams; {} calls are under way or not yet recovered",
        findings.len(),
        found.entries,
        found.streams.len(),
        found.waiting
    ));
    Ok(Verified { found, findings, lines })
}

fn read_key(file: &Path) -> Result<PublicKey, Failure> {
    let text = std::fs::read_to_string(file).doing(file.display())?;
    PublicKey::parse(&text).doing(file.display())
}

/// Which key was gone by, and whence: it is compared with one that is known from elsewhere.
fn key_line(found: &Verification, file: Option<String>) -> String {
    match (found.key, file) {
        (Some(key), Some(file)) => {
            format!("key {} from {file}", key.fingerprint())
        }
        (Some(key), None) => format!(
            "key {} from the journal itself: it agrees with itself, and more is not known \
             without `--key`",
            key.fingerprint()
        ),
        (None, _) => "no key: no signature holds".to_owned(),
    }
}

fn head_line(head: Option<&Witness>, file: Option<String>) -> String {
    match (head, file) {
        (Some(Witness { epoch: 0, .. }), Some(file)) => {
            format!("head from {file}: no stream had begun")
        }
        (Some(head), Some(file)) => {
            format!("head from {file}: entry {} of stream {}", head.seq, head.stream)
        }
        _ => "no head was compared: that the journal was put back to an earlier state, or cut \
              short at one, would not have been found"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: Option<PublicKey>, file: Option<&str>) -> String {
        let (findings, streams) = (Vec::new(), Vec::new());
        let found = Verification { findings, streams, entries: 0, waiting: 0, key };
        key_line(&found, file.map(str::to_owned))
    }

    #[test]
    fn verify_says_which_key_it_went_by_and_whence() {
        let key = PublicKey::parse(&"07".repeat(32)).unwrap();
        let other = PublicKey::parse(&"08".repeat(32)).unwrap();
        let said = line(Some(key), Some("state/journal.key.pub"));
        assert_eq!(said, format!("key {} from state/journal.key.pub", key.fingerprint()));
        assert_ne!(key.fingerprint(), other.fingerprint());
        assert!(line(Some(key), None).contains("from the journal itself"));
        assert!(line(None, None).contains("no signature holds"));
    }
}
