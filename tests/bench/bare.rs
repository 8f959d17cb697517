//! What a door costs that does next to nothing: actix reads the body, its signature is verified, and there is an answer;
//! or that, and the body is produced and acknowledged. Nothing is understood, bounded, counted or kept elsewhere.

use std::{
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, http::header::HeaderValue, rt::System, web,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sha2::Sha256;
use tests::Delivery;

/// As many as `ingest` has on the machines that figures are of.
const WORKERS: usize = 2;

/// The secret of the only sender.
const SECRET: &[u8] = b"a secret of thirty-two bytes: ok";

/// A door that runs until it is dropped.
pub(crate) struct Bare {
    pub(crate) address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// Where bodies go.
type Produced = Option<(FutureProducer, String)>;

impl Bare {
    pub(crate) fn start(produced: Produced) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (out, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(web::Data::new(produced.clone()))
                        .route("/hook", web::post().to(receive))
                };
                let server = HttpServer::new(app)
                    .workers(WORKERS)
                    .disable_signals()
                    .listen(listener)
                    .expect("it listens")
                    .run();
                out.send(server.handle()).expect("somebody waits");
                server.await.expect("it runs");
            });
        });
        Self {
            address,
            handle: told.recv().expect("it starts"),
            thread: Some(thread),
        }
    }

    /// What its only sender sends.
    pub(crate) fn delivery(&self, body: Vec<u8>, device: &str) -> Delivery {
        let signature = tests::hmac_hex(SECRET, &body);
        Delivery {
            url: format!("http://{}/hook", self.address),
            headers: Vec::new(),
            body,
        }
        .header("x-golioth-signature", &signature)
        .header("x-device", device)
        .header("content-type", "application/json")
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Whether it was still there makes no difference: it is gone now.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

async fn receive(request: HttpRequest, body: web::Bytes, produced: web::Data<Produced>) -> HttpResponse {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("HMAC takes keys of any length");
    mac.update(&body);
    let signature = header("x-golioth-signature").and_then(|text| hex::decode(text).ok());
    if mac.verify_slice(&signature.unwrap_or_default()).is_err() {
        return HttpResponse::Unauthorized().finish();
    }
    if let Some((producer, topic)) = produced.as_ref() {
        let record = FutureRecord::to(topic)
            .key(header("x-device").unwrap_or_default())
            .payload(&body[..]);
        if producer.send(record, std::time::Duration::ZERO).await.is_err() {
            return HttpResponse::ServiceUnavailable().finish();
        }
    }
    HttpResponse::Accepted().finish()
}
