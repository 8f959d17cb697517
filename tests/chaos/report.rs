//! What is printed: each schedule before it runs, a line when it has ended, and a table of everything.
#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use crate::{run::Outcome, schedule::Schedule};

/// Everything so far.
pub(crate) struct Report {
    run: u64,
    of_servers: bool,
    /// Whether doors have spools.
    pub(crate) spools: bool,
    n_ended: u64,
    failed: Vec<String>,
    totals: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    commands: BTreeMap<(String, i32), u64>,
    slowest_recovery: Duration,
}

/// The columns of the line of a schedule.
const COLUMNS: [&str; 12] = [
    "deliveries",
    "attempts",
    "202",
    "spooled",
    "put off",
    "unanswered",
    "events",
    "copies",
    "unacknowledged",
    "lost",
    "doubled",
    "differing",
];

impl Report {
    /// Nothing has run yet.
    pub(crate) fn new(run: u64, of_servers: bool, spools: bool) -> Self {
        println!("chaos --seed {run}");
        if !of_servers {
            println!("the servers themselves are spared: `./dev chaos` has servers of its own to disturb");
        }
        Self {
            run,
            of_servers,
            spools,
            n_ended: 0,
            failed: Vec::new(),
            totals: BTreeMap::new(),
            faults: BTreeMap::new(),
            commands: BTreeMap::new(),
            slowest_recovery: Duration::ZERO,
        }
    }

    /// A schedule begins.
    pub(crate) fn begins(&mut self, schedule: &Schedule) {
        print!("\n{schedule}");
        if self.of_servers && schedule.is_of_servers() {
            println!("  (alone, since it disturbs the servers)");
        }
    }

    /// A schedule has ended.
    pub(crate) fn ended(&mut self, schedule: &Schedule, outcome: &Outcome) {
        self.n_ended += 1;
        let Outcome { ledger, verdict, .. } = outcome;
        let count = |found: &Vec<String>| found.len() as u64;
        let counts = [
            ledger.deliveries,
            ledger.attempts,
            ledger.acknowledged,
            ledger.spooled,
            ledger.put_off,
            ledger.unanswered,
            verdict.events,
            verdict.copies,
            verdict.unacknowledged,
            count(&verdict.lost),
            count(&verdict.doubled),
            count(&verdict.differing) + count(&verdict.contradicted),
        ];
        let told: Vec<_> = COLUMNS
            .iter()
            .zip(counts)
            .map(|(name, n)| format!("{n} {name}"))
            .collect();
        let state = if outcome.findings.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        println!(
            "\nschedule {}: {state} in {:.1?}, recovered {:.1?} after the last fault; {} rows; {} queries answered; {}",
            schedule.seed,
            outcome.took,
            outcome.recovered_in,
            verdict.rows,
            outcome.read.answered,
            told.join(", ")
        );
        for (name, n) in COLUMNS.iter().zip(counts) {
            *self.totals.entry(name).or_default() += n;
        }
        *self.totals.entry("rows").or_default() += verdict.rows;
        *self.totals.entry("queries").or_default() += outcome.read.answered;
        *self.totals.entry("decisions").or_default() += ledger.marks.len() as u64;
        for disturbance in &schedule.disturbances {
            *self.faults.entry(disturbance.fault.kind()).or_default() += 1;
        }
        for (command, n) in &ledger.commands {
            *self.commands.entry(command.clone()).or_default() += u64::from(*n);
        }
        self.slowest_recovery = self.slowest_recovery.max(outcome.recovered_in);
        if !outcome.findings.is_empty() {
            for finding in &outcome.findings {
                println!("  {finding}");
            }
            println!(
                "  kept: {}; again: ./dev chaos --schedule {}",
                outcome.folder.display(),
                schedule.seed
            );
            self.failed.push(schedule.seed.to_string());
        }
    }

    /// The table of everything, and how it ends.
    pub(crate) fn end(self) -> ExitCode {
        let total = |name: &str| self.totals.get(name).copied().unwrap_or_default();
        println!("\n{} schedules of --seed {}", self.n_ended, self.run);
        let lines = COLUMNS.iter().chain(&["rows", "queries", "decisions"]);
        for name in lines {
            println!("  {name:<16} {:>10}", total(name));
        }
        println!("  slowest recovery {:>10.1?}", self.slowest_recovery);
        println!("faults:");
        for (kind, n) in &self.faults {
            println!("  {kind:<18} {n:>8}");
        }
        println!("commands, by exit code (-1: killed):");
        for ((what, code), n) in &self.commands {
            println!("  {what:<14} {code:>3} {n:>8}");
        }
        if self.failed.is_empty() {
            println!("0 schedules failed");
            return ExitCode::SUCCESS;
        }
        println!(
            "{} schedules failed: {}",
            self.failed.len(),
            self.failed.join(", ")
        );
        ExitCode::FAILURE
    }
}
