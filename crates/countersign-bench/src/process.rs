//! The gateway's process, and what the kernel says of it.

use crate::Outcome;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ticks of the kernel's clock in a second, as user space is told: on Linux, everywhere.
const TICKS_PER_S: u64 = 100;

/// A gateway that was started here, and is ended here.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts `serve` and waits until it listens.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Outcome<Self> {
        let mut child = Command::new(binary)
            .arg("serve")
            .arg(folder)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("MCP on http://") {
                let address = rest.split('/').next().unwrap_or_default().parse()?;
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, address });
            }
            said.push_str(&line);
            said.push('\n');
        }
        child.wait()?;
        Err(format!("the gateway did not start:\n{said}").into())
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold spaces; `utime` and `stime` are fields 14 and 15.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let ticks = ticks(11).zip(ticks(12)).ok_or("/proc: no times")?;
        Ok(Duration::from_millis((ticks.0 + ticks.1) * 1_000 / TICKS_PER_S))
    }

    /// Resident memory, in MiB.
    pub(crate) fn rss_mib(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line.ok_or("/proc: no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1_024.0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already is as well.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}
