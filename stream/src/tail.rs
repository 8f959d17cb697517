//! Following whole topics, alone and without leaving a trace.

use std::{collections::BTreeMap, fmt, time::Duration};

use schema::{Micros, Topic};

use crate::{
    Delivery, LogConfig, LogIdentity, Position, Read, ReadError,
    inbox::Place,
    pump::{Names, Pump},
    watermarks,
};

/// Where to begin.
#[derive(Clone, Debug)]
pub enum TailFrom {
    /// With the first record there is.
    Beginning,
    /// With the next record to be appended.
    End,
    /// With the first record of each partition that was appended at this time or later.
    Time(Micros),
    /// At these positions; partitions that are not named are not read.
    Positions(Vec<Position>),
}

/// Follows all partitions of some topics. Records of one partition come in order, those of several as they arrive.
pub struct Tail {
    pump: Pump,
    /// Where each partition that is still read ends, if reading ends there.
    ends: Option<BTreeMap<Place, i64>>,
}

impl Tail {
    /// Begins to read; with `to_end` only up to where the topics end now.
    pub async fn open(
        config: &LogConfig,
        log: &LogIdentity,
        topics: &[Topic],
        from: TailFrom,
        to_end: bool,
    ) -> Result<Self, ReadError> {
        let start = match from {
            TailFrom::Beginning => watermarks::beginnings(config, log, topics).await?,
            TailFrom::End => watermarks::ends(config, log, topics).await?,
            TailFrom::Time(time) => watermarks::at_time(config, log, topics, time).await?,
            TailFrom::Positions(positions) => positions,
        };
        let ends = if to_end {
            let ends = watermarks::ends(config, log, topics).await?;
            Some(to_read(&start, &ends))
        } else {
            None
        };
        // Kafka wants a group's name even of those who do not join it.
        let group = format!("{}.tail", config.prefix);
        let pump = Pump::start(
            "tail",
            &config.reading(&group),
            Names::new(config, topics),
            &log.log_id,
        )?;
        pump.start_at(&start)?;
        Ok(Self { pump, ends })
    }

    /// The next records, up to `max_records` and at most `max_wait` after the first was at hand; none when the end is
    /// reached, if there is one. Cancel-safe.
    pub async fn next(
        &mut self,
        max_records: usize,
        max_wait: Duration,
    ) -> Result<Option<Vec<Read>>, ReadError> {
        loop {
            if self.ends.as_ref().is_some_and(BTreeMap::is_empty) {
                return Ok(None);
            }
            let Delivery::Batch(batch) = self.pump.next(max_records, max_wait).await? else {
                // Nothing is assigned to or revoked from those who are in no group.
                continue;
            };
            let Some(ends) = &mut self.ends else {
                return Ok(Some(batch.records));
            };
            let records: Vec<_> = batch
                .records
                .into_iter()
                .filter(|read| is_before_end(ends, read.position))
                .collect();
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
    }
}

/// The ends of the partitions that have something to read before them.
fn to_read(start: &[Position], ends: &[Position]) -> BTreeMap<Place, i64> {
    ends.iter()
        .filter(|end| {
            let mut start = start.iter();
            start.any(|start| {
                (start.topic, start.partition) == (end.topic, end.partition) && start.offset < end.offset
            })
        })
        .map(|end| ((end.topic, end.partition), end.offset))
        .collect()
}

/// Whether a record lies before the end of its partition; forgets the partition with its last.
fn is_before_end(ends: &mut BTreeMap<Place, i64>, position: Position) -> bool {
    let place = (position.topic, position.partition);
    let Some(end) = ends.get(&place).copied() else {
        return false;
    };
    if position.offset + 1 >= end {
        ends.remove(&place);
    }
    position.offset < end
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> Position {
        Position {
            topic: Topic::Events,
            partition,
            offset,
        }
    }

    #[test]
    fn it_ends_when_every_partition_with_something_to_read_was_read_to_its_end() {
        let mut ends = to_read(&[at(0, 3), at(1, 7)], &[at(0, 5), at(1, 7), at(2, 9)]);
        assert!(is_before_end(&mut ends, at(0, 3)));
        assert!(!ends.is_empty());
        assert!(is_before_end(&mut ends, at(0, 4)));
        assert!(ends.is_empty());
        assert!(!is_before_end(&mut ends, at(0, 5)));
    }
}
