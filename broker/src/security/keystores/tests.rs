//! Stores as `keytool` and `openssl` make them, where these are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const PASSWORD: &str = "changeit";

/// One key in every format, and its certificate as a truststore in every format.
struct Stores {
    folder: TempDir,
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Stores {
    fn make() -> Stores {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keytool = |arguments: &str| {
            let words: Vec<&str> = arguments.split(' ').collect();
            run("keytool", &words, folder.path());
        };
        let openssl = |arguments: &str| {
            let words: Vec<&str> = arguments.split(' ').collect();
            run("openssl", &words, folder.path());
        };
        keytool(
            "-genkeypair -alias me -keyalg EC -groupname secp256r1 -dname CN=me -storetype PKCS12 -keystore key.p12 \
             -storepass changeit",
        );
        keytool(
            "-importkeystore -srckeystore key.p12 -srcstorepass changeit -destkeystore key.jks -deststoretype JKS \
             -deststorepass changeit -destkeypass changeit -noprompt",
        );
        keytool("-exportcert -rfc -alias me -keystore key.p12 -storepass changeit -file trust.pem");
        for (kind, name) in [("PKCS12", "trust.p12"), ("JKS", "trust.jks")] {
            keytool(&format!(
                "-importcert -noprompt -alias ca -file trust.pem -storetype {kind} -keystore {name} -storepass changeit"
            ));
        }
        openssl("pkcs12 -in key.p12 -passin pass:changeit -nodes -out key.pem");
        openssl("pkcs12 -in key.p12 -passin pass:changeit -passout pass:changeit -out locked.pem");
        openssl("pkcs12 -in key.p12 -passin pass:changeit -nodes -nocerts -out bare.pem");
        openssl("ec -in bare.pem -out sec1.pem");
        Stores { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &str, password: &str) -> Result<Keystore, KeystoreError> {
        let path = self.path(name);
        open(&path, Format::of_file(&path).expect("a known name"), password)
    }

    fn told(&self, name: &str, password: &str) -> ContentError {
        match self.open(name, password) {
            Err(KeystoreError::Content { why, .. }) => why,
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_key_and_its_certificate_come_out_alike_from_every_format() {
    let stores = Stores::make();
    let first = stores.open("key.p12", PASSWORD).expect("readable").identity.expect("a key");
    assert_eq!(first.chain.len(), 1);
    for name in ["key.jks", "key.pem", "locked.pem"] {
        let identity = stores.open(name, PASSWORD).expect(name).identity.expect(name);
        assert_eq!(identity.chain, first.chain, "{name}");
        assert!(identity.key == first.key, "{name}");
    }
    for name in ["trust.pem", "trust.p12", "trust.jks"] {
        let store = stores.open(name, PASSWORD).expect(name);
        assert!(store.identity.is_none(), "{name}");
        assert_eq!(store.trusted, first.chain, "{name}");
    }
    let bare = stores.open("sec1.pem", "").expect("readable").identity.expect("a key");
    assert!(matches!(bare.key, PrivateKey::Sec1(_)));
}

#[test]
fn a_wrong_password_a_wrong_format_and_no_file_are_told_apart() {
    let stores = Stores::make();
    for name in ["key.p12", "key.jks", "trust.p12", "trust.jks"] {
        assert_eq!(stores.told(name, "wrong"), ContentError::DamagedOrPassword, "{name}");
    }
    assert_eq!(stores.told("locked.pem", "wrong"), ContentError::KeyPassword);
    assert_eq!(stores.told("locked.pem", ""), ContentError::PasswordNeeded);
    std::fs::copy(stores.path("trust.pem"), stores.path("other.p12")).expect("copied");
    std::fs::copy(stores.path("trust.pem"), stores.path("other.jks")).expect("copied");
    std::fs::copy(stores.path("key.jks"), stores.path("other.pem")).expect("copied");
    assert!(matches!(stores.told("other.p12", PASSWORD), ContentError::NotA(_)));
    assert!(matches!(stores.told("other.jks", PASSWORD), ContentError::NotA(_)));
    assert!(matches!(stores.told("other.pem", PASSWORD), ContentError::NotA(_)));
    let absent = stores.open("absent.jks", PASSWORD).expect_err("not there").to_string();
    assert!(absent.contains("absent.jks cannot be read: No such file"), "{absent}");
}

#[test]
fn the_format_is_told_by_name_as_zookeeper_tells_it() {
    assert_eq!(Format::of_file(Path::new("/a/b.pfx")), Some(Format::Pkcs12));
    assert_eq!(Format::of_file(Path::new("/a/b.keystore")), None);
    assert_eq!(Format::parse("jks"), Some(Format::Jks));
    assert_eq!(Format::parse("BCFKS"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let mut jks = vec![0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        jks.extend_from_slice(&bytes);
        jks.truncate(cut.max(4));
        let mut p12 = bytes.clone();
        p12.insert(0, 0x30);
        let mut pem = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n".to_vec();
        pem.extend_from_slice(STANDARD.encode(&bytes).as_bytes());
        pem.extend_from_slice(b"\n-----END ENCRYPTED PRIVATE KEY-----\n");
        let _ = (super::jks::read(&jks, ""), super::jks::read(&jks, "p"));
        let _ = (pkcs12(&p12, "p"), super::pem::read(&pem, "p"), super::pem::read(&bytes, "p"));
    }
}
