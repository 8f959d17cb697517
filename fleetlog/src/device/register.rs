//! `fleetlog device register`: a device that people know of before any cloud does.

use std::collections::BTreeMap;

use clap::Args;
use schema::{Body, DeviceId, DeviceRegistered, Extra, Fields, OrganizationId, RawJson, Serial, Subject};
use serde_json::json;
use stream::Position;

use super::{edit::editable, sql};
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    decided::{self, Concern},
    failure::Failure,
    parse::field_json,
    waiting::Waiting,
};

/// Registers a device by its serial number, and waits until it shows
///
/// Registered here first or seen in a cloud first: the same serial number is the same device. The serial number is
/// trimmed and composed (NFC); nobody edits it afterwards.
#[derive(Args)]
#[command(after_help = "\
Example:
  fleetlog device register C252400001 --organization ID --name 'North gate' --field 'notes=\"on the mast\"'")]
pub(crate) struct Register {
    /// Serial number: 1 to 256 bytes, no control characters
    serial: Serial,
    /// Whose device it is
    #[arg(long, value_name = "ID")]
    organization: OrganizationId,
    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// First value of another field, as JSON; may be repeated
    #[arg(long = "field", value_name = "FIELD=JSON", value_parser = field_json)]
    fields: Vec<(String, RawJson)>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
    /// Print the columns of fleet.devices as one JSON object; with --no-wait the position in the log
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Register {
    /// Appends, and waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        sql::organization_exists(&pool, self.organization).await?;
        let device = DeviceId::of_serial(self.organization, &self.serial);
        if sql::is_registered(&pool, device).await? {
            let serial = &self.serial;
            return Err(Failure::refused(format!(
                "{serial} is registered already, as device {device}: `fleetlog device edit` changes what is said of it"
            )));
        }
        let position = self.append(device).await?;
        if !self.waiting.until_folded(&pool, position, self.json).await? {
            return Ok(());
        }
        super::print_device(&pool, device, self.json).await
    }

    async fn append(&self, device: DeviceId) -> Result<Position, Failure> {
        let name = self
            .name
            .iter()
            .map(|name| ("name".to_owned(), RawJson::from_value(&json!(name))));
        let mut fields = BTreeMap::new();
        for (name, value) in self.fields.iter().cloned().chain(name) {
            editable(&name, &value)?;
            if fields.insert(name.clone(), value).is_some() {
                return Err(Failure::usage(format!(
                    "{name} is given twice: say once what it shall be"
                )));
            }
        }
        let body = DeviceRegistered {
            serial: self.serial.clone(),
            fields: Fields(fields),
            author: self.author.author().to_owned(),
            reason: self.reason.clone(),
            extra: Extra::new(),
        };
        append_registration(&self.kafka, self.organization, device, body).await
    }
}

/// Appends that a device is registered.
pub(super) async fn append_registration(
    kafka: &KafkaArgs,
    organization: OrganizationId,
    device: DeviceId,
    body: DeviceRegistered,
) -> Result<Position, Failure> {
    let concern = Concern {
        organization,
        integration: None,
        subject: Subject::Device(device),
    };
    decided::append(
        kafka,
        &decided::event(concern, Body::DeviceRegistered(body), clock::now()),
    )
    .await
}
