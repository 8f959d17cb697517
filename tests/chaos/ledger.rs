//! What was promised: who was told that what is kept.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What senders and people were told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Deliveries, without what was sent again.
    pub(crate) deliveries: u64,
    /// Requests that were made.
    pub(crate) attempts: u64,
    /// Answers of 202.
    pub(crate) acknowledged: u64,
    /// Of those, answers that say it is on the door's disk.
    pub(crate) spooled: u64,
    /// Answers of 5xx and 429.
    pub(crate) put_off: u64,
    /// Requests whose outcome nobody knows.
    pub(crate) unanswered: u64,
    /// Answers that say it can never be accepted, which none of these deliveries deserves.
    pub(crate) refused: Vec<String>,
    /// Deliveries of senders that persist, not accepted by the end.
    pub(crate) never_accepted: Vec<String>,
    /// Events that were acknowledged, with the first delivery that was answered so.
    pub(crate) events: BTreeMap<String, String>,
    /// Dead letters that were acknowledged.
    pub(crate) letters: BTreeMap<String, String>,
    /// Marks of decisions that were acknowledged by a command.
    pub(crate) marks: BTreeSet<String>,
    /// Commands by what was done and their exit code.
    pub(crate) commands: BTreeMap<(String, i32), u32>,
}

impl Ledger {
    /// A delivery was answered 202.
    pub(crate) fn accepted(&mut self, delivery: &str, answer: &Value) {
        self.acknowledged += 1;
        if answer.to_string().contains("spooled") {
            self.spooled += 1;
        }
        let ids = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|one| one["id"].as_str().map(ToOwned::to_owned))
                .collect()
        };
        for id in ids(&answer["events"]) {
            self.events.entry(id).or_insert_with(|| delivery.to_owned());
        }
        let whole = answer["dead_letter"]["id"].as_str().map(ToOwned::to_owned);
        for id in ids(&answer["dead_letters"]).into_iter().chain(whole) {
            self.letters.entry(id).or_insert_with(|| delivery.to_owned());
        }
    }

    /// A command ended.
    pub(crate) fn command(&mut self, what: &str, code: i32) {
        *self.commands.entry((what.to_owned(), code)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_answer_promises_is_held() {
        let mut ledger = Ledger::default();
        ledger.accepted(
            "a",
            &json!({"events": [{"id": "1", "topic": "t"}, {"id": "2", "spooled": true}]}),
        );
        ledger.accepted(
            "b",
            &json!({"events": [{"id": "1"}], "dead_letters": [{"id": "3"}]}),
        );
        ledger.accepted("c", &json!({"dead_letter": {"id": "4"}}));
        assert_eq!(ledger.acknowledged, 3);
        assert_eq!(ledger.spooled, 1);
        assert_eq!(ledger.events.keys().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(ledger.events["1"], "a");
        assert_eq!(ledger.letters.keys().collect::<Vec<_>>(), ["3", "4"]);
    }
}
