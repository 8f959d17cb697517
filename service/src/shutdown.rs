//! When to stop.

use std::{io, process, thread};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal as listen},
    sync::oneshot,
};

/// What a process that was interrupted twice answers to its shell: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Resolves at the first SIGTERM or SIGINT. The second ends the process at once.
///
/// The signals are heard by a thread of their own, so that a person can still stop a process whose runtime hangs.
/// Call it once, where the process is composed.
pub async fn signal() {
    let (heard, first) = oneshot::channel();
    let listening = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Err(error) = listen_for_signals(heard) {
            tracing::error!(%error, "cannot listen for signals: they end the process without a clean stop");
        }
    });
    if let Err(error) = listening {
        tracing::error!(%error, "cannot listen for signals: they end the process without a clean stop");
    }
    if first.await.is_err() {
        // Without a listener the system's default action stands, which needs no help of ours.
        std::future::pending::<()>().await;
    }
}

fn listen_for_signals(heard: oneshot::Sender<()>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;

        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(
            signal = name,
            "{name} received, stopping; a second signal stops at once"
        );
        if heard.send(()).is_err() {
            // Nobody waits any more: the process is stopping for another reason, and someone is impatient.
            process::exit(INTERRUPTED);
        }

        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "{name} received again, stopping at once");
        process::exit(INTERRUPTED);
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
