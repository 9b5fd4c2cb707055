//! Java's own format, JKS: big-endian, closed by a digest over password and content, each key under a cipher of its own.
//!
//! The format has no specification but `sun.security.provider.JavaKeyStore` and `KeyProtector` of the JDK.

use sha1::{Digest, Sha1};

use super::{Certificate, ContentError, Identity, Keystore, PrivateKey};

const MAGIC: u32 = 0xFEED_FEED;
/// JCEKS, the JDK's other format.
const OTHER_MAGIC: u32 = 0xCECE_CECE;
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;
const DIGEST_BYTES: usize = 20;
/// What the digest is taken over between password and content.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// 1.3.6.1.4.1.42.2.17.1.1, the JDK's key protector, in DER.
const KEY_PROTECTOR: &[u8] = &[0x06, 0x0A, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x2A, 0x02, 0x11, 0x01, 0x01];

pub(super) fn read(bytes: &[u8], password: &str) -> Result<Keystore, ContentError> {
    let password: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    match Reader(bytes).int() {
        Some(MAGIC) => {}
        Some(OTHER_MAGIC) => return Err(ContentError::Unsupported("the format JCEKS")),
        _ => return Err(ContentError::NotA("JKS store")),
    }
    let content_end = bytes.len().saturating_sub(DIGEST_BYTES);
    let (content, digest) = bytes.split_at(content_end);
    // Without a password nothing is checked, as in Java.
    if !password.is_empty() && sha1(&[&password, WHITENER, content]) != digest {
        return Err(ContentError::DamagedOrPassword);
    }
    let mut reader = Reader(content);
    reader.take(4);
    entries(&mut reader, &password).unwrap_or(Err(ContentError::DamagedOrPassword))
}

/// `None` where the content ends too early.
fn entries(reader: &mut Reader<'_>, password: &[u8]) -> Option<Result<Keystore, ContentError>> {
    let version = reader.int()?;
    let count = reader.int()?;
    let mut store = Keystore::default();
    for _ in 0..count {
        let tag = reader.int()?;
        let _alias = reader.text()?;
        let _made_at_ms = reader.take(8)?;
        match tag {
            PRIVATE_KEY => {
                let protected = reader.buffer()?;
                let certificates = reader.int()?;
                let mut chain = Vec::new();
                for _ in 0..certificates {
                    chain.push(certificate(reader, version)?);
                }
                match unprotected(protected, password) {
                    Ok(key) => {
                        store.identity.get_or_insert(Identity { key: PrivateKey::Pkcs8(key), chain });
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
            TRUSTED_CERTIFICATE => store.trusted.push(certificate(reader, version)?),
            _ => {
                return Some(Err(ContentError::Unsupported(
                    "an entry that is neither a key nor a certificate",
                )));
            }
        }
    }
    Some(Ok(store))
}

fn certificate(reader: &mut Reader<'_>, version: u32) -> Option<Certificate> {
    if version >= 2 {
        let _kind = reader.text()?;
    }
    Some(reader.buffer()?.to_vec())
}

/// Takes the JDK's cipher off a private key: a key stream of digests, and a digest of password and key behind it.
fn unprotected(wrapped: &[u8], password: &[u8]) -> Result<Vec<u8>, ContentError> {
    let protected =
        protected_bytes(wrapped).ok_or(ContentError::Unsupported("a key under an unknown cipher"))?;
    if password.is_empty() {
        return Err(ContentError::PasswordNeeded);
    }
    let shape = protected.split_first_chunk::<DIGEST_BYTES>();
    let Some((salt, (cipher, check))) = shape
        .and_then(|(salt, rest)| Some((salt, rest.split_at_checked(rest.len().checked_sub(DIGEST_BYTES)?)?)))
    else {
        return Err(ContentError::DamagedOrPassword);
    };
    let mut stream = *salt;
    let mut key = Vec::with_capacity(cipher.len());
    for block in cipher.chunks(DIGEST_BYTES) {
        stream = sha1(&[password, &stream]);
        key.extend(block.iter().zip(stream).map(|(byte, mask)| byte ^ mask));
    }
    if sha1(&[password, &key]) != check { Err(ContentError::KeyPassword) } else { Ok(key) }
}

/// SEQUENCE { SEQUENCE { the key protector, NULL }, OCTET STRING }: the octets.
fn protected_bytes(wrapped: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader(Reader(wrapped).element(0x30)?);
    let algorithm = outer.element(0x30)?;
    algorithm.starts_with(KEY_PROTECTOR).then_some(())?;
    outer.element(0x04)
}

fn sha1(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha1::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(usize::from(length))
    }

    fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()?).ok()?;
        self.take(length)
    }

    /// The content of the next DER element, which has this tag.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let head = self.take(2)?;
        (head[0] == tag).then_some(())?;
        let length = match usize::from(head[1]) {
            short @ 0..0x80 => short,
            long => {
                let bytes = self.take(long & 0x7F)?;
                (1..=4).contains(&bytes.len()).then_some(())?;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
        };
        self.take(length)
    }
}
