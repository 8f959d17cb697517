//! The server.

use std::{future::Future, io, net::TcpListener};

use actix_web::{App, HttpServer, web};
use control::Registry;
use service::{Check, Health, Metrics};
use stream::Appender;

use crate::{Config, door::Door, metrics, routes};

/// Receives deliveries until `shutdown` resolves, then answers what is open and returns.
///
/// Serves the health and metrics routes of every role too; readiness shows the log and the registry. Install the
/// metrics recorder first.
pub async fn run(
    listener: TcpListener,
    config: Config,
    registry: Registry,
    appender: Appender,
    health: Health,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    metrics::describe();
    watch_log(&health, appender.clone());
    watch_registry(&health, registry.clone());

    let address = listener.local_addr()?;
    tracing::info!(%address, "taking deliveries at {address}");
    let workers = config.workers.get();
    let shutdown_seconds = config.shutdown_timeout.as_secs();
    let keep_alive = config.keep_alive;
    let connections_per_worker = (config.max_connections / workers).max(1);
    let door = web::Data::new(Door::new(config, registry, appender));
    let app = move || {
        App::new()
            .app_data(door.clone())
            .configure(routes::configure)
            .configure(|cfg| service::http::configure(cfg, &health, &metrics))
            .default_service(web::to(routes::nothing_here))
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .max_connections(connections_per_worker)
        .keep_alive(keep_alive)
        .tcp_nodelay(true)
        .shutdown_timeout(shutdown_seconds)
        .shutdown_signal(shutdown)
        .listen(listener)?
        .run();
    server.await
}

fn watch_log(health: &Health, appender: Appender) {
    health.ask("kafka", move || match appender.health() {
        Ok(detail) => Check::passing(detail),
        Err(detail) => Check::failing(detail),
    });
}

fn watch_registry(health: &Health, registry: Registry) {
    health.ask("registry", move || {
        let status = registry.status();
        if !status.ready() {
            Check::failing(status.to_string())
        } else if status.degraded() {
            Check::degraded(format!("serving what was last known: {status}"))
        } else {
            Check::passing(status.to_string())
        }
    });
}
