//! Copying records into another log: same topic, partition, key, value and time, another log's id.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use schema::{LogId, Topic};

use crate::{AppendError, KafkaFault, LogConfig, LogIdentity, Outage, Position, Raw, client::Watch};

/// The header that says where a record was copied from: `{log id}@{offset}`, of the same topic and partition.
pub const COPIED_FROM: &str = "x-copied-from";

/// How long Kafka may take to acknowledge a record, or to delete some.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Copies records into a log.
#[derive(Clone)]
pub struct Copier {
    config: LogConfig,
    source: LogId,
    log: LogIdentity,
    producer: FutureProducer<Watch>,
}

impl Copier {
    /// Connects to a log whose topics have been checked. What is copied is of the log `source`.
    pub fn to_log(config: &LogConfig, log: &LogIdentity, source: &LogId) -> Result<Self, KafkaFault> {
        let watch = Watch {
            client: "copier",
            pulse: Arc::default(),
        };
        Ok(Self {
            config: config.clone(),
            source: source.clone(),
            log: log.clone(),
            producer: config.copying(TIMEOUT).create_with_context(watch)?,
        })
    }

    /// Resolves once every in-sync replica holds all of them, in the order given. If it fails, any of them may be there.
    pub async fn copy(&self, raws: &[Raw<'_>]) -> Result<(), AppendError> {
        let mut sent = Vec::with_capacity(raws.len());
        for raw in raws {
            let position = raw.position();
            let name = self.config.topic(position.topic);
            let from = format!("{}@{}", self.source, position.offset);
            let mut record = FutureRecord::<[u8], [u8]>::to(&name)
                .partition(position.partition)
                .headers(self.headers(raw, &from));
            record.key = raw.key();
            record.payload = raw.value();
            record.timestamp = raw.timestamp();
            let n_bytes = raw.key().map_or(0, <[u8]>::len) + raw.value().map_or(0, <[u8]>::len);
            let delivery = self
                .producer
                .send_result(record)
                .map_err(|(error, _)| AppendError::refused(error, n_bytes))?;
            sent.push(async move {
                match tokio::time::timeout(TIMEOUT, delivery).await {
                    Ok(Ok(Ok(_))) => Ok(()),
                    Ok(Ok(Err((error, _)))) => Err(AppendError::refused(error, n_bytes)),
                    Ok(Err(_)) => Err(AppendError::Unavailable(Outage::Refused(KafkaFault::NoThread))),
                    Err(_) => Err(AppendError::Unavailable(Outage::Late(TIMEOUT))),
                }
            });
        }
        try_join_all(sent).await.map(drop)
    }

    fn headers(&self, raw: &Raw<'_>, from: &str) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new();
        for (name, value) in raw.headers().filter(|(name, _)| *name != COPIED_FROM) {
            let value = if name == "ce_logid" {
                Some(self.log.log_id.as_str().as_bytes())
            } else {
                value
            };
            headers = headers.insert(Header { key: name, value });
        }
        headers.insert(Header {
            key: COPIED_FROM,
            value: Some(from.as_bytes()),
        })
    }

    /// Lets a partition that holds nothing yet begin after its first offset, as one does whose first records are gone.
    pub async fn cut(&self, topic: Topic, partition: i32) -> Result<(), AppendError> {
        let name = self.config.topic(topic);
        let filler = FutureRecord::<(), ()>::to(&name).partition(partition);
        let refused = |error| AppendError::refused(error, 0);
        self.producer
            .send(filler, TIMEOUT)
            .await
            .map_err(|(error, _)| refused(error))?;
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(&name, partition, Offset::Offset(1))
            .map_err(refused)?;
        let admin: AdminClient<Watch> = self
            .config
            .asking()
            .create_with_context(Watch::unheard())
            .map_err(refused)?;
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let deleted = admin.delete_records(&before, &options).await.map_err(refused)?;
        for element in deleted.elements() {
            element.error().map_err(refused)?;
        }
        Ok(())
    }
}

/// The position that a record was copied from, if it was copied from this log.
pub fn copied_from(raw: &Raw<'_>, source: &LogId) -> Option<Position> {
    let text = std::str::from_utf8(raw.header(COPIED_FROM)?).ok()?;
    let (log, offset) = text.split_once('@')?;
    (log == source.as_str()).then_some(())?;
    Some(Position {
        offset: offset.parse().ok()?,
        ..raw.position()
    })
}
