//! Breaks everything that may break, by schedules that one number decides, and then counts what was lost or doubled.
//!
//! A schedule has two doors, two projectors, senders in every scheme and dialect, people who edit and resolve, rebuilds
//! and roll-backs; processes are killed, frozen and restarted, connections cut, slowed, deafened and lost, and on
//! servers of its own Kafka and PostgreSQL are killed, frozen and crashed. When all is well again,
//!
//! - what was acknowledged is in the log, and one id has one content there;
//! - the rows are those of a fold of the log that shares no rule with the product;
//! - a rebuild proves the same, readers never failed, and nobody stopped by himself.
//!
//! `./dev chaos` builds and runs this. In reading order:
//!
//! - `schedule`: what happens when; `fleet`: what is said; both follow from the seed
//! - `cast`: the processes and their connections; `servers`: what they are connected to
//! - `deliver`: senders; `desk`: people; `readers`: readers; `ledger`: what they were promised
//! - `judge`: the comparison; `run`: one schedule; `report`: what is printed

mod cast;
mod deliver;
mod desk;
mod fleet;
mod judge;
mod ledger;
mod readers;
mod report;
mod run;
mod schedule;
mod servers;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Mutex, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{report::Report, run::Outcome, schedule::Schedule, servers::Servers};

/// Breaks everything that may break, and counts what was lost or doubled
///
/// Each schedule is printed before it runs, with the number that repeats it. Ends with 1 if anything is wrong, and
/// names the folders where logs and findings are kept.
#[derive(Parser)]
struct Chaos {
    /// All schedules follow from it [default: drawn, and printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Run until so much time has passed
    #[arg(long, value_name = "M")]
    minutes: Option<u64>,
    /// Run so many schedules [default: 12, unless --minutes says how long]
    #[arg(long, value_name = "N")]
    schedules: Option<u64>,
    /// Run one schedule, by its own number; may be repeated
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["seed", "minutes", "schedules"])]
    schedule: Vec<u64>,
    /// How many schedules run side by side; one that disturbs the servers runs alone
    #[arg(long, value_name = "K", default_value_t = 3)]
    at_once: usize,
    /// How long traffic lasts in each schedule
    #[arg(long, value_name = "D", default_value = "10s", value_parser = humantime::parse_duration)]
    traffic: Duration,
    /// Only print the schedules
    #[arg(long)]
    print: bool,
}

/// Schedules of a run, unless it is said how many or how long.
const USUAL_SCHEDULES: u64 = 12;

/// Which schedules are run.
struct Order {
    numbers: Vec<u64>,
    run: u64,
    limit: u64,
    until: Option<Instant>,
    next: Mutex<u64>,
}

impl Order {
    fn next(&self) -> Option<u64> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let n = *next;
        let is_over = n >= self.limit || self.until.is_some_and(|until| Instant::now() > until);
        *next += 1;
        if !self.numbers.is_empty() {
            return self.numbers.get(usize::try_from(n).ok()?).copied();
        }
        (!is_over).then(|| Schedule::seed_of(self.run, n))
    }
}

fn main() -> ExitCode {
    let chaos = Chaos::parse();
    let run = chaos.seed.unwrap_or_else(|| tests::now_seconds() % 1_000_000);
    let minutes = |minutes: u64| Instant::now() + Duration::from_secs(60 * minutes);
    let order = Order {
        limit: chaos.schedules.unwrap_or(if chaos.minutes.is_some() {
            u64::MAX
        } else {
            USUAL_SCHEDULES
        }),
        numbers: chaos.schedule.clone(),
        run,
        until: chaos.minutes.map(minutes),
        next: Mutex::new(0),
    };
    let servers = Servers::own();
    let spools = has_spool();
    let report = Mutex::new(Report::new(run, servers.is_some(), spools));
    // Whoever disturbs the servers is alone with them.
    let alone = RwLock::new(());
    thread::scope(|scope| {
        for _ in 0..chaos.at_once.max(1) {
            scope.spawn(|| {
                while let Some(seed) = order.next() {
                    lane(seed, &chaos, servers.as_ref(), &alone, &report);
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner).end()
}

fn lane(seed: u64, chaos: &Chaos, servers: Option<&Servers>, alone: &RwLock<()>, report: &Mutex<Report>) {
    let mut schedule = Schedule::draw(seed, chaos.traffic);
    if servers.is_none() {
        schedule = schedule.sparing_servers();
    }
    let spools = {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.begins(&schedule);
        report.spools
    };
    if chaos.print {
        return;
    }
    let run = || catch_unwind(AssertUnwindSafe(|| run::run(&schedule, servers, spools)));
    let outcome = if schedule.is_of_servers() {
        let _alone = alone.write().unwrap_or_else(PoisonError::into_inner);
        run()
    } else {
        let _beside_others = alone.read().unwrap_or_else(PoisonError::into_inner);
        run()
    };
    let outcome = outcome.unwrap_or_else(|_| Outcome {
        findings: vec!["it could not be run to its end; what it panicked with is above".to_owned()],
        ..Outcome::default()
    });
    report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .ended(&schedule, &outcome);
}

/// Whether this build's doors can keep deliveries on disk.
fn has_spool() -> bool {
    let help = std::process::Command::new(tests::binary())
        .args(["ingest", "--help"])
        .output();
    help.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--spool-dir"))
}
