//! What reading gives: records as events, or why not.

use std::fmt;

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use schema::{Event, LogId, Topic};

use crate::{KafkaFault, Position};

/// A record as read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Where it was read.
    pub position: Position,
    /// What it says.
    pub event: Result<Event, Undecodable>,
}

/// A record that is no event of ours: its own fault, and no reason to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undecodable {
    /// What is wrong with it.
    pub reason: String,
    /// The record as it is.
    pub record: Box<RawRecord>,
}

/// A record as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// The key, if any.
    pub key: Option<Vec<u8>>,
    /// Header names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl fmt::Debug for RawRecord {
    /// Without contents: they are somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("RawRecord")
            .field("headers", &names)
            .field("n_bytes", &self.value.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

/// Why reading stopped. A reader that said so is done; what was handed out before stays valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A record of another log: a topic was deleted and made again, or copied into.
    #[error("{position} belongs to log {found}, not {expected}: its topic is not the one it was")]
    OtherLog {
        /// The record's place.
        position: Position,
        /// The log it belongs to.
        found: LogId,
        /// The log that is read.
        expected: LogId,
    },
    /// The log does not have the position reading was to go on from.
    #[error(
        "{wanted} is not in the log, which holds {beginning} to {end} there: it was cut, or its topic made again"
    )]
    OutOfRange {
        /// Where reading was to go on.
        wanted: Position,
        /// The first offset there is.
        beginning: i64,
        /// The offset after the last.
        end: i64,
    },
    /// A partition was assigned, but no position given to read it from.
    #[error("no position was given for partition {partition} of {}", topic.suffix())]
    NoPosition {
        /// Its topic.
        topic: Topic,
        /// The partition.
        partition: i32,
    },
    /// Partitions of the same number went to different owners.
    #[error("partitions of the same number go to different owners: a member of the group reads other topics")]
    Split,
    /// The Kafka client has forgotten every broker, and never asks anybody again: it takes a new one to read on.
    #[error(
        "the Kafka client has no broker left to ask, since one that had just come back said that there are none: \
         begin anew"
    )]
    CutOff,
    /// Kafka refuses for good.
    #[error("reading cannot go on: {0}")]
    Kafka(#[from] KafkaFault),
    /// Reading had ended before.
    #[error("reading has ended")]
    Ended,
}

/// A record's parts, wherever they are.
pub(crate) struct Parts<'a, H> {
    pub(crate) position: Position,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: H,
    pub(crate) value: Option<&'a [u8]>,
}

/// Reads a record of the log `expected`.
pub(crate) fn read(message: &BorrowedMessage<'_>, topic: Topic, expected: &LogId) -> Result<Read, ReadError> {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    // Each is looked up anew whenever it is asked for.
    let headers: Vec<_> = headers.map(|header| (header.key, header.value)).collect();
    let parts = Parts {
        position: Position {
            topic,
            partition: message.partition(),
            offset: message.offset(),
        },
        key: message.key(),
        headers: headers.iter().copied(),
        value: message.payload(),
    };
    decode(&parts, expected)
}

/// Decodes a record of the log `expected`.
pub(crate) fn decode<'a, H>(parts: &Parts<'a, H>, expected: &LogId) -> Result<Read, ReadError>
where
    H: Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
{
    let position = parts.position;
    let headers = || parts.headers.clone();
    let decoded = schema::decode(headers(), parts.value.unwrap_or_default());
    let found = match &decoded {
        Ok((log, _)) => (log != expected).then(|| log.clone()),
        Err(_) => log_of(headers()).filter(|log| log != expected),
    };
    if let Some(found) = found
        && !lost_opening(position, headers())
    {
        return Err(ReadError::OtherLog {
            position,
            found,
            expected: expected.clone(),
        });
    }
    let event = decoded.map(|(_, event)| event).map_err(|error| Undecodable {
        reason: error.to_string(),
        record: Box::new(RawRecord {
            key: parts.key.map(<[u8]>::to_vec),
            headers: headers()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
            value: parts.value.map(<[u8]>::to_vec),
        }),
    });
    Ok(Read { position, event })
}

/// The log a record says it belongs to.
pub(crate) fn log_of<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<LogId> {
    headers
        .filter(|(name, _)| *name == "ce_logid")
        .filter_map(|(_, value)| LogId::new(std::str::from_utf8(value?).ok()?).ok())
        .last()
}

/// Of two that open a log at the same moment, the first record of partition 0 wins; the other's is left behind it.
fn lost_opening<'a>(
    position: Position,
    mut headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> bool {
    position.partition == 0
        && position.offset > 0
        && headers.any(|(name, value)| name == "ce_type" && value == Some(b"io.fleetlog.log.opened.v1"))
}
