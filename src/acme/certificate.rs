//! What a certificate says of itself.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// When a certificate is valid, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
    /// The host names, sorted.
    pub hosts: Vec<String>,
}

/// Reads the first certificate of a PEM file. Fails if that has none.
pub fn validity(pem: &[u8]) -> Result<Validity> {
    let der = CertificateDer::from_pem_slice(pem).context("no certificate in PEM")?;
    let certificate = Certificate::from_der(&der).context("no X.509 certificate")?;
    let certificate = certificate.tbs_certificate();
    let names = certificate.get_extension::<SubjectAltName>().context("its names cannot be read")?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    let mut hosts: Vec<_> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DnsName(host) => Some(host.as_str().to_owned()),
            _ => None,
        })
        .collect();
    hosts.sort();
    let time = |time: x509_cert::time::Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
    let validity = certificate.validity();
    Ok(Validity { from: time(validity.not_before), until: time(validity.not_after), hosts })
}

impl Validity {
    /// When a third of its time is left, as Let's Encrypt recommends.
    pub fn renewal(&self) -> SystemTime {
        self.until - self.lifetime() / 3
    }

    fn lifetime(&self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_is_renewed_when_a_third_of_its_time_is_left() {
        let mut params =
            rcgen::CertificateParams::new(["b.example.com".to_owned(), "a.example.com".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let validity = validity(pem.as_bytes()).unwrap();
        assert_eq!(validity.hosts, ["a.example.com", "b.example.com"]);
        let day = |days: u64| validity.from + Duration::from_secs(days * 24 * 3600);
        assert_eq!((validity.until, validity.renewal()), (day(90), day(60)));
        assert!(super::validity(b"nothing").is_err());
    }
}
