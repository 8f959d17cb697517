//! Waiting for what must come true, with a deadline and never by a fixed pause.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long things may take on a busy machine before a test gives up on them.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again until the answer is `Ok`, then returns it; fails with the last reason at the deadline.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(what: &str, ask: impl FnMut() -> F) -> T {
    eventually_within(PATIENCE, what, ask).await
}

/// The same with a deadline of its own, where the time is the promise.
pub async fn eventually_within<T, F: Future<Output = Result<T, String>>>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    let mut turn = tokio::time::interval(Duration::from_millis(40));
    loop {
        turn.tick().await;
        match ask().await {
            Ok(answer) => return answer,
            Err(reason) => {
                assert!(
                    Instant::now() < deadline,
                    "{what}: not within {patience:?}; last: {reason}"
                );
            }
        }
    }
}
