//! What every role does alike: it reports, it is supervised, it says how it is, it stops in time.
//!
//! Knows nothing of devices, events or tables. Nothing here is a global that a role could reach for:
//! tokens, health and metrics are passed. The one exception is what the process has only one of
//! (see [`telemetry::init`]).
//!
//! ```no_run
//! # async fn role() -> Result<(), Box<dyn std::error::Error>> {
//! use service::{Check, Health, Supervisor, http, shutdown, supervisor, telemetry};
//!
//! let metrics = telemetry::init("ingest", None)?;
//! let health = Health::expecting(["kafka"]);
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//!
//! let mut tasks = Supervisor::new(supervisor::DEFAULT_LIMIT);
//! let asked = health.clone();
//! tasks.start("health", move |stop| http::serve(listener, asked, metrics, stop.cancelled_owned()));
//! health.set("kafka", Check::passing("3 brokers"));
//! tasks.run_until(shutdown::signal()).await?;
//! # Ok(())
//! # }
//! ```

pub mod health;
pub mod http;
pub mod metrics;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod traces;

pub use health::{Check, Health};
pub use supervisor::{Supervisor, SupervisorError};
pub use telemetry::Metrics;
pub use traces::Traces;
// So that roles name the token they are handed without a dependency of their own.
pub use tokio_util::sync::CancellationToken;
