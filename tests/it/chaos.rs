//! A short run of chaos beside the other tests: processes and connections of its own alone are disturbed.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use tests::{Delivery, Passage, Proxy, on_stack};

use crate::door::known;

#[test]
fn while_everything_breaks_nothing_acknowledged_is_lost_and_nothing_doubled() {
    let run = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--seed", "1", "--schedules", "3", "--at-once", "3"])
        .output()
        .expect("it was built with this test");
    let told = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}{errors}");
    assert!(told.contains("0 schedules failed"), "{told}");
}

#[test]
fn a_proxy_takes_the_broker_from_one_client_alone() {
    on_stack(|stack| async move {
        let broker = stack.log.brokers.parse().expect("an address");
        let proxy = Proxy::to_kafka(broker).expect("a port is free");
        let address = proxy.address.to_string();
        let door = stack
            .role_with(&["ingest"], &[("KAFKA_BROKERS", &address)])
            .await
            .ready()
            .await;
        let other = stack.ingest().await;
        let organization = stack.organization().await;
        let integration = stack.integration(&door, &organization, None).await;
        known(&integration).await;
        let here = Delivery::golioth(&integration, "px-1", "/s", "1").header("ce-id", "1");
        let mut there = here.clone();
        there.url = format!("{}/v1/webhooks/{}", other.url, integration.id);
        for passage in [Passage::Cut, Passage::Lost, Passage::Deaf] {
            proxy.set(passage);
            assert_eq!(here.post().await.status, 503, "{passage:?}");
            there.post().await.accepted();
            proxy.restore();
            known(&integration).await;
        }
    });
}

/// A server that says back what it hears.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut other = client.try_clone().expect("a second handle");
            thread::spawn(move || io::copy(&mut client, &mut other));
        }
    });
    address
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).expect("it listens");
    let patience = Some(Duration::from_millis(200));
    stream.set_read_timeout(patience).expect("a socket option");
    stream
}

fn ask(mut stream: &TcpStream) -> io::Result<u8> {
    stream.write_all(b"a")?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer[0])
}

#[test]
fn what_is_cut_breaks_and_what_is_lost_is_late() {
    let proxy = Proxy::start(0, echo()).expect("a port is free");
    let stream = client(&proxy);
    let late = |stream: &TcpStream| ask(stream).expect_err("nothing comes").kind();
    assert_eq!(ask(&stream).ok(), Some(b'a'));
    proxy.set(Passage::Lost);
    assert_eq!(late(&stream), io::ErrorKind::WouldBlock);
    proxy.set(Passage::Free);
    let mut answer = [0];
    (&stream).read_exact(&mut answer).expect("it comes late");
    proxy.set(Passage::Deaf);
    assert_eq!(late(&stream), io::ErrorKind::WouldBlock);
    proxy.set(Passage::Free);
    assert!(ask(&stream).is_err(), "answers that were lost do not come");
    proxy.cut();
    assert!(ask(&client(&proxy)).is_err());
    proxy.restore();
    assert_eq!(ask(&client(&proxy)).ok(), Some(b'a'));
}
