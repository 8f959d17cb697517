//! Being told to stop: what is open is finished, what was acknowledged stays, and whoever insists is obeyed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    process::ExitStatus,
    time::Duration,
};

use futures_util::future::join_all;
use tests::{Delivery, Passage, Proxy, Role, eventually, eventually_within, on_stack};
use tokio::{io::AsyncWriteExt as _, join, net::TcpStream};

use crate::{
    door::known,
    spool::{Spooling, drained, id, in_the_log},
};

/// How a role may take its time to stop, longer than any test waits.
const PATIENT: [(&str, &str); 4] = [
    ("FLEETLOG_STOP_TIMEOUT", "10m"),
    ("FLEETLOG_SHUTDOWN_TIMEOUT", "10m"),
    ("FLEETLOG_BODY_TIMEOUT", "10m"),
    ("FLEETLOG_STOP_WITHIN", "10m"),
];

/// What the shell is told of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// Tells a role to stop once, sees that it takes its time, and tells it again.
async fn insist(role: &mut Role, second: &str) -> ExitStatus {
    role.signal("TERM");
    eventually("it has heard, and says what a second signal does", || async {
        let log = role.log_text();
        if log.contains("a second signal stops at once") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(role.ended(), None, "it is still at work: {}", role.log_text());
    role.signal(second);
    let mut ended = None;
    eventually_within(Duration::from_secs(10), "it ends at once", || {
        ended = role.ended();
        let state = ended.map(|_| ()).ok_or_else(|| role.log_text());
        async { state }
    })
    .await;
    ended.expect("it has ended")
}

#[test]
fn a_second_signal_ends_a_door_at_once_that_still_waits_for_a_body() {
    on_stack(|stack| async move {
        for second in ["TERM", "INT"] {
            let mut door = stack.role_with(&["ingest"], &PATIENT).await.ready().await;
            let organization = stack.organization().await;
            let integration = stack.integration(&door, &organization, None).await;
            known(&integration).await;
            let address = door.url.trim_start_matches("http://").to_owned();
            let path = integration.url.trim_start_matches(&door.url);
            let half = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nce-source: d\r\nce-subject: p\r\n\
                 ce-type: io.golioth.data.v1/.s/s\r\ncontent-length: 100\r\n\r\n{{\"half\":",
                integration.secret
            );
            let mut open = TcpStream::connect(&address).await.expect("connects");
            open.write_all(half.as_bytes()).await.expect("the door reads");
            eventually("the door holds half a body", || async {
                let held = door.metric("fleetlog_ingest_body_bytes_in_flight").await;
                let some = held.iter().any(|line| !line.ends_with(" 0"));
                if some { Ok(()) } else { Err(format!("{held:?}")) }
            })
            .await;
            let ended = insist(&mut door, second).await;
            assert_eq!(ended.code(), Some(INTERRUPTED), "{ended}");
        }
    });
}

#[test]
fn a_second_signal_ends_a_projector_at_once_that_still_waits_for_postgres() {
    on_stack(|stack| async move {
        let postgres = Proxy::start(0, stack.postgres_address()).expect("a port is free");
        let variable = "FLEETLOG_PROJECTOR_DATABASE_URL";
        let url = stack.through(variable, postgres.address);
        let mut variables = vec![(variable, &*url)];
        variables.extend(PATIENT);
        let door = stack.ingest().await;
        let mut projector = stack.role_with(&["projector"], &variables).await.ready().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        eventually("what came before is folded", || async {
            let lag = projector.metric("fleetlog_projector_lag_events").await;
            let none = !lag.is_empty() && lag.iter().all(|line| line.ends_with(" 0"));
            if none { Ok(()) } else { Err(format!("{lag:?}")) }
        })
        .await;

        postgres.set(Passage::Lost);
        Delivery::golioth(&integration, "stop-2", "/s", r#"{"n": 1}"#)
            .post()
            .await
            .accepted();
        // Whether or not its transaction has begun, it cannot end: neither can a look at what is active.
        let ended = insist(&mut projector, "TERM").await;
        assert_eq!(ended.code(), Some(INTERRUPTED), "{ended}");
        postgres.restore();
    });
}

#[test]
fn a_door_told_to_stop_under_load_while_its_spool_fills_loses_nothing_it_has_acknowledged() {
    on_stack(|stack| async move {
        let full = [
            ("FLEETLOG_SPOOL_MAX_BYTES", "200000"),
            ("FLEETLOG_SHUTDOWN_TIMEOUT", "5s"),
        ];
        let mut it = Spooling::start(&stack, &full).await;
        let (next, n_spooled, n_refused) = (Cell::new(0_usize), Cell::new(0), Cell::new(0));
        let accepted = RefCell::new(BTreeMap::new());
        let send = || async {
            loop {
                let n = next.replace(next.get() + 1);
                // A connection that is refused or broken promises nothing; the door is gone then.
                let Ok(answer) = it.delivery(n).try_post().await else {
                    return;
                };
                match answer.status {
                    202 => {
                        let spooled = answer.json["events"][0]["spooled"] == true;
                        n_spooled.set(n_spooled.get() + usize::from(spooled));
                        accepted.borrow_mut().insert(id(&answer.json), n);
                    }
                    503 => n_refused.set(n_refused.get() + 1),
                    status => panic!("{status} {}", answer.json),
                }
            }
        };
        let senders = join_all((0..16).map(|_| send()));
        let conduct = async {
            eventually("some go to the log", || async {
                let n = accepted.borrow().len();
                if n >= 50 { Ok(()) } else { Err(n.to_string()) }
            })
            .await;
            it.kafka.cut();
            // It is told in the middle of filling the spool; what comes after that either finds room or is refused.
            eventually("it spools", || async {
                let n = n_spooled.get();
                if n >= 20 { Ok(()) } else { Err(n.to_string()) }
            })
            .await;
            it.door.signal("TERM");
            it.door.stopped().await;
        };
        join!(senders, conduct);
        let ended = eventually("the process has ended", || {
            let ended = it.door.ended().ok_or_else(|| "not yet".to_owned());
            async { ended }
        })
        .await;
        assert!(ended.success(), "{ended}: {}", it.door.log_text());

        it.kafka.restore();
        it.again(&stack).await;
        drained(&it.door).await;
        let log = in_the_log(&stack).await;
        let accepted = accepted.into_inner();
        assert!(n_spooled.get() >= 20, "{}", n_spooled.get());
        for (id, n) in &accepted {
            assert!(log.contains_key(id), "acknowledged and lost: {id}, {n}");
        }
    });
}
