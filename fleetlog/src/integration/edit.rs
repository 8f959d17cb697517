//! `fleetlog integration edit`.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use clap::{Args, ValueEnum};
use control::{Integration, Name, Policy, integration::Edited};
use schema::{IntegrationId, Strategy};
use serde_json::{Map, Value, json};

use super::plain;
use crate::{
    audit::{self, Change},
    config::{AuthorArgs, KafkaArgs, OwnerDatabase},
    failure::Failure,
    output, parse,
};

/// Changes what an integration is called and how its deliveries and devices are treated
///
/// What is not named stays. Intervals, timeouts, pointers and the primary package are joined when devices are read, so a
/// change shows at once, for what was sent before it too, and nothing is rebuilt; doors follow within two seconds. A
/// strategy counts for edits made from now on: it is stamped in each. Organization and provider never change.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog integration edit ID --battery-pointer /power/battery
  fleetlog integration edit ID --offline-timeout 2h --strategy metadata=manual
  fleetlog integration edit ID --unset project --no-strategy metadata")]
pub(crate) struct Edit {
    /// The integration
    #[arg(value_name = "INTEGRATION_ID")]
    id: IntegrationId,
    /// What people call it
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    policy: PolicyChanges,
    /// Print {"integration_id", "changed"}, the latter with `before` and `after` of each setting that changed
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What is to change.
#[derive(Args)]
#[command(next_help_heading = "Policy")]
struct PolicyChanges {
    /// Golioth project it is bound to: a delivery that names another, or none, is refused
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// How long after evidence of life a device counts as online
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    online_interval: Option<Duration>,
    /// How long after evidence of life a silent device counts as offline
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    offline_timeout: Option<Duration>,
    /// JSON pointer to a battery level in readings; may be repeated, and takes the place of all that were set
    #[arg(long, value_name = "POINTER")]
    battery_pointer: Vec<String>,
    /// JSON pointer to a signal strength in readings; may be repeated, and takes the place of all that were set
    #[arg(long, value_name = "POINTER")]
    signal_pointer: Vec<String>,
    /// Field of an array element that holds the element's own time
    #[arg(long, value_name = "FIELD")]
    reading_time_field: Option<String>,
    /// Refuse signed deliveries in which neither a time nor an id is signed: true or false
    #[arg(long, value_name = "BOOL")]
    refuse_replayable: Option<bool>,
    /// Deliveries per second beyond which 429 is answered
    #[arg(long, value_name = "N")]
    rate_ceiling: Option<NonZeroU32>,
    /// Who wins when a field was changed on both sides; may be repeated
    #[arg(long, value_name = "FIELD=STRATEGY", value_parser = parse::strategy)]
    strategy: Vec<(String, Strategy)>,
    /// Give a field no strategy of its own; may be repeated
    #[arg(long, value_name = "FIELD")]
    no_strategy: Vec<String>,
    /// Package whose version is the device's firmware version
    #[arg(long, value_name = "PACKAGE")]
    primary_package: Option<String>,
    /// Take a setting away, or back to what it is unless said otherwise; may be repeated
    #[arg(long, value_enum, value_name = "SETTING")]
    unset: Vec<Setting>,
}

/// What can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Setting {
    Project,
    OnlineInterval,
    OfflineTimeout,
    BatteryPointers,
    SignalPointers,
    ReadingTimeField,
    RefuseReplayable,
    RateCeiling,
    PrimaryPackage,
}

impl Edit {
    /// Changes it.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let wanted = &self.policy;
        let edited = control::integration::edit(&pool, self.id, |name, policy| {
            if let Some(called) = &self.name {
                name.clone_from(called);
            }
            wanted.apply(policy);
        })
        .await?;
        let changed = changed(&edited)?;
        if !changed.is_empty() {
            let change = Change {
                organization: edited.after.organization,
                integration: self.id,
                what: "edited",
                fields: changed
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.clone()))
                    .collect(),
                author: self.author.author(),
            };
            audit::keep(&self.kafka, change).await;
        }
        if self.json {
            return output::json(&json!({ "integration_id": self.id, "changed": changed }));
        }
        if changed.is_empty() {
            return output::line("nothing changes: it is set up like that already");
        }
        let rows: Vec<_> = changed
            .iter()
            .map(|(name, value)| [name.clone(), plain(&value["before"]), plain(&value["after"])])
            .collect();
        output::table(["setting", "before", "after"], &rows)
    }
}

impl PolicyChanges {
    fn apply(&self, policy: &mut Policy) {
        for setting in &self.unset {
            let usual = Policy::usual();
            match setting {
                Setting::Project => policy.project = usual.project,
                Setting::OnlineInterval => policy.online_interval = usual.online_interval,
                Setting::OfflineTimeout => policy.offline_timeout = usual.offline_timeout,
                Setting::BatteryPointers => policy.battery_pointers = usual.battery_pointers,
                Setting::SignalPointers => policy.signal_pointers = usual.signal_pointers,
                Setting::ReadingTimeField => policy.reading_time_field = usual.reading_time_field,
                Setting::RefuseReplayable => policy.refuse_replayable = usual.refuse_replayable,
                Setting::RateCeiling => policy.rate_ceiling = usual.rate_ceiling,
                Setting::PrimaryPackage => policy.primary_package = usual.primary_package,
            }
        }
        let optional = |said: &Option<String>, held: &mut Option<String>| {
            if said.is_some() {
                held.clone_from(said);
            }
        };
        optional(&self.project, &mut policy.project);
        optional(&self.reading_time_field, &mut policy.reading_time_field);
        optional(&self.primary_package, &mut policy.primary_package);
        policy.online_interval = self.online_interval.unwrap_or(policy.online_interval);
        policy.offline_timeout = self.offline_timeout.unwrap_or(policy.offline_timeout);
        policy.refuse_replayable = self.refuse_replayable.unwrap_or(policy.refuse_replayable);
        policy.rate_ceiling = self.rate_ceiling.or(policy.rate_ceiling);
        if !self.battery_pointer.is_empty() {
            policy.battery_pointers.clone_from(&self.battery_pointer);
        }
        if !self.signal_pointer.is_empty() {
            policy.signal_pointers.clone_from(&self.signal_pointer);
        }
        for field in &self.no_strategy {
            policy.strategies.remove(field);
        }
        policy.strategies.extend(self.strategy.iter().cloned());
    }
}

/// The settings that changed, with what they were and are.
fn changed(edited: &Edited) -> Result<Map<String, Value>, Failure> {
    let fields = |integration: &Integration| -> Result<Map<String, Value>, Failure> {
        let value = serde_json::to_value(integration).map_err(anyhow::Error::from)?;
        Ok(value.as_object().cloned().unwrap_or_default())
    };
    let (before, after) = (fields(&edited.before)?, fields(&edited.after)?);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| name.as_str() != "updated_at" && before.get(*name) != after.get(*name));
    Ok(differing
        .map(|name| {
            let value = json!({ "before": before.get(name), "after": after.get(name) });
            (name.clone(), value)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        changes: PolicyChanges,
    }

    fn changed_by(line: &str, mut policy: Policy) -> Policy {
        let words = std::iter::once("line").chain(line.split_whitespace());
        Line::try_parse_from(words)
            .unwrap_or_else(|error| panic!("{error}"))
            .changes
            .apply(&mut policy);
        policy
    }

    #[test]
    fn what_is_not_named_stays() {
        let policy = Policy {
            project: Some("p".to_owned()),
            refuse_replayable: true,
            strategies: [("metadata".to_owned(), Strategy::Manual)].into(),
            ..Policy::usual()
        };
        assert_eq!(changed_by("", policy.clone()), policy);
        let pointers = changed_by("--battery-pointer /a --battery-pointer /b", policy.clone());
        let expected = Policy {
            battery_pointers: vec!["/a".to_owned(), "/b".to_owned()],
            ..policy.clone()
        };
        assert_eq!(pointers, expected);
        let back = changed_by(
            "--unset battery-pointers --unset project --refuse-replayable false --no-strategy metadata",
            pointers,
        );
        assert_eq!(back, Policy::usual());
        let both = changed_by("--unset online-interval --online-interval 5m", policy);
        assert_eq!(both.online_interval, Duration::from_mins(5), "what is set wins");
    }
}
