//! Certificates: an authority for each resource, and what it signs.
//!
//! Pure but for the randomness of keys. The authority is one for all certificates of a resource, so that its
//! instances trust each other, and of nobody else. It outlives what it signs: a certificate that is renewed is
//! trusted by whoever trusted the last one. When it is itself replaced, both are trusted until the old one ends.

use std::{fmt, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use senren_api::state::hex;
use sha2::{Digest as _, Sha256};

/// How long an authority signs.
const AUTHORITY_DAYS: i64 = 3650;
/// The longest that what it signs may be valid.
pub(super) const MAX_DAYS: u16 = 1825;
/// Clocks differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What signs a resource's certificates.
pub(super) struct Authority {
    /// Names it: another one for every key.
    pub id: String,
    /// Its certificate, and before its end that of its predecessor, in PEM.
    pub bundle: String,
    /// Its private key, in PEM.
    pub key: String,
    /// When it ends.
    pub ends: Timestamp,
}

/// A certificate with its key, in PEM.
pub(super) struct Certificate {
    pub chain: String,
    pub key: String,
    /// When it should be replaced: a third of its time before its end.
    pub renew_at: Timestamp,
}

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Unmade(String);

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate can't be made: {}", self.0)
    }
}

impl From<rcgen::Error> for Unmade {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl Authority {
    /// A new one, which takes over what is trusted from `before`.
    pub(super) fn new(before: Option<&Authority>, now: Timestamp) -> Result<Self, Unmade> {
        let key = KeyPair::generate()?;
        let id = id(&key);
        let (begin, end) = (now.checked_sub(SKEW).map_err(out_of_range)?, after_days(now, AUTHORITY_DAYS)?);
        let mut params = authority_params(&id);
        params.not_before = offset(begin)?;
        params.not_after = offset(end)?;
        let own = params.self_signed(&key)?.pem();
        let trusted = before.filter(|before| before.ends > now).map(|before| first(&before.bundle));
        let bundle = own + trusted.unwrap_or_default();
        Ok(Self { id, bundle, key: key.serialize_pem(), ends: end })
    }

    /// True where it will be there as long as something that it signs now for `days`.
    pub(super) fn covers(&self, days: u16, now: Timestamp) -> bool {
        after_days(now, i64::from(days)).is_ok_and(|end| end <= self.ends)
    }

    /// A certificate for `hosts`, for a server and for a client: instances of a database are both to each other.
    pub(super) fn sign(&self, hosts: &[String], days: u16, now: Timestamp) -> Result<Certificate, Unmade> {
        let issuer = Issuer::new(authority_params(&self.id), KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = named(hosts.first().map_or("senren", String::as_str));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let end = after_days(now, i64::from(days))?;
        params.not_before = offset(now.checked_sub(SKEW).map_err(out_of_range)?)?;
        params.not_after = offset(end)?;
        let renew_at =
            end.checked_sub(SignedDuration::from_hours(i64::from(days) * 24 / 3)).map_err(out_of_range)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Certificate { chain: certificate.pem(), key: key.serialize_pem(), renew_at })
    }
}

/// What is wrong with the name or address of a host, if anything.
pub(super) fn check_host(host: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let fits = host.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label));
    (!fits).then(|| format!("{host:?} is neither a DNS name in lower case nor an IP address"))
}

/// Its certificate's fields, without the times: the same for the same key, so that they need not be read back.
fn authority_params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("senren {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A common name of no more than the 64 characters that it may have.
fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

fn id(key: &KeyPair) -> String {
    hex(Sha256::digest(key.der_bytes()).get(..8).unwrap_or_default())
}

/// The first certificate of a bundle.
fn first(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    let end = bundle.find(END).map_or(bundle.len(), |at| at + END.len());
    bundle.get(..(end + 1).min(bundle.len())).unwrap_or(bundle)
}

fn after_days(now: Timestamp, days: i64) -> Result<Timestamp, Unmade> {
    now.checked_add(SignedDuration::from_hours(days * 24)).map_err(out_of_range)
}

fn offset(time: Timestamp) -> Result<time::OffsetDateTime, Unmade> {
    time::OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(out_of_range)
}

fn out_of_range(error: impl fmt::Display) -> Unmade {
    Unmade(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring::ECDSA_P256_SHA256};

    use super::*;

    const DAY: i64 = 86_400;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * DAY).unwrap()
    }

    /// What a client that trusts `bundle` makes of a server `host` with this certificate.
    fn verify(bundle: &str, chain: &str, host: &str, now: Timestamp) -> Result<(), webpki::Error> {
        let trusted: Vec<CertificateDer<'_>> =
            CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap).collect();
        let anchors: Vec<_> = trusted.iter().map(|der| anchor_from_trusted_cert(der).unwrap()).collect();
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let certificate = EndEntityCert::try_from(&der)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            certificate.verify_for_usage(&[ECDSA_P256_SHA256], &anchors, &[], now, usage, None, None)?;
        }
        certificate.verify_is_valid_for_subject_name(&ServerName::try_from(host).unwrap())
    }

    #[test]
    fn what_an_authority_signs_is_trusted_for_its_hosts_and_its_time() {
        let authority = Authority::new(None, at(0)).unwrap();
        let hosts =
            ["cache.senren-default.svc", "*.cache-nodes.senren-default.svc", "127.80.0.1"].map(String::from);
        let made = authority.sign(&hosts, 90, at(0)).unwrap();
        let check = |host, day| verify(&authority.bundle, &made.chain, host, at(day));
        for host in ["cache.senren-default.svc", "cache-0.cache-nodes.senren-default.svc", "127.80.0.1"] {
            assert_eq!(check(host, 0), Ok(()), "{host}");
            assert_eq!(check(host, 89), Ok(()), "{host}");
        }
        assert!(check("other.senren-default.svc", 0).is_err());
        assert!(check("cache.senren-default.svc", 91).is_err());
        assert_eq!(made.renew_at, at(60));
        let stranger = Authority::new(None, at(0)).unwrap();
        assert!(verify(&stranger.bundle, &made.chain, "127.80.0.1", at(0)).is_err());
    }

    #[test]
    fn a_renewed_certificate_is_trusted_by_who_trusted_the_last_and_so_is_a_new_authority() {
        let first = Authority::new(None, at(0)).unwrap();
        let hosts = ["cache".to_owned()];
        let renewed = first.sign(&hosts, 365, at(3000)).unwrap();
        assert_eq!(verify(&first.bundle, &renewed.chain, "cache", at(3000)), Ok(()));
        assert!(first.covers(365, at(3000)) && !first.covers(365, at(3400)));

        let second = Authority::new(Some(&first), at(3400)).unwrap();
        let new = second.sign(&hosts, 365, at(3400)).unwrap();
        assert_eq!(verify(&second.bundle, &new.chain, "cache", at(3401)), Ok(()));
        let old = first.sign(&hosts, 200, at(3390)).unwrap();
        assert_eq!(verify(&second.bundle, &old.chain, "cache", at(3401)), Ok(()), "what runs on is trusted");
        assert_eq!(second.bundle.matches("BEGIN CERTIFICATE").count(), 2);
        let third = Authority::new(Some(&second), at(3500)).unwrap();
        assert_eq!(third.bundle.matches("BEGIN CERTIFICATE").count(), 2, "it does not grow for ever");
    }

    #[test]
    fn only_names_and_addresses_can_be_hosts() {
        for good in ["cache", "a-1.b.svc", "*.a.svc", "10.0.0.1", "::1"] {
            assert_eq!(check_host(good), None, "{good}");
        }
        for bad in ["", "A", "a..b", "*", "*.*.a", "a b", "-a", "http://a", "a:6379", &"x".repeat(64)] {
            assert!(check_host(bad).is_some(), "{bad}");
        }
    }
}
