//! Histories for people, and as JSON.

use std::collections::BTreeMap;

use projector::fold::{
    as_of::{Linked, View},
    fields::Shown,
    rows::Stored,
};
use schema::{DeviceId, IntegrationId, MaxRegister, Micros, OrderKey};
use serde_json::{Value, json};

use super::{
    shortened,
    timeline::{Change, Entry, Timeline},
};
use crate::{failure::Failure, output};

/// The names of integrations.
pub(super) type Names = BTreeMap<IntegrationId, String>;

/// Facts and what they changed, the newest first.
pub(super) fn timeline(timeline: &Timeline, integrations: &Names) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for entry in timeline.newest_first() {
        let mut said: Vec<String> = entry.changes.iter().map(change).collect();
        if said.is_empty() {
            said.push("(nothing new)".to_owned());
        }
        said.extend(entry.reason.iter().map(|reason| format!("reason: {reason}")));
        let late = (entry.recorded_at.minus(LATE) > entry.at).then(|| format!("told {}", entry.recorded_at));
        said.extend(late);
        rows.extend(
            said.into_iter()
                .enumerate()
                .map(|(n, said)| row(entry, integrations, n == 0, said)),
        );
    }
    output::table(["at", "what", "changed", "by"], &rows)
}

/// What was told so much later than it happened is said to have been.
const LATE: std::time::Duration = std::time::Duration::from_mins(1);

fn row(entry: &Entry, integrations: &Names, first: bool, said: String) -> [String; 4] {
    let integration = entry.integration.and_then(|id| integrations.get(&id));
    let by = entry.author.as_ref().or(integration);
    if first {
        [
            entry.at.to_string(),
            entry.name.clone(),
            said,
            output::or_dash(by),
        ]
    } else {
        [String::new(), String::new(), said, String::new()]
    }
}

fn change(change: &Change) -> String {
    let (field, after) = (&change.field, plain(&change.after));
    if change.before.is_null() {
        format!("{field} {after}")
    } else {
        format!("{field} {} → {after}", plain(&change.before))
    }
}

fn plain(value: &Value) -> String {
    shortened(&value.to_string())
}

/// A device as of a moment, as one JSON object.
pub(super) fn view_json(
    device: DeviceId,
    at: Option<Micros>,
    known_by: Option<Micros>,
    view: &View,
) -> Value {
    let fields = view.fields.iter().map(|(name, field)| {
        let edit = field.edit.as_ref().map(|(key, edit)| {
            json!({ "event": key.id, "at": key.at, "author": edit.author, "value": parsed(&edit.value) })
        });
        let remote = field.remote.as_ref().map(
            |remote| json!({ "event": remote.key.id, "at": remote.key.at, "value": parsed(&remote.value) }),
        );
        let shown = json!({
            "state": <&str>::from(field.state), "value": field.value.as_ref().map(parsed),
            "remote": remote, "edit": edit, "conflict": field.conflict,
        });
        (name.clone(), shown)
    });
    let linked = view.linked.iter().map(|linked| {
        let at = |key: Option<OrderKey>| key.map(|key| key.at);
        let activity = linked.activity.as_ref();
        let report = activity.and_then(|activity| activity.last_report.held());
        json!({
            "provider_device": linked.device, "linked_via": <&str>::from(linked.link.via), "gone_at": at(linked.gone),
            "last_report_at": report.map(|(key, _)| key.at),
            "last_report_by": report.map(|(_, report)| <&str>::from(report.by)),
            "connected_at": at(activity.and_then(|activity| activity.connected.key())),
            "disconnected_at": at(activity.and_then(|activity| activity.disconnected.key())),
        })
    });
    let firmware = view.firmware.iter().map(|(package, firmware)| {
        let (reported_at, newest) = &firmware.newest;
        let shown = json!({
            "version": firmware.version.as_ref().map(|(_, version)| version),
            "version_at": firmware.version.as_ref().map(|(at, _)| at),
            "target": newest.target, "state": newest.state, "reason": newest.reason, "reported_at": reported_at,
        });
        (package.clone(), shown)
    });
    json!({
        "device": device, "organization": view.device.organization, "at": at, "known_by": known_by,
        "serial": view.device.serial, "name": view.device.name,
        "registered_at": view.device.registered_at, "retired_at": view.device.retired_at,
        "fields": fields.collect::<serde_json::Map<_, _>>(),
        "provider_devices": linked.collect::<Vec<_>>(),
        "firmware": firmware.collect::<serde_json::Map<_, _>>(),
    })
}

fn parsed(value: &Stored) -> Value {
    serde_json::from_str(&value.text).unwrap_or_default()
}

/// A device as of a moment, for people.
pub(super) fn view(
    device: DeviceId,
    at: Micros,
    known_by: Option<Micros>,
    view: &View,
) -> Result<(), Failure> {
    let shown = &view.device;
    let known_by = known_by.map_or_else(|| "now".to_owned(), |known_by| known_by.to_string());
    let rows = [
        ("true at", at.to_string()),
        ("known by", known_by),
        ("serial", shown.serial.clone()),
        ("name", shown.name.clone().unwrap_or_else(|| shown.serial.clone())),
        ("registered", output::or_dash(shown.registered_at)),
        ("retired", output::or_dash(shown.retired_at)),
    ];
    output::table(
        ["device", &device.to_string()],
        &rows.map(|(name, value)| [name.to_owned(), value]),
    )?;
    if !view.fields.is_empty() {
        output::line("")?;
        let rows: Vec<_> = view
            .fields
            .iter()
            .map(|(name, field)| field_row(name, field))
            .collect();
        output::table(["field", "shown", "state", "since", "by"], &rows)?;
    }
    if !view.linked.is_empty() {
        output::line("")?;
        let rows: Vec<_> = view.linked.iter().map(linked_row).collect();
        let headings = [
            "provider device",
            "linked via",
            "last report",
            "connected",
            "disconnected",
            "gone",
        ];
        output::table(headings, &rows)?;
    }
    if !view.firmware.is_empty() {
        output::line("")?;
        let rows: Vec<_> = view
            .firmware
            .iter()
            .map(|(package, firmware)| {
                let (at, newest) = &firmware.newest;
                let version = firmware.version.as_ref().map(|(_, version)| version);
                let text = |text: &String| output::or_dash(Some(text).filter(|text| !text.is_empty()));
                [
                    package.clone(),
                    output::or_dash(version),
                    text(&newest.target),
                    text(&newest.state),
                    at.to_string(),
                ]
            })
            .collect();
        output::table(["package", "version", "target", "state", "reported"], &rows)?;
    }
    Ok(())
}

fn field_row(name: &str, field: &Shown) -> [String; 5] {
    let value = field.value.as_ref().map(|value| shortened(&value.text));
    let (since, by) = match (&field.edit, &field.remote) {
        (Some((key, edit)), _) if field.state.shows_edit() => (Some(key.at), Some(edit.author.clone())),
        (_, Some(remote)) => (Some(remote.key.at), Some("the cloud".to_owned())),
        (_, None) => (None, None),
    };
    let state: &str = field.state.into();
    [
        name.to_owned(),
        output::or_dash(value),
        state.to_owned(),
        output::or_dash(since),
        output::or_dash(by),
    ]
}

fn linked_row(linked: &Linked) -> [String; 6] {
    let activity = linked.activity.as_ref();
    let report = activity.and_then(|activity| activity.last_report.held());
    let report = report.map(|(key, report)| format!("{} ({})", key.at, <&str>::from(report.by)));
    [
        linked.device.to_string(),
        <&str>::from(linked.link.via).to_owned(),
        output::or_dash(report),
        output::or_dash(activity.and_then(|activity| newest(&activity.connected))),
        output::or_dash(activity.and_then(|activity| newest(&activity.disconnected))),
        output::or_dash(linked.gone.map(|gone| gone.at)),
    ]
}

fn newest<T>(register: &MaxRegister<T>) -> Option<Micros> {
    register.key().map(|key| key.at)
}
