//! What a failed statement means: a verdict, given in one place.

use sqlx::{Error, error::DatabaseError};

/// What to do about a failed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A lost race: repeat the batch at once.
    Repeat,
    /// No partition takes a row: its day was dropped since it was made. Make it, and repeat the batch.
    MakeDays,
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
        // Data that a column or a named constraint refuses.
        [b'2', b'2', ..] => Verdict::Poison,
        [b'2', b'3', ..] if error.constraint().is_some() => Verdict::Poison,
        // A missing partition names no constraint.
        b"23514" => Verdict::MakeDays,
        _ => Verdict::Halt,
    }
}

/// What a person can do about an error that halts.
pub(crate) fn remedy(error: &Error) -> &'static str {
    let code = error.as_database_error().and_then(DatabaseError::code);
    match code.as_deref() {
        Some("42501") => {
            "a grant is missing: grant it again to role fleetlog_projector (`fleetlog doctor` says which it is; `fleetlog \
             migrate` brings back those outside of a generation), and let the projector's login role be a member of that"
        }
        Some("42P01" | "3F000" | "42703" | "42883") => {
            "something of the generation is missing: run `fleetlog migrate`; what was dropped or changed by hand \
             comes back with `fleetlog rebuild`"
        }
        Some("25006") => "PostgreSQL takes no writes: this is a standby, or it was set read-only",
        _ => {
            "this is not the event's fault, as far as can be told: look at what was changed in PostgreSQL; if nothing \
             was, it is a defect of fleetlog, so please report it, and run a version in which it is mended"
        }
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
