//! Roles as processes of their own, as they run in production.

use std::{
    collections::BTreeSet,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    process::{self, Child, ExitStatus, Stdio},
    sync::Mutex,
    time::Duration,
};

use anyhow::Context as _;
use uuid::Uuid;

use crate::{eventually, eventually_within};

/// The `fleetlog` binary of this build.
pub fn binary() -> PathBuf {
    let path = std::env::current_exe().expect("a program knows its own path");
    // Tests lie in `deps`, programs beside the binary.
    let folder = path.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let binary = folder.expect("it lies in a folder").join("fleetlog");
    assert!(
        binary.exists(),
        "{} is missing: `cargo build -p fleetlog` makes it",
        binary.display()
    );
    binary
}

/// A running `fleetlog ingest` or `fleetlog projector`. Killed when dropped.
pub struct Role {
    child: Child,
    /// Base URL of its HTTP server.
    pub url: String,
    log: PathBuf,
}

impl Role {
    /// Starts `fleetlog ARGS…` with this environment, logging to a file, and waits until it serves HTTP.
    pub(crate) async fn start(args: &[&str], environment: &[(String, String)], log: &Path) -> Self {
        Self::spawn(process::Command::new(binary()), args, environment, log).await
    }

    /// The same, but none of its files can grow beyond so many bytes: writing more fails, as on a disk without room.
    pub(crate) async fn start_with_files_of(
        bytes: u64,
        args: &[&str],
        environment: &[(String, String)],
        log: &Path,
    ) -> Self {
        let mut shell = process::Command::new("/bin/sh");
        let blocks = (bytes / 512).to_string();
        shell
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
                "sh",
                &blocks,
            ])
            .arg(binary());
        Self::spawn(shell, args, environment, log).await
    }

    async fn spawn(
        mut program: process::Command,
        args: &[&str],
        environment: &[(String, String)],
        log: &Path,
    ) -> Self {
        let port = free_port();
        let output = File::create(log).expect("the log file can be made");
        let child = program
            .args(args)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("FLEETLOG_LISTEN", format!("127.0.0.1:{port}"))
            .env("RUST_LOG", "info")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the binary starts");
        let mut role = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            log: log.to_owned(),
        };
        role.wait_until_live().await;
        role
    }

    async fn wait_until_live(&mut self) {
        let url = format!("{}/health/live", self.url);
        eventually_within(Duration::from_secs(30), "the role serves HTTP", || {
            let exited = self.child.try_wait().expect("the child can be asked");
            let log = self.log_text();
            let url = url.clone();
            async move {
                if let Some(status) = exited {
                    panic!("the role ended with {status}: {log}");
                }
                reqwest::get(url)
                    .await
                    .map(|_| ())
                    .map_err(|error| format!("{error}: {log}"))
            }
        })
        .await;
    }

    /// Waits until `/health/ready` says 200.
    pub async fn ready(self) -> Self {
        let url = format!("{}/health/ready", self.url);
        eventually_within(Duration::from_mins(1), "the role is ready", || async {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = answer.text().await.unwrap_or_default();
            if status.is_success() {
                Ok(())
            } else {
                Err(format!("{status} {body} {}", self.log_text()))
            }
        })
        .await;
        self
    }

    /// Everything it has logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// Sends a signal by name, e.g. `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits until it says that it has stopped.
    pub async fn stopped(&self) {
        eventually("it has stopped by itself", || async {
            let log = self.log_text();
            if log.contains("\"stopped\"") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    /// Kilobytes of memory that it takes now, as the system counts them.
    pub fn resident_kilobytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Kilobytes of memory that it has taken at most.
    pub fn most_resident_kilobytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.expect("the process runs, and the system says what it takes")
    }

    /// SIGTERM, then waits for the end.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal("TERM");
        eventually_within(Duration::from_secs(30), "the role stops", || {
            let state = self.child.try_wait();
            async move {
                match state {
                    Ok(Some(status)) => Ok(status),
                    Ok(None) => Err("still running".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await;
        self.child.wait().context("the process has ended")
    }

    /// One metric's samples: the lines that begin with its name.
    pub async fn metric(&self, name: &str) -> Vec<String> {
        let text = match reqwest::get(format!("{}/metrics", self.url)).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        text.lines()
            .filter(|line| line.starts_with(name))
            .map(ToOwned::to_owned)
            .collect()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Also when a test fails half-way; a process that is gone already cannot be killed, which is as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command under way. Killed when dropped.
pub struct Command {
    child: Child,
    errors: PathBuf,
}

impl Command {
    /// Starts `fleetlog ARGS…` with this environment; its output is not kept, its errors are.
    pub(crate) fn start(args: &[&str], environment: &[(String, String)], errors: &Path) -> Self {
        let child = process::Command::new(binary())
            .args(args)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(errors).expect("the file can be made"))
            .spawn()
            .expect("the binary starts");
        Self {
            child,
            errors: errors.to_owned(),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Its exit code, once it has ended; -1 if a signal ended it.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("the child can be asked");
        status.map(|status| status.code().unwrap_or(-1))
    }

    /// What it has written to stderr so far.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(child: &Child, name: &str) {
    let sent = process::Command::new("kill")
        .arg(format!("-{name}"))
        .arg(child.id().to_string())
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} can be sent");
}

/// Ports that Linux gives to nobody who does not ask for one of them.
const PORTS: Range<u16> = 22_000..32_000;

/// A port that was free a moment ago, and that nobody else is given: whoever is killed finds it free again when started
/// anew, however many ports others take meanwhile.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("no panic");
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // Other programs that do the same begin elsewhere.
    let first = usize::from(Uuid::new_v4().as_fields().1) % PORTS.len();
    let port = PORTS
        .cycle()
        .skip(first)
        .take(PORTS.len())
        .find(|port| !given.contains(port) && is_free(port))
        .expect("some port is free");
    given.insert(port);
    port
}
