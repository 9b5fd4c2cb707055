//! What a client may do to a resource, as the bits of KIP-430. Without an authorizer that is everything there is.

/// Codes of `AclOperation`.
const READ: i32 = 3;
const WRITE: i32 = 4;
const CREATE: i32 = 5;
const DELETE: i32 = 6;
const ALTER: i32 = 7;
const DESCRIBE: i32 = 8;
const CLUSTER_ACTION: i32 = 9;
const DESCRIBE_CONFIGS: i32 = 10;
const ALTER_CONFIGS: i32 = 11;
const IDEMPOTENT_WRITE: i32 = 12;

pub(crate) const ON_TOPIC: i32 =
    bits(&[READ, WRITE, CREATE, DESCRIBE, DELETE, ALTER, DESCRIBE_CONFIGS, ALTER_CONFIGS]);

pub(crate) const ON_CLUSTER: i32 =
    bits(&[CREATE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE, ALTER, DESCRIBE]);

pub(crate) const ON_GROUP: i32 = bits(&[READ, DESCRIBE, DELETE]);

const fn bits(operations: &[i32]) -> i32 {
    let mut bits = 0;
    let mut index = 0;
    while index < operations.len() {
        bits |= 1 << operations[index];
        index += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_a_stock_broker_without_authorizer() {
        assert_eq!((ON_TOPIC, ON_CLUSTER, ON_GROUP), (3576, 8096, 328));
    }
}
