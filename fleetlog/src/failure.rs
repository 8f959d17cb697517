//! Why a command came to nothing, as an exit code and a line on stderr.

mod postgres;

use std::{
    fmt::{self, Display},
    io,
    process::ExitCode,
};

use anyhow::anyhow;
use control::ControlError;
use ingest::SpoolError;
use projector::{
    ProjectorError, checkpoint::CheckpointError, generations::GenerationError, horizon::HorizonError,
    rebuild::RebuildError, rewrite::RewriteError,
};
use stream::{AppendError, KafkaFault, ReadError, topics::TopicsError};

use self::postgres::Meaning;

/// Why a command came to nothing. The variants are the exit codes.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: something went wrong.
    Failed(anyhow::Error),
    /// 2: the arguments, or the environment that stands in for them, make no sense.
    Usage(anyhow::Error),
    /// 3: what was asked for is not there.
    NotFound(anyhow::Error),
    /// 4: it was understood and refused; trying again cannot help.
    Refused(anyhow::Error),
    /// 5: Kafka, Postgres or the receiver cannot be reached or is not ready; trying again may help.
    Unavailable(anyhow::Error),
    /// 0: whoever read our output has had enough.
    OutputClosed,
}

/// What `--help` says of exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the arguments or environment variables make no sense
  3  what was asked for is not there
  4  refused: trying again cannot help
  5  Kafka, PostgreSQL or the receiver cannot be reached or is not ready: trying again may help";

impl Failure {
    /// The arguments make no sense.
    pub(crate) fn usage(what: impl Display) -> Self {
        Self::Usage(anyhow!("{what}"))
    }

    /// What was asked for is not there.
    pub(crate) fn not_found(what: impl Display) -> Self {
        Self::NotFound(anyhow!("{what}"))
    }

    /// Understood and refused.
    pub(crate) fn refused(what: impl Display) -> Self {
        Self::Refused(anyhow!("{what}"))
    }

    /// Not now.
    pub(crate) fn unavailable(what: impl Display) -> Self {
        Self::Unavailable(anyhow!("{what}"))
    }

    /// Says it on stderr, and as an exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (code, error) = match self {
            Self::Failed(error) => (1, error),
            Self::Usage(error) => (2, error),
            Self::NotFound(error) => (3, error),
            Self::Refused(error) => (4, error),
            Self::Unavailable(error) => (5, error),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        eprintln!("fleetlog: {}", told(error));
        ExitCode::from(code)
    }
}

/// An error and what it comes from. Many errors repeat their cause in their own words: then once is enough.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    told
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error)
            | Self::Usage(error)
            | Self::NotFound(error)
            | Self::Refused(error)
            | Self::Unavailable(error) => f.write_str(&told(error)),
            Self::OutputClosed => f.write_str("the output is closed"),
        }
    }
}

impl From<GenerationError> for Failure {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::InvalidName(_) => Self::Usage(error.into()),
            GenerationError::NoSuchGeneration(_) => Self::NotFound(error.into()),
            GenerationError::Exists(_) | GenerationError::BuiltOn(_) => Self::Refused(error.into()),
            GenerationError::NoneActive | GenerationError::NotMigrated => Self::Unavailable(error.into()),
            GenerationError::Unreadable { .. } => Self::Failed(error.into()),
            GenerationError::Database(error) => error.into(),
        }
    }
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Stopped
            | RebuildError::Busy
            | RebuildError::TooSlow(_)
            | RebuildError::NotCaughtUp
            | RebuildError::LiveBehind { .. } => Self::Unavailable(error.into()),
            RebuildError::Backwards { .. }
            | RebuildError::IsActive(_)
            | RebuildError::NothingToPromote
            | RebuildError::NotProved(_)
            | RebuildError::NotAccepted { .. }
            | RebuildError::NothingToRollBackTo
            | RebuildError::OtherRules { .. }
            | RebuildError::TooMany(_)
            | RebuildError::BeginningGone(_)
            | RebuildError::ReadingsGone(_)
            | RebuildError::LeftBehind { .. }
            | RebuildError::IsRetired(_)
            | RebuildError::UnreadableCheckpoint(_)
            | RebuildError::OtherLog { .. } => Self::Refused(error.into()),
            RebuildError::NoSuchDevice(_) => Self::NotFound(error.into()),
            RebuildError::Unfoldable { .. } | RebuildError::TooManySetAside { .. } => {
                Self::Failed(error.into())
            }
            RebuildError::Projector(error) => error.into(),
            RebuildError::Generation(error) => error.into(),
            RebuildError::Topics(error) => error.into(),
            RebuildError::Read(error) => error.into(),
            RebuildError::Kafka(error) => error.into(),
            RebuildError::Database(error) => error.into(),
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Busy => Self::Unavailable(error.into()),
            CheckpointError::FoldVersion { .. } | CheckpointError::OtherLog(_) => Self::Refused(error.into()),
            CheckpointError::Stopped | CheckpointError::Unwritable(_) => Self::Failed(error.into()),
            CheckpointError::Generation(error) => error.into(),
            CheckpointError::Read(error) => error.into(),
            CheckpointError::Append(error) => error.into(),
            CheckpointError::Kafka(error) => error.into(),
            CheckpointError::Database(error) => error.into(),
        }
    }
}

impl From<ProjectorError> for Failure {
    fn from(error: ProjectorError) -> Self {
        match error {
            ProjectorError::FoldVersion { .. } | ProjectorError::OtherLog { .. } => {
                Self::Refused(error.into())
            }
            ProjectorError::Repeated(_) => Self::Unavailable(error.into()),
            ProjectorError::Generation(error) => error.into(),
            ProjectorError::Topics(error) => error.into(),
            ProjectorError::Read(error) => error.into(),
            ProjectorError::Database(error) => error.into(),
        }
    }
}

impl From<RewriteError> for Failure {
    fn from(error: RewriteError) -> Self {
        match error {
            RewriteError::SamePrefix => Self::Usage(error.into()),
            RewriteError::NothingErased => Self::NotFound(error.into()),
            RewriteError::NotACopy(_)
            | RewriteError::AlreadyCopied(_)
            | RewriteError::NotCovered(_)
            | RewriteError::OtherLog { .. } => Self::Refused(error.into()),
            RewriteError::Stopped => Self::Unavailable(error.into()),
            RewriteError::Topics(error) => error.into(),
            RewriteError::Read(error) => error.into(),
            RewriteError::Append(error) => error.into(),
            RewriteError::Kafka(error) => error.into(),
            RewriteError::Rebuild(error) => error.into(),
            RewriteError::Generation(error) => error.into(),
            RewriteError::Database(error) => error.into(),
        }
    }
}

impl From<HorizonError> for Failure {
    fn from(error: HorizonError) -> Self {
        match error {
            HorizonError::Generation(error) => error.into(),
            HorizonError::Database(error) => error.into(),
        }
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Taken { .. } | SpoolError::OtherLog { .. } => Self::Refused(error.into()),
            SpoolError::Disk { .. } => Self::Failed(error.into()),
        }
    }
}

impl From<TopicsError> for Failure {
    fn from(error: TopicsError) -> Self {
        match error {
            TopicsError::Unsafe(_) => Self::Refused(error.into()),
            TopicsError::Refused { .. } => Self::Failed(error.into()),
            TopicsError::Kafka(KafkaFault::Setting(_)) => Self::Usage(error.into()),
            TopicsError::NotThere | TopicsError::Kafka(_) | TopicsError::Opening(_) => {
                Self::Unavailable(error.into())
            }
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Kafka(_) | ReadError::CutOff => Self::Unavailable(error.into()),
            ReadError::OtherLog { .. }
            | ReadError::OutOfRange { .. }
            | ReadError::NoPosition { .. }
            | ReadError::Split
            | ReadError::Ended => Self::Failed(error.into()),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::TooLarge { .. } => Self::Refused(error.into()),
            AppendError::Unavailable(_) => Self::Unavailable(error.into()),
            AppendError::Unwritable(_) => Self::Failed(error.into()),
        }
    }
}

impl From<KafkaFault> for Failure {
    fn from(error: KafkaFault) -> Self {
        if let KafkaFault::Setting(_) = error {
            Self::Usage(error.into())
        } else {
            Self::Unavailable(error.into())
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let of_postgres = error.chain().find_map(|cause| cause.downcast_ref());
        match of_postgres.map_or(Meaning::Said, postgres::meaning) {
            Meaning::Away | Meaning::Full => Self::Unavailable(error),
            Meaning::Said => Self::Failed(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NoSuchOrganization(_)
            | ControlError::NoSuchIntegration(_)
            | ControlError::NoSuchCredential(_) => Self::NotFound(error.into()),
            ControlError::NameTaken(_)
            | ControlError::CredentialEnded(_)
            | ControlError::TooManyCredentials { .. }
            | ControlError::ExpiresBeforeBeginning
            | ControlError::Policy(_)
            | ControlError::Scheme(_)
            | ControlError::Secret(_) => Self::Refused(error.into()),
            ControlError::Database(error) => error.into(),
            // A migration may be cut short as any other statement.
            ControlError::Migration(_) => anyhow::Error::from(error).into(),
            ControlError::Unseal(_) | ControlError::Unreadable(_) => Self::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let error = anyhow!("no route").context("the broker is gone: no route");
        assert_eq!(told(&error), "the broker is gone: no route");
        let error = error.context("asking about topics");
        assert_eq!(told(&error), "asking about topics: the broker is gone: no route");
    }
}
