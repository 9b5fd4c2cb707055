//! What a log promises, on a real directory.

mod appending;
mod compacting;
mod crashing;
mod damage;
mod failed_truncations;
mod faults;
mod killed;
mod power_cuts;
mod producers;
mod recovering;
mod support;
mod truncating;
