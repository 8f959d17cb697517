//! Tasks that stand and fall together.

use std::{collections::HashMap, fmt::Display, future::Future, time::Duration};

use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long tasks may take to stop, unless told otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(20);

/// Starts the tasks of a process and sees to it that none is on its own.
///
/// The first task to end, for whatever reason, stops the rest. Stopping means: the token that each was handed is
/// cancelled, and each has until the limit to return. All tasks of the product start here.
pub struct Supervisor {
    limit: Duration,
    token: CancellationToken,
    tasks: JoinSet<End>,
    names: HashMap<task::Id, String>,
}

/// Why a process did not run until it was told to stop, or did not stop in time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    /// A task returned an error; the rest was stopped.
    #[error("{task} failed: {reason}")]
    Failed {
        /// Name of the task.
        task: String,
        /// The error it returned.
        reason: String,
    },
    /// A task returned without having been told to; the rest was stopped.
    #[error("{task} ended, though nobody told it to")]
    Ended {
        /// Name of the task.
        task: String,
    },
    /// A task panicked, which is a bug; the rest was stopped.
    #[error("{task} panicked: {reason}")]
    Panicked {
        /// Name of the task.
        task: String,
        /// What the panic said.
        reason: String,
    },
    /// Told to stop, these tasks had not ended within the limit and were abandoned.
    #[error("did not end within {limit:?}: {}", .tasks.join(", "))]
    Overdue {
        /// Names of the tasks, sorted.
        tasks: Vec<String>,
        /// The limit they were given.
        limit: Duration,
    },
}

impl Supervisor {
    /// A supervisor of nothing so far. `limit` is how long tasks may take to stop.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            token: CancellationToken::new(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// Cancelled when the tasks have to stop. Cancelling it stops them.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task. It returns soon after its token is cancelled, and not before unless it fails.
    pub fn start<F, T, E>(&mut self, name: &str, task: F)
    where
        F: FnOnce(CancellationToken) -> T,
        T: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let token = self.token.clone();
        let work = task(token.clone());
        let supervised = async move {
            // Also dropped by a panic, and while nobody looks: the others stop in any case.
            let _stop_the_others = token.clone().drop_guard();
            let result = work.await.map_err(|error| format!("{error:#}"));
            End {
                unasked: !token.is_cancelled(),
                result,
            }
        };
        let handle = self
            .tasks
            .spawn(supervised.instrument(tracing::info_span!("task", task = name)));
        self.names.insert(handle.id(), name.to_owned());
    }

    /// Runs until `shutdown` resolves or a task ends, then stops all tasks and waits for them up to the limit.
    ///
    /// Ok means: told to stop, everything stopped cleanly and in time. Else the error is the first cause; what
    /// followed from it is logged.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), SupervisorError> {
        tokio::select! {
            () = shutdown => {}
            // A task that ends or fails cancels the token; so may whoever holds a copy of it.
            () = self.token.cancelled() => {}
        }
        self.token.cancel();

        let deadline = Instant::now() + self.limit;
        let mut cause = None;
        let mut consequence = None;
        while let Ok(Some(ended)) = timeout_at(deadline, self.tasks.join_next_with_id()).await {
            let Some((error, unasked)) = self.judge(ended) else {
                continue;
            };
            tracing::error!(%error, "{error}");
            // Tasks that fail because they were stopped may be joined before the one that made them stop.
            if unasked { &mut cause } else { &mut consequence }.get_or_insert(error);
        }
        if let Some(error) = self.abandon() {
            tracing::error!(%error, "{error}");
            consequence.get_or_insert(error);
        }
        cause.or(consequence).map_or(Ok(()), Err)
    }

    /// What is wrong with the end of a task, if anything, and whether it ended before anyone told it to.
    fn judge(&mut self, ended: Result<(task::Id, End), JoinError>) -> Option<(SupervisorError, bool)> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.names.remove(&id).unwrap_or_else(|| id.to_string());
        match ended {
            Ok((
                _,
                End {
                    unasked: false,
                    result: Ok(()),
                },
            )) => None,
            Ok((
                _,
                End {
                    unasked: true,
                    result: Ok(()),
                },
            )) => Some((SupervisorError::Ended { task }, true)),
            Ok((
                _,
                End {
                    unasked,
                    result: Err(reason),
                },
            )) => Some((SupervisorError::Failed { task, reason }, unasked)),
            // Its guard was dropped while unwinding, so whether it came first is unknown; a bug ranks first.
            Err(error) => Some((
                SupervisorError::Panicked {
                    task,
                    reason: error.to_string(),
                },
                true,
            )),
        }
    }

    fn abandon(&mut self) -> Option<SupervisorError> {
        if self.tasks.is_empty() {
            return None;
        }
        self.tasks.abort_all();
        let mut tasks: Vec<String> = self.names.drain().map(|(_, name)| name).collect();
        tasks.sort();
        Some(SupervisorError::Overdue {
            tasks,
            limit: self.limit,
        })
    }
}

/// How a task ended.
struct End {
    /// Nothing had been told to stop yet.
    unasked: bool,
    result: Result<(), String>,
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        io,
    };

    use super::*;

    async fn until_stopped(token: CancellationToken) -> Result<(), io::Error> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn what_was_told_to_stop_and_stops_is_fine() {
        let mut tasks = Supervisor::new(DEFAULT_LIMIT);
        tasks.start("one", until_stopped);
        tasks.start("two", until_stopped);
        assert_eq!(tasks.run_until(ready(())).await, Ok(()));
    }

    #[tokio::test]
    async fn a_failed_task_stops_the_rest() {
        let mut tasks = Supervisor::new(DEFAULT_LIMIT);
        tasks.start("steady", until_stopped);
        tasks.start("failing", |_| ready(Err::<(), _>("no broker")));
        tasks.start("consequence", |token| async move {
            token.cancelled().await;
            Err::<(), _>("stopped")
        });
        let failed = SupervisorError::Failed {
            task: "failing".into(),
            reason: "no broker".into(),
        };
        assert_eq!(tasks.run_until(pending()).await, Err(failed));
    }

    #[tokio::test]
    async fn a_task_that_just_ends_stops_the_rest() {
        let mut tasks = Supervisor::new(DEFAULT_LIMIT);
        tasks.start("steady", until_stopped);
        tasks.start("done", |_| ready(Ok::<(), io::Error>(())));
        let ended = SupervisorError::Ended { task: "done".into() };
        assert_eq!(tasks.run_until(pending()).await, Err(ended));
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_rest() {
        let mut tasks = Supervisor::new(DEFAULT_LIMIT);
        tasks.start("steady", until_stopped);
        tasks.start("broken", |_| async {
            if true {
                panic!("a bug")
            } else {
                Ok::<(), io::Error>(())
            }
        });
        let outcome = tasks.run_until(pending()).await;
        assert!(matches!(outcome, Err(SupervisorError::Panicked { task, .. }) if task == "broken"));
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_in_time_is_named() {
        let limit = Duration::from_millis(30);
        let mut tasks = Supervisor::new(limit);
        tasks.start("quick", until_stopped);
        tasks.start("stuck", |_| pending::<Result<(), io::Error>>());
        let overdue = SupervisorError::Overdue {
            tasks: vec!["stuck".into()],
            limit,
        };
        assert_eq!(tasks.run_until(ready(())).await, Err(overdue));
    }

    #[tokio::test]
    async fn whoever_holds_the_token_can_stop_all() {
        let mut tasks = Supervisor::new(DEFAULT_LIMIT);
        tasks.start("steady", until_stopped);
        tasks.token().cancel();
        assert_eq!(tasks.run_until(pending()).await, Ok(()));
    }
}
