//! `fleetlog device explain`: why a field shows what it shows.

mod show;
mod trail;

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use futures_util::TryStreamExt as _;
use projector::fold::{
    as_of::{AsOf, Moment},
    fields::explain::{Explained, Statement, Verdict},
    identity::Link,
    rows::{DeviceKey, Stored},
};
use schema::{OrganizationId, ProviderDevice, RawJson};
use serde_json::json;
use sqlx::{FromRow, PgConnection, types::Json};
use uuid::Uuid;

use self::trail::Trail;
use super::{
    facts,
    history::snapshot,
    named::{self, Known},
    sql,
};
use crate::{
    config::{KafkaArgs, ReaderDatabase},
    failure::Failure,
    output,
};

/// Explains each field of a device, its serial number and firmware version: which event won, which lost and why, and where they lie in the log
///
/// Folds again what was told of the device, and says so if the rows that readers see show anything else. Without
/// Kafka's address events are named by their ids alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog device explain C252400001
  fleetlog device explain C252400001 metadata")]
pub(crate) struct Explain {
    /// Its serial number, or its id here
    #[arg(value_name = "SERIAL|ID")]
    device: String,
    /// Only this field, e.g. metadata, tag:ID
    field: Option<String>,
    /// Only of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// How many statements to show of a field
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// How long to look for events in the log
    #[arg(long, value_name = "D", default_value = "10s", value_parser = humantime::parse_duration)]
    find_within: Duration,
    /// Print a JSON object a field
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What explains a device.
struct Explanation {
    fields: BTreeMap<String, Explained>,
    /// The provider devices it is made of.
    clouds: BTreeMap<DeviceKey, ProviderDevice>,
    /// Where the events were said.
    trail: Trail,
    /// Fields that the rows which readers see show otherwise.
    drifted: Vec<String>,
}

impl Explain {
    /// Reads, folds again, and shows.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let known = named::one(&pool, &self.device, self.organization).await?;
        let mut snapshot = snapshot(&pool).await?;
        let mut explanation = explain(&mut snapshot, &known).await?;
        drop(snapshot);
        if let Some(field) = &self.field {
            explanation.fields.retain(|name, _| name == field);
            explanation.drifted.retain(|name| name == field);
            if explanation.fields.is_empty() {
                return Err(nothing_said(&known, field));
            }
        }
        for explained in explanation.fields.values_mut() {
            shorten(&mut explained.statements, self.limit as usize);
        }
        let statements = explanation
            .fields
            .values()
            .flat_map(|explained| &explained.statements);
        let events = statements.map(|statement| statement.key.id).collect();
        match self.kafka.log() {
            Ok(config) => explanation.trail.find(&config, events, self.find_within).await?,
            Err(_) => eprintln!("--kafka-brokers is not given: where events lie in the log is not looked up"),
        }
        for (name, explained) in &explanation.fields {
            if self.json {
                output::json(&show::json(&known, name, explained, &explanation))?;
            } else {
                show::text(name, explained, &explanation)?;
            }
        }
        if explanation.drifted.is_empty() {
            return Ok(());
        }
        let (fields, id) = (explanation.drifted.join(", "), known.id);
        Err(Failure::Failed(anyhow::anyhow!(
            "the rows that readers see show something else of {fields}: `fleetlog rebuild --device {id}` folds them again"
        )))
    }
}

/// Keeps the newest statements, and the one that won.
fn shorten(statements: &mut Vec<Statement>, limit: usize) {
    let mut n = 0;
    statements.retain(|statement| {
        n += 1;
        n <= limit || statement.verdict == Verdict::Won
    });
}

fn nothing_said(known: &Known, field: &str) -> Failure {
    let nothing = format!(
        "no cloud and nobody here said anything of {field} of {}",
        known.serial
    );
    let instead = match field {
        "firmware" => "the version it runs is the field firmware_version",
        "battery" | "signal" => "the readings that it is found in are in fleet.gauges",
        "connectivity" | "last_report_at" | "last_seen_online_at" | "last_seen_offline_at" => {
            "what it rests on is in fleet.connectivity"
        }
        "serial" | "provider_devices" => {
            "the names it has are shown by `fleetlog device show`, and when they changed by \
                                          `fleetlog device history --field serial`"
        }
        _ => return Failure::not_found(nothing),
    };
    Failure::not_found(format!("{nothing}; {instead}"))
}

async fn explain(snapshot: &mut PgConnection, known: &Known) -> Result<Explanation, Failure> {
    let linked = linked(snapshot, known).await?;
    let mut as_of = AsOf::new(Moment::END);
    let mut trail = Trail::default();
    let mut told = facts::of_device(snapshot, known.id);
    while let Some(fact) = told.try_next().await? {
        fact.tell(&mut as_of);
        trail.note(&fact);
    }
    drop(told);
    let keys: Vec<Uuid> = linked.iter().map(|linked| linked.id).collect();
    for heard in facts::heard(snapshot, &keys, Moment::END).await? {
        heard.tell(&mut as_of);
        trail.note_heard(&heard);
    }
    let mut tables = as_of.tables();
    // Which provider devices it is made of may depend on others, which were not read.
    tables.links.clear();
    let mut clouds = BTreeMap::new();
    for row in linked {
        let via = row.linked_via.parse().map_err(anyhow::Error::from)?;
        tables.links.insert(
            row.id,
            Link {
                device: known.id,
                via,
            },
        );
        clouds.insert(row.id, row.provider_device.parse().map_err(anyhow::Error::from)?);
    }
    let mut fields = tables.explain(known.id);
    let mut drifted = drifted(&shown(snapshot, known).await?, &fields);
    let primary = sql::primary_packages(snapshot, known.organization).await?;
    let (serial, version, called) = own(snapshot, known).await?;
    // The name has a column of its own in the list of devices; where none was given that shows the serial number.
    let given = fields
        .get("name")
        .and_then(|explained| explained.shown.value.as_ref());
    let given = given.filter(|value| value.text != "null").map(|value| value.hash);
    let is_given = called.as_ref().is_some_and(|called| {
        given == Some(Stored::new(&RawJson::from_value(&json!(called))).hash)
            || given.is_none() && serial.as_ref() == Some(called)
    });
    if !is_given && !drifted.iter().any(|name| name == "name") {
        drifted.push("name".to_owned());
    }
    for (name, explained, shown) in [
        ("serial", tables.explain_serial(known.id), serial),
        (
            "firmware_version",
            tables.explain_firmware(known.id, &primary),
            version,
        ),
    ] {
        let Some(explained) = explained else {
            continue;
        };
        let folded = explained.shown.value.as_ref().map(|value| value.hash);
        let shown = shown.map(|text| Stored::new(&RawJson::from_value(&json!(text))).hash);
        if folded != shown {
            drifted.push(name.to_owned());
        }
        fields.insert(name.to_owned(), explained);
    }
    Ok(Explanation {
        fields,
        clouds,
        trail,
        drifted,
    })
}

/// The serial number, the firmware version and the name that the device shows.
async fn own(
    snapshot: &mut PgConnection,
    known: &Known,
) -> Result<(Option<String>, Option<String>, Option<String>), sqlx::Error> {
    sqlx::query_as("SELECT d.serial, d.firmware_version, d.name FROM fleet.devices d WHERE d.id = $1")
        .bind(known.id.0)
        .fetch_one(snapshot)
        .await
}

/// Fields of which the view and the facts say different things.
fn drifted(
    shown: &BTreeMap<String, (String, Option<RawJson>)>,
    fields: &BTreeMap<String, Explained>,
) -> Vec<String> {
    let differs = |name: &&String| {
        let (Some((state, value)), Some(explained)) = (shown.get(*name), fields.get(*name)) else {
            return true;
        };
        let folded = explained
            .shown
            .value
            .as_ref()
            .filter(|value| value.text != "null");
        let folded = folded.map(|value| value.hash);
        state != <&str>::from(explained.shown.state)
            || folded != value.as_ref().map(|value| Stored::new(value).hash)
    };
    let names: std::collections::BTreeSet<_> = shown.keys().chain(fields.keys()).collect();
    names.into_iter().filter(differs).cloned().collect()
}

#[derive(FromRow)]
struct LinkedRow {
    id: Uuid,
    provider_device: String,
    linked_via: String,
}

async fn linked(snapshot: &mut PgConnection, known: &Known) -> Result<Vec<LinkedRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.id, p.provider_device, p.linked_via FROM fleet.provider_devices p WHERE p.device = $1",
    )
    .bind(known.id.0)
    .fetch_all(snapshot)
    .await
}

/// What the view shows of each field: its state and its value.
async fn shown(
    snapshot: &mut PgConnection,
    known: &Known,
) -> Result<BTreeMap<String, (String, Option<RawJson>)>, sqlx::Error> {
    let rows: Vec<(String, String, Option<Json<RawJson>>)> =
        sqlx::query_as("SELECT f.field, f.state, f.value FROM fleet.device_fields f WHERE f.device = $1")
            .bind(known.id.0)
            .fetch_all(snapshot)
            .await?;
    let pair = |(field, state, value): (String, _, Option<Json<RawJson>>)| {
        (field, (state, value.map(|Json(value)| value)))
    };
    Ok(rows.into_iter().map(pair).collect())
}
