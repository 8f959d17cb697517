//! The context of a delivery, as CloudEvents writes it: in headers or around the data.
//!
//! Optional attributes are optional here even where the specification demands them: Golioth promises source, subject
//! and type, and nothing else.

mod headers;
mod structured;

use std::{borrow::Cow, collections::BTreeMap};

use schema::{Fields, Micros, RawJson};
use serde_json::Value;

pub(crate) use headers::hearsay;
pub(crate) use structured::{CloudEvent, Data, looks_structured};

/// What the context of an event says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    /// Where it comes from. Golioth: the device's id.
    pub(crate) source: Option<Cow<'a, str>>,
    /// What it is about. Golioth: the project's id.
    pub(crate) subject: Option<Cow<'a, str>>,
    /// What happened. Golioth: a prefix and the stream path.
    pub(crate) kind: Option<Cow<'a, str>>,
    /// The sender's id of it.
    pub(crate) id: Option<Cow<'a, str>>,
    /// When it happened, by the sender's word.
    pub(crate) time: Option<Micros>,
    /// The media type of the data.
    pub(crate) content_type: Option<Cow<'a, str>>,
    /// Attributes that CloudEvents does not define.
    pub(crate) extensions: BTreeMap<String, RawJson>,
}

impl Envelope<'_> {
    /// What is kept of it inside the data, under the sender's own names.
    ///
    /// The source is left out where it is the device's id, which the subject of our event says already.
    pub(crate) fn kept(&self, device: &str) -> Fields {
        let mut kept = self.extensions.clone();
        let source = self.source.as_ref().filter(|source| *source != device);
        let attributes = [
            ("source", source),
            ("subject", self.subject.as_ref()),
            ("id", self.id.as_ref()),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                kept.insert(name.to_owned(), text(value));
            }
        }
        Fields(kept)
    }
}

/// A text as JSON.
fn text(text: &str) -> RawJson {
    RawJson::from_value(&Value::String(text.to_owned()))
}

/// Whether an attribute is carried elsewhere: the context that CloudEvents defines, and trace context, which may
/// differ between two copies of one event and is never part of what it says.
fn is_carried_elsewhere(name: &str) -> bool {
    matches!(
        name,
        "specversion"
            | "id"
            | "source"
            | "type"
            | "subject"
            | "time"
            | "datacontenttype"
            | "data"
            | "data_base64"
            | "traceparent"
            | "tracestate"
    )
}
