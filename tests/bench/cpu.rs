//! Who takes how much of the processors: on a machine that all of them share, that decides what each of them can do.

use std::{fmt, fs, ops::Sub, time::Instant};

use crate::{Line, median};

/// Processor time in seconds since each began: the role that is measured, Kafka, Postgres, and this program, which makes
/// the load. Kafka and Postgres are all there are on the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    role: f64,
    kafka: f64,
    postgres: f64,
    load: f64,
}

/// Ticks of the processor's clock that `/proc` counts in a second: the same on every Linux.
const TICKS: f64 = 100.0;

impl Used {
    /// What they have taken so far; `role` is the number of its process.
    pub(crate) fn so_far(role: u32) -> Self {
        let mut used = Self::default();
        let load = std::process::id();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok());
            let Some(number) = number else { continue };
            // It may be gone by now.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((name, seconds)) = time(&stat) else {
                continue;
            };
            if number == role {
                used.role += seconds;
            } else if number == load {
                used.load += seconds;
            } else if name == "java" {
                used.kafka += seconds;
            } else if name == "postgres" {
                used.postgres += seconds;
            }
        }
        used
    }

    fn all(self) -> [f64; 4] {
        [self.role, self.kafka, self.postgres, self.load]
    }
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            role: self.role - before.role,
            kafka: self.kafka - before.kafka,
            postgres: self.postgres - before.postgres,
            load: self.load - before.load,
        }
    }
}

/// The name of a process and the time it has taken, with that of its children that have ended.
fn time(stat: &str) -> Option<(&str, f64)> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once(" (")?;
    // The fields after the name begin with the third; times are the fourteenth to the seventeenth.
    let ticks = rest
        .split(' ')
        .skip(11)
        .take(4)
        .map(|field| field.parse::<f64>().ok());
    let ticks = ticks.sum::<Option<f64>>()?;
    Some((name, ticks / TICKS))
}

/// Microseconds that one piece of work took of each of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost([f64; 4]);

impl Cost {
    /// Of so many pieces of work.
    pub(crate) fn of(used: Used, pieces: f64) -> Self {
        Self(used.all().map(|seconds| seconds * 1e6 / pieces.max(1.0)))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [role, kafka, postgres, load] = self.0;
        write!(f, "{role:>6.1}  {kafka:>6.1}  {postgres:>8.1}  {load:>6.1}")
    }
}

/// Work that was done once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Pieces of it a second.
    pub(crate) per_second: f64,
    /// What one took of the processors.
    pub(crate) cost: Cost,
}

/// Does so many pieces of work, and measures. `role` is the number of the process that does it; 0 if it is this one.
pub(crate) async fn measured(role: u32, pieces: u32, work: impl Future<Output = ()>) -> Measured {
    let pieces = f64::from(pieces);
    let before = Used::so_far(role);
    let begun = Instant::now();
    work.await;
    let per_second = pieces / begun.elapsed().as_secs_f64();
    Measured {
        per_second,
        cost: Cost::of(Used::so_far(role) - before, pieces),
    }
}

/// Prints what a piece of work took, by line: the median of each.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn table(piece: &str, lines: &[Line]) {
    println!("\nprocessor time of one {piece}, in microseconds (median)");
    println!(
        "  {:<58} {:>6}  {:>6}  {:>8}  {:>6}",
        "", "role", "kafka", "postgres", "load"
    );
    for line in lines.iter().filter(|line| !line.costs.is_empty()) {
        let of = |place: usize| median(line.costs.iter().map(|cost| cost.0[place]));
        println!("  {:<58} {}", line.name, Cost([0, 1, 2, 3].map(of)));
    }
}
