//! What a failed statement means: a verdict, given in one place.

use sqlx::Error;

/// What to do about a failed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A lost race: repeat the batch at once.
    Repeat,
    /// Postgres is away or has no room: wait, connect anew, repeat the batch.
    Reconnect,
    /// An event's own fault.
    Poison,
    /// Ours or the operator's: a missing table or grant, a bug. Stop.
    Halt,
}

/// Decides by the SQLSTATE.
pub(crate) fn verdict(error: &Error) -> Verdict {
    let Some(error) = error.as_database_error() else {
        return of_client(error);
    };
    let code = error.code().unwrap_or_default();
    match code.as_bytes() {
        // Lost a race for a key or a lock, or was chosen to resolve a deadlock.
        b"23505" | b"55P03" | [b'4', b'0', ..] => Verdict::Repeat,
        // Connection, resources, operator.
        [b'0', b'8', ..] | [b'5', b'3' | b'7', ..] => Verdict::Reconnect,
        // Data that a column or a named constraint refuses. A missing partition names no constraint: that is ours.
        [b'2', b'2', ..] => Verdict::Poison,
        [b'2', b'3', ..] if error.constraint().is_some() => Verdict::Poison,
        _ => Verdict::Halt,
    }
}

fn of_client(error: &Error) -> Verdict {
    if matches!(
        error,
        Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::WorkerCrashed | Error::BeginFailed
    ) {
        Verdict::Reconnect
    } else {
        Verdict::Halt
    }
}
