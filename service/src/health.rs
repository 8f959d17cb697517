//! How a role is: alive, and ready for work or not, and why.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::Serialize;

/// The health of a role. Copies share it: each part of a role reports its own checks.
///
/// A role is alive as long as it answers. It is ready when every check passes, degraded or not.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<BTreeMap<&'static str, Source>>>);

/// Where the state of a check comes from.
enum Source {
    /// It was reported.
    Told(Check),
    /// It is found out when asked.
    Asked(Arc<dyn Fn() -> Check + Send + Sync>),
}

/// The state of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
    detail: String,
}

impl Check {
    /// All is well. The detail says what was found.
    pub fn passing(detail: impl Into<String>) -> Self {
        Self {
            ok: true,
            degraded: false,
            detail: detail.into(),
        }
    }

    /// Ready for work, with a reservation that a person should know of.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self {
            ok: true,
            degraded: true,
            detail: detail.into(),
        }
    }

    /// Not ready for work. The detail says what is being waited for.
    pub fn failing(detail: impl Into<String>) -> Self {
        Self {
            ok: false,
            degraded: false,
            detail: detail.into(),
        }
    }

    /// What several parts of a role report of the same check, as one: as bad as the worst of them.
    pub fn of_all(checks: impl IntoIterator<Item = Self>) -> Self {
        let checks: Vec<Self> = checks.into_iter().collect();
        let mut details: Vec<(&str, usize)> = Vec::new();
        for check in &checks {
            match details.iter_mut().find(|(detail, _)| *detail == check.detail) {
                Some((_, n)) => *n += 1,
                None => details.push((&check.detail, 1)),
            }
        }
        let told = |(detail, n): (&str, usize)| {
            if n == 1 {
                detail.to_owned()
            } else {
                format!("{detail} (each of {n})")
            }
        };
        let details: Vec<String> = details.into_iter().map(told).collect();
        Self {
            ok: checks.iter().all(|check| check.ok),
            degraded: checks.iter().any(|check| check.degraded),
            detail: details.join("; "),
        }
    }

    /// Whether it stands in the way of being ready.
    pub fn ok(&self) -> bool {
        self.ok
    }

    /// What a person reads.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// All checks at one moment.
#[derive(Debug, Serialize)]
pub struct Readiness {
    status: &'static str,
    checks: BTreeMap<&'static str, Check>,
}

impl Readiness {
    /// Whether every check passes.
    pub fn ready(&self) -> bool {
        self.checks.values().all(Check::ok)
    }

    /// The checks by name.
    pub fn checks(&self) -> &BTreeMap<&'static str, Check> {
        &self.checks
    }
}

impl Health {
    /// Health with checks that fail until they are first reported, so that a role is not ready too early.
    pub fn expecting(checks: impl IntoIterator<Item = &'static str>) -> Self {
        let health = Self::default();
        for name in checks {
            health.set(name, Check::failing("starting"));
        }
        health
    }

    /// Reports the state of a check.
    pub fn set(&self, name: &'static str, check: Check) {
        let mut checks = self.write();
        if let Some(Source::Told(before)) = checks.get(name)
            && before.ok != check.ok
        {
            tracing::info!(
                check = name,
                ok = check.ok,
                detail = check.detail,
                "{name}: {}",
                check.detail
            );
        }
        checks.insert(name, Source::Told(check));
    }

    /// Adds a check that is found out whenever someone asks. It must answer at once.
    pub fn ask(&self, name: &'static str, check: impl Fn() -> Check + Send + Sync + 'static) {
        self.write().insert(name, Source::Asked(Arc::new(check)));
    }

    /// Health of each of `n` equal parts, which report these checks each for itself: here they are one.
    pub fn of_parts(&self, n: usize, checks: &[&'static str]) -> Vec<Self> {
        let parts: Vec<Self> = (0..n).map(|_| Self::expecting(checks.iter().copied())).collect();
        for name in checks.iter().copied() {
            let parts = parts.clone();
            let of_part = move |part: &Self| part.readiness().checks.remove(name);
            self.ask(name, move || Check::of_all(parts.iter().filter_map(of_part)));
        }
        parts
    }

    /// The state of all checks now.
    pub fn readiness(&self) -> Readiness {
        let state = |source: &Source| match source {
            Source::Told(check) => check.clone(),
            Source::Asked(check) => check(),
        };
        let checks: BTreeMap<_, _> = self
            .read()
            .iter()
            .map(|(name, source)| (*name, state(source)))
            .collect();
        let ready = checks.values().all(Check::ok);
        Readiness {
            status: if ready { "ready" } else { "not ready" },
            checks,
        }
    }

    /// Shows the checks as metrics.
    pub(crate) fn measure(&self) {
        let gauge = |is: bool| if is { 1.0 } else { 0.0 };
        for (name, check) in self.readiness().checks {
            metrics::gauge!(crate::metrics::CHECK_OK, "check" => name).set(gauge(check.ok));
            metrics::gauge!(crate::metrics::CHECK_DEGRADED, "check" => name).set(gauge(check.degraded));
        }
    }

    // A map of finished values is whole whoever panicked while holding it.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<&'static str, Source>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<&'static str, Source>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_not_ready_before_all_it_waits_for_has_reported() {
        let health = Health::expecting(["kafka", "registry"]);
        health.set("kafka", Check::passing("3 brokers"));
        assert!(!health.readiness().ready());

        health.set("registry", Check::degraded("serving what was known 40 s ago"));
        assert!(health.readiness().ready());
    }

    #[test]
    fn copies_share_the_checks() {
        let health = Health::default();
        health.clone().set("kafka", Check::failing("no broker"));
        assert!(!health.readiness().ready());
    }

    #[test]
    fn a_check_of_several_parts_is_as_bad_as_the_worst_of_them() {
        let health = Health::default();
        let parts = health.of_parts(2, &["kafka"]);
        assert!(!health.readiness().ready(), "they have not reported yet");

        parts[0].set("kafka", Check::passing("connected"));
        parts[1].set("kafka", Check::passing("connected"));
        assert_eq!(
            health.readiness().checks()["kafka"],
            Check::passing("connected (each of 2)")
        );

        parts[1].set("kafka", Check::failing("no broker"));
        assert_eq!(
            health.readiness().checks()["kafka"],
            Check::failing("connected; no broker")
        );
    }

    #[test]
    fn a_check_can_be_found_out_when_asked() {
        let health = Health::default();
        health.ask("lag", || Check::failing("a million events behind"));
        assert_eq!(
            health.readiness().checks()["lag"].detail(),
            "a million events behind"
        );
    }
}
