//! Measures what the product costs beside what the same work costs bare, in one run on one machine.
//!
//! Machines differ and are shared, so ratios count and not the figures: each line is measured several times in turn
//! with the others, and the median is shown. `./dev bench` builds everything in release mode and runs this.

mod conflicts;
mod door;
mod fold;
mod load;

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
    println!("\n{title} ({unit}, median of {ROUNDS}; ratio to the first line)");
    let base = lines.first().map_or(1.0, Line::median);
    for line in lines {
        let median = line.median();
        println!("  {:<58} {:>9.0}/s  {:>5.2}", line.name, median, median / base);
    }
}

fn main() {
    on_stack(|stack| async move {
        for connections in [64, 256] {
            let lines = door::measure(&stack, connections).await;
            table(
                &format!("the door at {connections} connections, 512-byte bodies"),
                "deliveries",
                &lines,
            );
        }
        let lines = fold::measure(&stack).await;
        table("the fold, three rows a reading", "readings", &lines);
        let lines = conflicts::measure(&stack).await;
        table("the fold of edits and conflicts", "events", &lines);
    });
}
