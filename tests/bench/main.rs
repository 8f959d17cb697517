//! Measures what the product costs beside what the same work costs bare, in one run on one machine.
//!
//! Machines differ and are shared, so ratios count and not the figures: each line is measured several times in turn
//! with the others, and the median is shown. `./dev bench` builds everything in release mode and runs this; names
//! after it choose what is measured, of some also how much:
//!
//! - `./dev bench door=1`: the door, spoken to in the first way only;
//! - `./dev bench million=100000`: a fleet of so many devices;
//! - `./dev bench rebuild=5000000 devices=100000 memory=512`: events, devices, MiB;
//! - `./dev bench spool memory connections=64 seconds=5`: outages and overload, at so many connections and so long each.

mod answers;
mod bare;
mod bare_rows;
mod conflicts;
mod cpu;
mod door;
mod fold;
mod load;
mod memory;
mod million;
mod rebuild;
mod said;
mod spool;

use std::time::Duration;

use tests::on_stack;

/// How often each line is measured.
const ROUNDS: usize = 3;
/// How long a door is loaded each time.
const LOAD: Duration = Duration::from_secs(5);

/// One line of the table.
struct Line {
    name: String,
    per_second: Vec<f64>,
    /// What a piece of work took of the processors, where that is known.
    costs: Vec<cpu::Cost>,
}

impl Line {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            per_second: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn note(&mut self, measured: cpu::Measured) {
        self.per_second.push(measured.per_second);
        self.costs.push(measured.cost);
    }

    fn median(&self) -> f64 {
        median(self.per_second.iter().copied())
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Prints lines beside the first one.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn table(title: &str, unit: &str, lines: &[Line]) {
    let rounds = lines.first().map_or(0, |line| line.per_second.len());
    println!("\n{title} ({unit}, median of {rounds}; ratio to the first line)");
    let base = lines.first().map_or(1.0, Line::median);
    for line in lines {
        let median = line.median();
        println!("  {:<58} {:>9.0}/s  {:>5.2}", line.name, median, median / base);
    }
}

/// What a rebuild is measured over, unless it is said: events, devices, and MiB of memory.
const REBUILD: (u32, u32, u32) = (1_000_000, 100_000, 512);

/// In how many dialects and schemes the door is measured, unless it is said.
const WAYS: u32 = 8;

/// Connections and seconds of a measurement of the door under outage and overload, unless they are said.
const SIEGE: (u32, u32) = (64, 5);

/// Devices of the large fleet, unless it is said.
const MILLION: u32 = 1_000_000;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = move |name: &str| {
        let named = |one: &String| one.split('=').next() == Some(name);
        chosen.is_empty() || chosen.iter().any(named)
    };
    let said = |name: &str, unsaid: u32| {
        let mut said = std::env::args().skip(1);
        let said = said.find_map(|one| one.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        said.unwrap_or(unsaid)
    };
    let (events, devices, mebibytes) = REBUILD;
    let fleet = rebuild::Fleet {
        events: said("rebuild", events),
        devices: said("devices", devices).max(1),
        memory: said("memory", mebibytes) as usize * 1024 * 1024,
    };
    let (connections, seconds) = SIEGE;
    let connections = said("connections", connections) as usize;
    let time = Duration::from_secs(said("seconds", seconds).into());
    // `memory=N` is how much a rebuild may take; the measurement is the word alone.
    let is_memory_chosen = std::env::args().len() == 1 || std::env::args().any(|one| one == "memory");
    on_stack(move |stack| async move {
        if is_memory_chosen {
            memory::measure(&stack, connections, time).await;
        }
        if is_chosen("spool") {
            spool::measure(&stack, connections, time).await;
        }
        if is_chosen("million") {
            million::measure(&stack, said("million", MILLION)).await;
        }
        if is_chosen("door") {
            for connections in [64, 256] {
                let lines = door::measure(&stack, connections, said("door", WAYS) as usize).await;
                table(
                    &format!("the door at {connections} connections, 512-byte bodies"),
                    "deliveries",
                    &lines,
                );
                cpu::table("delivery", &lines);
            }
        }
        if is_chosen("fold") {
            let lines = fold::measure(&stack).await;
            table("the fold, three rows a reading", "readings", &lines);
            cpu::table("reading", &lines);
        }
        if is_chosen("conflicts") {
            let lines = conflicts::measure(&stack).await;
            table("the fold of edits and conflicts", "events", &lines);
        }
        if is_chosen("rebuild") {
            let (lines, most_memory) = rebuild::measure(&stack, fleet).await;
            let title = format!(
                "a rebuild of {} events of {} devices within {} MiB, of which it took {most_memory} at most",
                fleet.events,
                fleet.devices,
                fleet.memory / 1024 / 1024,
            );
            table(&title, "events", &lines);
        }
    });
}
