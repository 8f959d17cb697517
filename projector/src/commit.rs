//! One transaction: positions first, then rows, then links.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sqlx::{Connection as _, PgConnection};
use stream::LogIdentity;
use uuid::Uuid;

use crate::{
    dead_letters::DeadLetter,
    fold::{
        Batch, Truth,
        rows::{DeviceKey, ProviderDeviceRow},
    },
    linking::{Change, Touched, change},
    sql::{
        activity,
        candidates::{self, Held, Wanted},
        dead_letters, edits, facts, fields, history, horizons, listening, lowered,
        offsets::{self, Place},
        provider_devices, readings,
    },
};

/// What is written, and from what.
#[derive(Debug)]
pub(crate) struct Target {
    /// The generation, which is its schema's name.
    pub(crate) generation: String,
    /// The log its positions are of.
    pub(crate) log: LogIdentity,
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Rows and positions are written.
    Committed(Written),
    /// A partition is owned by another, or stands elsewhere: nothing is written.
    Fenced,
    /// Too many devices turned out to be concerned by a link: nothing is written, another try may do.
    Crowded,
}

/// What a transaction wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Rows by table.
    pub(crate) rows: Vec<(&'static str, u64)>,
    /// Links were derived again.
    pub(crate) linked: bool,
}

impl Written {
    /// Adds what another part of the transaction wrote.
    pub(crate) fn add(&mut self, more: &Self) {
        for (table, rows) in &more.rows {
            match self.rows.iter_mut().find(|(held, _)| held == table) {
                Some((_, held)) => *held += rows,
                None => self.rows.push((table, *rows)),
            }
        }
        self.linked |= more.linked;
    }
}

/// Provider devices of which it is known that they are in the tables and have no tombstone. That is all it says: a
/// batch that only adds readings to them need not ask.
///
/// True as long as this projector owns their partition, since nobody else writes their rows.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    known: HashSet<DeviceKey>,
    /// The tables turned out not to be as this process would leave them.
    is_doubted: bool,
}

/// Beyond this all are forgotten and learned again, so that memory is bounded (some 40 MB).
const MAX_PLAIN: usize = 1_000_000;

impl Plain {
    pub(crate) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Does not take for granted, until something is committed, that a provider device without a row has no other
    /// rows: somebody may have deleted it by hand.
    pub(crate) fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// Nothing is known, and nothing taken for granted.
    pub(crate) fn doubted() -> Self {
        Self {
            known: HashSet::new(),
            is_doubted: true,
        }
    }

    /// Learns from a transaction that was committed.
    pub(crate) fn learn(&mut self, news: Vec<DeviceKey>, gone: Vec<DeviceKey>) {
        self.is_doubted = false;
        for key in gone {
            self.known.remove(&key);
        }
        if self.known.len() + news.len() > MAX_PLAIN {
            self.known.clear();
        }
        self.known.extend(news);
    }
}

/// Days whose partitions are known to be there.
#[derive(Debug, Default)]
pub(crate) struct Days(HashSet<(&'static str, i64)>);

/// 2020-01-01 to 2099-12-31, in days since 1970. Rows of other days go to the default partition.
pub(crate) const DAYS: std::ops::Range<i64> = 18_262..47_482;

/// Makes the daily partitions that a batch needs, before its transaction.
pub(crate) async fn make_days(
    connection: &mut PgConnection,
    days: &mut Days,
    batch: &Batch,
) -> sqlx::Result<()> {
    let needed = batch.days();
    for (history, needed) in [("readings", needed.readings), ("logs", needed.logs)] {
        for day in needed.into_iter().filter(|day| DAYS.contains(day)) {
            if days.0.contains(&(history, day)) {
                continue;
            }
            if let Ok(number) = i32::try_from(day) {
                history::make_day(connection, history, number).await?;
                days.0.insert((history, day));
            }
        }
    }
    Ok(())
}

/// Writes a batch, what is set aside of it, and the position after it for each partition it was read from.
pub(crate) async fn commit(
    connection: &mut PgConnection,
    target: &Target,
    places: &[(Place, i64)],
    (batch, aside): (&Batch, &[DeadLetter]),
    plain: &mut Plain,
) -> sqlx::Result<Outcome> {
    let mut transaction = connection.begin().await?;
    let connection = &mut *transaction;
    if !offsets::advance(connection, &target.generation, &target.log, places).await? {
        transaction.rollback().await?;
        return Ok(Outcome::Fenced);
    }
    let Some(joined) = join(connection, batch, plain).await? else {
        transaction.rollback().await?;
        return Ok(Outcome::Crowded);
    };
    dead_letters::insert(connection, &target.generation, &target.log, aside).await?;
    transaction.commit().await?;
    plain.learn(joined.news, joined.gone);
    Ok(Outcome::Committed(joined.written))
}

/// What joining a batch wrote, and which provider devices are known to be plain, or not, once that is committed.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) written: Written,
    pub(crate) news: Vec<DeviceKey>,
    pub(crate) gone: Vec<DeviceKey>,
}

/// Joins the rows of a batch, and derives links and devices again. Nothing, and all is to be rolled back, if too many
/// devices turned out to be concerned.
pub(crate) async fn join(
    connection: &mut PgConnection,
    batch: &Batch,
    plain: &Plain,
) -> sqlx::Result<Option<Joined>> {
    let receipt_timed: Vec<_> = batch.receipt_timed().copied().collect();
    let known = if receipt_timed.is_empty() {
        BTreeMap::new()
    } else {
        lowered::read(connection, &receipt_timed).await?
    };
    let mut settled = batch.settle(&known);
    let lowered_devices: BTreeSet<Uuid> = settled.lowered.keys().map(|(device, _)| *device).collect();

    let concerned = asked(&settled.truth, plain, &lowered_devices);
    let before = read_candidates(connection, concerned.into_keys().collect()).await?;
    if !settled.lowered.is_empty() {
        let facts = lowered::forget(connection, &settled).await?;
        settled.refold(facts);
    }
    let truth = &*settled.truth;
    // What was joined again may say more of the same provider devices.
    let asked = asked(truth, plain, &lowered_devices);
    let (new, there): (BTreeMap<_, _>, BTreeMap<_, _>) = asked
        .iter()
        .map(|(key, row)| (*key, *row))
        .partition(|(key, _)| !before.contains_key(key));
    provider_devices::insert(connection, &new).await?;
    provider_devices::join(connection, &there).await?;
    let new: BTreeSet<DeviceKey> = if plain.is_doubted {
        BTreeSet::new()
    } else {
        new.into_keys().collect()
    };
    let (mut rows, told) = write(connection, truth, &new).await?;
    rows.push(("provider_devices", count(asked.len())));

    let mut touched = Touched::default();
    touched.told(told, truth);
    compare(connection, &asked, &before, truth, &lowered_devices, &mut touched).await?;
    let linked = !touched.is_empty();
    if linked && !touched.derive(connection).await? {
        return Ok(None);
    }
    let (news, gone) = learned(&asked, &before);
    let written = Written { rows, linked };
    Ok(Some(Joined { written, news, gone }))
}

/// Provider devices whose row is not known to be there and to stay as it is.
fn asked<'a>(
    truth: &'a Truth,
    plain: &Plain,
    lowered: &BTreeSet<DeviceKey>,
) -> BTreeMap<DeviceKey, &'a ProviderDeviceRow> {
    truth
        .provider_devices
        .iter()
        .filter(|(key, row)| row.says_something() || !plain.known.contains(key) || lowered.contains(key))
        .map(|(key, row)| (*key, row.as_ref()))
        .collect()
}

async fn read_candidates(
    connection: &mut PgConnection,
    keys: BTreeSet<DeviceKey>,
) -> sqlx::Result<BTreeMap<DeviceKey, Held>> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let wanted = Wanted {
        keys,
        ..Wanted::default()
    };
    candidates::read(connection, &wanted).await
}

/// Joins all rows but those of provider devices. Of those that are `new` nothing was ever written.
pub(crate) async fn write(
    connection: &mut PgConnection,
    truth: &Truth,
    new: &BTreeSet<DeviceKey>,
) -> sqlx::Result<(Vec<(&'static str, u64)>, Vec<schema::DeviceId>)> {
    fields::join(connection, &truth.fields).await?;
    activity::join(connection, &truth.activity, new).await?;
    facts::join_connections(connection, &truth.connections).await?;
    facts::join_firmware(connection, &truth.firmware).await?;
    facts::join_registry(connection, &truth.registry).await?;
    let readings = readings::join(connection, &truth.readings, &truth.latest, new).await?;
    let logs = history::join_logs(connection, &truth.logs).await?;
    let told = facts::join_local(connection, &truth.local).await?;
    edits::join(connection, &truth.edits).await?;
    edits::join_answers(connection, &truth.answers).await?;
    horizons::join(connection, &truth.horizons).await?;
    lowered::join(connection, &truth.receipt_timed).await?;
    listening::join(connection, &truth.listening).await?;
    let rows = vec![
        ("field_registers", count(truth.fields.len())),
        ("activity", count(truth.activity.len())),
        ("connections", count(truth.connections.len())),
        ("firmware_reports", count(truth.firmware.len())),
        ("registry_facts", count(truth.registry.len())),
        ("readings_latest", count(truth.latest.len())),
        ("readings", readings),
        ("logs", logs),
        ("local_facts", count(truth.local.len())),
        ("field_edits", count(truth.edits.len())),
        ("edit_answers", count(truth.answers.len())),
        ("horizons", count(truth.horizons.len())),
        ("receipt_timed", count(truth.receipt_timed.len())),
        ("listening", count(truth.listening.len())),
    ];
    Ok((rows, told))
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// Finds the provider devices whose links, or whose devices, follow from something else now.
async fn compare(
    connection: &mut PgConnection,
    asked: &BTreeMap<DeviceKey, &ProviderDeviceRow>,
    before: &BTreeMap<DeviceKey, Held>,
    truth: &Truth,
    lowered: &BTreeSet<DeviceKey>,
    touched: &mut Touched,
) -> sqlx::Result<()> {
    let mut named_again = Vec::new();
    let mut perhaps_back = BTreeSet::new();
    for (key, row) in asked {
        let held = before.get(key).map(|held| &held.candidate);
        let is_active = truth.activity.contains_key(key);
        let change = if lowered.contains(key) {
            Change::Link
        } else {
            change(held, row, is_active)
        };
        match change {
            Change::Nothing => {}
            Change::NameAgain => named_again.push(*key),
            Change::Presence => {
                perhaps_back.insert(*key);
                named_again.push(*key);
            }
            Change::Link => touched.provider_device(*key, row, held),
        }
    }
    let now = read_candidates(connection, perhaps_back).await?;
    let came_or_went = now.iter().filter(|(key, held)| {
        let was = before.get(key).map(|before| before.candidate.live());
        was != Some(held.candidate.live())
    });
    let came_or_went = came_or_went.map(|(key, _)| *key);
    let competing = candidates::in_competition(connection, &named_again).await?;
    for key in came_or_went.chain(competing) {
        if let Some(row) = asked.get(&key) {
            touched.provider_device(key, row, before.get(&key).map(|held| &held.candidate));
        }
    }
    Ok(())
}

/// Which provider devices need not be asked for any more, and which do.
fn learned(
    asked: &BTreeMap<DeviceKey, &ProviderDeviceRow>,
    before: &BTreeMap<DeviceKey, Held>,
) -> (Vec<DeviceKey>, Vec<DeviceKey>) {
    let has_tombstone = |key: &DeviceKey, row: &ProviderDeviceRow| {
        row.gone.key().is_some() || before.get(key).is_some_and(|held| held.candidate.gone.is_some())
    };
    let (gone, news): (Vec<_>, Vec<_>) = asked.iter().partition(|(key, row)| has_tombstone(key, row));
    let keys = |rows: Vec<(&DeviceKey, _)>| rows.into_iter().map(|(key, _)| *key).collect();
    (keys(news), keys(gone))
}
