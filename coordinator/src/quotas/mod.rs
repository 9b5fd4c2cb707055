//! Quotas of clients: what a user, a client id or both together may take of a broker, and how long it waits afterwards
//! (KIP-13, KIP-55, KIP-124, KIP-599).
//!
//! Pure. What was taken is told when it has been taken, so a quota may be exceeded once and is then waited for. `limits` says
//! which of the quotas that are set holds for whom, `accounts` what each has taken, `rate` and `tokens` how that is measured,
//! and `client` puts them together. Nothing here mutes a connection or answers anybody; `broker` does.

mod accounts;
mod client;
mod limits;
mod rate;
mod samples;
mod tokens;

pub use accounts::Account;
pub use client::{ByteQuota, MutationQuota, Quota, TimeQuota};
pub use limits::{Limits, Named, QuotaEntity, UNLIMITED};
pub use rate::Rate;
pub use samples::{Samples, Window};
pub use tokens::TokenBucket;

/// A wait that a client is told. Unit: ms.
pub type ThrottleMs = u32;

/// A wait as it goes into an answer: rounded to the nearest ms, and never more than the answer's field can hold.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of f64 saturates")]
fn whole_ms(wait: f64) -> ThrottleMs {
    let longest = f64::from(i32::MAX);
    (wait + 0.5).floor().clamp(0.0, longest) as ThrottleMs
}
