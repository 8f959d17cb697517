//! Credentials: every scheme, rotation without loss, expiry and revocation at once.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use tests::{Delivery, Integration, eventually, eventually_within, hmac_hex, now_seconds, on_stack};

/// A changed credential counts at the door within this; the promise is two seconds, the rest is the test's own time.
const SOON: Duration = Duration::from_secs(3);

fn event() -> String {
    json!({"type": "device.telemetry", "deviceId": "dev-1", "telemetry": {"value": 1}}).to_string()
}

async fn accepted_soon(delivery: impl Fn() -> Delivery) {
    eventually("the delivery is accepted", || async {
        let answer = delivery().post().await;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.json))
        }
    })
    .await;
}

async fn refused_soon(delivery: impl Fn() -> Delivery) {
    eventually_within(SOON, "the delivery is refused", || async {
        let answer = delivery().post().await;
        if answer.status == 401 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.json))
        }
    })
    .await;
}

fn timestamped(to: &Integration, at: u64, body: &str) -> Delivery {
    let signature = hmac_hex(to.secret.as_bytes(), format!("{at}.{body}").as_bytes());
    Delivery::bare(to, body).header("x-signature", &format!("t={at},v1={signature}"))
}

fn standard(to: &Integration, id: &str, at: u64, body: &str) -> Delivery {
    let key = STANDARD
        .decode(to.secret.trim_start_matches("whsec_"))
        .expect("a secret in base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    Delivery::bare(to, body)
        .header("webhook-id", id)
        .header("webhook-timestamp", &at.to_string())
        .header("webhook-signature", &format!("v1,{signature}"))
}

#[test]
fn every_scheme_lets_its_own_in_and_nobody_else() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let with = |options: &'static [&'static str]| stack.integration_with(&door, &organization, options);

        let plain = with(&["--scheme", "hmac-sha256"]).await;
        accepted_soon(|| Delivery::hmac(&plain, event())).await;

        let github = with(&[
            "--scheme",
            "hmac-sha256",
            "--header",
            "X-Hub-Signature-256",
            "--prefix",
            "sha256=",
        ])
        .await;
        let tag = hmac_hex(github.secret.as_bytes(), event().as_bytes());
        let signed = |value: &str| Delivery::bare(&github, event()).header("x-hub-signature-256", value);
        accepted_soon(|| signed(&format!("sha256={tag}"))).await;
        accepted_soon(|| signed(&format!("sha256={}", tag.to_uppercase()))).await;
        for wrong in [
            tag.clone(),
            format!("sha256={}", &tag[..62]),
            "sha256=zz".to_owned(),
            String::new(),
        ] {
            assert_eq!(signed(&wrong).post().await.status, 401, "{wrong}");
        }

        let stripe = with(&["--scheme", "timestamped-hmac", "--header", "x-signature"]).await;
        let now = now_seconds();
        accepted_soon(|| timestamped(&stripe, now_seconds(), &event())).await;
        for at in [now - 400, now + 400] {
            assert_eq!(
                timestamped(&stripe, at, &event()).post().await.status,
                401,
                "outside the tolerance"
            );
        }

        let webhooks = with(&["--scheme", "standard-webhooks"]).await;
        accepted_soon(|| standard(&webhooks, "msg_1", now_seconds(), &event())).await;
        assert_eq!(
            standard(&webhooks, "msg.1", now, &event()).post().await.status,
            401,
            "an id with a dot"
        );
        assert_eq!(
            standard(&webhooks, "msg_1", now - 400, &event())
                .post()
                .await
                .status,
            401
        );

        // None of them takes what another scheme proves.
        let downgraded = Delivery::bare(&plain, event()).header("x-api-key", &plain.secret);
        assert_eq!(downgraded.post().await.status, 401);
    });
}

#[test]
fn a_secret_rotates_without_a_refusal_and_is_gone_when_revoked() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let old = stack.integration(&door, &organization, None).await;
        let with_secret = |secret: &str| {
            let to = Integration {
                secret: secret.to_owned(),
                ..old.clone()
            };
            Delivery::golioth(&to, "dev", "/s", "{}")
        };
        accepted_soon(|| with_secret(&old.secret)).await;

        let (new_id, new_secret) = stack.credential(&old.id, &["--scheme", "shared-secret"]).await;
        eventually_within(SOON, "the new secret counts", || async {
            if with_secret(&new_secret).post().await.status == 202 {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        with_secret(&old.secret).post().await.accepted();

        stack
            .fleetlog(&["credential", "revoke", &old.credential_id])
            .await;
        refused_soon(|| with_secret(&old.secret)).await;
        with_secret(&new_secret).post().await.accepted();

        let rotated = stack
            .fleetlog_json(&["credential", "rotate", &new_id, "--json"])
            .await;
        let newest = rotated["secret"].as_str().expect("a secret").to_owned();
        accepted_soon(|| with_secret(&newest)).await;
        with_secret(&new_secret).post().await.accepted();
    });
}

#[test]
fn a_credential_ends_at_its_expiry_without_anyone_doing_anything() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        let expiry = time::OffsetDateTime::from_unix_timestamp(
            i64::try_from(now_seconds()).expect("this century") + 6,
        )
        .expect("an instant")
        .format(&time::format_description::well_known::Rfc3339)
        .expect("writable");
        let (_, secret) = stack
            .credential(
                &integration.id,
                &["--scheme", "shared-secret", "--expires-at", &expiry],
            )
            .await;
        let brief = Integration {
            secret,
            ..integration.clone()
        };
        let delivery = || Delivery::golioth(&brief, "dev", "/s", "{}");
        accepted_soon(delivery).await;
        eventually("the credential has expired", || async {
            if delivery().post().await.status == 401 {
                Ok(())
            } else {
                Err("still accepted".to_owned())
            }
        })
        .await;
        assert!(
            now_seconds() >= u64::try_from(parse(&expiry)).expect("after 1970"),
            "not before its expiry"
        );
    });
}

fn parse(instant: &str) -> i64 {
    time::OffsetDateTime::parse(instant, &time::format_description::well_known::Rfc3339)
        .expect("an instant")
        .unix_timestamp()
}

#[test]
fn secrets_are_sealed_in_postgres_and_never_shown_again() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        accepted_soon(|| Delivery::golioth(&integration, "dev", "/s", "{}")).await;

        let dump: String = sqlx::query_scalar(
            "SELECT string_agg(to_jsonb(c)::text || encode(sealed_secret, 'escape'), '') FROM control.credentials c",
        )
        .fetch_one(&stack.admin)
        .await
        .expect("the owner may read the table");
        assert!(!dump.contains(&integration.secret));
        for shown in [
            stack
                .fleetlog(&["integration", "show", &integration.id, "--json"])
                .await,
            stack
                .fleetlog(&["credential", "list", &integration.id, "--json"])
                .await,
            stack.fleetlog(&["credential", "list", &integration.id]).await,
            door.log_text(),
        ] {
            assert!(!shown.contains(&integration.secret), "{shown}");
        }
    });
}

#[test]
fn weak_configurations_are_refused_with_words() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        let short = std::env::temp_dir().join(format!("short-{}", integration.id));
        std::fs::write(&short, "whsec_c2hvcnQ=").expect("a file can be written");
        for (options, word) in [
            (vec!["--scheme", "timestamped-hmac", "--tolerance", "2h"], "hour"),
            (
                vec![
                    "--scheme",
                    "standard-webhooks",
                    "--secret-file",
                    short.to_str().expect("text"),
                ],
                "24",
            ),
            (
                vec!["--scheme", "shared-secret", "--header", "not a header"],
                "header",
            ),
        ] {
            let mut args = vec!["credential", "add", &integration.id, "--json"];
            args.extend(&options);
            let (code, _, errors) = stack.try_fleetlog(&args).await;
            assert_ne!(code, 0, "{options:?}");
            assert!(errors.contains(word), "{options:?} says what is wrong: {errors}");
        }
        std::fs::remove_file(short).expect("the file can be removed");
    });
}
