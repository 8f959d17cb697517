//! The door beside a bare acknowledged produce of the same bytes.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use serde_json::json;
use tests::{Delivery, Integration, Role, Stack, eventually};
use tokio::task::JoinSet;

use crate::{LOAD, Line, ROUNDS, bare::Bare, load};

/// Devices that the deliveries speak of.
const DEVICES: usize = 2_000;

pub(crate) async fn measure(stack: &Stack, connections: usize) -> Vec<Line> {
    let door = stack.ingest().await;
    let organization = stack.organization().await;
    let plain = stack.integration(&door, &organization, None).await;
    let signed = stack
        .integration_with(&door, &organization, &["--scheme", "hmac-sha256"])
        .await;
    let golioth = |n: usize| Delivery::golioth(&plain, &format!("dev-{n}"), "/sensor", body(n).to_string());
    let wrapped = |n: usize| inject_metadata(&signed, n);
    known(&golioth(0)).await;
    known(&wrapped(0)).await;
    let prepared = |one: &dyn Fn(usize) -> Delivery| -> Arc<Vec<Vec<u8>>> {
        Arc::new((0..DEVICES).map(|n| load::request(&one(n))).collect())
    };
    let doors = [
        ("golioth pipelines, shared secret", prepared(&golioth)),
        ("inject-metadata, hmac-sha256", prepared(&wrapped)),
    ];

    let bare = [Bare::start(None), Bare::start(Some(producer(stack)))].map(|bare| {
        let of_device = |n: usize| bare.delivery(body(n).to_string().into(), &format!("dev-{n}"));
        let requests = prepared(&of_device);
        (bare, requests)
    });

    let names = [
        "bare actix and HMAC",
        "bare actix, HMAC and an acknowledged produce",
        "acknowledged produce alone, no HTTP",
    ];
    let names = names.into_iter().chain(doors.iter().map(|(name, _)| *name));
    let mut lines: Vec<_> = names
        .map(|name| Line {
            name: name.to_owned(),
            per_second: Vec::new(),
        })
        .collect();
    for _ in 0..ROUNDS {
        for (line, (bare, requests)) in lines.iter_mut().zip(&bare) {
            line.per_second
                .push(load::run(bare.address, requests, connections, LOAD));
        }
        lines[2].per_second.push(bare_produce(stack, connections).await);
        for (line, (_, requests)) in lines[3..].iter_mut().zip(&doors) {
            line.per_second
                .push(load::run(address(&door), requests, connections, LOAD));
        }
    }
    lines
}

pub(crate) fn address(door: &Role) -> SocketAddr {
    door.url
        .trim_start_matches("http://")
        .parse()
        .expect("an address")
}

/// About 512 bytes.
pub(crate) fn body(n: usize) -> serde_json::Value {
    json!({"temp": 21.5, "battery": 87, "signal": -71, "n": n, "note": "x".repeat(440)})
}

fn inject_metadata(to: &Integration, n: usize) -> Delivery {
    let wrapped = json!({"data": body(n), "device_id": format!("dev-{n}"), "project_id": "p",
        "timestamp": {"seconds": tests::now_seconds(), "nanos": n}});
    Delivery::hmac(to, wrapped.to_string())
}

pub(crate) async fn known(delivery: &Delivery) {
    eventually("the door knows the integration", || async {
        let answer = delivery.post().await;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(answer.json.to_string())
        }
    })
    .await;
}

/// A producer as simple as it can be, and where it produces to.
fn producer(stack: &Stack) -> (FutureProducer, String) {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", &stack.log.brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        .create()
        .expect("a producer");
    // The dead-letter topic: nobody folds it.
    (producer, schema::Topic::DeadLetters.name(&stack.log.prefix))
}

/// Produces bodies of the same size, so many at a time, each awaited.
async fn bare_produce(stack: &Stack, at_once: usize) -> f64 {
    let (producer, topic) = producer(stack);
    let payload = body(0).to_string();
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for first in 0..at_once {
        let (producer, topic, payload) = (producer.clone(), topic.clone(), payload.clone());
        tasks.spawn(async move {
            let mut n = 0_u32;
            while begun.elapsed() < LOAD {
                let key = format!("dev-{}", (first * 97 + n as usize) % DEVICES);
                let record = FutureRecord::to(&topic).key(&key).payload(&payload);
                producer.send(record, Duration::ZERO).await.expect("acknowledged");
                n += 1;
            }
            n
        });
    }
    let total: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(total) / begun.elapsed().as_secs_f64()
}
