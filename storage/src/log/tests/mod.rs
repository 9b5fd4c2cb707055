//! What a log promises, on a real directory.

mod appending;
mod producers;
mod support;
