//! Every metric of the door.

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

/// Histogram, seconds from a request's head to its answer. Label `outcome`: `accepted`, or the precise reason of the
/// refusal.
pub(crate) const ANSWER_SECONDS: &str = "fleetlog_ingest_answer_seconds";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_counter!(EVENTS, "Events appended, by dialect and name");
    metrics::describe_counter!(REJECTED, "Requests refused, by precise reason");
    metrics::describe_counter!(DEAD_LETTERS, "Authentic deliveries kept raw, by reason");
    metrics::describe_counter!(CONTRADICTED, "Deliveries whose body contradicts their headers");
    metrics::describe_counter!(REPLAYABLE, "Events whose delivery could be replayed for ever");
    metrics::describe_gauge!(BYTES_IN_FLIGHT, "Bytes of bodies in flight");
    metrics::describe_histogram!(
        ANSWER_SECONDS,
        "Seconds from a request's head to its answer, by outcome"
    );
}
