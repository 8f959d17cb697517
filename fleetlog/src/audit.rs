//! The trail of what was changed in the registry: `integration.changed`, without secrets.

use std::{collections::BTreeMap, time::Duration};

use schema::{
    Body, Event, Extra, Fields, IntegrationChanged, IntegrationId, OrganizationId, RawJson, Subject,
};
use serde_json::Value;
use stream::{Appender, Position};

use crate::{
    clock,
    config::KafkaArgs,
    decided::{self, Concern},
    failure::Failure,
};

/// How long a command waits for its trace to be kept. The registry is the truth; the trail may miss what was done
/// while Kafka was away.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was changed, of which integration, by whom.
pub(crate) struct Change<'a> {
    pub(crate) organization: OrganizationId,
    pub(crate) integration: IntegrationId,
    /// E.g. `created`, `credential-added`.
    pub(crate) what: &'a str,
    /// The particulars, without secrets.
    pub(crate) fields: Vec<(&'a str, Value)>,
    pub(crate) author: &'a str,
}

/// Keeps the trace of a change if the log can be reached, and says on stderr if not.
pub(crate) async fn keep(kafka: &KafkaArgs, change: Change<'_>) {
    let what = change.what.to_owned();
    let kept = tokio::time::timeout(PATIENCE, append(kafka, change)).await;
    let late = || Failure::unavailable(format!("no answer within {PATIENCE:?}"));
    if let Err(failure) = kept.unwrap_or_else(|_| Err(late())) {
        eprintln!("fleetlog: done, but the event log does not hold it ({what}): {failure}");
    }
}

async fn append(kafka: &KafkaArgs, change: Change<'_>) -> Result<Position, Failure> {
    let config = kafka.log()?;
    let log = stream::topics::identify(&config).await?;
    let appender = Appender::to_log(&config, log, PATIENCE)?;
    Ok(appender.append(&event(&change)).await?)
}

fn event(change: &Change<'_>) -> Event {
    let concern = Concern {
        organization: change.organization,
        integration: Some(change.integration),
        subject: Subject::Integration(change.integration),
    };
    let fields: BTreeMap<_, _> = change
        .fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), RawJson::from_value(value)))
        .collect();
    let body = IntegrationChanged {
        change: change.what.to_owned(),
        fields: Fields(fields),
        author: change.author.to_owned(),
        extra: Extra::new(),
    };
    decided::event(concern, Body::IntegrationChanged(body), clock::now())
}
