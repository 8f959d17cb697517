//! `fleetlog device bind`: a person says which device a cloud's device is.

use clap::Args;
use schema::{
    Body, DeviceId, DeviceRegistered, ExternalId, Extra, Fields, IntegrationId, OrganizationId,
    ProviderDevice, ProviderDeviceBound, Serial, Subject,
};
use sqlx::PgPool;

use super::{
    register::append_registration,
    sql::{self, Shown},
};
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    decided::{self, Concern},
    failure::Failure,
    waiting::Waiting,
};

/// Says which device a provider's device is, and waits until it shows so
///
/// What a person says beats what names say. The provider's device is written as fleet.provider_devices and the events
/// write it, INTEGRATION/id:ID or INTEGRATION/name:NAME, or by its id alone with --integration.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device bind 6f96…/id:686d5da09c3ca8d766c1672b --serial C252400001
  fleetlog device bind 686d5da09c3ca8d766c1672b --integration 6f96… --duplicate --reason 'the label was copied'")]
pub(crate) struct Bind {
    /// The provider's device
    #[arg(value_name = "PROVIDER_DEVICE")]
    provider_device: String,
    /// The integration that speaks of it, if it is given by its id alone
    #[arg(long, value_name = "ID")]
    integration: Option<IntegrationId>,
    #[command(flatten)]
    to: To,
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

/// The device it is.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct To {
    /// It is this device
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// It is the device with this serial number, which is registered here if no device shows it
    #[arg(long, value_name = "SERIAL")]
    serial: Option<Serial>,
    /// It is a second device under a serial number that another machine has
    #[arg(long)]
    duplicate: bool,
}

/// What is to be bound, and to what.
struct Target {
    device: DeviceId,
    serial: Option<Serial>,
    /// Nobody has heard of it before.
    is_new: bool,
}

impl Bind {
    /// Appends, and waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let provider_device = self.provider_device()?;
        let organization = sql::organization_of(&pool, provider_device.integration).await?;
        let shown = sql::provider_device(&pool, &provider_device).await?;
        let target = self
            .target(&pool, organization, &provider_device, shown.as_ref())
            .await?;
        self.register(organization, &target).await?;

        let concern = Concern {
            organization,
            integration: Some(provider_device.integration),
            subject: Subject::ProviderDevice(provider_device.clone()),
        };
        let body = ProviderDeviceBound {
            device: target.device,
            serial: target.serial,
            seen_device: shown.and_then(|shown| shown.device).map(DeviceId),
            duplicate: self.to.duplicate,
            resolves: Vec::new(),
            author: self.author.author().to_owned(),
            reason: self.reason.clone(),
            extra: Extra::new(),
        };
        let event = decided::event(concern, Body::ProviderDeviceBound(body), clock::now());
        let position = decided::append(&self.kafka, &event).await?;
        if !self.waiting.until_folded(&pool, position, self.json).await? {
            return Ok(());
        }
        super::print_device(&pool, target.device, self.json).await
    }

    fn provider_device(&self) -> Result<ProviderDevice, Failure> {
        match self.integration {
            Some(integration) => {
                let id = ExternalId::new(&self.provider_device).map_err(Failure::usage)?;
                Ok(ProviderDevice::by_id(integration, id))
            }
            None => self.provider_device.parse().map_err(Failure::usage),
        }
    }

    async fn target(
        &self,
        pool: &PgPool,
        organization: OrganizationId,
        provider_device: &ProviderDevice,
        shown: Option<&Shown>,
    ) -> Result<Target, Failure> {
        if let Some(device) = self.to.device {
            let serial = sql::serial(pool, organization, device).await?;
            let serial = serial.ok_or_else(|| {
                Failure::not_found(format!("organization {organization} has no device {device}"))
            })?;
            let serial = Serial::new(&serial).ok();
            return Ok(Target {
                device,
                serial,
                is_new: false,
            });
        }
        if let Some(serial) = &self.to.serial {
            let shows_it = sql::with_serial(pool, organization, serial.as_str()).await?;
            let (device, is_new) = match shows_it.as_slice() {
                [] => (DeviceId::of_serial(organization, serial), true),
                [device] => (*device, false),
                [_, _, ..] => {
                    return Err(Failure::refused(format!(
                        "several devices show {serial}: name one with --device"
                    )));
                }
            };
            let serial = Some(serial.clone());
            return Ok(Target {
                device,
                serial,
                is_new,
            });
        }
        let name = shown.and_then(|shown| shown.name.as_deref().or(shown.serial.as_deref()));
        let serial = name.and_then(|name| Serial::new(name).ok()).ok_or_else(|| {
            Failure::refused(format!(
                "{provider_device} has no name yet, so it duplicates nothing"
            ))
        })?;
        Ok(Target {
            device: DeviceId::duplicate(organization, &serial, provider_device),
            serial: Some(serial),
            is_new: false,
        })
    }

    /// Registers the device that is meant: without that, one whose cloud never named it would show no serial number.
    async fn register(&self, organization: OrganizationId, target: &Target) -> Result<(), Failure> {
        let Some(serial) = target.serial.clone().filter(|_| target.is_new) else {
            return Ok(());
        };
        let body = DeviceRegistered {
            serial,
            fields: Fields::default(),
            author: self.author.author().to_owned(),
            reason: self.reason.clone(),
            extra: Extra::new(),
        };
        append_registration(&self.kafka, organization, target.device, body).await?;
        Ok(())
    }
}
