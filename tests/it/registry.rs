//! The registry of integrations, as the door follows it and as commands show it.

use tests::{Delivery, eventually, on_stack};

use crate::door::known;

#[test]
fn creating_an_integration_prints_what_to_paste_and_the_secret_once() {
    on_stack(|stack| async move {
        let organization = stack.organization().await;
        let create = |organization: String| {
            let stack = stack.clone();
            async move {
                let args = [
                    "integration",
                    "create",
                    "greenhouse",
                    "--organization",
                    &organization,
                ];
                stack
                    .try_fleetlog(&[&args[..], &["--provider", "golioth"]].concat())
                    .await
            }
        };
        let (code, printed, errors) = create(organization.clone()).await;
        assert_eq!(code, 0, "{errors}");
        for part in ["type: webhook", "x-api-key", "curl", "/v1/webhooks/"] {
            assert!(printed.contains(part), "{part} in {printed}");
        }
        let listed = stack
            .fleetlog(&["integration", "list", "--organization", &organization])
            .await;
        assert!(listed.contains("greenhouse"), "{listed}");
        let (code, _, errors) = create(uuid::Uuid::new_v4().to_string()).await;
        assert_ne!(code, 0);
        assert!(errors.contains("organization"), "{errors}");
    });
}

#[test]
fn the_last_use_of_a_credential_is_known() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        Delivery::golioth(&integration, "d", "/s", "{}")
            .post()
            .await
            .accepted();
        eventually("its use is noted", || async {
            let listed = stack
                .fleetlog(&["credential", "list", &integration.id, "--json"])
                .await;
            let used = listed.lines().any(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                value["last_used_at"].is_string()
            });
            if used { Ok(()) } else { Err(listed) }
        })
        .await;
    });
}

#[test]
fn misuse_ends_at_once_with_its_exit_code_and_tells_no_secret() {
    on_stack(|stack| async move {
        let nobody = uuid::Uuid::new_v4().to_string();
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        for (code, args) in [
            (2, vec!["nonsense"]),
            (2, vec!["ingest", "--listen", "nowhere"]),
            (2, vec!["integration", "show", "no-id"]),
            (2, vec!["topics", "check", "--kafka-properties", "hunter2"]),
            (2, vec!["topics", "check", "--kafka-properties", "acks=hunter2"]),
            (
                2,
                vec![
                    "ingest",
                    "--kafka-properties",
                    "nonsense=hunter2",
                    "--listen",
                    "127.0.0.1:0",
                ],
            ),
            (
                2,
                vec![
                    "ingest",
                    "--control-database-url",
                    "hunter2",
                    "--listen",
                    "127.0.0.1:0",
                ],
            ),
            (
                2,
                vec!["ingest", "--sealing-key", "hunter2", "--listen", "127.0.0.1:0"],
            ),
            (3, vec!["integration", "show", &nobody]),
            (3, vec!["credential", "revoke", &nobody]),
            (
                2,
                vec!["integration", "create", "", "--organization", &organization],
            ),
            (
                3,
                vec![
                    "integration",
                    "create",
                    "x",
                    "--provider",
                    "golioth",
                    "--organization",
                    &nobody,
                ],
            ),
            (
                4,
                vec![
                    "credential",
                    "add",
                    &integration.id,
                    "--scheme",
                    "shared-secret",
                    "--header",
                    "ce-source",
                ],
            ),
            (
                4,
                vec![
                    "credential",
                    "add",
                    &integration.id,
                    "--scheme",
                    "timestamped-hmac",
                    "--tolerance",
                    "2h",
                ],
            ),
        ] {
            let (ended, output, errors) = stack.try_fleetlog(&args).await;
            assert_eq!(ended, code, "{args:?}: {output}{errors}");
            assert!(!errors.trim().is_empty(), "{args:?} says why");
            assert!(
                !format!("{output}{errors}").contains("hunter2"),
                "{args:?}: {output}{errors}"
            );
        }
    });
}
