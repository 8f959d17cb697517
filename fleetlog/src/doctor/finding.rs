//! What was found, and what to do about it.

use std::time::Duration;

use serde::Serialize;
use strum::IntoStaticStr;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// It does not work, or loses events.
    Failed,
    /// It was not looked at.
    Skipped,
}

impl Verdict {
    /// In a word.
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One look's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at: a stable name.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) verdict: Verdict,
    /// What is, in a line.
    pub(super) found: String,
    /// What to do, if there is something to do.
    pub(super) remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found, None)
    }

    /// It works, and somebody should look.
    pub(super) fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, found, Some(remedy.into()))
    }

    /// It does not work.
    pub(super) fn failed(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Failed, found, Some(remedy.into()))
    }

    /// It was not looked at.
    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, why, None)
    }

    fn new(check: &'static str, verdict: Verdict, found: impl Into<String>, remedy: Option<String>) -> Self {
        Self {
            check,
            verdict,
            found: found.into(),
            remedy,
        }
    }
}

/// Whatever came of a look, in the list.
pub(super) fn of(looked: Result<Finding, Finding>) -> Finding {
    looked.unwrap_or_else(|finding| finding)
}

/// How far a clock is from ours, judged: `ahead` as well as it can be known within `give_or_take`, both in microseconds.
pub(super) fn judge_clock(check: &'static str, whose: &str, ahead: i64, give_or_take: i64) -> Finding {
    let seconds = |micros: i64| Duration::from_micros(micros.unsigned_abs()).as_secs_f64();
    let direction = if ahead < 0 { "behind" } else { "ahead" };
    let found = format!(
        "{whose} is {:.3} s {direction}, give or take {:.3} s",
        seconds(ahead),
        seconds(give_or_take)
    );
    let remedy = "synchronize the clocks (NTP): times from the future are believed up to 60 s, and connectivity is \
                  counted in minutes";
    let surely = ahead.saturating_abs() - give_or_take;
    if surely > MUCH {
        Finding::failed(check, found, remedy)
    } else if surely > SOME {
        Finding::warning(check, found, remedy)
    } else {
        Finding::ok(check, found)
    }
}

/// Half of what is believed of the future, in microseconds.
const MUCH: i64 = 30_000_000;
/// More than clocks that are synchronized differ by, in microseconds.
const SOME: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_is_sure() {
        let verdict = |ahead, give_or_take| judge_clock("clock", "it", ahead, give_or_take).verdict;
        assert_eq!(verdict(200_000, 0), Verdict::Ok);
        assert_eq!(verdict(-3_000_000, 2_500_000), Verdict::Ok);
        assert_eq!(verdict(-3_000_000, 100_000), Verdict::Warning);
        assert_eq!(verdict(45_000_000, 1_000_000), Verdict::Failed);
    }
}
