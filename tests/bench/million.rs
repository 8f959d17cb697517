//! What readers ask of a large fleet, and how long they wait.
//!
//! The fleet is written straight into the tables: what is measured is reading, and a million devices told of one by one
//! would take hours. Each question is asked for other devices each time, as a service does that keeps its connections:
//! statements are prepared once.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Row as _};
use tests::{Stack, eventually};

/// How often each question is asked.
const TIMES: u32 = 300;
/// Asked first, so that plans are made and what everybody needs is in memory.
const WARM_UP: u32 = 60;

/// What is asked, with a number that is another each time, and how long the slowest but one in twenty may take.
struct Question {
    name: &'static str,
    goal: Duration,
    times: u32,
    sql: &'static str,
}

const QUICK: Duration = Duration::from_millis(20);

const QUESTIONS: [Question; 9] = [
    Question {
        name: "fleet.devices, one by id, all columns",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT to_jsonb(d) FROM fleet.devices d WHERE d.id = md5('d' || $1)::uuid",
    },
    Question {
        name: "fleet.devices, one by serial number, all columns",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT to_jsonb(d) FROM fleet.devices d
               WHERE d.organization = md5('org0')::uuid AND d.serial = 'SN-' || lpad(($1 * 8 * 7919 % 1000003)::text, 7, '0')",
    },
    Question {
        name: "fleet.devices, 100 by serial number, whether online",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT d.id, d.serial, d.name, d.connectivity, d.last_report_at FROM fleet.devices d
               WHERE d.organization = md5('org0')::uuid AND d.serial > 'SN-' || lpad($1::text, 7, '0')
               ORDER BY d.serial LIMIT 100",
    },
    Question {
        name: "fleet.devices, 100 that are online, found live",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT d.id, d.serial, d.name, d.connectivity, d.last_report_at FROM fleet.devices d
               WHERE d.organization = md5('org0')::uuid AND d.connectivity = 'online'
                 AND d.serial > 'SN-' || lpad($1::text, 7, '0')
               ORDER BY d.serial LIMIT 100",
    },
    Question {
        name: "fleet.devices, 100 that stand offline",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT d.id, d.serial, d.name, d.connectivity, d.last_report_at FROM fleet.devices d
               WHERE d.id = ANY (ARRAY(
                     SELECT s.device FROM fleet.standing s
                      WHERE s.organization = md5('org0')::uuid AND s.connectivity = 'offline'
                        AND s.serial > 'SN-' || lpad($1::text, 7, '0')
                      ORDER BY s.serial LIMIT 100))
               ORDER BY d.serial",
    },
    Question {
        name: "fleet.devices, those that stand unknown (none)",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT d.id, d.serial, d.name, d.connectivity, d.last_report_at FROM fleet.devices d
               WHERE d.id = ANY (ARRAY(
                     SELECT s.device FROM fleet.standing s
                      WHERE s.organization = md5('org0')::uuid AND s.connectivity = 'unknown'
                        AND s.serial > 'SN-' || lpad($1::text, 7, '0')
                      ORDER BY s.serial LIMIT 100))
               ORDER BY d.serial",
    },
    Question {
        name: "fleet.devices, 100 that stand offline, all columns",
        goal: QUICK,
        times: TIMES,
        sql: "SELECT to_jsonb(d) FROM fleet.devices d
               WHERE d.id = ANY (ARRAY(
                     SELECT s.device FROM fleet.standing s
                      WHERE s.organization = md5('org0')::uuid AND s.connectivity = 'offline'
                        AND s.serial > 'SN-' || lpad($1::text, 7, '0')
                      ORDER BY s.serial LIMIT 100))
               ORDER BY d.serial",
    },
    Question {
        name: "fleet.summary",
        goal: Duration::from_millis(200),
        times: TIMES,
        sql: "SELECT to_jsonb(s) FROM fleet.summary s WHERE $1 > 0",
    },
    Question {
        name: "fleet.summary without a survey",
        goal: Duration::MAX,
        times: 2,
        sql: "SELECT to_jsonb(s) FROM fleet.summary s WHERE $1 > 0",
    },
];

/// The least p50, p95 and most rows of one question in one role.
struct Asked {
    half: Duration,
    most: Duration,
    n_rows: usize,
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) async fn measure(stack: &Stack, devices: u32) {
    let begun = Instant::now();
    fill(stack, devices).await;
    println!(
        "\na fleet of {devices} devices, filled in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let pool = stack.pool_as("projector");
    let mut surveys = Vec::new();
    for _ in 0..2 {
        let (changed, took) = survey(&pool).await;
        surveys.push(format!("{:.1} s ({changed} changed)", took.as_secs_f64()));
    }
    println!("two surveys of it: {}", surveys.join(", "));
    for role in ["operator", "api"] {
        println!("\nasked by fleetlog_{role} {TIMES} times (p50, p95; goal for p95; rows)");
        let mut connection = connect(stack, role).await;
        for question in &QUESTIONS {
            if question.goal == Duration::MAX {
                forget_survey(stack).await;
            } else {
                keep_survey(stack).await;
            }
            let asked = ask(&mut connection, question, devices).await;
            println!(
                "  {:<54} {:>9} {:>9}   {:>8} {:>6}",
                question.name,
                milliseconds(asked.half),
                milliseconds(asked.most),
                if question.goal == Duration::MAX {
                    String::new()
                } else {
                    milliseconds(question.goal)
                },
                asked.n_rows,
            );
        }
    }
}

/// Surveys the fleet as soon as that is due, and says how many devices stand otherwise than before.
async fn survey(pool: &PgPool) -> (u64, Duration) {
    eventually("a survey is due", || async {
        let begun = Instant::now();
        let changed = projector::survey::once(pool, 0).await.expect("a survey");
        changed
            .map(|changed| (changed, begun.elapsed()))
            .ok_or_else(|| "not yet".to_owned())
    })
    .await
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

async fn fill(stack: &Stack, devices: u32) {
    let script = include_str!("million.sql").replace(":n", &devices.to_string());
    let mut connection = stack.admin.acquire().await.expect("a connection").detach();
    // One by one: the last of them runs in no transaction.
    for statement in script.split_inclusive(";\n") {
        connection
            .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
            .await
            .expect("the fleet is written");
    }
    connection.close().await.expect("closed");
}

/// One that reads as a service does: for the operator all organizations, for the API the largest.
async fn connect(stack: &Stack, role: &str) -> PgConnection {
    let mut connection = stack
        .pool_as(role)
        .acquire()
        .await
        .expect("a connection")
        .detach();
    if role == "api" {
        connection
            .execute("SELECT set_config('fleetlog.organization', md5('org0')::uuid::text, false)")
            .await
            .expect("a setting");
    }
    connection
}

/// What a survey found is shown although no projector makes the next.
async fn keep_survey(stack: &Stack) {
    set_good_until(stack, "infinity").await;
}

async fn forget_survey(stack: &Stack) {
    set_good_until(stack, "-infinity").await;
}

async fn set_good_until(stack: &Stack, until: &str) {
    sqlx::query("UPDATE projection_meta.surveys SET good_until = $1::timestamptz")
        .bind(until)
        .execute(&stack.admin)
        .await
        .expect("a note");
}

async fn ask(connection: &mut PgConnection, question: &Question, devices: u32) -> Asked {
    let warm_up = if question.times < TIMES { 0 } else { WARM_UP };
    let mut took = Vec::new();
    let mut n_rows = 0;
    for time in 0..warm_up + question.times {
        // Spread over the fleet, the same each time.
        let number = i64::from(time * 7919 % devices / 8 + 1);
        let begun = Instant::now();
        let rows = sqlx::query(question.sql)
            .bind(number)
            .fetch_all(&mut *connection)
            .await
            .expect("rows");
        if time >= warm_up {
            took.push(begun.elapsed());
            n_rows = n_rows.max(rows.iter().filter(|row| !row.is_empty()).count());
        }
    }
    took.sort_unstable();
    Asked {
        half: took[took.len() / 2],
        most: took[took.len() * 95 / 100],
        n_rows,
    }
}
