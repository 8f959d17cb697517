//! Where roles tell of what they do, under the names that OpenTelemetry's specification gives.

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use service::traces::{HeaderMap, Sampling, Settings, Traces, Url};

use crate::failure::Failure;

/// Where spans go.
#[derive(Args, Clone)]
#[command(next_help_heading = "Traces")]
pub(crate) struct TraceArgs {
    /// Collector that spans are sent to, over HTTP as protobuf: its base URL, e.g. http://127.0.0.1:4318, to which
    /// /v1/traces is added. Without it no spans are made
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    otlp_endpoint: Option<SecretString>,
    /// The same as a whole URL, which is taken as it is; wins over the other
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    otlp_traces_endpoint: Option<SecretString>,
    /// Headers that are sent along, e.g. a token: name=value, separated by commas, values percent-encoded
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        value_name = "NAME=VALUE,…"
    )]
    otlp_headers: Option<SecretString>,
    /// What this process is called in traces [default: fleetlog-ROLE]
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    otel_service_name: Option<String>,
    /// Which traces are told: always_on, always_off, traceidratio, or one of these after parentbased_, which goes by
    /// what the sender decided where it did
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_name = "NAME", default_value = Sampling::USUAL)]
    traces_sampler: String,
    /// The share of them, from 0 to 1, for a sampler with a ratio [default: 1]
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE")]
    traces_sampler_arg: Option<String>,
}

/// A variable that is set to nothing says nothing.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn said_in_secret(text: Option<&SecretString>) -> Option<&str> {
    text.map(ExposeSecret::expose_secret)
        .filter(|text| !text.is_empty())
}

impl TraceArgs {
    /// Where spans of a role go.
    pub(crate) fn traces(&self, role: &str) -> Result<Traces, Failure> {
        match self.settings()? {
            Some(settings) => Traces::to(role, settings).map_err(|error| Failure::Failed(error.into())),
            None => Ok(Traces::off()),
        }
    }

    fn settings(&self) -> Result<Option<Settings>, Failure> {
        let whole = said_in_secret(self.otlp_traces_endpoint.as_ref()).map(str::to_owned);
        let from_base = || {
            let base = said_in_secret(self.otlp_endpoint.as_ref())?;
            Some(format!("{}/v1/traces", base.trim_end_matches('/')))
        };
        let Some(endpoint) = whole.or_else(from_base) else {
            return Ok(None);
        };
        let sampler = said(Some(&self.traces_sampler)).unwrap_or(Sampling::USUAL);
        let sampling = Sampling::named(sampler, said(self.traces_sampler_arg.as_ref()));
        Ok(Some(Settings {
            endpoint: parse_endpoint(&endpoint)?,
            headers: parse_headers(said_in_secret(self.otlp_headers.as_ref()).unwrap_or_default())?,
            service_name: said(self.otel_service_name.as_ref()).map(str::to_owned),
            sampling: sampling.map_err(Failure::usage)?,
        }))
    }
}

/// What is wrong is said without the text, which may hold a password.
fn parse_endpoint(text: &str) -> Result<Url, Failure> {
    let url = text.parse::<Url>().ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()));
    let url = url.ok_or_else(|| {
        Failure::usage(
            "the OTLP endpoint is no URL that begins with http:// or https://, e.g. http://127.0.0.1:4318",
        )
    })?;
    if url.scheme() == "https" && !cfg!(feature = "tls") {
        let needed = "an OTLP endpoint with https:// needs a build with the feature `tls`; or send to a collector \
                      beside this process, over http://";
        return Err(Failure::usage(needed));
    }
    Ok(url)
}

/// Reads `name=value` pairs. An error names no value.
fn parse_headers(text: &str) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let malformed =
            || Failure::usage("OTLP headers are written name=value,name=value, values percent-encoded");
        let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
        let value = percent_encoding::percent_decode_str(value.trim());
        let value = value.decode_utf8().map_err(|_| malformed())?;
        let mut value: reqwest::header::HeaderValue = value.parse().map_err(|_| malformed())?;
        value.set_sensitive(true);
        let name: reqwest::header::HeaderName = name.trim().parse().map_err(|_| malformed())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Told {
        #[command(flatten)]
        traces: TraceArgs,
    }

    fn settings(words: &[&str]) -> Result<Option<Settings>, Failure> {
        let words = ["role"].iter().chain(words);
        Told::try_parse_from(words)
            .expect("known arguments")
            .traces
            .settings()
    }

    fn refusal(words: &[&str]) -> String {
        settings(words)
            .err()
            .map(|failure| failure.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn without_an_endpoint_nothing_is_sent() {
        assert!(settings(&[]).unwrap().is_none());
        assert!(
            settings(&["--otlp-endpoint=", "--traces-sampler=nonsense"])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_base_gets_the_path_and_a_whole_url_is_taken_as_it_is() {
        let endpoint = |words: &[&str]| settings(words).unwrap().unwrap().endpoint.to_string();
        let base = "--otlp-endpoint=http://c:4318";
        assert_eq!(endpoint(&[base]), "http://c:4318/v1/traces");
        assert_eq!(endpoint(&["--otlp-endpoint=http://c/x/"]), "http://c/x/v1/traces");
        assert_eq!(
            endpoint(&[base, "--otlp-traces-endpoint=http://d/t"]),
            "http://d/t"
        );
    }

    #[test]
    fn headers_are_unquoted_and_hidden() {
        let told = settings(&[
            "--otlp-endpoint=http://c",
            "--otlp-headers=authorization=Bearer%20hunter2, x-a=b",
        ]);
        let headers = told.unwrap().unwrap().headers;
        assert_eq!(headers["authorization"], "Bearer hunter2");
        assert_eq!(headers["x-a"], "b");
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_malformed_is_refused_and_not_repeated() {
        for words in [
            &["--otlp-endpoint=hunter2:4318"][..],
            &["--otlp-endpoint=grpc://u:hunter2@c"],
            &["--otlp-endpoint=http://c", "--otlp-headers=hunter2"],
            &["--otlp-endpoint=http://c", "--otlp-headers=a=hunter2%0a"],
        ] {
            let refusal = refusal(words);
            assert!(
                refusal.contains("OTLP") && !refusal.contains("hunter2"),
                "{refusal}"
            );
        }
        let refusal = refusal(&["--otlp-endpoint=http://c", "--traces-sampler=often"]);
        assert!(refusal.contains("parentbased_traceidratio"), "{refusal}");
    }
}
