//! Transactions: what happens as prose (`tests/transaction_transcripts`), and what holds whatever happens.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test -p coordinator --test transactions` writes down what came instead; read the
//! difference before you keep it.

#[path = "transactions/seat.rs"]
mod seat;
#[path = "transactions/transcripts.rs"]
mod transcripts;
#[path = "transactions/world.rs"]
mod world;
