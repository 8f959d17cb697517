//! What the whole process may take in memory, and what of that rows may.
//!
//! Rows are weighed, since what they take is spread over millions of pieces; and the system is asked what the process
//! takes in truth, since no estimate knows of buffers, clients and the allocator's own share. Whichever comes first
//! makes rows leave.

/// What the process takes before it has folded anything: itself, its clients and their buffers.
const BASE: usize = 48 << 20;

/// What a partition that is folded takes at the least: records on their way, sheets, and rows worth keeping.
const PER_WORKER: usize = 24 << 20;

/// The least memory that so many workers can keep within.
pub const fn least_memory(workers: usize) -> usize {
    BASE + workers * PER_WORKER
}

/// Bytes that this process holds in memory, where the system says so.
pub fn resident() -> Option<usize> {
    said("VmRSS:")
}

/// The most that it has held so far.
pub(super) fn most_resident() -> Option<usize> {
    said("VmHWM:")
}

fn said(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// A worker's part of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Records that were fetched and wait to be folded.
    pub(super) scan: usize,
    /// Rows on sheets that are not full.
    pub(super) sheets: usize,
    /// Rows that are folded.
    pub(super) rows: usize,
    /// What the process may have taken before rows have to leave.
    crowded: usize,
}

impl Share {
    /// What each of so many workers may take of a process that may take so much.
    pub(super) fn of(memory: usize, workers: usize) -> Self {
        // With less than the least it works as well, in smaller steps: that is for tests, whose processes take more.
        let is_of_process = memory >= least_memory(workers);
        let sixteenth = memory.saturating_sub(BASE).max(memory / 4) / workers.max(1) / 16;
        Self {
            scan: 2 * sixteenth,
            // As much again is on its way: one sheet that waits, one that is written.
            sheets: sixteenth,
            rows: 12 * sixteenth,
            // What leaves takes room itself on its way out, and what was freed is given back a moment later.
            crowded: if is_of_process {
                memory - memory / 5
            } else {
                usize::MAX
            },
        }
    }

    /// Rows alone, whatever the process takes.
    #[cfg(test)]
    pub(super) fn of_rows(rows: usize) -> Self {
        Self {
            scan: 0,
            sheets: 0,
            rows,
            crowded: usize::MAX,
        }
    }

    /// Whether rows have to leave although they are thought to take less than they may: so many bytes of them are
    /// held.
    pub(super) fn is_crowded(&self, held: usize) -> bool {
        // Too little to make room: others hold more, and look as often.
        held > self.rows / 8 && resident().is_some_and(|resident| resident > self.crowded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_out_stays_within_the_memory() {
        for workers in [1, 2, 8] {
            let memory = least_memory(workers);
            let share = Share::of(memory, workers);
            let each = share.scan + 2 * share.sheets + share.rows;
            assert!(BASE + workers * each <= memory, "{share:?}");
            assert!(share.rows > PER_WORKER / 2, "{share:?}");
        }
    }

    #[test]
    fn whoever_holds_little_does_not_make_room() {
        let share = Share {
            // Every process takes more than that.
            crowded: 1 << 20,
            ..Share::of(least_memory(1), 1)
        };
        assert!(!share.is_crowded(0));
        assert!(share.is_crowded(share.rows) || resident().is_none());
    }
}
