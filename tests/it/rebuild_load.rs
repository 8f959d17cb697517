//! A generation that is loaded from the log holds what a projector made of it, however little memory there is and
//! however often the load is killed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use projector::{
    generations,
    rebuild::{Phase, Plan, Progress, RebuildError, load},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use schema::{Body, Event, Micros, RawJson, Topic, arbitrary::World};
use stream::{Appender, Position};
use tests::{Stack, eventually, on_stack};

const TOPICS: [Topic; 2] = [Topic::Events, Topic::Readings];

/// Makes histories, the same ones each time.
struct Histories {
    runner: TestRunner,
    earlier: Vec<Event>,
}

impl Histories {
    fn new(seed: u8) -> Self {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        Self {
            runner: TestRunner::new_with_rng(Config::default(), rng),
            earlier: Vec::new(),
        }
    }

    fn number(&mut self, below: u32) -> u32 {
        (0..below).new_tree(&mut self.runner).expect("a number").current()
    }

    fn event(&mut self, world: &World) -> Event {
        let mut event = world
            .event()
            .new_tree(&mut self.runner)
            .expect("an event")
            .current();
        // What opens a log is the log's own, and nobody appends a checkpoint but who knows all before it.
        if matches!(event.topic(), Topic::Checkpoints) || matches!(event.body, Body::LogOpened(_)) {
            return self.event(world);
        }
        if let Body::HorizonAdvanced(body) = &mut event.body {
            // So long ago that it cuts nothing.
            "logs".clone_into(&mut body.history);
            body.before = "0001-01-01T00:00:00Z".parse().expect("an instant");
        }
        event
    }

    /// Some events: those of a small world that meet each other, some of a wide one, repeats, copies of other receipts,
    /// and days that no partition can have.
    fn some(&mut self, n_events: usize) -> Vec<Event> {
        let (small, wide) = (World::small(), World::wide());
        let mut events = Vec::new();
        while events.len() < n_events {
            let dice = self.number(20);
            let event = match dice {
                0..2 => self.event(&wide),
                2..5 if !self.earlier.is_empty() => self.copy(),
                5 => self.of_an_odd_day(&small),
                6 => self.of_a_new_shape(&small),
                _ => self.event(&small),
            };
            self.earlier.push(event.clone());
            events.push(event);
        }
        events
    }

    /// A repeat of an event; of one that is timed by its receipt, with another receipt, earlier or later.
    fn copy(&mut self) -> Event {
        let number = self.number(u32::try_from(self.earlier.len()).expect("few"));
        let mut event = self.earlier[number as usize].clone();
        let moved = Duration::from_secs(u64::from(self.number(300)));
        let shifted = |at: Micros, back| if back { at.minus(moved) } else { at.plus(moved) };
        let back = self.number(2) == 0;
        event.recorded_at = shifted(event.recorded_at, back);
        if event.receipt_timed {
            event.at = shifted(event.at, back);
        }
        event
    }

    fn of_an_odd_day(&mut self, world: &World) -> Event {
        let day = [
            "2019-12-31T12:00:00Z",
            "2100-01-01T00:00:00Z",
            "2026-02-28T23:59:59.999999Z",
        ];
        let mut event = self.event(world);
        event.at = day[self.number(3) as usize].parse().expect("an instant");
        event
    }

    /// A reading whose payload has another shape than most: more of them than are kept.
    fn of_a_new_shape(&mut self, world: &World) -> Event {
        let mut event = world
            .event_of("reading.received")
            .new_tree(&mut self.runner)
            .expect("an event")
            .current();
        let shape = self.number(60);
        if let Body::ReadingReceived(body) = &mut event.body {
            "/shapes".clone_into(&mut body.path);
            for reading in &mut body.readings {
                reading.data = RawJson::parse(&format!(r#"{{"k{shape}":1}}"#)).ok();
            }
        }
        event
    }
}

/// A log with a projector that has folded all of it so far.
struct Told {
    appender: Appender,
    histories: Histories,
}

impl Told {
    async fn new(stack: &Stack, seed: u8) -> Self {
        Self {
            appender: Appender::connect(&stack.log, Duration::from_secs(10))
                .await
                .expect("the log"),
            histories: Histories::new(seed),
        }
    }

    async fn append(&mut self, n_events: usize) {
        for chunk in self.histories.some(n_events).chunks(500) {
            self.appender.append_all(chunk).await.expect("appended");
        }
    }

    async fn ends(&self, stack: &Stack) -> Vec<Position> {
        stream::ends(&stack.log, self.appender.log(), &TOPICS)
            .await
            .expect("the ends")
    }

    async fn folded(&self, stack: &Stack) {
        let ends = self.ends(stack).await;
        eventually("all is folded", || async {
            for end in &ends {
                let next: Option<i64> = sqlx::query_scalar(
                    "SELECT next_offset FROM projection_meta.offsets
                      WHERE generation = 'gen_1' AND topic = $1 AND partition = $2",
                )
                .bind(end.topic.suffix())
                .bind(end.partition)
                .fetch_optional(&stack.admin)
                .await
                .expect("readable");
                if next != Some(end.offset) {
                    return Err(format!("{end} is at {next:?}"));
                }
            }
            Ok(())
        })
        .await;
    }

    async fn plan(&self, stack: &Stack, memory: usize) -> Plan {
        let identity = self.appender.log().clone();
        let pool = stack.pool_as("projector");
        Plan {
            generation: generations::begin_building(&pool).await.expect("a generation"),
            from: stream::beginnings(&stack.log, &identity, &TOPICS)
                .await
                .expect("the beginnings"),
            to: self.ends(stack).await,
            log: stack.log.clone(),
            identity,
            pool,
            memory,
            workers: 2,
            stop: service::CancellationToken::new(),
        }
    }
}

/// Says in which tables two generations differ, and shows the first rows that only one of them has.
async fn differences(stack: &Stack, one: &str, other: &str) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
          WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
            AND relname <> 'device_anchor'
          ORDER BY 1",
    )
    .bind(one)
    .fetch_all(&stack.admin)
    .await
    .expect("readable");
    assert!(tables.len() >= 17, "{tables:?}");
    let mut differences = String::new();
    for table in tables {
        for (this, that) in [(one, other), (other, one)] {
            let only: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT t::text FROM {this}.{table} t EXCEPT ALL SELECT t::text FROM {that}.{table} t LIMIT 3"
            )))
            .fetch_all(&stack.admin)
            .await
            .expect("readable");
            for row in only {
                writeln!(differences, "only {this}.{table} has {row}").expect("a string grows");
            }
        }
    }
    differences
}

/// Keys, indexes, policies and rights, by table, in words without the generation's name.
async fn definitions(stack: &Stack, generation: &str) -> BTreeMap<String, Vec<String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT tablename::text, replace(indexdef, $1 || '.', '') FROM pg_indexes WHERE schemaname = $1
          UNION ALL
         SELECT relname::text, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class t ON t.oid = conrelid
          WHERE connamespace = $1::regnamespace
          UNION ALL
         SELECT tablename::text, format('%s %s %s %s %s', policyname, roles, cmd, qual, with_check)
           FROM pg_policies WHERE schemaname = $1
          UNION ALL
         SELECT relname::text, format('%s %s %s %s %s', relkind, relrowsecurity, relforcerowsecurity, relacl,
                                relowner::regrole)
           FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p')",
    )
    .bind(generation)
    .fetch_all(&stack.admin)
    .await
    .expect("readable");
    let mut definitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, definition) in rows {
        definitions.entry(table).or_default().push(definition);
    }
    for of_table in definitions.values_mut() {
        of_table.sort();
    }
    definitions
}

#[test]
fn what_is_loaded_is_what_a_projector_made_of_the_same_events() {
    on_stack(|stack| async move {
        let projector = stack.projector().await;
        let mut told = Told::new(&stack, 1).await;
        for (n_events, memory) in [(400, 64 * 1024 * 1024), (1_500, 96 * 1024), (1_500, 1024 * 1024)] {
            told.append(n_events).await;
            told.folded(&stack).await;
            let plan = told.plan(&stack, memory).await;
            let progress = Progress::default();
            let loaded = load(&plan, &progress).await.expect("loaded");
            let n_records: i64 = plan.to.iter().map(|end| end.offset).sum();
            assert_eq!(i64::try_from(loaded.events), Ok(n_records));
            assert!(loaded.rows["readings"] > 0);
            assert_eq!(progress.snapshot().memory, 0);
            assert_eq!(differences(&stack, "gen_1", &plan.generation).await, "");
            assert_eq!(
                definitions(&stack, "gen_1").await,
                definitions(&stack, &plan.generation).await
            );
            let again = load(&plan, &progress).await.expect("nothing is left to do");
            assert_eq!(again, loaded);
        }
        projector.stop().await.expect("it stops");
    });
}

#[test]
fn a_load_that_is_killed_goes_on_where_it_was() {
    on_stack(|stack| async move {
        let projector = stack.projector().await;
        let mut told = Told::new(&stack, 2).await;
        told.append(3_000).await;
        told.folded(&stack).await;
        projector.stop().await.expect("it stops");
        for phase in [Phase::Load, Phase::Index, Phase::Derive] {
            let plan = told.plan(&stack, 512 * 1024).await;
            // Killed as the phase begins, then each time when twice as much of it is done, until all of it is.
            let (mut n_killed, mut enough) = (0, 0);
            loop {
                let progress = Progress::default();
                let load = load(&plan, &progress);
                tokio::pin!(load);
                let done = async {
                    loop {
                        let now = progress.snapshot();
                        if now.phase > phase {
                            return None;
                        }
                        if now.phase == phase && now.done >= enough {
                            return Some(now.done);
                        }
                        tokio::task::yield_now().await;
                    }
                };
                let killed = tokio::select! {
                    biased;
                    done = done => done,
                    loaded = &mut load => {
                        loaded.expect("loaded");
                        break;
                    }
                };
                let Some(done) = killed else {
                    load.await.expect("loaded");
                    break;
                };
                n_killed += 1;
                enough = 2 * done + 1;
            }
            assert!(n_killed > 1, "killed {n_killed} times in phase {}", phase.name());
            assert_eq!(
                differences(&stack, "gen_1", &plan.generation).await,
                "",
                "{}",
                phase.name()
            );
            assert_eq!(
                definitions(&stack, "gen_1").await,
                definitions(&stack, &plan.generation).await
            );
        }
    });
}

#[test]
fn who_is_told_to_stop_stops_at_once() {
    on_stack(|stack| async move {
        let mut told = Told::new(&stack, 3).await;
        told.append(500).await;
        let plan = told.plan(&stack, 1024 * 1024).await;
        plan.stop.cancel();
        let begun = Instant::now();
        let stopped = load(&plan, &Progress::default()).await;
        assert!(matches!(stopped, Err(RebuildError::Stopped)), "{stopped:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}

/// A firmware report that the tables refuse once they are told to.
fn poison(told: &mut Told) -> Event {
    let mut event = World::small()
        .event_of("firmware.reported")
        .new_tree(&mut told.histories.runner)
        .expect("an event")
        .current();
    if let Body::FirmwareReported(body) = &mut event.body {
        body.version = Some("poison".to_owned());
    }
    event
}

async fn refuse_poison(stack: &Stack, generation: &str) {
    let refuse = format!(
        "ALTER TABLE {generation}.firmware_reports ADD CONSTRAINT no_poison CHECK (version <> 'poison')"
    );
    let done = sqlx::query(sqlx::AssertSqlSafe(refuse))
        .execute(&stack.admin)
        .await;
    done.expect("a constraint can be added");
}

/// What is set aside in a generation: where, and why.
async fn aside(stack: &Stack, generation: &str) -> Vec<(String, i32, i64, String)> {
    sqlx::query_as(
        "SELECT topic, partition, record_offset, reason FROM projection_meta.dead_letters
          WHERE generation = $1 ORDER BY 1, 2, 3",
    )
    .bind(generation)
    .fetch_all(&stack.admin)
    .await
    .expect("readable")
}

#[test]
fn what_a_projector_sets_aside_a_load_sets_aside_too() {
    on_stack(|stack| async move {
        refuse_poison(&stack, "gen_1").await;
        let projector = stack.projector().await;
        let mut told = Told::new(&stack, 4).await;
        for _ in 0..3 {
            told.append(200).await;
            tests::produce(&stack.log, Topic::Events, "somebody", "no event of ours").await;
            let refused = poison(&mut told);
            told.appender.append(&refused).await.expect("appended");
        }
        told.append(200).await;
        told.folded(&stack).await;
        let live = aside(&stack, "gen_1").await;
        assert_eq!(live.len(), 6, "{live:?}");
        for is_known in [true, false] {
            if !is_known {
                // Nobody says which it is that Postgres refuses.
                sqlx::query("DELETE FROM projection_meta.dead_letters WHERE generation = 'gen_1' AND sqlstate IS NOT NULL")
                    .execute(&stack.admin)
                    .await
                    .expect("deleted");
            }
            let plan = told.plan(&stack, 1024 * 1024).await;
            refuse_poison(&stack, &plan.generation).await;
            load(&plan, &Progress::default()).await.expect("loaded");
            assert_eq!(aside(&stack, &plan.generation).await, live);
            assert_eq!(differences(&stack, "gen_1", &plan.generation).await, "");
        }
        projector.stop().await.expect("it stops");
    });
}

#[test]
fn a_late_copy_with_an_earlier_receipt_moves_all_that_followed_from_the_first() {
    on_stack(|stack| async move {
        let projector = stack.projector().await;
        let mut told = Told::new(&stack, 5).await;
        told.append(600).await;
        // Copies of every fact that has no time of its own, each earlier than all before.
        let copies: Vec<Event> = told
            .histories
            .earlier
            .iter()
            .filter(|event| event.receipt_timed)
            .cloned()
            .collect();
        assert!(copies.len() > 50);
        for hours in [1, 30] {
            let mut copies = copies.clone();
            for copy in &mut copies {
                copy.at = copy.at.minus(Duration::from_hours(hours));
                copy.recorded_at = copy.at;
            }
            told.appender.append_all(&copies).await.expect("appended");
        }
        told.folded(&stack).await;
        for memory in [64 * 1024 * 1024, 64 * 1024] {
            let plan = told.plan(&stack, memory).await;
            load(&plan, &Progress::default()).await.expect("loaded");
            assert_eq!(differences(&stack, "gen_1", &plan.generation).await, "");
        }
        projector.stop().await.expect("it stops");
    });
}
