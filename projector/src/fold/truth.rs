//! The truth tables, in memory: an element of the join.

use std::{
    collections::{
        BTreeMap,
        btree_map::Entry::{self, Occupied, Vacant},
    },
    sync::Arc,
};

use schema::{DeviceId, EventId, IntegrationId, Micros, OrderKey, OrganizationId, ProviderDevice};

use super::{
    latest, observed,
    rows::{
        ActivityRow, AnswerKey, AnswerRow, ConnectionKey, ConnectionRow, DeviceKey, EditKey, EditRow,
        FieldRow, FirmwareKey, FirmwareRow, HistoryKey, LastReport, LatestKey, LatestRow, ListeningRow,
        LocalFact, LogRow, ProviderDeviceRow, ReadingRow, RegistryFact, ReportedBy, Said,
    },
    shape::Shapes,
};

/// The rows that some events make. Joined with those of other events they are the rows of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Provider devices: every one that an event speaks of has a row. Looked up with every reading, so rows are kept
    /// apart from the keys, which then lie close together.
    pub provider_devices: BTreeMap<DeviceKey, Box<ProviderDeviceRow>>,
    /// Field registers by provider device and field.
    pub fields: BTreeMap<(DeviceKey, String), FieldRow>,
    /// Signs of life.
    pub activity: BTreeMap<DeviceKey, Box<ActivityRow>>,
    /// Connects and disconnects.
    pub connections: BTreeMap<ConnectionKey, ConnectionRow>,
    /// Firmware reports.
    pub firmware: BTreeMap<FirmwareKey, FirmwareRow>,
    /// Newest reading per path and shape.
    pub latest: BTreeMap<LatestKey, LatestRow>,
    /// All readings.
    pub readings: BTreeMap<HistoryKey, ReadingRow>,
    /// All log entries.
    pub logs: BTreeMap<HistoryKey, LogRow>,
    /// Events about provider devices.
    pub registry: BTreeMap<(DeviceKey, EventId), RegistryFact>,
    /// Events about devices of ours.
    pub local: BTreeMap<(DeviceId, EventId), LocalFact>,
    /// What people decided about fields.
    pub edits: BTreeMap<EditKey, EditRow>,
    /// What clouds answered.
    pub answers: BTreeMap<AnswerKey, AnswerRow>,
    /// Where histories were cut: the newest cut of each.
    pub horizons: BTreeMap<String, Micros>,
    /// The least `at` of events that are timed by their receipt.
    pub receipt_timed: BTreeMap<(DeviceKey, EventId), (OrganizationId, Micros)>,
    /// When integrations were last heard, by Kafka partition.
    pub listening: BTreeMap<(IntegrationId, i32), ListeningRow>,
    /// No table: shapes that were named before.
    pub(crate) shapes: Shapes,
}

/// Joins a row into a table.
fn joins<K: Ord, V>(entry: Entry<'_, K, V>, row: V, join: impl FnOnce(&mut V, V)) {
    match entry {
        Vacant(entry) => {
            entry.insert(row);
        }
        Occupied(mut entry) => join(entry.get_mut(), row),
    }
}

impl Truth {
    /// Joins the rows of other events.
    pub fn joins(&mut self, other: Self) {
        for (key, row) in other.provider_devices {
            joins(self.provider_devices.entry(key), row, |held, row| {
                held.joins(*row);
            });
        }
        for (key, row) in other.fields {
            self.join_field(key, row);
        }
        for (key, row) in other.activity {
            joins(self.activity.entry(key), row, |held, row| held.joins(*row));
        }
        for (key, row) in other.connections {
            self.join_connection(key, row);
        }
        for (key, row) in other.firmware {
            self.join_firmware(key, row);
        }
        for (key, row) in other.latest {
            joins(self.latest.entry(key), row, LatestRow::joins);
        }
        for (key, row) in other.readings {
            joins(self.readings.entry(key), row, |held, row| {
                held.said.recorded_at = held.said.recorded_at.min(row.said.recorded_at);
            });
        }
        for (key, row) in other.logs {
            joins(self.logs.entry(key), row, |held, row| {
                held.said.recorded_at = held.said.recorded_at.min(row.said.recorded_at);
            });
        }
        for (key, fact) in other.registry {
            joins(self.registry.entry(key), fact, |held, fact| held.joins(&fact));
        }
        for (key, fact) in other.local {
            self.join_local(key, fact);
        }
        for (key, row) in other.edits {
            self.join_edit(key, row);
        }
        for (key, row) in other.answers {
            self.join_answer(key, row);
        }
        for (history, before) in other.horizons {
            self.join_horizon(history, before);
        }
        for (key, (organization, at)) in other.receipt_timed {
            self.join_receipt_timed(key, organization, at);
        }
        for (key, row) in other.listening {
            self.join_listening(key, row);
        }
        self.keep_newest_shapes();
    }

    /// Drops latest readings that are not among the newest shapes of their path.
    pub(crate) fn keep_newest_shapes(&mut self) {
        latest::keep_newest(&mut self.latest);
    }

    /// The row of a provider device; made if it is the first to speak of it.
    pub(super) fn provider_device(
        &mut self,
        key: DeviceKey,
        organization: OrganizationId,
        device: &ProviderDevice,
    ) -> &mut ProviderDeviceRow {
        self.provider_devices
            .entry(key)
            .or_insert_with(|| Box::new(ProviderDeviceRow::new(organization, device.clone())))
    }

    /// The signs of life of a provider device.
    pub(super) fn activity(
        &mut self,
        key: DeviceKey,
        organization: OrganizationId,
        integration: IntegrationId,
    ) -> &mut ActivityRow {
        self.activity
            .entry(key)
            .or_insert_with(|| Box::new(ActivityRow::new(organization, integration)))
    }

    /// What is known of a provider device's signs of life.
    pub fn activity_of(&self, key: &DeviceKey) -> Option<&ActivityRow> {
        self.activity.get(key).map(Box::as_ref)
    }

    pub(super) fn join_field(&mut self, key: (DeviceKey, String), row: FieldRow) {
        joins(self.fields.entry(key), row, FieldRow::joins);
    }

    pub(super) fn join_connection(&mut self, key: ConnectionKey, row: ConnectionRow) {
        joins(self.connections.entry(key), row, ConnectionRow::joins);
    }

    pub(super) fn join_firmware(&mut self, key: FirmwareKey, row: FirmwareRow) {
        joins(self.firmware.entry(key), row, FirmwareRow::joins);
    }

    pub(super) fn join_local(&mut self, key: (DeviceId, EventId), fact: LocalFact) {
        joins(self.local.entry(key), fact, |held, fact| held.joins(&fact));
    }

    pub(super) fn join_edit(&mut self, key: EditKey, row: EditRow) {
        joins(self.edits.entry(key), row, |held, row| held.joins(&row));
    }

    pub(super) fn join_answer(&mut self, key: AnswerKey, row: AnswerRow) {
        joins(self.answers.entry(key), row, AnswerRow::joins);
    }

    pub(super) fn join_horizon(&mut self, history: String, before: Micros) {
        let held = self.horizons.entry(history).or_insert(before);
        *held = before.max(*held);
    }

    /// Drops what lies before the horizons: it is not part of the truth any more.
    pub(super) fn cut_histories(&mut self) {
        if let Some(before) = self.horizons.get("readings") {
            self.readings.retain(|key, _| key.key.at >= *before);
            let registry = &self.registry;
            self.receipt_timed
                .retain(|key, (_, at)| *at >= *before || registry.contains_key(key));
        }
        if let Some(before) = self.horizons.get("logs") {
            self.logs.retain(|key, _| key.key.at >= *before);
        }
    }

    pub(super) fn join_latest(&mut self, key: LatestKey, row: LatestRow) {
        joins(self.latest.entry(key), row, LatestRow::joins);
    }

    pub(super) fn join_receipt_timed(
        &mut self,
        key: (DeviceKey, EventId),
        organization: OrganizationId,
        at: Micros,
    ) {
        let (_, held) = self.receipt_timed.entry(key).or_insert((organization, at));
        *held = at.min(*held);
    }

    pub(super) fn join_listening(&mut self, key: (IntegrationId, i32), row: ListeningRow) {
        joins(self.listening.entry(key), row, |held, row| held.joins(&row));
    }

    /// Joins a reading: the history row, and what follows from it.
    pub(super) fn join_reading(&mut self, device: &ProviderDevice, key: HistoryKey, row: ReadingRow) {
        self.join_said(device, key, &row.said, ReportedBy::Reading);
        let latest = LatestKey {
            device: key.device,
            path: Arc::clone(&row.path),
            shape: row.shape,
        };
        let newest = LatestRow {
            organization: row.said.organization,
            key: key.key,
            recorded_at: row.said.recorded_at,
            payload: Arc::clone(&row.payload),
        };
        self.join_latest(latest, newest);
        joins(self.readings.entry(key), row, |held, row| {
            held.said.recorded_at = held.said.recorded_at.min(row.said.recorded_at);
        });
    }

    /// Joins a log entry: the history row, and what follows from it.
    pub(super) fn join_log(&mut self, device: &ProviderDevice, key: HistoryKey, row: LogRow) {
        self.join_said(device, key, &row.said, ReportedBy::Log);
        joins(self.logs.entry(key), row, |held, row| {
            held.said.recorded_at = held.said.recorded_at.min(row.said.recorded_at);
        });
    }

    /// Joins an earlier receipt of a reading or log entry that is here.
    pub(super) fn received(&mut self, device: &ProviderDevice, key: HistoryKey, recorded_at: Micros) {
        if let Some(mut row) = self.readings.get(&key).cloned() {
            row.said.recorded_at = recorded_at;
            self.join_reading(device, key, row);
        }
        if let Some(mut row) = self.logs.get(&key).cloned() {
            row.said.recorded_at = recorded_at;
            self.join_log(device, key, row);
        }
    }

    /// Joins the name alone that an event said, under the event's key.
    pub(super) fn named(&mut self, device: &ProviderDevice, event: OrderKey, said: &Said) {
        if let Some(name) = observed::name(device, said.device_name.as_deref()) {
            self.provider_device(device.uuid(), said.organization, device)
                .heard_name(event, said.recorded_at, &name);
        }
    }

    /// Joins what follows from a history row but its own kind: that the provider device exists, lives, has a name.
    pub(super) fn join_said(
        &mut self,
        device: &ProviderDevice,
        key: HistoryKey,
        said: &Said,
        by: ReportedBy,
    ) {
        let row = self.provider_device(key.device, said.organization, device);
        if let Some(at) = said.name_at
            && let Some(name) = observed::name(device, said.device_name.as_deref())
        {
            let event = OrderKey { at, ..key.key };
            row.heard_name(event, said.recorded_at, &name);
        }
        let report = LastReport {
            by,
            origin: said.origin,
        };
        self.activity(key.device, said.organization, device.integration)
            .last_report
            .join(key.key, report);
    }
}
