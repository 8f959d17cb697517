//! `fleetlog run`: all roles in one process.

use std::net::SocketAddr;

use clap::Args;
use service::{Check, Health};

use crate::{
    config::KafkaArgs, failure::Failure, ingest_role::IngestArgs, projector_role::ProjectorArgs,
    roles::RoleArgs,
};

/// Runs ingest and projector in one process, for small fleets
///
/// One port serves the webhooks, and the health and metrics of both. When one of them fails, both stop. Everything else
/// is as in `fleetlog ingest --help` and `fleetlog projector --help`.
#[derive(Args)]
pub(crate) struct Run {
    /// Where to listen
    #[arg(
        long,
        env = "FLEETLOG_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    door: IngestArgs,
    #[command(flatten)]
    fold: ProjectorArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Run {
    /// Runs until told to stop.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut role = self.role.begin("run")?;
        // Both have a check named after Kafka, so the fold's are one check of the door's health.
        let fold = Health::default();
        let asked = fold.clone();
        role.health.ask("projector", move || summary(&asked));
        self.fold.start(&mut role, &self.kafka, fold)?;
        self.door.start(&mut role, &self.kafka, self.listen)?;
        role.run().await
    }
}

/// The checks of the fold as one.
fn summary(health: &Health) -> Check {
    let readiness = health.readiness();
    let said = |(name, check): (&&str, &Check)| format!("{name}: {}", check.detail());
    let failing = readiness.checks().iter().filter(|(_, check)| !check.ok());
    let failing: Vec<_> = failing.map(said).collect();
    if failing.is_empty() {
        let all: Vec<_> = readiness.checks().iter().map(said).collect();
        Check::passing(all.join("; "))
    } else {
        Check::failing(failing.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fold_is_ready_when_all_its_checks_pass() {
        let health = Health::expecting(["kafka", "postgres"]);
        health.set("kafka", Check::passing("1 broker"));
        assert_eq!(summary(&health), Check::failing("postgres: starting"));
        health.set("postgres", Check::passing("connected"));
        assert_eq!(
            summary(&health),
            Check::passing("kafka: 1 broker; postgres: connected")
        );
    }
}
