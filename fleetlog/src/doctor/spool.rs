//! The folder to which deliveries go while Kafka is away.

use std::{
    fs::{File, TryLockError},
    io::ErrorKind,
    path::Path,
};

use super::{
    Look,
    finding::{Finding, of},
};

/// What the process that uses the folder keeps locked.
const LOCK: &str = "lock";

/// Looks at it.
pub(super) async fn look(look: &Look) -> Vec<Finding> {
    let Some(folder) = look.spool_dir.clone() else {
        let told = "none is told (--spool-dir): while Kafka is away, `ingest` answers 503";
        return vec![Finding::skipped("spool", told)];
    };
    let looking = async {
        let looked = tokio::task::spawn_blocking(move || examine(&folder)).await;
        looked.unwrap_or_else(|error| Err(Finding::failed("spool", error.to_string(), "run this again")))
    };
    vec![of(look.within("spool", looking).await)]
}

fn examine(folder: &Path) -> Result<Finding, Finding> {
    let shown = folder.display();
    let failed = |error: std::io::Error| {
        let remedy = "make the folder on a local disk and let the user that `ingest` runs as write to it";
        Finding::failed("spool", format!("{shown}: {error}"), remedy)
    };
    // Removed as soon as it is closed.
    tempfile(folder).map_err(failed)?;
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for entry in folder.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let size = entry.metadata().map_err(failed)?;
        if size.is_file() && size.len() > 0 && entry.file_name() != LOCK {
            files += 1;
            bytes += size.len();
        }
    }
    Ok(if files == 0 {
        Finding::ok("spool", format!("{shown} can be written to, and is empty"))
    } else if is_held(folder).map_err(failed)? {
        let told =
            "is held by an `ingest`, whose readiness and fleetlog_ingest_spool_records say what waits in it";
        Finding::ok("spool", format!("{shown} can be written to, and {told}"))
    } else {
        let found = format!("{shown} can be written to, and holds {files} files of {bytes} bytes");
        Finding::warning(
            "spool",
            found,
            "no `ingest` holds this folder: start one with it, which moves what waits there to the log",
        )
    })
}

/// Whether a process uses the folder as its spool.
fn is_held(folder: &Path) -> std::io::Result<bool> {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn tempfile(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::File::create_new(&path)?.sync_all()?;
    std::fs::remove_file(path)
}
