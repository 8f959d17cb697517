//! Opening a log: the first record of every partition of the events topic says which log it is.
//!
//! Kafka has no lock, so the log itself decides: of all that are appended to partition 0, the first record names the
//! log, and only then do the other partitions get theirs. A second opening of the same log does no harm; one that lost
//! in partition 0 stays there and readers pass over it. Who did not make the topic gives its maker time to open it, so
//! that in practice neither happens.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use schema::{Body, Event, EventId, LogId, LogOpened, Micros, OrganizationId, Origin, Subject};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    LOOK_INTERVAL, TopicsError,
    look::{Asking, Opening, Seen},
    safety,
};
use crate::{Appender, LogConfig, LogIdentity};

/// How long whoever made the topic is given to open the log.
const MAKER_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one append may take: brokers that have just made a topic are slow.
const APPEND_TIMEOUT: Duration = Duration::from_secs(15);

/// Opens the log wherever it is not open.
pub(super) async fn open(
    config: &LogConfig,
    asking: &Asking,
    partitions: i32,
    we_made_it: bool,
) -> Result<LogIdentity, TopicsError> {
    let mut seen = if we_made_it {
        asking.topics_and_openings().await?
    } else {
        opened_by_maker(asking).await?
    };
    refuse_foreign(config, &seen)?;
    if seen.openings.contains(&Opening::Empty) {
        let log_id = known_id(&seen).unwrap_or_else(LogId::random);
        let log = LogIdentity { log_id, partitions };
        let appender = open_first(config, asking, log, &seen).await?;
        open_rest(asking, &appender).await?;
        seen = asking.topics_and_openings().await?;
    }
    safety::identity(config, &seen).map_err(TopicsError::Unsafe)
}

/// Looks until the log is open everywhere or its maker has had time enough.
async fn opened_by_maker(asking: &Asking) -> Result<Seen, TopicsError> {
    let deadline = Instant::now() + MAKER_TIMEOUT;
    let mut turn = tokio::time::interval(LOOK_INTERVAL);
    loop {
        turn.tick().await;
        let seen = asking.topics_and_openings().await?;
        if !seen.openings.contains(&Opening::Empty) || Instant::now() > deadline {
            return Ok(seen);
        }
    }
}

/// Refuses to open what holds anything else already.
fn refuse_foreign(config: &LogConfig, seen: &Seen) -> Result<(), TopicsError> {
    let problems = safety::opening_problems(config, seen, false);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(TopicsError::Unsafe(problems))
    }
}

fn known_id(seen: &Seen) -> Option<LogId> {
    seen.openings.iter().find_map(|opening| match opening {
        Opening::Opened { log_id, .. } => Some(log_id.clone()),
        Opening::Empty | Opening::Cut(_) | Opening::Foreign(_) => None,
    })
}

/// Opens partition 0 if it is empty. The appender is for the log that won there.
async fn open_first(
    config: &LogConfig,
    asking: &Asking,
    log: LogIdentity,
    seen: &Seen,
) -> Result<Appender, TopicsError> {
    let appender = Appender::to_log(config, log.clone(), APPEND_TIMEOUT)?;
    if seen.openings.first() == Some(&Opening::Empty) {
        appender.append_to(0, &opened(&log)).await?;
    }
    let seen = asking.topics_and_openings().await?;
    refuse_foreign(config, &seen)?;
    match seen.openings.first() {
        Some(Opening::Opened { log_id, .. }) if *log_id == log.log_id => Ok(appender),
        Some(Opening::Opened { log_id, .. }) => {
            let log_id = log_id.clone();
            let won = LogIdentity { log_id, ..log };
            Ok(Appender::to_log(config, won, APPEND_TIMEOUT)?)
        }
        _ => Err(TopicsError::NotThere),
    }
}

/// Opens what is still empty once the log has its id.
async fn open_rest(asking: &Asking, appender: &Appender) -> Result<(), TopicsError> {
    let seen = asking.topics_and_openings().await?;
    let event = opened(appender.log());
    let openings = (0_i32..)
        .zip(&seen.openings)
        .filter(|(_, opening)| **opening == Opening::Empty)
        .map(|(partition, _)| appender.append_to(partition, &event));
    try_join_all(openings).await?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "when the log was opened is known to nobody else"
)]
fn opened(log: &LogIdentity) -> Event {
    let now = Micros::from(OffsetDateTime::now_utc());
    Event {
        id: EventId::random(),
        subject: Subject::Log,
        at: now,
        sequence: 0,
        recorded_at: now,
        claimed_at: None,
        receipt_timed: false,
        organization: OrganizationId(Uuid::nil()),
        integration: None,
        origin: Origin::System,
        credential: None,
        replayable: false,
        traceparent: None,
        source: "/log".to_owned(),
        extensions: std::collections::BTreeMap::new(),
        body: Body::LogOpened(LogOpened {
            log_id: log.log_id.clone(),
            partitions: log.partitions,
            partitioner: "murmur2_random".to_owned(),
            extra: schema::Extra::new(),
        }),
    }
}
