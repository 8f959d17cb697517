//! One delivery, from its head to the answer.

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use control::Lookup;
use schema::IntegrationId;

use crate::{
    authenticate::claim,
    body,
    clock::now,
    delivery::Verified,
    door::Door,
    error::{Doubt, Rejection},
    integration_id,
    kept::Kept,
    metrics,
    normalize::normalize,
    trace::Told,
};

/// Accepts one delivery.
///
/// Answers `202` only once every in-sync replica holds all of it, or the spool has it on disk, with where it is.
pub(crate) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> HttpResponse {
    let begun = Instant::now();
    let named = integration_id::named(&request);
    let mut told = Told::of(&door.config.traces, begun);
    let delivered = deliver(&request, payload, &door, named, &mut told).await;
    told.end(&delivered, named.ok());
    let (answer, outcome) = match delivered {
        Ok(kept) => (HttpResponse::Accepted().json(kept), "accepted"),
        Err(rejection) => {
            door.refusals.note(&rejection, named.ok());
            (rejection.error_response(), rejection.reason())
        }
    };
    let took = begun.elapsed().as_secs_f64();
    ::metrics::histogram!(metrics::ANSWER_SECONDS, "outcome" => outcome).record(took);
    answer
}

async fn deliver(
    request: &HttpRequest,
    payload: web::Payload,
    door: &Door,
    named: Result<IntegrationId, Doubt>,
    told: &mut Told<'_>,
) -> Result<Kept, Rejection> {
    let received = now();
    let headers = request.headers();
    let limit = door.config.max_body_bytes;
    let integration = match door.registry.integration(named?).await {
        Lookup::Known(integration) => integration,
        Lookup::Unknown => return Err(Doubt::UnknownIntegration.into()),
        Lookup::Unavailable => return Err(Rejection::RegistryUnavailable),
    };
    let claim = claim(&integration, headers, received)?;
    body::check_declared(headers, limit)?;

    let lane = door.admission.lane(integration.id);
    let mut admitted = door.admission.enter(&lane, claim.is_proven());
    let body = body::read(payload, headers, &mut admitted, limit, door.config.body_timeout).await?;

    let delivery = Verified::verify(&integration, claim, headers, body, received)?;
    admitted.verified();
    told.follow(headers);
    door.registry.note_use(delivery.credential(), received);
    lane.pass(integration.rate_ceiling, Instant::now())?;

    let mut normalized = normalize(&delivery, limit)?;
    admitted.grow(normalized.n_bytes_unpacked)?;
    told.mark(&mut normalized);
    door.keep(&delivery, normalized).await
}
