//! Names of users and client ids as znodes spell them: form-encoded, so that any name is a node's (Kafka's `Sanitizer`).

/// `/config/users/NAME`: everything but letters, digits and `-._` becomes `%XX` for each byte of its UTF-8.
pub(super) fn sanitize(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `None` where it is nobody's name: a `%` without two hexadecimal digits after it.
pub(super) fn desanitize(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_kafka_spells_them() {
        for (name, encoded) in [
            ("alice", "alice"),
            ("CN=Bob Smith,O=x y", "CN%3DBob%20Smith%2CO%3Dx%20y"),
            ("<default>", "%3Cdefault%3E"),
            ("a/b*c~d+e%f", "a%2Fb%2Ac%7Ed%2Be%25f"),
            ("é", "%C3%A9"),
            ("", ""),
        ] {
            assert_eq!(sanitize(name), encoded);
            assert_eq!(desanitize(encoded).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        assert_eq!(desanitize("a+b").as_deref(), Some("a b"));
        for broken in ["%", "%4", "%zz"] {
            assert_eq!(desanitize(broken), None, "{broken}");
        }
    }
}
