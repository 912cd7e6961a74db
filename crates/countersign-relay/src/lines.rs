//! Lines on their way to a file or to standard output: whole ones, in order, none twice while this
//! lives. Everything here may wait for a disk or a reader.

use crate::bound::LINE_BYTES_MAX;
use countersign_core::reading::Record;
use serde_json::Value;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// The end of a file, which is made where there is none. It may be renamed at any time: what
    /// comes then is written to a new one.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// Lines on their way.
#[derive(Debug)]
pub(crate) struct Lines {
    sink: Sink,
    file: File,
    /// Files that were renamed since the last sync.
    left: Vec<File>,
    pending: Vec<u8>,
    /// How many bytes of that are written.
    written: usize,
}

impl Lines {
    /// Opens it. What a crash left of a half-written line is taken out of a file.
    pub(crate) fn open(sink: Sink) -> io::Result<Self> {
        let file = match &sink {
            Sink::File(path) => append(path)?,
            Sink::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        Ok(Self { sink, file, left: Vec::new(), pending: Vec::new(), written: 0 })
    }

    /// Adds records, each a line.
    pub(crate) fn add(&mut self, records: &[Record]) {
        for record in records {
            self.pending.extend_from_slice(record.clone().into_json().to_string().as_bytes());
            self.pending.push(b'\n');
        }
    }

    /// Writes what is pending. After an error the next attempt goes on where this one got to.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.keep_place()?;
        while let Some(left) = self.pending.get(self.written..).filter(|left| !left.is_empty()) {
            match self.file.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written = self.written.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// Makes durable what was written. After an error nobody knows what of it is on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.sink == Sink::Stdout {
            return Ok(());
        }
        self.left.iter().chain([&self.file]).try_for_each(File::sync_data)?;
        self.left.clear();
        Ok(())
    }

    /// If the file was renamed or removed, goes on in a new one of its name, with a whole line.
    fn keep_place(&mut self) -> io::Result<()> {
        let Sink::File(path) = &self.sink else { return Ok(()) };
        let same = |found: Metadata, file: Metadata| {
            (found.dev(), found.ino()) == (file.dev(), file.ino())
        };
        match fs::metadata(path) {
            Ok(found) if same(found.clone(), self.file.metadata()?) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        // What was written to the old one counts as written, once it is synced.
        self.left.push(std::mem::replace(&mut self.file, append(path)?));
        let done = self.pending.get(..self.written).unwrap_or_default();
        self.written = done.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok(())
    }
}

/// Opens a file at its end, behind a whole line.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    mend(&mut file)?;
    Ok(file)
}

/// Takes a torn line out of the end of a file. Nothing but the beginning of an object is one: a file
/// that is none of ours is left alone.
fn mend(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.take(LINE_BYTES_MAX).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let torn = tail.get(end..).unwrap_or_default();
    if torn.is_empty() {
        return Ok(());
    }
    if serde_json::from_slice::<Value>(torn).is_ok() {
        return file.write_all(b"\n");
    }
    if !torn.starts_with(b"{") || (end == 0 && begin > 0) {
        let what = "it does not end with a line that an exporter wrote: name another file";
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    }
    let whole = begin.saturating_add(u64::try_from(end).unwrap_or_default());
    file.set_len(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(seq: u64) -> Record {
        let header = json!({"kind": "intent", "stream": "s", "seq": seq});
        Record::new(header.as_object().unwrap().clone(), [])
    }

    fn lines(path: &Path) -> Lines {
        Lines::open(Sink::File(path.to_owned())).unwrap()
    }

    fn seqs(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        parsed.map(|line| line["seq"].as_u64().unwrap()).collect()
    }

    #[test]
    fn a_renamed_file_is_let_go_and_the_next_line_begins_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let [now, old] = ["now", "old"].map(|name| folder.path().join(name));
        let mut lines = lines(&now);
        lines.add(&[record(0), record(1)]);
        lines.write().unwrap();
        fs::rename(&now, &old).unwrap();
        lines.add(&[record(2)]);
        lines.write().unwrap();
        fs::remove_file(&now).unwrap();
        lines.add(&[record(3)]);
        lines.write().unwrap();
        assert_eq!((seqs(&old), seqs(&now)), (vec![0, 1], vec![3]));
    }

    #[test]
    fn what_a_kill_left_of_a_line_is_taken_out_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let line = format!("{}\n", record(7).into_json());
        for torn in 0..=line.len() {
            fs::write(&path, format!("{line}{}", line.get(..torn).unwrap())).unwrap();
            let mut lines = lines(&path);
            lines.add(&[record(8)]);
            lines.write().unwrap();
            let again = usize::from(torn >= line.len() - 1);
            assert_eq!(seqs(&path).len(), 2 + again, "{torn}");
        }
        for foreign in ["hello", "line\nposture: x", "[1, 2"] {
            fs::write(&path, foreign).unwrap();
            assert!(Lines::open(Sink::File(path.clone())).is_err(), "{foreign}");
            assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        }
    }

    #[test]
    fn a_write_that_failed_is_gone_on_with_and_no_line_is_there_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut lines = lines(&path);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let good = std::mem::replace(&mut lines.file, full);
        lines.sink = Sink::Stdout; // So that its place is not looked at.
        lines.add(&[record(0), record(1)]);
        assert!(lines.write().is_err());
        lines.file = good;
        lines.write().unwrap();
        assert_eq!(seqs(&path), [0, 1]);
        assert!(Lines::open(Sink::File("/dev/full".into())).is_err(), "it is no file");
    }
}
