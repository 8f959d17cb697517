//! Long work, watched: a progress line, and a clean stop at SIGINT or SIGTERM.

use std::{
    future::Future,
    io::{self, IsTerminal as _},
    pin::pin,
    time::Duration,
};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use projector::rebuild::{Phase, Progress, RebuildError, Snapshot, resident};
use service::{CancellationToken, shutdown};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a terminal is drawn.
const DRAW: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const SAY: Duration = Duration::from_secs(10);

/// Does something and shows how far it is. The first SIGINT or SIGTERM cancels `stop`; the second ends the process.
pub(crate) async fn watched<T>(
    progress: &Progress,
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut told = pin!(shutdown::signal());
    let mut line = Line::new();
    let mut turn = interval(DRAW);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut work => {
                line.end();
                return ended;
            }
            () = &mut told, if !stop.is_cancelled() => {
                stop.cancel();
                line.say("stopping");
            }
            _ = turn.tick() => line.draw(&progress.snapshot()),
        }
    }
}

/// The same for what cannot stop half-way: what is under way fails whole, and can be done again.
pub(crate) async fn stoppable<T>(
    progress: &Progress,
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, RebuildError>>,
) -> Result<T, RebuildError> {
    let work = async {
        tokio::select! {
            ended = work => ended,
            () = stop.cancelled() => Err(RebuildError::Stopped),
        }
    };
    watched(progress, stop, work).await
}

/// A line on stderr that is drawn again and again, or lines below each other where that is no terminal.
struct Line {
    bar: Option<ProgressBar>,
    said: Option<(Phase, Instant)>,
}

impl Line {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:>9} {bar:30} {msg}")
                .expect("the template is well-formed");
            ProgressBar::new(0).with_style(style)
        });
        Self { bar, said: None }
    }

    fn draw(&mut self, now: &Snapshot) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(now.phase.name());
            bar.set_length(now.total.max(now.done).max(1));
            bar.set_position(now.done);
            bar.set_message(text(now));
            return;
        }
        let due = self
            .said
            .is_none_or(|(phase, at)| phase != now.phase || at.elapsed() >= SAY);
        if due {
            self.said = Some((now.phase, Instant::now()));
            eprintln!("{}: {}", now.phase.name(), text(now));
        }
    }

    fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => eprintln!("{what}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is done, how fast, how long it will take, in how much memory.
fn text(now: &Snapshot) -> String {
    let mut parts = Vec::new();
    if let Some(what) = counted(now.phase) {
        parts.push(if now.total > 0 {
            format!("{} of {} {what}", HumanCount(now.done), HumanCount(now.total))
        } else {
            format!("{} {what}", HumanCount(now.done))
        });
        let rate = rate(now);
        if rate >= 1.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is shown to people"
            )]
            parts.push(format!("{}/s", HumanCount(rate as u64)));
        }
        if let Some(left) = left(now, rate) {
            parts.push(format!("{} left", HumanDuration(left)));
        }
    }
    if now.memory > 0 {
        parts.push(format!("rows in {}", HumanBytes(now.memory)));
    }
    if let Some(resident) = resident() {
        parts.push(format!("process {}", HumanBytes(resident as u64)));
    }
    parts.join(", ")
}

fn counted(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Plan | Phase::Promote => None,
        Phase::Copy => Some("records"),
        Phase::Load | Phase::CatchUp => Some("events"),
        Phase::Index => Some("tables and days"),
        Phase::Derive => Some("provider devices"),
        Phase::Prove => Some("tables"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown to people")]
fn rate(now: &Snapshot) -> f64 {
    let seconds = now.elapsed.as_secs_f64();
    if seconds > 0.0 {
        now.done as f64 / seconds
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown to people")]
fn left(now: &Snapshot, rate: f64) -> Option<Duration> {
    let missing = now.total.checked_sub(now.done).filter(|missing| *missing > 0)?;
    // Anything later than a year is a guess.
    let seconds = (rate > 0.0)
        .then(|| missing as f64 / rate)
        .filter(|seconds| *seconds < 3.2e7)?;
    Some(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long() {
        let now = Snapshot {
            phase: Phase::Load,
            done: 1_000,
            total: 4_000,
            elapsed: Duration::from_secs(10),
            memory: 64 << 20,
        };
        let text = text(&now);
        assert!(
            text.starts_with("1,000 of 4,000 events, 100/s, 30 seconds left, rows in 64.00 MiB"),
            "{text}"
        );
        assert_eq!(left(&Snapshot { done: 0, ..now }, 0.0), None);
    }
}
