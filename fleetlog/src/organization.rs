//! `fleetlog organization`: tenants.

use clap::{Args, Subcommand};
use control::Name;
use serde_json::json;

use crate::{config::OwnerDatabase, failure::Failure, output};

/// Creates and lists organizations: devices, integrations and people belong to exactly one
#[derive(Subcommand)]
pub(crate) enum Organization {
    Create(Create),
    List(List),
}

/// Creates an organization and prints its id
#[derive(Args)]
pub(crate) struct Create {
    /// What people call it; unique, 1 to 200 characters
    name: Name,
    /// Print {"organization_id"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OwnerDatabase,
}

/// Lists all organizations by name
#[derive(Args)]
pub(crate) struct List {
    /// Print a JSON object a line: organization_id, name, created_at
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OwnerDatabase,
}

impl Organization {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(command) => command.run().await,
            Self::List(command) => command.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let made = control::organization::create(&self.database.pool()?, &self.name).await?;
        if self.json {
            output::json(&json!({ "organization_id": made.id }))
        } else {
            output::line(made.id)
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let all = control::organization::list(&self.database.pool()?).await?;
        if !self.json {
            let rows: Vec<_> = all
                .iter()
                .map(|one| {
                    [
                        one.id.to_string(),
                        one.name.to_string(),
                        one.created_at.to_string(),
                    ]
                })
                .collect();
            return output::table(["id", "name", "created"], &rows);
        }
        for one in all {
            let line = json!({ "organization_id": one.id, "name": one.name, "created_at": one.created_at });
            output::json(&line)?;
        }
        Ok(())
    }
}
