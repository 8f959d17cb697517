//! What a projector measures.

use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

use crate::dead_letters::Reason;

/// Every metric of a projector, by the name it has in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Metric {
    /// Gauge. Labels: `topic`, `partition`. Events of a partition that are in the log and not yet projected.
    FleetlogProjectorLagEvents,
    /// Gauge. Labels: `topic`, `partition`. The epoch under which this projector owns a partition; 0 once it does not.
    FleetlogProjectorOwnerEpoch,
    /// Gauge. Labels: `topic`, `partition`. 1 while a partition stands still: Postgres refuses what is not an event's
    /// fault, or too many events seem to be at fault.
    FleetlogProjectorHalted,
    /// Gauge, in seconds. Label: `writer`. How long ago the oldest event that was read and not yet projected was
    /// received; 0 when all are projected.
    FleetlogProjectorOldestEventAgeSeconds,
    /// Counter. Label: `topic`. Events projected.
    FleetlogProjectorEventsTotal,
    /// Counter. Label: `reason`. Events that contribute nothing: `unknown` type, `not_folded`, another `subject`,
    /// an unreadable `checkpoint`.
    FleetlogProjectorEventsIgnoredTotal,
    /// Counter. Label: `reason`. Events set aside, since they are no events of ours (`undecodable`) or Postgres refuses
    /// what they say (`refused_data`, `refused_constraint`).
    FleetlogProjectorDeadLettersTotal,
    /// Gauge. Label: `reason`. Events that are set aside and wait to be folded again, counted every 30 s; the same in
    /// every projector, so take the greatest.
    FleetlogProjectorDeadLettersWaiting,
    /// Counter. Label: `table`. Rows joined into a table; equal keys of one batch are joined before and count once.
    FleetlogProjectorRowsTotal,
    /// Histogram. Events of one transaction.
    FleetlogProjectorBatchEvents,
    /// Histogram, in seconds. Duration of one transaction, from its begin to its commit.
    FleetlogProjectorBatchSeconds,
    /// Counter. Label: `reason`. Transactions that were tried again: `lost_race`, `unavailable`.
    FleetlogProjectorRetriesTotal,
    /// Counter. Transactions that failed whole because another projector owned a partition.
    FleetlogProjectorFencedTotal,
    /// Counter. Batches in which links were derived again.
    FleetlogProjectorLinkingsTotal,
    /// Counter. Times that a writer of this projector went on with another generation, since that was promoted.
    FleetlogProjectorGenerationSwitchesTotal,
    /// Gauge, in seconds. Label: `partition`. How long ago the newest checkpoint of a partition of readings was taken, or
    /// a projector first looked for one: readings that are younger than this may not expire.
    FleetlogProjectorCheckpointAgeSeconds,
    /// Counter. Label: `outcome`: `written`, `unchanged` (as the log has it already). Records of checkpoints.
    FleetlogProjectorCheckpointRecordsTotal,
    /// Counter. Label: `history`. Days of a history that were dropped behind its horizon.
    FleetlogProjectorDaysDroppedTotal,
    /// Histogram, in seconds. Duration of a survey: how every device stands, looked up once.
    FleetlogProjectorSurveySeconds,
    /// Gauge, in seconds. How long this projector waits until the next survey: ten seconds, or ten times as long as
    /// the newest took. What is read of a survey is as old as that at most, and as long as it takes.
    FleetlogProjectorSurveyPauseSeconds,
    /// Counter. Devices that a survey found to stand otherwise than the one before.
    FleetlogProjectorSurveyedChangesTotal,
    /// Gauge. Labels: `kind`, `field`, `integration`, `age` (`1h`, `1d`, `7d` for less than that, or `older`). Conflicts
    /// that wait for a person, counted every 30 s, or less often where that takes long; the same in every projector, so
    /// take the greatest.
    FleetlogConflictsPending,
    /// Gauge, in seconds. How long the oldest pending conflict has been waiting; 0 when none waits.
    FleetlogConflictsOldestAgeSeconds,
}

impl Metric {
    /// The name in Prometheus.
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn help(self) -> &'static str {
        match self {
            Self::FleetlogProjectorLagEvents => "Events in the log that are not yet projected",
            Self::FleetlogProjectorOwnerEpoch => "Epoch under which a partition is owned; 0 once it is not",
            Self::FleetlogProjectorHalted => "1 while a partition stands still",
            Self::FleetlogProjectorOldestEventAgeSeconds => {
                "Age of the oldest event read and not yet projected"
            }
            Self::FleetlogProjectorEventsTotal => "Events projected",
            Self::FleetlogProjectorEventsIgnoredTotal => "Events that contribute nothing",
            Self::FleetlogProjectorDeadLettersTotal => "Events set aside",
            Self::FleetlogProjectorDeadLettersWaiting => "Events set aside that wait to be folded again",
            Self::FleetlogProjectorRowsTotal => "Rows joined into a table",
            Self::FleetlogProjectorBatchEvents => "Events of one transaction",
            Self::FleetlogProjectorBatchSeconds => "Duration of one transaction",
            Self::FleetlogProjectorRetriesTotal => "Transactions that were tried again",
            Self::FleetlogProjectorFencedTotal => "Transactions that failed since another owned a partition",
            Self::FleetlogProjectorLinkingsTotal => "Batches in which links were derived again",
            Self::FleetlogProjectorGenerationSwitchesTotal => "Times another generation was gone on with",
            Self::FleetlogProjectorCheckpointAgeSeconds => "Age of the newest checkpoint",
            Self::FleetlogProjectorCheckpointRecordsTotal => "Records of checkpoints, by outcome",
            Self::FleetlogProjectorDaysDroppedTotal => "Days of a history dropped behind its horizon",
            Self::FleetlogProjectorSurveySeconds => "Duration of a survey of all devices",
            Self::FleetlogProjectorSurveyPauseSeconds => "Pause until the next survey",
            Self::FleetlogProjectorSurveyedChangesTotal => "Devices that a survey found to stand otherwise",
            Self::FleetlogConflictsPending => "Conflicts that wait for a person",
            Self::FleetlogConflictsOldestAgeSeconds => "How long the oldest conflict has been waiting",
        }
    }

    fn is_gauge(self) -> bool {
        matches!(
            self,
            Self::FleetlogProjectorLagEvents
                | Self::FleetlogProjectorOwnerEpoch
                | Self::FleetlogProjectorHalted
                | Self::FleetlogProjectorOldestEventAgeSeconds
                | Self::FleetlogProjectorDeadLettersWaiting
                | Self::FleetlogProjectorCheckpointAgeSeconds
                | Self::FleetlogProjectorSurveyPauseSeconds
                | Self::FleetlogConflictsPending
                | Self::FleetlogConflictsOldestAgeSeconds
        )
    }

    fn is_histogram(self) -> bool {
        matches!(
            self,
            Self::FleetlogProjectorBatchEvents
                | Self::FleetlogProjectorBatchSeconds
                | Self::FleetlogProjectorSurveySeconds
        )
    }
}

/// Tells the recorder what the metrics mean, and shows those that count rare things from the start.
pub(crate) fn describe() {
    for metric in Metric::iter() {
        if metric.is_gauge() {
            metrics::describe_gauge!(metric.name(), metric.help());
        } else if metric.is_histogram() {
            metrics::describe_histogram!(metric.name(), metric.help());
        } else {
            metrics::describe_counter!(metric.name(), metric.help());
        }
    }
    metrics::counter!(Metric::FleetlogProjectorFencedTotal.name()).increment(0);
    metrics::counter!(Metric::FleetlogProjectorGenerationSwitchesTotal.name()).increment(0);
    for reason in Reason::iter() {
        let reason: &'static str = reason.into();
        metrics::counter!(Metric::FleetlogProjectorDeadLettersTotal.name(), "reason" => reason).increment(0);
    }
    for reason in ["lost_race", "unavailable"] {
        metrics::counter!(Metric::FleetlogProjectorRetriesTotal.name(), "reason" => reason).increment(0);
    }
}
