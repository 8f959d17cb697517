//! What an observation says: names, and the registers of fields.

use std::borrow::Cow;

use schema::{KnownBy, ProviderDevice, ProviderDeviceObserved, RawJson, Serial, Tag};
use serde::Serialize;
use serde_json::json;

use super::{rows::Stored, stored};

/// The name that an event says of a provider device: what is no valid serial is none.
///
/// A provider device that is known by its name has that name, whatever else is said.
pub(super) fn name<'a>(device: &'a ProviderDevice, said: Option<&str>) -> Option<Cow<'a, Serial>> {
    match &device.known_by {
        KnownBy::Name(name) => Some(Cow::Borrowed(name)),
        KnownBy::Id(_) => Serial::new(said?).ok().map(Cow::Owned),
    }
}

/// Fields that an observation says. An absent field is `null`.
///
/// `tags` is a whole list, `tag:{id}` one tag: `{"present": true, "name": …}`. Of the two the newer wins when read,
/// on equal keys the single tag.
pub(super) fn fields(body: &ProviderDeviceObserved) -> Vec<(String, Stored)> {
    let mut fields = Vec::new();
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // What was written by us reads back.
            if let Ok(value) = RawJson::parse(&value) {
                fields.push((stored::key_text(name), Stored::written(&value)));
            }
        }
    };
    field("enabled", json_text(body.enabled.as_ref()));
    field("status", json_text(body.status.as_ref()));
    field("hardware_ids", json_text(body.hardware_ids.as_ref()));
    field("tags", json_text(body.tags.as_ref()));
    field("cohort", json_text(body.cohort.as_ref()));
    field("blueprint", json_text(body.blueprint.as_ref()));
    field("metadata", json_text(body.metadata.as_ref()));
    for Tag { id, name } in &body.tags_added {
        let added = match name {
            Some(name) => json!({ "present": true, "name": name }),
            None => json!({ "present": true }),
        };
        field(&format!("tag:{id}"), Some(added.to_string()));
    }
    for id in &body.tags_removed {
        let removed = json!({ "present": false });
        field(&format!("tag:{id}"), Some(removed.to_string()));
    }
    fields
}

fn json_text<T: Serialize>(field: Option<&Option<T>>) -> Option<String> {
    field.and_then(|value| serde_json::to_string(value).ok())
}
