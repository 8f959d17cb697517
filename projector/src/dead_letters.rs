//! Events that are in the log and not in the rows: set aside, so that one that cannot be folded holds up no other.
//!
//! Only what is the event's own fault is set aside: a record that is no event of ours, or one whose data Postgres
//! refuses. It is written down in the transaction that writes its neighbours and the position after them, so that it
//! neither blocks nor vanishes, and can be folded again at any time: order does not matter.
//!
//! - [`DeadLetter`]: what is written down of one
//! - `bisect`: the transaction that finds those of a batch
//! - `limit`: how many are taken for the events' own fault
//! - [`list()`], [`redrive`](redrive()): what people ask of them

pub(crate) mod bisect;
mod limit;
mod list;
mod redrive;

use std::borrow::Cow;

use schema::{Event, IntegrationId, LogId, Micros, OrganizationId, TYPE_PREFIX};
use stream::{Position, RawRecord, Undecodable};
use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

pub(crate) use limit::Limit;
pub use list::{SetAside, list, record};
pub use redrive::{Redriven, redrive};

/// Why an event made no rows: metric label, log field, column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// It is no event of ours, or one that says what no event of its type can.
    Undecodable,
    /// Postgres cannot hold what it says.
    RefusedData,
    /// A named constraint of a table forbids what it says.
    RefusedConstraint,
}

/// Records that are kept are not longer than this, in bytes of key, headers and value: as long as the longest delivery
/// by default. Of a longer one only the position is kept.
const MOST_KEPT: usize = 256 * 1024;

/// The longest explanation, in characters.
const MOST_EXPLAINED: usize = 500;

/// A record that makes no rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeadLetter {
    pub(crate) position: Position,
    pub(crate) reason: Reason,
    /// What a person needs to know.
    pub(crate) detail: String,
    pub(crate) sqlstate: Option<String>,
    pub(crate) said: Said,
    /// The record as it is; none if it is too long to be kept twice.
    pub(crate) record: Option<RawRecord>,
}

/// What is known of an event, as far as its record says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) integration: Option<IntegrationId>,
    pub(crate) recorded_at: Option<Micros>,
}

impl DeadLetter {
    /// A record that is no event of ours.
    pub(crate) fn undecodable(position: Position, undecodable: &Undecodable) -> Self {
        Self {
            position,
            reason: Reason::Undecodable,
            detail: explained(&undecodable.reason),
            sqlstate: None,
            said: Said::by(&undecodable.record),
            record: kept(&undecodable.record),
        }
    }

    /// An event that Postgres refuses for its own fault.
    pub(crate) fn refused(position: Position, event: &Event, log: &LogId, error: &sqlx::Error) -> Self {
        let (reason, detail, sqlstate) = refusal(error);
        let record = schema::encode(event, log).ok().map(|record| RawRecord {
            key: Some(record.key.into_bytes()),
            headers: record
                .headers
                .into_iter()
                .map(|(name, value)| (name.into_owned(), Some(value.into_bytes())))
                .collect(),
            value: Some(record.value),
        });
        Self {
            position,
            reason,
            detail,
            sqlstate,
            said: Said {
                id: Some(event.id.0),
                name: Some(event.body.versioned_name()),
                subject: Some(event.subject.to_string()),
                organization: Some(event.organization).filter(|organization| !organization.0.is_nil()),
                integration: event.integration,
                recorded_at: Some(event.recorded_at),
            },
            record: record.as_ref().and_then(kept),
        }
    }

    /// What it is called in a log line.
    pub(crate) fn name(&self) -> String {
        let id = self
            .said
            .id
            .map_or_else(|| "no event of ours".to_owned(), |id| id.to_string());
        format!("{} ({id})", self.position)
    }
}

/// What Postgres refuses: why, in words for people, by which SQLSTATE.
pub(crate) fn refusal(error: &sqlx::Error) -> (Reason, String, Option<String>) {
    let Some(error) = error.as_database_error() else {
        return (Reason::RefusedData, explained(&error.to_string()), None);
    };
    let reason = if error.constraint().is_some() {
        Reason::RefusedConstraint
    } else {
        Reason::RefusedData
    };
    let sqlstate = error.code().map(Cow::into_owned);
    (reason, explained(error.message()), sqlstate)
}

impl Said {
    /// What the headers say, where they are of the form that ours have.
    fn by(record: &RawRecord) -> Self {
        let text = |name: &str| {
            let named = record.headers.iter().rev().find(|(header, _)| header == name);
            let value = named.and_then(|(_, value)| value.as_deref());
            value.and_then(|value| std::str::from_utf8(value).ok())
        };
        let name = text("ce_type").map(|kind| kind.strip_prefix(TYPE_PREFIX).unwrap_or(kind));
        Self {
            id: text("ce_id").and_then(|text| text.parse().ok()),
            name: name.map(explained),
            subject: text("ce_subject").map(explained),
            organization: text("ce_organization").and_then(|text| text.parse().ok()),
            integration: text("ce_integration").and_then(|text| text.parse().ok()),
            recorded_at: text("ce_recordedtime").and_then(|text| text.parse().ok()),
        }
    }
}

/// A text that Postgres takes, of bounded length.
fn explained(text: &str) -> String {
    let storable = text
        .chars()
        .map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c });
    storable.take(MOST_EXPLAINED).collect()
}

/// A record, if it is short enough to be kept twice.
fn kept(record: &RawRecord) -> Option<RawRecord> {
    let n_bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + n_bytes(value));
    let all = n_bytes(&record.key) + headers.sum::<usize>() + n_bytes(&record.value);
    (all <= MOST_KEPT).then(|| record.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&str, &[u8])], n_bytes: usize) -> RawRecord {
        let header = |(name, value): &(&str, &[u8])| ((*name).to_owned(), Some(value.to_vec()));
        RawRecord {
            key: None,
            headers: headers.iter().map(header).collect(),
            value: Some(vec![b'x'; n_bytes]),
        }
    }

    fn letter(record: RawRecord) -> DeadLetter {
        let position = Position {
            topic: schema::Topic::Events,
            partition: 1,
            offset: 7,
        };
        let undecodable = Undecodable {
            reason: "a\0b".repeat(1_000),
            record: Box::new(record),
        };
        DeadLetter::undecodable(position, &undecodable)
    }

    #[test]
    fn what_a_record_says_of_itself_is_kept_as_far_as_it_can_be_read() {
        let id = "0193f3a4-0000-7000-8000-000000000001";
        let letter = letter(record(
            &[
                ("ce_id", b"something else"),
                ("ce_id", id.as_bytes()),
                ("ce_type", b"io.fleetlog.device.edited.v1"),
                ("ce_subject", b"\xff"),
                ("ce_integration", id.as_bytes()),
                ("ce_recordedtime", b"yesterday"),
            ],
            3,
        ));
        let said = &letter.said;
        assert_eq!(said.id.map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!(said.name.as_deref(), Some("device.edited.v1"));
        assert_eq!(said.integration.map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!((&said.subject, said.recorded_at), (&None, None));
        assert!(letter.record.is_some());
        assert!(letter.name().starts_with("device-events.v1/1@7 (0193"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let letter = letter(record(&[], MOST_KEPT + 1));
        assert_eq!(letter.record, None);
        assert_eq!(letter.detail.chars().count(), MOST_EXPLAINED);
        assert!(!letter.detail.contains('\0'));
    }
}
