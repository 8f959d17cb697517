//! The brokers and the log: settings, dead letters, retention against checkpoints, clock; how far projections are behind
//! is in `lag`.

use std::collections::BTreeMap;

use schema::Topic;
use stream::{LogIdentity, Position, topics::TopicsError};

use super::{
    Look,
    finding::{Finding, judge_clock, of},
    lag, sql,
};
use crate::{clock, dead_letters, output};

/// More letters than this are counted by the topic's offsets, not read.
const MANY: i64 = 100_000;
/// Checkpoints cover readings only if they are far younger than readings get.
const FAR_YOUNGER: f64 = 4.0;

/// Looks at all of it.
pub(super) async fn look(look: &Look) -> Vec<Finding> {
    let clock = async {
        if look.broker_clock {
            of(look.within("broker-clock", broker_clock(look)).await)
        } else {
            Finding::skipped(
                "broker-clock",
                "not compared: --broker-clock does, with a topic of its own",
            )
        }
    };
    let log = match look.within("topics", topics(look)).await {
        Ok((log, mut findings)) => {
            findings.push(of(look.within("lag", lag::look(look, &log)).await));
            findings.push(of(look.within("dead-letters", dead_letters(look, &log)).await));
            findings.push(of(look.within("retention", retention(look, &log)).await));
            findings
        }
        Err(finding) => {
            let unknown = |check| Finding::skipped(check, "not known before the topics are in order");
            let mut findings = vec![finding];
            findings.extend(["lag", "dead-letters", "retention"].map(unknown));
            findings
        }
    };
    let mut findings = log;
    findings.push(clock.await);
    findings
}

async fn topics(look: &Look) -> Result<(LogIdentity, Vec<Finding>), Finding> {
    let found = stream::topics::examine(&look.log).await;
    let (log, _) = found.map_err(|error| {
        let remedy = match &error {
            TopicsError::Kafka(_) => {
                "see whether the brokers run and whether KAFKA_BROKERS and the properties are right"
            }
            TopicsError::Unsafe(_) => {
                "run the commands named above, or `fleetlog topics create` where topics are missing"
            }
            TopicsError::Refused { .. } | TopicsError::NotThere | TopicsError::Opening(_) => {
                "see whether this user may describe topics and read the events topic"
            }
        };
        Finding::failed("topics", error.to_string(), remedy)
    })?;
    let told = format!(
        "log {} from its beginning, {} partitions, settings that lose nothing",
        log.log_id, log.partitions
    );
    Ok((log, vec![Finding::ok("topics", told)]))
}

async fn dead_letters(look: &Look, log: &LogIdentity) -> Result<Finding, Finding> {
    let unknown =
        |error: stream::KafkaFault| Finding::failed("dead-letters", error.to_string(), "see `topics`");
    let topics = [Topic::DeadLetters];
    let beginnings = stream::beginnings(&look.log, log, &topics)
        .await
        .map_err(unknown)?;
    let ends = stream::ends(&look.log, log, &topics).await.map_err(unknown)?;
    let total = |positions: &[Position]| positions.iter().map(|position| position.offset).sum::<i64>();
    let kept = total(&ends) - total(&beginnings);
    let set_aside = sql::set_aside(&look.pool).await.map_err(|error| {
        Finding::failed(
            "dead-letters",
            error.to_string(),
            "see `postgres` and `migrations`",
        )
    })?;
    let remedy = "`fleetlog dead-letters list` says why, and what to do";
    if kept > MANY {
        let found = format!(
            "{kept} records on the topic of deliveries that could not be understood, {set_aside} events that make no rows"
        );
        return Ok(Finding::warning("dead-letters", found, remedy));
    }
    let deliveries = dead_letters::count(look.log.clone())
        .await
        .map_err(|failure| Finding::failed("dead-letters", failure.to_string(), "see `topics`"))?;
    let asking_nothing = match deliveries.asking_nothing {
        0 => String::new(),
        n => format!("; {n} deliveries ask for nothing, and expire"),
    };
    Ok(if deliveries.waiting == 0 && set_aside == 0 {
        Finding::ok("dead-letters", format!("none waits{asking_nothing}"))
    } else {
        let n = deliveries.waiting;
        let found = format!(
            "{n} deliveries could not be understood, {set_aside} events make no rows{asking_nothing}"
        );
        Finding::warning("dead-letters", found, remedy)
    })
}

async fn retention(look: &Look, log: &LogIdentity) -> Result<Finding, Finding> {
    let kept = stream::topics::readings_kept_for(&look.log)
        .await
        .map_err(|error| Finding::failed("retention", error.to_string(), "see `topics`"))?;
    let Some(kept) = kept else {
        return Ok(Finding::ok("retention", "readings are kept for ever"));
    };
    let ages: BTreeMap<i32, f64> = sql::checkpoint_ages(&look.pool, log.log_id.as_str())
        .await
        .map_err(|error| Finding::failed("retention", error.to_string(), "see `postgres`"))?;
    let found = format!("readings are kept for {}", output::long(kept));
    let remedy =
        "let a projector run (--checkpoint-interval), or run `fleetlog checkpoint`: see docs/retention.md";
    let oldest = ages.values().copied().fold(0.0, f64::max);
    let n_missing = usize::try_from(log.partitions)
        .unwrap_or(0)
        .saturating_sub(ages.len());
    Ok(if n_missing > 0 {
        let found = format!(
            "{found}, and {n_missing} partitions have no checkpoint: once readings are gone, nothing can be rebuilt"
        );
        Finding::failed("retention", found, remedy)
    } else if oldest * FAR_YOUNGER > kept.as_secs_f64() {
        Finding::warning(
            "retention",
            format!("{found}, and the oldest checkpoint is {oldest:.0} s old"),
            remedy,
        )
    } else {
        Finding::ok(
            "retention",
            format!("{found}, checkpoints are {oldest:.0} s old at most"),
        )
    })
}

async fn broker_clock(look: &Look) -> Result<Finding, Finding> {
    let probed = stream::clock::probe(&look.log, || clock::now().as_micros()).await;
    let probed = probed.map_err(|error| {
        Finding::failed(
            "broker-clock",
            format!("cannot be compared: {error}"),
            "see whether this user may make and remove topic PREFIX.doctor",
        )
    })?;
    let middle = probed.sent_at.midpoint(probed.answered_at);
    Ok(judge_clock(
        "broker-clock",
        "the broker's clock",
        probed.broker_at - middle,
        // The broker tells milliseconds.
        (probed.answered_at - probed.sent_at) / 2 + 1_000,
    ))
}
