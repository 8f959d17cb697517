//! One schedule, from its share of the stack to its verdict.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use schema::Micros;
use serde_json::Value;
use tests::{Stack, now_seconds};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    cast::Cast,
    deliver::{Receivers, probe, send_all},
    desk::Desk,
    fleet::{self, Scheme},
    judge::{Verdict, judge},
    ledger::Ledger,
    readers::{Read, read},
    schedule::{Disturbance, Schedule},
    servers::Servers,
};

/// How long after the end of traffic persistent senders go on, and how long the rows may take to follow.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who wins where metadata was changed on both sides, an integration.
const STRATEGIES: [&str; 4] = ["manual", "manual", "prefer_local", "prefer_remote"];

/// What became of a schedule.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) ledger: Ledger,
    pub(crate) verdict: Verdict,
    pub(crate) read: Read,
    /// What is wrong; empty if nothing is.
    pub(crate) findings: Vec<String>,
    /// How long the rows took to be right, from when nothing was wrong any more.
    pub(crate) recovered_in: Duration,
    pub(crate) took: Duration,
    /// Kept for inspection if something is wrong.
    pub(crate) folder: PathBuf,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a schedule on topics and a database of its own, and gives them back.
pub(crate) fn run(schedule: &Schedule, servers: Option<&Servers>, spools: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let begun = std::time::Instant::now();
    runtime.block_on(async {
        let stack = Arc::new(Stack::create().await);
        let mut outcome = on(&stack, schedule, servers, spools).await;
        outcome.took = begun.elapsed();
        outcome.folder.clone_from(&stack.folder);
        if outcome.findings.is_empty() {
            stack.remove().await;
        } else {
            let told = format!("{schedule}\n{}\n{outcome:#?}\n", outcome.findings.join("\n"));
            std::fs::write(stack.folder.join("findings.txt"), told).expect("the findings can be written");
            stack.release().await;
        }
        outcome
    })
}

async fn on(stack: &Arc<Stack>, schedule: &Schedule, servers: Option<&Servers>, spools: bool) -> Outcome {
    let cast = Arc::new(Mutex::new(Cast::start(stack, schedule, spools)));
    let organization = stack.organization().await;
    let (ledger, seen) = (
        Arc::new(Mutex::new(Ledger::default())),
        Arc::new(Mutex::new(Read::default())),
    );
    let receivers = Arc::new(receivers(stack, &cast, &organization, &ledger).await);

    let began = Instant::now();
    let mut everybody = JoinSet::new();
    let stop = Arc::new(AtomicBool::new(false));
    let postgres_fails = schedule.is_of_servers();
    everybody.spawn(read(
        [stack.operator.clone(), stack.admin.clone()],
        postgres_fails,
        stop.clone(),
        seen.clone(),
    ));
    let desk = Desk {
        stack: stack.clone(),
        cast: cast.clone(),
        ledger: ledger.clone(),
        organization,
    };
    let start = now_seconds() * 1_000_000;
    let start = Micros::from_micros(i64::try_from(start).expect("this century")).expect("an instant of now");
    let all = fleet::said(schedule, start);
    let until = began + schedule.traffic + PATIENCE;
    let mut traffic = JoinSet::new();
    traffic.spawn(send_all(all, receivers, ledger.clone(), began, until));
    traffic.spawn(desk.work(schedule.doings.clone(), began));
    disturb(&cast, schedule, servers, began).await;
    locked(&cast).heal();
    let healed = Instant::now();

    let mut turn = interval(Duration::from_millis(100));
    while !traffic.is_empty() {
        tokio::select! {
            ended = traffic.join_next() => ended.transpose().map(drop).expect("no sender panics"),
            _ = turn.tick() => locked(&cast).supervise(),
        }
    }
    let mut outcome = Outcome {
        verdict: settled(stack, &cast, &ledger).await,
        ..Outcome::default()
    };
    outcome.recovered_in = healed.elapsed();
    proved(stack, &cast, &mut outcome.findings).await;
    if outcome.verdict.is_well() {
        // The generation that the rebuild has promoted.
        let again = settled(stack, &cast, &ledger).await;
        let told = again.findings();
        outcome
            .findings
            .extend(told.into_iter().map(|told| format!("rebuilt, {told}")));
    }
    stop.store(true, Ordering::SeqCst);
    while everybody.join_next().await.is_some() {}

    outcome.ledger = std::mem::take(&mut *locked(&ledger));
    outcome.read = std::mem::take(&mut *locked(&seen));
    let cast = Arc::into_inner(cast).map(|cast| cast.into_inner().unwrap_or_else(PoisonError::into_inner));
    let mut cast = cast.expect("everybody else has left");
    outcome.findings.append(&mut cast.ended);
    outcome.findings.extend(cast.stop());
    outcome.findings.extend(outcome.verdict.findings());
    let told = [
        &outcome.ledger.refused,
        &outcome.ledger.never_accepted,
        &outcome.read.failed,
        &outcome.read.shrunk,
    ];
    let told = told.iter().flat_map(|found| found.iter().take(5).cloned());
    outcome.findings.extend(told);
    outcome
}

/// An integration a scheme, which both doors know.
async fn receivers(
    stack: &Stack,
    cast: &Mutex<Cast>,
    organization: &str,
    ledger: &Mutex<Ledger>,
) -> Receivers {
    let doors = locked(cast).doors();
    let mut integrations = Vec::new();
    for (scheme, strategy) in Scheme::ALL.into_iter().zip(STRATEGIES) {
        let strategy = format!("metadata={strategy}");
        let (options, credential) = (["--strategy", &strategy], ["--scheme", scheme.name()]);
        let made = stack
            .integration_at(&doors[0], organization, &options, &credential)
            .await;
        integrations.push((scheme, made));
    }
    let receivers = Receivers {
        doors: doors.clone(),
        integrations,
    };
    for number in 0..receivers.integrations.len() {
        for door in &doors {
            tests::eventually("the door knows the credential", || {
                locked(cast).supervise();
                probe(&receivers, number, door, ledger)
            })
            .await;
        }
    }
    receivers
}

/// Begins and ends each disturbance at its time, until the last has ended and traffic is over.
async fn disturb(cast: &Mutex<Cast>, schedule: &Schedule, servers: Option<&Servers>, began: Instant) {
    let ends = |one: &Disturbance| one.at + one.lasts;
    let last = schedule.disturbances.iter().map(ends).max().unwrap_or_default();
    let mut turn = interval(Duration::from_millis(25));
    let mut before: Option<Duration> = None;
    loop {
        turn.tick().await;
        let now = began.elapsed();
        let is_due = |at: Duration| at <= now && before.is_none_or(|before| at > before);
        for one in &schedule.disturbances {
            if is_due(one.at) {
                locked(cast).begin(one.fault, one.lasts);
                if let Some(servers) = servers {
                    servers.begin(one.fault);
                }
            }
            if is_due(ends(one)) {
                locked(cast).end(one.fault);
                if let Some(servers) = servers {
                    servers.end(one.fault);
                }
            }
        }
        locked(cast).supervise();
        if now > last && now > schedule.traffic {
            return;
        }
        before = Some(now);
    }
}

/// Waits until log and rows are as they must be, or time is up.
async fn settled(stack: &Stack, cast: &Mutex<Cast>, ledger: &Mutex<Ledger>) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    // To look costs as much as to project: it is looked ever less often.
    let mut pause = Duration::from_millis(250);
    loop {
        locked(cast).supervise();
        let held = std::mem::take(&mut *locked(ledger));
        let judged = timeout(PATIENCE, judge(stack, &held)).await;
        let judged = judged.unwrap_or_else(|late| Err(late.into()));
        *locked(ledger) = held;
        match judged {
            Ok(verdict) if verdict.is_well() => return verdict,
            Ok(verdict) if Instant::now() > deadline => return verdict,
            Err(error) if Instant::now() > deadline => {
                return Verdict {
                    differing: vec![format!("the rows cannot be read: {error:#}")],
                    ..Verdict::default()
                };
            }
            Ok(_) | Err(_) => sleep(pause).await,
        }
        pause = Duration::from_secs(2).min(pause * 3 / 2);
    }
}

/// A rebuild must prove the same rows, and an audit find nothing.
async fn proved(stack: &Stack, cast: &Mutex<Cast>, findings: &mut Vec<String>) {
    let (code, output, errors) = stack
        .try_fleetlog(&["rebuild", "--json", "--memory", "128MiB"])
        .await;
    let report: Value = serde_json::from_str(&output).unwrap_or_default();
    if code != 0 || report["outcome"] != "promoted" {
        findings.push(format!("the last rebuild ended with {code}: {output}{errors}"));
    }
    let (code, output, errors) = stack.try_fleetlog(&["audit", "--json", "--seed", "1"]).await;
    if code != 0 {
        findings.push(format!("the audit ended with {code}: {output}{errors}"));
    }
    locked(cast).supervise();
}
