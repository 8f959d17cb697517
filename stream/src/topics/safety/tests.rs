use rstest::rstest;

use super::*;

const LOG: &str = "0badcafe";

fn config(single_broker: bool) -> LogConfig {
    LogConfig {
        brokers: "b1:9092".to_owned(),
        prefix: "fleetlog".to_owned(),
        single_broker,
        properties: Vec::new(),
    }
}

fn opened(log_id: &str, partitions: i32) -> Opening {
    Opening::Opened {
        log_id: LogId::new(log_id).expect("a log id"),
        partitions,
    }
}

/// Topics as `create` makes them, with two partitions.
fn as_made(config: &LogConfig) -> (Seen, BTreeMap<Topic, Settings>) {
    let replicas: Vec<_> = (1..=replication(config)).collect();
    let partition = Partition {
        leader: 1,
        replicas: replicas.clone(),
    };
    let seen = Seen {
        brokers: replicas,
        partitions: TOPICS
            .map(|topic| (topic, vec![partition.clone(); 2]))
            .into_iter()
            .collect(),
        openings: vec![opened(LOG, 2); 2],
    };
    let settings = TOPICS
        .into_iter()
        .map(|topic| {
            let settings = settings(config, topic).into_iter();
            (
                topic,
                settings.map(|(name, value)| (name.to_owned(), value)).collect(),
            )
        })
        .collect();
    (seen, settings)
}

/// Each problem as `topic | setting | found`, and the commands that mend them.
fn check(
    config: &LogConfig,
    seen: &Seen,
    settings: &BTreeMap<Topic, Settings>,
) -> (Vec<String>, Vec<String>) {
    let problems = judge(config, seen, settings).expect_err("something is wrong");
    let said = problems
        .iter()
        .map(|problem| format!("{} | {} | {}", problem.topic, problem.setting, problem.found));
    (
        said.collect(),
        problems.iter().map(|problem| problem.mend.clone()).collect(),
    )
}

#[rstest]
#[case::production(false)]
#[case::single_broker(true)]
fn topics_are_safe_as_they_are_made(#[case] single_broker: bool) {
    let config = config(single_broker);
    let (seen, settings) = as_made(&config);
    let log = judge(&config, &seen, &settings).expect("nothing is wrong");
    assert_eq!((log.log_id.as_str(), log.partitions), (LOG, 2));
}

#[rstest]
#[case(Topic::Events, "retention.ms", "604800000", "retention.ms=-1")]
#[case(Topic::Events, "retention.bytes", "1000000", "retention.bytes=-1")]
#[case(Topic::Events, "cleanup.policy", "compact", "cleanup.policy=delete")]
#[case(Topic::Events, "cleanup.policy", "compact,delete", "cleanup.policy=delete")]
#[case(Topic::Readings, "cleanup.policy", "compact", "cleanup.policy=delete")]
#[case(Topic::Checkpoints, "cleanup.policy", "delete", "cleanup.policy=compact")]
#[case(
    Topic::Checkpoints,
    "cleanup.policy",
    "compact,delete",
    "cleanup.policy=compact"
)]
#[case(Topic::Readings, "max.message.bytes", "1048588", "max.message.bytes=4194304")]
#[case(Topic::DeadLetters, "min.insync.replicas", "1", "min.insync.replicas=2")]
#[case(
    Topic::Events,
    "unclean.leader.election.enable",
    "true",
    "unclean.leader.election.enable=false"
)]
fn a_setting_that_loses_events_is_refused_with_the_command_that_mends_it(
    #[case] topic: Topic,
    #[case] setting: &str,
    #[case] value: &str,
    #[case] mend: &str,
) {
    let config = config(false);
    let (seen, mut settings) = as_made(&config);
    settings
        .entry(topic)
        .or_default()
        .insert(setting.to_owned(), value.to_owned());
    let (problems, mends) = check(&config, &seen, &settings);
    let name = config.topic(topic);
    assert_eq!(problems, [format!("{name} | {setting} | {value}")]);
    let command = format!(
        "kafka-configs.sh --bootstrap-server b1:9092 --alter --entity-type topics --entity-name {name} --add-config {mend}"
    );
    assert_eq!(mends, [command]);
}

#[test]
fn readings_and_dead_letters_may_expire() {
    let config = config(false);
    let (seen, mut settings) = as_made(&config);
    for topic in [Topic::Readings, Topic::DeadLetters] {
        let settings = settings.entry(topic).or_default();
        settings.insert("retention.ms".to_owned(), "86400000".to_owned());
    }
    assert!(judge(&config, &seen, &settings).is_ok());
    let hints = hints(&config, &settings);
    assert_eq!(hints.len(), 1, "{hints:?}");
    for part in [
        "device-readings.v1",
        "retention.ms=86400000",
        "fleetlog checkpoint",
    ] {
        assert!(hints[0].contains(part), "{part} in {hints:?}");
    }
}

#[test]
fn topics_as_they_are_made_need_no_hint() {
    let (_, settings) = as_made(&config(false));
    assert_eq!(hints(&config(false), &settings), [""; 0]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let config = config(false);
    let (mut seen, mut settings) = as_made(&config);
    settings.entry(Topic::Events).or_default().extend([
        ("retention.ms".to_owned(), "1".to_owned()),
        ("unclean.leader.election.enable".to_owned(), "true".to_owned()),
    ]);
    seen.openings = vec![Opening::Empty, opened(LOG, 2)];
    let (problems, mends) = check(&config, &seen, &settings);
    assert_eq!(
        problems,
        [
            "fleetlog.device-events.v1 | retention.ms | 1",
            "fleetlog.device-events.v1 | unclean.leader.election.enable | true",
            "fleetlog.device-events.v1 | the first record of partition 0 | missing",
        ]
    );
    assert_eq!(
        mends.last().map(String::as_str),
        Some("fleetlog topics create --kafka-brokers b1:9092 --partitions 2")
    );
}

#[test]
fn missing_topics_are_named_with_the_command_that_makes_them() {
    let config = config(true);
    let (mut seen, mut settings) = as_made(&config);
    seen.partitions.remove(&Topic::Readings);
    settings.remove(&Topic::Readings);
    let (problems, mends) = check(&config, &seen, &settings);
    assert_eq!(problems, ["fleetlog.device-readings.v1 | the topic | missing"]);
    assert_eq!(
        mends,
        ["fleetlog topics create --kafka-brokers b1:9092 --single-broker --partitions 2"]
    );

    let (problems, _) = check(&config, &Seen::default(), &BTreeMap::new());
    assert_eq!(problems.len(), TOPICS.len());
}

#[test]
fn a_log_of_a_version_without_checkpoints_is_told_how_it_gets_them() {
    let config = config(true);
    let (mut seen, mut settings) = as_made(&config);
    seen.partitions.remove(&Topic::Checkpoints);
    settings.remove(&Topic::Checkpoints);
    let (problems, mends) = check(&config, &seen, &settings);
    assert_eq!(problems, ["fleetlog.checkpoints.v1 | the topic | missing"]);
    assert_eq!(
        mends,
        ["fleetlog topics create --kafka-brokers b1:9092 --single-broker --partitions 2"]
    );
}

#[test]
fn topics_with_other_partition_counts_are_refused() {
    let config = config(true);
    let (mut seen, settings) = as_made(&config);
    if let Some(partitions) = seen.partitions.get_mut(&Topic::Readings) {
        partitions.pop();
    }
    let (problems, _) = check(&config, &seen, &settings);
    assert_eq!(
        problems,
        ["fleetlog.device-readings.v1 | the number of partitions | 1"]
    );
}

#[test]
fn too_few_replicas_are_refused_with_a_plan_for_more() {
    let config = config(false);
    let (mut seen, settings) = as_made(&config);
    if let Some(partitions) = seen.partitions.get_mut(&Topic::Events) {
        for partition in partitions {
            partition.replicas = vec![2];
        }
    }
    let (problems, mends) = check(&config, &seen, &settings);
    assert_eq!(
        problems,
        ["fleetlog.device-events.v1 | the number of replicas | 1"]
    );
    let plan = r#"{"topic":"fleetlog.device-events.v1","partition":0,"replicas":[2,1,3]},{"topic":"fleetlog.device-events.v1","partition":1,"replicas":[2,3,1]}"#;
    assert!(mends[0].contains(plan), "{}", mends[0]);

    seen.brokers = vec![2];
    let (_, mends) = check(&config, &seen, &settings);
    assert_eq!(mends, ["add brokers first: there are 1"]);
}

#[rstest]
#[case::cut(Opening::Cut(7), "gone: the first offset is 7")]
#[case::foreign(Opening::Foreign("no event of fleetlog".to_owned()), "no event of fleetlog")]
#[case::another_log(opened("deadbeef", 2), "log.opened of log deadbeef")]
#[case::other_partitions(opened(LOG, 3), "log.opened of log 0badcafe with 3 partitions")]
fn a_log_that_is_not_whole_is_refused(#[case] opening: Opening, #[case] found: &str) {
    let config = config(true);
    let (mut seen, settings) = as_made(&config);
    seen.openings = vec![opened(LOG, 2), opening];
    let (problems, _) = check(&config, &seen, &settings);
    assert_eq!(
        problems,
        [format!(
            "fleetlog.device-events.v1 | the first record of partition 1 | {found}"
        )]
    );
    assert_eq!(opening_problems(&config, &seen, false).len(), 1);
}

#[test]
fn a_log_that_is_not_open_everywhere_may_still_be_completed() {
    let config = config(true);
    let (mut seen, _) = as_made(&config);
    seen.openings = vec![Opening::Empty, opened(LOG, 2)];
    assert!(opening_problems(&config, &seen, false).is_empty());
    assert_eq!(opening_problems(&config, &seen, true).len(), 1);
}
