//! `fleetlog credential`: the secrets that deliveries are verified with.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use control::{Encoding, Issued, NewCredential, Parameters, Scheme, SchemeKind};
use schema::{CredentialId, IntegrationId, Micros};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{
    audit::{self, Change},
    clock,
    config::{AuthorArgs, KafkaArgs, OwnerDatabase, SealingArgs},
    door,
    failure::Failure,
    output, parse,
};

/// Adds, lists, revokes and rotates the credentials of integrations
///
/// Several are live at once, up to 16, so that secrets rotate without a lost delivery. Changes are followed by ingest
/// within two seconds.
#[derive(Subcommand)]
pub(crate) enum Credential {
    Add(Box<Add>),
    List(List),
    Revoke(Revoke),
    Rotate(Rotate),
}

/// Adds a credential to an integration and prints its id and secret, which is never shown again
#[derive(Args)]
#[command(after_help = "\
Schemes:
  shared-secret      HEADER: PREFIX SECRET; what Golioth really sends. Covers the headers too
  hmac-sha256        HEADER: PREFIX HMAC-SHA256(secret, body); the usual header is x-golioth-signature
  timestamped-hmac   HEADER: t=UNIX,v1=HMAC-SHA256(secret, UNIX.body); the usual header is x-fleetlog-signature
  standard-webhooks  webhook-id, webhook-timestamp, webhook-signature, as Standard Webhooks 1.0.0 says

Examples:
  fleetlog credential add ID --scheme shared-secret --header Authorization --prefix 'Bearer '
  fleetlog credential add ID --scheme hmac-sha256 --header X-Hub-Signature-256 --prefix sha256= --secret-file -")]
pub(crate) struct Add {
    /// The integration
    #[arg(value_name = "INTEGRATION_ID")]
    integration: IntegrationId,
    /// How deliveries prove who sent them
    #[arg(long, value_name = "SCHEME", value_parser = parse::scheme_kind())]
    scheme: SchemeKind,
    /// File that holds a secret the sender has already; `-` reads standard input. A last line break is not part of it
    /// [default: 256 random bits]
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<PathBuf>,
    /// Header that carries the secret or signature [default: that of the scheme]
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// What stands before it in the header [default: nothing]
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// How hmac-sha256 writes its signature [default: hex]
    #[arg(long, value_name = "ENCODING", value_parser = parse::encoding())]
    encoding: Option<Encoding>,
    /// How far a signed time may be from ours, either way: whole seconds, 1s to 1h [default: 300s]
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    tolerance: Option<Duration>,
    /// It verifies nothing before
    #[arg(long, value_name = "RFC3339")]
    not_before: Option<Micros>,
    /// It verifies nothing from then on
    #[arg(long, value_name = "RFC3339")]
    expires_at: Option<Micros>,
    /// Print {"credential_id", "secret"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    sealing: SealingArgs,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Lists the credentials of an integration, oldest first, without their secrets
#[derive(Args)]
pub(crate) struct List {
    /// The integration
    #[arg(value_name = "INTEGRATION_ID")]
    integration: IntegrationId,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OwnerDatabase,
}

/// Makes a credential void: within two seconds nothing accepts it any more. Doing it twice changes nothing
#[derive(Args)]
pub(crate) struct Revoke {
    /// The credential
    #[arg(value_name = "CREDENTIAL_ID")]
    id: CredentialId,
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Adds a credential like this one with a new secret, and lets this one expire
#[derive(Args)]
#[command(after_help = "\
Example:
  fleetlog credential rotate ID --grace 24h    # then hand the new secret to the sender within a day")]
pub(crate) struct Rotate {
    /// The credential to replace
    #[arg(value_name = "CREDENTIAL_ID")]
    id: CredentialId,
    /// How long the old secret stays valid; 0s ends it now
    #[arg(long, value_name = "D", default_value = "24h", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// File that holds the new secret; `-` reads standard input [default: 256 random bits]
    #[arg(long, value_name = "FILE|-")]
    secret_file: Option<PathBuf>,
    /// Print {"credential_id", "secret", "old_credential_id", "old_expires_at"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    sealing: SealingArgs,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

impl Credential {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Revoke(command) => command.run().await,
            Self::Rotate(command) => command.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> Result<(), Failure> {
        let parameters = Parameters {
            header: self.header.clone(),
            prefix: self.prefix.clone(),
            encoding: self.encoding,
            tolerance: self.tolerance,
        };
        let new = NewCredential {
            scheme: Scheme::new(self.scheme, parameters).map_err(|error| Failure::Refused(error.into()))?,
            secret: secret(self.secret_file.as_ref())?,
            not_before: self.not_before,
            expires_at: self.expires_at,
        };
        let (pool, keyring) = (self.database.pool()?, self.sealing.keyring()?);
        let issued = control::credential::add(&pool, &keyring, self.integration, new).await?;
        let secret = issued.secret.expose_secret();
        if self.json {
            output::json(&json!({ "credential_id": issued.credential.id, "secret": secret }))?;
        } else {
            print_issued(&issued)?;
        }
        let change = change(&issued.credential, "credential-added", &self.author);
        audit::keep(&self.kafka, change).await;
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let all = control::credential::list(&pool, self.integration).await?;
        if all.is_empty() {
            // An integration without credentials is something else than none.
            control::integration::find(&pool, self.integration).await?;
        }
        if !self.json {
            return print_table(&all);
        }
        for one in &all {
            output::json(&shown(one)?)?;
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> Result<(), Failure> {
        let revoked = control::credential::revoke(&self.database.pool()?, self.id).await?;
        let since = output::or_dash(revoked.revoked_at);
        output::line(format!("credential {} is void since {since}", revoked.id))?;
        let change = change(&revoked, "credential-revoked", &self.author);
        audit::keep(&self.kafka, change).await;
        Ok(())
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let secret = secret(self.secret_file.as_ref())?;
        let (pool, keyring) = (self.database.pool()?, self.sealing.keyring()?);
        let rotated = control::credential::rotate(&pool, &keyring, self.id, secret, self.grace).await?;
        let (new, old) = (&rotated.issued, &rotated.expiring);
        if self.json {
            output::json(&json!({
                "credential_id": new.credential.id,
                "secret": new.secret.expose_secret(),
                "old_credential_id": old.id,
                "old_expires_at": old.expires_at,
            }))?;
        } else {
            print_issued(new)?;
            let until = output::or_dash(old.expires_at);
            output::line(format!("the old credential {} is valid until {until}", old.id))?;
        }
        let mut change = change(&new.credential, "credential-rotated", &self.author);
        change.fields.push(("replaces", json!(old.id)));
        change.fields.push(("old_expires_at", json!(old.expires_at)));
        audit::keep(&self.kafka, change).await;
        Ok(())
    }
}

fn secret(file: Option<&PathBuf>) -> Result<Option<SecretString>, Failure> {
    file.map(|file| door::read_secret(file)).transpose()
}

fn change<'a>(credential: &control::Credential, what: &'a str, author: &'a AuthorArgs) -> Change<'a> {
    Change {
        organization: credential.organization,
        integration: credential.integration,
        what,
        fields: vec![
            ("credential", json!(credential.id)),
            ("scheme", json!(credential.scheme)),
            ("expires_at", json!(credential.expires_at)),
        ],
        author: author.author(),
    }
}

fn print_issued(issued: &Issued) -> Result<(), Failure> {
    let (id, secret) = (issued.credential.id, issued.secret.expose_secret());
    output::line(format!(
        "credential {id}, secret (shown now and never again):\n\n  {secret}\n"
    ))
}

/// A credential as JSON, without its secret.
pub(crate) fn shown(credential: &control::Credential) -> Result<Value, Failure> {
    let mut shown = serde_json::to_value(credential).map_err(anyhow::Error::from)?;
    if let Some(fields) = shown.as_object_mut() {
        for (ours, theirs) in [
            ("credential_id", "id"),
            ("integration_id", "integration"),
            ("organization_id", "organization"),
        ] {
            let id = fields.remove(theirs).unwrap_or_default();
            fields.insert(ours.to_owned(), id);
        }
        fields.insert("state".to_owned(), state(credential, clock::now()).into());
    }
    Ok(shown)
}

/// Prints credentials for people, without their secrets.
pub(crate) fn print_table(credentials: &[control::Credential]) -> Result<(), Failure> {
    let now = clock::now();
    let rows: Vec<_> = credentials
        .iter()
        .map(|one| {
            [
                one.id.to_string(),
                one.scheme.kind().to_string(),
                output::or_dash(one.scheme.parameters().header),
                state(one, now).to_owned(),
                output::or_dash(one.expires_at),
                output::or_dash(one.last_used_at),
            ]
        })
        .collect();
    output::table(
        ["credential", "scheme", "header", "state", "expires", "last used"],
        &rows,
    )
}

/// Whether it verifies anything now.
fn state(credential: &control::Credential, now: Micros) -> &'static str {
    if credential.revoked_at.is_some() {
        "revoked"
    } else if credential.expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else if credential.not_before.is_some_and(|at| at > now) {
        "pending"
    } else {
        "live"
    }
}
