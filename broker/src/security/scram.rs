//! A user's SCRAM credential (RFC 5802), as Kafka keeps it among the configs of the user: what a broker needs to check a
//! password, never the password.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// Iterations that Kafka accepts, for either mechanism.
pub(crate) const ITERATIONS_MIN: i32 = 4096;
pub(crate) const ITERATIONS_MAX: i32 = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    pub(crate) const ALL: [Mechanism; 2] = [Mechanism::Sha256, Mechanism::Sha512];

    pub(crate) fn from_wire(code: i8) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.wire() == code)
    }

    pub(crate) fn wire(self) -> i8 {
        match self {
            Mechanism::Sha256 => 1,
            Mechanism::Sha512 => 2,
        }
    }

    /// The key among the configs of its user.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM-SHA-256",
            Mechanism::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// The user's password, salted and hashed by the client that sets it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SaltedPassword {
    pub(crate) salt: Vec<u8>,
    pub(crate) hash: Vec<u8>,
    pub(crate) iterations: i32,
}

/// Secrets stay out of logs.
impl fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a password hashed {} times", self.iterations)
    }
}

/// The credential as its znode holds it. `None`: there is no password at all.
pub(crate) fn credential(mechanism: Mechanism, password: &SaltedPassword) -> Option<String> {
    if password.hash.is_empty() {
        return None;
    }
    let (stored, server) = match mechanism {
        Mechanism::Sha256 => keys::<Hmac<Sha256>, Sha256>(&password.hash)?,
        Mechanism::Sha512 => keys::<Hmac<Sha512>, Sha512>(&password.hash)?,
    };
    Some(format!(
        "salt={},stored_key={},server_key={},iterations={}",
        STANDARD.encode(&password.salt),
        STANDARD.encode(stored),
        STANDARD.encode(server),
        password.iterations
    ))
}

/// `StoredKey` and `ServerKey` of RFC 5802, section 3.
fn keys<M: Mac + KeyInit, D: Digest>(hash: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = |name: &[u8]| {
        let mut mac = <M as KeyInit>::new_from_slice(hash).ok()?;
        mac.update(name);
        Some(mac.finalize().into_bytes().to_vec())
    };
    Some((D::digest(key(b"Client Key")?).to_vec(), key(b"Server Key")?))
}

/// How often the password of a stored credential was hashed. `None`: it is no credential.
pub(crate) fn iterations(credential: &str) -> Option<i32> {
    let mut iterations = None;
    let mut others = Vec::new();
    for part in credential.split(',') {
        match part.split_once('=')? {
            ("iterations", count) => iterations = count.parse().ok(),
            (name @ ("salt" | "stored_key" | "server_key"), bytes) => {
                STANDARD.decode(bytes).ok()?;
                others.push(name);
            }
            _ => return None,
        }
    }
    others.sort_unstable();
    others.dedup();
    if others.len() == 3 { iterations } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3: password `pencil`.
    #[test]
    fn the_example_of_the_rfc_gives_its_server_signature() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let hash = pbkdf2(b"pencil", &salt, 4096);
        let password = SaltedPassword { salt, hash, iterations: 4096 };
        let text = credential(Mechanism::Sha256, &password).expect("a credential");
        let server_key = text.split("server_key=").nth(1).and_then(|rest| rest.split(',').next());
        let server_key = STANDARD.decode(server_key.expect("a server key")).expect("base64");
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&server_key).expect("a key");
        mac.update(
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        );
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(iterations(&text), Some(4096));
    }

    fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mac = |data: &[u8]| {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(password).expect("a key");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        };
        let mut block = mac(&[salt, &[0, 0, 0, 1]].concat());
        let mut sum = block.clone();
        for _ in 1..iterations {
            block = mac(&block);
            sum.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
        }
        sum
    }

    #[test]
    fn what_is_no_credential_has_no_iterations() {
        for broken in [
            "",
            "salt=AA==",
            "salt=AA==,stored_key=AA==,server_key=AA==",
            "salt=AA==,stored_key=AA==,server_key=AA==,iterations=many",
            "salt=?,stored_key=AA==,server_key=AA==,iterations=4096",
            "salt=AA==,stored_key=AA==,server_key=AA==,iterations=4096,more=1",
        ] {
            assert_eq!(iterations(broken), None, "{broken}");
        }
        assert_eq!(
            credential(Mechanism::Sha512, &SaltedPassword { salt: vec![], hash: vec![], iterations: 4096 }),
            None
        );
    }
}
