//! Events that say what people decided here.

use std::{collections::BTreeMap, time::Duration};

use schema::{Body, Event, EventId, IntegrationId, Micros, OrganizationId, Origin, Subject};
use stream::{Appender, Position};

use crate::{clock, config::KafkaArgs, failure::Failure};

/// How long an append may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Whose a decision is, and whom it concerns.
pub(crate) struct Concern {
    pub(crate) organization: OrganizationId,
    pub(crate) integration: Option<IntegrationId>,
    pub(crate) subject: Subject,
}

/// An event that says what somebody decided at this time, which is beyond what they had seen and so may be to come by
/// the clock here. It is told now.
pub(crate) fn event(concern: Concern, body: Body, at: Micros) -> Event {
    Event {
        id: EventId::random(),
        subject: concern.subject,
        at,
        sequence: 0,
        recorded_at: clock::now().min(at),
        claimed_at: None,
        receipt_timed: false,
        organization: concern.organization,
        integration: concern.integration,
        origin: Origin::User,
        credential: None,
        replayable: false,
        traceparent: None,
        source: format!("/organizations/{}", concern.organization),
        extensions: BTreeMap::new(),
        body,
    }
}

/// When something is decided by whoever has seen all of this: now, but in any case after it, whatever the clocks.
pub(crate) fn after(now: Micros, seen: impl IntoIterator<Item = Micros>) -> Micros {
    let later = |at: Micros| at.plus(Duration::from_micros(1));
    seen.into_iter().map(later).fold(now, Micros::max)
}

/// Connects to the log that decisions are appended to.
pub(crate) async fn appender(kafka: &KafkaArgs) -> Result<Appender, Failure> {
    let config = kafka.log()?;
    let log = stream::topics::identify(&config).await?;
    Ok(Appender::to_log(&config, log, APPEND_TIMEOUT)?)
}

/// Appends one decision.
pub(crate) async fn append(kafka: &KafkaArgs, event: &Event) -> Result<Position, Failure> {
    Ok(appender(kafka).await?.append(event).await?)
}
