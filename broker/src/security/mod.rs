//! Secrets of operators and users, as the Java world keeps them: keystores, login files, system properties, SCRAM credentials.
//!
//! Nothing here opens a connection or decides who may do what.

pub(crate) mod jaas;
pub(crate) mod java_options;
pub(crate) mod keystores;
pub(crate) mod scram;
