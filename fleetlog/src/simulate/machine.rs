//! One believable device: what it, or its cloud, says next.
//!
//! A state machine without a clock: it is asked to speak at a moment of the run, from 0 to 1, and remembers what it
//! said. All chance comes from its own generator, so that no device depends on how many others there are.

use std::collections::VecDeque;

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use schema::Micros;
use serde_json::{Value, json};
use uuid::Uuid;

use super::telling::{Habit, Tongue};

/// Versions of the package `main`: what the fleet runs, and what is rolled out to it.
const VERSIONS: [&str; 2] = ["1.4.2", "1.5.0"];

/// Who a device is, to its cloud and to people.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The cloud's id: 24 hexadecimal digits, of which the first eight are the second of its creation.
    pub(crate) id: String,
    /// The serial number.
    pub(crate) name: String,
    /// As Golioth derives it from time and name.
    pub(crate) hardware_id: String,
    /// The cohort it gets firmware with.
    pub(crate) cohort: &'static str,
    /// Where it stands.
    pub(crate) site: String,
}

/// How a device's day ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// Online.
    Online,
    /// Online, on a link that comes and goes.
    Flapping,
    /// Reported offline at this moment of the run.
    Offline(f64),
    /// Silent from this moment of the run, without a word.
    Silent(f64),
}

/// Something that is said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// The device was created in the cloud.
    Created,
    /// It connected.
    Online,
    /// It disconnected.
    Offline,
    /// It sent what it measured.
    Measured(Value),
    /// It sent how it is: battery, signal.
    Status(Value),
    /// It sent a line of its log.
    Log {
        /// `error`, `warn`, `info` or `debug`.
        level: &'static str,
        /// Part of the firmware.
        module: &'static str,
        /// The line.
        message: String,
    },
    /// It reported its firmware.
    Firmware(Report),
    /// Its cloud gave it another name.
    Renamed(String),
    /// Its cloud changed its metadata, for so many times.
    Changed(u32),
}

/// A firmware report, as the device protocol has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// What runs.
    pub(crate) version: &'static str,
    /// What is to run; empty if nothing else.
    pub(crate) target: &'static str,
    /// Name and code of the state.
    pub(crate) state: (&'static str, u8),
    /// Text and code of the reason.
    pub(crate) reason: (&'static str, u8),
}

const READY: (&str, u8) = ("ready state", 0);
const UPDATED: (&str, u8) = ("firmware updated successfully", 1);
const FAILED: (&str, u8) = ("firmware update failed", 8);
const IDLE: (&str, u8) = ("IDLE", 0);
const DOWNLOADING: (&str, u8) = ("DOWNLOADING", 1);
const DOWNLOADED: (&str, u8) = ("DOWNLOADED", 2);
const UPDATING: (&str, u8) = ("UPDATING", 3);

/// What a cloud changes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restless {
    /// Its name, once.
    Name,
    /// Its metadata, which was changed so often.
    Metadata(u32),
}

/// A device and all it remembers.
pub(crate) struct Machine {
    number: u32,
    pub(crate) identity: Identity,
    pub(crate) habit: Habit,
    fate: Fate,
    rng: ChaCha8Rng,
    /// What is said before anything else.
    script: VecDeque<Said>,
    /// When the roll-out reaches it, unless it has.
    rollout: Option<f64>,
    rolls_back: bool,
    /// What its cloud still does to it, if it does anything.
    restless: Option<Restless>,
    connected: bool,
    asleep: bool,
    /// When it was last heard.
    pub(crate) heard_at: Option<Micros>,
    readings: u32,
    // Tenths of a degree, of a percent, of a percent; dBm.
    temperature: i32,
    humidity: i32,
    battery: i32,
    signal: i32,
}

impl Machine {
    /// The device of this number in the run of this seed.
    pub(crate) fn new(seed: u64, number: u32, habit: Habit, fate: Fate) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(number));
        let identity = Identity::new(seed, number, &mut rng);
        let boot = Said::Log {
            level: "info",
            module: "boot",
            message: format!("firmware {} started", VERSIONS[0]),
        };
        let script = VecDeque::from([
            Said::Created,
            Said::Online,
            Said::Firmware(Report::idle(VERSIONS[0], READY)),
            boot,
        ]);
        Self {
            number,
            identity,
            habit,
            fate,
            script,
            rollout: Some(rng.random_range(0.3..0.6)),
            rolls_back: number % 10 == 9,
            restless: None,
            connected: false,
            asleep: false,
            heard_at: None,
            readings: 0,
            temperature: rng.random_range(120..280),
            humidity: rng.random_range(300..650),
            battery: rng.random_range(350..1000),
            signal: rng.random_range(-105..-65),
            rng,
        }
    }

    /// The same of a cloud that changes names and metadata.
    pub(crate) fn of_a_restless_cloud(mut self) -> Self {
        self.restless = match self.number % 10 {
            6 => Some(Restless::Name),
            0 | 2 | 4 => Some(Restless::Metadata(0)),
            _ => None,
        };
        self
    }

    /// Whether it has said its last word.
    pub(crate) fn asleep(&self) -> bool {
        self.asleep
    }

    /// What it says at this moment of the run (0 to 1), if it still speaks.
    pub(crate) fn speak(&mut self, moment: f64) -> Option<Said> {
        if self.asleep {
            return None;
        }
        match self.fate {
            Fate::Silent(from) if moment >= from => {
                self.asleep = true;
                return None;
            }
            Fate::Offline(from) if moment >= from => {
                self.asleep = true;
                self.connected = false;
                return Some(Said::Offline);
            }
            Fate::Online | Fate::Flapping | Fate::Offline(_) | Fate::Silent(_) => {}
        }
        if self.script.is_empty() && self.rollout.is_some_and(|from| moment >= from) {
            self.rollout = None;
            self.script = roll_out(self.rolls_back);
        }
        if self.script.is_empty() && self.fate == Fate::Flapping {
            self.flap(moment);
        }
        if self.script.is_empty() {
            let changed = self.restless(moment);
            self.script.extend(changed);
        }
        let said = self.script.pop_front().unwrap_or_else(|| self.reading());
        match said {
            Said::Online => self.connected = true,
            Said::Offline => self.connected = false,
            Said::Created
            | Said::Measured(_)
            | Said::Status(_)
            | Said::Log { .. }
            | Said::Firmware(_)
            | Said::Renamed(_)
            | Said::Changed(_) => {}
        }
        Some(said)
    }

    /// An id for what is said next.
    pub(crate) fn next_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid()
    }

    /// What its cloud changes now, if anything.
    fn restless(&mut self, moment: f64) -> Option<Said> {
        match self.restless? {
            Restless::Name if moment >= 0.5 => {
                self.restless = None;
                self.identity.name.push_str("-R");
                Some(Said::Renamed(self.identity.name.clone()))
            }
            Restless::Metadata(n) if self.rng.random_ratio(1, 6) => {
                self.restless = Some(Restless::Metadata(n + 1));
                Some(Said::Changed(n + 1))
            }
            Restless::Name | Restless::Metadata(_) => None,
        }
    }

    fn flap(&mut self, moment: f64) {
        if !self.connected {
            self.script.push_back(Said::Online);
        } else if moment < 0.9 && self.rng.random_ratio(1, 4) {
            self.script.push_back(Said::Offline);
        }
    }

    fn reading(&mut self) -> Said {
        self.readings += 1;
        self.temperature = (self.temperature + self.rng.random_range(-6..=6)).clamp(-200, 550);
        self.humidity = (self.humidity + self.rng.random_range(-12..=12)).clamp(50, 990);
        self.signal = (self.signal + self.rng.random_range(-4..=4)).clamp(-118, -52);
        self.battery -= self.rng.random_range(0..=4);
        if self.battery < 120 {
            // Somebody changed it.
            self.battery = 1000;
        }
        let logs = self.habit.tongue.carries_logs();
        if logs && self.readings.is_multiple_of(9) {
            return Said::Log {
                level: "warn",
                module: "modem",
                message: format!("weak signal, {} dBm", self.signal),
            };
        }
        if self.readings % 3 == 1 {
            return Said::Status(json!({
                "battery": tenths(self.battery),
                "signal": self.signal,
                "uptime": self.readings * 60,
            }));
        }
        let measured = json!({ "temp": tenths(self.temperature), "humidity": tenths(self.humidity) });
        // What was measured while the link was down comes as one array.
        if self.habit.tongue == Tongue::PipelinesJson && self.readings.is_multiple_of(11) {
            let earlier =
                json!({ "temp": tenths(self.temperature - 3), "humidity": tenths(self.humidity + 5) });
            return Said::Measured(json!([earlier, measured]));
        }
        Said::Measured(measured)
    }
}

impl Identity {
    fn new(seed: u64, number: u32, rng: &mut ChaCha8Rng) -> Self {
        let created: u32 = rng.random_range(0x6500_0000..0x6800_0000);
        let rest: u64 = rng.random();
        let model = if number.is_multiple_of(5) { 'C' } else { 'M' };
        let name = format!("{model}{seed:04}{:05}", number + 1);
        let site = rng.random_range(1..=12);
        Self {
            id: format!("{created:08x}{rest:016x}"),
            hardware_id: format!("{created}-{}", name.to_lowercase()),
            cohort: if number % 10 < 2 { "beta" } else { "production" },
            site: format!("site-{site:02}"),
            name,
        }
    }
}

impl Report {
    fn idle(version: &'static str, reason: (&'static str, u8)) -> Self {
        Self {
            version,
            target: "",
            state: IDLE,
            reason,
        }
    }

    fn towards(version: &'static str, target: &'static str, state: (&'static str, u8)) -> Self {
        Self {
            version,
            target,
            state,
            reason: READY,
        }
    }
}

/// What a device says while it is updated; one that rolls back ends with what it had.
fn roll_out(rolls_back: bool) -> VecDeque<Said> {
    let [old, new] = VERSIONS;
    let mut script = VecDeque::from([
        Said::Firmware(Report::towards(old, new, DOWNLOADING)),
        Said::Firmware(Report::towards(old, new, DOWNLOADED)),
        Said::Firmware(Report::towards(old, new, UPDATING)),
        Said::Offline,
        Said::Online,
        Said::Firmware(Report::idle(new, UPDATED)),
    ]);
    if rolls_back {
        script.extend([
            Said::Offline,
            Said::Online,
            Said::Firmware(Report::idle(old, FAILED)),
        ]);
    }
    script
}

fn tenths(n: i32) -> Value {
    json!(f64::from(n) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Shape;

    fn said(number: u32, fate: Fate, n: usize) -> Vec<Said> {
        let habit = Habit {
            tongue: Tongue::PipelinesJson,
            shape: Shape::Device,
        };
        let mut machine = Machine::new(1, number, habit, fate);
        let moment = |at: usize| f64::from(u32::try_from(at).unwrap()) / f64::from(u32::try_from(n).unwrap());
        (0..n).map_while(|at| machine.speak(moment(at))).collect()
    }

    fn versions(said: &[Said]) -> Vec<&str> {
        let version = |said: &Said| match said {
            Said::Firmware(report) => Some(report.version),
            Said::Created
            | Said::Online
            | Said::Offline
            | Said::Measured(_)
            | Said::Status(_)
            | Said::Log { .. }
            | Said::Renamed(_)
            | Said::Changed(_) => None,
        };
        let mut versions: Vec<_> = said.iter().filter_map(version).collect();
        versions.dedup();
        versions
    }

    #[test]
    fn a_device_is_created_then_connects_then_reports() {
        let said = said(0, Fate::Online, 30);
        assert_eq!(said[..2], [Said::Created, Said::Online]);
        assert_eq!(said.len(), 30);
    }

    #[test]
    fn firmware_is_rolled_out_and_sometimes_rolls_back() {
        assert_eq!(versions(&said(0, Fate::Online, 30)), ["1.4.2", "1.5.0"]);
        assert_eq!(versions(&said(9, Fate::Online, 30)), ["1.4.2", "1.5.0", "1.4.2"]);
    }

    #[test]
    fn a_device_that_goes_offline_says_so_and_nothing_after() {
        let said = said(0, Fate::Offline(0.5), 30);
        assert_eq!(said.last(), Some(&Said::Offline));
        assert_eq!(said.len(), 16);
    }

    #[test]
    fn a_silent_device_says_nothing_about_it() {
        let said = said(0, Fate::Silent(0.1), 30);
        assert_eq!(said.len(), 3);
    }

    #[test]
    fn a_restless_cloud_renames_some_and_changes_the_metadata_of_others() {
        let habit = Habit {
            tongue: Tongue::Platform,
            shape: Shape::Device,
        };
        let said = |number: u32| -> Vec<Said> {
            let mut machine = Machine::new(1, number, habit, Fate::Online).of_a_restless_cloud();
            (0..100)
                .map_while(|at| machine.speak(f64::from(at) / 100.0))
                .collect()
        };
        let renamed = |said: &[Said]| said.iter().filter(|one| matches!(one, Said::Renamed(_))).count();
        let changed = |said: &[Said]| said.iter().filter(|one| matches!(one, Said::Changed(_))).count();
        assert_eq!((renamed(&said(6)), changed(&said(6))), (1, 0));
        assert_eq!(renamed(&said(4)), 0);
        assert!(changed(&said(4)) > 3);
        assert_eq!((renamed(&said(5)), changed(&said(5))), (0, 0));
    }

    #[test]
    fn a_flapping_link_ends_online() {
        let said = said(0, Fate::Flapping, 200);
        let n = said.iter().filter(|said| **said == Said::Offline).count();
        assert!(n > 5, "{n}");
        let last = said
            .iter()
            .rev()
            .find(|said| matches!(said, Said::Online | Said::Offline));
        assert_eq!(last, Some(&Said::Online));
    }
}
