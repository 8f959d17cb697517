//! What a fleet says, in which order: pure, and the same for the same seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use control::SchemeKind;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng, seq::SliceRandom as _};
use schema::Micros;

use super::{
    machine::{Fate, Machine},
    telling::{self, Habit, Occasion},
};
use crate::dialect::Written;

/// Of a hundred deliveries, how many come late, after others that happened later.
const LATE_PERCENT: u32 = 4;
/// Of a hundred deliveries, how many come twice.
const TWICE_PERCENT: u32 = 4;
/// How soon a copy follows, in deliveries.
const COPY_WITHIN: u64 = 8;
/// How long before the end a device falls silent that is to be late, neither online nor offline, in seconds.
const SILENCE_SECONDS: std::ops::Range<u32> = 1_200..2_700;

/// What makes a run what it is.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many devices there are.
    pub(crate) devices: u32,
    /// How many deliveries are sent in all.
    pub(crate) deliveries: u64,
    /// How long sending takes.
    pub(crate) duration: Duration,
    /// When the devices' day begins.
    pub(crate) start: Micros,
    /// How long it is.
    pub(crate) span: Duration,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// Whether clouds change what they know of their devices.
    pub(crate) renames: bool,
}

/// Where deliveries go, as far as that shapes them.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// How they are proven.
    pub(crate) scheme: SchemeKind,
    /// The Golioth project that they name.
    pub(crate) project: Option<String>,
}

/// A delivery to be proven and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// When, after the beginning of the run.
    pub(crate) at_offset: Duration,
    /// Where to: the number of the door.
    pub(crate) door: usize,
    /// Names it where the scheme signs an id; copies share it.
    pub(crate) id: String,
    /// All but the proof.
    pub(crate) written: Written,
}

/// The deliveries of a run.
pub(crate) struct Plan {
    settings: Settings,
    doors: Vec<Door>,
    machines: Vec<Machine>,
    /// Who has yet to speak in this round, last first.
    round: Vec<usize>,
    rng: ChaCha8Rng,
    n_sent: u64,
    n_held: u64,
    /// What was held back, by when it is due.
    due: BinaryHeap<Reverse<(u64, u64)>>,
    held: BTreeMap<u64, Delivery>,
}

impl Plan {
    /// Devices are dealt to the doors in turn.
    pub(crate) fn new(settings: Settings, doors: Vec<Door>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(u64::MAX);
        let n_doors = u32::try_from(doors.len()).unwrap_or(u32::MAX).max(1);
        let machine = |number: u32| {
            let door = &doors[index(number % n_doors)];
            let habit = Habit::of(door.scheme, number / n_doors, number);
            let fate = fate(number, settings.span, &mut rng);
            let machine = Machine::new(settings.seed, number, habit, fate);
            if settings.renames {
                machine.of_a_restless_cloud()
            } else {
                machine
            }
        };
        let machines: Vec<_> = if doors.is_empty() {
            Vec::new()
        } else {
            (0..settings.devices).map(machine).collect()
        };
        Self {
            round: (0..machines.len()).rev().collect(),
            settings,
            doors,
            machines,
            rng,
            n_sent: 0,
            n_held: 0,
            due: BinaryHeap::new(),
            held: BTreeMap::new(),
        }
    }

    /// The serial numbers that devices begin with.
    pub(crate) fn serials(&self) -> Vec<String> {
        let names = self.machines.iter().map(|machine| machine.identity.name.clone());
        names.collect()
    }

    /// Something new, from the next device that still speaks.
    fn fresh(&mut self) -> Option<Delivery> {
        let moment = fraction(self.n_sent, self.settings.deliveries);
        let at = self.instant();
        loop {
            let Some(number) = self.round.pop() else {
                self.round = (0..self.machines.len())
                    .filter(|number| !self.machines[*number].asleep())
                    .collect();
                if self.round.is_empty() {
                    return None;
                }
                self.round.shuffle(&mut self.rng);
                continue;
            };
            let machine = &mut self.machines[number];
            if let Some(said) = machine.speak(moment) {
                let id = machine.next_id();
                let door = number % self.doors.len();
                let occasion = Occasion {
                    project: self.doors[door].project.as_deref(),
                    at,
                    heard_at: machine.heard_at,
                    id,
                };
                let written = telling::write(&machine.identity, machine.habit, &occasion, &said);
                machine.heard_at = Some(at);
                return Some(Delivery {
                    at_offset: Duration::ZERO,
                    door,
                    id: id.to_string(),
                    written,
                });
            }
        }
    }

    /// When what is said now happened: the day passes as deliveries do.
    fn instant(&self) -> Micros {
        let passed = self.settings.span.as_micros() * u128::from(self.n_sent)
            / u128::from(self.settings.deliveries.max(1));
        self.settings
            .start
            .plus(Duration::from_micros(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// Sends a delivery again, or later, if there is room for it before the end.
    fn hold(&mut self, delivery: &Delivery, within: u64) -> bool {
        let room = self.remaining() > self.n_waiting() + 1;
        if room {
            let due = self.n_sent + self.rng.random_range(1..=within.max(1));
            self.due.push(Reverse((due, self.n_held)));
            self.held.insert(self.n_held, delivery.clone());
            self.n_held += 1;
        }
        room
    }

    fn take_held(&mut self) -> Option<Delivery> {
        let Reverse((_, n)) = self.due.pop()?;
        self.held.remove(&n)
    }

    fn remaining(&self) -> u64 {
        self.settings.deliveries - self.n_sent
    }

    fn n_waiting(&self) -> u64 {
        self.due.len() as u64
    }

    fn choose(&mut self) -> Option<Delivery> {
        let overdue = self
            .due
            .peek()
            .is_some_and(|Reverse((due, _))| *due <= self.n_sent);
        if overdue || self.n_waiting() >= self.remaining() {
            return self.take_held();
        }
        loop {
            let Some(delivery) = self.fresh() else {
                return self.take_held();
            };
            let late_within = (self.settings.deliveries / 10).clamp(4, 10_000);
            if self.rng.random_ratio(LATE_PERCENT, 100) && self.hold(&delivery, late_within) {
                continue;
            }
            if self.rng.random_ratio(TWICE_PERCENT, 100) {
                // Whether there was room does not matter: then it comes once.
                self.hold(&delivery, COPY_WITHIN);
            }
            return Some(delivery);
        }
    }
}

impl Iterator for Plan {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        if self.remaining() == 0 {
            return None;
        }
        let mut delivery = self.choose()?;
        let passed = fraction(self.n_sent, self.settings.deliveries);
        delivery.at_offset = self.settings.duration.mul_f64(passed);
        self.n_sent += 1;
        Some(delivery)
    }
}

/// Of ten devices six stay online, one of them on a bad link; two go offline, one falls silent.
fn fate(number: u32, span: Duration, rng: &mut ChaCha8Rng) -> Fate {
    let offline_from = rng.random_range(0.65..0.95);
    let silence = Duration::from_secs(rng.random_range(SILENCE_SECONDS).into());
    match number % 10 {
        1 | 8 => Fate::Offline(offline_from),
        3 => {
            let silent = silence.as_secs_f64() / span.as_secs_f64().max(1.0);
            Fate::Silent((1.0 - silent).max(0.6))
        }
        5 => Fate::Flapping,
        _ => Fate::Online,
    }
}

/// `part` of `whole`, from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a moment of a run, not a count")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn index(n: u32) -> usize {
    usize::try_from(n).expect("a pointer has at least 32 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn doors() -> Vec<Door> {
        let door = |scheme| Door {
            scheme,
            project: Some("sample-project".to_owned()),
        };
        [
            SchemeKind::SharedSecret,
            SchemeKind::HmacSha256,
            SchemeKind::TimestampedHmac,
            SchemeKind::StandardWebhooks,
        ]
        .map(door)
        .to_vec()
    }

    fn plan(devices: u32, deliveries: u64, seed: u64, start: &str) -> Vec<Delivery> {
        let settings = Settings {
            devices,
            deliveries,
            duration: Duration::from_secs(8),
            start: start.parse().unwrap(),
            span: Duration::from_hours(2),
            seed,
            renames: false,
        };
        Plan::new(settings, doors()).collect()
    }

    #[test]
    fn the_same_seed_says_the_same_bytes() {
        let one = plan(20, 320, 1, "2026-01-01T00:00:00Z");
        assert_eq!(one, plan(20, 320, 1, "2026-01-01T00:00:00Z"));
        assert_ne!(one, plan(20, 320, 2, "2026-01-01T00:00:00Z"));
        assert_eq!(one.len(), 320);
    }

    #[test]
    fn another_start_changes_nothing_but_times() {
        let one = plan(20, 320, 1, "2026-01-01T00:00:00Z");
        let other = plan(20, 320, 1, "2026-03-05T06:07:08Z");
        let frame = |delivery: &Delivery| (delivery.at_offset, delivery.door, delivery.id.clone());
        assert_eq!(
            one.iter().map(frame).collect::<Vec<_>>(),
            other.iter().map(frame).collect::<Vec<_>>()
        );
        let lengths = |plan: &[Delivery]| plan.iter().map(|one| one.written.body.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&one), lengths(&other));
    }

    #[test]
    fn every_door_hears_something_and_every_device_is_named_by_its_cloud() {
        let plan = plan(20, 320, 1, "2026-01-01T00:00:00Z");
        for door in 0..4 {
            assert!(plan.iter().any(|delivery| delivery.door == door));
        }
        let created = plan
            .iter()
            .filter(|delivery| String::from_utf8_lossy(&delivery.written.body).contains("device.created"))
            .map(|delivery| &delivery.id)
            .collect::<std::collections::HashSet<_>>();
        assert_eq!(created.len(), 20);
    }

    #[test]
    fn some_come_twice_and_some_come_late() {
        let plan = plan(50, 5_000, 7, "2026-01-01T00:00:00Z");
        let mut copies: HashMap<&str, u32> = HashMap::new();
        for delivery in &plan {
            *copies.entry(&delivery.id).or_default() += 1;
        }
        let twice = copies.values().filter(|n| **n == 2).count();
        assert!((100..300).contains(&twice), "{twice}");

        let time = |delivery: &Delivery| {
            let found = delivery
                .written
                .headers
                .iter()
                .find(|(name, _)| name == "Ce-Time");
            found.map(|(_, time)| time.parse::<Micros>().unwrap())
        };
        let times: Vec<_> = plan.iter().filter_map(time).collect();
        assert!(times.windows(2).any(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn deliveries_are_spread_over_the_duration() {
        let plan = plan(20, 320, 1, "2026-01-01T00:00:00Z");
        assert!(plan.is_sorted_by_key(|delivery| delivery.at_offset));
        assert_eq!(plan[160].at_offset, Duration::from_secs(4));
    }

    #[test]
    fn bodies_that_are_signed_stand_alone() {
        for delivery in plan(40, 2_000, 3, "2026-01-01T00:00:00Z") {
            let bare = !delivery
                .written
                .headers
                .iter()
                .any(|(name, _)| name.starts_with("Ce-"));
            assert!(delivery.door == 0 || bare, "{delivery:?}");
        }
    }

    #[test]
    fn a_run_of_few_deliveries_or_devices_is_a_run() {
        assert_eq!(plan(20, 3, 1, "2026-01-01T00:00:00Z").len(), 3);
        assert_eq!(plan(1, 100, 1, "2026-01-01T00:00:00Z").len(), 100);
        assert_eq!(plan(20, 0, 1, "2026-01-01T00:00:00Z").len(), 0);
    }
}
