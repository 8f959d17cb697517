//! The server, and what is seen of it.

use std::{future::Future, io, net::TcpListener, pin::pin, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::{Service as _, ServiceRequest},
    web,
};
use control::Registry;
use service::{Check, Health, Metrics};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Config,
    clock::now,
    connection::Connection,
    door::Door,
    drain::age,
    log::Log,
    metrics, routes,
    spool::{Level, Spool},
};

/// At least this long what is spooled is moved to the log when the door is told to stop.
const LEAST_DRAIN: Duration = Duration::from_secs(1);

/// What stands behind the door.
pub struct Behind {
    /// Who may send.
    pub registry: Registry,
    /// Where events go.
    pub log: Log,
    /// Where they wait while the log is away, if they may.
    pub spool: Option<Spool>,
}

/// Receives deliveries until `shutdown` resolves, then answers what is open, moves what is spooled to the log as far as
/// time allows, and returns.
///
/// Serves the health and metrics routes of every role too; readiness shows the log, the spool and the registry. Install
/// the metrics recorder first.
pub async fn run(
    listener: TcpListener,
    config: Config,
    behind: Behind,
    health: Health,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    metrics::describe();
    watch(&health, &behind);

    let address = listener.local_addr()?;
    tracing::info!(%address, "taking deliveries at {address}");
    let workers = config.workers.get();
    let (keep_alive, patience) = (config.keep_alive, config.shutdown_timeout);
    let connections_per_worker = (config.max_connections / workers).max(1);
    let door = web::Data::new(Door::new(config, behind));
    let shared = door.clone();
    let app = move || {
        App::new()
            .app_data(shared.clone())
            .configure(routes::configure)
            .configure(|cfg| service::http::configure(cfg, &health, &metrics))
            .default_service(web::to(routes::nothing_here))
            .wrap_fn(|request: ServiceRequest, service| {
                if let Some(connection) = request.conn_data::<Connection>() {
                    connection.asks();
                }
                service.call(request)
            })
    };
    let told = Arc::new(Notify::new());
    let heard = Arc::clone(&told);
    let stop = async move {
        shutdown.await;
        heard.notify_one();
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .max_connections(connections_per_worker)
        .keep_alive(keep_alive)
        .tcp_nodelay(true)
        .on_connect(|_, kept_with_it| {
            kept_with_it.insert(Connection::begin());
        })
        .shutdown_timeout(patience.as_secs())
        .shutdown_signal(stop)
        .listen(listener)?
        .run();
    let Some(spool) = door.spool.clone() else {
        return server.await;
    };
    let stopped = async {
        let mut server = pin!(server);
        tokio::select! {
            // It ended by itself.
            ended = &mut server => return (ended, Instant::now()),
            () = told.notified() => {}
        }
        let at = Instant::now();
        (server.await, at)
    };
    let (ended, stopped_at) = tokio::select! {
        stopped = stopped => stopped,
        () = door.drain(&spool) => unreachable!("it is drained for ever"),
    };
    let left = patience.saturating_sub(stopped_at.elapsed()).max(LEAST_DRAIN);
    door.drain_at_the_end(&spool, left).await;
    spool.close().await;
    ended
}

fn watch(health: &Health, behind: &Behind) {
    let Behind { registry, log, spool } = behind;
    let (asked, instead) = (log.clone(), spool.clone());
    health.ask("kafka", move || check_log(&asked, instead.as_ref()));
    if let Some(spool) = spool.clone() {
        health.ask("spool", move || check_spool(&spool));
    }
    let registry = registry.clone();
    health.ask("registry", move || check_registry(&registry));
}

/// Without the log a door is ready as long as it can spool.
fn check_log(log: &Log, spool: Option<&Spool>) -> Check {
    match (log.health(), spool.filter(|spool| takes_more(spool))) {
        (Ok(detail), _) => Check::passing(detail),
        (Err(detail), Some(_)) => Check::degraded(format!("deliveries are spooled: {detail}")),
        (Err(detail), None) => Check::failing(detail),
    }
}

fn takes_more(spool: &Spool) -> bool {
    let level = spool.level();
    level.closed.is_none() && spool.log().is_some() && !level.is_full && level.n_bytes < spool.max_bytes()
}

fn check_spool(spool: &Spool) -> Check {
    let Level {
        n_records,
        n_bytes,
        oldest,
        n_refused,
        n_broken_files,
        is_full,
        closed,
    } = spool.level();
    let most = spool.max_bytes();
    if let Some(reason) = closed {
        return Check::degraded(format!(
            "cannot be written to, {n_records} records wait: {reason}"
        ));
    }
    let age = oldest
        .map_or(Duration::ZERO, |oldest| age(oldest, now()))
        .as_secs();
    let mut said = vec![match n_records {
        0 => "empty".to_owned(),
        n => format!("{n} records wait for the log, the oldest for {age} s"),
    }];
    let full = if is_full { ", full" } else { "" };
    said.push(format!("{n_bytes} of {most} bytes{full}"));
    if n_refused > 0 {
        said.push(format!("{n_refused} records are refused by the log"));
    }
    if n_broken_files > 0 {
        said.push(format!("{n_broken_files} files cannot be read"));
    }
    let detail = said.join("; ");
    if n_records > 0 || n_refused > 0 || n_broken_files > 0 {
        Check::degraded(detail)
    } else {
        Check::passing(detail)
    }
}

fn check_registry(registry: &Registry) -> Check {
    let status = registry.status();
    if !status.ready() {
        Check::failing(status.to_string())
    } else if status.degraded() {
        Check::degraded(format!("serving what was last known: {status}"))
    } else {
        Check::passing(status.to_string())
    }
}
