//! What goes wrong between us and Kafka.

use std::time::Duration;

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// What the Kafka client says is wrong. Never contains a setting's value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaFault {
    /// A client cannot be made with this setting.
    #[error(
        "the Kafka client refuses the setting {0}: unknown, malformed, or of a cargo feature (tls, sasl, zstd) that is not compiled in"
    )]
    Setting(String),
    /// The client or a broker refused or failed.
    #[error("{0}")]
    Kafka(#[source] KafkaError),
    /// No answer in time.
    #[error("no answer from Kafka within {0:?}")]
    NoAnswer(Duration),
    /// A thread that talks to Kafka could not be started, or ended before it had answered.
    #[error("a thread that talks to Kafka is not there")]
    NoThread,
}

impl KafkaFault {
    /// The error code, where there is one.
    pub(crate) fn code(&self) -> Option<RDKafkaErrorCode> {
        if let Self::Kafka(error) = self {
            error.rdkafka_error_code()
        } else {
            None
        }
    }
}

impl From<KafkaError> for KafkaFault {
    fn from(error: KafkaError) -> Self {
        if let KafkaError::ClientConfig(_, _, setting, _) = error {
            Self::Setting(setting)
        } else {
            Self::Kafka(error)
        }
    }
}

impl From<tokio::task::JoinError> for KafkaFault {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::NoThread
    }
}
