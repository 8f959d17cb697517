//! Surveys find what the views say at that moment, whatever was told.

use std::time::Duration;

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use schema::{Body, Event, Topic, arbitrary::World};
use stream::Appender;
use tests::{Stack, eventually, on_stack};

/// Rows of either query that the other lacks.
async fn differing(stack: &Stack, one: &str, other: &str) -> Vec<serde_json::Value> {
    stack
        .rows(&format!(
            "({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one})"
        ))
        .await
}

/// Events of a small world that meet each other.
fn some_events(seed: u8, n_events: usize) -> Vec<Event> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let world = World::small();
    let mut events = Vec::new();
    while events.len() < n_events {
        let event = world.event().new_tree(&mut runner).expect("an event").current();
        if !matches!(event.topic(), Topic::Checkpoints)
            && !matches!(event.body, Body::LogOpened(_) | Body::HorizonAdvanced(_))
        {
            events.push(event);
        }
    }
    events
}

#[test]
fn a_survey_finds_what_the_views_say() {
    on_stack(|stack| async move {
        let appender = Appender::connect(&stack.log, Duration::from_secs(10))
            .await
            .expect("the log");
        for chunk in some_events(7, 1_500).chunks(500) {
            appender.append_all(chunk).await.expect("appended");
        }
        let projector = stack.projector().await;
        for end in stream::ends(&stack.log, appender.log(), &[Topic::Events, Topic::Readings])
            .await
            .expect("the ends")
        {
            eventually("all is folded", || async {
                let next: Option<i64> = sqlx::query_scalar(
                    "SELECT next_offset FROM projection_meta.offsets WHERE topic = $1 AND partition = $2",
                )
                .bind(end.topic.suffix())
                .bind(end.partition)
                .fetch_optional(&stack.admin)
                .await
                .expect("readable");
                if next == Some(end.offset) {
                    Ok(())
                } else {
                    Err(format!("{end} is at {next:?}"))
                }
            })
            .await;
        }
        projector.stop().await.expect("stopped");

        let pool = stack.pool_as("projector");
        sqlx::query("DELETE FROM projection_meta.surveys; ")
            .execute(&stack.admin)
            .await
            .expect("a note is removed");
        // Somebody who is none any more.
        sqlx::query(
            "INSERT INTO projection_meta.standing VALUES (gen_random_uuid(), gen_random_uuid(), 'gone', 'online')",
        )
        .execute(&stack.admin)
        .await
        .expect("a row");
        projector::survey::once(&pool, 0).await.expect("a survey");

        let standing = "SELECT organization, device, serial, connectivity FROM fleet.standing";
        let live = "SELECT organization, device, serial, connectivity FROM fleet.connectivity";
        assert!(!stack.rows(standing).await.is_empty(), "there are devices");
        let kinds = stack
            .rows("SELECT DISTINCT connectivity FROM fleet.standing")
            .await;
        assert!(kinds.len() > 1, "of several kinds: {kinds:?}");
        assert_eq!(
            differing(&stack, standing, live).await,
            Vec::<serde_json::Value>::new()
        );

        // The summary is that of the survey; without it, it is looked for: both say the same.
        let columns =
            "organization, name, devices, online, late, offline, unknown, never_seen, provider_devices,
                       unidentified, identity_conflicts, newest_event_at, conflicts";
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "CREATE TABLE surveyed AS SELECT {columns}, as_of FROM fleet.summary"
        )))
        .execute(&stack.admin)
        .await
        .expect("what the survey found");
        sqlx::query("GRANT SELECT ON surveyed TO fleetlog_operator")
            .execute(&stack.admin)
            .await
            .expect("granted");
        let ages = stack.rows("SELECT now() > as_of AS past FROM surveyed").await;
        assert!(ages.iter().all(|age| age["past"] == true), "{ages:?}");
        sqlx::query("UPDATE projection_meta.surveys SET good_until = now()")
            .execute(&stack.admin)
            .await
            .expect("a note");
        let difference = differing(
            &stack,
            &format!("SELECT {columns} FROM surveyed"),
            &format!("SELECT {columns} FROM fleet.summary"),
        )
        .await;
        assert_eq!(difference, Vec::<serde_json::Value>::new());

        // A second one at once is none, and what has not changed is not written.
        assert_eq!(projector::survey::once(&pool, 0).await.expect("a look"), None);
        sqlx::query("UPDATE projection_meta.surveys SET as_of = as_of - interval '1 minute'")
            .execute(&stack.admin)
            .await
            .expect("a note");
        assert_eq!(
            projector::survey::once(&pool, 0).await.expect("a survey"),
            Some(0)
        );
    });
}

#[test]
fn a_small_fleet_is_summed_up_as_it_is_now() {
    on_stack(|stack| async move {
        let projector = stack.projector().await;
        eventually("a survey", || async {
            let rows = stack.rows("SELECT as_of FROM projection_meta.surveys").await;
            rows.first().map(|_| ()).ok_or_else(|| "none yet".to_owned())
        })
        .await;
        let organization = stack.organization().await;
        let rows = stack
            .rows(&format!(
                "SELECT now() = as_of AS live FROM fleet.summary WHERE organization = '{organization}'"
            ))
            .await;
        assert_eq!(rows, [serde_json::json!({"live": true})]);
        projector.stop().await.expect("stopped");
    });
}
