//! The same reading in every dialect, and under every scheme.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{Delivery, Integration, Role, Stack};

use crate::door::{body, known, prepared};

/// Makes the delivery of a device by its number.
type Said<'a> = Box<dyn Fn(usize) -> Delivery + 'a>;

/// What each line is called, and its requests; the door takes all of them.
pub(crate) async fn in_every_way(stack: &Stack, door: &Role) -> Vec<(&'static str, Arc<Vec<Vec<u8>>>)> {
    let organization = stack.organization().await;
    let secret = stack.integration(door, &organization, None).await;
    let signed = async |scheme: &str| {
        let scheme = ["--scheme", scheme];
        stack.integration_with(door, &organization, &scheme).await
    };
    let hmac = signed("hmac-sha256").await;
    let timestamped = signed("timestamped-hmac").await;
    let standard = signed("standard-webhooks").await;
    let ways: [(&'static str, Said<'_>); 8] = [
        (
            "Golioth Pipelines, shared secret",
            Box::new(|n| Delivery::golioth(&secret, &device(n), "/sensor", body(n).to_string())),
        ),
        (
            "inject-metadata, shared secret",
            Box::new(|n| Delivery::platform(&secret, &wrapped(n))),
        ),
        (
            "Output Streams, shared secret",
            Box::new(|n| output_stream(&secret, n)),
        ),
        (
            "structured CloudEvent, shared secret",
            Box::new(|n| Delivery::platform(&secret, &structured(n))),
        ),
        (
            "platform event, shared secret",
            Box::new(|n| Delivery::platform(&secret, &platform(n))),
        ),
        (
            "inject-metadata, hmac-sha256",
            Box::new(|n| Delivery::hmac(&hmac, wrapped(n).to_string())),
        ),
        (
            "inject-metadata, timestamped-hmac",
            Box::new(|n| timestamped_hmac(&timestamped, wrapped(n).to_string())),
        ),
        (
            "inject-metadata, standard-webhooks",
            Box::new(|n| standard_webhooks(&standard, n, wrapped(n).to_string())),
        ),
    ];
    let mut requests = Vec::new();
    for (name, said) in ways {
        known(&said(0)).await;
        requests.push((name, prepared(said)));
    }
    requests
}

fn device(n: usize) -> String {
    format!("dev-{n}")
}

fn wrapped(n: usize) -> Value {
    json!({"data": body(n), "device_id": device(n), "project_id": "p", "timestamp": time(n)})
}

fn time(n: usize) -> Value {
    json!({"seconds": tests::now_seconds(), "nanos": n})
}

fn output_stream(to: &Integration, n: usize) -> Delivery {
    Delivery::platform(to, &wrapped(n))
        .header("ce-id", &n.to_string())
        .header("ce-source", "golioth/app/gateway/coap")
        .header("ce-specversion", "1.0")
        .header("ce-subject", "stream")
        .header("ce-type", "DEVICE_STREAM_TYPE")
}

fn structured(n: usize) -> Value {
    json!({"specversion": "1.0", "id": n.to_string(), "source": device(n), "subject": "p",
        "type": "io.golioth.data.v1/.s/sensor", "datacontenttype": "application/json", "data": body(n)})
}

fn platform(n: usize) -> Value {
    json!({"type": "device.updated", "device": {"id": device(n), "name": "x".repeat(200), "note": "x".repeat(200)}})
}

fn timestamped_hmac(to: &Integration, body: String) -> Delivery {
    let now = tests::now_seconds();
    let signature = tests::hmac_hex(to.secret.as_bytes(), format!("{now}.{body}").as_bytes());
    Delivery::bare(to, body)
        .header("x-fleetlog-signature", &format!("t={now},v1={signature}"))
        .header("content-type", "application/json")
}

fn standard_webhooks(to: &Integration, n: usize, body: String) -> Delivery {
    let now = tests::now_seconds();
    let key = to.secret.trim_start_matches("whsec_");
    let key = BASE64_STANDARD.decode(key).expect("the secret is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("msg_{n}.{now}.{body}").as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    Delivery::bare(to, body)
        .header("webhook-id", &format!("msg_{n}"))
        .header("webhook-timestamp", &now.to_string())
        .header("webhook-signature", &format!("v1,{signature}"))
        .header("content-type", "application/json")
}
