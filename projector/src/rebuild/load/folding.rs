//! Events folded one after the other into rows that leave as they come, within a bound of memory.
//!
//! Histories and facts leave after every batch. Registers stay, since the next event of the same device raises them
//! again, until the end; or until they take more than their share: then all of them leave ("spill") and are begun
//! anew. Rows of one key that left apart are joined in the tables, once all are there.
//!
//! An event that is timed by its receipt counts with the least `at` of its copies. Its first copy is folded as it is
//! and its `at` remembered, later copies count as of then. Should a later copy have a lesser one, or come after what
//! was remembered has left, two different `at` are written of one event: by that it is found afterwards, and all of its
//! provider device folded again.

use std::collections::btree_map::Entry;

use schema::{Event, ProviderDevice};
use stream::{LogIdentity, Raw};

use super::{poison::Aside, source::Take, weight};
use crate::{
    dead_letters::DeadLetter,
    fold::{Ignored, Truth, contributing_device, rows::DeviceKey},
    rebuild::{
        Progress, RebuildError,
        copy::{self, Gone, Into, Sheets},
        memory::Share,
    },
};

/// Rows being folded from one Kafka partition.
pub(super) struct Folding {
    log: LogIdentity,
    truth: Truth,
    sheets: Sheets,
    /// What may be taken before rows leave.
    share: Share,
    /// What the texts of rows that stay take at most.
    texts: usize,
    /// What those of rows take at most that leave with the batch.
    leaving: usize,
    progress: Progress,
    /// What `progress` was told to be held.
    told: i64,
    n_events: u64,
    n_spills: u64,
    aside: Aside,
}

/// Why folding ended early.
pub(super) enum Ended {
    /// It cannot go on.
    Failed(RebuildError),
    /// Nobody takes the rows any more.
    Gone,
}

impl From<Gone> for Ended {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl<E: std::convert::Into<RebuildError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What was folded.
pub(super) struct Folded {
    pub(super) events: u64,
    /// How often rows had to leave before their time.
    pub(super) spills: u64,
    /// Rows that left, by table.
    pub(super) rows: Vec<(&'static str, u64)>,
    /// Records that are no events of ours.
    pub(super) undecodable: Vec<DeadLetter>,
}

impl Folding {
    pub(super) fn new(
        log: &LogIdentity,
        share: Share,
        sheets: Sheets,
        aside: Aside,
        progress: &Progress,
    ) -> Self {
        Self {
            log: log.clone(),
            aside,
            truth: Truth::default(),
            sheets,
            share,
            texts: 0,
            leaving: 0,
            progress: progress.clone(),
            told: 0,
            n_events: 0,
            n_spills: 0,
        }
    }

    fn event(&mut self, partition: i32, mut event: Event) -> Result<(), Ended> {
        self.n_events += 1;
        let device = contributing_device(&event).filter(|_| event.receipt_timed);
        if let Some(device) = device.map(ProviderDevice::uuid) {
            self.remember(device, &mut event)?;
        }
        match self.truth.fold(partition, &event) {
            Err(Ignored::Checkpoint) => Err(Ended::Failed(RebuildError::UnreadableCheckpoint(
                event.partition_key(),
            ))),
            // What contributes nothing is no matter here: a projector counts it.
            Ok(()) | Err(Ignored::NotFolded | Ignored::Subject | Ignored::Unknown) => Ok(()),
        }
    }

    /// Remembers when an event happened that is timed by its receipt, and counts a later copy as of then.
    fn remember(&mut self, device: DeviceKey, event: &mut Event) -> Result<(), Gone> {
        match self.truth.receipt_timed.entry((device, event.id)) {
            Entry::Vacant(entry) => {
                entry.insert((event.organization, event.at));
            }
            Entry::Occupied(mut entry) => {
                let (organization, held) = entry.get_mut();
                if event.at < *held {
                    // It was folded with the later one: both are written, so that this shows.
                    let (key, organization, later) = ((device, event.id), *organization, *held);
                    *held = event.at;
                    self.sheets.add(Into::Table("receipt_timed"), |row| {
                        copy::receipt_timed(row, &key, organization, later);
                    })?;
                } else {
                    event.at = *held;
                }
            }
        }
        Ok(())
    }

    /// Makes room: facts leave, and registers too if they are what takes it.
    fn relieve(&mut self) -> Result<(), Gone> {
        self.let_facts_leave()?;
        self.texts = weight::texts(&self.truth);
        // Unless much is won, all rows would have to be walked again soon.
        if self.held() > self.share.rows / 4 * 3 {
            self.spill()?;
        }
        self.tell();
        Ok(())
    }

    /// Registers leave before their time.
    fn spill(&mut self) -> Result<(), Gone> {
        self.n_spills += 1;
        self.let_all_leave()
    }

    /// Histories and facts leave: later events have nothing to add to them.
    fn let_facts_leave(&mut self) -> Result<(), Gone> {
        let truth = &mut self.truth;
        let sheets = &mut self.sheets;
        for (key, row) in std::mem::take(&mut truth.readings) {
            let into = Into::history("readings", key.key.at);
            sheets.add(into, |to| copy::reading(to, &key, &row))?;
        }
        for (key, row) in std::mem::take(&mut truth.logs) {
            let into = Into::history("logs", key.key.at);
            sheets.add(into, |to| copy::log(to, &key, &row))?;
        }
        for (key, row) in std::mem::take(&mut truth.connections) {
            sheets.add(Into::Table("connections"), |to| copy::connection(to, &key, &row))?;
        }
        for (key, row) in std::mem::take(&mut truth.firmware) {
            sheets.add(Into::Table("firmware_reports"), |to| {
                copy::firmware(to, &key, &row);
            })?;
        }
        for (key, fact) in std::mem::take(&mut truth.registry) {
            sheets.add(Into::Table("registry_facts"), |to| {
                copy::registry_fact(to, &key, &fact);
            })?;
        }
        for (key, fact) in std::mem::take(&mut truth.local) {
            sheets.add(Into::Table("local_facts"), |to| copy::local_fact(to, &key, &fact))?;
        }
        for (key, row) in std::mem::take(&mut truth.edits) {
            sheets.add(Into::Table("field_edits"), |to| copy::edit(to, &key, &row))?;
        }
        self.leaving = 0;
        Ok(())
    }

    fn let_all_leave(&mut self) -> Result<(), Gone> {
        self.let_facts_leave()?;
        self.truth.keep_newest_shapes();
        let Truth {
            provider_devices,
            fields,
            activity,
            latest,
            answers,
            horizons,
            receipt_timed,
            listening,
            // They have left.
            connections: _,
            firmware: _,
            readings: _,
            logs: _,
            registry: _,
            local: _,
            edits: _,
            // What it remembers makes no difference.
            shapes: _,
        } = std::mem::take(&mut self.truth);
        let sheets = &mut self.sheets;
        for (key, row) in provider_devices {
            sheets.add(Into::Table("provider_devices"), |to| {
                copy::provider_device(to, key, &row);
            })?;
        }
        for (key, row) in fields {
            sheets.add(Into::Table("field_registers"), |to| copy::field(to, &key, &row))?;
        }
        for (key, row) in activity {
            sheets.add(Into::Table("activity"), |to| copy::activity(to, key, &row))?;
        }
        for (key, row) in latest {
            sheets.add(Into::Table("readings_latest"), |to| copy::latest(to, &key, &row))?;
        }
        for (key, row) in answers {
            sheets.add(Into::Table("edit_answers"), |to| copy::answer(to, &key, &row))?;
        }
        for (history, before) in horizons {
            sheets.add(Into::Table("horizons"), |to| copy::horizon(to, &history, before))?;
        }
        for (key, (organization, at)) in receipt_timed {
            sheets.add(Into::Table("receipt_timed"), |to| {
                copy::receipt_timed(to, &key, organization, at);
            })?;
        }
        for (key, row) in listening {
            sheets.add(Into::Table("listening"), |to| copy::listening(to, &key, &row))?;
        }
        self.texts = 0;
        Ok(())
    }

    /// All that is left leaves.
    pub(super) fn finish(mut self) -> Result<Folded, Ended> {
        self.let_all_leave()?;
        self.sheets.flush()?;
        self.tell();
        let n_rows = self.sheets.n_rows().iter();
        Ok(Folded {
            events: self.n_events,
            spills: self.n_spills,
            rows: n_rows.map(|(table, n_rows)| (*table, *n_rows)).collect(),
            undecodable: std::mem::take(&mut self.aside.undecodable),
        })
    }

    /// What rows take at most.
    fn held(&self) -> usize {
        weight::fixed(&self.truth) + self.texts + self.leaving
    }

    fn tell(&mut self) {
        let held = self.held() + self.sheets.waiting();
        self.tell_of(i64::try_from(held).unwrap_or(i64::MAX));
    }

    fn tell_of(&mut self, held: i64) {
        self.progress.hold(held - self.told);
        self.told = held;
    }
}

impl Take for Folding {
    type Error = Ended;

    fn record(&mut self, raw: Raw<'_>) -> Result<(), Ended> {
        if self.aside.has(raw.position()) {
            return Ok(());
        }
        let read = raw.decode(&self.log)?;
        let event = match read.event {
            Ok(event) => event,
            Err(undecodable) => return Ok(self.aside.set(read.position, &undecodable)?),
        };
        let key = raw.key().unwrap_or_default();
        let (stay, leave) = weight::texts_of(&event, key.len(), raw.value().unwrap_or_default());
        self.event(read.position.partition, event)?;
        self.texts += stay;
        self.leaving += leave;
        if self.held() > self.share.rows {
            self.relieve()?;
        }
        Ok(())
    }

    fn batch_ends(&mut self, n_offsets: u64) -> Result<(), Ended> {
        self.let_facts_leave()?;
        if self.share.is_crowded(self.held()) {
            self.spill()?;
        }
        self.progress.add(n_offsets);
        self.tell();
        Ok(())
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.tell_of(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::{
        strategy::{Strategy as _, ValueTree as _},
        test_runner::TestRunner,
    };
    use schema::arbitrary::World;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        generations::{TRUTH, columns_of},
        rebuild::copy::Sheet,
    };

    fn folding(share: usize) -> (Folding, mpsc::Receiver<Sheet>, Progress) {
        let (out, sheets) = mpsc::channel(10_000);
        let log = LogIdentity {
            log_id: schema::LogId::random(),
            partitions: 1,
        };
        let progress = Progress::default();
        let folding = Folding::new(
            &log,
            Share::of_rows(share),
            Sheets::new(out, 1024 * 1024),
            Aside::default(),
            &progress,
        );
        (folding, sheets, progress)
    }

    fn some_events(world: &World, n: usize) -> Vec<Event> {
        let mut runner = TestRunner::deterministic();
        let event = world.event();
        let some = std::iter::repeat_with(|| event.new_tree(&mut runner).expect("an event").current());
        // Checkpoints are written by us alone, and what is none of ours ends a load.
        some.filter(|event| event.topic() != schema::Topic::Checkpoints)
            .take(n)
            .collect()
    }

    fn taken(mut sheets: mpsc::Receiver<Sheet>) -> Vec<Sheet> {
        std::iter::from_fn(|| sheets.try_recv().ok()).collect()
    }

    #[test]
    fn every_column_of_every_table_is_written() {
        let (mut folding, sheets, _) = folding(usize::MAX);
        for mut event in some_events(&World::small(), 3_000) {
            if let schema::Body::HorizonAdvanced(body) = &mut event.body {
                "readings".clone_into(&mut body.history);
            }
            assert!(folding.event(0, event).is_ok());
        }
        assert!(folding.finish().is_ok());
        let mut written: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for sheet in taken(sheets) {
            let columns = sheet.columns().iter().copied();
            written.entry(sheet.into.table()).or_default().extend(columns);
        }
        let mut there: BTreeMap<&str, BTreeSet<&str>> = columns_of(TRUTH)
            .into_iter()
            .map(|(table, columns)| (table, columns.into_iter().collect()))
            .collect();
        for derived in ["links", "devices", "device_anchor"] {
            there.remove(derived);
        }
        assert_eq!(written, there);
    }

    #[test]
    fn an_event_that_turns_out_to_be_earlier_is_written_with_both_times() {
        let (mut folding, sheets, _) = folding(usize::MAX);
        let world = World::small();
        let events = some_events(&world, 500);
        let event = events
            .iter()
            .find(|event| event.receipt_timed && contributing_device(event).is_some());
        let first = event.expect("one in many").clone();
        let earlier = Event {
            at: first.at.minus(std::time::Duration::from_secs(1)),
            ..first.clone()
        };
        let key = contributing_device(&first).map(|device| (device.uuid(), first.id));
        for event in [first.clone(), earlier.clone(), first] {
            assert!(folding.event(0, event).is_ok());
        }
        let held = folding.truth.receipt_timed.get(&key.expect("it contributes"));
        assert_eq!(held, Some(&(earlier.organization, earlier.at)));
        assert!(folding.finish().is_ok());
        let sheets = taken(sheets).into_iter();
        let written = sheets.filter(|sheet| sheet.into == Into::Table("receipt_timed"));
        assert_eq!(written.map(|sheet| sheet.n_rows()).sum::<u64>(), 2);
    }

    #[test]
    fn what_is_held_stays_within_the_share_and_is_given_back() {
        let share = 64 * 1024;
        let (mut folding, sheets, progress) = folding(share);
        let mut most = 0;
        for event in some_events(&World::wide(), 2_000) {
            let record = schema::encode(&event, &folding.log.log_id);
            let value = record.map(|record| record.value).unwrap_or_default();
            let (stay, leave) = weight::texts_of(&event, 256, &value);
            assert!(folding.event(0, event).is_ok());
            folding.texts += stay;
            folding.leaving += leave;
            if folding.held() > share {
                assert!(folding.relieve().is_ok());
            }
            most = most.max(weight::fixed(&folding.truth) + weight::texts(&folding.truth));
            folding.tell();
        }
        assert!(most <= share, "{most}");
        assert!(folding.n_spills > 3);
        assert!(progress.snapshot().memory > 0);
        assert!(folding.finish().is_ok());
        assert_eq!(progress.snapshot().memory, 0);
        drop(sheets);
    }
}
