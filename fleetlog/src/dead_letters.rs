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
use stream::LogConfig;

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

/// How many deliveries are dead letters now, those left out that were understood when they were tried again.
pub(crate) struct Deliveries {
    /// That wait for somebody to do something.
    pub(crate) waiting: usize,
    /// That are understood and of no device: tests, and what is said of a project.
    pub(crate) asking_nothing: usize,
}

/// Counts deliveries that are dead letters, which reads all of their topic.
pub(crate) async fn count(log: LogConfig) -> Result<Deliveries, Failure> {
    let mut letters = letters::Letters::open(log).await?.deliveries().await?;
    letters.retain(|letter| letter.redriven.is_none());
    let all = letters.len();
    letters.retain(|letter| !ASKING_NOTHING.contains(&letter.reason.as_str()));
    Ok(Deliveries {
        waiting: letters.len(),
        asking_nothing: all - letters.len(),
    })
}

/// Reasons that docs/dead-letters.md says to let expire.
const ASKING_NOTHING: [&str; 2] = ["test_event", "not_of_a_device"];
