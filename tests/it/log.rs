//! The log: what it must look like before anyone trusts it.

use serde_json::json;
use tests::{Delivery, eventually, on_stack, read_raw};

use crate::dialects::rooms;

#[test]
fn every_partition_begins_with_what_the_log_is() {
    on_stack(|stack| async move {
        let identity = stream::topics::check(&stack.log)
            .await
            .expect("the log is in order");
        assert_eq!(identity.partitions, 3);
        let records = read_raw(&stack.log, schema::Topic::Events).await;
        let opened = records.iter().filter(|record| {
            record
                .headers
                .iter()
                .any(|(name, value)| name == "ce_type" && value == "io.fleetlog.log.opened.v1")
        });
        assert_eq!(opened.count(), 3);
        // Creating again changes nothing; another number of partitions is refused.
        stack.fleetlog(&["topics", "create", "--partitions", "3"]).await;
        let again = stream::topics::check(&stack.log).await.expect("still in order");
        assert_eq!(identity.log_id, again.log_id);
        let (code, _, errors) = stack
            .try_fleetlog(&["topics", "create", "--partitions", "5"])
            .await;
        assert_ne!(code, 0);
        assert!(errors.contains('3') && errors.contains('5'), "{errors}");
    });
}

#[test]
fn topics_that_would_lose_events_are_refused_with_the_command_that_mends_them() {
    on_stack(|stack| async move {
        tests::alter_topic(&stack.log, schema::Topic::Events, "retention.ms", "86400000").await;
        let (code, output, errors) = stack.try_fleetlog(&["topics", "check"]).await;
        assert_ne!(code, 0);
        let said = format!("{output}{errors}");
        for part in ["device-events.v1", "retention.ms", "86400000", "kafka-configs"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let (code, _, errors) = stack.try_fleetlog(&["ingest"]).await;
        assert_ne!(code, 0, "a role refuses to start");
        assert!(errors.contains("retention.ms"), "{errors}");
    });
}

#[test]
fn records_are_cloud_events_that_any_kafka_client_reads() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        let body = r#"{"temp": 1.50}"#;
        Delivery::golioth(&rooms.integration, "sub-1", "/s", body)
            .post()
            .await
            .accepted();
        let records = read_raw(&stack.log, schema::Topic::Readings).await;
        let tests::Raw { headers, value, .. } = records
            .iter()
            .find(|record| {
                record
                    .headers
                    .iter()
                    .any(|(_, value)| value.ends_with("/id:sub-1"))
            })
            .expect("the record is there");
        let header = |name: &str| {
            headers
                .iter()
                .find(|(held, _)| held == name)
                .map(|(_, value)| value.as_str())
                .unwrap_or_default()
        };
        assert_eq!(header("ce_specversion"), "1.0");
        assert_eq!(header("ce_type"), "io.fleetlog.reading.received.v1");
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("ce_origin"), "push");
        assert_eq!(header("ce_organization"), rooms.organization);
        assert_eq!(header("ce_integration"), rooms.integration.id);
        assert_eq!(header("ce_credential"), rooms.integration.credential_id);
        assert_eq!(header("ce_partitionkey"), header("ce_subject"));
        assert!(!header("ce_traceparent").is_empty());
        let text = std::str::from_utf8(value).expect("UTF-8");
        assert!(text.contains(body), "byte for byte: {text}");
        let data: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(data["path"], json!("/s"));
    });
}

#[test]
fn a_log_that_was_deleted_and_made_again_is_not_taken_for_the_same() {
    on_stack(|stack| async move {
        let rooms = rooms(&stack).await;
        eventually("something is folded", || async {
            let folded: i64 =
                sqlx::query_scalar("SELECT count(*) FROM projection_meta.offsets WHERE next_offset > 0")
                    .fetch_one(&stack.admin)
                    .await
                    .map_err(|error| error.to_string())?;
            if folded > 0 {
                Ok(())
            } else {
                Err("nothing yet".to_owned())
            }
        })
        .await;
        rooms.projector.stop().await.expect("it stops");
        rooms.door.stop().await.expect("it stops");
        stream::topics::delete(&stack.log).await.expect("deleted");
        eventually("the topics can be made again", || async {
            let (code, output, errors) = stack
                .try_fleetlog(&["topics", "create", "--partitions", "3"])
                .await;
            if code == 0 {
                Ok(())
            } else {
                Err(format!("{output}{errors}"))
            }
        })
        .await;
        let (code, _, errors) = stack.try_fleetlog(&["projector"]).await;
        assert_ne!(code, 0, "it refuses another log");
        assert!(errors.to_lowercase().contains("log"), "{errors}");
    });
}
