//! `fleetlog device edit`: what people say of a device.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use schema::{Body, Event, Field, NotEditable, OrganizationId, RawJson, Subject};
use serde_json::{Value, json};
use stream::Position;

use super::{
    change::{Edit as Change, Wanted},
    fields::{self, Shown},
    named::{self, Known},
};
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    decided::{self, Concern},
    failure::Failure,
    output,
    parse::field_json,
    waiting::{Waiting, position_json},
};

/// Edits fields of a device, and waits until they show
///
/// name, notes and location are ours alone. metadata, enabled, blueprint and tags belong to the cloud as well: an edit
/// carries what you saw, is pushed to the cloud, and where the cloud has changed the field meanwhile, the strategy of
/// its integration decides. What only the cloud or the device can say, e.g. status or firmware, is refused.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device edit C252400001 --name 'North gate' --notes 'on the mast'
  fleetlog device edit C252400001 --set 'metadata={\"site\": \"north\"}' --tag 65b0 --untag 65b1
  fleetlog device edit C252400001 --set enabled=false --if enabled=true --reason 'taken for repair'")]
pub(crate) struct Edit {
    /// Its serial number, or its id here
    #[arg(value_name = "SERIAL|ID")]
    device: String,
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    #[command(flatten)]
    changes: Changes,
    /// Refuse unless the field shows this value now; may be repeated
    #[arg(long = "if", value_name = "FIELD=JSON", value_parser = field_json)]
    expected: Vec<(String, RawJson)>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
    /// Print {"device", "serial", "edit", "position", "fields"} as JSON; with --no-wait the position in the log
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What is to be changed.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// New value of a field, as JSON; may be repeated
    #[arg(long, value_name = "FIELD=JSON", value_parser = field_json)]
    set: Vec<(String, RawJson)>,
    /// What people call it, 1 to 256 bytes
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// What people note of it
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// Add the tag of this id; may be repeated
    #[arg(long, value_name = "ID")]
    tag: Vec<String>,
    /// Remove the tag of this id; may be repeated
    #[arg(long, value_name = "ID")]
    untag: Vec<String>,
    /// Take a field's value away: a name shows the serial number then; may be repeated
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
}

impl Edit {
    /// Appends, and waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let wanted = self.changes.wanted()?;
        let pool = self.database.pool()?;
        let known = named::one(&pool, &self.device, self.organization).await?;
        let shown = fields::shown(&pool, &[known.id], None).await?;
        let shown = shown.into_values().next().unwrap_or_default();
        check_expected(&self.expected, &shown)?;
        let strategies = fields::strategies(&pool, known.organization).await?;
        let names: Vec<_> = wanted.keys().map(ToString::to_string).collect();
        let Some(change) = Change::of(&wanted, &shown, &strategies) else {
            if !self.json {
                output::line(format!("nothing to change: {} shows this already", known.serial))?;
            }
            return report(&known, &names, &shown, None, self.json);
        };
        let event = self.event(&known, change)?;
        let position = decided::append(&self.kafka, &event).await?;
        if !self.waiting.until_folded(&pool, position, self.json).await? {
            return Ok(());
        }
        let shown = fields::shown(&pool, &[known.id], Some(&names)).await?;
        let shown = shown.into_values().next().unwrap_or_default();
        report(&known, &names, &shown, Some((&event, position)), self.json)
    }

    fn event(&self, known: &Known, change: Change) -> Result<Event, Failure> {
        let concern = Concern {
            organization: known.organization,
            integration: None,
            subject: Subject::Device(known.id),
        };
        let at = decided::after(clock::now(), change.seen_at.iter().copied());
        let body = change.body(known.serial()?, self.author.author(), self.reason.as_deref());
        Ok(decided::event(concern, Body::DeviceEdited(body), at))
    }
}

impl Changes {
    /// What is wanted of each field, checked.
    fn wanted(&self) -> Result<Wanted, Failure> {
        let text = |field: &str, text: &String| (field.to_owned(), RawJson::from_value(&json!(text)));
        let tag = |id: &String, is: bool| (format!("tag:{id}"), RawJson::from_value(&json!(is)));
        let null = |field: &String| (field.clone(), RawJson::from_value(&Value::Null));
        let said = self.set.iter().cloned();
        let said = said.chain(self.name.iter().map(|name| text("name", name)));
        let said = said.chain(self.notes.iter().map(|notes| text("notes", notes)));
        let said = said.chain(self.tag.iter().map(|id| tag(id, true)));
        let said = said.chain(self.untag.iter().map(|id| tag(id, false)));
        let said = said.chain(self.unset.iter().map(null));
        let mut wanted = BTreeMap::new();
        for (name, value) in said {
            let field = editable(&name, &value)?;
            if wanted.insert(field, value).is_some() {
                return Err(Failure::usage(format!(
                    "{name} is given twice: say once what it shall be"
                )));
            }
        }
        Ok(wanted)
    }
}

/// A field that can be edited, and holds such a value.
///
/// # Errors
/// Others own it: refused. There is no such field, or it holds no such value: usage.
pub(crate) fn editable(name: &str, value: &RawJson) -> Result<Field, Failure> {
    let checked = Field::parse(name).and_then(|field| field.check(value).map(|()| field));
    checked.map_err(|error| match error {
        NotEditable::Owned { .. } => Failure::refused(error),
        NotEditable::Unknown(_) | NotEditable::Value { .. } => Failure::usage(error),
    })
}

/// Refuses unless everything shows as its author thinks.
fn check_expected(expected: &[(String, RawJson)], shown: &Shown) -> Result<(), Failure> {
    for (field, value) in expected {
        if !shown.shows(field, value) {
            let now = shown.fields.get(field).and_then(|field| field.value.as_ref());
            let now = now.map_or("null", RawJson::get);
            return Err(Failure::refused(format!(
                "{field} shows {now}, not {}: look again, then edit",
                value.get()
            )));
        }
    }
    Ok(())
}

fn report(
    known: &Known,
    names: &[String],
    shown: &Shown,
    appended: Option<(&Event, Position)>,
    json: bool,
) -> Result<(), Failure> {
    let of: BTreeSet<&String> = names.iter().collect();
    let row = |name: &&String| {
        let field = shown.fields.get(*name);
        let value = field.and_then(|field| field.value.as_ref());
        let state = field.map(|field| field.state.as_str());
        ((*name).clone(), value.map(RawJson::get), state)
    };
    let rows = of.iter().map(row);
    if json {
        let fields: Vec<_> = rows
            .map(|(field, value, state)| {
                let value = value.and_then(|value| serde_json::from_str::<Value>(value).ok());
                json!({ "field": field, "value": value, "state": state })
            })
            .collect();
        return output::json(&json!({
            "device": known.id,
            "serial": known.serial,
            "edit": appended.map(|(event, _)| event.id),
            "position": appended.map(|(_, position)| position_json(position)),
            "fields": fields,
        }));
    }
    let rows: Vec<_> = rows
        .map(|(field, value, state)| [field, output::or_dash(value), output::or_dash(state)])
        .collect();
    output::table(["field", "shown", "state"], &rows)
}
