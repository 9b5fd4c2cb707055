//! Sockets to requests and back: listeners, framing, one task per connection, replies in request order.
//!
//! Knows the request header and nothing of what an API means; `handlers` does.

pub(crate) mod connection;
pub(crate) mod front;
mod ip_rates;
pub(crate) mod limits;
pub(crate) mod listener;
