//! What happens in one schedule, and when: all of it follows from one number.

use std::{fmt, ops::Range, time::Duration};

use ::tests::Passage;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

/// How long traffic lasts in tests.
#[cfg(test)]
pub(crate) const TRAFFIC: Duration = Duration::from_secs(10);
/// Longer than a projector's session at the broker: who sleeps through it wakes up without its partitions.
const BEYOND_SESSION: Range<u32> = 7_000..8_500;

/// A process of the product, with connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// One of two `fleetlog ingest`.
    Door(usize),
    /// One of two `fleetlog projector`.
    Projector(usize),
    /// The rebuild that is under way, if one is.
    Rebuild,
    /// The commands that people give.
    Desk,
}

/// What processes are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    Kafka,
    Postgres,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// `kill -9`; started again at the end.
    Kill(Actor),
    /// SIGSTOP; SIGCONT at the end.
    Freeze(Actor),
    /// SIGTERM, and started again once it has ended.
    Restart(Actor),
    /// The connections of one process to one server.
    Link(Actor, Server, Passage),
    /// `kill -9` of the server itself; started again at once.
    KillServer(Server),
    /// The server is frozen with all its processes.
    FreezeServer(Server),
    /// One of the processes that serve a client is killed, so that PostgreSQL recovers from a crash.
    CrashPostgres,
}

impl Fault {
    /// Its kind, for counting.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "killed",
            Self::Freeze(_) => "frozen",
            Self::Restart(_) => "restarted",
            Self::Link(_, _, Passage::Cut) => "cut",
            Self::Link(_, _, Passage::Slow(_)) => "slowed",
            Self::Link(_, _, Passage::Lost) => "lost packets",
            Self::Link(_, _, Passage::Deaf) => "lost answers",
            Self::Link(_, _, Passage::Free) => "nothing",
            Self::KillServer(Server::Kafka) => "Kafka killed",
            Self::KillServer(Server::Postgres) => "PostgreSQL killed",
            Self::FreezeServer(Server::Kafka) => "Kafka frozen",
            Self::FreezeServer(Server::Postgres) => "PostgreSQL frozen",
            Self::CrashPostgres => "PostgreSQL crashed",
        }
    }

    /// Whether others who use the same servers would feel it.
    pub(crate) fn is_of_servers(self) -> bool {
        match self {
            Self::KillServer(_) | Self::FreezeServer(_) | Self::CrashPostgres => true,
            Self::Kill(_) | Self::Freeze(_) | Self::Restart(_) | Self::Link(..) => false,
        }
    }
}

/// Something that goes wrong from `at` on, for so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Disturbance {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// What people do at a desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Edit { device: usize, field: Edited },
    Register { number: usize },
    Retire { device: usize },
    Restore { device: usize },
    Resolve { keep_local: bool },
    Rebuild { promote: bool, workers: u32 },
    Rollback,
    Checkpoint,
}

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    Name(u32),
    Notes(u32),
    Metadata(u32),
    Enabled(bool),
    Tag(u32, bool),
}

/// One schedule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// All of it follows from this.
    pub(crate) seed: u64,
    /// How long traffic lasts.
    pub(crate) traffic: Duration,
    /// Devices, each in one integration.
    pub(crate) devices: usize,
    /// Deliveries, without what is sent again.
    pub(crate) deliveries: usize,
    /// Most records of one transaction of a projector.
    pub(crate) batch_records: u32,
    /// Whether the doors have a spool.
    pub(crate) spool: bool,
    /// In order of time.
    pub(crate) disturbances: Vec<Disturbance>,
    /// In order of time.
    pub(crate) doings: Vec<(Duration, Doing)>,
}

impl Schedule {
    /// The schedule of this number.
    pub(crate) fn draw(seed: u64, traffic: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let devices = rng.random_range(6..=24);
        let deliveries = rng.random_range(150..=600);
        let batch_records = [5, 20, 100, 1_000][rng.random_range(0..4)];
        let spool = rng.random_ratio(2, 3);
        // One schedule in six disturbs the servers themselves.
        let of_servers = rng.random_ratio(1, 6);
        let mut disturbances: Vec<Disturbance> = (0..rng.random_range(3..=9))
            .map(|_| disturbance(&mut rng, traffic))
            .collect();
        if of_servers {
            disturbances.truncate(4);
            disturbances.extend((0..rng.random_range(1..=2)).map(|_| of_server(&mut rng, traffic)));
        }
        disturbances.sort_by_key(|disturbance| disturbance.at);
        let mut doings: Vec<(Duration, Doing)> = (0..rng.random_range(6..=16))
            .map(|_| (instant(&mut rng, traffic), doing(&mut rng, devices)))
            .collect();
        if rng.random_ratio(2, 3) {
            let at = instant(&mut rng, traffic);
            doings.push((at, rebuild(&mut rng)));
        }
        doings.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            traffic,
            devices,
            deliveries,
            batch_records,
            spool,
            disturbances,
            doings,
        }
    }

    /// The number of the `n`th schedule of a run.
    pub(crate) fn seed_of(run: u64, n: u64) -> u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(run);
        rng.set_stream(n);
        // Short enough to be typed.
        rng.random_range(0..1_000_000_000_000)
    }

    /// Whether it disturbs what others use as well.
    pub(crate) fn is_of_servers(&self) -> bool {
        self.disturbances.iter().any(|one| one.fault.is_of_servers())
    }

    /// The same without what would disturb others.
    pub(crate) fn sparing_servers(mut self) -> Self {
        self.disturbances.retain(|one| !one.fault.is_of_servers());
        self
    }
}

fn millis(rng: &mut ChaCha8Rng, range: Range<u32>) -> Duration {
    Duration::from_millis(rng.random_range(range).into())
}

fn instant(rng: &mut ChaCha8Rng, traffic: Duration) -> Duration {
    traffic.mul_f64(rng.random_range(0.02..0.95))
}

fn process(rng: &mut ChaCha8Rng) -> Actor {
    match rng.random_range(0..9) {
        n @ 0..4 => Actor::Door(n % 2),
        n @ 4..8 => Actor::Projector(n % 2),
        _ => Actor::Rebuild,
    }
}

fn disturbance(rng: &mut ChaCha8Rng, traffic: Duration) -> Disturbance {
    let at = instant(rng, traffic);
    let (fault, lasts) = match rng.random_range(0..10) {
        0..2 => (Fault::Kill(process(rng)), millis(rng, 50..3_000)),
        2..4 => {
            let beyond = rng.random_ratio(1, 3);
            let lasts = if beyond { BEYOND_SESSION } else { 300..3_000 };
            (Fault::Freeze(process(rng)), millis(rng, lasts))
        }
        4 => {
            let actor = [
                Actor::Door(0),
                Actor::Door(1),
                Actor::Projector(0),
                Actor::Projector(1),
            ];
            (
                Fault::Restart(actor[rng.random_range(0..4)]),
                millis(rng, 0..1_000),
            )
        }
        _ => {
            let actor = if rng.random_ratio(1, 8) {
                Actor::Desk
            } else {
                process(rng)
            };
            let server = if rng.random_ratio(3, 5) {
                Server::Kafka
            } else {
                Server::Postgres
            };
            let passage = match rng.random_range(0..4) {
                0 => Passage::Cut,
                1 => Passage::Lost,
                2 => Passage::Deaf,
                _ => Passage::Slow(millis(rng, 5..400)),
            };
            (Fault::Link(actor, server, passage), millis(rng, 200..6_000))
        }
    };
    Disturbance { at, lasts, fault }
}

fn of_server(rng: &mut ChaCha8Rng, traffic: Duration) -> Disturbance {
    let fault = match rng.random_range(0..6) {
        0 => Fault::KillServer(Server::Kafka),
        1 => Fault::KillServer(Server::Postgres),
        2 => Fault::FreezeServer(Server::Kafka),
        3 => Fault::FreezeServer(Server::Postgres),
        _ => Fault::CrashPostgres,
    };
    Disturbance {
        at: instant(rng, traffic),
        lasts: millis(rng, 200..5_000),
        fault,
    }
}

fn doing(rng: &mut ChaCha8Rng, devices: usize) -> Doing {
    let device = rng.random_range(0..devices);
    match rng.random_range(0..20) {
        0..10 => Doing::Edit {
            device,
            field: edited(rng),
        },
        10 => Doing::Register {
            number: rng.random_range(0..4),
        },
        11 | 12 => Doing::Retire { device },
        13 => Doing::Restore { device },
        14..17 => Doing::Resolve {
            keep_local: rng.random(),
        },
        17 => rebuild(rng),
        18 => Doing::Rollback,
        _ => Doing::Checkpoint,
    }
}

fn edited(rng: &mut ChaCha8Rng) -> Edited {
    let value = rng.random_range(0..4);
    match rng.random_range(0..7) {
        0 => Edited::Name(value),
        1 => Edited::Notes(value),
        2..5 => Edited::Metadata(value),
        5 => Edited::Enabled(rng.random()),
        _ => Edited::Tag(value % 2, rng.random()),
    }
}

fn rebuild(rng: &mut ChaCha8Rng) -> Doing {
    Doing::Rebuild {
        promote: rng.random_ratio(4, 5),
        workers: rng.random_range(1..=3),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spool = if self.spool {
            "doors with a spool"
        } else {
            "doors without a spool"
        };
        writeln!(
            f,
            "schedule {}: {} deliveries of {} devices in {:?}, {spool}, {} records a transaction",
            self.seed, self.deliveries, self.devices, self.traffic, self.batch_records
        )?;
        for Disturbance { at, lasts, fault } in &self.disturbances {
            writeln!(f, "  {at:>8.1?} for {lasts:>6.1?}  {fault:?}")?;
        }
        for (at, doing) in &self.doings {
            writeln!(f, "  {at:>8.1?}             {doing:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_number_gives_the_same_schedule_every_time() {
        for n in 0..50 {
            let seed = Schedule::seed_of(1, n);
            assert_eq!(Schedule::draw(seed, TRAFFIC), Schedule::draw(seed, TRAFFIC));
        }
        assert_ne!(Schedule::seed_of(1, 0), Schedule::seed_of(1, 1));
        assert_ne!(Schedule::seed_of(1, 0), Schedule::seed_of(2, 0));
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_servers_can_be_spared() {
        let all: Vec<_> = (0..400).map(|seed| Schedule::draw(seed, TRAFFIC)).collect();
        let faults = all.iter().flat_map(|schedule| &schedule.disturbances);
        let kinds: BTreeSet<_> = faults.map(|one| one.fault.kind()).collect();
        assert_eq!(kinds.len(), 12, "{kinds:?}");
        let n_of_servers = all.iter().filter(|schedule| schedule.is_of_servers()).count();
        assert!((40..100).contains(&n_of_servers), "{n_of_servers}");
        let mut spared = all.into_iter().map(Schedule::sparing_servers);
        assert!(!spared.any(|schedule| schedule.is_of_servers()));
    }
}
