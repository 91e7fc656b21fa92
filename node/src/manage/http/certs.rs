//! `PUT` and `GET /api/v1/certs/NAME`: certificates of the fleet. A key comes in and never goes out.

use std::sync::Arc;

use fleetbal_raft::model::{Batch, CertificateName, Change, Typist};
use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::super::Context;
use super::super::execute::change::carry_out;
use super::Answer;
use super::answer::{plain, refuse};
use super::body::body;
use crate::clock;
use crate::tls::{Offer, pem};

/// What stands in front of a name.
pub(super) const PATH: &str = "/api/v1/certs/";

/// The chain of a certificate.
pub(super) fn show(request: &Request<Incoming>, context: &Context) -> Answer {
    let name = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    match context.view.load().config.certificate(name) {
        Some(certificate) => plain(StatusCode::OK, pem(certificate).trim_end()),
        None => *refuse(StatusCode::NOT_FOUND, "there is no such certificate"),
    }
}

/// Makes the body, a chain and its key, a certificate of the fleet.
pub(super) async fn put(request: Request<Incoming>, context: &Context, typist: &Typist) -> Answer {
    let name = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    let name = match CertificateName::parse(name) {
        Ok(name) => name,
        Err(error) => return *refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return *refusal,
    };
    let offer = match Offer::read(&bytes, clock::now()) {
        Ok(offer) => offer,
        Err(error) => return *refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    let seal = context.cluster.seal();
    let told = format!(
        "certificate {name}: {}, until {}",
        offer.facts.names.join(","),
        clock::rfc3339(offer.facts.ends)
    );
    // The same again is no change; sealed anew, it would be one.
    let there = context.view.load().config.certificate(name.as_str()).cloned();
    let certificate = match there.filter(|there| offer.is(there, seal)) {
        Some(there) => there,
        None => match offer.seal(&name, seal) {
            Ok(certificate) => Arc::new(certificate),
            Err(error) => return *refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
    };
    let change = Change::PutCertificate { name, certificate };
    match carry_out(Batch::of(vec![change]), typist, context).await {
        Ok(version) => plain(StatusCode::OK, &format!("{told}; version {version}")),
        Err(refusal) => *refuse(StatusCode::CONFLICT, &refusal.text),
    }
}
