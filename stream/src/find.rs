//! Where a copy of an event is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use schema::{EventId, Micros, Topic};

use crate::{LogConfig, LogIdentity, Position, ReadError, Scan, ScanOptions, partition_of, watermarks};

/// So much before its receipt an event is looked for: Kafka keeps milliseconds.
const BEFORE: Duration = Duration::from_secs(1);

/// Which event is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// The topic that holds it.
    pub topic: Topic,
    /// Its key.
    pub key: &'a str,
    /// Its id.
    pub id: EventId,
    /// When it was received: no copy with this time was appended earlier.
    pub recorded_at: Micros,
}

/// The position of the first copy of an event that was appended since it was received. None, if there is none up to the
/// end of its partition or none was found within `patience`: it may have expired, or wait to be appended.
pub async fn find(
    config: &LogConfig,
    log: &LogIdentity,
    sought: &Sought<'_>,
    patience: Duration,
) -> Result<Option<Position>, ReadError> {
    let deadline = Instant::now() + patience;
    match tokio::time::timeout_at(deadline.into(), look(config, log, sought)).await {
        Ok(found) => found,
        Err(_) => Ok(None),
    }
}

async fn look(
    config: &LogConfig,
    log: &LogIdentity,
    sought: &Sought<'_>,
) -> Result<Option<Position>, ReadError> {
    let partition = partition_of(sought.key.as_bytes(), log.partitions);
    let place = (sought.topic, partition);
    let since = sought.recorded_at.minus(BEFORE);
    let range = watermarks::since(config, place, since).await?;
    let key = sought.key.to_owned();
    let options = ScanOptions {
        memory: 8 * 1024 * 1024,
        keys: Some(Arc::new(move |held| held == key.as_bytes())),
        ..ScanOptions::default()
    };
    let id = sought.id.to_string();
    let mut scan = Scan::open(config, log, &[range], options)?;
    while let Some(batch) = scan.next_raw().await? {
        let found = batch
            .iter()
            .find(|raw| raw.header("ce_id") == Some(id.as_bytes()));
        if let Some(raw) = found {
            return Ok(Some(raw.position()));
        }
    }
    Ok(None)
}
