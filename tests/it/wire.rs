//! Requests that lie about themselves on the wire, and too many of them.

use tests::{Delivery, on_stack};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::door::known;

/// Sends bytes, ends the sending side, and reads all that is answered.
async fn exchange(address: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address).await.expect("connects");
    // The door may answer and close before it has read everything.
    drop(connection.write_all(request.as_bytes()).await);
    drop(connection.shutdown().await);
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), read).await;
    assert!(ended.is_ok(), "the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_request_that_lies_about_its_length_is_no_second_request() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        let address = door.url.trim_start_matches("http://").to_owned();
        let path = format!("/v1/webhooks/{}", to.id);
        let genuine = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nce-source: d\r\nce-subject: p\r\n\
             ce-type: io.golioth.data.v1/.s/s\r\n",
            to.secret
        );
        let accepted = exchange(&address, &format!("{genuine}content-length: 2\r\n\r\n{{}}")).await;
        assert!(accepted.starts_with("HTTP/1.1 202"), "{accepted}");

        let inner = format!("{genuine}content-length: 2\r\n\r\n{{}}");
        let n = inner.len();
        for (headers, body) in [
            ("content-length: 2\r\ncontent-length: 40", "{}"),
            ("content-length: +2", "{}"),
            ("content-length: 2, 2", "{}"),
            ("content-length: 99999999999999999999", "{}"),
            ("content-length: 100", "{}"),
            (
                "content-length: 0\r\ntransfer-encoding: chunked",
                "2\r\n{}\r\n0\r\n\r\n",
            ),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                "2\r\n{}\r\n0\r\n\r\n",
            ),
            ("transfer-encoding: chunked, identity", "2\r\n{}\r\n0\r\n\r\n"),
            ("transfer-encoding: \u{b}chunked", "2\r\n{}\r\n0\r\n\r\n"),
            (
                "transfer-encoding: chunked",
                "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
            ),
            ("transfer-encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n"),
            ("transfer-encoding: chunked", "2\r\n{}XX0\r\n\r\n"),
            ("transfer-encoding: chunked", "5\r\n{}"),
            ("content-length : 2", "{}"),
        ] {
            let answer = exchange(&address, &format!("{genuine}{headers}\r\n\r\n{body}{inner}")).await;
            // A body of 100 bytes is there, and whatever follows it is no request.
            let is_longer = headers == "content-length: 100" || body == "5\r\n{}";
            assert!(
                answer.starts_with("HTTP/1.1 400") || is_longer,
                "{headers}: {answer}"
            );
            assert!(
                !answer.contains("HTTP/1.1 202") || headers == "content-length: 100",
                "{headers}: {answer}"
            );
            let alone = exchange(&address, &format!("{genuine}{headers}\r\n\r\n{body}")).await;
            assert!(alone.starts_with("HTTP/1.1 400"), "{headers}: {alone}");
        }
        let unproven = genuine.replace(&to.secret, "wrong");
        let hidden = exchange(&address, &format!("{unproven}content-length: {n}\r\n\r\n{inner}")).await;
        assert!(
            hidden.starts_with("HTTP/1.1 401") && !hidden.contains(" 202 "),
            "{hidden}"
        );

        let huge = format!(
            "{genuine}x-long: {}\r\ncontent-length: 2\r\n\r\n{{}}",
            "y".repeat(1 << 20)
        );
        let refused = exchange(&address, &huge).await;
        assert!(
            refused.is_empty() || refused.starts_with("HTTP/1.1 431"),
            "{refused}"
        );
        let query = format!("{path}?integration%5Fid={}", uuid::Uuid::new_v4());
        let spelt_otherwise = inner.replace(&path, &query);
        assert!(
            exchange(&address, &spelt_otherwise)
                .await
                .starts_with("HTTP/1.1 401")
        );
        known(&to).await;
    });
}

#[test]
fn a_flood_of_unknown_ids_keeps_nobody_out() {
    on_stack(|stack| async move {
        let door = stack.ingest().await;
        let organization = stack.organization().await;
        let to = stack.integration(&door, &organization, None).await;
        known(&to).await;
        let client = reqwest::Client::new();
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..400 {
            let url = format!("{}/v1/webhooks/{}", door.url, uuid::Uuid::new_v4());
            flood.spawn(client.post(url).header("x-api-key", "x").send());
        }
        Delivery::golioth(&to, "d", "/s", "{}").post().await.accepted();
        while let Some(answer) = flood.join_next().await {
            let answer = answer.expect("no panic").expect("an answer");
            let told = answer.headers().contains_key("retry-after");
            let status = answer.status().as_u16();
            assert!(status == 401 || (status == 503 && told), "{status}");
        }
        Delivery::golioth(&to, "d", "/s", "{}").post().await.accepted();
    });
}
