//! Metrics of the integration registry.

/// Gauge, seconds since the registry was last known to be what Postgres holds.
pub const REGISTRY_AGE: &str = "fleetlog_registry_age_seconds";

/// Gauge, integrations in the registry.
pub const REGISTRY_INTEGRATIONS: &str = "fleetlog_registry_integrations";

/// Gauge, credentials that cannot be unsealed: above 0, deliveries are answered 503. Someone must act.
pub const REGISTRY_UNREADABLE: &str = "fleetlog_registry_unreadable_credentials";

/// Counter, times the registry was loaded anew because something had changed.
pub const REGISTRY_RELOADS: &str = "fleetlog_registry_reloads_total";

/// Counter, times Postgres could not be asked whether something had changed, or what.
pub const REGISTRY_FAILURES: &str = "fleetlog_registry_failures_total";

/// Counter, look-ups of integration ids that the registry does not hold. Label `outcome`: `known` (it had just been
/// created), `unknown`, `remembered` (as unknown), `unavailable` (Postgres), `over_budget`.
pub const REGISTRY_LOOKUPS: &str = "fleetlog_registry_lookups_total";

/// Counter, deliveries that a credential verified. Label: `credential`. Shows which one is still in use.
pub const CREDENTIAL_USES: &str = "fleetlog_credential_uses_total";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        REGISTRY_AGE,
        "Seconds since the registry was last known to be current"
    );
    metrics::describe_gauge!(REGISTRY_INTEGRATIONS, "Integrations in the registry");
    metrics::describe_gauge!(REGISTRY_UNREADABLE, "Credentials that cannot be unsealed");
    metrics::describe_counter!(REGISTRY_RELOADS, "Times the registry was loaded anew");
    metrics::describe_counter!(REGISTRY_FAILURES, "Times Postgres could not be asked for changes");
    metrics::describe_counter!(
        REGISTRY_LOOKUPS,
        "Look-ups of ids that the registry does not hold, by outcome"
    );
    metrics::describe_counter!(CREDENTIAL_USES, "Deliveries verified, by credential");
}
