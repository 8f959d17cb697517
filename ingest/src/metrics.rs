//! Every metric of the door.

use strum::IntoEnumIterator as _;

use crate::{
    dialect::UnreadReason,
    error::{Doubt, Rejection},
};

/// Counter, events appended. Labels: `dialect`, `event` (its name).
pub(crate) const EVENTS: &str = "fleetlog_ingest_events_total";

/// Counter, requests refused. Label: `reason`, the precise one, which senders that are not believed never see.
pub(crate) const REJECTED: &str = "fleetlog_ingest_rejected_total";

/// Counter, authentic deliveries or parts of them that were kept raw. Label: `reason`.
pub(crate) const DEAD_LETTERS: &str = "fleetlog_ingest_dead_letters_total";

/// Counter, deliveries whose body contradicts their headers; the headers win.
pub(crate) const CONTRADICTED: &str = "fleetlog_ingest_contradicted_total";

/// Counter, events that whoever has seen their delivery can repeat for ever.
pub(crate) const REPLAYABLE: &str = "fleetlog_ingest_replayable_total";

/// Gauge, bytes of bodies in flight. Label `state`: `unverified`, or `all`.
pub(crate) const BYTES_IN_FLIGHT: &str = "fleetlog_ingest_body_bytes_in_flight";

/// Gauge, connections that are open.
pub(crate) const CONNECTIONS: &str = "fleetlog_ingest_connections";

/// Counter, connections that ended before any request could be read: what the HTTP server refuses by itself, with 400,
/// 408 or 431, and connections on which nothing was asked.
pub(crate) const CONNECTIONS_WITHOUT_REQUEST: &str = "fleetlog_ingest_connections_without_request_total";

/// Histogram, seconds from a request's head to its answer. Label `outcome`: `accepted`, or the precise reason of the
/// refusal.
pub(crate) const ANSWER_SECONDS: &str = "fleetlog_ingest_answer_seconds";

/// Counter, records that were spooled because the log was away.
pub(crate) const SPOOLED: &str = "fleetlog_ingest_spooled_records_total";

/// Counter, spooled records that were moved to the log.
pub(crate) const DRAINED: &str = "fleetlog_ingest_spool_drained_records_total";

/// Counter, times the spool could not be written to and was closed until it could.
pub(crate) const SPOOL_FAILURES: &str = "fleetlog_ingest_spool_failures_total";

/// Counter, deliveries that found neither the log nor room in the spool, and were refused. Label `reason`: `full`,
/// `closed` (it could not be written to), `late` (the disk did not answer in time), `no_log` (which log it is was never
/// learnt).
pub(crate) const NOT_SPOOLED: &str = "fleetlog_ingest_not_spooled_total";

/// Gauge, records that wait in the spool for the log.
pub(crate) const SPOOL_RECORDS: &str = "fleetlog_ingest_spool_records";

/// Gauge, bytes of the records in the spool.
pub(crate) const SPOOL_BYTES: &str = "fleetlog_ingest_spool_bytes";

/// Gauge, seconds since the receipt of the oldest record that waits in the spool; 0 if none does.
pub(crate) const SPOOL_OLDEST: &str = "fleetlog_ingest_spool_oldest_seconds";

/// Gauge, spooled records that the log refused for their own fault: tried again at each start.
pub(crate) const SPOOL_REFUSED: &str = "fleetlog_ingest_spool_refused_records";

/// Gauge: 1 while deliveries are kept from the log because it is away.
pub(crate) const BREAKER_OPEN: &str = "fleetlog_ingest_breaker_open";

/// What `docs/alerts.yml` watches of refusals.
const WATCHED: [Rejection; 6] = [
    Rejection::LogUnavailable,
    Rejection::Busy,
    Rejection::RegistryUnavailable,
    Rejection::Unauthorized(Doubt::UnknownKey),
    Rejection::Unauthorized(Doubt::BadSignature),
    Rejection::Unauthorized(Doubt::ExpiredCredential),
];

/// Tells the recorder what the metrics mean, and shows those from the start whose first count wakes somebody: to
/// Prometheus a series that begins at 1 has not grown.
pub(crate) fn describe() {
    for reason in UnreadReason::iter() {
        let reason: &'static str = reason.into();
        metrics::counter!(DEAD_LETTERS, "reason" => reason).increment(0);
    }
    for rejection in WATCHED {
        metrics::counter!(REJECTED, "reason" => rejection.reason()).increment(0);
    }
    metrics::describe_counter!(EVENTS, "Events appended, by dialect and name");
    metrics::describe_counter!(REJECTED, "Requests refused, by precise reason");
    metrics::describe_counter!(DEAD_LETTERS, "Authentic deliveries kept raw, by reason");
    metrics::describe_counter!(CONTRADICTED, "Deliveries whose body contradicts their headers");
    metrics::describe_counter!(REPLAYABLE, "Events whose delivery could be replayed for ever");
    metrics::describe_gauge!(BYTES_IN_FLIGHT, "Bytes of bodies in flight");
    metrics::describe_gauge!(CONNECTIONS, "Connections that are open");
    metrics::describe_counter!(
        CONNECTIONS_WITHOUT_REQUEST,
        "Connections that ended before any request could be read"
    );
    metrics::describe_counter!(SPOOLED, "Records spooled because the log was away");
    metrics::describe_counter!(DRAINED, "Spooled records moved to the log");
    metrics::describe_counter!(SPOOL_FAILURES, "Times the spool could not be written to");
    metrics::describe_counter!(
        NOT_SPOOLED,
        "Deliveries refused because neither log nor spool took them"
    );
    metrics::describe_gauge!(SPOOL_RECORDS, "Records in the spool");
    metrics::describe_gauge!(SPOOL_BYTES, "Bytes of the records in the spool");
    metrics::describe_gauge!(
        SPOOL_OLDEST,
        "Seconds since the receipt of the oldest record in the spool"
    );
    metrics::describe_gauge!(
        SPOOL_REFUSED,
        "Spooled records that the log refused for their own fault"
    );
    metrics::describe_gauge!(
        BREAKER_OPEN,
        "1 while deliveries are kept from the log because it is away"
    );
    metrics::describe_histogram!(
        ANSWER_SECONDS,
        "Seconds from a request's head to its answer, by outcome"
    );
}
