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
mod failure;
mod output;
mod parse;

mod ingest_role;
mod projector_role;
mod roles;
mod run;

mod migrate;
mod topics;

mod audit;
mod credential;
mod integration;
mod organization;
mod sealing_key;

mod decided;
mod device;
mod events;

mod health;

mod dialect;
mod door;
mod send;
mod sender;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;

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
    Events(events::Events),
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
            Self::Organization(command) => command.run().await,
            Self::Integration(command) => command.run().await,
            Self::Credential(command) => command.run().await,
            Self::SealingKey(command) => command.run().await,
            Self::Device(command) => command.run().await,
            Self::Events(command) => command.run().await,
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
}
