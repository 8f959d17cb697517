//! The command `fleetlog`: arguments, configuration and wiring, nothing else.
//!
//! Promises: what goes wrong is one line on stderr and an exit code that means something; a secret is printed when it
//! is made and never again; every command's `--help` is its manual.
//!
//! Reading order: [`Cli`] is what there is. `config` is what commands are told from outside, one file per command
//! group does the rest.
#![expect(
    clippy::doc_markdown,
    reason = "doc comments on arguments are the text of --help, which is read without markup"
)]

mod clock;
mod config;
mod confirmed;
mod failure;
mod output;
mod parse;

mod ingest_role;
mod projector_role;
mod roles;
mod run;

mod migrate;
mod topics;
mod trace_args;

mod audit_rows;
mod checkpoint;
mod generations;
mod horizon;
mod log;
mod rebuild;
mod watch;

mod audit;
mod credential;
mod integration;
mod organization;
mod sealing_key;

mod conflicts;
mod dead_letters;
mod decided;
mod device;
mod events;
mod waiting;

mod doctor;
mod health;

mod dialect;
mod door;
mod send;
mod sender;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;

/// Gives back what was freed, whichever thread did: a rebuild keeps within its memory by that. Kafka's client, which is
/// C, allocates by it as well. `.cargo/config.toml` says how it is set.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An event-sourced device registry for fleets on Golioth
///
/// Signed webhooks become events in Kafka, events become rows in PostgreSQL. Run `ingest` and `projector`, or `run` for
/// both in one process.
///
/// Whatever an option says can be said by the environment variable named beside it; secrets should be.
#[derive(Parser)]
#[command(name = "fleetlog", version, after_help = failure::EXIT_CODES, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What there is to do.
#[derive(Subcommand)]
enum Command {
    Ingest(Box<ingest_role::Ingest>),
    Projector(Box<projector_role::Projector>),
    Run(Box<run::Run>),
    Migrate(migrate::Migrate),
    #[command(subcommand)]
    Topics(topics::Topics),
    Checkpoint(checkpoint::Checkpoint),
    #[command(subcommand)]
    Horizon(horizon::Horizon),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Organization(organization::Organization),
    #[command(subcommand)]
    Integration(integration::Integration),
    #[command(subcommand)]
    Credential(credential::Credential),
    #[command(subcommand)]
    SealingKey(sealing_key::SealingKey),
    #[command(subcommand)]
    Device(device::Device),
    #[command(subcommand)]
    Conflicts(conflicts::Conflicts),
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    #[command(subcommand)]
    Events(events::Events),
    Rebuild(Box<rebuild::Rebuild>),
    #[command(subcommand)]
    Generations(generations::Generations),
    Audit(audit_rows::AuditRows),
    Doctor(Box<doctor::Doctor>),
    Health(health::Health),
    Simulate(simulate::Simulate),
    Send(send::Send),
}

impl Command {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Ingest(command) => command.run().await,
            Self::Projector(command) => command.run().await,
            Self::Run(command) => command.run().await,
            Self::Migrate(command) => command.run().await,
            Self::Topics(command) => command.run().await,
            Self::Checkpoint(command) => command.run().await,
            Self::Horizon(command) => command.run().await,
            Self::Log(command) => command.run().await,
            Self::Organization(command) => command.run().await,
            Self::Integration(command) => command.run().await,
            Self::Credential(command) => command.run().await,
            Self::SealingKey(command) => command.run().await,
            Self::Device(command) => command.run().await,
            Self::Conflicts(command) => command.run().await,
            Self::DeadLetters(command) => command.run().await,
            Self::Events(command) => command.run().await,
            Self::Rebuild(command) => command.run().await,
            Self::Generations(command) => command.run().await,
            Self::Audit(command) => command.run().await,
            Self::Doctor(command) => command.run().await,
            Self::Health(command) => command.run().await,
            Self::Simulate(command) => command.run().await,
            Self::Send(command) => command.run().await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
    /// Scripts rely on these.
    #[test]
    fn names_that_are_fixed_are_understood() {
        let id = "00000000-0000-0000-0000-000000000001";
        for line in [
            "organization create acme --json",
            &format!("integration create a --organization {id} --provider golioth --project p --json"),
            &format!("integration create a --organization {id} --provider golioth --no-credential --json"),
            &format!("integration list --organization {id} --json"),
            &format!("integration show {id} --json"),
            &format!("integration edit {id} --name b --battery-pointer /a --strategy metadata=manual --json"),
            &format!(
                "integration edit {id} --unset project --no-strategy metadata --refuse-replayable false"
            ),
            &format!("credential add {id} --scheme shared-secret --header x-api-key --prefix p --json"),
            &format!("credential add {id} --scheme hmac-sha256 --secret-file - --encoding base64"),
            &format!("credential add {id} --scheme timestamped-hmac --tolerance 300s"),
            &format!("credential add {id} --scheme standard-webhooks --expires-at 2026-01-02T03:04:05Z"),
            &format!("credential list {id} --json"),
            &format!("credential revoke {id}"),
            &format!("credential rotate {id} --grace 24h --json"),
            "sealing-key rotate",
            "migrate",
        ] {
            let owner = ["--admin-database-url", "postgres://owner@here/fleetlog"];
            check(line, &owner);
        }
        for line in [
            &format!("device list --organization {id} --json"),
            "device show SN-1",
            "device erase SN-1 --yes --reason r --json",
            &format!("device register SN-1 --organization {id} --name n --field a=1 --no-wait --json"),
            &format!(
                "device edit SN-1 --organization {id} --set a=1 --name n --notes t --tag x --untag y --unset location --if a=2"
            ),
            "device retire SN-1 --reason broken --no-wait --json",
            "device restore SN-1 --wait 1m",
            &format!(
                "device import f.csv --organization {id} --format json-lines --ignore x --dry-run --report r --json"
            ),
            &format!("device import - --organization {id} --no-wait"),
            &format!("device list --organization {id} --retired"),
            "device history SN-1 --field metadata --limit 5 --json",
            "device history SN-1 --at 2026-01-02T03:04:05Z --known-by 2026-01-02T03:04:06Z",
            &format!("device explain SN-1 metadata --organization {id} --json"),
            &format!("device bind {id}/id:x --serial SN-1"),
            &format!("device bind {id}/id:x --device {id}"),
            &format!("device bind x --integration {id} --duplicate"),
            "conflicts list --field metadata --older-than 7d --limit 5 --json",
            "conflicts show 00 --json",
            &format!(
                "conflicts replay --strategy metadata=prefer_local --organization {id} --since 30d --json"
            ),
            "conflicts resolve 00 01 --keep-local --note n --no-wait --json",
            "conflicts resolve --all-matching --kind field --keep-remote --yes",
            &format!("conflicts resolve 00 --same-device --to {id}"),
            &format!("conflicts resolve 00 --create-duplicate --provider-device {id}/id:x"),
            "dead-letters list --reason unknown_type --since 24h --until 1h --older-than 7d --all --json",
            &format!("dead-letters list --kind event --integration {id} --organization {id} --count"),
            &format!("dead-letters show {id} --json"),
            "dead-letters show device-events.v1/3@17 --body",
            &format!("dead-letters redrive {id} device-events.v1/3@17 --dry-run --json"),
            "dead-letters redrive --all-matching --kind delivery --yes",
        ] {
            check(line, &["--database-url", "postgres://reader@here/fleetlog"]);
        }
        for line in [
            "rebuild --memory 512MB --workers 2 --promote --json",
            "rebuild --no-promote --afresh",
            "rebuild --accept 0123456789abcdef",
            "rebuild --device SN-1",
            "generations list --json",
            "generations promote gen_2 --accept 0123456789abcdef",
            "generations rollback",
            "generations drop gen_1",
            "audit --sample 10 --seed 1 --metrics-file f.prom --json",
            "checkpoint --json",
            "horizon show --json",
            "horizon advance readings --before 90d --yes --json",
            "log rewrite --to acme2 --dry-run --json",
            "log rewrite --to acme2 --promote --memory 256MB",
        ] {
            check(
                line,
                &["--projector-database-url", "postgres://projector@here/fleetlog"],
            );
        }
        for line in [
            "topics create --partitions 12 --single-broker",
            "topics check",
            "events tail",
            "events tail --topic readings --from 15m --until-end --type reading --device SN-1 --json",
            "simulate --targets sample.json --devices 20 --rate 40 --duration 8s --seed 1",
            "simulate --devices 2 --start 2026-01-02T03:04:05Z --scheme hmac-sha256 --secret-file f --url http://here",
            "send --url http://here --scheme shared-secret --secret-file f --dialect inject-metadata --device d \
             --path /s --data {} --header a:b --print",
            "health",
            "sealing-key generate",
        ] {
            check(line, &[]);
        }
    }

    #[track_caller]
    fn check(line: &str, more: &[&str]) {
        let words = ["fleetlog"]
            .into_iter()
            .chain(line.split_whitespace())
            .chain(more.iter().copied());
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}
