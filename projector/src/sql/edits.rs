//! What people decided about fields, and what clouds answered.

use std::collections::BTreeMap;

use schema::PushOutcome;
use sqlx::PgConnection;

use super::value::{At, column};
use crate::fold::rows::{AnswerKey, AnswerRow, EditKey, EditRow, Stored};

/// Joins edits of fields: the least receipt counts.
pub(crate) async fn join(
    connection: &mut PgConnection,
    rows: &BTreeMap<EditKey, EditRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO field_edits AS held
                (device, organization, field, at, sequence, id, value, value_hash, seen_remote, seen_hash,
                 seen_remote_at, seen_edit, strategy, resolves, author, reason, recorded_at)
         SELECT device, organization, field, at, sequence, id, value::jsonb, value_hash, seen_remote::jsonb, seen_hash,
                seen_remote_at, seen_edit, strategy, ARRAY(SELECT jsonb_array_elements_text(resolves::jsonb)),
                author, reason, recorded_at
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::bigint[], $6::uuid[], $7::text[],
                       $8::uuid[], $9::text[], $10::uuid[], $11::timestamptz[], $12::uuid[], $13::text[],
                       $14::text[], $15::text[], $16::text[], $17::timestamptz[])
                AS row (device, organization, field, at, sequence, id, value, value_hash, seen_remote, seen_hash,
                        seen_remote_at, seen_edit, strategy, resolves, author, reason, recorded_at)
             ON CONFLICT (device, field, at, sequence, id) DO UPDATE SET recorded_at = EXCLUDED.recorded_at
          WHERE EXCLUDED.recorded_at < held.recorded_at",
    )
    .bind(column(rows, |key, _| key.device.0))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |key, _| key.field.as_str()))
    .bind(column(rows, |key, _| At(key.key.at)))
    .bind(column(rows, |key, _| key.key.sequence))
    .bind(column(rows, |key, _| key.key.id.0))
    .bind(column(rows, |_, row| row.value.text.as_str()))
    .bind(column(rows, |_, row| row.value.hash))
    .bind(column(rows, |_, row| seen(row).map(|seen| seen.text.as_str())))
    .bind(column(rows, |_, row| seen(row).map(|seen| seen.hash)))
    .bind(column(rows, |_, row| row.seen_remote_at.map(At)))
    .bind(column(rows, |_, row| row.seen_edit.map(|edit| edit.0)))
    .bind(column(rows, |_, row| row.strategy.as_str()))
    .bind(column(rows, |_, row| {
        serde_json::Value::from(row.resolves.clone()).to_string()
    }))
    .bind(column(rows, |_, row| row.author.as_str()))
    .bind(column(rows, |_, row| row.reason.as_deref()))
    .bind(column(rows, |_, row| At(row.recorded_at)))
    .execute(connection)
    .await?;
    Ok(())
}

fn seen(row: &EditRow) -> Option<&Stored> {
    row.seen_remote.as_ref()
}

/// Joins answers to pushes: the newest counts.
pub(crate) async fn join_answers(
    connection: &mut PgConnection,
    rows: &BTreeMap<AnswerKey, AnswerRow>,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO edit_answers AS held (device, organization, edit, field, outcome, answer, at, sequence, id)
         SELECT device, organization, edit, field, outcome, answer::jsonb, at, sequence, id
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                       $8::bigint[], $9::uuid[])
                AS row (device, organization, edit, field, outcome, answer, at, sequence, id)
             ON CONFLICT (device, edit, field) DO UPDATE
            SET outcome = EXCLUDED.outcome, answer = EXCLUDED.answer, at = EXCLUDED.at,
                sequence = EXCLUDED.sequence, id = EXCLUDED.id
          WHERE (EXCLUDED.at, EXCLUDED.sequence, EXCLUDED.id) > (held.at, held.sequence, held.id)",
    )
    .bind(column(rows, |key, _| key.device.0))
    .bind(column(rows, |_, row| row.organization.0))
    .bind(column(rows, |key, _| key.edit.0))
    .bind(column(rows, |key, _| key.field.as_str()))
    .bind(column(rows, |_, row| outcome(row.outcome)))
    .bind(column(rows, |_, row| row.answer.as_deref()))
    .bind(column(rows, |_, row| At(row.key.at)))
    .bind(column(rows, |_, row| row.key.sequence))
    .bind(column(rows, |_, row| row.key.id.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// As the table has it.
pub(crate) fn outcome(outcome: PushOutcome) -> &'static str {
    match outcome {
        PushOutcome::Accepted => "accepted",
        PushOutcome::Rejected => "rejected",
    }
}
