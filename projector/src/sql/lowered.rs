//! Events that are timed by their receipt: the `at` they were folded with, and undoing that.

use std::collections::BTreeMap;

use schema::{EventId, Micros, OrderKey, OrganizationId, RawJson};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, error::BoxDynError};
use uuid::Uuid;

use super::{
    history::read_origin,
    value::{At, column},
};
use crate::fold::{
    Data, Facts, Lowered, Settled,
    rows::{DeviceKey, HistoryKey, LogRow, ReadingRow, RegistryFact, Said},
};

type Lowerings = BTreeMap<(DeviceKey, EventId), Lowered>;

/// The `at` that these events were folded with.
pub(crate) async fn read(
    connection: &mut PgConnection,
    events: &[(DeviceKey, EventId)],
) -> sqlx::Result<BTreeMap<(DeviceKey, EventId), Micros>> {
    let (devices, ids): (Vec<Uuid>, Vec<Uuid>) = events.iter().map(|(device, id)| (*device, id.0)).unzip();
    let rows: Vec<(Uuid, Uuid, At)> = sqlx::query_as(
        "SELECT provider_device, id, at
           FROM receipt_timed JOIN unnest($1::uuid[], $2::uuid[]) AS event (provider_device, id)
                USING (provider_device, id)",
    )
    .bind(devices)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let known = rows
        .into_iter()
        .map(|(device, id, at)| ((device, EventId(id)), at.0));
    Ok(known.collect())
}

/// Joins the `at` of events: the least counts.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<(DeviceKey, EventId), (OrganizationId, Micros)>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO receipt_timed AS held (provider_device, organization, id, at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
             ON CONFLICT (provider_device, id) DO UPDATE SET at = EXCLUDED.at WHERE EXCLUDED.at < held.at",
    )
    .bind(column(rows, |(device, _), _| *device))
    .bind(column(rows, |_, (organization, _)| organization.0))
    .bind(column(rows, |(_, id), _| id.0))
    .bind(column(rows, |_, (_, at)| At(*at)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what the lowered events contributed before, and reads what they may have hidden.
pub(crate) async fn forget(connection: &mut PgConnection, settled: &Settled<'_>) -> sqlx::Result<Facts> {
    let lowered = &settled.lowered;
    let forgotten = settled.forgotten();
    let mut facts = Facts::default();
    for history in ["readings", "logs"] {
        facts
            .receipts
            .extend(forget_history(connection, history, &forgotten).await?);
    }
    for table in ["connections", "firmware_reports"] {
        forget_facts_at(connection, table, lowered).await?;
    }
    for (table, key, registers) in REGISTERS {
        forget_registers(connection, lowered, (table, key), registers).await?;
    }
    for table in ["field_registers", "readings_latest"] {
        forget_rows(connection, table, lowered).await?;
    }
    facts.registry = registry_facts(connection, lowered).await?;
    facts.readings = readings(connection, lowered).await?;
    facts.logs = logs(connection, lowered).await?;
    Ok(facts)
}

/// Registers by table: the table, its key, and each register's columns, its event's id first.
const REGISTERS: [(&str, &str, &[&[&str]]); 2] = [
    (
        "provider_devices",
        "id",
        &[
            &["name_id", "name_at", "name_sequence", "name"],
            &["bound_id", "bound_at", "bound_sequence", "bound_device"],
            &["gone_id", "gone_at", "gone_sequence", "gone_how"],
            &["seen_id", "seen_at", "seen_sequence"],
        ],
    ),
    (
        "activity",
        "provider_device",
        &[
            &[
                "last_report_id",
                "last_report_at",
                "last_report_sequence",
                "last_report_by",
                "last_report_origin",
            ],
            &[
                "connected_id",
                "connected_at",
                "connected_sequence",
                "connected_session",
                "connected_evidence",
            ],
            &[
                "disconnected_id",
                "disconnected_at",
                "disconnected_sequence",
                "disconnected_session",
                "disconnected_evidence",
                "disconnected_reason",
            ],
        ],
    ),
];

async fn forget_history(
    connection: &mut PgConnection,
    history: &'static str,
    keys: &[HistoryKey],
) -> sqlx::Result<Vec<(HistoryKey, Micros)>> {
    let rows: Vec<(Uuid, At, i64, Uuid, At)> = sqlx::query_as(AssertSqlSafe(format!(
        "DELETE FROM {history} AS held
          USING unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::uuid[]) AS key (device, at, sequence, id)
          WHERE (held.provider_device, held.at, held.sequence, held.id) = (key.device, key.at, key.sequence, key.id)
         RETURNING held.provider_device, held.at, held.sequence, held.id, held.recorded_at"
    )))
    .bind(keys.iter().map(|key| key.device).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| At(key.key.at)).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.key.sequence).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.key.id.0).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let forgotten = rows.into_iter().map(|(device, at, sequence, id, recorded_at)| {
        (history_key(device, at, sequence, id), recorded_at.0)
    });
    Ok(forgotten.collect())
}

fn history_key(device: Uuid, at: At, sequence: i64, id: Uuid) -> HistoryKey {
    let key = OrderKey {
        at: at.0,
        sequence,
        id: EventId(id),
    };
    HistoryKey { device, key }
}

/// Other events may have told the same fact: theirs are joined again.
async fn forget_facts_at(
    connection: &mut PgConnection,
    table: &'static str,
    lowered: &Lowerings,
) -> sqlx::Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM {table} AS held USING unnest($1::uuid[], $2::timestamptz[]) AS event (device, at)
          WHERE held.provider_device = event.device AND held.at = event.at"
    )))
    .bind(column(lowered, |(device, _), _| *device))
    .bind(column(lowered, |_, lowered| At(lowered.from)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget_registers(
    connection: &mut PgConnection,
    lowered: &Lowerings,
    (table, key): (&'static str, &'static str),
    registers: &[&[&str]],
) -> sqlx::Result<()> {
    for columns in registers {
        let Some(id) = columns.first() else {
            continue;
        };
        let nothing: Vec<_> = columns.iter().map(|column| format!("{column} = NULL")).collect();
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE {table} SET {} WHERE {key} = ANY ($1) AND {id} = ANY ($2)",
            nothing.join(", ")
        )))
        .bind(column(lowered, |(device, _), _| *device))
        .bind(column(lowered, |(_, id), _| id.0))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn forget_rows(
    connection: &mut PgConnection,
    table: &'static str,
    lowered: &Lowerings,
) -> sqlx::Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM {table} WHERE provider_device = ANY ($1) AND id = ANY ($2)"
    )))
    .bind(column(lowered, |(device, _), _| *device))
    .bind(column(lowered, |(_, id), _| id.0))
    .execute(connection)
    .await?;
    Ok(())
}

async fn registry_facts(
    connection: &mut PgConnection,
    lowered: &Lowerings,
) -> sqlx::Result<Vec<(DeviceKey, EventId, RegistryFact)>> {
    #[derive(FromRow)]
    struct Row {
        provider_device: Uuid,
        organization: Uuid,
        id: Uuid,
        name: String,
        at: At,
        sequence: i64,
        recorded_at: At,
        origin: String,
        body: String,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT DISTINCT ON (f.provider_device, f.id) f.provider_device, f.organization, f.id, f.name, f.at,
                f.sequence, f.recorded_at, f.origin, f.body::text
           FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS event (device, at, before)
           JOIN registry_facts f ON f.provider_device = event.device
                AND (f.name = 'activity.observed' OR f.at BETWEEN event.at AND event.before)",
    )
    .bind(column(lowered, |(device, _), _| *device))
    .bind(column(lowered, |_, lowered| At(lowered.to)))
    .bind(column(lowered, |_, lowered| At(lowered.from)))
    .fetch_all(connection)
    .await?;
    let fact = |row: Row| {
        let fact = RegistryFact {
            organization: OrganizationId(row.organization),
            name: row.name,
            at: row.at.0,
            sequence: row.sequence,
            recorded_at: row.recorded_at.0,
            origin: read_origin(Some(&row.origin)),
            body: row.body,
        };
        (row.provider_device, EventId(row.id), fact)
    };
    Ok(rows.into_iter().map(fact).collect())
}

/// What histories have in common.
#[derive(FromRow)]
struct Common {
    provider_device: Uuid,
    organization: Uuid,
    at: At,
    sequence: i64,
    id: Uuid,
    recorded_at: At,
    origin: Option<String>,
    device_name: Option<String>,
    name_at: Option<At>,
}

impl Common {
    fn read(self) -> (HistoryKey, Said) {
        let said = Said {
            organization: OrganizationId(self.organization),
            origin: read_origin(self.origin.as_deref()),
            device_name: self.device_name,
            name_at: self.name_at.map(|at| at.0),
            recorded_at: self.recorded_at.0,
        };
        (
            history_key(self.provider_device, self.at, self.sequence, self.id),
            said,
        )
    }
}

/// Rows of a history that may have been hidden: of an instant between the new `at` and the old, or naming the device
/// as of one.
fn hidden(history: &str, columns: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT held.provider_device, held.organization, held.at, held.sequence, held.id, held.recorded_at,
                held.origin, held.device_name, held.name_at, {columns}
           FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS event (device, at, before)
           JOIN {history} AS held
                ON held.provider_device = event.device AND held.at BETWEEN event.at AND event.before
          UNION ALL
         SELECT held.provider_device, held.organization, held.at, held.sequence, held.id, held.recorded_at,
                held.origin, held.device_name, held.name_at, {columns}
           FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS event (device, at, before)
           JOIN {history} AS held
                ON held.provider_device = event.device AND held.name_at <> held.at
                   AND held.name_at BETWEEN event.at AND event.before"
    ))
}

async fn readings(
    connection: &mut PgConnection,
    lowered: &Lowerings,
) -> sqlx::Result<Vec<(HistoryKey, ReadingRow)>> {
    #[derive(FromRow)]
    struct Row {
        #[sqlx(flatten)]
        common: Common,
        path: String,
        content_type: Option<String>,
        data: Option<String>,
        bytes: Option<Vec<u8>>,
    }
    let columns = "held.path, held.content_type, held.data::text, held.bytes";
    let rows: Vec<Row> = sqlx::query_as(hidden("readings", columns))
        .bind(column(lowered, |(device, _), _| *device))
        .bind(column(lowered, |_, lowered| At(lowered.to)))
        .bind(column(lowered, |_, lowered| At(lowered.from)))
        .fetch_all(connection)
        .await?;
    let reading = |row: Row| {
        let (key, said) = row.common.read();
        // As stored: bounding it again might take a number that Postgres wrote out for too long.
        let data = row.data.as_deref().map(|text| RawJson::parse(text)?.value());
        let data = data.transpose()?;
        let data = data.as_ref().map(Data::stored);
        let reading = ReadingRow::new(said, row.path.into(), row.content_type, data, row.bytes);
        Ok((key, reading))
    };
    let readings = rows
        .into_iter()
        .map(reading)
        .collect::<Result<_, serde_json::Error>>();
    readings.map_err(|error| sqlx::Error::Decode(BoxDynError::from(error)))
}

async fn logs(connection: &mut PgConnection, lowered: &Lowerings) -> sqlx::Result<Vec<(HistoryKey, LogRow)>> {
    #[derive(FromRow)]
    struct Row {
        #[sqlx(flatten)]
        common: Common,
        level: Option<String>,
        module: Option<String>,
        message: String,
        metadata: Option<String>,
    }
    let columns = "held.level, held.module, held.message, held.metadata::text";
    let rows: Vec<Row> = sqlx::query_as(hidden("logs", columns))
        .bind(column(lowered, |(device, _), _| *device))
        .bind(column(lowered, |_, lowered| At(lowered.to)))
        .bind(column(lowered, |_, lowered| At(lowered.from)))
        .fetch_all(connection)
        .await?;
    let entry = |row: Row| {
        let (key, said) = row.common.read();
        let entry = LogRow {
            said,
            level: row.level,
            module: row.module,
            message: row.message,
            metadata: row.metadata,
        };
        (key, entry)
    };
    Ok(rows.into_iter().map(entry).collect())
}
