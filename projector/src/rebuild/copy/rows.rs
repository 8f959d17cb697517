//! How a row of each truth table is written. The columns of the catalogue, each once: `tests/it` compares them.

use schema::{DeviceId, EventId, IntegrationId, KnownBy, Micros, OrganizationId, Origin, Serial};

use super::Row;
use crate::fold::identity::{Device, Link};
use crate::fold::rows::{
    ActivityRow, AnswerKey, AnswerRow, ConnectionKey, ConnectionRow, DeviceKey, EditKey, EditRow, FieldRow,
    FirmwareKey, FirmwareRow, HistoryKey, LatestKey, LatestRow, ListeningRow, LocalFact, LogRow, Payload,
    ProviderDeviceRow, ReadingRow, RegistryFact, Said,
};
use crate::sql::edits::outcome;

/// The columns of an order key that is not of a register among others.
const KEY: [&str; 3] = ["at", "sequence", "id"];

pub(in crate::rebuild) fn provider_device(row: &mut Row<'_>, key: DeviceKey, device: &ProviderDeviceRow) {
    let (known_by, external_id) = match &device.device.known_by {
        KnownBy::Id(id) => ("id", id.as_str()),
        KnownBy::Name(name) => ("name", name.as_str()),
    };
    row.uuid("id", key);
    row.uuid("organization", device.organization.0);
    row.uuid("integration", device.device.integration.0);
    row.text("known_by", known_by);
    row.text("external_id", external_id);
    let name = device.name.value().and_then(Option::as_ref);
    row.opt("name", name.map(Serial::as_str), Row::text);
    row.key(["name_at", "name_sequence", "name_id"], device.name.key());
    let first = device.first_name.as_ref();
    row.opt("first_name", first.map(|first| first.name.as_str()), Row::text);
    row.opt(
        "first_name_recorded_at",
        first.map(|first| first.recorded_at),
        Row::at,
    );
    row.opt("first_name_id", first.map(|first| first.id.0), Row::uuid);
    row.opt(
        "bound_device",
        device.bound.value().map(|device| device.0),
        Row::uuid,
    );
    row.key(["bound_at", "bound_sequence", "bound_id"], device.bound.key());
    row.opt("gone_how", device.gone.value().map(String::as_str), Row::text);
    row.key(["gone_at", "gone_sequence", "gone_id"], device.gone.key());
    row.key(["seen_at", "seen_sequence", "seen_id"], device.seen.key());
}

pub(in crate::rebuild) fn field(row: &mut Row<'_>, (device, name): &(DeviceKey, String), field: &FieldRow) {
    row.uuid("provider_device", *device);
    row.uuid("organization", field.organization.0);
    row.text("field", name);
    row.json("value", &field.value);
    row.uuid("value_hash", field.hash);
    row.key(KEY, Some(field.key));
}

pub(in crate::rebuild) fn activity(row: &mut Row<'_>, key: DeviceKey, activity: &ActivityRow) {
    row.uuid("provider_device", key);
    row.uuid("organization", activity.organization.0);
    row.uuid("integration", activity.integration.0);
    let report = activity.last_report.value();
    row.opt("last_report_by", report.map(|report| report.by.into()), Row::text);
    row.opt(
        "last_report_origin",
        report.map(|report| report.origin.into()),
        Row::text,
    );
    row.key(
        ["last_report_at", "last_report_sequence", "last_report_id"],
        activity.last_report.key(),
    );
    let connected = activity.connected.value();
    let session = connected.and_then(|connected| connected.session.as_deref());
    row.opt("connected_session", session, Row::text);
    let evidence = connected.map(|connected| connected.evidence.as_str());
    row.opt("connected_evidence", evidence, Row::text);
    row.key(
        ["connected_at", "connected_sequence", "connected_id"],
        activity.connected.key(),
    );
    let disconnected = activity.disconnected.value();
    let session = disconnected.and_then(|disconnected| disconnected.session.as_deref());
    row.opt("disconnected_session", session, Row::text);
    let evidence = disconnected.map(|disconnected| disconnected.evidence.as_str());
    row.opt("disconnected_evidence", evidence, Row::text);
    let reason = disconnected.and_then(|disconnected| disconnected.reason.as_deref());
    row.opt("disconnected_reason", reason, Row::text);
    row.key(
        ["disconnected_at", "disconnected_sequence", "disconnected_id"],
        activity.disconnected.key(),
    );
}

pub(in crate::rebuild) fn connection(row: &mut Row<'_>, key: &ConnectionKey, connection: &ConnectionRow) {
    row.uuid("provider_device", key.device);
    row.uuid("organization", connection.organization.0);
    row.at("at", key.at);
    row.boolean("connected", key.connected);
    row.text("session_id", &key.session);
    row.bigint("sequence", connection.copy.sequence);
    row.uuid("id", connection.copy.id.0);
    row.opt("reason", connection.reason.as_deref(), Row::text);
    row.text("evidence", &connection.evidence);
    row.at("recorded_at", connection.recorded_at);
}

pub(in crate::rebuild) fn firmware(row: &mut Row<'_>, key: &FirmwareKey, firmware: &FirmwareRow) {
    row.uuid("provider_device", key.device);
    row.uuid("organization", firmware.organization.0);
    row.text("package", &key.package);
    row.at("at", key.at);
    row.uuid("fact", key.fact);
    row.text("version", &firmware.version);
    row.text("target", &firmware.target);
    row.text("state", &firmware.state);
    row.text("reason", &firmware.reason);
    row.bigint("sequence", firmware.copy.sequence);
    row.uuid("id", firmware.copy.id.0);
    row.opt("state_code", firmware.state_code, Row::integer);
    row.opt("reason_code", firmware.reason_code, Row::integer);
    row.opt("via", firmware.via.as_deref(), Row::text);
    row.at("recorded_at", firmware.recorded_at);
}

pub(in crate::rebuild) fn latest(row: &mut Row<'_>, key: &LatestKey, latest: &LatestRow) {
    row.uuid("provider_device", key.device);
    row.uuid("organization", latest.organization.0);
    row.text("path", &key.path);
    row.uuid("shape", key.shape);
    row.key(KEY, Some(latest.key));
    row.at("recorded_at", latest.recorded_at);
    payload(row, &latest.payload);
}

fn payload(row: &mut Row<'_>, payload: &Payload) {
    row.opt("content_type", payload.content_type.as_deref(), Row::text);
    row.opt("data", payload.data.as_deref(), Row::json);
    row.opt("bytes", payload.bytes.as_deref(), Row::bytes);
}

pub(in crate::rebuild) fn reading(row: &mut Row<'_>, key: &HistoryKey, reading: &ReadingRow) {
    row.uuid("provider_device", key.device);
    row.uuid("organization", reading.said.organization.0);
    row.text("path", &reading.path);
    row.key(KEY, Some(key.key));
    payload(row, &reading.payload);
    said(row, &reading.said);
}

pub(in crate::rebuild) fn log(row: &mut Row<'_>, key: &HistoryKey, log: &LogRow) {
    row.uuid("provider_device", key.device);
    row.uuid("organization", log.said.organization.0);
    row.key(KEY, Some(key.key));
    row.opt("level", log.level.as_deref(), Row::text);
    row.opt("module", log.module.as_deref(), Row::text);
    row.text("message", &log.message);
    row.opt("metadata", log.metadata.as_deref(), Row::json);
    said(row, &log.said);
}

fn said(row: &mut Row<'_>, said: &Said) {
    row.at("recorded_at", said.recorded_at);
    // Nearly all are pushed, so that is what null stands for.
    let origin = (said.origin != Origin::Push).then(|| said.origin.into());
    row.opt("origin", origin, Row::text);
    row.opt("device_name", said.device_name.as_deref(), Row::text);
    row.opt("name_at", said.name_at, Row::at);
}

pub(in crate::rebuild) fn registry_fact(
    row: &mut Row<'_>,
    (device, id): &(DeviceKey, EventId),
    fact: &RegistryFact,
) {
    row.uuid("provider_device", *device);
    row.uuid("organization", fact.organization.0);
    row.uuid("id", id.0);
    row.text("name", &fact.name);
    row.at("at", fact.at);
    row.bigint("sequence", fact.sequence);
    row.at("recorded_at", fact.recorded_at);
    row.text("origin", fact.origin.into());
    row.json("body", &fact.body);
}

pub(in crate::rebuild) fn local_fact(
    row: &mut Row<'_>,
    (device, id): &(DeviceId, EventId),
    fact: &LocalFact,
) {
    row.uuid("device", device.0);
    row.uuid("organization", fact.organization.0);
    row.uuid("id", id.0);
    row.text("name", &fact.name);
    row.opt("serial", fact.serial.as_ref().map(Serial::as_str), Row::text);
    row.at("at", fact.at);
    row.bigint("sequence", fact.sequence);
    row.at("recorded_at", fact.recorded_at);
    row.opt("author", fact.author.as_deref(), Row::text);
    row.json("body", &fact.body);
}

pub(in crate::rebuild) fn edit(row: &mut Row<'_>, key: &EditKey, edit: &EditRow) {
    row.uuid("device", key.device.0);
    row.uuid("organization", edit.organization.0);
    row.text("field", &key.field);
    row.key(KEY, Some(key.key));
    row.json("value", &edit.value.text);
    row.uuid("value_hash", edit.value.hash);
    let seen = edit.seen_remote.as_ref();
    row.opt("seen_remote", seen.map(|seen| seen.text.as_str()), Row::json);
    row.opt("seen_hash", seen.map(|seen| seen.hash), Row::uuid);
    row.opt("seen_remote_at", edit.seen_remote_at, Row::at);
    row.opt("seen_edit", edit.seen_edit.map(|edit| edit.0), Row::uuid);
    row.text("strategy", &edit.strategy);
    row.texts("resolves", &edit.resolves);
    row.text("author", &edit.author);
    row.opt("reason", edit.reason.as_deref(), Row::text);
    row.at("recorded_at", edit.recorded_at);
}

pub(in crate::rebuild) fn answer(row: &mut Row<'_>, key: &AnswerKey, answer: &AnswerRow) {
    row.uuid("device", key.device.0);
    row.uuid("organization", answer.organization.0);
    row.uuid("edit", key.edit.0);
    row.text("field", &key.field);
    row.text("outcome", outcome(answer.outcome));
    row.opt("answer", answer.answer.as_deref(), Row::json);
    row.key(KEY, Some(answer.key));
}

pub(in crate::rebuild) fn horizon(row: &mut Row<'_>, history: &str, before: Micros) {
    row.text("history", history);
    row.at("before", before);
}

pub(in crate::rebuild) fn receipt_timed(
    row: &mut Row<'_>,
    (device, id): &(DeviceKey, EventId),
    organization: OrganizationId,
    at: Micros,
) {
    row.uuid("provider_device", *device);
    row.uuid("organization", organization.0);
    row.uuid("id", id.0);
    row.at("at", at);
}

pub(in crate::rebuild) fn listening(
    row: &mut Row<'_>,
    (integration, partition): &(IntegrationId, i32),
    listening: &ListeningRow,
) {
    row.uuid("integration", integration.0);
    row.uuid("organization", listening.organization.0);
    row.integer("partition", *partition);
    row.opt("last_push_at", listening.last_push_at, Row::at);
    row.opt("last_scan_at", listening.last_scan_at, Row::at);
}

pub(in crate::rebuild) fn link(row: &mut Row<'_>, key: DeviceKey, organization: OrganizationId, link: Link) {
    row.uuid("provider_device", key);
    row.uuid("organization", organization.0);
    row.uuid("device", link.device.0);
    row.text("via", link.via.into());
}

pub(in crate::rebuild) fn device(row: &mut Row<'_>, id: DeviceId, device: &Device) {
    row.uuid("id", id.0);
    row.uuid("organization", device.organization.0);
    row.text("serial", &device.serial);
    row.opt("name", device.name.as_deref(), Row::text);
    row.opt("registered_at", device.registered_at, Row::at);
    row.opt("retired_at", device.retired_at, Row::at);
}
