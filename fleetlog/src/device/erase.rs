//! `fleetlog device erase`: a device is to be forgotten.

use clap::Args;
use schema::{Body, Extra, OrganizationId, ProviderDevice, Subject, SubjectErased};
use serde_json::json;
use sqlx::PgPool;

use super::named::{self, Known};
use crate::{
    clock,
    config::{AuthorArgs, KafkaArgs, ReaderDatabase},
    confirmed::Confirmation,
    decided::{self, Concern},
    failure::Failure,
    output,
    waiting::{position_json, print_position},
};

/// Says that a device is to be forgotten: all that was ever said of it, by clouds and by people
///
/// Only says so: the data goes when `fleetlog log rewrite` copies the log without it. What the device sends meanwhile
/// goes with it. To take it out of service and keep what is known, retire it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device erase C252400001
  fleetlog device erase C252400001 --yes && fleetlog log rewrite --to acme2")]
pub(crate) struct Erase {
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
    confirmation: Confirmation,
    /// Print what was said as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What goes with a device.
#[derive(sqlx::FromRow)]
struct Holdings {
    readings: i64,
    logs: i64,
    facts: i64,
}

impl Erase {
    /// Shows what goes, asks, and appends.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let known = named::one(&pool, &self.device, self.organization).await?;
        let provider_devices = provider_devices(&pool, &known).await?;
        let holdings = holdings(&pool, &known).await?;
        self.confirmation
            .of(&told(&known, &provider_devices, &holdings))?;
        let mut extra = Extra::from([("serial".to_owned(), json!(known.serial))]);
        extra.extend(
            self.reason
                .as_ref()
                .map(|reason| ("reason".to_owned(), json!(reason))),
        );
        let names: Vec<_> = provider_devices.iter().map(ToString::to_string).collect();
        let body = Body::SubjectErased(SubjectErased {
            provider_devices,
            scope: "all".to_owned(),
            author: self.author.author().to_owned(),
            extra,
        });
        let concern = Concern {
            organization: known.organization,
            integration: None,
            subject: Subject::Device(known.id),
        };
        let position = decided::append(&self.kafka, &decided::event(concern, body, clock::now())).await?;
        if self.json {
            return output::json(&json!({
                "device": known.id,
                "serial": known.serial,
                "provider_devices": names,
                "position": position_json(position),
            }));
        }
        print_position(position, false)?;
        output::line("the data goes with the next `fleetlog log rewrite`")
    }
}

fn told(known: &Known, provider_devices: &[ProviderDevice], holdings: &Holdings) -> String {
    let Holdings {
        readings,
        logs,
        facts,
    } = holdings;
    let clouds: Vec<_> = provider_devices
        .iter()
        .map(|device| format!("\n  {device}"))
        .collect();
    format!(
        "device {} ({}) is to be forgotten, and what clouds call it:{}\n{readings} readings, {logs} log entries and \
         {facts} other events go",
        known.serial,
        known.id,
        clouds.concat()
    )
}

/// What clouds call it.
async fn provider_devices(pool: &PgPool, known: &Known) -> Result<Vec<ProviderDevice>, Failure> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT provider_device FROM fleet.provider_devices WHERE device = $1 ORDER BY 1")
            .bind(known.id.0)
            .fetch_all(pool)
            .await?;
    let parse = |name: String| {
        let parsed = name.parse::<ProviderDevice>();
        parsed.map_err(|error| Failure::Failed(anyhow::anyhow!("{name} is no provider device: {error}")))
    };
    names.into_iter().map(parse).collect()
}

async fn holdings(pool: &PgPool, known: &Known) -> Result<Holdings, Failure> {
    Ok(sqlx::query_as(
        "SELECT (SELECT count(*) FROM fleet.readings WHERE device = $1) AS readings,
                (SELECT count(*) FROM fleet.logs WHERE device = $1) AS logs,
                (SELECT count(*) FROM fleet.facts WHERE device = $1) AS facts",
    )
    .bind(known.id.0)
    .fetch_one(pool)
    .await?)
}
