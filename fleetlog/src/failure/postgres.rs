//! What a failed statement means for a command: whether PostgreSQL was away, or said no.

use sqlx::Error;

use super::Failure;

/// What a person does where PostgreSQL cannot be reached. The connection may break in the middle of anything, also of
/// the commit itself, so what a command did last may or may not have happened.
const AWAY: &str = "PostgreSQL cannot be reached, or went away meanwhile: see that it runs and that the URL names it, \
                    look whether the last step happened, and run the command again";

/// What a person does where PostgreSQL answers that it takes no more connections.
const FULL: &str = "PostgreSQL takes no more connections: wait, end some, or raise max_connections, and run the \
                    command again";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let meaning = meaning(&error);
        if let Error::PoolTimedOut = error {
            return Self::unavailable(
                "PostgreSQL cannot be reached, or has no connection to spare: see that it runs and that the URL names \
                 it, and run the command again",
            );
        }
        let error = anyhow::Error::from(error);
        match meaning {
            Meaning::Away => Self::Unavailable(error.context(AWAY)),
            Meaning::Full => Self::Unavailable(error.context(FULL)),
            Meaning::Said => Self::Failed(error.context("PostgreSQL")),
        }
    }
}

/// What an error says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It cannot be reached, is stopping or starting, or the connection broke.
    Away,
    /// It has no connection to spare.
    Full,
    /// It answered, and asking again ends the same; or the mistake is ours.
    Said,
}

pub(super) fn meaning(error: &Error) -> Meaning {
    if let Some(error) = error.as_database_error() {
        return of_code(&error.code().unwrap_or_default());
    }
    if matches!(
        error,
        Error::Io(_)
            | Error::Tls(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed
    ) {
        Meaning::Away
    } else {
        Meaning::Said
    }
}

/// By the SQLSTATE: connection exceptions; whatever an operator or a crash does to a server; too many connections.
fn of_code(code: &str) -> Meaning {
    match code.as_bytes() {
        [b'0', b'8', ..] | [b'5', b'7', b'P', ..] => Meaning::Away,
        b"53300" => Meaning::Full,
        _ => Meaning::Said,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        borrow::Cow,
        error::Error as StdError,
        fmt::{self, Display},
        io,
    };

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What a server answers.
    #[derive(Debug)]
    struct Answer(&'static str);

    impl Display for Answer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("terminating connection")
        }
    }

    impl StdError for Answer {}

    impl DatabaseError for Answer {
        fn message(&self) -> &'static str {
            "terminating connection"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(Cow::Borrowed(self.0))
        }
        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn answered(code: &'static str) -> Failure {
        Error::Database(Box::new(Answer(code))).into()
    }

    #[test]
    fn a_server_that_stops_crashes_or_starts_is_unavailable_and_the_message_says_what_to_do() {
        for code in [
            "57P01", "57P02", "57P03", "57P05", "08000", "08003", "08006", "08P01",
        ] {
            let failure = answered(code);
            assert!(matches!(failure, Failure::Unavailable(_)), "{code}: {failure}");
            assert!(failure.to_string().contains("run the command again"), "{failure}");
        }
        let full = answered("53300");
        assert!(matches!(full, Failure::Unavailable(_)), "{full}");
        assert!(full.to_string().contains("max_connections"), "{full}");
    }

    #[test]
    fn what_a_server_refuses_has_failed() {
        for code in ["42501", "42P01", "23505", "57014", "53100", ""] {
            let failure = answered(code);
            assert!(matches!(failure, Failure::Failed(_)), "{code}: {failure}");
        }
    }

    #[test]
    fn a_connection_that_broke_or_could_not_be_made_is_unavailable() {
        let broken = [
            Error::Io(io::ErrorKind::UnexpectedEof.into()),
            Error::Io(io::ErrorKind::ConnectionRefused.into()),
            Error::Tls("no certificate".into()),
            Error::PoolTimedOut,
            Error::WorkerCrashed,
        ];
        for error in broken {
            let failure = Failure::from(error);
            assert!(matches!(failure, Failure::Unavailable(_)), "{failure}");
            assert!(failure.to_string().contains("PostgreSQL"), "{failure}");
        }
        assert!(matches!(Failure::from(Error::RowNotFound), Failure::Failed(_)));
    }

    #[test]
    fn it_is_found_beneath_what_others_make_of_it() {
        let within = anyhow::Error::from(Error::Database(Box::new(Answer("57P01")))).context("copying rows");
        assert!(matches!(Failure::from(within), Failure::Unavailable(_)));
        let refused = anyhow::Error::from(Error::Database(Box::new(Answer("42501")))).context("copying rows");
        assert!(matches!(Failure::from(refused), Failure::Failed(_)));
    }
}
