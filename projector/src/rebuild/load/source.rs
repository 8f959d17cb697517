//! What of the log is folded of one Kafka partition.

use std::collections::{BTreeMap, HashMap};

use schema::Topic;
use stream::{KeyFilter, Position, Range, Raw, ReadError, Scan, ScanOptions};

use crate::rebuild::Plan;

/// What is folded of one partition: ranges of all topics that have something to say there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rebuild) struct Source {
    pub(in crate::rebuild) partition: i32,
    /// Events and readings.
    pub(in crate::rebuild) events: Vec<Range>,
    /// Joined registers of readings that have expired; nothing, if none have.
    pub(in crate::rebuild) checkpoints: Option<Range>,
}

/// Whether a topic is folded event by event, and so has positions.
pub(super) fn is_folded(position: &Position) -> bool {
    matches!(position.topic, Topic::Events | Topic::Readings)
}

impl Source {
    /// What a plan reads, partition by partition.
    pub(in crate::rebuild) fn of(plan: &Plan) -> Vec<Self> {
        let mut sources: BTreeMap<i32, Self> = BTreeMap::new();
        for range in Range::between(&plan.from, &plan.to) {
            let source = sources.entry(range.partition).or_insert_with(|| Self {
                partition: range.partition,
                events: Vec::new(),
                checkpoints: None,
            });
            match range.topic {
                Topic::Events | Topic::Readings => source.events.push(range),
                Topic::Checkpoints => source.checkpoints = Some(range),
                Topic::DeadLetters => {}
            }
        }
        let mut sources: Vec<_> = sources.into_values().collect();
        for source in &mut sources {
            let is_cut = |range: &Range| range.topic == Topic::Readings && range.from > 0;
            // Where every reading is there, the registers follow from them, and what was joined before is not needed.
            if !source.events.iter().any(is_cut) {
                source.checkpoints = None;
            }
        }
        sources
    }

    /// How many offsets of events there are.
    pub(in crate::rebuild) fn n_offsets(&self) -> u64 {
        self.events.iter().map(Range::n_offsets).sum()
    }

    /// Reads all of it, the newest checkpoints first. Blocks: not for asynchronous tasks.
    pub(in crate::rebuild) fn read<T: Take>(
        &self,
        plan: &Plan,
        memory: usize,
        keys: Option<&KeyFilter>,
        into: &mut T,
    ) -> Result<(), T::Error> {
        let open = |ranges: &[Range]| {
            let options = ScanOptions {
                memory,
                keys: keys.cloned(),
                ..ScanOptions::default()
            };
            Scan::open(&plan.log, &plan.identity, ranges, options)
        };
        if let Some(range) = self.checkpoints {
            let newest = newest(open(&[range])?)?;
            let mut scan = open(&[range])?;
            while let Some(batch) = scan.next_raw_blocking()? {
                let is_newest =
                    |raw: &Raw<'_>| newest.get(raw.key().unwrap_or_default()) == Some(&raw.position().offset);
                for raw in batch.iter().filter(is_newest) {
                    into.record(raw)?;
                }
                into.batch_ends(0)?;
            }
        }
        let mut scan = open(&self.events)?;
        let mut read = 0;
        while let Some(batch) = scan.next_raw_blocking()? {
            for raw in batch.iter() {
                into.record(raw)?;
            }
            let now = self.n_read(&scan.positions());
            into.batch_ends(now - read)?;
            read = now;
        }
        // The last offsets may hold no record.
        into.batch_ends(self.n_offsets() - read)
    }

    /// How many offsets lie before these positions.
    fn n_read(&self, positions: &[Position]) -> u64 {
        let read = positions.iter().filter_map(|position| {
            let mut ranges = self.events.iter();
            let range = ranges.find(|range| range.topic == position.topic)?;
            u64::try_from(position.offset - range.from).ok()
        });
        read.sum()
    }
}

/// Takes what is read.
pub(in crate::rebuild) trait Take {
    /// Why it does not take more.
    type Error: From<ReadError>;

    /// A record of those that are wanted.
    fn record(&mut self, raw: Raw<'_>) -> Result<(), Self::Error>;

    /// So many offsets are behind it, wanted or not, and a moment passes before there is more.
    fn batch_ends(&mut self, n_offsets: u64) -> Result<(), Self::Error>;
}

/// Where the newest record of each key is: compaction may not have come by yet.
fn newest(mut scan: Scan) -> Result<HashMap<Vec<u8>, i64>, ReadError> {
    let mut newest = HashMap::new();
    while let Some(batch) = scan.next_raw_blocking()? {
        for raw in batch.iter() {
            newest.insert(raw.key().unwrap_or_default().to_vec(), raw.position().offset);
        }
    }
    Ok(newest)
}
