//! What topics must be so that no event is lost: the settings they are made with, and what is wrong with those found.
//!
//! Pure: from what was seen to problems and the commands that mend them.

use std::collections::BTreeMap;

use schema::{LogId, Topic};

use super::{
    Problem, TOPICS,
    look::{Opening, Partition, Seen},
};
use crate::{LogConfig, LogIdentity, MAX_RECORD_BYTES};

/// Settings in force, by Kafka's names.
pub(super) type Settings = BTreeMap<String, String>;

const FOR_EVER: &str = "-1";
const DEAD_LETTERS_RETENTION_MS: &str = "7776000000"; // 90 days

/// Kafka compacts only segments that are no longer written to, and only when enough of them is outdated. A checkpoint
/// is written anew for every provider device that is heard from, so both have to happen soon, or the topic grows as
/// the readings do.
const COMPACTION: [(&str, &str); 4] = [
    ("segment.ms", "3600000"),      // an hour
    ("segment.bytes", "134217728"), // 128 MiB
    ("min.cleanable.dirty.ratio", "0.2"),
    ("max.compaction.lag.ms", "86400000"), // a day
];

/// How many replicas every partition has.
pub(super) fn replication(config: &LogConfig) -> i32 {
    if config.single_broker { 1 } else { 3 }
}

/// How many of them must hold a record before it is acknowledged.
fn min_in_sync(config: &LogConfig) -> i32 {
    if config.single_broker { 1 } else { 2 }
}

/// What a topic is made with.
pub(super) fn settings(config: &LogConfig, topic: Topic) -> Vec<(&'static str, String)> {
    let retention = match topic {
        Topic::Events | Topic::Readings | Topic::Checkpoints => FOR_EVER,
        Topic::DeadLetters => DEAD_LETTERS_RETENTION_MS,
    };
    let mut settings = [
        ("cleanup.policy", cleanup(topic).to_owned()),
        ("retention.ms", retention.to_owned()),
        ("retention.bytes", FOR_EVER.to_owned()),
        ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("min.insync.replicas", min_in_sync(config).to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ]
    .to_vec();
    if topic == Topic::Checkpoints {
        settings.extend(COMPACTION.map(|(setting, value)| (setting, value.to_owned())));
    }
    settings
}

/// How old records go, if at all: of checkpoints the newest of each key is kept for ever.
fn cleanup(topic: Topic) -> &'static str {
    match topic {
        Topic::Events | Topic::Readings | Topic::DeadLetters => "delete",
        Topic::Checkpoints => "compact",
    }
}

/// What settings that lose nothing by themselves ask of whoever runs the log.
pub(super) fn hints(config: &LogConfig, settings: &BTreeMap<Topic, Settings>) -> Vec<String> {
    let of_readings = settings.get(&Topic::Readings);
    let bounds: Vec<_> = ["retention.ms", "retention.bytes"]
        .into_iter()
        .filter_map(|setting| Some((setting, of_readings?.get(setting)?)))
        .filter(|(_, value)| value.as_str() != FOR_EVER)
        .map(|(setting, value)| format!("{setting}={value}"))
        .collect();
    if bounds.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} expires ({}): a rebuild needs the readings that no checkpoint covers, so take checkpoints (fleetlog \
         checkpoint; a projector does by itself) far more often than readings expire",
        config.topic(Topic::Readings),
        bounds.join(", ")
    )]
}

/// Which log it is, or all that is wrong with its topics.
pub(super) fn judge(
    config: &LogConfig,
    seen: &Seen,
    settings: &BTreeMap<Topic, Settings>,
) -> Result<LogIdentity, Vec<Problem>> {
    let mut problems = missing(config, seen);
    problems.extend(partition_counts(config, seen, None));
    for (topic, settings) in settings {
        problems.extend(setting_problems(config, *topic, settings));
    }
    for (topic, partitions) in &seen.partitions {
        problems.extend(replication_problem(config, *topic, partitions, &seen.brokers));
    }
    match identity(config, seen) {
        Ok(log) if problems.is_empty() => Ok(log),
        Ok(_) => Err(problems),
        Err(others) => {
            problems.extend(
                others
                    .into_iter()
                    .filter(|other| !problems.contains(other))
                    .collect::<Vec<_>>(),
            );
            Err(problems)
        }
    }
}

/// Which log it is, or why that cannot be said.
pub(super) fn identity(config: &LogConfig, seen: &Seen) -> Result<LogIdentity, Vec<Problem>> {
    if !seen.partitions.contains_key(&Topic::Events) {
        return Err(missing(config, seen));
    }
    let problems = opening_problems(config, seen, true);
    match seen.openings.first() {
        Some(Opening::Opened { log_id, partitions }) if problems.is_empty() => Ok(LogIdentity {
            log_id: log_id.clone(),
            partitions: *partitions,
        }),
        _ => Err(problems),
    }
}

/// What is wrong with how partitions of the events topic begin. Empty ones are wrong once the log is `complete`.
pub(super) fn opening_problems(config: &LogConfig, seen: &Seen, complete: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut first: Option<&LogId> = None;
    let n_partitions = count(&seen.openings);
    for (partition, opening) in seen.openings.iter().enumerate() {
        let (found, mend) = match opening {
            Opening::Empty if complete => ("missing".to_owned(), create_command(config, n_partitions)),
            Opening::Empty => continue,
            Opening::Cut(offset) => (format!("gone: the first offset is {offset}"), no_mend()),
            Opening::Foreign(what) => (what.clone(), no_mend()),
            Opening::Opened { log_id, partitions } if *partitions != n_partitions => {
                let found = format!("log.opened of log {log_id} with {partitions} partitions");
                (found, no_mend())
            }
            Opening::Opened { log_id, .. } if *first.get_or_insert(log_id) == log_id => continue,
            Opening::Opened { log_id, .. } => (format!("log.opened of log {log_id}"), no_mend()),
        };
        let wanted = first.map_or_else(
            || "log.opened".to_owned(),
            |log_id| format!("log.opened of log {log_id}"),
        );
        problems.push(Problem {
            topic: config.topic(Topic::Events),
            setting: format!("the first record of partition {partition}"),
            found,
            wanted: format!("{wanted} with {n_partitions} partitions"),
            mend,
        });
    }
    problems
}

fn missing(config: &LogConfig, seen: &Seen) -> Vec<Problem> {
    let partitions = seen.partitions.values().map(|partitions| count(partitions)).max();
    TOPICS
        .into_iter()
        .filter(|topic| !seen.partitions.contains_key(topic))
        .map(|topic| Problem {
            topic: config.topic(topic),
            setting: "the topic".to_owned(),
            found: "missing".to_owned(),
            wanted: "there".to_owned(),
            mend: create_command(config, partitions.unwrap_or(12)),
        })
        .collect()
}

/// Topics that have another number of partitions than is wanted, or than the events topic has.
pub(super) fn partition_counts(config: &LogConfig, seen: &Seen, wanted: Option<i32>) -> Vec<Problem> {
    let of_events = seen
        .partitions
        .get(&Topic::Events)
        .map(|partitions| count(partitions));
    let Some(wanted) = wanted.or(of_events) else {
        return Vec::new();
    };
    seen.partitions
        .iter()
        .filter(|(_, partitions)| count(partitions) != wanted)
        .map(|(topic, partitions)| Problem {
            topic: config.topic(*topic),
            setting: "the number of partitions".to_owned(),
            found: count(partitions).to_string(),
            wanted: format!("{wanted}, the same for every topic and fixed for the life of the log"),
            mend: if *topic == Topic::Events {
                no_mend()
            } else {
                let delete = kafka_command(config, "kafka-topics.sh", "--delete --topic");
                let name = config.topic(*topic);
                format!(
                    "if it is empty: {delete} {name} && {}; otherwise {}",
                    create_command(config, wanted),
                    no_mend()
                )
            },
        })
        .collect()
}

/// Settings in force that would lose events.
fn setting_problems(config: &LogConfig, topic: Topic, settings: &Settings) -> Vec<Problem> {
    let max_bytes = i64::try_from(MAX_RECORD_BYTES).unwrap_or(i64::MAX);
    let min_in_sync = i64::from(min_in_sync(config));
    let replication = i64::from(replication(config));
    let at_least = |least: i64| move |value: &str| value.parse::<i64>().is_ok_and(|value| value >= least);
    let mut problems = Vec::new();
    let mut require = |setting: &str, is_safe: &dyn Fn(&str) -> bool, value: &str, wanted: String| {
        let found = settings.get(setting);
        if !found.is_some_and(|found| is_safe(found)) {
            let name = config.topic(topic);
            let alter = "--alter --entity-type topics --entity-name";
            let command = kafka_command(config, "kafka-configs.sh", alter);
            problems.push(Problem {
                mend: format!("{command} {name} --add-config {setting}={value}"),
                topic: name,
                setting: setting.to_owned(),
                found: found.cloned().unwrap_or_else(|| "not told".to_owned()),
                wanted,
            });
        }
    };

    let cleanup = cleanup(topic);
    require(
        "cleanup.policy",
        &|found| found == cleanup,
        cleanup,
        cleanup.to_owned(),
    );
    if topic == Topic::Events {
        for retention in ["retention.ms", "retention.bytes"] {
            require(
                retention,
                &|found| found == FOR_EVER,
                FOR_EVER,
                "-1, for ever".to_owned(),
            );
        }
    }
    require(
        "max.message.bytes",
        &at_least(max_bytes),
        &max_bytes.to_string(),
        format!("at least {max_bytes}"),
    );
    if config.single_broker {
        // More than there are replicas would refuse every append.
        let wanted = "1 with a single broker".to_owned();
        require("min.insync.replicas", &|found| found == "1", "1", wanted);
    } else {
        require(
            "min.insync.replicas",
            &at_least(min_in_sync),
            &min_in_sync.to_string(),
            format!(
                "at least {min_in_sync}, of {replication} replicas, unless a single broker is meant (--single-broker)"
            ),
        );
    }
    let unclean = "unclean.leader.election.enable";
    require(unclean, &|found| found == "false", "false", "false".to_owned());
    problems
}

fn replication_problem(
    config: &LogConfig,
    topic: Topic,
    partitions: &[Partition],
    brokers: &[i32],
) -> Option<Problem> {
    let wanted = replication(config);
    let found = partitions
        .iter()
        .map(|partition| count(&partition.replicas))
        .min()?;
    if found >= wanted {
        return None;
    }
    let name = config.topic(topic);
    Some(Problem {
        setting: "the number of replicas".to_owned(),
        found: found.to_string(),
        wanted: format!("at least {wanted}, unless a single broker is meant (--single-broker)"),
        mend: if count(brokers) < wanted {
            format!("add brokers first: there are {}", brokers.len())
        } else {
            reassign_command(config, &name, partitions, brokers)
        },
        topic: name,
    })
}

/// Adds brokers to each partition's replicas until there are enough, beginning with another one for each partition.
fn reassign_command(config: &LogConfig, name: &str, partitions: &[Partition], brokers: &[i32]) -> String {
    let wanted = usize::try_from(replication(config)).unwrap_or_default();
    let plan: Vec<_> = partitions
        .iter()
        .enumerate()
        .map(|(number, partition)| {
            let others = brokers.iter().cycle().skip(number).take(brokers.len());
            let others = others.filter(|broker| !partition.replicas.contains(broker));
            let replicas: Vec<_> = partition
                .replicas
                .iter()
                .chain(others)
                .take(wanted.max(partition.replicas.len()))
                .map(ToString::to_string)
                .collect();
            format!(
                r#"{{"topic":"{name}","partition":{number},"replicas":[{}]}}"#,
                replicas.join(",")
            )
        })
        .collect();
    let command = kafka_command(
        config,
        "kafka-reassign-partitions.sh",
        "--execute --reassignment-json-file replicas.json",
    );
    format!(
        r#"echo '{{"version":1,"partitions":[{}]}}' > replicas.json && {command}"#,
        plan.join(",")
    )
}

fn kafka_command(config: &LogConfig, tool: &str, arguments: &str) -> String {
    let secured = if config.properties.is_empty() {
        ""
    } else {
        " --command-config client.properties"
    };
    format!(
        "{tool} --bootstrap-server {}{secured} {arguments}",
        config.brokers
    )
}

fn create_command(config: &LogConfig, partitions: i32) -> String {
    let prefix = if config.prefix == Topic::DEFAULT_PREFIX {
        String::new()
    } else {
        format!(" --topic-prefix {}", config.prefix)
    };
    let single = if config.single_broker {
        " --single-broker"
    } else {
        ""
    };
    format!(
        "fleetlog topics create --kafka-brokers {}{prefix}{single} --partitions {partitions}",
        config.brokers
    )
}

fn no_mend() -> String {
    "no command mends this: it is another log, or no whole one; use the right brokers and prefix, or begin a new log \
     under another prefix"
        .to_owned()
}

fn count<T>(things: &[T]) -> i32 {
    i32::try_from(things.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
