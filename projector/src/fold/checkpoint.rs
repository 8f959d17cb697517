//! Checkpoints: what readings made of the registers, so that readings may expire.
//!
//! A checkpoint is an element of the same join as the readings it stands for: to fold both is harmless. It holds, per
//! provider device, the registers that readings and log entries contribute to, whatever else contributed to them too.
//!
//! One thing is beyond it: of an event that is timed by its receipt, a copy with an earlier receipt that is appended
//! after the checkpoint lowers the event, and what the event had hidden before may have expired with its readings. The
//! least receipts that were known are part of a checkpoint, so later copies change nothing.

use std::sync::Arc;

use schema::{
    Base64, CheckpointCompleted, CheckpointTaken, Event, EventId, Heard, IntegrationId, Micros, OrderKey,
    Origin, RawJson, Serial,
};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::{
    FOLD_VERSION, Ignored, Truth,
    rows::{
        ActivityRow, FirstName, LastReport, LatestKey, LatestRow, ListeningRow, Payload, ProviderDeviceRow,
        ReportedBy,
    },
};

/// Bytes of payloads in one part of a checkpoint: with all that surrounds them far less than a record may have.
const MAX_PART_BYTES: usize = 1024 * 1024;

/// Least receipts kept in a checkpoint: the newest. Copies of older events that come after their readings expired are
/// taken for new ones.
pub const MAX_RECEIPTS: usize = 1_024;

/// The registers of one provider device, or a part of them: joined, the parts are the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_name: Option<FirstNamed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_report: Option<Reported>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    latest: Vec<Latest>,
    /// Least `at` of events that are timed by their receipt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    receipts: Vec<(EventId, Micros)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    name: Option<Serial>,
    key: OrderKey,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FirstNamed {
    name: Serial,
    recorded_at: Micros,
    id: EventId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reported {
    by: String,
    origin: String,
    key: OrderKey,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Latest {
    path: String,
    shape: Uuid,
    key: OrderKey,
    recorded_at: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    data: Option<RawJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Base64>,
}

/// A reading of `null` is a reading.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RawJson>, D::Error> {
    RawJson::deserialize(deserializer).map(Some)
}

impl Registers {
    /// Those of a provider device, in as many parts as they need; at least one.
    pub fn of<'a>(
        device: &ProviderDeviceRow,
        activity: Option<&ActivityRow>,
        latest: impl IntoIterator<Item = (&'a LatestKey, &'a LatestRow)>,
        mut receipts: Vec<(EventId, Micros)>,
    ) -> Vec<Self> {
        receipts.sort_unstable_by_key(|(id, at)| (std::cmp::Reverse(*at), *id));
        receipts.truncate(MAX_RECEIPTS);
        let mut parts = Vec::new();
        let mut part = Self {
            name: device.name.held().map(|(key, name)| Named {
                name: name.clone(),
                key: *key,
            }),
            first_name: device.first_name.as_ref().map(FirstNamed::of),
            last_report: activity
                .and_then(|row| row.last_report.held())
                // What events report is in the log for ever.
                .filter(|(_, report)| matches!(report.by, ReportedBy::Reading | ReportedBy::Log))
                .map(|(key, report)| Reported::of(*key, *report)),
            latest: Vec::new(),
            receipts,
        };
        let mut n_bytes = 0;
        for (key, row) in latest {
            let latest = Latest::of(key, row);
            let size = latest.n_bytes();
            if n_bytes + size > MAX_PART_BYTES && !part.latest.is_empty() {
                parts.push(std::mem::take(&mut part));
                n_bytes = 0;
            }
            n_bytes += size;
            part.latest.push(latest);
        }
        parts.push(part);
        parts
    }

    /// As it travels.
    pub fn write(&self) -> Result<RawJson, serde_json::Error> {
        RawJson::from_slice(&serde_json::to_vec(self)?)
    }

    /// As it was written by this version, or by another with the same form.
    pub fn read(written: &RawJson) -> Result<Self, serde_json::Error> {
        serde_json::from_str(written.get())
    }
}

impl FirstNamed {
    fn of(first: &FirstName) -> Self {
        Self {
            name: first.name.clone(),
            recorded_at: first.recorded_at,
            id: first.id,
        }
    }
}

impl Reported {
    fn of(key: OrderKey, report: LastReport) -> Self {
        let by: &'static str = report.by.into();
        let origin: &'static str = report.origin.into();
        Self {
            by: by.to_owned(),
            origin: origin.to_owned(),
            key,
        }
    }

    fn read(&self) -> Option<LastReport> {
        Some(LastReport {
            by: self.by.parse::<ReportedBy>().ok()?,
            origin: self.origin.parse::<Origin>().ok()?,
        })
    }
}

impl Latest {
    fn of(key: &LatestKey, row: &LatestRow) -> Self {
        let payload = &row.payload;
        let data = payload.data.as_deref();
        Self {
            path: key.path.to_string(),
            shape: key.shape,
            key: row.key,
            recorded_at: row.recorded_at,
            content_type: payload.content_type.clone(),
            // What a table holds as JSON is JSON.
            data: data.and_then(|data| RawJson::parse(data).ok()),
            bytes: payload.bytes.clone().map(Base64),
        }
    }

    fn n_bytes(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| data.get().len());
        let bytes = self.bytes.as_ref().map_or(0, |bytes| bytes.0.len() * 4 / 3);
        self.path.len() + data + bytes + 256
    }
}

impl Truth {
    /// Joins the registers of a checkpoint.
    pub(super) fn checkpoint(&mut self, event: &Event, body: &CheckpointTaken) -> Result<(), Ignored> {
        let device = event.subject.provider_device().ok_or(Ignored::Subject)?;
        let registers = Registers::read(&body.registers).map_err(|_| Ignored::Checkpoint)?;
        let last_report = match &registers.last_report {
            Some(reported) => Some((reported.key, reported.read().ok_or(Ignored::Checkpoint)?)),
            None => None,
        };
        let (uuid, organization) = (device.uuid(), event.organization);
        let row = self.provider_device(uuid, organization, device);
        if let Some(Named { name, key }) = registers.name {
            row.name.join(key, name);
        }
        if let Some(FirstNamed {
            name,
            recorded_at,
            id,
        }) = registers.first_name
        {
            let first = FirstName {
                recorded_at,
                id,
                name,
            };
            row.first_name = Some(
                row.first_name
                    .take()
                    .map_or(first.clone(), |held| held.min(first)),
            );
        }
        if let Some((key, report)) = last_report {
            self.activity(uuid, organization, device.integration)
                .last_report
                .join(key, report);
        }
        for latest in registers.latest {
            let key = LatestKey {
                device: uuid,
                path: latest.path.into(),
                shape: latest.shape,
            };
            let row = LatestRow {
                organization,
                key: latest.key,
                recorded_at: latest.recorded_at,
                payload: Arc::new(Payload {
                    content_type: latest.content_type,
                    data: latest.data.map(|data| data.get().to_owned()),
                    bytes: latest.bytes.map(|bytes| bytes.0),
                }),
            };
            self.join_latest(key, row);
        }
        for (id, at) in registers.receipts {
            self.join_receipt_timed((uuid, id), organization, at);
        }
        Ok(())
    }

    /// Joins what the readings of a partition said of when integrations were heard.
    pub(super) fn checkpoint_completed(&mut self, body: &CheckpointCompleted) {
        for heard in &body.listening {
            let row = ListeningRow {
                organization: heard.organization,
                last_push_at: heard.last_push_at,
                last_scan_at: heard.last_scan_at,
            };
            self.join_listening((heard.integration, body.partition), row);
        }
    }
}

/// When an integration was heard, as a checkpoint tells it.
pub fn heard(integration: IntegrationId, row: &ListeningRow) -> Heard {
    Heard {
        integration,
        organization: row.organization,
        last_push_at: row.last_push_at,
        last_scan_at: row.last_scan_at,
    }
}

/// One part of a checkpoint, as it travels.
pub fn taken(
    device: &schema::ProviderDevice,
    part: u32,
    registers: &Registers,
) -> Result<CheckpointTaken, serde_json::Error> {
    Ok(CheckpointTaken {
        provider_device: device.clone(),
        registers: registers.write()?,
        fold_version: FOLD_VERSION,
        part,
        extra: schema::Extra::new(),
    })
}
