//! Moving what is spooled to the log, once the log is back.
//!
//! Deliveries go to the log directly again only after what was spooled is there: while it is moved, they are spooled
//! too. So that this ends under any load, they go directly also when a round of moving no longer halves what is left;
//! the rest is moved beside them.

use std::time::Duration;

use ::metrics::{counter, gauge};
use schema::Micros;
use stream::{AppendError, Appender};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    clock::now,
    door::Door,
    metrics,
    spool::{Key, Spool, Spooled},
};

/// Most records that are moved at once.
const BATCH_RECORDS: usize = 1000;
/// About the most bytes that are moved at once.
const BATCH_BYTES: u64 = 2 << 20;
/// Pause between two looks at a spool that nobody writes to, and at a log that is away.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a log that seems to be away is tried all the same before the door closes.
const LAST_TRIES: u32 = 2;

/// How a pass over the spool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// The log took some of it; what is left it refuses now, or it came meanwhile.
    Moved,
    /// The log took nothing of a whole batch: it is away.
    Away,
    /// Nothing was tried: nothing is spooled, or it cannot be read now. Of the log this says nothing.
    Nothing,
}

/// What is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Next {
    /// What comes behind this, or behind nothing. What was tried last comes last again, lest one record whose partition
    /// alone is away holds up all others.
    after: Option<Key>,
    /// Most records at once.
    n_most: usize,
}

impl Next {
    const FROM_THE_FRONT: Self = Self {
        after: None,
        n_most: BATCH_RECORDS,
    };
}

impl Door {
    /// Moves whatever is spooled to the log, for ever.
    pub(crate) async fn drain(&self, spool: &Spool) {
        let mut next = Next::FROM_THE_FRONT;
        loop {
            measure(spool);
            if self.breaker.is_open() || spool.level().n_records > 0 {
                self.drain_once(spool, &mut next).await;
            }
            let is_calm = !self.breaker.is_open() && spool.level().n_records == 0;
            tokio::select! {
                () = spool.arrived(), if is_calm => {}
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Moves what is left within a time, and says how much is left for the next start.
    pub(crate) async fn drain_at_the_end(&self, spool: &Spool, within: Duration) {
        let until = Instant::now() + within;
        if spool.level().n_records > 0 {
            tracing::info!("moving what is spooled to the log, for at most {within:?}");
            drop(timeout_at(until, self.drain_while_it_helps(spool)).await);
        }
        let level = spool.level();
        if level.n_records > 0 {
            let (n, n_bytes) = (level.n_records, level.n_bytes);
            tracing::warn!(
                n_records = n,
                n_bytes,
                "the spool keeps {n} records ({n_bytes} bytes) for the next start"
            );
        } else {
            tracing::info!("the spool is empty");
        }
    }

    /// Moves until nothing is left. A log that is away, and not only just back, is not waited for, nor is a disk that
    /// reads nothing.
    async fn drain_while_it_helps(&self, spool: &Spool) {
        let mut next = Next::FROM_THE_FRONT;
        let mut n_tries = 0;
        while spool.level().n_records > 0 && (n_tries < LAST_TRIES || self.log.health().is_ok()) {
            if self.drain_once(spool, &mut next).await == Pass::Nothing {
                return;
            }
            n_tries += 1;
        }
    }

    /// Passes over the spool until nothing is left, or the log is away, or what is left cannot be moved now.
    async fn drain_once(&self, spool: &Spool, next: &mut Next) -> Pass {
        let Some(appender) = self.log.appender() else {
            return Pass::Away;
        };
        loop {
            let n_before = spool.level().n_records;
            if n_before == 0 {
                return self.finish(appender);
            }
            match self.pass(spool, appender, next).await {
                Pass::Moved => {}
                Pass::Away => return Pass::Away,
                Pass::Nothing => return self.finish(appender),
            }
            let n_left = spool.level().n_records;
            if n_left > n_before / 2 {
                // Moving goes on with the next look.
                self.open_the_way();
                return Pass::Moved;
            }
        }
    }

    /// There is nothing to try the log with. If deliveries are kept from it, its connections say whether it is back.
    fn finish(&self, appender: &Appender) -> Pass {
        if !self.breaker.is_open() {
            return Pass::Nothing;
        }
        if appender.health().is_err() {
            return Pass::Away;
        }
        self.open_the_way();
        Pass::Nothing
    }

    fn open_the_way(&self) {
        if self.breaker.is_open() {
            self.breaker.close();
            tracing::info!("the event log is back, deliveries go to it directly");
        }
    }

    /// Tries each record that is spooled once, in a circle, or instead of some those that come meanwhile.
    async fn pass(&self, spool: &Spool, appender: &Appender, next: &mut Next) -> Pass {
        let mut may_wrap = next.after.is_some();
        let mut n_left = spool.level().n_records;
        let mut passed = Pass::Nothing;
        while n_left > 0 {
            let Ok(batch) = spool.front(next.after, next.n_most, BATCH_BYTES).await else {
                return passed;
            };
            let Some((last, _)) = batch.last() else {
                next.after = None;
                if std::mem::take(&mut may_wrap) {
                    continue;
                }
                return passed;
            };
            next.after = Some(*last);
            n_left = n_left.saturating_sub(batch.len() as u64);
            passed = self.move_batch(spool, appender, batch).await;
            if passed == Pass::Away {
                next.n_most = match appender.health() {
                    // Some partitions are away, and others may be behind many records of theirs.
                    Ok(_) => (2 * next.n_most).min(BATCH_RECORDS),
                    // One record is enough to find out whether the log is back.
                    Err(_) => 1,
                };
                return Pass::Away;
            }
            measure(spool);
            next.n_most = BATCH_RECORDS;
        }
        next.after = None;
        passed
    }

    async fn move_batch(&self, spool: &Spool, appender: &Appender, batch: Vec<(Key, Spooled)>) -> Pass {
        let records = batch.iter().map(|(_, waiting)| (waiting.topic, &waiting.record));
        let outcomes = appender.append_each(records).await;
        let (mut taken, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
        for ((key, waiting), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(_) => taken.push(*key),
                Err(error @ (AppendError::TooLarge { .. } | AppendError::Unwritable(_))) => {
                    tell_refused(waiting, &error);
                    refused.push(*key);
                }
                Err(AppendError::Unavailable(_)) => {}
            }
        }
        let n_settled = taken.len() + refused.len();
        counter!(metrics::DRAINED).increment(taken.len() as u64);
        if n_settled == 0 {
            return Pass::Away;
        }
        spool.settle(taken, refused).await;
        Pass::Moved
    }
}

fn measure(spool: &Spool) {
    let level = spool.level();
    gauge!(metrics::SPOOL_RECORDS).set(as_f64(level.n_records));
    gauge!(metrics::SPOOL_BYTES).set(as_f64(level.n_bytes));
    gauge!(metrics::SPOOL_REFUSED).set(as_f64(level.n_refused));
    let age = level.oldest.map_or(Duration::ZERO, |oldest| age(oldest, now()));
    gauge!(metrics::SPOOL_OLDEST).set(age.as_secs_f64());
}

/// How long ago something was, at least 0.
pub(crate) fn age(then: Micros, now: Micros) -> Duration {
    let micros = now.as_micros().saturating_sub(then.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// What the log can never take must not block the rest, nor vanish.
fn tell_refused(spooled: &Spooled, error: &AppendError) {
    let headers = spooled.record.headers.iter();
    let id = headers.clone().find(|(name, _)| name == "ce_id");
    let id = id.map_or("", |(_, id)| id);
    let topic = spooled.topic.suffix();
    tracing::error!(
        event.id = id,
        topic,
        %error,
        "the log refuses the spooled record {id} of {topic}; it stays in the spool and is tried again at the next \
         start: {error}"
    );
}

#[expect(clippy::cast_precision_loss, reason = "a gauge may be off by one beyond 2^53")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests;
