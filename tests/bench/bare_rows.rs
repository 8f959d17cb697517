//! What writing the rows of readings costs where nothing is decoded, looked for, folded or kept beside them: the history,
//! the newest of each shape, and a sign of life, every reading of another device.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, types::time::OffsetDateTime};
use tests::Stack;
use uuid::Uuid;

use crate::cpu::{Measured, measured};

/// Readings of a transaction.
const BATCH: usize = 5_000;

/// Tables of the same shape and keys as those of a projection.
const TABLES: &str = "
    CREATE TABLE bare.readings (provider_device uuid, organization uuid, path text, at timestamptz, sequence bigint,
        id uuid, recorded_at timestamptz, content_type text, data jsonb,
        PRIMARY KEY (provider_device, at, sequence, id));
    CREATE TABLE bare.latest (provider_device uuid, organization uuid, path text, shape uuid, at timestamptz,
        sequence bigint, id uuid, recorded_at timestamptz, content_type text, data jsonb,
        PRIMARY KEY (provider_device, path, shape));
    CREATE TABLE bare.activity (provider_device uuid PRIMARY KEY, organization uuid, integration uuid, at timestamptz,
        sequence bigint, id uuid)";

/// Copies the rows of so many readings, table by table, in one transaction.
pub(crate) async fn copy(stack: &Stack, readings: u32, data: impl Fn(u32) -> String) -> Measured {
    let mut connection = tables(stack).await;
    let [mut history, mut latest, mut activity] = [const { String::new() }; 3];
    let at = "2026-11-21T00:00:00Z";
    let organization = Uuid::new_v4();
    for n in 0..readings {
        let (device, id, data) = (Uuid::new_v4(), Uuid::new_v4(), data(n));
        let written = [
            writeln!(
                history,
                "{device}\t{organization}\t/sensor\t{at}\t{n}\t{id}\t{at}\tapplication/json\t{data}"
            ),
            writeln!(
                latest,
                "{device}\t{organization}\t/sensor\t{id}\t{at}\t{n}\t{id}\t{at}\tapplication/json\t{data}"
            ),
            writeln!(
                activity,
                "{device}\t{organization}\t{organization}\t{at}\t{n}\t{id}"
            ),
        ];
        written
            .into_iter()
            .collect::<std::fmt::Result>()
            .expect("a string grows");
    }
    let measured = measured(0, readings, async {
        let mut transaction = connection.begin().await.expect("a transaction");
        for (table, rows) in [("readings", history), ("latest", latest), ("activity", activity)] {
            let into = format!("COPY bare.{table} FROM STDIN");
            let mut copy = transaction.copy_in_raw(&into).await.expect("COPY begins");
            copy.send(rows.into_bytes()).await.expect("rows are sent");
            copy.finish().await.expect("rows are taken");
        }
        transaction.commit().await.expect("committed");
    });
    measured.await
}

/// Upserts the rows of so many readings, a statement a table and batch, as whoever writes such a fold first would.
pub(crate) async fn upsert(stack: &Stack, readings: u32, data: impl Fn(u32) -> String) -> Measured {
    let mut connection = tables(stack).await;
    let all: Vec<(Uuid, Uuid, i64, String)> = (0..readings)
        .map(|n| (Uuid::new_v4(), Uuid::new_v4(), n.into(), data(n)))
        .collect();
    let measured = measured(0, readings, async {
        for batch in all.chunks(BATCH) {
            upsert_batch(&mut connection, batch).await.expect("written");
        }
    });
    measured.await
}

async fn upsert_batch(
    connection: &mut PgConnection,
    batch: &[(Uuid, Uuid, i64, String)],
) -> sqlx::Result<()> {
    let organization = vec![Uuid::nil(); batch.len()];
    let devices: Vec<Uuid> = batch.iter().map(|row| row.0).collect();
    let ids: Vec<Uuid> = batch.iter().map(|row| row.1).collect();
    let sequences: Vec<i64> = batch.iter().map(|row| row.2).collect();
    let data: Vec<&str> = batch.iter().map(|row| row.3.as_str()).collect();
    let at = vec![OffsetDateTime::UNIX_EPOCH; batch.len()];
    let mut transaction = connection.begin().await?;
    let statements = [
        "INSERT INTO bare.readings
         SELECT device, organization, '/sensor', at, sequence, id, at, 'application/json', data::jsonb
           FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::uuid[], $6::text[])
                AS row (device, organization, at, sequence, id, data)
             ON CONFLICT DO NOTHING",
        "INSERT INTO bare.latest AS held
         SELECT device, organization, '/sensor', id, at, sequence, id, at, 'application/json', data::jsonb
           FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::uuid[], $6::text[])
                AS row (device, organization, at, sequence, id, data)
             ON CONFLICT (provider_device, path, shape) DO UPDATE
            SET at = EXCLUDED.at, sequence = EXCLUDED.sequence, id = EXCLUDED.id, data = EXCLUDED.data
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)",
        "INSERT INTO bare.activity AS held
         SELECT device, organization, organization, at, sequence, id
           FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::uuid[], $6::text[])
                AS row (device, organization, at, sequence, id, data)
             ON CONFLICT (provider_device) DO UPDATE
            SET at = EXCLUDED.at, sequence = EXCLUDED.sequence, id = EXCLUDED.id
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)",
    ];
    for statement in statements {
        sqlx::query(statement)
            .bind(&devices)
            .bind(&organization)
            .bind(&at)
            .bind(&sequences)
            .bind(&ids)
            .bind(&data)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// A connection that commits as the fold does, and empty tables.
async fn tables(stack: &Stack) -> PgConnection {
    let mut connection = stack.admin.acquire().await.expect("a connection").detach();
    let made = format!(
        "SET synchronous_commit = off; SET client_min_messages = warning;
         DROP SCHEMA IF EXISTS bare CASCADE; CREATE SCHEMA bare; {TABLES}"
    );
    sqlx::raw_sql(AssertSqlSafe(made))
        .execute(&mut connection)
        .await
        .expect("tables");
    connection
}
