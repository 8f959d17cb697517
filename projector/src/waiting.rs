//! Counts what waits for a person to decide, for whoever watches the metrics.
//!
//! Apart from the fold: it reads what readers read, now and then, and no event waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use metrics::{Label, gauge};
use sqlx::PgPool;
use strum::IntoEnumIterator as _;
use tokio::time::{Instant, sleep};

use crate::{
    dead_letters::Reason,
    metrics::Metric,
    sql::{conflicts, dead_letters},
};

/// How often it is counted.
const INTERVAL: Duration = Duration::from_secs(30);
/// How many times as long as it took to count nothing is counted: of a large fleet it is counted less often.
const REST: u32 = 10;

/// The labels of a count, sorted by name.
type Labels = Vec<(&'static str, String)>;

/// Counts pending conflicts and dead letters every now and then, for ever.
pub(crate) async fn count(pool: &PgPool) -> Infallible {
    let mut shown = BTreeSet::new();
    loop {
        let began = Instant::now();
        match conflicts::count(pool).await {
            Ok(counts) => show(&counts, &mut shown),
            // Whoever folds says so if Postgres is away; what was counted last stays.
            Err(error) if conflicts::took_too_long(&error) => tracing::warn!(
                %error,
                "pending conflicts take longer to count than they may, so their metrics stay as they were: {error}"
            ),
            Err(error) => tracing::debug!(%error, "pending conflicts cannot be counted: {error}"),
        }
        match dead_letters::count(pool).await {
            Ok(counts) => show_letters(&counts),
            Err(error) => tracing::debug!(%error, "dead letters cannot be counted: {error}"),
        }
        sleep(INTERVAL.max(began.elapsed() * REST)).await;
    }
}

/// Shows these counts; what was shown before and is not among them is 0 now.
fn show(counts: &[conflicts::Count], shown: &mut BTreeSet<Labels>) {
    let mut pending: BTreeMap<Labels, i64> = shown.iter().map(|labels| (labels.clone(), 0)).collect();
    for count in counts {
        let labels = vec![
            ("age", count.age.clone()),
            ("field", count.field.clone()),
            ("integration", count.integration.clone()),
            ("kind", count.kind.clone()),
        ];
        pending.insert(labels, count.pending);
    }
    let oldest = counts
        .iter()
        .map(|count| count.oldest_seconds)
        .fold(0.0, f64::max);
    gauge!(Metric::FleetlogConflictsOldestAgeSeconds.name()).set(oldest);
    for (labels, n) in pending {
        let named: Vec<Label> = labels
            .iter()
            .map(|(name, value)| Label::new(*name, value.clone()))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "no fleet has 2^53 conflicts")]
        gauge!(Metric::FleetlogConflictsPending.name(), named).set(n as f64);
        shown.insert(labels);
    }
}

/// Shows how many dead letters wait, by reason.
fn show_letters(counts: &[(String, i64)]) {
    for reason in Reason::iter() {
        let reason: &'static str = reason.into();
        let n = counts
            .iter()
            .find(|(held, _)| held == reason)
            .map_or(0, |(_, n)| *n);
        #[expect(clippy::cast_precision_loss, reason = "nobody lets 2^53 letters wait")]
        gauge!(Metric::FleetlogProjectorDeadLettersWaiting.name(), "reason" => reason).set(n as f64);
    }
}
