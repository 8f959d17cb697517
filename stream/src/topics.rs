//! The topics of a log: made once, checked at every start.

mod look;
mod opening;
mod safety;

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schema::Topic;

use crate::{AppendError, KafkaFault, LogConfig, LogIdentity, client::Watch};
use look::{Asking, Seen};
use safety::{Settings, settings};

/// The topics of a log.
pub const TOPICS: [Topic; 4] = [
    Topic::Events,
    Topic::Readings,
    Topic::Checkpoints,
    Topic::DeadLetters,
];

/// How long brokers may take to make, show or remove topics.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether they have.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A setting that would lose events, or a topic that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The topic's full name.
    pub topic: String,
    /// The setting, as Kafka calls it, or what else is wrong.
    pub setting: String,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub wanted: String,
    /// The command that mends it, or why none does.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            setting,
            found,
            wanted,
            mend,
        } = self;
        write!(
            f,
            "{topic}: {setting} is {found}, but must be {wanted}\n    {mend}"
        )
    }
}

/// Why there is no log to work with.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The topics are not safe to keep events in. All that is wrong is named.
    #[error("the topics are not safe to keep events in:{}", list(.0))]
    Unsafe(Vec<Problem>),
    /// A broker does not make, describe or remove a topic.
    #[error("the brokers refuse topic {topic}: {reason}")]
    Refused {
        /// The topic's full name.
        topic: String,
        /// Kafka's own name of the reason, or what it means.
        reason: String,
    },
    /// The topics were made, but are not there when they should be.
    #[error("the topics were made but did not appear within {PATIENCE:?}")]
    NotThere,
    /// Kafka does not answer as it should.
    #[error("the brokers cannot be asked about topics: {0}")]
    Kafka(#[from] KafkaFault),
    /// The first record of a partition could not be written.
    #[error("the log cannot be opened: {0}")]
    Opening(#[from] AppendError),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    lines.concat()
}

impl From<KafkaError> for TopicsError {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error.into())
    }
}

/// Makes the topics that are not there, and opens the log in every partition where that was not done.
///
/// Safe to call again, also after it was interrupted, and by several at once: all learn of the same log.
pub async fn create(config: &LogConfig, partitions: i32) -> Result<LogIdentity, TopicsError> {
    let asking = Asking::new(config)?;
    let there = asking.topics().await?;
    let problems = safety::partition_counts(config, &there, Some(partitions));
    if !problems.is_empty() {
        return Err(TopicsError::Unsafe(problems));
    }
    let we_made_events = make(config, &there, partitions).await?;
    appear(config, &asking, partitions).await?;
    opening::open(config, &asking, partitions, we_made_events).await
}

/// Learns which log it is, and refuses topics that would lose events.
pub async fn check(config: &LogConfig) -> Result<LogIdentity, TopicsError> {
    Ok(examine(config).await?.0)
}

/// [Checks](check), and says what else the settings found ask of whoever runs the log: nothing that keeps it from
/// working.
pub async fn examine(config: &LogConfig) -> Result<(LogIdentity, Vec<String>), TopicsError> {
    let seen = Asking::new(config)?.topics_and_openings().await?;
    let settings = describe(config, &seen).await?;
    let log = safety::judge(config, &seen, &settings).map_err(TopicsError::Unsafe)?;
    Ok((log, safety::hints(config, &settings)))
}

/// How long readings are kept before they expire; for ever if `None`. A bound in bytes counts as no time at all: nobody
/// knows when it is reached.
pub async fn readings_kept_for(config: &LogConfig) -> Result<Option<Duration>, TopicsError> {
    let seen = Asking::new(config)?.topics().await?;
    let settings = describe(config, &seen).await?;
    let of_readings = settings.get(&Topic::Readings);
    let setting = |name: &str| of_readings.and_then(|settings| settings.get(name)?.parse::<i64>().ok());
    if setting("retention.bytes").is_some_and(|bytes| bytes >= 0) {
        return Ok(Some(Duration::ZERO));
    }
    let kept = setting("retention.ms").and_then(|ms| u64::try_from(ms).ok());
    Ok(kept.map(Duration::from_millis))
}

/// Learns which log it is, without judging the settings of its topics.
pub async fn identify(config: &LogConfig) -> Result<LogIdentity, TopicsError> {
    let seen = Asking::new(config)?.topics_and_openings().await?;
    safety::identity(config, &seen).map_err(TopicsError::Unsafe)
}

/// Removes the topics and all that is in them.
pub async fn delete(config: &LogConfig) -> Result<(), TopicsError> {
    let names = TOPICS.map(|topic| config.topic(topic));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let results = admin(config)?.delete_topics(&names, &options()).await?;
    for result in results {
        if let Err((topic, code)) = result
            && code != RDKafkaErrorCode::UnknownTopicOrPartition
        {
            return Err(refused(topic, code));
        }
    }
    let asking = Asking::new(config)?;
    until(|| async { Ok(asking.topics().await?.partitions.is_empty()) }).await
}

fn refused(topic: String, code: RDKafkaErrorCode) -> TopicsError {
    let reason = if code == RDKafkaErrorCode::InvalidReplicationFactor {
        "there are fewer than 3 brokers; --single-broker says that one is meant".to_owned()
    } else {
        code.to_string()
    };
    TopicsError::Refused { topic, reason }
}

fn admin(config: &LogConfig) -> Result<AdminClient<Watch>, KafkaError> {
    config.asking().create_with_context(Watch::unheard())
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

/// Makes what is not there. Says whether the events topic was made here, and by nobody else at the same time.
async fn make(config: &LogConfig, there: &Seen, partitions: i32) -> Result<bool, TopicsError> {
    let missing: Vec<_> = TOPICS
        .into_iter()
        .filter(|topic| !there.partitions.contains_key(topic))
        .map(|topic| (topic, config.topic(topic), settings(config, topic)))
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let replication = safety::replication(config);
    let new_topics: Vec<_> = missing
        .iter()
        .map(|(_, name, settings)| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
            settings
                .iter()
                .fold(topic, |topic, (setting, value)| topic.set(setting, value))
        })
        .collect();
    let results = admin(config)?.create_topics(&new_topics, &options()).await?;
    let events = config.topic(Topic::Events);
    let mut made_events = false;
    for result in results {
        match result {
            Ok(name) => made_events |= name == events,
            // Someone else makes the log at the same time.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(refused(topic, code)),
        }
    }
    Ok(made_events)
}

/// Waits until every partition is there and has a leader.
async fn appear(config: &LogConfig, asking: &Asking, partitions: i32) -> Result<(), TopicsError> {
    let complete = || async {
        let seen = asking.topics().await?;
        let complete = |topic| {
            let there = seen.partitions.get(topic).map_or(&[][..], Vec::as_slice);
            i32::try_from(there.len()).is_ok_and(|n| n >= partitions) && there.iter().all(|p| p.leader >= 0)
        };
        Ok(TOPICS.iter().all(complete))
    };
    until(complete).await?;
    let problems = safety::partition_counts(config, &asking.topics().await?, Some(partitions));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(TopicsError::Unsafe(problems))
    }
}

/// Asks again until it is so.
async fn until<F: Future<Output = Result<bool, TopicsError>>>(
    is_so: impl Fn() -> F,
) -> Result<(), TopicsError> {
    let deadline = Instant::now() + PATIENCE;
    let mut turn = tokio::time::interval(LOOK_INTERVAL);
    loop {
        turn.tick().await;
        if is_so().await? {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(TopicsError::NotThere);
        }
    }
}

/// The settings in force of the topics that are there.
async fn describe(config: &LogConfig, seen: &Seen) -> Result<BTreeMap<Topic, Settings>, TopicsError> {
    if seen.partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let topics: Vec<_> = seen
        .partitions
        .keys()
        .map(|topic| (*topic, config.topic(*topic)))
        .collect();
    let asked: Vec<_> = topics
        .iter()
        .map(|(_, name)| ResourceSpecifier::Topic(name))
        .collect();
    let answers = admin(config)?.describe_configs(&asked, &options()).await?;
    let mut settings = BTreeMap::new();
    for ((topic, name), answer) in topics.into_iter().zip(answers) {
        let described = answer.map_err(|code| refused(name, code))?;
        let values = described
            .entries
            .into_iter()
            .filter_map(|entry| Some((entry.name, entry.value?)));
        settings.insert(topic, values.collect());
    }
    Ok(settings)
}
