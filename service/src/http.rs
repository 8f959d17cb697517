//! The routes that every role serves: `/health/live`, `/health/ready`, `/metrics`.

use std::{future::Future, io, net::TcpListener};

use actix_web::{
    App, HttpResponse, HttpServer,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web::{self, ServiceConfig},
};

use crate::{Health, Metrics};

/// What Prometheus calls its text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long open requests may take at shutdown, in seconds. These routes answer from memory.
const SHUTDOWN_SECONDS: u64 = 1;

/// Mounts the routes in a server that also serves others.
///
/// - `GET /health/live`: 200 as long as the process answers.
/// - `GET /health/ready`: 200 if every check passes, else 503. Body:
///   `{"status": "ready" | "not ready", "checks": {name: {"ok", "detail"}}}`; a check that passes with a
///   reservation also has `"degraded": true`.
/// - `GET /metrics`: Prometheus' text format.
pub fn configure(cfg: &mut ServiceConfig, health: &Health, metrics: &Metrics) {
    let ready = health.clone();
    let measured = health.clone();
    let metrics = metrics.clone();
    cfg.route("/health/live", web::get().to(live))
        .route(
            "/health/ready",
            web::get().to(move || std::future::ready(readiness(&ready))),
        )
        .route(
            "/metrics",
            web::get().to(move || std::future::ready(exposition(&measured, &metrics))),
        );
}

/// Serves these routes alone until `shutdown` resolves, for roles that serve nothing else.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = HttpServer::new(move || App::new().configure(|cfg| configure(cfg, &health, &metrics)))
        .workers(1)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .shutdown_signal(shutdown)
        .listen(listener)?
        .run();
    server.await
}

async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(serde_json::json!({ "status": "live" }))
}

fn readiness(health: &Health) -> HttpResponse {
    let readiness = health.readiness();
    let mut answer = if readiness.ready() {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    answer.insert_header((CACHE_CONTROL, "no-store")).json(readiness)
}

fn exposition(health: &Health, metrics: &Metrics) -> HttpResponse {
    health.measure();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, METRICS_TYPE))
        .body(metrics.render())
}

#[cfg(test)]
mod tests {
    use actix_web::{body, http::StatusCode, test};
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::{Check, Supervisor, supervisor, telemetry};

    async fn ask(health: &Health, path: &str) -> (StatusCode, String) {
        let metrics = telemetry::init("test", None).unwrap();
        let app = test::init_service(App::new().configure(|cfg| configure(cfg, health, &metrics))).await;
        let answer = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        let status = answer.status();
        let body = body::to_bytes(answer.into_body()).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_role_that_is_not_ready_is_alive_and_says_what_it_waits_for() {
        let health = Health::expecting(["kafka"]);
        health.set("registry", Check::degraded("Postgres is down"));

        let (status, body) = ask(&health, "/health/ready").await;
        let expected = json!({
            "status": "not ready",
            "checks": {
                "kafka": { "ok": false, "detail": "starting" },
                "registry": { "ok": true, "degraded": true, "detail": "Postgres is down" },
            },
        });
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
        assert_eq!(ask(&health, "/health/live").await.0, StatusCode::OK);

        health.set("kafka", Check::passing("3 brokers"));
        assert_eq!(ask(&health, "/health/ready").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn checks_are_metrics_too() {
        let health = Health::default();
        health.set("door", Check::degraded("half open"));
        let (status, body) = ask(&health, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            body.contains(r#"fleetlog_health_check_ok{check="door"} 1"#),
            "{body}"
        );
        assert!(
            body.contains(r#"fleetlog_health_check_degraded{check="door"} 1"#),
            "{body}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_server_answers_under_supervision_and_stops_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = telemetry::init("test", None).unwrap();

        let mut tasks = Supervisor::new(supervisor::DEFAULT_LIMIT);
        tasks.start("health", move |stop| {
            serve(listener, Health::default(), metrics, stop.cancelled_owned())
        });
        let asked = async {
            let mut connection = TcpStream::connect(address).await.unwrap();
            let request = b"GET /health/ready HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
            connection.write_all(request).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        assert_eq!(tasks.run_until(asked).await, Ok(()));
    }
}
