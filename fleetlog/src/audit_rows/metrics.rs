//! What an audit leaves for Prometheus: a file, since nobody can ask a process that has ended.

use std::fmt::Write as _;

use projector::rebuild::Audit;
use schema::Micros;

/// Gauge. Rows that an audit compared.
const ROWS: &str = "fleetlog_audit_rows";
/// Gauge. Label: `table`. Rows that an audit found not to be what the log says.
const DRIFT_ROWS: &str = "fleetlog_audit_drift_rows";
/// Gauge. Devices that an audit folded again.
const DEVICES: &str = "fleetlog_audit_devices";
/// Gauge, in seconds. Duration of an audit.
const DURATION_SECONDS: &str = "fleetlog_audit_duration_seconds";
/// Gauge, in seconds. When an audit ended, since 1970.
const END_TIMESTAMP_SECONDS: &str = "fleetlog_audit_end_timestamp_seconds";

/// The metrics of an audit in Prometheus' text format.
pub(super) fn text(audit: &Audit, seconds: f64, ended: Micros) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, String)]| {
        _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: String| [(String::new(), value)];
    gauge(ROWS, "Rows compared", &one(audit.n_rows().to_string()));
    let drift = audit.tables.iter().map(|table| {
        let label = format!("{{table=\"{}\"}}", table.table);
        (label, table.n_differing().to_string())
    });
    let drift: Vec<_> = drift.collect();
    gauge(DRIFT_ROWS, "Rows that are not what the log says", &drift);
    gauge(DEVICES, "Devices folded again", &one(audit.devices.to_string()));
    gauge(
        DURATION_SECONDS,
        "Duration of the audit",
        &one(format!("{seconds:.3}")),
    );
    let ended = ended.as_micros() / 1_000_000;
    gauge(
        END_TIMESTAMP_SECONDS,
        "When the audit ended",
        &one(ended.to_string()),
    );
    text
}

#[cfg(test)]
mod tests {
    use projector::rebuild::TableProof;

    use super::*;

    #[test]
    fn drift_is_counted_by_table() {
        let table = |table: &str, n_changed| TableProof {
            table: table.to_owned(),
            rows_live: 2,
            rows_new: 2,
            n_changed,
            ..TableProof::default()
        };
        let audit = Audit {
            generation: "gen_1".to_owned(),
            log: "0".to_owned(),
            devices: 1,
            provider_devices: 1,
            events: 3,
            seed: Some(1),
            readings_expired: false,
            tables: vec![table("devices", 0), table("activity", 1)],
            repaired: false,
        };
        let ended = "2026-01-02T03:04:05Z".parse().expect("an instant");
        let text = text(&audit, 0.5, ended);
        for line in [
            "fleetlog_audit_drift_rows{table=\"activity\"} 1",
            "fleetlog_audit_drift_rows{table=\"devices\"} 0",
            "fleetlog_audit_rows 4",
            "fleetlog_audit_end_timestamp_seconds 1767323045",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}: {text}");
        }
    }
}
