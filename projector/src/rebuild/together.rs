//! Several tasks, of which all have to succeed.

use tokio::task::JoinSet;

use super::RebuildError;

/// Waits until all have ended, or one has failed: the others end with the set.
pub(super) async fn all_of(mut tasks: JoinSet<Result<(), RebuildError>>) -> Result<(), RebuildError> {
    while next_of(&mut tasks).await?.is_some() {}
    Ok(())
}

/// Waits until one more has ended; `None` if there is none.
pub(super) async fn next_of(
    tasks: &mut JoinSet<Result<(), RebuildError>>,
) -> Result<Option<()>, RebuildError> {
    match tasks.join_next().await {
        None => Ok(None),
        Some(Ok(done)) => done.map(Some),
        Some(Err(ended)) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RebuildError::Stopped),
        },
    }
}
