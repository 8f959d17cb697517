use super::*;
use crate::{RawRecord, Undecodable};

const BOTH: [Topic; 2] = [Topic::Events, Topic::Readings];

fn position(topic: Topic, partition: i32, offset: i64) -> Position {
    Position {
        topic,
        partition,
        offset,
    }
}

fn record(position: Position) -> Read {
    let record = RawRecord {
        key: None,
        headers: Vec::new(),
        value: None,
    };
    let event = Err(Undecodable {
        reason: "a test's".to_owned(),
        record: Box::new(record),
    });
    Read { position, event }
}

fn places(partitions: &[i32]) -> Vec<Place> {
    BOTH.iter()
        .flat_map(|topic| partitions.iter().map(|partition| (*topic, *partition)))
        .collect()
}

fn start(inbox: &Inbox, partitions: &[i32], offset: i64) -> Result<(), ReadError> {
    let positions: Vec<_> = places(partitions)
        .into_iter()
        .map(|(topic, partition)| position(topic, partition, offset))
        .collect();
    inbox.start_assigned(&positions, |_| Ok(()))
}

/// What is handed out now, as text.
fn hand_out(inbox: &Inbox) -> String {
    match inbox.step(10, Duration::ZERO, &mut None) {
        Step::Now(Ok(Delivery::Assigned(partitions))) => format!("assigned {partitions:?}"),
        Step::Now(Ok(Delivery::Revoked(partitions))) => format!("revoked {partitions:?}"),
        Step::Now(Ok(Delivery::Batch(batch))) => batch
            .records
            .iter()
            .map(|read| read.position.to_string())
            .collect::<Vec<_>>()
            .join(" "),
        Step::Now(Err(error)) => error.to_string(),
        Step::Wait(_) => "nothing".to_owned(),
    }
}

#[test]
fn nothing_of_a_partition_is_handed_out_after_its_end_was_told() {
    let inbox = Inbox::new(&BOTH);
    inbox.assigned(&places(&[1]));
    assert_eq!(hand_out(&inbox), "assigned [1]");
    start(&inbox, &[1], 5).expect("every position is given");
    inbox.put(record(position(Topic::Events, 1, 5)), 10);
    inbox.revoked();
    assert!(!inbox.expects(position(Topic::Events, 1, 6)));
    assert_eq!(hand_out(&inbox), "revoked [1]");
    assert_eq!(hand_out(&inbox), "nothing");
    assert_eq!(inbox.n_bytes(), 0);
}

#[test]
fn a_start_meant_for_an_earlier_assignment_is_not_taken_for_the_next() {
    let inbox = Inbox::new(&BOTH);
    inbox.assigned(&places(&[1]));
    assert_eq!(hand_out(&inbox), "assigned [1]");
    inbox.revoked();
    inbox.assigned(&places(&[1]));
    start(&inbox, &[1], 5).expect("a late start is no error");
    assert!(!inbox.expects(position(Topic::Events, 1, 5)));
    assert_eq!(hand_out(&inbox), "revoked [1]");
    assert_eq!(hand_out(&inbox), "assigned [1]");
    start(&inbox, &[1], 9).expect("every position is given");
    assert!(!inbox.expects(position(Topic::Events, 1, 5)));
    assert!(inbox.expects(position(Topic::Events, 1, 9)));
}

#[test]
fn starting_over_hands_out_nothing_of_before_and_passes_over_nothing() {
    let inbox = Inbox::new(&BOTH);
    inbox.assigned(&places(&[1]));
    assert_eq!(hand_out(&inbox), "assigned [1]");
    start(&inbox, &[1], 5).expect("every position is given");
    inbox.put(record(position(Topic::Events, 1, 5)), 10);
    start(&inbox, &[1], 3).expect("every position is given");
    // What the thread had in its hands when it was told to start over.
    inbox.put(record(position(Topic::Events, 1, 6)), 10);
    assert_eq!(hand_out(&inbox), "nothing");
    inbox.start_over(|_| Ok(()));
    assert!(inbox.expects(position(Topic::Events, 1, 3)));
    inbox.put(record(position(Topic::Events, 1, 3)), 10);
    assert_eq!(hand_out(&inbox), "device-events.v1/1@3");
}

#[test]
fn an_assignment_nobody_has_heard_of_is_taken_back_without_a_word() {
    let inbox = Inbox::new(&BOTH);
    inbox.assigned(&places(&[1]));
    inbox.revoked();
    inbox.assigned(&places(&[2]));
    assert_eq!(hand_out(&inbox), "assigned [2]");
}

#[test]
fn a_partition_without_a_position_is_not_passed_over() {
    let inbox = Inbox::new(&BOTH);
    inbox.assigned(&places(&[1, 2]));
    assert_eq!(hand_out(&inbox), "assigned [1, 2]");
    let missing = start(&inbox, &[1], 0).expect_err("2 has no position");
    assert_eq!(
        missing,
        ReadError::NoPosition {
            topic: Topic::Events,
            partition: 2
        }
    );
}

#[test]
fn partitions_of_one_number_never_go_to_two_owners() {
    let inbox = Inbox::new(&BOTH);
    inbox.assigned(&[(Topic::Events, 0), (Topic::Readings, 1)]);
    assert_eq!(hand_out(&inbox), ReadError::Split.to_string());
}

#[test]
fn what_was_read_before_a_failure_is_handed_out_before_it() {
    let inbox = Inbox::new(&BOTH);
    inbox
        .start_at(&[position(Topic::Events, 0, 0)], |_| Ok(()))
        .expect("nothing refuses");
    inbox.put(record(position(Topic::Events, 0, 0)), 10);
    inbox.fail(ReadError::Split);
    assert_eq!(hand_out(&inbox), "device-events.v1/0@0");
    assert_eq!(hand_out(&inbox), ReadError::Split.to_string());
    assert_eq!(hand_out(&inbox), ReadError::Ended.to_string());
}

#[test]
fn a_crowded_inbox_is_parked_until_half_of_it_is_empty() {
    let inbox = Inbox::new(&BOTH);
    inbox
        .start_at(&[position(Topic::Events, 0, 0)], |_| Ok(()))
        .expect("nothing refuses");
    for offset in 0..4 {
        inbox.put(record(position(Topic::Events, 0, offset)), FULL_BYTES / 4);
    }
    assert_eq!(inbox.room(Duration::ZERO), Room::Crowded);
    inbox.park(|| Ok(()));
    let take_one = || match inbox.step(1, Duration::ZERO, &mut None) {
        Step::Now(Ok(Delivery::Batch(batch))) => batch.records.len(),
        Step::Now(_) | Step::Wait(_) => 0,
    };
    assert_eq!((take_one(), inbox.room(Duration::ZERO)), (1, Room::Crowded));
    assert_eq!((take_one(), inbox.room(Duration::ZERO)), (1, Room::Crowded));
    assert_eq!((take_one(), inbox.room(Duration::ZERO)), (1, Room::Free));
    let mut resumed_at = None;
    inbox.unpark(|positions| {
        resumed_at = positions.get(&(Topic::Events, 0)).copied();
        Ok(())
    });
    assert_eq!(resumed_at, Some(4));
}
