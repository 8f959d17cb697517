//! What to do with a new integration: the pipeline to paste into Golioth, and a `curl` to try it.

use std::fmt;

use control::{Integration, Issued, Provider, Scheme};
use secrecy::ExposeSecret as _;

/// The name of the Pipeline Secret in what is pasted.
const SECRET_NAME: &str = "FLEETLOG_API_KEY";

/// Instructions for people. It holds the secret.
pub(crate) struct Recipe<'a> {
    pub(crate) integration: &'a Integration,
    pub(crate) url: &'a str,
    pub(crate) issued: Option<&'a Issued>,
}

impl fmt::Display for Recipe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Integration { id, name, .. } = self.integration;
        writeln!(f, "Integration {name} takes deliveries at\n\n  {}\n", self.url)?;
        let Some(issued) = self.issued else {
            return writeln!(
                f,
                "It has no credential yet, so it takes nothing. Add one:\n\n  \
                 fleetlog credential add {id} --scheme hmac-sha256"
            );
        };
        let secret = issued.secret.expose_secret();
        let header = header(&issued.credential.scheme);
        writeln!(
            f,
            "Its secret, which is shown now and never again:\n\n  {secret}\n"
        )?;
        match self.integration.provider {
            Provider::Golioth => self.golioth(f, &header)?,
            Provider::AwsIot | Provider::AzureIotHub | Provider::Mqtt => {
                writeln!(f, "Send it in the header `{header}`.\n")?;
            }
        }
        self.curl(f, &header, secret)
    }
}

impl Recipe<'_> {
    fn golioth(&self, f: &mut fmt::Formatter<'_>, header: &str) -> fmt::Result {
        let url = self.url;
        let project = match &self.integration.policy.project {
            Some(project) => format!("project {project}"),
            None => "your project".to_owned(),
        };
        write!(
            f,
            "\
In Golioth, in {project}:

1. Under Credentials > Secrets, add a secret named {SECRET_NAME} with that value.
2. Under Pipelines, create a pipeline and paste this. It sends everything as the devices do; CBOR is understood.

filter:
  path: \"*\"
steps:
  - name: fleetlog
    destination:
      type: webhook
      version: v1
      parameters:
        url: {url}
        headers:
          {header}: ${SECRET_NAME}

   If another destination in the same pipeline needs JSON, put a transformer before it; fleetlog takes both:

filter:
  path: \"*\"
  content_type: application/cbor
steps:
  - name: json
    transformer:
      type: cbor-to-json
      version: v1
  - name: fleetlog
    destination:
      type: webhook
      version: v1
      parameters:
        url: {url}
        headers:
          {header}: ${SECRET_NAME}

Golioth's webhooks name devices by id alone, and carry what devices stream, nothing else.

"
        )
    }

    fn curl(&self, f: &mut fmt::Formatter<'_>, header: &str, secret: &str) -> fmt::Result {
        let subject = self.integration.policy.project.as_deref().unwrap_or("my-project");
        writeln!(
            f,
            "\
To try it, from a shell that keeps no history:

  curl -i {url} \\
    -H {proof} \\
    -H 'Ce-Type: io.golioth.data.v1/.s/sensor' -H 'Ce-Source: my-first-device-id' \\
    -H {subject} \\
    -H 'Content-Type: application/json' -d '{{\"temp\": 21.5}}'",
            url = quoted(self.url),
            proof = quoted(&format!("{header}: {secret}")),
            subject = quoted(&format!("Ce-Subject: {subject}")),
        )
    }
}

/// The header that carries the secret.
fn header(scheme: &Scheme) -> String {
    scheme.parameters().header.unwrap_or_default()
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use control::{Credential, Name, Parameters, Policy, SchemeKind};
    use schema::{CredentialId, IntegrationId, Micros, OrganizationId};
    use uuid::Uuid;

    use super::*;

    fn integration(project: Option<&str>) -> Integration {
        let epoch: Micros = "1970-01-01T00:00:00Z".parse().unwrap();
        Integration {
            id: IntegrationId(Uuid::from_u128(1)),
            organization: OrganizationId(Uuid::from_u128(2)),
            name: Name::new("greenhouse").unwrap(),
            provider: Provider::Golioth,
            policy: Policy {
                project: project.map(str::to_owned),
                online_interval: Duration::from_mins(1),
                ..Policy::usual()
            },
            created_at: epoch,
            updated_at: epoch,
        }
    }

    fn issued(integration: &Integration) -> Issued {
        Issued {
            credential: Credential {
                id: CredentialId(Uuid::from_u128(3)),
                organization: integration.organization,
                integration: integration.id,
                scheme: Scheme::new(SchemeKind::SharedSecret, Parameters::default()).unwrap(),
                not_before: None,
                expires_at: None,
                revoked_at: None,
                sealing_key_id: "k".to_owned(),
                created_at: integration.created_at,
                last_used_at: None,
            },
            secret: "s3cret-s3cret".into(),
        }
    }

    #[test]
    fn a_recipe_holds_what_to_paste_and_a_curl_that_matches() {
        let integration = integration(Some("it's mine"));
        let issued = issued(&integration);
        let recipe = Recipe {
            integration: &integration,
            url: "https://fleet.example.com/v1/webhooks/x",
            issued: Some(&issued),
        };
        let text = recipe.to_string();
        assert!(
            text.contains("url: https://fleet.example.com/v1/webhooks/x\n"),
            "{text}"
        );
        assert!(text.contains("x-api-key: $FLEETLOG_API_KEY\n"), "{text}");
        assert!(text.contains("-H 'x-api-key: s3cret-s3cret'"), "{text}");
        assert!(text.contains(r"-H 'Ce-Subject: it'\''s mine'"), "{text}");
        assert_eq!(
            text.matches("s3cret-s3cret").count(),
            2,
            "the pipeline names the secret only"
        );
    }

    #[test]
    fn an_integration_without_a_credential_says_how_to_add_one() {
        let integration = integration(None);
        let recipe = Recipe {
            integration: &integration,
            url: "u",
            issued: None,
        };
        assert!(recipe.to_string().contains("fleetlog credential add 00000000"));
    }
}
