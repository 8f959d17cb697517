//! Measures what the product costs beside what the same work costs bare, in one run on one machine.
//!
//! Machines differ and are shared, so ratios count and not the figures: each line is measured several times in turn
//! with the others, and the median is shown. `./dev bench` builds everything in release mode and runs this; names
//! after it choose what is measured, of a rebuild also over how many events: `./dev bench rebuild=5000000`.

mod conflicts;
mod door;
mod fold;
mod load;
mod rebuild;

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
}

impl Line {
    fn median(&self) -> f64 {
        let mut sorted = self.per_second.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
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

/// What a rebuild is measured over, unless it is said.
const REBUILD_EVENTS: u32 = 1_000_000;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = move |name: &str| {
        let named = |one: &String| one.split('=').next() == Some(name);
        chosen.is_empty() || chosen.iter().any(named)
    };
    let events = std::env::args()
        .find_map(|one| one.strip_prefix("rebuild=")?.parse().ok())
        .unwrap_or(REBUILD_EVENTS);
    on_stack(move |stack| async move {
        if is_chosen("door") {
            for connections in [64, 256] {
                let lines = door::measure(&stack, connections).await;
                table(
                    &format!("the door at {connections} connections, 512-byte bodies"),
                    "deliveries",
                    &lines,
                );
            }
        }
        if is_chosen("fold") {
            let lines = fold::measure(&stack).await;
            table("the fold, three rows a reading", "readings", &lines);
        }
        if is_chosen("conflicts") {
            let lines = conflicts::measure(&stack).await;
            table("the fold of edits and conflicts", "events", &lines);
        }
        if is_chosen("rebuild") {
            let lines = rebuild::measure(&stack, events).await;
            table(&format!("a rebuild of {events} readings"), "events", &lines);
        }
    });
}
