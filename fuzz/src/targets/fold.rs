//! What reaches the fold.

use ::projector::fold::{Batch, checkpoint::Registers, whole};
use ::schema::RawJson;

use super::ingest::read;

/// The body of a checkpoint.
pub(super) fn checkpoint(bytes: &[u8]) {
    let Ok(raw) = RawJson::from_slice(bytes) else {
        return;
    };
    let Ok(registers) = Registers::read(&raw) else {
        return;
    };
    let written = registers.write().expect("what was read can be written");
    let again = Registers::read(&written).expect("what was written can be read");
    assert_eq!(again, registers);
    assert_eq!(again.write().expect("as before"), written);
}

/// A delivery as for the target `delivery`: what it becomes is folded in two orders, once and twice.
pub(super) fn folded(bytes: &[u8]) {
    let events = ::ingest::fuzz::deliver(&read(bytes), 0);
    let mut batch = Batch::default();
    for event in &events {
        let taken = batch.take(0, event);
        assert!(taken.is_ok(), "an event of the door is poison: {event:?}");
    }
    let once = whole(events.iter().map(|event| (0, event)));
    let twice = events.iter().rev().chain(&events);
    assert_eq!(whole(twice.map(|event| (0, event))), once);
}
