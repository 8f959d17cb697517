//! Metrics that every role emits.

/// Gauge, always 1. Labels: `role`, `version`. Says which roles a process runs.
pub const ROLE: &str = "fleetlog_role";

/// Gauge: 1 if the readiness check passes, degraded or not, else 0. Label: `check`.
pub const CHECK_OK: &str = "fleetlog_health_check_ok";

/// Gauge: 1 if the readiness check passes with a reservation, else 0. Label: `check`.
pub const CHECK_DEGRADED: &str = "fleetlog_health_check_degraded";

/// Counter, spans by what became of them; all but `exported` are lost. Label `outcome`: `exported`, `failed` (the
/// collector was away, or refused them), `rejected` (it took others of the same request), `queue_full` (more were made
/// than sent).
pub const TRACES_SPANS: &str = "fleetlog_traces_spans_total";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_gauge!(ROLE, "A role that runs in this process; always 1");
    metrics::describe_gauge!(CHECK_OK, "1 if the readiness check passes, degraded or not");
    metrics::describe_gauge!(
        CHECK_DEGRADED,
        "1 if the readiness check passes with a reservation"
    );
    metrics::describe_counter!(TRACES_SPANS, "Spans, by what became of them");
}
