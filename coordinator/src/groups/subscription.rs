//! Reads the topics out of the metadata of a consumer (ConsumerProtocolSubscription).
//!
//! Version 0 is the front part of every later version, so no newer client stops this from working (KIP-429).

use std::sync::Arc;

use crate::wire::{Reader, WireError};

/// The topics a member subscribes to.
pub(super) fn topics(metadata: &[u8]) -> Result<Vec<Arc<str>>, WireError> {
    let mut reader = Reader::new(metadata);
    let version = reader.i16()?;
    if version < 0 {
        return Err(WireError::Version(version));
    }
    let mut topics = Vec::new();
    for _ in 0..reader.count(false)? {
        topics.push(reader.text(false)?.into());
    }
    reader.nullable_bytes()?;
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    #[test]
    fn topics_are_read_from_any_version() {
        for version in [0, 3, 9] {
            let metadata = Writer::versioned(version).count(2).text("a").text("b").i32(-1).i64(7).finish();
            assert_eq!(topics(&metadata), Ok(vec!["a".into(), "b".into()]));
        }
    }

    #[test]
    fn what_is_no_subscription_is_an_error() {
        assert!(topics(b"").is_err());
        assert!(topics(&[0, 0, 0, 0, 0, 9, 0]).is_err());
        assert!(topics(&[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
