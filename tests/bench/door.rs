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
use tests::{Delivery, Role, Stack, eventually};
use tokio::task::JoinSet;

use crate::{
    LOAD, Line, ROUNDS,
    bare::Bare,
    cpu::{Cost, Measured, Used},
    load, said,
};

/// Devices that the deliveries speak of.
const DEVICES: usize = 2_000;

/// In so many ways, from the most usual on.
pub(crate) async fn measure(stack: &Stack, connections: usize, ways: usize) -> Vec<Line> {
    let door = stack.ingest().await;
    let doors = said::in_every_way(stack, &door).await;
    let doors = &doors[..ways.min(doors.len())];

    let bare = [Bare::start(None), Bare::start(Some(producer(stack)))].map(|bare| {
        let of_device = |n: usize| bare.delivery(body(n).to_string().into(), &format!("dev-{n}"));
        let requests = prepared(of_device);
        (bare, requests)
    });

    let names = [
        "bare actix and HMAC",
        "bare actix, HMAC and an acknowledged produce",
        "acknowledged produce alone, no HTTP",
    ];
    let names = names.into_iter().chain(doors.iter().map(|(name, _)| *name));
    let mut lines: Vec<_> = names.map(Line::new).collect();
    for _ in 0..ROUNDS {
        for (line, (bare, requests)) in lines.iter_mut().zip(&bare) {
            load_once(line, bare.address, 0, requests, connections);
        }
        lines[2].per_second.push(bare_produce(stack, connections).await);
        for (line, (_, requests)) in lines[3..].iter_mut().zip(doors) {
            load_once(line, address(&door), door.id(), requests, connections);
        }
    }
    lines
}

/// Loads a door once. `process` is the door's; 0 if it is this one, as of a bare door: what that takes is the load's.
fn load_once(
    line: &mut Line,
    address: SocketAddr,
    process: u32,
    requests: &Arc<Vec<Vec<u8>>>,
    connections: usize,
) {
    let before = Used::so_far(process);
    let per_second = load::run(address, requests, connections, LOAD);
    let used = Used::so_far(process) - before;
    let cost = Cost::of(used, per_second * LOAD.as_secs_f64());
    line.note(Measured { per_second, cost });
}

/// One request of each device.
pub(crate) fn prepared(of_device: impl Fn(usize) -> Delivery) -> Arc<Vec<Vec<u8>>> {
    Arc::new((0..DEVICES).map(|n| load::request(&of_device(n))).collect())
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
