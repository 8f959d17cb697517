//! From what people decide about fields, and what clouds answer, to rows.

use schema::{
    Body, DeviceEdited, DeviceId, DeviceRegistered, EditPushed, Event, Field, FieldChange, HorizonAdvanced,
    RawJson, Strategy, storable_text,
};

use super::{
    Ignored, Truth,
    rows::{AnswerKey, AnswerRow, EditKey, EditRow, Stored},
    stored,
};

/// Histories that can be cut.
const HISTORIES: [&str; 2] = ["readings", "logs"];

impl Stored {
    /// A value within bounds.
    pub fn new(raw: &RawJson) -> Self {
        Self::written(&RawJson::from_value(&stored::value(raw)))
    }

    /// A value that is within bounds already, since it was stored before.
    pub(super) fn written(value: &RawJson) -> Self {
        Self {
            hash: value.value_id(),
            text: value.get().to_owned(),
        }
    }
}

impl Truth {
    /// Joins the fields that an edit or a registration sets. `body` is what is stored of it.
    pub(super) fn edits(&mut self, device: DeviceId, event: &Event, body: &Body) {
        if let Body::DeviceRegistered(body) = body {
            self.registered_fields(device, event, body);
        } else if let Body::DeviceEdited(body) = body {
            self.edited_fields(device, event, body);
        }
    }

    /// What a device is registered with saw nothing of any cloud.
    fn registered_fields(&mut self, device: DeviceId, event: &Event, body: &DeviceRegistered) {
        for (field, value) in &body.fields.0 {
            let row = EditRow {
                organization: event.organization,
                value: Stored::new(value),
                seen_remote: None,
                seen_remote_at: None,
                seen_edit: None,
                strategy: default_strategy(field).as_str().to_owned(),
                resolves: Vec::new(),
                author: body.author.clone(),
                reason: body.reason.clone(),
                recorded_at: event.recorded_at,
            };
            self.join_edit(edit_key(device, event, field), row);
        }
    }

    fn edited_fields(&mut self, device: DeviceId, event: &Event, body: &DeviceEdited) {
        for change in &body.changes {
            let FieldChange {
                field,
                value,
                seen,
                strategy,
            } = change;
            let row = EditRow {
                organization: event.organization,
                value: Stored::new(value),
                seen_remote: seen.remote.as_ref().map(Stored::new),
                seen_remote_at: seen.remote_at,
                seen_edit: seen.edit,
                strategy: strategy.as_str().to_owned(),
                resolves: body.resolves.clone(),
                author: body.author.clone(),
                reason: body.reason.clone(),
                recorded_at: event.recorded_at,
            };
            self.join_edit(edit_key(device, event, field), row);
        }
    }

    /// Joins a cloud's answer to the push of an edit.
    pub(super) fn answer(&mut self, device: DeviceId, event: &Event, body: &EditPushed) {
        for field in &body.fields {
            let key = AnswerKey {
                device,
                edit: body.edit,
                field: stored::key_text(field),
            };
            let row = AnswerRow {
                organization: event.organization,
                key: event.key(),
                outcome: body.outcome,
                answer: body.answer.as_ref().map(|answer| Stored::new(answer).text),
            };
            self.join_answer(key, row);
        }
    }

    /// Joins where a history was cut.
    pub(super) fn horizon(&mut self, body: &HorizonAdvanced) -> Result<(), Ignored> {
        if !HISTORIES.contains(&body.history.as_str()) {
            return Err(Ignored::NotFolded);
        }
        self.join_horizon(body.history.clone(), body.before);
        Ok(())
    }
}

/// What decides where nobody said: a person, save for tags, which merge.
pub fn default_strategy(field: &str) -> Strategy {
    if Field::is_tag_name(field) {
        Strategy::Merge
    } else {
        Strategy::Manual
    }
}

fn edit_key(device: DeviceId, event: &Event, field: &str) -> EditKey {
    EditKey {
        device,
        field: stored::key_text(&storable_text(field)),
        key: event.key(),
    }
}
