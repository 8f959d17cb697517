//! `fleetlog device retire` and `restore`: out of service, and back.

use clap::Args;
use schema::{Body, DeviceRestored, DeviceRetired, Extra, OrganizationId, Subject};

use super::named;
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    decided::{self, Concern},
    failure::Failure,
    waiting::Waiting,
};

/// Takes a device out of service, and waits until it shows so
///
/// What is known of it stays, and so does what it still sends. Lists leave it out unless asked.
#[derive(Args)]
#[command(after_help = "\
Example:
  fleetlog device retire C252400001 --reason 'broken by frost'")]
pub(crate) struct Retire {
    #[command(flatten)]
    service: Service,
}

/// Puts a retired device back into service, and waits until it shows so
#[derive(Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    service: Service,
}

#[derive(Args)]
struct Service {
    /// Its serial number, or its id here
    #[arg(value_name = "SERIAL|ID")]
    device: String,
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
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

impl Retire {
    /// Appends, and waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.service.change(true).await
    }
}

impl Restore {
    /// Appends, and waits.
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.service.change(false).await
    }
}

impl Service {
    async fn change(self, retire: bool) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let known = named::one(&pool, &self.device, self.organization).await?;
        match known.retired_at {
            Some(at) if retire => {
                return Err(Failure::refused(format!(
                    "{} is retired already, since {at}",
                    known.serial
                )));
            }
            None if !retire => {
                return Err(Failure::refused(format!(
                    "{} is in service: it is not retired",
                    known.serial
                )));
            }
            Some(_) | None => {}
        }
        let (serial, author, reason) = (
            known.serial()?,
            self.author.author().to_owned(),
            self.reason.clone(),
        );
        let extra = Extra::new();
        let body = if retire {
            Body::DeviceRetired(DeviceRetired {
                serial,
                author,
                reason,
                extra,
            })
        } else {
            Body::DeviceRestored(DeviceRestored {
                serial,
                author,
                reason,
                extra,
            })
        };
        let concern = Concern {
            organization: known.organization,
            integration: None,
            subject: Subject::Device(known.id),
        };
        let at = decided::after(clock::now(), known.retired_at);
        let position = decided::append(&self.kafka, &decided::event(concern, body, at)).await?;
        if !self.waiting.until_folded(&pool, position, self.json).await? {
            return Ok(());
        }
        super::print_device(&pool, known.id, self.json).await
    }
}
