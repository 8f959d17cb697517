//! What the roles take of memory at up to ten times the load that they can take, while Kafka is slow.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tests::{Delivery, Passage, Proxy, Stack, eventually_within};

use crate::{
    answers::ask,
    door::{address, body, known},
    load,
};

/// Times the connections that are said.
const FACTORS: [usize; 4] = [1, 2, 5, 10];
/// How long the proxy holds each piece back on its way to the broker and from there.
const SLOW: Duration = Duration::from_millis(20);
/// Longest body of the door, less what stands around the text in it.
const LONGEST: usize = 262_144 - 64;
/// Devices that the deliveries speak of: long bodies are many bytes.
const DEVICES: usize = 32;
/// How long a projector may take to fold what was accepted.
const CATCHING_UP: Duration = Duration::from_mins(3);

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) async fn measure(stack: &Stack, connections: usize, time: Duration) {
    let organization = stack.organization().await;
    println!("\nmemory of ingest while Kafka is slow ({SLOW:?} a piece), {time:?} each");
    println!(
        "  body bytes  connections  in flight MiB   accepted/s    refused/s   at rest MiB   at most MiB"
    );
    for long in [512, LONGEST] {
        for factor in FACTORS {
            let broker = stack.log.brokers.parse().expect("one broker, by its address");
            let kafka = Proxy::to_kafka(broker).expect("a port is free");
            let brokers = kafka.address.to_string();
            // A door of its own each time: what it has taken at most is counted from its start.
            let door = stack.role_with(&["ingest"], &[("KAFKA_BROKERS", &brokers)]).await;
            let door = door.ready().await;
            let integration = stack.integration(&door, &organization, None).await;
            let text = |n: usize| {
                if long == 512 {
                    body(n).to_string()
                } else {
                    json!({"n": n, "note": "x".repeat(long)}).to_string()
                }
            };
            let delivery =
                |n: usize| Delivery::golioth(&integration, &format!("dev-{n}"), "/sensor", text(n));
            known(&Delivery::golioth(&integration, "dev-0", "/sensor", "{}")).await;
            let requests: Arc<Vec<Vec<u8>>> =
                Arc::new((0..DEVICES).map(|n| load::request(&delivery(n))).collect());
            let rest = door.resident_kilobytes();
            kafka.set(Passage::Slow(SLOW));
            let n = connections * factor;
            let answers = ask(address(&door), &requests, n, Some(time));
            let accepted = answers.per_second(202);
            let refused = answers.per_second(503);
            let in_flight = (n * requests[0].len()) >> 20;
            println!(
                "  {long:>10}  {n:>11}  {in_flight:>13}  {accepted:>11.0}  {refused:>11.0}  {:>12}  {:>12}",
                rest >> 10,
                door.most_resident_kilobytes() >> 10
            );
            kafka.restore();
        }
    }
    let projector = stack.role(&["projector"]).await.ready().await;
    eventually_within(CATCHING_UP, "the projector has folded all of it", || async {
        let lag = projector.metric("fleetlog_projector_lag_events").await;
        let is_none = !lag.is_empty() && lag.iter().all(|line| line.ends_with(" 0"));
        if is_none { Ok(()) } else { Err(format!("{lag:?}")) }
    })
    .await;
    let most = projector.most_resident_kilobytes() >> 10;
    println!("  projector, catching up with all that was accepted: at most {most} MiB");
}
