//! What the door does not take: proofs that are cut, stretched, doubled or aged, and projects that are another's; and
//! that it tells nobody's secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{Delivery, Integration, eventually, hmac_hex, now_seconds, on_stack, read_raw};

use crate::door::known;

const EVENT: &str = r#"{"type":"device.telemetry","deviceId":"dev-1","telemetry":{"value":1}}"#;
/// The same, packed.
const PACKED: &str =
    "H4sIAAAAAAACA6tWKqksSFWyUkpJLctMTtUrSc1JzU0tKapU0oEKeaZAZHUNgUIIaatqpbLEnFKgVsPaWgC/6ufKRgAAAA==";
/// 262 145 NUL bytes, packed.
const BOMB: &str = "H4sIAAAAAAACA+3BMQEAAADCoPVP7W8GoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAzgCDoIAHAQAEAA==";

/// A signature in Stripe's form, over whatever is said to be the time.
fn tag(to: &Integration, at: &str, body: &[u8]) -> String {
    hmac_hex(to.secret.as_bytes(), &[at.as_bytes(), b".", body].concat())
}

fn timestamped(to: &Integration, value: &str, body: &[u8]) -> Delivery {
    Delivery::bare(to, body).header("x-fleetlog-signature", value)
}

/// A signature of Standard Webhooks over a text.
fn standard_tag(to: &Integration, text: &str) -> String {
    let key = STANDARD
        .decode(to.secret.trim_start_matches("whsec_"))
        .expect("a secret in base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
    mac.update(text.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn standard(to: &Integration, id: &str, at: &str, body: &str, signature: &str) -> Delivery {
    Delivery::bare(to, body)
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
}

/// Waits until a delivery that should pass does.
async fn passes(delivery: impl Fn() -> Delivery) {
    eventually("the delivery passes", || async {
        let answer = delivery().post().await;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.json))
        }
    })
    .await;
}

#[track_caller]
fn assert_status(answer: &tests::Answer, status: u16, why: &str) {
    assert_eq!(answer.status, status, "{why}: {}", answer.json);
}

#[test]
fn a_signed_time_is_digits_and_fresh_and_only_eight_signatures_are_tried() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack
            .integration_with(&door, &organization, &["--scheme", "timestamped-hmac"])
            .await;
        let body = EVENT.as_bytes();
        let signed = |at: &str| timestamped(&to, &format!("t={at},v1={}", tag(&to, at, body)), body);
        passes(|| signed(&now_seconds().to_string())).await;

        let now = now_seconds();
        // A second's grace on the near side: time passes between here and the door.
        for at in [now - 298, now + 300] {
            assert_status(&signed(&at.to_string()).post().await, 202, "within the tolerance");
        }
        for at in [now - 301, now + 303] {
            assert_status(
                &signed(&at.to_string()).post().await,
                401,
                "outside the tolerance",
            );
        }
        assert_status(
            &signed(&format!("0{now}")).post().await,
            202,
            "the literal text is signed",
        );
        for at in [
            "-9223372036854775808",
            "+1",
            &format!("00{now}"),
            "1.0",
            " 1",
            "",
            "99999999999",
        ] {
            assert_status(&signed(at).post().await, 401, at);
        }

        let good = tag(&to, &now.to_string(), body);
        let false_tag = format!(",v1={}", "0".repeat(64));
        for (n_before, status) in [(7, 202), (8, 401), (1_500, 401)] {
            let value = format!("t={now}{},v1={good}", false_tag.repeat(n_before));
            let answer = timestamped(&to, &value, body).post().await;
            assert_status(&answer, status, &format!("after {n_before} others"));
        }
        let huge = format!("t={now}{},v1={good}", false_tag.repeat(10_000));
        let refused = timestamped(&to, &huge, body).try_post().await;
        assert!(refused.is_err() || refused.is_ok_and(|answer| [401, 431].contains(&answer.status)));

        for value in [
            format!("t={now},t={now},v1={good}"),
            format!("t={now},v1={}", &good[..32]),
            format!("t={now},v1={}", &good[..63]),
            format!("t={now},v0={good}"),
            format!("v1={good}"),
        ] {
            assert_status(&timestamped(&to, &value, body).post().await, 401, &value);
        }
        let doubled = signed(&now.to_string()).header("x-fleetlog-signature", "t=1");
        assert_status(&doubled.post().await, 401, "a doubled header");

        // The signature is over the bytes on the wire, and the limit holds for what they unpack to.
        let packed = STANDARD.decode(PACKED).expect("base64");
        let of = |signed: &[u8], sent: &[u8]| {
            let value = format!("t={now},v1={}", tag(&to, &now.to_string(), signed));
            timestamped(&to, &value, sent).header("content-encoding", "gzip")
        };
        of(&packed, &packed).post().await.accepted();
        assert_status(
            &of(body, &packed).post().await,
            401,
            "signed before it was packed",
        );
        let bomb = STANDARD.decode(BOMB).expect("base64");
        assert_status(
            &of(&bomb, &bomb).post().await,
            413,
            "a packed body beyond the limit",
        );
        let damaged = of(&packed[..40], &packed[..40]);
        assert!(damaged.post().await.accepted().json["dead_letter"].is_object());
        let speaking = damaged.header("ce-source", "dev-2");
        assert_status(&speaking.post().await, 401, "an unsigned source beside nothing");

        // Empty bodies, and such as are no text, can be proven too.
        for bytes in [&b""[..], &[0xff, 0xfe]] {
            let value = format!("t={now},v1={}", tag(&to, &now.to_string(), bytes));
            timestamped(&to, &value, bytes).post().await.accepted();
        }
    });
}

#[test]
fn what_is_signed_cannot_be_cut_otherwise_nor_be_proven_by_less() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack
            .integration_with(&door, &organization, &["--scheme", "standard-webhooks"])
            .await;
        let now = now_seconds();
        let genuine = |at: &str| {
            standard(
                &to,
                "a",
                at,
                EVENT,
                &standard_tag(&to, &format!("a.{at}.{EVENT}")),
            )
        };
        passes(|| genuine(&now_seconds().to_string())).await;

        let ambiguous = standard_tag(&to, &format!("a.{now}.{now}.x"));
        let whole = format!("{now}.x");
        let at = now.to_string();
        standard(&to, "a", &at, &whole, &ambiguous)
            .post()
            .await
            .accepted();
        let cut = standard(&to, &format!("a.{now}"), &at, "x", &ambiguous);
        assert_status(&cut.post().await, 401, "the same text, cut elsewhere");
        assert_status(
            &genuine(&at).header("webhook-id", "a").post().await,
            401,
            "an id that is there twice",
        );
        assert_status(
            &genuine(&at).without("webhook-timestamp").post().await,
            401,
            "no time",
        );

        // A second credential that proves less does not help a broken signature, but counts alone.
        let (_, secret) = stack.credential(&to.id, &["--scheme", "shared-secret"]).await;
        let opened = || Delivery::bare(&to, EVENT).header("x-api-key", &secret);
        passes(opened).await;
        for broken in ["v1,AAAA", &standard_tag(&to, "another"), ""] {
            let downgraded = genuine(&at)
                .with("webhook-signature", broken)
                .header("x-api-key", &secret);
            assert_status(&downgraded.post().await, 401, broken);
        }
    });
}

#[test]
fn another_project_is_found_in_every_dialect() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, Some("greenhouse")).await;
        known(&to).await;
        let cloud_event = |subject: &str, data: &Value| {
            json!({"specversion": "1.0", "id": "1", "source": "d", "subject": subject,
                "type": "io.golioth.data.v1/.s/s", "data": data})
        };
        let wrapped = json!({"data": 1, "device_id": "d", "project_id": "elsewhere"});
        let online = |members: &Value| {
            let mut event = json!({"event": "device.online", "device": {"id": "d"}});
            event
                .as_object_mut()
                .expect("an object")
                .extend(members.as_object().cloned().unwrap_or_default());
            event
        };
        for body in [
            wrapped.clone(),
            json!({"data": 1, "device_id": "d"}),
            json!({"data": 1, "device_id": "d", "project_id": "greenhouse", "projectId": "elsewhere"}),
            cloud_event("elsewhere", &json!({})),
            cloud_event("greenhouse", &wrapped),
            json!([
                cloud_event("greenhouse", &json!({})),
                cloud_event("elsewhere", &json!({}))
            ]),
            online(&json!({"project": "elsewhere"})),
            online(&json!({"project": {"id": "elsewhere"}})),
            online(&json!({"project_id": "greenhouse", "projectId": "elsewhere"})),
            online(&json!({"data": {"project_id": "elsewhere"}})),
            online(&json!({"device": {"id": "d", "projectId": "elsewhere"}})),
            online(&json!({"project_id": 7})),
        ] {
            assert_status(
                &Delivery::platform(&to, &body).post().await,
                403,
                &body.to_string(),
            );
        }
        Delivery::platform(&to, &cloud_event("greenhouse", &json!({})))
            .post()
            .await
            .accepted();
    });
}

#[test]
fn no_secret_is_in_what_the_door_says_of_anybody() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        let signing = stack
            .integration_with(&door, &organization, &["--scheme", "hmac-sha256"])
            .await;
        passes(|| Delivery::hmac(&signing, EVENT)).await;

        let near = format!("{}x", to.secret);
        let golioth = Delivery::golioth(&to, "d", "/s", "{}");
        let mut said = String::new();
        for delivery in [
            golioth.clone().with("x-api-key", &near),
            golioth.clone().header("x-api-key", &to.secret),
            golioth.clone().with("ce-source", "%C0%A0"),
            golioth.clone().header("content-encoding", &to.secret),
            golioth.clone().with("ce-type", "nobody's"),
            Delivery::bare(&to, "{").header("x-api-key", &to.secret),
            Delivery::bare(&signing, "no dialect").header("x-api-key", &signing.secret),
            Delivery::hmac(&signing, "no dialect"),
        ] {
            said += &delivery.post().await.json.to_string();
        }
        said += &door.metric("").await.join("\n");
        said += &door.log_text();
        for letter in read_raw(&stack.log, schema::Topic::DeadLetters).await {
            said.extend(
                letter
                    .headers
                    .iter()
                    .flat_map(|(name, value)| [name.as_str(), value]),
            );
            said += &String::from_utf8_lossy(&letter.value);
        }
        assert!(
            said.contains("unknown_key") && said.contains("unrecognized"),
            "{said}"
        );
        for secret in [
            &to.secret,
            &signing.secret,
            &hmac_hex(signing.secret.as_bytes(), b"no dialect"),
        ] {
            assert!(!said.contains(secret.as_str()), "a secret is told");
        }
    });
}
