//! What became of the conflicts.

use std::collections::BTreeMap;

use schema::DeviceId;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Decision, events::Decided};
use crate::{
    conflicts::shortened,
    device::fields::{self, Shown},
    failure::Failure,
    output,
    waiting::position_json,
};

/// Devices whose fields are read at once.
const BATCH: usize = 500;

/// Prints what was decided, and what shows now if that was waited for.
///
/// # Errors
/// Some were not decided, since either side had said something else: refused.
pub(super) async fn report(
    pool: &PgPool,
    decision: &Decision,
    decided: &[Decided],
    waited: bool,
    json: bool,
) -> Result<(), Failure> {
    let shown = if waited && decision.is_of_fields() {
        read(pool, decided).await?
    } else {
        BTreeMap::new()
    };
    let mut rows = Vec::new();
    for decided in decided {
        let pending = &decided.pending;
        let field = pending
            .device
            .and_then(|device| shown.get(&device))
            .zip(pending.field.as_ref())
            .and_then(|(shown, field)| shown.fields.get(field));
        let state = match (decided.event, field) {
            (None, _) => "changed meanwhile",
            (Some(_), Some(field)) => field.state.as_str(),
            (Some(_), None) if waited => "decided",
            (Some(_), None) => "appended",
        };
        let value = field.and_then(|field| field.value.as_ref());
        if json {
            output::json(&json!({
                "conflict": pending.conflict,
                "kind": pending.kind,
                "device": pending.device,
                "serial": pending.serial,
                "field": pending.field,
                "decision": decision.name(),
                "event": decided.event,
                "position": decided.position.map(position_json),
                "value": value.and_then(|value| serde_json::from_str::<Value>(value.get()).ok()),
                "state": state,
            }))?;
        } else {
            let value = field.map_or_else(|| "-".to_owned(), |_| shortened(value));
            rows.push([
                pending.conflict.clone(),
                pending.serial.clone(),
                output::or_dash(pending.field.as_ref()),
                decision.name().to_owned(),
                value,
                state.to_owned(),
                output::or_dash(decided.position.filter(|_| !waited)),
            ]);
        }
    }
    if !json {
        output::table(
            [
                "conflict", "serial", "field", "decision", "shows", "state", "position",
            ],
            &rows,
        )?;
    }
    let n_changed = decided.iter().filter(|decided| decided.event.is_none()).count();
    if n_changed > 0 {
        return Err(Failure::refused(format!(
            "{n_changed} of {} were not decided: one side said something else meanwhile; look again",
            decided.len()
        )));
    }
    Ok(())
}

async fn read(pool: &PgPool, decided: &[Decided]) -> Result<BTreeMap<DeviceId, Shown>, Failure> {
    let mut shown = BTreeMap::new();
    for some in decided.chunks(BATCH) {
        let devices: Vec<_> = some.iter().filter_map(|decided| decided.pending.device).collect();
        let names: Vec<_> = some
            .iter()
            .filter_map(|decided| decided.pending.field.clone())
            .collect();
        for (device, of) in fields::shown(pool, &devices, Some(&names)).await? {
            let held: &mut Shown = shown.entry(device).or_default();
            held.fields.extend(of.fields);
        }
    }
    Ok(shown)
}
