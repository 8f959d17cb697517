//! Records as they are, many in one piece of memory.

use rdkafka::{
    Timestamp,
    message::{BorrowedMessage, Headers as _, Message as _},
};

use crate::{
    LogIdentity, Position, RawRecord, Read, ReadError,
    read::{Parts, decode},
};

/// Records as they are, in order per partition. They share one buffer, so that a batch costs a handful of allocations
/// however many they are; decoding is left to whoever has a thread for it.
#[derive(Clone, Debug, Default)]
pub struct RawBatch {
    /// Keys, values, and values of headers, one after the other.
    bytes: Vec<u8>,
    records: Vec<Entry>,
    /// Names of headers, each once: records of one log have the same.
    names: Vec<String>,
    n_name_bytes: usize,
    /// Headers, by the number of their name.
    headers: Vec<(u32, Option<Span>)>,
    /// Where each partition that this batch concerns goes on after it.
    after: Vec<Position>,
}

/// A record, by where its parts are.
#[derive(Clone, Debug)]
struct Entry {
    position: Position,
    /// Milliseconds since 1970.
    timestamp: Option<i64>,
    key: Option<Span>,
    value: Option<Span>,
    /// The first header, and the one after the last.
    headers: (u32, u32),
}

/// A part of the bytes: where it begins, and where it is over. There is one for every value of a header, so they are
/// small.
#[derive(Clone, Copy, Debug)]
struct Span(u32, u32);

/// So many names are looked through; whoever writes more different ones pays with memory, not with time.
const SHARED_NAMES: usize = 64;

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    batch: &'a RawBatch,
    entry: &'a Entry,
}

impl RawBatch {
    pub(super) fn with_capacity(n_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_bytes),
            ..Self::default()
        }
    }

    /// How many records there are. None, if all that was read was passed over.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether all that was read was passed over.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What it takes in memory, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
            + self.records.len() * size_of::<Entry>()
            + self.headers.len() * size_of::<(u32, Option<Span>)>()
            + self.names.len() * size_of::<String>()
            + self.n_name_bytes
    }

    /// The records.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Raw<'_>> + DoubleEndedIterator {
        self.records.iter().map(|entry| Raw { batch: self, entry })
    }

    /// One of the records, by its number from 0.
    pub fn get(&self, number: usize) -> Option<Raw<'_>> {
        let entry = self.records.get(number)?;
        Some(Raw { batch: self, entry })
    }

    /// For each partition that this batch concerns: where it goes on after it, records passed over included.
    pub fn after(&self) -> &[Position] {
        &self.after
    }

    /// Decodes all. Pure, and most of the work of reading: worth a thread of its own.
    pub fn decode(&self, log: &LogIdentity) -> Result<Vec<Read>, ReadError> {
        self.iter().map(|raw| raw.decode(log)).collect()
    }

    pub(super) fn push(&mut self, position: Position, message: &BorrowedMessage<'_>) {
        let first_header = place(self.headers.len());
        let key = message.key().map(|key| self.keep(key));
        let value = message.payload().map(|value| self.keep(value));
        let mut last = None;
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            let name = self.name(header.key, last);
            last = Some(name);
            let value = header.value.map(|value| self.keep(value));
            self.headers.push((name, value));
        }
        let timestamp = match message.timestamp() {
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => Some(millis),
            Timestamp::NotAvailable => None,
        };
        self.records.push(Entry {
            position,
            timestamp,
            key,
            value,
            headers: (first_header, place(self.headers.len())),
        });
    }

    /// A partition was read up to here.
    pub(super) fn reach(&mut self, next: Position) {
        let of_place = |held: &&mut Position| (held.topic, held.partition) == (next.topic, next.partition);
        match self.after.iter_mut().find(of_place) {
            Some(held) => *held = next,
            None => self.after.push(next),
        }
    }

    /// The number of a header's name. It most likely is the one after the name before it, as in the record before.
    fn name(&mut self, name: &str, last: Option<u32>) -> u32 {
        let likely = last.map_or(0, |last| last + 1);
        if self.names.get(likely as usize).is_some_and(|held| held == name) {
            return likely;
        }
        let mut known = self.names.iter().take(SHARED_NAMES);
        let number = known.position(|held| held == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.n_name_bytes += name.len();
            self.names.len() - 1
        });
        place(number)
    }

    fn keep(&mut self, part: &[u8]) -> Span {
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(part);
        Span(start, place(self.bytes.len()))
    }

    fn part(&self, Span(start, end): Span) -> &[u8] {
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// A place within a batch, which never grows to 4 GiB: it is handed over long before.
fn place(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl<'a> Raw<'a> {
    /// Where it was read.
    pub fn position(&self) -> Position {
        self.entry.position
    }

    /// When it was appended, in milliseconds since 1970, as far as Kafka knows.
    pub fn timestamp(&self) -> Option<i64> {
        self.entry.timestamp
    }

    /// The key, if any.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.entry.key.map(|key| self.batch.part(key))
    }

    /// The value; none is a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.entry.value.map(|value| self.batch.part(value))
    }

    /// Names and values of its headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone + use<'a> {
        let batch = self.batch;
        let (first, end) = self.entry.headers;
        let headers = batch.headers.get(first as usize..end as usize);
        let headers = headers.unwrap_or_default();
        headers.iter().map(|(name, value)| {
            let name = batch.names.get(*name as usize);
            let name = name.map(String::as_str).unwrap_or_default();
            (name, value.map(|value| batch.part(value)))
        })
    }

    /// The value of a header; of one that is repeated, the last.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let named = self
            .headers()
            .filter(|(held, value)| *held == name && value.is_some());
        named.last()?.1
    }

    /// A copy of its own.
    pub fn to_record(&self) -> RawRecord {
        RawRecord {
            key: self.key().map(<[u8]>::to_vec),
            headers: self
                .headers()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
            value: self.value().map(<[u8]>::to_vec),
        }
    }

    /// The event it is, or why it is none. Refuses a record of another log than `log`.
    pub fn decode(&self, log: &LogIdentity) -> Result<Read, ReadError> {
        let parts = Parts {
            position: self.position(),
            key: self.key(),
            headers: self.headers(),
            value: self.value(),
        };
        decode(&parts, &log.log_id)
    }
}
