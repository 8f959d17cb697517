//! What people do meanwhile: with the command, through connections that fail them as well.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tests::{Stack, binary};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep_until, timeout},
};

use crate::{
    cast::Cast,
    fleet::serial,
    ledger::Ledger,
    schedule::{Actor, Doing, Edited},
};

/// Longest that a command may take before it is given up. Its own deadlines are far shorter.
const LONGEST: Duration = Duration::from_secs(90);

/// Somebody with the command at hand.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) stack: Arc<Stack>,
    pub(crate) cast: Arc<Mutex<Cast>>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) organization: String,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Does everything at its time.
    pub(crate) async fn work(self, doings: Vec<(Duration, Doing)>, began: Instant) {
        let mut under_way = JoinSet::new();
        for (n, (at, doing)) in doings.into_iter().enumerate() {
            let desk = self.clone();
            under_way.spawn(async move {
                sleep_until(began + at).await;
                desk.act(n, doing).await;
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended.expect("nobody at the desk panics");
        }
    }

    async fn act(&self, n: usize, doing: Doing) {
        let mark = format!("mark {n}");
        match doing {
            Doing::Edit { device, field } => {
                let mut args = words(&["device", "edit", &serial(device), "--reason", &mark]);
                args.extend(edited(field));
                self.decide("edit", &mark, args).await;
            }
            Doing::Register { number } => {
                let name = format!("CR-{number}");
                let args = words(&["device", "register", &name, "--name", &name, "--reason", &mark]);
                self.decide("register", &mark, args).await;
            }
            Doing::Retire { device } => {
                let args = words(&["device", "retire", &serial(device), "--reason", &mark]);
                self.decide("retire", &mark, args).await;
            }
            Doing::Restore { device } => {
                let args = words(&["device", "restore", &serial(device), "--reason", &mark]);
                self.decide("restore", &mark, args).await;
            }
            Doing::Resolve { keep_local } => self.resolve(keep_local).await,
            Doing::Rebuild { promote, workers } => self.rebuild(n, promote, workers).await,
            Doing::Rollback => {
                let args = words(&["generations", "rollback", "--json"]);
                let (code, _, errors) = self.command(&args).await;
                self.ended("rollback", code, &errors);
            }
            Doing::Checkpoint => {
                let (code, _, errors) = self.command(&words(&["checkpoint", "--json"])).await;
                self.ended("checkpoint", code, &errors);
            }
        }
    }

    /// Something that is decided about one device; the mark recognizes its event in the log.
    async fn decide(&self, what: &str, mark: &str, mut args: Vec<String>) {
        let who = [
            "--organization",
            &self.organization,
            "--author",
            "chaos",
            "--json",
            "--wait",
            "3s",
        ];
        args.extend(words(&who));
        let (code, output, errors) = self.command(&args).await;
        self.ended(what, code, &errors);
        let said: Value = serde_json::from_str(&output).unwrap_or_default();
        // An edit that changes nothing appends nothing.
        let appended = code == 0 && !(what == "edit" && said["edit"].is_null());
        if appended || errors.contains("it is in the log at") {
            locked(&self.ledger).marks.insert(mark.to_owned());
        }
    }

    async fn resolve(&self, keep_local: bool) {
        let decision = if keep_local {
            "--keep-local"
        } else {
            "--keep-remote"
        };
        let mut args = words(&[
            "conflicts",
            "resolve",
            "--all-matching",
            "--yes",
            decision,
            "--kind",
            "field",
        ]);
        args.extend(words(&[
            "--organization",
            &self.organization,
            "--author",
            "chaos",
            "--json",
            "--wait",
            "3s",
        ]));
        let (code, output, errors) = self.command(&args).await;
        self.ended("resolve", code, &errors);
        for line in output.lines() {
            let decided: Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(event) = decided["event"].as_str() {
                let mut ledger = locked(&self.ledger);
                ledger
                    .events
                    .entry(event.to_owned())
                    .or_insert_with(|| "a resolution".to_owned());
            }
        }
    }

    async fn rebuild(&self, n: usize, promote: bool, workers: u32) {
        let promotion = if promote { "--promote" } else { "--no-promote" };
        let workers = workers.to_string();
        let args = words(&[
            "rebuild",
            "--json",
            "--memory",
            "128MiB",
            "--workers",
            &workers,
            promotion,
        ]);
        let output = self.stack.folder.join(format!("rebuild-{n}"));
        if !locked(&self.cast).start_rebuild(&self.stack, &args, &output) {
            return;
        }
        let deadline = Instant::now() + LONGEST;
        let mut turn = interval(Duration::from_millis(50));
        let code = loop {
            turn.tick().await;
            if let Some(code) = locked(&self.cast).rebuild_ended() {
                break code;
            }
            if Instant::now() > deadline {
                let mut cast = locked(&self.cast);
                cast.ended
                    .push(format!("a rebuild did not end within {LONGEST:?}"));
                cast.begin(crate::schedule::Fault::Kill(Actor::Rebuild), Duration::ZERO);
            }
        };
        let errors = std::fs::read_to_string(output.with_extension("err")).unwrap_or_default();
        self.ended("rebuild", code, &errors);
    }

    /// Codes 3, 4 and 5 say that it could not be, and killing is ours; anything else is a finding. Machines take each
    /// other's names in their clouds, so two devices may be called the same: then it is asked which is meant.
    fn ended(&self, what: &str, code: i32, errors: &str) {
        locked(&self.ledger).command(what, code);
        let is_ambiguous = code == 2 && errors.contains("several devices are called");
        if !matches!(code, -1 | 0 | 3 | 4 | 5) && !is_ambiguous {
            let said = errors.lines().rev().find(|line| !line.trim().is_empty());
            let what = format!("{what} ended with {code}: {}", said.unwrap_or_default());
            locked(&self.cast).ended.push(what);
        }
    }

    async fn command(&self, args: &[String]) -> (i32, String, String) {
        let environment = locked(&self.cast).environment(&self.stack, Actor::Desk);
        let output = tokio::process::Command::new(binary())
            .args(args)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let Ok(output) = timeout(LONGEST, output).await else {
            return (
                124,
                String::new(),
                format!("{args:?} did not end within {LONGEST:?}"),
            );
        };
        let output = output.expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn edited(field: Edited) -> Vec<String> {
    match field {
        Edited::Name(n) => words(&["--name", &format!("name {n}")]),
        Edited::Notes(n) => words(&["--notes", &format!("note {n}")]),
        Edited::Metadata(0) => words(&["--unset", "metadata"]),
        Edited::Metadata(n) => words(&["--set", &format!("metadata={{\"site\": {n}}}")]),
        Edited::Enabled(is) => words(&["--set", &format!("enabled={is}")]),
        Edited::Tag(n, true) => words(&["--tag", &format!("t{n}")]),
        Edited::Tag(n, false) => words(&["--untag", &format!("t{n}")]),
    }
}
