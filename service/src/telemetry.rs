//! Logs and metrics of the process.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
    thread,
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// What is logged unless told otherwise: the server's own start and stop lines only repeat ours.
pub const DEFAULT_FILTER: &str = "info,actix_server=warn";

/// Bounds of histograms in seconds: from a local call to a patient retry.
const SECONDS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Bounds of all other histograms, which count rows, events or bytes.
const AMOUNTS: [f64; 15] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6,
];

/// How often recorded samples are folded into their histograms; between scrapes they would pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The metrics of this process, ready to be shown.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

/// Why a role cannot report.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is malformed. The configuration is at fault.
    #[error("the log filter {filter:?} is malformed: {reason}")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The metrics could not be set up, e.g. since another recorder was installed first.
    #[error("the metrics recorder cannot be installed: {0}")]
    Recorder(String),
}

/// Sets up logs and metrics for a role. `filter` is in the syntax of `RUST_LOG`; [`DEFAULT_FILTER`] if absent.
///
/// Logs go to stderr, as text on a terminal and as JSON otherwise.
///
/// A process has one subscriber and one recorder, while tests and `fleetlog run` start many roles in it. So the
/// first call installs both and later calls hand out the same metrics; their filter is checked but not applied.
pub fn init(role: &str, filter: Option<&str>) -> Result<Metrics, TelemetryError> {
    static INSTALLED: OnceLock<Result<Metrics, TelemetryError>> = OnceLock::new();

    let filter = parse_filter(filter.unwrap_or(DEFAULT_FILTER))?;
    let metrics = INSTALLED
        .get_or_init(|| {
            install_subscriber(filter);
            install_recorder().map_err(TelemetryError::Recorder)
        })
        .clone()?;

    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!(crate::metrics::ROLE, "role" => role.to_owned(), "version" => version).set(1.0);
    tracing::info!(role, version, "starting {role}");
    Ok(metrics)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let malformed = |error: ParseError| TelemetryError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    };
    EnvFilter::try_new(filter).map_err(malformed)
}

fn install_subscriber(filter: EnvFilter) {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if io::stderr().is_terminal() {
        lines.boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let installed = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if let Err(error) = installed {
        // Whoever embeds us already listens: our lines reach their subscriber.
        tracing::debug!(%error, "logs go to the subscriber that was here first");
    }
}

fn install_recorder() -> Result<Metrics, String> {
    let build = || {
        PrometheusBuilder::new()
            .set_buckets(&AMOUNTS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .install_recorder()
    };
    let handle = build().map_err(|error| error.to_string())?;
    crate::metrics::describe();

    // Belongs to the recorder, not to a role, and like it lives as long as the process.
    let upkept = handle.clone();
    thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(UPKEEP_INTERVAL);
                upkept.run_upkeep();
            }
        })
        .map_err(|error| error.to_string())?;
    Ok(Metrics(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_roles_share_one_recorder() {
        let first = init("first", None).unwrap();
        let second = init("second", Some("warn,sqlx=error")).unwrap();
        metrics::counter!("fleetlog_test_total").increment(3);
        metrics::histogram!("fleetlog_test_seconds").record(0.003);

        for metrics in [first, second] {
            let text = metrics.render();
            assert!(text.contains("fleetlog_test_total 3"), "{text}");
            assert!(
                text.contains(r#"fleetlog_test_seconds_bucket{le="0.005"} 1"#),
                "{text}"
            );
            assert!(
                text.contains(r#"role="first""#) && text.contains(r#"role="second""#),
                "{text}"
            );
        }
    }

    #[test]
    fn a_malformed_filter_is_named() {
        let refused = init("role", Some("fleetlog=loud"))
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.contains("fleetlog=loud")));
    }
}
