//! What the console's pages cost where there is much to show: a journal of a million records, ten
//! thousand drafts that wait, and a page that is kept up to date while calls go on.

use crate::deployment::{Deployment, Target};
use crate::load::{Calls, Load, exchange};
use crate::process::Gateway;
use crate::report::{self, Case};
use crate::{Outcome, one};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Calls whose two records each are looked through.
const CALLS: u64 = 500_000;
/// Drafts that wait.
const DRAFTS: u64 = 10_000;
/// Times that each page is opened.
const OPENED: u64 = 30;
/// Turns of calls with and without somebody who looks on.
const TURNS: usize = 30;
/// How long the index may take to catch up.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(600);

const PAGES: [&str; 13] = [
    "/console/drafts",
    "/console/drafts?view=all",
    "/console/drafts?view=done",
    "/console/activity",
    "/console/activity?agent=bench&tenant=acct_3",
    "/console/activity?outcome=refused",
    "/console/activity?code=out_of_scope&tool=list_orders",
    "/console/agents",
    "/console/agents/bench",
    "/console/unknown",
    "/console/alerts",
    "/console/charts?span=month",
    "/console/audit",
];
const SEARCHES: [&str; 4] = [
    "/console/audit?tenant=acct_5&kind=outcome",
    "/console/audit?code=rate_limited",
    "/console/audit?tool=search_orders&agent=bench&since=2026-01-01T00:00",
    "/console/audit?call=call_000000000000000000000000",
];

/// Measures, and says so line by line.
pub(crate) async fn measure(binary: &Path, upstream: SocketAddr) -> Outcome<()> {
    let deployment = Deployment::with_people(upstream)?;
    let gateway = Gateway::start(binary, deployment.path())?;
    let calls = Target::Mcp(gateway.address, "search_orders");
    fill(&deployment, &calls, CALLS).await?;
    fill(&deployment, &Target::Draft(gateway.address), DRAFTS).await?;
    let cookie = sign_in(gateway.address).await?;
    let page = |path: &'static str| Target::Page(gateway.address, path, cookie.clone());
    caught_up(&page("/console/audit")).await?;
    for path in PAGES.into_iter().chain(SEARCHES) {
        let opened = open(&page(path), OPENED).await?;
        let (p50, worst) = (opened.percentile(50), opened.percentile(100));
        report::note(format_args!("{path}: p50 {p50:.1} ms, worst {worst:.1} ms"));
    }
    looked_at(&deployment, &gateway, &calls, &page("/console/activity")).await
}

async fn fill(deployment: &Deployment, target: &Target, calls: u64) -> Outcome<()> {
    let load = Load::new(target, &deployment.requests(target, 32));
    let made = load.run(Calls::Exactly(calls)).await?;
    let seconds = made.elapsed.as_secs_f64();
    report::note(format_args!("{calls} times {}: {seconds:.0} s", target.name()));
    Ok(())
}

async fn open(page: &Target, times: u64) -> Outcome<Case> {
    Load::new(page, &[page.request_of_page()]).run(Calls::Exactly(times)).await
}

/// Waits until what is asked of the journal is as far as the journal.
async fn caught_up(audit: &Target) -> Outcome<()> {
    let begun = std::time::Instant::now();
    while begun.elapsed() < CAUGHT_UP_MAX {
        let mut stream = TcpStream::connect(audit.address()).await?;
        let answer = exchange(&mut stream, &audit.request_of_page().bytes).await?;
        if !String::from_utf8_lossy(&answer).contains("s behind the journal") {
            let waited = begun.elapsed().as_secs_f64();
            report::note(format_args!("the index had caught up {waited:.1} s after the last call"));
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
    Err("the index did not catch up".into())
}

/// Signs somebody in who has every role, and returns their cookie.
async fn sign_in(address: SocketAddr) -> Outcome<String> {
    let form = "person=pat%40people.example&groups=ops,audit,payers&tenants=&back=/console/drafts";
    let host = crate::deployment::HOST;
    let request = format!(
        "POST /console/made-up HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    let answer = exchange(&mut stream, request.as_bytes()).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let cookies = answer.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let mut sessions = cookies.filter(|cookie| cookie.starts_with("countersign-session="));
    let cookie = sessions.next().and_then(|cookie| cookie.split(';').next());
    cookie.map(str::to_owned).ok_or_else(|| format!("nobody was signed in: {answer}").into())
}

/// The same load in turns, with and without a page that is kept up to date every second.
async fn looked_at(
    deployment: &Deployment,
    gateway: &Gateway,
    calls: &Target,
    page: &Target,
) -> Outcome<()> {
    let mut ratios = Vec::new();
    let mut opened = Vec::new();
    for turn in 0..TURNS {
        let (mut without, mut with) = (0.0, 0.0);
        // Each comes first as often.
        for watched in [turn % 2 == 0, turn % 2 != 0] {
            let watching = watched.then(|| tokio::spawn(watch(page.clone())));
            let case = one(3.0, calls, 32, deployment, gateway).await?;
            *if watched { &mut with } else { &mut without } = case.per_second();
            if let Some(watching) = watching {
                watching.abort();
            }
        }
        ratios.push(with / without);
        let under_load = Load::new(calls, &deployment.requests(calls, 32));
        let load =
            tokio::spawn(async move { under_load.run(Calls::For(Duration::from_secs(1))).await });
        opened.push(open(page, 3).await?.percentile(50));
        let busy = load.await??;
        if turn == 0 {
            report::note(format_args!("under load means {:.0} calls/s", busy.per_second()));
        }
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let spread = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>();
    let error = (spread / (ratios.len() - 1) as f64 / ratios.len() as f64).sqrt();
    report::note(format_args!("calls/s with a page open over without: {ratios:.3?}"));
    report::note(format_args!("mean {mean:.3}, 95 % within {:.3}", 2.045 * error));
    report::note(format_args!("activity under load, p50 ms: {opened:.1?}"));
    Ok(())
}

/// Somebody who has the page open: it is asked for anew every second.
async fn watch(page: Target) {
    loop {
        sleep(Duration::from_secs(1)).await;
        if let Err(error) = open(&page, 1).await {
            return report::note(format_args!("the page: {error}"));
        }
    }
}
