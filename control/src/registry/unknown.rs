//! Ids that the registry does not hold: remembered for a moment, looked up together, never too often.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use schema::IntegrationId;
use tokio::sync::oneshot;

/// How long an id is remembered as unknown.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Most ids that are remembered; the look-ups beyond them are bounded by the budget alone.
const MOST_REMEMBERED: usize = 10_000;
/// Most ids that are looked up within [`WINDOW`].
const BUDGET: usize = 50;
const WINDOW: Duration = Duration::from_secs(1);
/// Most deliveries that wait for look-ups.
const MOST_WAITING: usize = 1_000;

/// What is to be done about an id that the registry does not hold.
pub(super) enum Recall {
    /// It was looked up a moment ago and not found.
    Unknown,
    /// Too many ids were looked up a moment ago.
    OverBudget,
    /// Wait: true means that the view is now known to be current, false that it could not be told.
    Ask(oneshot::Receiver<bool>),
}

/// The memory of unknown ids and those who wait for look-ups.
pub(super) struct Unknowns {
    /// A fixed registry knows all there is.
    followed: bool,
    remembered: HashMap<IntegrationId, Instant>,
    /// When the latest look-ups were granted, oldest first; no more than the budget.
    granted: VecDeque<Instant>,
    /// Who waits for the next look-up. Those who come while one is under way wait for the one after it: it might
    /// have read before what they ask for was there.
    waiting: HashMap<IntegrationId, Vec<oneshot::Sender<bool>>>,
    n_waiting: usize,
}

impl Unknowns {
    pub(super) fn followed() -> Self {
        Self {
            followed: true,
            remembered: HashMap::new(),
            granted: VecDeque::with_capacity(BUDGET),
            waiting: HashMap::new(),
            n_waiting: 0,
        }
    }

    pub(super) fn fixed() -> Self {
        Self {
            followed: false,
            ..Self::followed()
        }
    }

    /// What is to be done about an id that the registry does not hold.
    pub(super) fn recall(&mut self, id: IntegrationId, now: Instant) -> Recall {
        let remembered = |at: &Instant| now.saturating_duration_since(*at) < REMEMBERED;
        if !self.followed || self.remembered.get(&id).is_some_and(remembered) {
            return Recall::Unknown;
        }
        let shares = self.waiting.contains_key(&id);
        if self.n_waiting >= MOST_WAITING || !(shares || self.grant(now)) {
            return Recall::OverBudget;
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.entry(id).or_default().push(answer);
        self.n_waiting += 1;
        Recall::Ask(answered)
    }

    fn grant(&mut self, now: Instant) -> bool {
        while self
            .granted
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.granted.pop_front();
        }
        let granted = self.granted.len() < BUDGET;
        if granted {
            self.granted.push_back(now);
        }
        granted
    }

    /// Those whom the look-up that now begins will answer.
    pub(super) fn take_waiting(&mut self) -> Waiting {
        self.n_waiting = 0;
        Waiting(std::mem::take(&mut self.waiting))
    }

    /// Remembers that an id was looked up and not found.
    pub(super) fn remember(&mut self, id: IntegrationId, now: Instant) {
        if self.remembered.len() >= MOST_REMEMBERED {
            self.remembered
                .retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        }
        if self.remembered.len() < MOST_REMEMBERED {
            self.remembered.insert(id, now);
        }
    }
}

/// Those who wait for one look-up. Dropped without an answer, they are told that it could not be told.
pub(super) struct Waiting(HashMap<IntegrationId, Vec<oneshot::Sender<bool>>>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = IntegrationId> {
        self.0.keys().copied()
    }

    /// Answers all of them.
    pub(super) fn answer(self, confirmed: bool) {
        for waiting in self.0.into_values().flatten() {
            // Whoever gave up waiting needs no answer.
            waiting.send(confirmed).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use uuid::Uuid;

    use super::*;

    fn id(n: u64) -> IntegrationId {
        IntegrationId(Uuid::from_u128(n.into()))
    }

    fn is_asked(recall: &Recall) -> bool {
        match recall {
            Recall::Ask(_) => true,
            Recall::Unknown | Recall::OverBudget => false,
        }
    }

    #[test]
    fn an_unknown_id_is_remembered_for_five_seconds() {
        let start = Instant::now();
        let mut unknowns = Unknowns::followed();
        unknowns.remember(id(1), start);
        let after = |millis| start + Duration::from_millis(millis);
        assert!(matches!(unknowns.recall(id(1), after(4_999)), Recall::Unknown));
        assert!(is_asked(&unknowns.recall(id(1), after(5_000))));
    }

    #[test]
    fn all_who_ask_for_one_id_share_a_look_up() {
        let now = Instant::now();
        let mut unknowns = Unknowns::followed();
        let mut asked: Vec<Recall> = (0..200).map(|_| unknowns.recall(id(1), now)).collect();
        assert!(asked.iter().all(is_asked));

        let waiting = unknowns.take_waiting();
        assert_eq!(waiting.ids().collect::<Vec<_>>(), [id(1)]);
        waiting.answer(true);
        let Some(Recall::Ask(mut answer)) = asked.pop() else {
            unreachable!("asked above")
        };
        assert_eq!(answer.try_recv(), Ok(true));
    }

    #[test]
    fn who_comes_while_a_look_up_is_under_way_waits_for_the_next() {
        let now = Instant::now();
        let mut unknowns = Unknowns::followed();
        drop(unknowns.recall(id(1), now));
        let under_way = unknowns.take_waiting();
        let Recall::Ask(mut late) = unknowns.recall(id(1), now) else {
            unreachable!("within the budget")
        };
        under_way.answer(true);
        assert!(late.try_recv().is_err());
        unknowns.take_waiting().answer(true);
        assert_eq!(late.try_recv(), Ok(true));
    }

    #[test]
    fn the_memory_of_unknown_ids_is_bounded() {
        let start = Instant::now();
        let mut unknowns = Unknowns::followed();
        for n in 0..30_000 {
            unknowns.remember(id(n), start + Duration::from_millis(n / 10));
        }
        assert!(unknowns.remembered.len() <= MOST_REMEMBERED);
        unknowns.remember(id(99_999), start + Duration::from_mins(1));
        assert_eq!(unknowns.remembered.len(), 1);
    }

    #[test]
    fn those_who_wait_are_bounded() {
        let now = Instant::now();
        let mut unknowns = Unknowns::followed();
        let n_asked = (0..5_000)
            .filter(|_| is_asked(&unknowns.recall(id(1), now)))
            .count();
        assert_eq!(n_asked, MOST_WAITING);
    }

    proptest! {
        #[test]
        fn no_second_sees_more_look_ups_than_the_budget(pauses in vec(0_u64..80, 1..400)) {
            let mut now = Instant::now();
            let mut unknowns = Unknowns::followed();
            let mut granted = Vec::new();
            for (n, pause) in (0..).zip(pauses) {
                now += Duration::from_millis(pause);
                if is_asked(&unknowns.recall(id(n), now)) {
                    granted.push(now);
                }
            }
            for from in &granted {
                let within = |at: &&Instant| **at >= *from && at.duration_since(*from) < WINDOW;
                prop_assert!(granted.iter().filter(within).count() <= BUDGET);
            }
        }
    }
}
