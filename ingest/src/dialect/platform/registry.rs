//! What a payload shows of a device's entry in the provider's registry.

use schema::{Observed, ProviderDeviceObserved, RawJson, Tag};
use serde_json::value::RawValue;

use super::{STATUSES, Shown};
use crate::payload::Object;

/// The fields that the payload has; one that is `null` was seen absent.
pub(super) fn observed(shown: &Shown<'_>) -> ProviderDeviceObserved {
    ProviderDeviceObserved {
        complete: false,
        name: shown.name.clone().map(|name| Some(name.into_owned())),
        enabled: field(shown, &["enabled"], |value| {
            serde_json::from_str(value.get()).ok()
        }),
        status: field(shown, &STATUSES, string),
        hardware_ids: field(shown, &["hardwareIds", "hardware_ids"], texts),
        tags: field(shown, &["tags", "tagIds", "tag_ids"], tags),
        cohort: field(shown, &["cohortId", "cohort_id", "cohort"], string),
        blueprint: field(shown, &["blueprintId", "blueprint_id", "blueprint"], string),
        metadata: field(shown, &["metadata"], |value| RawJson::parse(value.get()).ok()),
        ..ProviderDeviceObserved::default()
    }
}

/// A field, unless it is of a kind that nobody expects.
fn field<T>(shown: &Shown<'_>, names: &[&str], read: impl Fn(&RawValue) -> Option<T>) -> Observed<T> {
    let value = shown.get(names)?;
    if value.get() == "null" {
        return Some(None);
    }
    read(value).map(Some)
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A list of texts; other elements keep their JSON text. A text alone is a list of one.
fn texts(value: &RawValue) -> Option<Vec<String>> {
    if let Some(text) = string(value) {
        return Some(vec![text]);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    let text = |element: &RawValue| string(element).unwrap_or_else(|| element.get().to_owned());
    Some(elements.into_iter().map(text).collect())
}

/// A list of tags: ids, or objects of id and name.
fn tags(value: &RawValue) -> Option<Vec<Tag>> {
    let elements: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    elements
        .into_iter()
        .map(|element| {
            let Some(object) = Object::parse(element.get()) else {
                let id = string(element)?;
                return Some(Tag { id, name: None });
            };
            let name = object.text(&["name"]).map(std::borrow::Cow::into_owned);
            let id = object.text_or_number(&["id"]).map(std::borrow::Cow::into_owned);
            Some(Tag {
                id: id.or_else(|| name.clone())?,
                name,
            })
        })
        .collect()
}
