//! Metrics of the log. `client` is `appender`, `reader` or `tail`; `topic` is the name without its prefix.

use metrics::{Unit, describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};

/// Counter, appends. Labels: `topic`; `outcome`: `appended`, `too_large`, `queue_full`, `late` (no answer in time),
/// `refused` (by client or broker), `unwritable`.
pub const APPENDS: &str = "fleetlog_log_appends_total";

/// Histogram, seconds until every in-sync replica held the record, or until the append was given up. Label: `topic`.
pub const APPEND_SECONDS: &str = "fleetlog_log_append_seconds";

/// Counter, times a fatal error made a new producer necessary.
pub const PRODUCER_REBUILDS: &str = "fleetlog_log_producer_rebuilds_total";

/// Gauge, records waiting to be sent or acknowledged. Label: `client`.
pub const QUEUE_RECORDS: &str = "fleetlog_log_queue_records";

/// Gauge, bytes of the records waiting to be sent or acknowledged. Label: `client`.
pub const QUEUE_BYTES: &str = "fleetlog_log_queue_bytes";

/// Gauge: 1 if there is a connection to the broker, else 0. Labels: `client`, `broker` (its id).
pub const BROKER_UP: &str = "fleetlog_log_broker_up";

/// Gauge, seconds between request and response of late. Labels: `client`, `broker`, `quantile`: `0.5`, `0.99`.
pub const BROKER_RTT_SECONDS: &str = "fleetlog_log_broker_rtt_seconds";

/// Gauge, seconds that records waited in the client before they were sent, 99th percentile. Labels: `client`, `broker`.
pub const BROKER_QUEUE_SECONDS: &str = "fleetlog_log_broker_queue_seconds";

/// Gauge, requests waiting to be sent. Labels: `client`, `broker`.
pub const BROKER_OUTBUF_REQUESTS: &str = "fleetlog_log_broker_outbuf_requests";

/// Gauge, requests waiting for their response. Labels: `client`, `broker`.
pub const BROKER_INFLIGHT_REQUESTS: &str = "fleetlog_log_broker_inflight_requests";

/// Counter, requests that could not be sent. Labels: `client`, `broker`.
pub const BROKER_TX_ERRORS: &str = "fleetlog_log_broker_tx_errors_total";

/// Counter, responses that could not be read. Labels: `client`, `broker`.
pub const BROKER_RX_ERRORS: &str = "fleetlog_log_broker_rx_errors_total";

/// Counter, requests that had no response in time. Labels: `client`, `broker`.
pub const BROKER_TIMEOUTS: &str = "fleetlog_log_broker_request_timeouts_total";

/// Counter, records handed out by readers. Label: `topic`.
pub const RECORDS_READ: &str = "fleetlog_log_records_read_total";

/// Counter, records that are no event of ours. Label: `topic`.
pub const RECORDS_UNDECODABLE: &str = "fleetlog_log_records_undecodable_total";

/// Gauge, records between what was handed out and the end of the partition. Labels: `client`, `topic`, `partition`. Only
/// the process that owns the partition reports it.
pub const READER_LAG: &str = "fleetlog_log_reader_lag_records";

/// Gauge, bytes of records that were fetched but not yet handed out. Label: `client`.
pub const READER_BUFFER_BYTES: &str = "fleetlog_log_reader_buffer_bytes";

/// Counter, times partitions were assigned to a reader. Label: `client`.
pub const READER_ASSIGNMENTS: &str = "fleetlog_log_reader_assignments_total";

/// Tells the recorder what the metrics mean.
pub fn describe() {
    counter!(APPENDS, "Appends, by outcome");
    histogram!(
        APPEND_SECONDS,
        Unit::Seconds,
        "Time until an append was durable or given up"
    );
    counter!(
        PRODUCER_REBUILDS,
        "Times a fatal error made a new producer necessary"
    );
    gauge!(QUEUE_RECORDS, "Records waiting to be sent or acknowledged");
    gauge!(
        QUEUE_BYTES,
        Unit::Bytes,
        "Bytes of records waiting to be sent or acknowledged"
    );
    gauge!(BROKER_UP, "1 if there is a connection to the broker");
    gauge!(
        BROKER_RTT_SECONDS,
        Unit::Seconds,
        "Time between request and response"
    );
    gauge!(
        BROKER_QUEUE_SECONDS,
        Unit::Seconds,
        "Time that records waited in the client, 99th percentile"
    );
    gauge!(BROKER_OUTBUF_REQUESTS, "Requests waiting to be sent");
    gauge!(BROKER_INFLIGHT_REQUESTS, "Requests waiting for their response");
    counter!(BROKER_TX_ERRORS, "Requests that could not be sent");
    counter!(BROKER_RX_ERRORS, "Responses that could not be read");
    counter!(BROKER_TIMEOUTS, "Requests that had no response in time");
    counter!(RECORDS_READ, "Records handed out by readers");
    counter!(RECORDS_UNDECODABLE, "Records that are no event of ours");
    gauge!(
        READER_LAG,
        "Records between what was handed out and the end of the partition"
    );
    gauge!(
        READER_BUFFER_BYTES,
        Unit::Bytes,
        "Bytes of records fetched but not yet handed out"
    );
    counter!(READER_ASSIGNMENTS, "Times partitions were assigned to a reader");
}
