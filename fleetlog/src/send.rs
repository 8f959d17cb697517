//! `fleetlog send`: one delivery, by hand.

use std::path::Path;

use clap::{Args, ValueEnum};
use schema::Micros;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    clock,
    dialect::{self, Envelope, Payload, Shape, Written},
    door::{self, Door, DoorArgs},
    failure::Failure,
    output, sender,
};

/// Sends one delivery to a webhook, in any dialect and with any proof, and prints the answer
///
/// What is signed is what counts: under an HMAC scheme the Ce-* headers of dialect golioth are not covered, and ingest
/// refuses them. inject-metadata sends them only with a shared secret.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog send --integration ID --scheme shared-secret --secret-file secret \\
      --device 686d5da09c3ca8d766c1672b --project my-project --path /sensor --data '{\"temp\": 21.5}'
  fleetlog send --integration ID --scheme hmac-sha256 --secret-file secret --dialect platform \\
      --event device.online --name C252400001 --data '{\"status\": \"online\"}' --project my-project
  fleetlog send --integration ID --scheme standard-webhooks --secret-file secret --dialect cloudevents \\
      --device 686d5da09c3ca8d766c1672b --path /image --data @photo.jpg --content-type image/jpeg --print

Exit code 0 for an answer 2xx, 4 for 3xx and 4xx, 5 for 5xx and no answer.")]
pub(crate) struct Send {
    #[command(flatten)]
    door: DoorArgs,
    /// How the delivery is written
    #[arg(long, value_enum, default_value_t = Dialect::Golioth)]
    dialect: Dialect,
    /// The cloud's id of the device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The device's name (serial number); only platform events carry it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Stream path
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// What the device sends: JSON, @FILE, or - for standard input. For a platform event other than
    /// device.telemetry and device.data: the fields of the device
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}")]
    data: String,
    /// Content type of the data [default: application/json if it is JSON, else application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Name of the platform event
    #[arg(long, value_name = "NAME", default_value = "device.telemetry")]
    event: String,
    /// Shape of the platform event
    #[arg(long, value_enum, default_value_t = Shape::Device)]
    shape: Shape,
    /// When it happened, RFC 3339, or `none` to leave it out [default: now]
    #[arg(long, value_name = "RFC3339|none")]
    time: Option<String>,
    /// The delivery's id, or `none` to leave it out where the scheme allows [default: random]
    #[arg(long, value_name = "ID|none")]
    id: Option<String>,
    /// One more header, unsigned; may be repeated
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// Print the request instead of sending it, the secret or signature included
    #[arg(long)]
    print: bool,
}

/// The dialects that a delivery can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dialect {
    /// Golioth Pipelines: the data as it is, everything else in Ce-* headers
    Golioth,
    /// Golioth Pipelines behind the inject-metadata transformer
    InjectMetadata,
    /// A structured CloudEvent
    #[value(name = "cloudevents")]
    CloudEvents,
    /// A platform event, see --event and --shape
    Platform,
}

impl Send {
    /// Writes, proves and posts it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if self.data == "-" && self.door.secret_file.as_deref() == Some(Path::new("-")) {
            return Err(Failure::usage(
                "standard input holds the secret or the data, not both",
            ));
        }
        let door = self.door.open()?;
        let now = clock::now();
        let id = self.id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let mut written = self.write(&door, &id, now)?;
        let proof = door.proof.headers(&id, now, &written.body);
        written.headers.extend(self.headers.iter().cloned());

        if self.print {
            return print(&door.url, &written, &proof);
        }
        let client = sender::client(1).map_err(anyhow::Error::from)?;
        let answer = sender::post(&client, &door.url, proof, written)
            .await
            .map_err(|error| Failure::Unavailable(error.into()))?;
        output::line(format!("{} {}", answer.status, answer.body))?;
        match answer.status {
            200..=299 => Ok(()),
            500.. => Err(Failure::unavailable("not accepted; sending it again may help")),
            _ => Err(Failure::refused("not accepted; sending it again cannot help")),
        }
    }

    fn write(&self, door: &Door, id: &str, now: Micros) -> Result<Written, Failure> {
        let envelope = Envelope {
            device_id: self.device.clone(),
            device_name: self.name.clone(),
            project: door.project.clone(),
            time: self.time(now)?,
            id: (id != "none").then(|| id.to_owned()),
        };
        let payload = self.payload()?;
        match self.dialect {
            Dialect::Golioth => Ok(dialect::pipelines(&envelope, &self.path, &payload)),
            Dialect::InjectMetadata => {
                let path = door.proof.covers_headers().then_some(self.path.as_str());
                Ok(dialect::injected(&envelope, path, &value(payload)?))
            }
            Dialect::CloudEvents => Ok(dialect::structured(&envelope, &self.path, &payload)),
            Dialect::Platform => {
                let fields = fields(&self.event, value(payload)?)?;
                Ok(dialect::platform(&envelope, self.shape, &self.event, fields))
            }
        }
    }

    fn time(&self, now: Micros) -> Result<Option<Micros>, Failure> {
        match self.time.as_deref() {
            None => Ok(Some(now)),
            Some("none") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(Failure::usage),
        }
    }

    fn payload(&self) -> Result<Payload, Failure> {
        let bytes = match self.data.as_str() {
            "-" => door::read_bytes(Path::new("-"))?,
            data => match data.strip_prefix('@') {
                Some(file) => door::read_bytes(Path::new(file))?,
                None => data.as_bytes().to_vec(),
            },
        };
        Ok(understood(bytes, self.content_type.as_deref()))
    }
}

/// JSON if it is and nothing else is said, else bytes.
fn understood(bytes: Vec<u8>, content_type: Option<&str>) -> Payload {
    let json = content_type.is_none_or(|said| said == "application/json");
    match serde_json::from_slice(&bytes) {
        Ok(value) if json => Payload::Json(value),
        Ok(_) | Err(_) => Payload::Bytes {
            content_type: content_type.unwrap_or("application/octet-stream").to_owned(),
            bytes,
        },
    }
}

fn value(payload: Payload) -> Result<Value, Failure> {
    match payload {
        Payload::Json(value) => Ok(value),
        Payload::Bytes { .. } => Err(Failure::usage("this dialect carries JSON only")),
    }
}

/// What the data are in a platform event: what was measured, or fields of the device.
fn fields(event: &str, data: Value) -> Result<Map<String, Value>, Failure> {
    if matches!(event, "device.telemetry" | "device.data") {
        return Ok(Map::from_iter([("telemetry".to_owned(), data)]));
    }
    match data {
        Value::Object(fields) => Ok(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(
            Failure::usage("the data of a platform event are an object: the fields of the device"),
        ),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn print(url: &str, written: &Written, proof: &[(String, String)]) -> Result<(), Failure> {
    output::line(format!("POST {url}"))?;
    for (name, value) in written.headers.iter().chain(proof) {
        output::line(format!("{name}: {value}"))?;
    }
    output::line("")?;
    output::bytes(&written.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_json_where_it_can_be() {
        assert_eq!(
            understood(b"{\"a\": 1}".to_vec(), None),
            Payload::Json(serde_json::json!({ "a": 1 }))
        );
        let bytes = |content_type: &str, bytes: &[u8]| Payload::Bytes {
            content_type: content_type.to_owned(),
            bytes: bytes.to_vec(),
        };
        assert_eq!(
            understood(b"\xff".to_vec(), None),
            bytes("application/octet-stream", b"\xff")
        );
        assert_eq!(
            understood(b"1".to_vec(), Some("text/plain")),
            bytes("text/plain", b"1")
        );
        assert_eq!(
            understood(b"{".to_vec(), Some("application/json")),
            bytes("application/json", b"{")
        );
    }

    #[test]
    fn telemetry_is_wrapped_and_other_events_are_fields() {
        let data = || serde_json::json!({ "status": "online" });
        assert!(
            fields("device.telemetry", data())
                .unwrap()
                .contains_key("telemetry")
        );
        assert!(fields("device.online", data()).unwrap().contains_key("status"));
        assert!(fields("device.online", Value::Null).is_err());
    }
}
