//! In which words senders speak, and what they say in ours.
//!
//! A reader is a function from a proven delivery to statements: no clock, no randomness, nothing of ours is decided
//! here. Under a signature over the body everything follows from the body alone, and what unsigned headers say
//! beside it must not contradict it, nor add to it.

mod cloudevents;
mod golioth_pipelines;
mod inject_metadata;
mod logs;
mod output_streams;
mod platform;
mod reader;
mod unread;

use std::borrow::Cow;

use schema::{Body, Claimant, ExternalId, IntegrationId, Micros, ProviderDevice, Serial};
use strum::IntoStaticStr;

pub(crate) use self::{
    reader::Reader,
    unread::{Part, Unread, UnreadReason},
};
use crate::error::Rejection;

/// The dialect of a delivery: metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Dialect {
    /// Golioth Pipelines: context in headers.
    GoliothPipelines,
    /// The body of Golioth's transformer `inject-metadata`, on its own.
    InjectMetadata,
    /// Golioth Output Streams, which Pipelines replaced.
    OutputStreams,
    /// Structured `CloudEvents`.
    #[strum(serialize = "cloudevents")]
    CloudEvents,
    /// `device.created` and its like.
    Platform,
}

/// What a delivery says of a device, before it is stamped with what is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Of which device.
    pub(crate) device: ProviderDevice,
    /// What.
    pub(crate) body: Body,
    /// The sender's word for where it comes from; part of its identity.
    pub(crate) source: String,
    /// The sender's own id of it.
    pub(crate) sender_id: Option<String>,
    /// When it happened, by the claimant's word.
    pub(crate) claimed: Option<Micros>,
    /// Whose word that is.
    pub(crate) claimant: Claimant,
    /// Every part of it says its own time, so that a repeat is recognized without a time of the whole.
    pub(crate) self_timed: bool,
    /// Tells apart what one event of the sender's says.
    pub(crate) position: u32,
}

/// Why a reader gives up.
#[derive(Debug, PartialEq, Eq)]
enum Misread {
    /// The delivery is refused.
    Refused(Rejection),
    /// It is kept raw.
    Unread(Unread),
}

impl From<Rejection> for Misread {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<Unread> for Misread {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

/// All that a delivery says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// In which words; `None` if in none that we know.
    pub(crate) dialect: Option<Dialect>,
    /// What is understood.
    pub(crate) statements: Vec<Statement>,
    /// What is not.
    pub(crate) unread: Vec<Unread>,
}

/// What the signed bytes of one event say that headers may repeat.
struct Signed<'a> {
    /// The device, by id and by name.
    sources: [Option<Cow<'a, str>>; 2],
    /// The project, or whatever the event is about.
    subject: Option<Cow<'a, str>>,
    /// The type.
    kind: Option<Cow<'a, str>>,
}

/// What an event type means.
enum Meaning<'a> {
    /// Golioth stream data on this path.
    Stream(&'a str),
    /// A platform event.
    Occurrence(platform::Occurrence),
    /// An event of Golioth's Output Streams.
    OutputStream(output_streams::Kind),
    /// Ours.
    Reserved,
    /// Nobody's.
    Unknown,
}

/// More statements than one event makes.
const BATCH_STEP: u32 = 1 << 10;

impl<'a> Meaning<'a> {
    fn of(kind: &'a str) -> Self {
        if let Some(path) = golioth_pipelines::path(kind) {
            Self::Stream(path)
        } else if let Ok(occurrence) = kind.parse::<platform::Occurrence>() {
            Self::Occurrence(occurrence)
        } else if let Ok(kind) = kind.parse::<output_streams::Kind>() {
            Self::OutputStream(kind)
        } else if is_reserved(kind) {
            Self::Reserved
        } else {
            Self::Unknown
        }
    }

    /// Why nothing of this type is read.
    fn unread(&self) -> Unread {
        let (reason, detail) = match self {
            Self::Stream(_) | Self::Occurrence(_) | Self::OutputStream(_) => (
                UnreadReason::Incomplete,
                "the data is not the object that the type promises",
            ),
            Self::Reserved => (
                UnreadReason::ReservedType,
                "types that begin with io.fleetlog. are ours",
            ),
            Self::Unknown => (UnreadReason::UnknownType, "the event type is unknown"),
        };
        Unread::whole(reason, detail)
    }
}

fn is_reserved(kind: &str) -> bool {
    let start = kind.get(..schema::TYPE_PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(schema::TYPE_PREFIX))
}

impl Heard {
    fn understood(dialect: Dialect, statements: Vec<Statement>) -> Self {
        Self {
            dialect: Some(dialect),
            statements,
            unread: Vec::new(),
        }
    }

    /// Nothing is understood.
    pub(crate) fn unread(unread: Unread) -> Self {
        Self {
            dialect: None,
            statements: Vec::new(),
            unread: vec![unread],
        }
    }

    fn of(dialect: Dialect, read: Result<Vec<Statement>, Misread>) -> Result<Self, Rejection> {
        match read {
            Ok(statements) => Ok(Self::understood(dialect, statements)),
            Err(Misread::Unread(unread)) => Ok(Self::unread(unread)),
            Err(Misread::Refused(rejection)) => Err(rejection),
        }
    }
}

impl Signed<'_> {
    /// Whether headers say nothing that the signed bytes do not.
    fn agrees(&self, [source, subject, kind]: &[Option<Cow<'_, str>>; 3]) -> bool {
        let agrees = |heard: &Option<Cow<'_, str>>, signed: &Option<Cow<'_, str>>| match (heard, signed) {
            (None, _) => true,
            (Some(heard), Some(signed)) => heard == signed || same_path(heard, signed),
            (Some(_), None) => false,
        };
        let [by_id, by_name] = &self.sources;
        let source_agrees = agrees(source, by_id) || (by_name.is_some() && agrees(source, by_name));
        source_agrees && agrees(subject, &self.subject) && agrees(kind, &self.kind)
    }
}

/// Whether two texts are Golioth types of the same path.
fn same_path(one: &str, other: &str) -> bool {
    match (golioth_pipelines::path(one), golioth_pipelines::path(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

fn foreign_json() -> Unread {
    Unread::whole(UnreadReason::Unrecognized, "JSON of no dialect that is known")
}

/// The device that a body names, by id if it can.
fn device(
    integration: IntegrationId,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<ProviderDevice, Unread> {
    let invalid = |what: &str| {
        Unread::whole(
            UnreadReason::InvalidDevice,
            format!("the device's {what} is malformed"),
        )
    };
    match (id, name) {
        (Some(id), _) => {
            let id = ExternalId::new(id).map_err(|_| invalid("id"))?;
            Ok(ProviderDevice::by_id(integration, id))
        }
        (None, Some(name)) => {
            let name = Serial::new(name).map_err(|_| invalid("name"))?;
            Ok(ProviderDevice::by_name(integration, name))
        }
        (None, None) => Err(Unread::whole(UnreadReason::NoDevice, "no device is named")),
    }
}

#[cfg(test)]
mod nothing_is_lost;
#[cfg(test)]
mod only_its_own_project;
#[cfg(test)]
mod published_shapes;
#[cfg(test)]
mod tests;
