//! Configured sources of events.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use schema::{IntegrationId, Micros, OrganizationId, Strategy};
use serde::{Serialize, Serializer};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use crate::{ControlError, Name, sql};

/// Whose devices an integration speaks of.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
    strum::VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Provider {
    /// Golioth: webhooks of Pipelines, or what a relay signs and forwards.
    Golioth,
    /// AWS `IoT`.
    AwsIot,
    /// Azure `IoT` Hub.
    AzureIotHub,
    /// A plain MQTT broker.
    Mqtt,
}

/// A configured source of events, e.g. one Golioth project's webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Integration {
    /// In the URL that deliveries go to, and in every event. Not a secret.
    pub id: IntegrationId,
    /// Never changes.
    pub organization: OrganizationId,
    /// Unique within the organization.
    pub name: Name,
    /// Whose devices it speaks of.
    pub provider: Provider,
    /// How its deliveries and devices are to be treated.
    #[serde(flatten)]
    pub policy: Policy,
    /// When it was created, by the clock of Postgres.
    pub created_at: Micros,
    /// When it was last changed, by the clock of Postgres.
    pub updated_at: Micros,
}

/// An integration to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIntegration {
    /// Whom it belongs to, for ever.
    pub organization: OrganizationId,
    /// Unique within the organization.
    pub name: Name,
    /// Whose devices it speaks of.
    pub provider: Provider,
    /// How its deliveries and devices are to be treated.
    pub policy: Policy,
}

/// How the deliveries and devices of an integration are to be treated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The Golioth project it is bound to: a delivery that names another is refused.
    pub project: Option<String>,
    /// How long after evidence of life a device counts as online. Whole seconds.
    #[serde(rename = "online_interval_seconds", serialize_with = "seconds")]
    pub online_interval: Duration,
    /// How long after evidence of life a silent device counts as offline. Whole seconds, not below the interval.
    #[serde(rename = "offline_timeout_seconds", serialize_with = "seconds")]
    pub offline_timeout: Duration,
    /// JSON pointers to a battery level, read from the newest reading that has one.
    pub battery_pointers: Vec<String>,
    /// JSON pointers to a signal strength, read from the newest reading that has one.
    pub signal_pointers: Vec<String>,
    /// The field of an array element that holds the element's own time.
    pub reading_time_field: Option<String>,
    /// Refuse signed deliveries in which neither a time nor an id is signed: they could be replayed for ever.
    pub refuse_replayable: bool,
    /// Deliveries per second beyond which 429 is answered. Off if `None`: a refused delivery may never come again.
    pub rate_ceiling: Option<NonZeroU32>,
    /// Who wins when a field was changed on both sides, by field.
    pub strategies: BTreeMap<String, Strategy>,
    /// The package whose version is the device's firmware version; the newest of any package if `None`.
    pub primary_package: Option<String>,
}

/// Longest interval or timeout.
const MAX_DURATION: Duration = Duration::from_hours(366 * 24);
/// Most pointers of a kind.
const MAX_POINTERS: usize = 16;
/// Longest text in a policy, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Most fields that have a strategy of their own.
const MAX_STRATEGIES: usize = 256;

/// What is wrong with a policy. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Zero, too long, or finer than a second.
    #[error("{what} must be whole seconds, from 1 s to 366 days")]
    Duration {
        /// Which setting.
        what: &'static str,
    },
    /// A device would be offline while it still counts as online.
    #[error("the offline timeout must not be shorter than the online interval")]
    TimeoutBeforeInterval,
    /// No JSON pointer, or the empty one, which would take any number for a battery.
    #[error("{0:?} is not a JSON pointer to a value inside a reading, e.g. /battery/level")]
    Pointer(String),
    /// More than 16 pointers of a kind, or more than 256 strategies.
    #[error("too many {what}: at most {most}")]
    TooMany {
        /// Which setting.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// Blank, longer than 256 bytes, or with control characters.
    #[error("{what} must have 1 to 256 bytes and no control characters")]
    Text {
        /// Which setting.
        what: &'static str,
    },
    /// Postgres counts up to 2 147 483 647.
    #[error("the rate ceiling must be at most 2147483647 deliveries per second")]
    RateCeiling,
    /// Projects are Golioth's.
    #[error("only a Golioth integration can be bound to a project")]
    ProjectOfAnother,
}

impl Policy {
    /// What suits most fleets.
    pub fn usual() -> Self {
        let pointers = |texts: [&str; 4]| texts.map(str::to_owned).to_vec();
        Self {
            project: None,
            online_interval: Duration::from_mins(10),
            offline_timeout: Duration::from_hours(1),
            battery_pointers: pointers(["/battery", "/battery_level", "/battery/level", "/bat"]),
            signal_pointers: pointers(["/signal", "/rssi", "/signal/rssi", "/rsrp"]),
            reading_time_field: None,
            refuse_replayable: false,
            rate_ceiling: None,
            strategies: BTreeMap::new(),
            primary_package: None,
        }
    }

    fn check(&self, provider: Provider) -> Result<(), InvalidPolicy> {
        check_duration("the online interval", self.online_interval)?;
        check_duration("the offline timeout", self.offline_timeout)?;
        if self.offline_timeout < self.online_interval {
            return Err(InvalidPolicy::TimeoutBeforeInterval);
        }
        check_pointers("battery pointers", &self.battery_pointers)?;
        check_pointers("signal pointers", &self.signal_pointers)?;
        check_text("the project", self.project.as_deref())?;
        check_text("the reading's time field", self.reading_time_field.as_deref())?;
        check_text("the primary package", self.primary_package.as_deref())?;
        if self.strategies.len() > MAX_STRATEGIES {
            return Err(InvalidPolicy::TooMany {
                what: "strategies",
                most: MAX_STRATEGIES,
            });
        }
        for field in self.strategies.keys() {
            check_text("a field with a strategy", Some(field))?;
        }
        if self
            .rate_ceiling
            .is_some_and(|ceiling| i32::try_from(ceiling.get()).is_err())
        {
            return Err(InvalidPolicy::RateCeiling);
        }
        if self.project.is_some() && provider != Provider::Golioth {
            return Err(InvalidPolicy::ProjectOfAnother);
        }
        Ok(())
    }
}

impl NewIntegration {
    /// An integration under [`Policy::usual`].
    pub fn new(organization: OrganizationId, name: Name, provider: Provider) -> Self {
        Self {
            organization,
            name,
            provider,
            policy: Policy::usual(),
        }
    }
}

/// Creates an integration. It takes nothing until it has a credential.
pub async fn create(pool: &PgPool, new: &NewIntegration) -> Result<Integration, ControlError> {
    new.policy.check(new.provider)?;
    let id = IntegrationId(Uuid::new_v4());
    sql::insert_integration(pool, id, new).await?.try_into()
}

/// An integration before and after it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// As it was.
    pub before: Integration,
    /// As it is.
    pub after: Integration,
}

/// Changes the name and the policy of an integration; its organization and its provider stay. Nobody else changes it
/// meanwhile. Doors follow within two seconds, and what is derived when it is read follows at once.
pub async fn edit(
    pool: &PgPool,
    id: IntegrationId,
    change: impl FnOnce(&mut Name, &mut Policy),
) -> Result<Edited, ControlError> {
    let mut tx = pool.begin().await?;
    if !sql::lock_integration(&mut *tx, id).await? {
        return Err(ControlError::NoSuchIntegration(id));
    }
    let row = sql::integration(&mut *tx, id).await?;
    let before = Integration::try_from(row.ok_or(ControlError::NoSuchIntegration(id))?)?;
    let mut wanted = before.clone();
    change(&mut wanted.name, &mut wanted.policy);
    if (&wanted.name, &wanted.policy) == (&before.name, &before.policy) {
        return Ok(Edited {
            after: before.clone(),
            before,
        });
    }
    wanted.policy.check(wanted.provider)?;
    let after = sql::update_integration(&mut *tx, &wanted).await?.try_into()?;
    tx.commit().await?;
    Ok(Edited { before, after })
}

/// The integrations of an organization, or of all, by name.
pub async fn list(
    pool: &PgPool,
    organization: Option<OrganizationId>,
) -> Result<Vec<Integration>, ControlError> {
    let rows = sql::integrations(pool, organization).await?;
    rows.into_iter().map(Integration::try_from).collect()
}

/// One integration.
pub async fn find(pool: &PgPool, id: IntegrationId) -> Result<Integration, ControlError> {
    let row = sql::integration(pool, id).await?;
    row.ok_or(ControlError::NoSuchIntegration(id))?.try_into()
}

impl TryFrom<sql::IntegrationRow> for Integration {
    type Error = ControlError;

    fn try_from(row: sql::IntegrationRow) -> Result<Self, ControlError> {
        let unreadable = |what: &str| ControlError::Unreadable(format!("integration {}: {what}", row.id));
        let provider = row.provider.parse().map_err(|_| unreadable("unknown provider"))?;
        let duration = |seconds: i64| u64::try_from(seconds).map(Duration::from_secs);
        let Json(strategies) = row.strategies;
        Ok(Self {
            id: IntegrationId(row.id),
            organization: OrganizationId(row.organization),
            name: Name::stored(row.name),
            provider,
            policy: Policy {
                project: row.project,
                online_interval: duration(row.online_interval).map_err(|_| unreadable("online interval"))?,
                offline_timeout: duration(row.offline_timeout).map_err(|_| unreadable("offline timeout"))?,
                battery_pointers: row.battery_pointers,
                signal_pointers: row.signal_pointers,
                reading_time_field: row.reading_time_field,
                refuse_replayable: row.refuse_replayable,
                rate_ceiling: row.rate_ceiling.and_then(|n| NonZeroU32::new(n.unsigned_abs())),
                strategies,
                primary_package: row.primary_package,
            },
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

fn check_duration(what: &'static str, duration: Duration) -> Result<(), InvalidPolicy> {
    let fits = !duration.is_zero() && duration <= MAX_DURATION && duration.subsec_nanos() == 0;
    if fits {
        Ok(())
    } else {
        Err(InvalidPolicy::Duration { what })
    }
}

fn check_pointers(what: &'static str, pointers: &[String]) -> Result<(), InvalidPolicy> {
    if pointers.len() > MAX_POINTERS {
        return Err(InvalidPolicy::TooMany {
            what,
            most: MAX_POINTERS,
        });
    }
    let wrong = pointers.iter().find(|pointer| !is_pointer(pointer));
    wrong.map_or(Ok(()), |pointer| Err(InvalidPolicy::Pointer(pointer.clone())))
}

/// RFC 6901, non-empty; `~` only as `~0` and `~1`.
fn is_pointer(text: &str) -> bool {
    let well_escaped = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    text.starts_with('/')
        && well_escaped
        && text.len() <= MAX_TEXT_BYTES
        && !text.chars().any(char::is_control)
}

fn check_text(what: &'static str, text: Option<&str>) -> Result<(), InvalidPolicy> {
    let fits = |text: &str| {
        !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
    };
    if text.is_none_or(fits) {
        Ok(())
    } else {
        Err(InvalidPolicy::Text { what })
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_usual_policy_suits_every_provider() {
        for provider in [
            Provider::Golioth,
            Provider::AwsIot,
            Provider::AzureIotHub,
            Provider::Mqtt,
        ] {
            assert_eq!(Policy::usual().check(provider), Ok(()));
        }
    }

    #[rstest]
    #[case::plain("/battery", true)]
    #[case::nested("/battery/level", true)]
    #[case::escaped("/a~1b/~0", true)]
    #[case::index("/readings/0/battery", true)]
    #[case::no_slash("battery", false)]
    #[case::empty("", false)]
    #[case::bad_escape("/a~2", false)]
    #[case::open_escape("/a~", false)]
    #[case::line_break("/a\n/b", false)]
    fn a_pointer_begins_with_a_slash_and_escapes_well(#[case] text: &str, #[case] fits: bool) {
        let policy = Policy {
            battery_pointers: vec![text.to_owned()],
            ..Policy::usual()
        };
        assert_eq!(policy.check(Provider::Mqtt).is_ok(), fits);
    }

    #[test]
    fn a_device_cannot_be_offline_while_it_counts_as_online() {
        let policy = Policy {
            offline_timeout: Duration::from_mins(1),
            ..Policy::usual()
        };
        assert_eq!(
            policy.check(Provider::Mqtt),
            Err(InvalidPolicy::TimeoutBeforeInterval)
        );
    }

    #[test]
    fn only_golioth_has_projects() {
        let policy = Policy {
            project: Some("my-first-project".to_owned()),
            ..Policy::usual()
        };
        assert_eq!(policy.check(Provider::Golioth), Ok(()));
        assert_eq!(policy.check(Provider::Mqtt), Err(InvalidPolicy::ProjectOfAnother));
    }

    #[test]
    fn times_finer_than_a_second_are_refused() {
        let policy = Policy {
            online_interval: Duration::from_millis(1500),
            ..Policy::usual()
        };
        assert!(matches!(
            policy.check(Provider::Mqtt),
            Err(InvalidPolicy::Duration { .. })
        ));
    }
}
