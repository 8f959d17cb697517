//! Where deliveries arrive.

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::Method,
    web::{self, ServiceConfig},
};

use crate::{door::Door, error::Rejection, handshake, receive::receive};

/// Both forms of the route take deliveries and handshakes.
pub(crate) fn configure(cfg: &mut ServiceConfig) {
    let webhooks = web::resource(["/v1/webhooks", "/v1/webhooks/{integration_id}"])
        .route(web::post().to(receive))
        .route(web::method(Method::OPTIONS).to(shake_hands))
        .default_service(web::to(wrong_method));
    cfg.service(webhooks);
}

async fn shake_hands(request: HttpRequest, door: web::Data<Door>) -> HttpResponse {
    handshake::answer(&request).unwrap_or_else(|rejection| refuse(&door, &rejection))
}

async fn wrong_method(door: web::Data<Door>) -> HttpResponse {
    refuse(&door, &Rejection::MethodNotAllowed)
}

/// For every path that is none of ours.
pub(crate) async fn nothing_here(door: web::Data<Door>) -> HttpResponse {
    refuse(&door, &Rejection::NotFound)
}

fn refuse(door: &Door, rejection: &Rejection) -> HttpResponse {
    door.refusals.note(rejection, None);
    rejection.error_response()
}
