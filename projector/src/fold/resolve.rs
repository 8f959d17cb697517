//! What a field shows, when a cloud and we both say something.
//!
//! The twin of this rule in SQL is `fleet.resolve_field`.

use schema::{EventId, Micros, PushOutcome, Strategy};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What a cloud says of a field: the newest register over the provider devices of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// When it was observed.
    pub at: Micros,
    /// Names the value.
    pub value: Uuid,
}

/// The current edit of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The event.
    pub id: EventId,
    /// Names the value.
    pub value: Uuid,
    /// Names the remote value that its author saw, if there was one.
    pub seen: Option<Uuid>,
    /// When that was observed.
    pub seen_at: Option<Micros>,
    /// What decides if both changed.
    pub strategy: Strategy,
    /// The cloud's newest answer to its push.
    pub answer: Option<(PushOutcome, Micros)>,
}

/// A value that the cloud once took from us: the newest over all edits of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// When it answered.
    pub at: Micros,
    /// Names the value.
    pub value: Uuid,
}

/// What is known of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// No cloud ever reports it.
    pub local: bool,
    /// Names the value that a missing one equals: `null`, or `false` for a tag.
    pub absent: Uuid,
    /// What a cloud says.
    pub remote: Option<Remote>,
    /// The current edit.
    pub edit: Option<Edit>,
    /// The newest value that the cloud took, of any edit.
    pub accepted: Option<Accepted>,
}

/// How a field stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// Nobody edited it here.
    Remote,
    /// It is ours alone.
    Local,
    /// The edit is to be pushed; the cloud has what its author saw.
    Pending,
    /// The cloud took the edit, and has not shown it yet.
    Acknowledged,
    /// The cloud shows what the edit says.
    Settled,
    /// The cloud refused the edit.
    Rejected,
    /// Only the cloud changed the field: it took the edit before, or the edit said nothing new.
    Superseded,
    /// Both changed; the edit wins and is pushed again.
    Kept,
    /// Both changed; the cloud wins.
    Lost,
    /// Both changed; a person has to decide.
    Conflict,
}

impl State {
    /// Whether the edit's value is shown, rather than the cloud's.
    pub fn shows_edit(self) -> bool {
        match self {
            Self::Local | Self::Pending | Self::Acknowledged | Self::Settled | Self::Kept => true,
            Self::Remote | Self::Rejected | Self::Superseded | Self::Lost | Self::Conflict => false,
        }
    }

    /// Whether the edit waits to be pushed.
    pub fn is_due(self) -> bool {
        matches!(self, Self::Pending | Self::Kept)
    }
}

/// The common ground of an edit and the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Names the value.
    pub value: Uuid,
    /// As of when; nothing is as old as `None`.
    pub at: Option<Micros>,
    /// Whether it is what the cloud took from us, rather than what the edit's author saw.
    pub accepted: bool,
}

/// Decides a field.
///
/// An observation that is no newer than the base says nothing new: the cloud is taken to have the base's value.
pub fn resolve(known: &Known) -> State {
    let Some(edit) = &known.edit else {
        return State::Remote;
    };
    if known.local {
        return State::Local;
    }
    let base = base(known.absent, edit, known.accepted);
    let newer = known.remote.filter(|remote| Some(remote.at) > base.at);
    let remote = newer.map_or(base.value, |remote| remote.value);
    let taken = match edit.answer {
        Some((PushOutcome::Accepted, at)) => Some(at),
        Some((PushOutcome::Rejected, _)) | None => None,
    };
    if remote == edit.value {
        let shown = known.remote.map(|remote| remote.at);
        return if taken.is_some() && shown <= taken {
            State::Acknowledged
        } else {
            State::Settled
        };
    }
    if matches!(edit.answer, Some((PushOutcome::Rejected, _))) {
        return State::Rejected;
    }
    if remote == base.value {
        return State::Pending;
    }
    // An edit that says what both sides had, such as one that kept the cloud's value, contradicts no later change.
    if taken.is_some() || edit.value == base.value {
        return State::Superseded;
    }
    contested(&edit.strategy)
}

/// How a field stands that both sides have changed.
pub fn contested(strategy: &Strategy) -> State {
    match strategy {
        Strategy::PreferLocal => State::Kept,
        Strategy::PreferRemote => State::Lost,
        // A whole value cannot be merged, and what is not understood is for a person.
        Strategy::Manual | Strategy::Merge | Strategy::Other(_) => State::Conflict,
    }
}

/// Whose value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// The edit's.
    Edit,
    /// What a cloud says.
    Remote,
    /// What the cloud had when edit and cloud last met: it has said nothing since.
    Base,
}

/// Whose value is shown of a field that stands like this.
pub fn shows(known: &Known, state: State) -> Shows {
    let Some(edit) = &known.edit else {
        return Shows::Remote;
    };
    let base = base(known.absent, edit, known.accepted);
    if state.shows_edit() {
        Shows::Edit
    } else if known.remote.is_some_and(|remote| Some(remote.at) > base.at) {
        Shows::Remote
    } else {
        Shows::Base
    }
}

/// The common ground of an edit and the cloud: the newer of what its author saw and what the cloud took from us.
///
/// Any edit that the cloud took counts, so that two edits before the first was pushed are no conflict.
pub fn base(absent: Uuid, edit: &Edit, accepted: Option<Accepted>) -> Base {
    let seen = Base {
        value: edit.seen.unwrap_or(absent),
        at: edit.seen_at,
        accepted: false,
    };
    let taken = accepted.map(|accepted| Base {
        value: accepted.value,
        at: Some(accepted.at),
        accepted: true,
    });
    taken.filter(|taken| taken.at >= seen.at).unwrap_or(seen)
}

/// The id of a pending conflict.
///
/// It follows from the edit, the field and the cloud's value: a replay opens no twin, and a value that flips back does
/// not inherit an old decision.
pub fn conflict_id(edit: EventId, field: &str, remote: Uuid) -> String {
    let digest = Sha256::digest(format!("{edit}/{field}/{remote}").as_bytes());
    let half = digest.first_chunk().copied().unwrap_or_default();
    format!("{:032x}", u128::from_be_bytes(half))
}
