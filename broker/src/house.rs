//! Everything a handler may reach, in one place.

/// The rooms of a running broker.
#[derive(Debug, Default)]
pub(crate) struct House {}
