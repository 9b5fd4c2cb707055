//! Keystores and truststores in the three formats Java operators have: PEM, PKCS#12 and JKS.
//!
//! What comes out is DER: the private key as PKCS#8 where the format has it so, certificates as they are. Whether a
//! certificate is valid or trusted is not decided here.

mod jks;
mod pem;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};

/// A store larger than this is not read. Unit: bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A certificate in DER.
pub(crate) type Certificate = Vec<u8>;

/// What a store holds. Where it has several private keys, the first one counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keystore {
    pub(crate) identity: Option<Identity>,
    /// Certificates that belong to no key.
    pub(crate) trusted: Vec<Certificate>,
}

/// A private key and the certificates that speak for it, its own first.
#[derive(Clone)]
pub(crate) struct Identity {
    /// DER.
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<Certificate>,
}

/// A private key, in DER, by the structure it is in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PrivateKey {
    Pkcs8(Vec<u8>),
    /// RSA only.
    Pkcs1(Vec<u8>),
    /// Elliptic curves only.
    Sec1(Vec<u8>),
}

/// Keys stay out of logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {} certificates", self.chain.len())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Pem,
    Pkcs12,
    Jks,
}

impl Format {
    /// As `...keystore.type` names it; `None` for formats not read here.
    pub(crate) fn parse(name: &str) -> Option<Format> {
        match name.to_ascii_uppercase().as_str() {
            "PEM" => Some(Format::Pem),
            "PKCS12" => Some(Format::Pkcs12),
            "JKS" => Some(Format::Jks),
            _ => None,
        }
    }

    /// As ZooKeeper tells it by the file's name.
    pub(crate) fn of_file(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "pem" => Some(Format::Pem),
            "p12" | "pfx" => Some(Format::Pkcs12),
            "jks" => Some(Format::Jks),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeystoreError {
    #[error("{} cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: ContentError },
}

/// What is wrong inside of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentError {
    #[error("this is not a {0}")]
    NotA(&'static str),
    #[error("it is damaged, or the password is wrong")]
    DamagedOrPassword,
    #[error("the password does not open its private key")]
    KeyPassword,
    #[error("its private key is encrypted, and no password is given")]
    PasswordNeeded,
    #[error("it has {0}, which is not supported")]
    Unsupported(&'static str),
}

/// Reads a store. An empty password is none.
pub(crate) fn open(path: &Path, format: Format, password: &str) -> Result<Keystore, KeystoreError> {
    let io = |source| KeystoreError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(io)?.len() > FILE_BYTES_MAX {
        return Err(KeystoreError::TooLarge { path: path.to_owned() });
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let read = match format {
        Format::Pem => pem::read(&bytes, password),
        Format::Pkcs12 => pkcs12(&bytes, password),
        Format::Jks => jks::read(&bytes, password),
    };
    read.map_err(|why| KeystoreError::Content { path: path.to_owned(), why })
}

fn pkcs12(bytes: &[u8], password: &str) -> Result<Keystore, ContentError> {
    // One DER sequence; anything else is another format, whatever the password.
    if bytes.first() != Some(&0x30) {
        return Err(ContentError::NotA("PKCS#12 store"));
    }
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed)
        .map_err(|_| ContentError::DamagedOrPassword)?;
    let mut read = Keystore::default();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(found) => {
                let chain = found.certs().iter().map(|one| one.as_der().to_vec()).collect();
                let key = PrivateKey::Pkcs8(found.key().as_der().to_vec());
                read.identity.get_or_insert(Identity { key, chain });
            }
            KeyStoreEntry::Certificate(certificate) => read.trusted.push(certificate.as_der().to_vec()),
            KeyStoreEntry::Secret(_) => {}
        }
    }
    Ok(read)
}
