//! What is kept raw, why, and what a person does about it.

use strum::{EnumIter, IntoStaticStr};

/// Something authentic that is kept raw, since nobody understands it or it is of no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Why.
    pub(crate) reason: UnreadReason,
    /// What a person needs to know, without any content of the delivery.
    pub(crate) detail: String,
    /// The part of the delivery, if it is one of several.
    pub(crate) part: Option<Part>,
}

/// One event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which, from 0.
    pub(crate) index: u32,
    /// The structured `CloudEvent`.
    pub(crate) text: String,
}

impl Unread {
    /// The whole delivery.
    pub(crate) fn whole(reason: UnreadReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            part: None,
        }
    }

    /// What happened and what to do, as one line for a person.
    pub(crate) fn told(&self) -> String {
        format!("{}; {}", self.detail, self.reason.remedy())
    }
}

/// Why something authentic becomes a dead letter: metric label, log field, column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum UnreadReason {
    /// No dialect is recognized.
    Unrecognized,
    /// Meant as JSON, but it is none.
    MalformedJson,
    /// Packed, but it cannot be unpacked.
    MalformedGzip,
    /// A structured `CloudEvent` with a malformed member.
    MalformedCloudevent,
    /// An event type that nobody knows.
    UnknownType,
    /// An event type of ours: from outside it is no event.
    ReservedType,
    /// The event lacks what its type promises.
    Incomplete,
    /// No device is named.
    NoDevice,
    /// What names the device cannot be an id or a serial number.
    InvalidDevice,
    /// Understood, but about a project rather than a device.
    NotOfADevice,
    /// Understood: somebody tried the integration.
    TestEvent,
    /// Understood, but larger than the log takes.
    TooLargeForLog,
    /// Understood, but the event cannot be written.
    Unwritable,
}

impl UnreadReason {
    /// What a person does about it. `docs/dialects.md` says the same at length.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Unrecognized => {
                "send one of the dialects in docs/dialects.md: most often the Ce-* headers are missing, or the step \
                 inject-metadata"
            }
            Self::MalformedJson => {
                "correct what writes the body: a template, a pipeline step or a body that was cut short"
            }
            Self::MalformedGzip => "pack the body whole, or send it without Content-Encoding",
            Self::MalformedCloudevent => {
                "correct that member at the sender: specversion is 1.x, type and source are texts, time is RFC 3339, \
                 and data stands alone or as data_base64"
            }
            Self::UnknownType => {
                "use a type that docs/dialects.md names, or deselect this one at the sender; once a version of \
                 fleetlog reads it, re-drive the letter"
            }
            Self::ReservedType => {
                "name it otherwise at the sender: io.fleetlog. is what fleetlog itself says"
            }
            Self::Incomplete => "let the sender send all members that docs/dialects.md lists for the type",
            Self::NoDevice => "let the sender name the device, by device_id or by device_name",
            Self::InvalidDevice => {
                "correct it at the sender: ids and names have 1 to 256 bytes and no control characters"
            }
            Self::NotOfADevice => {
                "there is nothing to do; to see no more of them, deselect the type at the sender"
            }
            Self::TestEvent => "the integration works, and there is nothing to do",
            Self::TooLargeForLog => "let the sender send less at once, for instance shorter arrays",
            Self::Unwritable => {
                "report it as a fault of fleetlog, and re-drive the letter with the version that mends it"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_reason_is_explained_to_people() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dialects.md");
        let page = fs::read_to_string(page).unwrap();
        for reason in UnreadReason::iter() {
            let name: &str = reason.into();
            assert!(
                page.contains(&format!("| `{name}` |")),
                "docs/dialects.md lacks {name}"
            );
            assert!(reason.remedy().len() > 20, "{name}");
        }
    }

    #[test]
    fn what_is_told_fits_a_line() {
        for reason in UnreadReason::iter() {
            let told = Unread::whole(reason, "x".repeat(120)).told();
            assert!(
                !told.contains(['\n', '\r']) && !told.contains("  ") && told.len() < 400,
                "{told}"
            );
        }
    }
}
