//! A partition's replication: who is in sync, and up to where a record is safe.
//!
//! Pure. It knows offsets, epochs and brokers; it holds no log and sends nothing. The leader's rules are in `leader`.

mod leader;

pub use leader::{Leader, Standing};
