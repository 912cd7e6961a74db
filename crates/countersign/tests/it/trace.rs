//! What the kernel saw of one call: a sync of the intent before the system is reached, and of the
//! outcome before the client is answered. Needs `strace`, which `scripts/test` installs, and leave to
//! trace a child.

use crate::gateway::{Company, Who};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

/// The program under `strace`, which stands aside: the process is the program's own.
fn traced(company: &Company) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-yy", "-s", "64", "-o"]).arg(company.path().join("trace"));
    let sockets = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    strace.args(["-e", &format!("trace={sockets},pwrite64,fsync,fdatasync")]);
    strace.arg(env!("CARGO_BIN_EXE_countersign"));
    strace
}

/// Whether this machine lets one process trace another; if not, nothing can be shown here.
fn traceable() -> Result<(), String> {
    let tried = Command::new("strace").args(["-f", "-e", "trace=none", "true"]).output();
    let tried = tried.map_err(|error| format!("`strace` cannot be run, install it: {error}"))?;
    let said = String::from_utf8_lossy(&tried.stderr);
    let refused =
        format!("this machine refuses ptrace, so the syscalls of a call are not seen: {said}");
    if tried.status.success() { Ok(()) } else { Err(refused) }
}

/// One line of the trace, when it was over: strace splits what another thread interrupts.
struct Syscall {
    text: String,
    /// The lines at which it began and ended.
    began: usize,
    ended: usize,
}

fn syscalls(trace: &str) -> Vec<Syscall> {
    let mut open: Vec<(&str, Syscall)> = Vec::new();
    let mut all = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, what)) = line.split_once(' ') else { continue };
        let what = what.trim_start();
        if let Some(begun) = what.strip_suffix("<unfinished ...>") {
            let call = Syscall { text: begun.to_owned(), began: number, ended: number };
            open.push((thread, call));
        } else if let Some(resumed) = what.strip_prefix("<... ") {
            let Some(at) = open.iter().position(|(of, _)| *of == thread) else { continue };
            let (_, call) = open.remove(at);
            let rest = resumed.split_once("resumed>").unwrap().1;
            all.push(Syscall { text: call.text + rest, ended: number, ..call });
        } else {
            all.push(Syscall { text: what.to_owned(), began: number, ended: number });
        }
    }
    all
}

/// The trace, once strace has written the end of it.
fn whole(company: &Company) -> String {
    for _ in 0..3_000 {
        let trace = std::fs::read_to_string(company.path().join("trace")).unwrap();
        if trace.trim_end().ends_with("+++ exited with 0 +++") {
            return trace;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("strace did not end");
}

#[tokio::test]
async fn the_kernel_sees_a_sync_before_the_system_is_reached_and_one_before_the_answer() {
    traceable().unwrap_or_else(|why| panic!("{why}"));
    let company = Company::new();
    let (_crm, crm) = company.crm_at("127.0.0.1:0");
    company.edit("countersign.yaml", |text| text.replace("127.0.0.1:8790", &crm));
    let gateway = company.serve_by(traced(&company));
    let who = Who { agent: "support-copilot", tenant: "acct_alpha", session: "t", depots: &[] };
    let token = gateway.token(who).await;
    company.records(&["--kind", "posture_loaded"], 1); // Nothing else waits to be written.
    let answer = gateway.call(&token, "get_contact", json!({"contact_id": "con_000001"})).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    gateway.stop();

    let trace = whole(&company);
    let syscalls = syscalls(&trace);
    let first = |from: usize, what: &dyn Fn(&str) -> bool| {
        let found = syscalls.iter().find(|call| call.began >= from && what(&call.text));
        found.unwrap_or_else(|| panic!("not after line {from}:\n{trace}"))
    };
    let written = |text: &str| text.starts_with("pwrite64(") && text.contains("journal.db-wal");
    let synced = |text: &str| {
        (text.starts_with("fsync(") || text.starts_with("fdatasync("))
            && text.contains("journal.db-wal")
            && text.ends_with("= 0")
    };
    let asked = first(0, &|text| text.contains("\"POST /v1/calls"));
    let intent = first(asked.ended, &synced);
    let reached = first(asked.ended, &|text| text.contains("\"GET /v2/accounts/acct_alpha"));
    let outcome = first(reached.ended, &synced);
    let client = asked.text.split(['(', ',']).nth(1).unwrap(); // `16<TCP:[…]>`
    let answered = |text: &str| text.contains("HTTP/1.1 200 OK") && text.contains(client);
    let answered = first(asked.ended, &answered);
    // Each sync has something to sync, and is over before what it is for begins.
    assert!(first(asked.ended, &written).ended < intent.began, "{trace}");
    assert!(intent.ended < reached.began, "{trace}");
    assert!(first(reached.ended, &written).ended < outcome.began, "{trace}");
    assert!(outcome.ended < answered.began, "{trace}");
    assert!(reached.text.contains(&format!("->{crm}]")), "{}", reached.text);
}
