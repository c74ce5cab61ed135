//! Who calls. A client that had to show a certificate is who that says, whatever it calls itself.

use sha2::{Digest as _, Sha256};
use tonic::Request;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// Characters of a name in the history.
const MOST: usize = 128;

/// Whom to record as the author of what a request asks for; `said` is what the client calls itself.
pub(super) fn author<T>(request: &Request<T>, said: &str) -> String {
    let certificates = request.peer_certs();
    let first = certificates.as_ref().and_then(|certificates| certificates.first());
    first.map_or_else(|| said.to_owned(), |certificate| name(certificate))
}

/// Its common name, else the first of its other names, else its fingerprint.
fn name(der: &[u8]) -> String {
    let mut name = named(der).unwrap_or_default();
    name.retain(|c| !c.is_control());
    if name.is_empty() {
        let fingerprint = senren_api::state::hex(&Sha256::digest(der));
        return format!("certificate sha256:{fingerprint}");
    }
    name.chars().take(MOST).collect()
}

fn named(der: &[u8]) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    if let Some(common) = common.filter(|name| !name.is_empty()) {
        return Some(common.to_owned());
    }
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => {
            Some((*name).to_owned())
        }
        _ => None,
    })
}
