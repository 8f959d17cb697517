//! How many events may be at fault before it must be something else.

/// So many are always believed: a few oddities among a few events say nothing yet.
const LEAST: u64 = 10;

/// Of about so many recent events the share is taken.
const RECENT: u64 = 10_000;

/// The share of recent events that may be set aside. A missing column or a constraint that somebody has added would
/// else turn a whole log into dead letters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    percent: u64,
    n_events: u64,
    n_aside: u64,
}

impl Limit {
    /// No more than so many of a hundred.
    pub(crate) fn percent(percent: u8) -> Self {
        Self {
            percent: percent.into(),
            n_events: 0,
            n_aside: 0,
        }
    }

    /// How many of the next `n_events` may be set aside.
    pub(crate) fn allows(&self, n_events: usize) -> usize {
        if self.percent >= 100 {
            return usize::MAX;
        }
        let among = self.n_events.saturating_add(count(n_events));
        let most = (among.saturating_mul(self.percent) / 100).max(LEAST);
        usize::try_from(most.saturating_sub(self.n_aside)).unwrap_or(usize::MAX)
    }

    /// So many more were folded, of which so many were set aside.
    pub(crate) fn note(&mut self, n_events: usize, n_aside: usize) {
        self.n_events = self.n_events.saturating_add(count(n_events));
        self.n_aside = self.n_aside.saturating_add(count(n_aside));
        while self.n_events > RECENT {
            self.n_events /= 2;
            self.n_aside /= 2;
        }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_may_be_at_fault_and_a_few_always() {
        let mut limit = Limit::percent(1);
        assert_eq!((limit.allows(1), limit.allows(5_000)), (10, 50));
        limit.note(5_000, 50);
        assert_eq!(limit.allows(1_000), 10);
        limit.note(100_000, 0);
        assert!(limit.allows(1_000) >= 60, "what was long ago does not count");
        assert_eq!(Limit::percent(100).allows(1), usize::MAX);
    }

    #[test]
    fn many_small_batches_are_no_way_around_it() {
        let mut limit = Limit::percent(1);
        let mut n_aside = 0;
        for _ in 0..1_000 {
            let n = limit.allows(2).min(1);
            limit.note(2, n);
            n_aside += n;
        }
        assert!(n_aside <= 30, "{n_aside} of 2000");
    }
}
