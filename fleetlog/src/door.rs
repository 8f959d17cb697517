//! Where simulated and hand-made deliveries go, and with which proof.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use control::{Encoding, Parameters, Scheme, SchemeKind, secret_from_text};
use schema::IntegrationId;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use crate::{failure::Failure, parse, sender::Proof};

/// Longest file of targets or secrets that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// An integration's webhook, and how to prove oneself to it.
pub(crate) struct Door {
    /// Where deliveries are posted.
    pub(crate) url: String,
    /// The Golioth project that they name.
    pub(crate) project: Option<String>,
    /// How they are proven.
    pub(crate) scheme: SchemeKind,
    /// What proves them.
    pub(crate) proof: Proof,
}

/// One webhook, named by arguments.
#[derive(Args)]
#[group(id = "one_door")]
pub(crate) struct DoorArgs {
    /// Base URL of `ingest`, with --integration; else the whole URL of the webhook
    #[arg(long, env = "FLEETLOG_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The integration: deliveries go to URL/v1/webhooks/ID
    #[arg(long, value_name = "ID")]
    pub(crate) integration: Option<IntegrationId>,
    /// How deliveries are proven
    #[arg(long, value_name = "SCHEME", value_parser = parse::scheme_kind())]
    pub(crate) scheme: Option<SchemeKind>,
    /// File that holds the secret as it was issued; `-` reads standard input. A last line break is not part of it
    #[arg(long, value_name = "FILE|-")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Header that carries the secret or signature [default: that of the scheme]
    #[arg(long, value_name = "NAME")]
    pub(crate) proof_header: Option<String>,
    /// What stands before the secret or signature, e.g. `sha256=` [default: nothing]
    #[arg(long, value_name = "TEXT")]
    pub(crate) proof_prefix: Option<String>,
    /// How hmac-sha256 writes its signature [default: hex]
    #[arg(long, value_name = "ENCODING", value_parser = parse::encoding())]
    pub(crate) proof_encoding: Option<Encoding>,
    /// Golioth project that deliveries name
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
}

impl DoorArgs {
    /// The door they name.
    pub(crate) fn open(&self) -> Result<Door, Failure> {
        let needed = |what: &str| Failure::usage(format!("--{what} is needed"));
        let url = self.url.as_deref().ok_or_else(|| needed("url"))?;
        let kind = self.scheme.ok_or_else(|| needed("scheme"))?;
        let file = self.secret_file.as_deref().ok_or_else(|| needed("secret-file"))?;
        let parameters = Parameters {
            header: self.proof_header.clone(),
            prefix: self.proof_prefix.clone(),
            encoding: self.proof_encoding,
            tolerance: None,
        };
        let url = match self.integration {
            Some(id) => webhook_url(url, id),
            None => url.to_owned(),
        };
        door(url, kind, parameters, &read_secret(file)?, self.project.clone())
    }
}

/// What `--targets` reads.
#[derive(Deserialize)]
struct Targets {
    integrations: Vec<Target>,
}

/// One of them.
#[derive(Deserialize)]
struct Target {
    name: Option<String>,
    url: String,
    scheme: String,
    #[serde(deserialize_with = "secret")]
    secret: SecretString,
    project: Option<String>,
    header: Option<String>,
    prefix: Option<String>,
    encoding: Option<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// The doors that a file of targets names.
pub(crate) fn read_targets(path: &Path) -> Result<Vec<Door>, Failure> {
    let text = read_bounded(path)?;
    let targets = parse_targets(&text).with_context(|| format!("{} holds no targets", path.display()))?;
    Ok(targets)
}

fn parse_targets(text: &str) -> anyhow::Result<Vec<Door>> {
    let targets: Targets = serde_json::from_str(text)?;
    if targets.integrations.is_empty() {
        return Err(anyhow!("it names no integrations"));
    }
    targets.integrations.into_iter().map(Target::open).collect()
}

impl Target {
    fn open(self) -> anyhow::Result<Door> {
        let name = self.name.unwrap_or_else(|| self.url.clone());
        let unknown = |what: &str, text: &str| anyhow!("{name}: unknown {what} {text:?}");
        let kind = self.scheme.parse().map_err(|_| unknown("scheme", &self.scheme))?;
        let encoding = self
            .encoding
            .as_deref()
            .map(|text| text.parse::<Encoding>().map_err(|_| unknown("encoding", text)));
        let parameters = Parameters {
            header: self.header,
            prefix: self.prefix,
            encoding: encoding.transpose()?,
            tolerance: None,
        };
        let scheme = Scheme::new(kind, parameters).with_context(|| name.clone())?;
        Ok(Door {
            url: self.url,
            project: self.project,
            scheme: kind,
            proof: Proof::new(scheme, &self.secret).with_context(|| name.clone())?,
        })
    }
}

fn door(
    url: String,
    kind: SchemeKind,
    parameters: Parameters,
    secret: &SecretString,
    project: Option<String>,
) -> Result<Door, Failure> {
    let scheme = Scheme::new(kind, parameters).map_err(Failure::usage)?;
    let proof = Proof::new(scheme, secret).map_err(Failure::usage)?;
    Ok(Door {
        url,
        project,
        scheme: kind,
        proof,
    })
}

/// Where an integration's deliveries go.
pub(crate) fn webhook_url(base: &str, integration: IntegrationId) -> String {
    format!("{}/v1/webhooks/{integration}", base.trim_end_matches('/'))
}

/// A secret from a file, or from standard input for `-`.
pub(crate) fn read_secret(path: &Path) -> Result<SecretString, Failure> {
    Ok(secret_from_text(&read_bounded(path)?))
}

/// A file's text, or that of standard input for `-`.
pub(crate) fn read_bounded(path: &Path) -> Result<String, Failure> {
    let text =
        String::from_utf8(read_bytes(path)?).map_err(|_| anyhow!("{} is not UTF-8", path.display()))?;
    Ok(text)
}

/// A file's content, or that of standard input for `-`.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = || {
        let source: Box<dyn io::Read> = if path.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(path)?)
        };
        let mut bytes = Vec::new();
        source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read().with_context(|| format!("{} cannot be read", path.display()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(anyhow!("{} has more than {MAX_FILE_BYTES} bytes", path.display()).into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = r#"{"organization_id": "00000000-0000-0000-0000-000000000001", "integrations": [
        {"name": "a", "integration_id": "x", "url": "http://here/v1/webhooks/x", "scheme": "shared-secret",
         "secret": "a shared secret", "project": "sample-project"},
        {"name": "b", "url": "http://here/v1/webhooks/y", "scheme": "standard-webhooks",
         "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]}"#;

    #[test]
    fn targets_name_doors_with_their_proof() {
        let doors = parse_targets(TARGETS).unwrap();
        let schemes: Vec<_> = doors.iter().map(|door| door.scheme).collect();
        assert_eq!(schemes, [SchemeKind::SharedSecret, SchemeKind::StandardWebhooks]);
        assert_eq!(doors[0].project.as_deref(), Some("sample-project"));
    }

    #[test]
    fn targets_that_cannot_work_are_named() {
        let check = |from: &str, to: &str, expected: &str| {
            let refused = parse_targets(&TARGETS.replace(from, to)).err();
            let text = refused.map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(text.contains(expected), "{text}");
        };
        check("shared-secret", "handshake", r#"a: unknown scheme "handshake""#);
        check(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_AAAA",
            "b: the secret has 3 bytes",
        );
        check(r#""integrations""#, r#""others""#, "missing field `integrations`");
    }

    #[test]
    fn a_webhook_lies_below_the_base_url() {
        let id = IntegrationId(uuid::Uuid::nil());
        let url = "http://here/v1/webhooks/00000000-0000-0000-0000-000000000000";
        assert_eq!(webhook_url("http://here/", id), url);
        assert_eq!(webhook_url("http://here", id), url);
    }
}
