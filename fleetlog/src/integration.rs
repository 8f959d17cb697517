//! `fleetlog integration`: configured sources of events.

mod edit;
mod recipe;

use std::{num::NonZeroU32, time::Duration};

use clap::{Args, Subcommand};
use control::{Name, NewCredential, NewIntegration, Parameters, Policy, Provider, Scheme, SchemeKind};
use schema::{IntegrationId, OrganizationId, Strategy};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use self::recipe::Recipe;
use crate::{
    audit::{self, Change},
    config::{AuthorArgs, KafkaArgs, OwnerDatabase, PublicUrl, SealingArgs},
    failure::Failure,
    output, parse,
};

/// Creates, lists, shows and edits integrations: configured sources of events, e.g. one Golioth project's webhook
#[derive(Subcommand)]
pub(crate) enum Integration {
    Create(Box<Create>),
    List(List),
    Show(Show),
    Edit(Box<edit::Edit>),
}

/// Creates an integration, with a shared secret unless told otherwise, and prints what to paste into Golioth
///
/// The secret is printed once and never again. An integration without a credential takes nothing: add one with
/// `fleetlog credential add`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  fleetlog integration create greenhouse --organization ID --provider golioth --project my-project
  fleetlog integration create relay --organization ID --provider golioth --no-credential --json")]
pub(crate) struct Create {
    /// What people call it; unique within the organization, 1 to 200 characters
    name: Name,
    /// Whose devices it speaks of, for ever
    #[arg(long, value_name = "ID")]
    organization: OrganizationId,
    /// Which cloud's devices it speaks of
    #[arg(long, value_name = "PROVIDER", value_parser = parse::provider())]
    provider: Provider,
    /// Golioth project it is bound to: a delivery that names another, or none, is refused
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Make no credential yet
    #[arg(long)]
    no_credential: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print {"integration_id", "url", "credential_id", "secret"}, without the last two if there is no credential
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    public_url: PublicUrl,
    #[command(flatten)]
    database: OwnerDatabase,
    #[command(flatten)]
    sealing: SealingArgs,
    #[command(flatten)]
    author: AuthorArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// How the deliveries and devices of an integration are to be treated.
#[derive(Args)]
#[command(next_help_heading = "Policy")]
struct PolicyArgs {
    /// How long after evidence of life a device counts as online: whole seconds, up to 366 days
    #[arg(long, value_name = "D", default_value = "10m", value_parser = humantime::parse_duration)]
    online_interval: Duration,
    /// How long after evidence of life a silent device counts as offline, not below the interval
    #[arg(long, value_name = "D", default_value = "1h", value_parser = humantime::parse_duration)]
    offline_timeout: Duration,
    /// JSON pointer to a battery level in readings, e.g. /battery/level; up to 16
    /// [default: /battery, /battery_level, /battery/level, /bat]
    #[arg(long, value_name = "POINTER")]
    battery_pointer: Vec<String>,
    /// JSON pointer to a signal strength in readings; up to 16 [default: /signal, /rssi, /signal/rssi, /rsrp]
    #[arg(long, value_name = "POINTER")]
    signal_pointer: Vec<String>,
    /// Field of an array element that holds the element's own time
    #[arg(long, value_name = "FIELD")]
    reading_time_field: Option<String>,
    /// Refuse signed deliveries in which neither a time nor an id is signed: they could be replayed for ever
    #[arg(long)]
    refuse_replayable: bool,
    /// Deliveries per second beyond which 429 is answered. Off by default: a refused delivery may never come again
    #[arg(long, value_name = "N")]
    rate_ceiling: Option<NonZeroU32>,
    /// Who wins when a field was changed on both sides: prefer_local, prefer_remote, manual or merge; may be repeated
    #[arg(long, value_name = "FIELD=STRATEGY", value_parser = parse::strategy)]
    strategy: Vec<(String, Strategy)>,
    /// Package whose version is the device's firmware version [default: the newest report of any package]
    #[arg(long, value_name = "PACKAGE")]
    primary_package: Option<String>,
}

/// Lists integrations by name
#[derive(Args)]
pub(crate) struct List {
    /// Only those of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Print a JSON object a line: integration_id, organization_id, name, provider, url, and the policy
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    public_url: PublicUrl,
    #[command(flatten)]
    database: OwnerDatabase,
}

/// Shows an integration and its credentials, without their secrets
#[derive(Args)]
pub(crate) struct Show {
    /// The integration
    #[arg(value_name = "INTEGRATION_ID")]
    id: IntegrationId,
    /// Print one JSON object, with `credentials`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    public_url: PublicUrl,
    #[command(flatten)]
    database: OwnerDatabase,
}

impl Integration {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Edit(command) => command.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        // Asked for first, so that no integration is left without a credential for want of a key.
        let keyring = (!self.no_credential)
            .then(|| self.sealing.keyring())
            .transpose()?;
        let new = NewIntegration {
            policy: self.policy.policy(self.project.clone()),
            ..NewIntegration::new(self.organization, self.name.clone(), self.provider)
        };
        let made = control::integration::create(&pool, &new).await?;
        let url = self.public_url.of(made.id);
        let issued = match &keyring {
            Some(keyring) => {
                let scheme =
                    Scheme::new(SchemeKind::SharedSecret, Parameters::default()).map_err(Failure::usage)?;
                let new = NewCredential::new(scheme);
                Some(control::credential::add(&pool, keyring, made.id, new).await?)
            }
            None => None,
        };

        if self.json {
            let mut line = json!({ "integration_id": made.id, "url": url });
            if let Some(issued) = &issued {
                line["credential_id"] = json!(issued.credential.id);
                line["secret"] = json!(issued.secret.expose_secret());
            }
            output::json(&line)?;
        } else {
            let recipe = Recipe {
                integration: &made,
                url: &url,
                issued: issued.as_ref(),
            };
            output::line(recipe.to_string().trim_end())?;
        }
        let mut fields = vec![
            ("name", json!(made.name)),
            ("provider", json!(made.provider)),
            ("policy", json!(made.policy)),
        ];
        if let Some(issued) = &issued {
            fields.push(("credential", json!(issued.credential.id)));
        }
        let change = Change {
            organization: made.organization,
            integration: made.id,
            what: "created",
            fields,
            author: self.author.author(),
        };
        audit::keep(&self.kafka, change).await;
        Ok(())
    }
}

impl PolicyArgs {
    fn policy(&self, project: Option<String>) -> Policy {
        let usual = Policy::usual();
        let or_usual = |given: &Vec<String>, usual| if given.is_empty() { usual } else { given.clone() };
        Policy {
            project,
            online_interval: self.online_interval,
            offline_timeout: self.offline_timeout,
            battery_pointers: or_usual(&self.battery_pointer, usual.battery_pointers),
            signal_pointers: or_usual(&self.signal_pointer, usual.signal_pointers),
            reading_time_field: self.reading_time_field.clone(),
            refuse_replayable: self.refuse_replayable,
            rate_ceiling: self.rate_ceiling,
            strategies: self.strategy.iter().cloned().collect(),
            primary_package: self.primary_package.clone(),
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let all = control::integration::list(&self.database.pool()?, self.organization).await?;
        if self.json {
            for one in &all {
                output::json(&shown(one, &self.public_url)?)?;
            }
            return Ok(());
        }
        let rows: Vec<_> = all
            .iter()
            .map(|one| {
                [
                    one.id.to_string(),
                    one.name.to_string(),
                    one.provider.to_string(),
                    output::or_dash(one.policy.project.as_ref()),
                    one.organization.to_string(),
                    one.created_at.to_string(),
                ]
            })
            .collect();
        output::table(
            ["id", "name", "provider", "project", "organization", "created"],
            &rows,
        )
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let pool = self.database.pool()?;
        let integration = control::integration::find(&pool, self.id).await?;
        let credentials = control::credential::list(&pool, self.id).await?;
        let mut shown = shown(&integration, &self.public_url)?;
        if self.json {
            let credentials = credentials.iter().map(crate::credential::shown);
            shown["credentials"] = credentials.collect::<Result<Vec<_>, _>>()?.into();
            return output::json(&shown);
        }
        let rows: Vec<_> = shown
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| [name.clone(), plain(value)])
            .collect();
        output::table(["", ""], &rows)?;
        output::line("")?;
        crate::credential::print_table(&credentials)
    }
}

/// An integration as JSON.
fn shown(integration: &control::Integration, public_url: &PublicUrl) -> Result<Value, Failure> {
    let mut shown = serde_json::to_value(integration).map_err(anyhow::Error::from)?;
    if let Some(fields) = shown.as_object_mut() {
        for (ours, theirs) in [("integration_id", "id"), ("organization_id", "organization")] {
            let id = fields.remove(theirs).unwrap_or_default();
            fields.insert(ours.to_owned(), id);
        }
        fields.insert("url".to_owned(), public_url.of(integration.id).into());
    }
    Ok(shown)
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
