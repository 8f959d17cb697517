//! Some provider devices and devices, and reading their events alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use schema::{DeviceId, Event, ProviderDevice, Topic};
use stream::{KeyFilter, LogIdentity, Position, Raw};
use tokio::sync::mpsc;

use super::{
    Plan, RebuildError,
    load::{Source, Take},
};
use crate::fold::rows::DeviceKey;

/// Events that are handed over at a time.
const CHUNK: usize = 1_000;

/// Memory for records that wait, in bytes.
const SCAN: usize = 8 * 1024 * 1024;

/// Of whom events are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subjects {
    pub(super) provider_devices: BTreeMap<DeviceKey, ProviderDevice>,
    pub(super) devices: BTreeSet<DeviceId>,
}

impl Subjects {
    /// Provider devices alone.
    pub(super) fn of_provider_devices(devices: &[ProviderDevice]) -> Self {
        let keyed = devices.iter().map(|device| (device.uuid(), device.clone()));
        Self {
            provider_devices: keyed.collect(),
            devices: BTreeSet::new(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.provider_devices.len() + self.devices.len()
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        let provider_devices = self.provider_devices.values().map(ToString::to_string);
        provider_devices.chain(self.devices.iter().map(ToString::to_string))
    }

    /// The partitions that their events are in.
    pub(super) fn partitions(&self, log: &LogIdentity) -> BTreeSet<i32> {
        self.texts()
            .map(|text| stream::partition_of(text.as_bytes(), log.partitions))
            .collect()
    }

    /// The keys of their events, and of the parts of their checkpoints, which are numbered.
    fn keys(&self) -> KeyFilter {
        let texts: HashSet<Vec<u8>> = self.texts().map(String::into_bytes).collect();
        Arc::new(move |key| texts.contains(key) || part_of(key).is_some_and(|whole| texts.contains(whole)))
    }

    fn has(&self, event: &Event) -> bool {
        let device = event.subject.device();
        let provider_device = event.subject.provider_device();
        device.is_some_and(|device| self.devices.contains(&device))
            || provider_device.is_some_and(|device| self.provider_devices.contains_key(&device.uuid()))
    }

    /// Reads all of their events that a plan reads, each partition in order, but for those that are set aside.
    pub(super) async fn read(
        &self,
        plan: &Plan,
        aside: &Arc<BTreeSet<Position>>,
        mut take: impl AsyncFnMut(Vec<(i32, Event)>) -> Result<(), RebuildError>,
    ) -> Result<(), RebuildError> {
        let partitions = self.partitions(&plan.identity);
        let keys = self.keys();
        let sources = Source::of(plan).into_iter();
        for source in sources.filter(|source| partitions.contains(&source.partition)) {
            let (out, mut chunks) = mpsc::channel(1);
            let (plan, keys, aside) = (plan.clone(), keys.clone(), aside.clone());
            let reading = tokio::task::spawn_blocking(move || {
                let mut relay = Relay {
                    log: plan.identity.clone(),
                    chunk: Vec::new(),
                    aside,
                    out,
                };
                source.read(&plan, SCAN, Some(&keys), &mut relay)
            });
            while let Some(mut chunk) = chunks.recv().await {
                chunk.retain(|(_, event)| self.has(event));
                take(chunk).await?;
            }
            match reading.await {
                Ok(read) => read?,
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return Err(RebuildError::Stopped),
                },
            }
        }
        Ok(())
    }
}

/// The key of which this is a numbered part.
fn part_of(key: &[u8]) -> Option<&[u8]> {
    let at = key.iter().rposition(|byte| *byte == b'#')?;
    let (whole, number) = key.split_at_checked(at)?;
    let number = number.get(1..)?;
    (!number.is_empty() && number.iter().all(u8::is_ascii_digit)).then_some(whole)
}

/// Hands events over, so many at a time.
struct Relay {
    log: LogIdentity,
    chunk: Vec<(i32, Event)>,
    aside: Arc<BTreeSet<Position>>,
    out: mpsc::Sender<Vec<(i32, Event)>>,
}

impl Relay {
    fn hand_over(&mut self) -> Result<(), RebuildError> {
        let chunk = std::mem::take(&mut self.chunk);
        let handed = self.out.blocking_send(chunk);
        // Whoever does not take it has an error of its own to tell of.
        handed.map_err(|_| RebuildError::Stopped)
    }
}

impl Take for Relay {
    type Error = RebuildError;

    fn record(&mut self, raw: Raw<'_>) -> Result<(), RebuildError> {
        if self.aside.contains(&raw.position()) {
            return Ok(());
        }
        let read = raw.decode(&self.log)?;
        match read.event {
            Ok(event) => self.chunk.push((read.position.partition, event)),
            // What a checkpoint says can be had from nowhere else; anything else is set aside by whoever reads all.
            Err(undecodable) if read.position.topic == Topic::Checkpoints => {
                return Err(RebuildError::Unfoldable {
                    position: read.position,
                    reason: undecodable.reason,
                });
            }
            Err(_) => {}
        }
        if self.chunk.len() >= CHUNK {
            self.hand_over()?;
        }
        Ok(())
    }

    fn batch_ends(&mut self, _n_offsets: u64) -> Result<(), RebuildError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.hand_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_part_belongs_to_its_key_and_a_number_sign_alone_says_nothing() {
        let whole =
            |key: &str| part_of(key.as_bytes()).map(|whole| String::from_utf8_lossy(whole).into_owned());
        assert_eq!(whole("i/id:a#2"), Some("i/id:a".to_owned()));
        assert_eq!(whole("i/id:a#b#2"), Some("i/id:a#b".to_owned()));
        for key in ["i/id:a", "i/id:a#", "i/id:a#x"] {
            assert_eq!(whole(key), None, "{key}");
        }
    }
}
