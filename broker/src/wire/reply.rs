//! What a handler answers: nothing (acks=0), a response, or a response that is still waiting for something.

use std::future::Future;
use std::pin::Pin;

use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use storage::disk::FileBytes;

use crate::wire::scatter::{Pieces, ScatterBuf};

/// An answer that could not be put into the requested version; a bug of ours, the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the response in version {version}: {reason}")]
pub(crate) struct EncodeError {
    version: i16,
    reason: String,
}

/// A response that only waits: nobody misses it once its client is gone.
pub(crate) type LaterPieces = Pin<Box<dyn Future<Output = Result<Pieces, EncodeError>> + Send>>;

/// What there is to send.
pub(crate) enum Reply {
    /// The client wants no answer.
    None,
    Ready(Pieces),
    Later(LaterPieces),
    /// The connection has to be dropped: acks=0 that failed (Kafka's way to make such a producer refresh), an Envelope.
    Close,
}

/// Turns what a handler returns into a reply of the request's version.
pub(crate) trait IntoReply {
    fn into_reply(self, version: i16, correlation_id: i32) -> Result<Reply, EncodeError>;
}

impl<R: Encodable + HeaderVersion> IntoReply for R {
    fn into_reply(self, version: i16, correlation_id: i32) -> Result<Reply, EncodeError> {
        encode(&self, version, correlation_id, &[]).map(Reply::Ready)
    }
}

impl IntoReply for Reply {
    fn into_reply(self, _: i16, _: i32) -> Result<Reply, EncodeError> {
        Ok(self)
    }
}

/// An answer; or none, where the request cannot have been meant: its connection is closed, as Kafka does with what it cannot
/// read.
pub(crate) struct OrClosed<R>(pub(crate) Option<R>);

impl<R: IntoReply> IntoReply for OrClosed<R> {
    fn into_reply(self, version: i16, correlation_id: i32) -> Result<Reply, EncodeError> {
        self.0.map_or(Ok(Reply::Close), |answer| answer.into_reply(version, correlation_id))
    }
}

/// For handlers that encode by themselves, with `encode` and the records to refer to.
pub(crate) struct Encoded(pub(crate) Result<Pieces, EncodeError>);

impl IntoReply for Encoded {
    fn into_reply(self, _: i16, _: i32) -> Result<Reply, EncodeError> {
        self.0.map(Reply::Ready)
    }
}

/// Header and body; slices of `records` are referred to, not copied.
pub(crate) fn encode<R: Encodable + HeaderVersion>(
    response: &R,
    version: i16,
    correlation_id: i32,
    records: &[FileBytes],
) -> Result<Pieces, EncodeError> {
    let mut buf = ScatterBuf::new(records);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut buf, R::header_version(version))
        .and_then(|()| response.encode(&mut buf, version))
        .map_err(|reason| EncodeError { version, reason: reason.to_string() })?;
    Ok(buf.finish())
}
