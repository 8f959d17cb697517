//! Some devices folded again from the log, apart from all others, and compared with their live rows.
//!
//! What is folded together is closed: with a device come the provider devices that it is or may be, with those all that
//! share a name with them, and the devices of these. So links and devices follow from it alone.

use std::sync::Arc;

use schema::{DeviceId, Event, Topic};
use sqlx::{Connection as _, PgConnection};
use stream::Position;
use uuid::Uuid;

use super::{
    Plan, RebuildError,
    report::{Of, RowDifference, TableProof},
    site::Site,
    subjects::Subjects,
};
use crate::{
    commit::{Plain, join},
    fold::Batch,
    sql::{
        candidates::{self, Wanted},
        compare::{self, Common, Horizons, Part, Side},
        dead_letters,
        refold::{self, Belongs},
        truth_tables::{self, Table},
    },
};

/// How often more devices may turn out to be concerned.
const MAX_ROUNDS: usize = 32;

/// The most that are folded together in memory of their own.
const MAX_SUBJECTS: usize = 100_000;

/// How many of the rows that differ are shown of each table.
const SHOWN: u32 = 5;

/// A session with temporary tables that are called like the truth tables of a generation.
pub(super) struct Scratch {
    pub(super) connection: PgConnection,
    pub(super) generation: String,
    pub(super) tables: Vec<Table>,
    pub(super) horizons: Horizons,
    pub(super) n_events: u64,
}

impl Scratch {
    /// Opens it, for a generation.
    pub(super) async fn open(site: &Site, generation: &str) -> Result<Self, RebuildError> {
        let mut connection = compare::open(&site.pool).await?;
        let tables = truth_tables::of(&mut connection, generation).await?;
        Ok(Self {
            connection,
            generation: generation.to_owned(),
            tables,
            horizons: Horizons::default(),
            n_events: 0,
        })
    }

    /// Events folded.
    pub(super) fn n_events(&self) -> u64 {
        self.n_events
    }

    /// Empties the temporary tables.
    pub(super) async fn clear(&mut self) -> Result<(), RebuildError> {
        refold::make_tables(&mut self.connection, &self.generation, &self.tables).await?;
        self.n_events = 0;
        Ok(())
    }

    /// Folds the events of these subjects that a plan reads into the temporary tables.
    pub(super) async fn fold(&mut self, plan: &Plan, subjects: &Subjects) -> Result<(), RebuildError> {
        let (connection, n_events) = (&mut self.connection, &mut self.n_events);
        refold::turn_to_temporary(connection).await?;
        fold(connection, (plan, &self.generation), subjects, n_events).await
    }

    /// Everybody who has to be folded together with these devices, as the live tables and what was folded say.
    pub(super) async fn close(&mut self, seeds: &Subjects, folded: bool) -> Result<Subjects, RebuildError> {
        let mut subjects = seeds.clone();
        for _ in 0..MAX_ROUNDS {
            let before = subjects.len();
            refold::turn_to(&mut self.connection, &self.generation).await?;
            let named = widen(&mut self.connection, &mut subjects, Wanted::default()).await?;
            if folded {
                refold::turn_to_temporary(&mut self.connection).await?;
                let named = widen(&mut self.connection, &mut subjects, named).await?;
                refold::turn_to(&mut self.connection, &self.generation).await?;
                widen(&mut self.connection, &mut subjects, named).await?;
            }
            if subjects.len() > MAX_SUBJECTS {
                return Err(RebuildError::TooMany(MAX_SUBJECTS));
            }
            if subjects.len() == before {
                break;
            }
        }
        Ok(subjects)
    }
}

/// Copies the live rows of these subjects, to be compared.
pub(super) async fn copy_live(
    connection: &mut PgConnection,
    generation: &str,
    (tables, horizons): (&[Table], Horizons),
    subjects: &Subjects,
) -> sqlx::Result<()> {
    for table in tables {
        if let Some((column, keys)) = scope(table, subjects) {
            let copied = (Side::Live, Part::Of(column, &keys));
            compare::copy(connection, generation, &Common::of(table), horizons, copied).await?;
        }
    }
    Ok(())
}

/// Compares the live rows of these subjects, copied before, with what was folded. With `is_cut`, what only the live
/// histories have is no difference: it may have expired.
pub(super) async fn compare(
    connection: &mut PgConnection,
    (tables, horizons): (&[Table], Horizons),
    subjects: &Subjects,
    is_cut: bool,
) -> Result<Vec<TableProof>, RebuildError> {
    let mut proofs = Vec::new();
    for table in tables {
        let Some((column, keys)) = scope(table, subjects) else {
            continue;
        };
        let common = Common::of(table);
        let copied = (Side::New, Part::Of(column, &keys));
        compare::copy(connection, "pg_temp", &common, horizons, copied).await?;
        proofs.push(proof(connection, &common, is_cut && may_expire(table)).await?);
    }
    Ok(proofs)
}

/// Whose rows of a table these subjects' are: the column and its values.
pub(super) fn scope(table: &Table, subjects: &Subjects) -> Option<(&'static str, Vec<Uuid>)> {
    Some(match refold::belongs(table)? {
        Belongs::ToProviderDevice(column) => (column, subjects.provider_devices.keys().copied().collect()),
        Belongs::ToDevice(column) => (column, subjects.devices.iter().map(|device| device.0).collect()),
    })
}

/// Whether rows may be older than the readings that the log still has.
pub(super) fn may_expire(table: &Table) -> bool {
    matches!(table.name.as_str(), "readings" | "logs" | "receipt_timed")
}

/// Whether a plan does not begin with the first reading there ever was.
pub(super) fn is_cut(plan: &Plan) -> bool {
    plan.from
        .iter()
        .any(|at| at.topic == Topic::Readings && at.offset > 0)
}

/// A plan to read what lies between these positions.
pub(super) fn plan(site: &Site, (from, to): (Vec<Position>, Vec<Position>)) -> Plan {
    Plan {
        log: site.log.clone(),
        identity: site.identity.clone(),
        pool: site.pool.clone(),
        generation: String::new(),
        from,
        to,
        memory: 0,
        workers: 1,
        stop: service::CancellationToken::new(),
    }
}

/// Folds events of these subjects into the tables that the search path names, but for those that are set aside in a
/// generation.
pub(super) async fn fold(
    connection: &mut PgConnection,
    (plan, generation): (&Plan, &str),
    subjects: &Subjects,
    n_events: &mut u64,
) -> Result<(), RebuildError> {
    let aside = dead_letters::waiting(connection, generation).await?;
    let aside = Arc::new(aside.into_iter().collect());
    let nothing_known = Plain::default();
    let take = async |events: Vec<(i32, Event)>| {
        let mut batch = Batch::default();
        for (partition, event) in &events {
            // What contributes nothing is no matter here.
            _ = batch.take(*partition, event);
            *n_events += 1;
        }
        batch.trim();
        let mut transaction = connection.begin().await?;
        let joined = join(&mut transaction, &batch, &nothing_known).await?;
        joined.ok_or(RebuildError::TooMany(MAX_SUBJECTS))?;
        Ok(transaction.commit().await?)
    };
    subjects.read(plan, &aside, take).await
}

/// Adds those who share a name or a device with these subjects; returns all that names them.
async fn widen(
    connection: &mut PgConnection,
    subjects: &mut Subjects,
    mut wanted: Wanted,
) -> Result<Wanted, RebuildError> {
    wanted.keys.extend(subjects.provider_devices.keys());
    wanted.linked_to.extend(&subjects.devices);
    let held = candidates::read(connection, &wanted).await?;
    for (key, held) in held {
        let candidate = &held.candidate;
        if let Some(name) = candidate.current_name() {
            let name = (candidate.device.integration, name.clone());
            wanted.of_integration.insert(name);
        }
        let devices: Vec<DeviceId> = candidate
            .possible_devices()
            .chain(held.link.map(|link| link.device))
            .collect();
        subjects.devices.extend(devices);
        subjects.provider_devices.insert(key, candidate.device.clone());
    }
    wanted.linked_to.extend(&subjects.devices);
    Ok(wanted)
}

async fn proof(
    connection: &mut PgConnection,
    table: &Common,
    live_may_have_more: bool,
) -> Result<TableProof, RebuildError> {
    let differing = compare::differing(connection, table).await?;
    let (rows_live, rows_new) = compare::copied_rows(connection, table).await?;
    let first = compare::first_differing(connection, table, SHOWN).await?;
    let mut first: Vec<_> = first
        .into_iter()
        .map(|(live, new)| RowDifference::new(&table.key, live, new))
        .collect();
    if live_may_have_more {
        first.retain(|row| row.of != Of::Live);
    }
    Ok(TableProof {
        table: table.name.clone(),
        rows_live,
        rows_new,
        n_only_live: if live_may_have_more {
            0
        } else {
            differing.only_live
        },
        n_only_new: differing.only_new,
        n_changed: differing.changed,
        first,
        ..TableProof::default()
    })
}
