//! `fleetlog conflicts replay`: what other strategies would have decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Args;
use futures_util::TryStreamExt as _;
use projector::fold::replay::{Contest, Outcome, Replay as Told};
use schema::{DeviceId, Field, Micros, OrganizationId, RawJson, Strategy};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{shortened, sql};
use crate::{
    clock,
    config::ReaderDatabase,
    device::facts::{self, Kept},
    failure::Failure,
    output, parse,
};

/// Tells the history again, and what other strategies would have decided: a dry run, nothing is written
///
/// Every time that a cloud and somebody here had both changed a field is listed: both values, what was decided, by
/// strategy or by whom, and what the given strategy would have decided. What would have followed from that, such as
/// another push to the cloud, is not made up. Provider devices count as part of the device that they are linked to now.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog conflicts replay --strategy metadata=prefer_local
  fleetlog conflicts replay --strategy metadata=manual --strategy enabled=prefer_remote --since 30d --differing")]
pub(crate) struct Replay {
    /// Who would win in a field; may be repeated: prefer_local, prefer_remote, manual or merge
    #[arg(long, value_name = "FIELD=STRATEGY", required = true, value_parser = parse::strategy)]
    strategy: Vec<(String, Strategy)>,
    /// Only devices of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Only what happened since then: a time, or how long ago
    #[arg(long, value_name = "TIME|D", value_parser = since)]
    since: Option<Since>,
    /// Only what would have been decided otherwise
    #[arg(long)]
    differing: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: ReaderDatabase,
}

/// Since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Time(Micros),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    text.parse()
        .map(Since::Time)
        .or_else(|_| humantime::parse_duration(text).map(Since::Ago))
        .map_err(|_| "it is a time like 2026-01-31T12:00:00Z, or 30d".to_owned())
}

/// How many there were, and how many would have been decided otherwise.
#[derive(Default)]
struct Counted {
    contests: u64,
    differing: u64,
    devices: BTreeSet<DeviceId>,
}

impl Replay {
    /// Prints what would have been decided.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let strategies = self.strategies()?;
        let since = self.since.map(|since| match since {
            Since::Time(at) => at,
            Since::Ago(ago) => clock::now().minus(ago),
        });
        let fields: Vec<_> = strategies.keys().cloned().collect();
        let pool = self.database.pool()?;
        let devices = sql::edited(&pool, &fields, self.organization).await?;
        let mut counted = Counted::default();
        let mut rows = Vec::new();
        for (device, serial) in devices {
            for contest in replay(&pool, device, &strategies).await? {
                let listed = since.is_none_or(|since| contest.key.at >= since);
                if !listed || (self.differing && !contest.differs()) {
                    continue;
                }
                counted.count(device, &contest);
                if self.json {
                    output::json(&line(device, &serial, &contest))?;
                } else {
                    rows.push(row(&serial, &contest));
                }
            }
        }
        if !self.json {
            let headings = ["serial", "field", "when", "here", "cloud", "decided", "would be"];
            output::table(headings, &rows)?;
        }
        let Counted {
            contests, differing, ..
        } = counted;
        eprintln!(
            "fleetlog: both sides had changed a field {contests} times, on {} devices; {differing} would have been \
             decided otherwise",
            counted.devices.len()
        );
        Ok(())
    }

    fn strategies(&self) -> Result<BTreeMap<String, Strategy>, Failure> {
        for (field, _) in &self.strategy {
            let is_shared = Field::parse(field).is_ok_and(|field| !field.is_local());
            if !is_shared {
                return Err(Failure::usage(format!(
                    "{field} cannot be in conflict: metadata, enabled and blueprint can"
                )));
            }
        }
        Ok(self.strategy.iter().cloned().collect())
    }
}

impl Counted {
    fn count(&mut self, device: DeviceId, contest: &Contest) {
        self.contests += 1;
        self.differing += u64::from(contest.differs());
        self.devices.insert(device);
    }
}

/// Tells a device's history again, in the order in which we were told it: by the times that things happened, what came
/// late would have hidden conflicts that people decided.
async fn replay(
    pool: &PgPool,
    device: DeviceId,
    strategies: &BTreeMap<String, Strategy>,
) -> Result<Vec<Contest>, Failure> {
    let mut told = Told::new(device, strategies);
    let mut connection = pool.acquire().await?;
    let mut facts = facts::of_device_as_told(&mut connection, device);
    while let Some(fact) = facts.try_next().await? {
        match fact.kept() {
            Some(Kept::Registry(provider_device, kept)) => told.registry(provider_device, fact.key.id, &kept),
            Some(Kept::Local(_, kept)) => told.local(fact.key.id, &kept),
            None => {}
        }
    }
    Ok(told.end())
}

/// What was decided, or would be.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Local => "here".to_owned(),
        Outcome::Remote => "cloud".to_owned(),
        Outcome::Decided(side, author) => format!("{} by {author}", <&str>::from(*side)),
        Outcome::Waits => "a person is asked".to_owned(),
        Outcome::Overtaken => "a person was asked, then a side changed".to_owned(),
    }
}

fn row(serial: &str, contest: &Contest) -> [String; 7] {
    let value = |text: &str| shortened(RawJson::parse(text).ok().as_ref());
    [
        serial.to_owned(),
        contest.field.clone(),
        contest.key.at.to_string(),
        value(&contest.local.text),
        value(&contest.remote.text),
        told(&contest.then),
        told(&contest.would),
    ]
}

fn line(device: DeviceId, serial: &str, contest: &Contest) -> Value {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Local => "local",
        Outcome::Remote => "remote",
        Outcome::Decided(side, _) => <&str>::from(*side),
        Outcome::Waits => "waits",
        Outcome::Overtaken => "overtaken",
    };
    let by = match &contest.then {
        Outcome::Decided(_, author) => Some(author),
        Outcome::Local | Outcome::Remote | Outcome::Waits | Outcome::Overtaken => None,
    };
    json!({
        "conflict": contest.conflict,
        "device": device,
        "serial": serial,
        "field": contest.field,
        "at": contest.key.at,
        "edit_author": contest.author,
        "local": value(&contest.local.text),
        "remote": value(&contest.remote.text),
        "strategy": contest.stamped,
        "decided": outcome(&contest.then),
        "decided_by": by,
        "would_be": outcome(&contest.would),
        "differs": contest.differs(),
    })
}
