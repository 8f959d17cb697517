//! `fleetlog dead-letters`: what could not be understood, and trying it again.
//!
//! - `letters`: one list for both kinds, from the topic and from the database
//! - `filters`: which of them are meant
//! - `list`, `show`, `redrive`: the commands; `deliveries` reads deliveries again, `report` says what came of it

mod deliveries;
mod filters;
mod letters;
mod list;
mod redrive;
mod report;
mod show;

use clap::Subcommand;

use crate::failure::Failure;

/// Lists, shows and tries again what could not be understood
///
/// There are two kinds: deliveries that were authentic and of which no event could be made, and events that could not be
/// folded into rows. Both are kept as they are, and hold up nothing.
#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    List(list::List),
    Show(show::Show),
    Redrive(Box<redrive::Redrive>),
}

impl DeadLetters {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Redrive(command) => command.run().await,
        }
    }
}
