//! The processes of a schedule, each with proxies of its own to Kafka and PostgreSQL, and what is done to them.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tests::{Passage, Proxy, Stack, binary, free_port};
use tokio::time::Instant;

use crate::schedule::{Actor, Fault, Schedule, Server};

/// How soon a supervisor starts a process again that ended by itself.
const SUPERVISION: Duration = Duration::from_millis(500);

/// Everybody in a schedule.
pub(crate) struct Cast {
    players: Vec<Player>,
    /// The rebuild that is under way.
    rebuild: Option<Child>,
    links: BTreeMap<(Actor, Server), Proxy>,
    /// Processes that ended though nobody told them to: who, and how.
    pub(crate) ended: Vec<String>,
}

/// A process that always runs, unless it is disturbed.
struct Player {
    actor: Actor,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    port: u16,
    log: PathBuf,
    child: Option<Child>,
    /// When it is started, if it is not running.
    due: Option<Instant>,
}

/// All who have connections.
const ACTORS: [Actor; 6] = [
    Actor::Door(0),
    Actor::Door(1),
    Actor::Projector(0),
    Actor::Projector(1),
    Actor::Rebuild,
    Actor::Desk,
];

impl Cast {
    /// Starts doors and projectors.
    pub(crate) fn start(stack: &Stack, schedule: &Schedule, spools: bool) -> Self {
        let broker: SocketAddr = stack.log.brokers.parse().expect("one broker");
        let links = ACTORS.into_iter().flat_map(|actor| {
            let kafka = Proxy::to_kafka(broker).expect("a port is free");
            let postgres = Proxy::start(0, stack.postgres_address()).expect("a port is free");
            [
                ((actor, Server::Kafka), kafka),
                ((actor, Server::Postgres), postgres),
            ]
        });
        let mut cast = Self {
            players: Vec::new(),
            rebuild: None,
            links: links.collect(),
            ended: Vec::new(),
        };
        for actor in &ACTORS[..4] {
            let player = cast.player(stack, schedule, *actor, spools);
            cast.players.push(player);
        }
        for player in &mut cast.players {
            player.start();
        }
        cast
    }

    fn player(&self, stack: &Stack, schedule: &Schedule, actor: Actor, spools: bool) -> Player {
        let port = free_port();
        let mut environment = self.environment(stack, actor);
        let mut tell = |name: &str, value: String| environment.push((name.to_owned(), value));
        tell("FLEETLOG_LISTEN", format!("127.0.0.1:{port}"));
        tell("FLEETLOG_BATCH_RECORDS", schedule.batch_records.to_string());
        tell("FLEETLOG_MAX_PAUSE", "500ms".to_owned());
        tell("FLEETLOG_CHECKPOINT_INTERVAL", "4s".to_owned());
        tell("RUST_LOG", "info,fleetlog=debug,projector=debug".to_owned());
        tell("RUST_BACKTRACE", "1".to_owned());
        let (name, n) = match actor {
            Actor::Door(n) => ("ingest", n),
            Actor::Projector(n) => {
                // The shortest session that brokers take: zombies are frequent.
                tell("FLEETLOG_KAFKA_PROPERTIES", "session.timeout.ms=6000".to_owned());
                // One writes with one connection, the other with two.
                tell("FLEETLOG_WRITERS", (n + 1).to_string());
                ("projector", n)
            }
            Actor::Rebuild | Actor::Desk => unreachable!("they come and go"),
        };
        let mut args = vec![name.to_owned()];
        if spools && schedule.spool && name == "ingest" {
            let folder = stack.folder.join(format!("spool-{n}"));
            args.extend(["--spool-dir".to_owned(), folder.display().to_string()]);
        }
        Player {
            actor,
            args,
            environment,
            port,
            log: stack.folder.join(format!("{name}-{n}.log")),
            child: None,
            due: None,
        }
    }

    /// What a process is told, with connections of its own.
    pub(crate) fn environment(&self, stack: &Stack, actor: Actor) -> Vec<(String, String)> {
        let kafka = self.links[&(actor, Server::Kafka)].address;
        let postgres = self.links[&(actor, Server::Postgres)].address;
        let through = |(name, value): &(String, String)| {
            let value = match name.as_str() {
                "KAFKA_BROKERS" => kafka.to_string(),
                name if name.ends_with("DATABASE_URL") => stack.through(name, postgres),
                _ => value.clone(),
            };
            (name.clone(), value)
        };
        stack.environment().iter().map(through).collect()
    }

    /// Base URLs of the doors.
    pub(crate) fn doors(&self) -> [String; 2] {
        [0, 1].map(|n| format!("http://127.0.0.1:{}", self.players[n].port))
    }

    /// What ends by itself is noted, and started again soon; so is what is due.
    pub(crate) fn supervise(&mut self) {
        let now = Instant::now();
        for player in &mut self.players {
            let status = player.child.as_mut().and_then(|child| child.try_wait().ok()?);
            if let Some(status) = status {
                player.child = None;
                if player.due.is_none() {
                    // A port that was free a moment ago may be the end of somebody's connection now.
                    if !player.found_its_port_taken() {
                        self.ended.push(format!("{:?} ended with {status}", player.actor));
                    }
                    player.due = Some(now + SUPERVISION);
                }
            }
            if player.child.is_none() && player.due.is_some_and(|due| due <= now) {
                player.start();
            }
        }
    }

    /// Begins a fault of a process or of its connections. Of one that does not run there is nothing to disturb.
    pub(crate) fn begin(&mut self, fault: Fault, lasts: Duration) {
        match fault {
            Fault::Kill(Actor::Rebuild) => {
                if let Some(child) = &mut self.rebuild {
                    kill(child);
                }
            }
            Fault::Freeze(Actor::Rebuild) => self.signal_rebuild("STOP"),
            Fault::Restart(Actor::Rebuild) => self.signal_rebuild("TERM"),
            Fault::Kill(actor) => {
                if let Some(player) = self.player_of(actor) {
                    player.due = Some(Instant::now() + lasts);
                    if let Some(mut child) = player.child.take() {
                        kill(&mut child);
                    }
                }
            }
            Fault::Freeze(actor) => self.signal(actor, "STOP"),
            Fault::Restart(actor) => {
                if let Some(player) = self.player_of(actor) {
                    player.due = Some(Instant::now() + lasts);
                }
                // One that is frozen hears it when it wakes up.
                self.signal(actor, "TERM");
            }
            Fault::Link(actor, server, passage) => self.links[&(actor, server)].set(passage),
            Fault::KillServer(_) | Fault::FreezeServer(_) | Fault::CrashPostgres => {}
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Freeze(Actor::Rebuild) => self.signal_rebuild("CONT"),
            Fault::Freeze(actor) => self.signal(actor, "CONT"),
            Fault::Link(actor, server, _) => self.links[&(actor, server)].set(Passage::Free),
            Fault::Kill(_)
            | Fault::Restart(_)
            | Fault::KillServer(_)
            | Fault::FreezeServer(_)
            | Fault::CrashPostgres => {}
        }
    }

    /// Nothing is wrong any more.
    pub(crate) fn heal(&mut self) {
        for link in self.links.values() {
            link.set(Passage::Free);
        }
        for actor in &ACTORS[..4] {
            self.signal(*actor, "CONT");
        }
        self.signal_rebuild("CONT");
    }

    fn player_of(&mut self, actor: Actor) -> Option<&mut Player> {
        self.players.iter_mut().find(|player| player.actor == actor)
    }

    fn signal(&mut self, actor: Actor, name: &str) {
        if let Some(child) = self.player_of(actor).and_then(|player| player.child.as_ref()) {
            signal(child.id(), name);
        }
    }

    fn signal_rebuild(&self, name: &str) {
        if let Some(child) = &self.rebuild {
            signal(child.id(), name);
        }
    }

    /// Starts a rebuild, unless one is under way here.
    pub(crate) fn start_rebuild(&mut self, stack: &Stack, args: &[String], output: &std::path::Path) -> bool {
        if self.rebuild.is_some() {
            return false;
        }
        let file = |suffix: &str| {
            File::create(output.with_extension(suffix)).expect("a file can be made in the schedule's folder")
        };
        let child = Command::new(binary())
            .args(args)
            .env_clear()
            .envs(self.environment(stack, Actor::Rebuild))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("the binary starts");
        self.rebuild = Some(child);
        true
    }

    /// How the rebuild ended, once it has; -1 if a signal ended it.
    pub(crate) fn rebuild_ended(&mut self) -> Option<i32> {
        let child = self.rebuild.as_mut()?;
        let status = child.try_wait().expect("a child can be asked")?;
        self.rebuild = None;
        Some(status.code().unwrap_or(-1))
    }

    /// Asks all to stop; returns those that did not end well.
    pub(crate) fn stop(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for player in &self.players {
            if let Some(child) = &player.child {
                signal(child.id(), "TERM");
            }
        }
        let deadline = Instant::now() + Duration::from_secs(25);
        for player in &mut self.players {
            let Some(mut child) = player.child.take() else {
                continue;
            };
            let status = loop {
                match child.try_wait().expect("a child can be asked") {
                    Some(status) => break Some(status),
                    None if Instant::now() > deadline => break None,
                    None => std::thread::sleep(Duration::from_millis(20)),
                }
            };
            match status {
                Some(status) if status.success() => {}
                Some(status) => wrong.push(format!(
                    "{:?} ended with {status} when told to stop",
                    player.actor
                )),
                None => {
                    kill(&mut child);
                    wrong.push(format!("{:?} did not stop within 25 s", player.actor));
                }
            }
        }
        wrong
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        let players = self.players.iter_mut().filter_map(|player| player.child.as_mut());
        for child in players.chain(self.rebuild.as_mut()) {
            kill(child);
        }
    }
}

impl Player {
    fn found_its_port_taken(&self) -> bool {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().next_back().unwrap_or_default();
        last.contains("Address already in use")
    }

    fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let child = Command::new(binary())
            .args(&self.args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the log file can be opened"))
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
        self.due = None;
    }
}

fn kill(child: &mut Child) {
    // It may have ended already.
    drop(child.kill());
    drop(child.wait());
}

/// Sends a signal by name to a process that may have ended.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .stderr(Stdio::null())
        .status();
    drop(sent);
}
