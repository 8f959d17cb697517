//! People who edit the simulated devices meanwhile, as `fleetlog device edit` does: each edit carries what is shown.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use schema::{Body, DeviceId, Event, Field, OrganizationId, RawJson, Subject};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use stream::Appender;
use tokio::time::interval;

use crate::{
    clock,
    config::{self, AuthorArgs, KafkaArgs},
    decided::{self, Concern},
    device::{
        change::{Edit, Wanted},
        edit::editable,
        fields::{self, Shown},
        named::{self, Known},
    },
    failure::Failure,
};

/// Most edits a second.
const MOST: f64 = 1_000.0;

/// What people do while a fleet is simulated.
#[derive(Args)]
#[command(next_help_heading = "People")]
pub(super) struct PeopleArgs {
    /// Edits of these devices per second, by people here; where a conflict waits, they decide it. Needs
    /// --organization, the database and Kafka
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    edits: f64,
    /// With --edits: whose devices they are
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    #[command(flatten)]
    author: AuthorArgs,
    /// With --edits: the database, as role fleetlog_operator
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What became of edits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Decisions {
    /// Edits that are in the log.
    pub(crate) edits: u64,
    /// Of those, edits that decided a conflict.
    pub(crate) resolutions: u64,
    /// Edits of a device that was not there yet, or that would have changed nothing.
    pub(crate) passed_over: u64,
    /// Edits that failed.
    pub(crate) failed: u64,
    /// The first of those, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_trouble: Option<String>,
}

/// People, and what they need for it.
pub(super) struct People {
    pool: PgPool,
    appender: Appender,
    organization: OrganizationId,
    author: String,
    pause: Duration,
    rng: ChaCha8Rng,
}

impl PeopleArgs {
    /// The people, if any are wanted.
    pub(super) async fn people(&self, seed: u64) -> Result<Option<People>, Failure> {
        if self.edits == 0.0 {
            return Ok(None);
        }
        if !(self.edits > 0.0 && self.edits <= MOST) {
            return Err(Failure::usage(format!("--edits is a rate, from 0 to {MOST}")));
        }
        let needed = |what: &str| Failure::usage(format!("with --edits, {what} is needed"));
        let organization = self.organization.ok_or_else(|| needed("--organization"))?;
        let database_url = self.database_url.as_ref();
        let database_url = database_url.ok_or_else(|| needed("--database-url or DATABASE_URL"))?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::MAX - 1);
        Ok(Some(People {
            pool: config::reader_pool(database_url)?,
            appender: decided::appender(&self.kafka).await?,
            organization,
            author: self.author.author().to_owned(),
            pause: Duration::from_secs_f64(1.0 / self.edits),
            rng,
        }))
    }
}

/// What became of one edit.
enum Done {
    Edited,
    Resolved,
    PassedOver,
}

impl People {
    /// Edits devices of these serial numbers until dropped.
    pub(super) async fn work(mut self, serials: &[String], decisions: &mut Decisions) {
        let mut turn = interval(self.pause);
        while !serials.is_empty() {
            turn.tick().await;
            let serial = &serials[self.rng.random_range(0..serials.len())];
            match self.edit(serial).await {
                Ok(Done::Edited) => decisions.edits += 1,
                Ok(Done::Resolved) => {
                    decisions.edits += 1;
                    decisions.resolutions += 1;
                }
                Ok(Done::PassedOver) => decisions.passed_over += 1,
                Err(failure) => {
                    decisions.failed += 1;
                    decisions
                        .first_trouble
                        .get_or_insert_with(|| format!("{serial}: {failure}"));
                }
            }
        }
    }

    async fn edit(&mut self, serial: &str) -> Result<Done, Failure> {
        // Its cloud may not have named it yet, or have given its name to another as well.
        let known = match named::one(&self.pool, serial, Some(self.organization)).await {
            Ok(known) => known,
            Err(Failure::NotFound(_) | Failure::Usage(_)) => return Ok(Done::PassedOver),
            Err(failure) => return Err(failure),
        };
        let shown = fields::shown(&self.pool, &[known.id], None).await?;
        let shown = shown.into_values().next().unwrap_or_default();
        let wanted = wanted(&mut self.rng, &shown)?;
        let strategies = fields::strategies(&self.pool, known.organization).await?;
        let Some(edit) = Edit::of(&wanted, &shown, &strategies) else {
            return Ok(Done::PassedOver);
        };
        let done = if edit.resolves.is_empty() {
            Done::Edited
        } else {
            Done::Resolved
        };
        self.appender.append(&self.event(&known, edit)?).await?;
        Ok(done)
    }

    fn event(&self, known: &Known, edit: Edit) -> Result<Event, Failure> {
        let at = decided::after(clock::now(), edit.seen_at.iter().copied());
        let device: DeviceId = known.id;
        let concern = Concern {
            organization: known.organization,
            integration: None,
            subject: Subject::Device(device),
        };
        let body = edit.body(known.serial()?, &self.author, Some("simulated"));
        Ok(decided::event(concern, Body::DeviceEdited(body), at))
    }
}

/// What somebody wants of a device: a waiting conflict decided, by the cloud's value or one of their own, else
/// something else of it changed.
fn wanted(rng: &mut ChaCha8Rng, shown: &Shown) -> Result<Wanted, Failure> {
    let waiting = shown.fields.iter().find(|(_, field)| field.conflict.is_some());
    let said = match waiting {
        Some((name, field)) if rng.random() => {
            let remote = field.remote.clone();
            (
                name.clone(),
                remote.unwrap_or_else(|| RawJson::from_value(&Value::Null)),
            )
        }
        Some((name, _)) if name == "metadata" => (name.clone(), metadata(rng)),
        Some(_) | None => anything(rng),
    };
    let field: Field = editable(&said.0, &said.1)?;
    Ok(BTreeMap::from([(field, said.1)]))
}

fn anything(rng: &mut ChaCha8Rng) -> (String, RawJson) {
    let value = |value: Value| RawJson::from_value(&value);
    let n: u32 = rng.random_range(0..4);
    match rng.random_range(0..6) {
        0 => ("name".to_owned(), value(json!(format!("Gate {n}")))),
        1 => ("notes".to_owned(), value(json!(format!("seen on round {n}")))),
        2 => ("enabled".to_owned(), value(json!(n > 0))),
        3 => (format!("tag:round-{n}"), value(json!(rng.random::<bool>()))),
        _ => ("metadata".to_owned(), metadata(rng)),
    }
}

fn metadata(rng: &mut ChaCha8Rng) -> RawJson {
    let site = rng.random_range(1..=12);
    RawJson::from_value(&json!({ "site": format!("site-{site:02}"), "simulated": true, "edited": true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_want_can_be_edited() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let shown = Shown::default();
        let wanted: Vec<_> = (0..200)
            .map(|_| wanted(&mut rng, &shown).unwrap_or_default())
            .collect();
        assert!(wanted.iter().all(|wanted| wanted.len() == 1));
        let of = |name: &str| {
            wanted
                .iter()
                .any(|one| one.keys().any(|field| field.to_string() == name))
        };
        assert!(of("name") && of("metadata") && of("tag:round-1"));
    }

    #[test]
    fn a_waiting_conflict_is_decided() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let remote = RawJson::from_value(&json!({ "site": "x" }));
        let field = fields::Field {
            state: "conflict".to_owned(),
            value: Some(remote.clone()),
            remote: Some(remote.clone()),
            remote_at: None,
            remote_integration: None,
            edit: None,
            edit_at: None,
            conflict: Some("c".to_owned()),
        };
        let shown = Shown {
            fields: BTreeMap::from([("metadata".to_owned(), field)]),
            integrations: Vec::new(),
        };
        for _ in 0..20 {
            let wanted = wanted(&mut rng, &shown).unwrap_or_default();
            let edit = Edit::of(&wanted, &shown, &fields::Strategies::new());
            assert_eq!(edit.map(|edit| edit.resolves), Some(vec!["c".to_owned()]));
        }
    }
}
