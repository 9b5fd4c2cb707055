//! PEM: certificates and a private key as text, in any order, in one file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;

use super::{ContentError, Identity, Keystore, PrivateKey};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Where there is a private key, the certificates are its chain; else they are trusted.
pub(super) fn read(bytes: &[u8], password: &str) -> Result<Keystore, ContentError> {
    let text = str::from_utf8(bytes).map_err(|_| ContentError::NotA("PEM file"))?;
    let mut certificates = Vec::new();
    let mut key = None;
    for (label, der) in sections(text)? {
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => certificates.push(der),
            "PRIVATE KEY" => key = Some(PrivateKey::Pkcs8(der)),
            "RSA PRIVATE KEY" => key = Some(PrivateKey::Pkcs1(der)),
            "EC PRIVATE KEY" => key = Some(PrivateKey::Sec1(der)),
            "ENCRYPTED PRIVATE KEY" => key = Some(PrivateKey::Pkcs8(decrypted(&der, password)?)),
            _ => {}
        }
    }
    if certificates.is_empty() && key.is_none() {
        return Err(ContentError::NotA("PEM file with certificates or a private key"));
    }
    Ok(match key {
        Some(key) => Keystore { identity: Some(Identity { key, chain: certificates }), trusted: Vec::new() },
        None => Keystore { identity: None, trusted: certificates },
    })
}

fn decrypted(der: &[u8], password: &str) -> Result<Vec<u8>, ContentError> {
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| ContentError::Unsupported("a private key under an unknown cipher"))?;
    if password.is_empty() {
        return Err(ContentError::PasswordNeeded);
    }
    let key = encrypted.decrypt(password).map_err(|_| ContentError::KeyPassword)?;
    Ok(key.as_bytes().to_vec())
}

/// Label and DER of each section.
fn sections(text: &str) -> Result<Vec<(&str, Vec<u8>)>, ContentError> {
    let mut found = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines().map(str::trim) {
        match &mut open {
            None => {
                let label = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
                open = label.map(|label| (label, String::new()));
            }
            Some((label, body)) if line.starts_with(END) => {
                // The old encryption of OpenSSL says so in headers, which are no base64.
                if body.contains("DEK-Info") {
                    return Err(ContentError::Unsupported(
                        "a private key encrypted as OpenSSL once did; make it PKCS#8",
                    ));
                }
                let der = STANDARD.decode(body.as_bytes()).map_err(|_| ContentError::DamagedOrPassword)?;
                found.push((*label, der));
                open = None;
            }
            Some((_, body)) => body.push_str(line),
        }
    }
    Ok(found)
}
