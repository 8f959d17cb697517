//! `fleetlog device`: what is known of devices, and what people decide about them.

mod bind;
pub(crate) mod change;
pub(crate) mod edit;
mod erase;
mod explain;
pub(crate) mod facts;
pub(crate) mod fields;
mod gather;
mod history;
mod import;
pub(crate) mod named;
mod register;
mod retire;
mod sql;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt as _;
use schema::{DeviceId, OrganizationId};
use serde_json::Value;
use sqlx::PgPool;

use crate::{config::ReaderDatabase, failure::Failure, output};

/// Lists, shows, registers, edits, imports, retires, binds, explains and erases devices
#[derive(Subcommand)]
pub(crate) enum Device {
    List(List),
    Show(Show),
    Register(register::Register),
    Edit(Box<edit::Edit>),
    Import(Box<import::Import>),
    Retire(retire::Retire),
    Restore(retire::Restore),
    Bind(bind::Bind),
    History(history::History),
    Explain(explain::Explain),
    Erase(Box<erase::Erase>),
}

/// Lists the devices of an organization by serial number
///
/// Those out of service are left out unless asked for.
#[derive(Args)]
pub(crate) struct List {
    /// Whose devices
    #[arg(long, value_name = "ID")]
    organization: OrganizationId,
    /// Those out of service as well
    #[arg(long)]
    retired: bool,
    /// Print a JSON object a line: the columns of fleet.devices
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
}

/// Shows a device
#[derive(Args)]
pub(crate) struct Show {
    /// Its serial number, or its id here
    #[arg(value_name = "SERIAL|ID")]
    device: String,
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Print the columns of fleet.devices as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
}

impl Device {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Register(command) => command.run().await,
            Self::Edit(command) => command.run().await,
            Self::Import(command) => command.run().await,
            Self::Retire(command) => command.run().await,
            Self::Restore(command) => command.run().await,
            Self::Bind(command) => command.run().await,
            Self::History(command) => command.run().await,
            Self::Explain(command) => command.run().await,
            Self::Erase(command) => command.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let mut n = 0_u64;
        let mut rows = Vec::new();
        {
            let mut devices = sql::devices(&pool, self.organization, self.retired);
            while let Some(device) = devices.try_next().await? {
                n += 1;
                if self.json {
                    output::line(device)?;
                } else {
                    rows.push(row(&parsed(&device)?));
                }
            }
        }
        if n == 0 {
            // No devices are something else than no organization.
            sql::organization_exists(&pool, self.organization).await?;
        }
        let hidden = if self.retired {
            0
        } else {
            sql::n_retired(&pool, self.organization).await?
        };
        if hidden > 0 {
            let devices = if hidden == 1 { "device is" } else { "devices are" };
            eprintln!("{hidden} retired {devices} left out: --retired lists them too");
        }
        if self.json {
            return Ok(());
        }
        let headings = [
            "serial",
            "name",
            "connectivity",
            "last report",
            "battery",
            "signal",
            "firmware",
            "cohort",
            "id",
        ];
        output::table(headings, &rows)
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let known = named::one(&pool, &self.device, self.organization).await?;
        print_device(&pool, known.id, self.json).await
    }
}

/// Prints a device as it is shown now.
async fn print_device(pool: &PgPool, device: DeviceId, json: bool) -> Result<(), Failure> {
    match sql::device(pool, device).await? {
        Some(row) => print(&row, json),
        None => Err(Failure::not_found(format!("there is no device {device}"))),
    }
}

/// Prints a device, given as the JSON of its row.
fn print(device: &str, json: bool) -> Result<(), Failure> {
    if json {
        return output::line(device);
    }
    let value = parsed(device)?;
    let fields = value.as_object().into_iter().flatten();
    let rows: Vec<_> = fields
        .map(|(name, _)| [name.clone(), plain(&value, name)])
        .collect();
    output::table(["field", "value"], &rows)
}

fn row(device: &Value) -> [String; 9] {
    [
        "serial",
        "name",
        "connectivity",
        "last_report_at",
        "battery",
        "signal",
        "firmware_version",
        "cohort",
        "id",
    ]
    .map(|column| plain(device, column))
}

fn parsed(device: &str) -> Result<Value, Failure> {
    Ok(serde_json::from_str(device).map_err(anyhow::Error::from)?)
}

/// A column as people read it.
fn plain(device: &Value, column: &str) -> String {
    match &device[column] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => value.to_string(),
    }
}
