//! Which integration a request names: in its path, in `X-Integration-ID`, or as `?integration_id=`.

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;
use schema::IntegrationId;

use crate::error::Doubt;

/// The name of the path's segment and of the query's parameter.
const NAME: &str = "integration_id";
const HEADER: &str = "x-integration-id";

/// The integration that all of them name.
pub(crate) fn named(request: &HttpRequest) -> Result<IntegrationId, Doubt> {
    let in_path = request.match_info().get(NAME).map(Cow::Borrowed);
    let in_headers = request
        .headers()
        .get_all(HEADER)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let in_query = request.query_string().split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Whoever else reads the query decodes names too, and would see another integration.
        let is_name = percent_decode_str(name)
            .decode_utf8()
            .is_ok_and(|name| name == NAME);
        is_name.then(|| percent_decode_str(value).decode_utf8_lossy())
    });
    agreed(in_path.into_iter().chain(in_headers).chain(in_query))
}

fn agreed<'a>(texts: impl Iterator<Item = Cow<'a, str>>) -> Result<IntegrationId, Doubt> {
    let mut named = None;
    for text in texts {
        let id: Option<IntegrationId> = text.parse().ok();
        if named.is_some_and(|other| other != id) {
            return Err(Doubt::ConflictingIntegration);
        }
        named = Some(id);
    }
    named.flatten().ok_or(Doubt::UnknownIntegration)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use rstest::rstest;

    use super::*;

    const ONE: &str = "00000000-0000-0000-0000-000000000001";
    const TWO: &str = "00000000-0000-0000-0000-000000000002";

    #[rstest]
    #[case::path(Some(ONE), &[], "", Ok(1))]
    #[case::header(None, &[ONE], "", Ok(1))]
    #[case::query(None, &[], "a=b&integration_id=00000000%2D0000-0000-0000-000000000001", Ok(1))]
    #[case::all(Some(ONE), &[ONE], "integration_id=00000000-0000-0000-0000-000000000001", Ok(1))]
    #[case::none(None, &[], "", Err(Doubt::UnknownIntegration))]
    #[case::no_id(Some("x"), &[], "", Err(Doubt::UnknownIntegration))]
    #[case::header_differs(Some(ONE), &[TWO], "", Err(Doubt::ConflictingIntegration))]
    #[case::header_is_no_id(Some(ONE), &["x"], "", Err(Doubt::ConflictingIntegration))]
    #[case::headers_differ(None, &[ONE, TWO], "", Err(Doubt::ConflictingIntegration))]
    #[case::query_differs(Some(ONE), &[], "integration_id=x", Err(Doubt::ConflictingIntegration))]
    #[case::query_spelt_otherwise(Some(ONE), &[], "integration%5Fid=x", Err(Doubt::ConflictingIntegration))]
    #[case::query_without_a_value(Some(ONE), &[], "integration_id", Err(Doubt::ConflictingIntegration))]
    #[case::another_parameter(Some(ONE), &[], "integration=x&%FF=x&", Ok(1))]
    fn what_names_an_integration_must_agree(
        #[case] path: Option<&'static str>,
        #[case] headers: &[&str],
        #[case] query: &str,
        #[case] expected: Result<u128, Doubt>,
    ) {
        let mut request = TestRequest::with_uri(&format!("/v1/webhooks?{query}"));
        if let Some(path) = path {
            request = request.param(NAME, path);
        }
        for header in headers {
            request = request.append_header((HEADER, *header));
        }
        let named = named(&request.to_http_request());
        assert_eq!(named.map(|id| id.0.as_u128()), expected);
    }
}
