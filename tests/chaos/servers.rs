//! The servers themselves, where a run has Kafka and PostgreSQL of its own: killed, frozen, crashed.

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    cast::signal,
    schedule::{Fault, Server},
};

/// How often it is tried to start a server again.
const MOST_STARTS: usize = 20;

/// Where the pids of a run's own servers are, and the command that starts what of them is gone.
pub(crate) struct Servers {
    pids: PathBuf,
    start: PathBuf,
    log: PathBuf,
}

impl Servers {
    /// Those of this run, if `./dev chaos` started any for it.
    pub(crate) fn own() -> Option<Self> {
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        let state = folder("FLEETLOG_CHAOS_STATE")?;
        Some(Self {
            pids: state.join("run"),
            start: folder("FLEETLOG_CHAOS_DEV")?,
            log: state.join("logs/dev.log"),
        })
    }

    /// Begins a fault of a server.
    pub(crate) fn begin(&self, fault: Fault) {
        match fault {
            Fault::KillServer(server) => {
                if let Some(pid) = self.pid(server) {
                    let orphans = children(pid);
                    signal(pid, "KILL");
                    // Who was frozen would never see that it is alone.
                    for orphan in orphans {
                        signal(orphan, "CONT");
                    }
                    self.restart();
                }
            }
            Fault::FreezeServer(server) => self.signal_all(server, "STOP"),
            Fault::CrashPostgres => {
                // Any of its processes will do: the others are ended, and it recovers from the log.
                let child = self.pid(Server::Postgres).and_then(|pid| children(pid).pop());
                if let Some(child) = child {
                    signal(child, "KILL");
                }
            }
            Fault::Kill(_) | Fault::Freeze(_) | Fault::Restart(_) | Fault::Link(..) => {}
        }
    }

    /// Ends it.
    pub(crate) fn end(&self, fault: Fault) {
        if let Fault::FreezeServer(server) = fault {
            self.signal_all(server, "CONT");
        }
    }

    fn pid(&self, server: Server) -> Option<u32> {
        let name = match server {
            Server::Kafka => "kafka.pid",
            Server::Postgres => "postgres.pid",
        };
        let text = fs::read_to_string(self.pids.join(name)).ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    fn signal_all(&self, server: Server, name: &str) {
        let Some(pid) = self.pid(server) else { return };
        for pid in std::iter::once(pid).chain(children(pid)) {
            signal(pid, name);
        }
    }

    /// Starts what is gone, in the background: it takes seconds, and PostgreSQL waits for what it had started before.
    fn restart(&self) {
        let (start, log) = (self.start.clone(), self.log.clone());
        std::thread::spawn(move || {
            for _ in 0..MOST_STARTS {
                let log = OpenOptions::new().create(true).append(true).open(&log);
                let said = log.map_or_else(|_| Stdio::null(), Stdio::from);
                let started = Command::new(&start)
                    .args(["chaos", "up"])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(said)
                    .status();
                if started.is_ok_and(|status| status.success()) {
                    return;
                }
            }
        });
    }
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything; what counts comes after its last parenthesis.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}
