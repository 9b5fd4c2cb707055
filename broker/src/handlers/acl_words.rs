//! What requests about ACLs have in common: codes that must not be there, and the refusal of a broker without an authorizer.

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// In a request, this stands for what the client itself did not know; so in all four lists of codes.
const UNKNOWN: i8 = 0;
const PATTERN_ANY: i8 = 1;
const PATTERN_LITERAL: i8 = 3;

/// The codes of an ACL, or of a filter for ACLs.
pub(super) struct AclCodes {
    pub(super) resource_type: i8,
    pub(super) pattern_type: i8,
    pub(super) operation: i8,
    pub(super) permission_type: i8,
}

impl AclCodes {
    /// Whether Kafka reads an ACL of these codes. Before version 1 every pattern is a literal.
    pub(super) fn names_acl(&self, version: i16) -> bool {
        self.is_known() && (version > 0 || self.pattern_type == PATTERN_LITERAL)
    }

    /// Whether Kafka reads a filter of these codes. Before version 1 `any` pattern means the one kind that there was.
    pub(super) fn names_filter(&self, version: i16) -> bool {
        self.is_known() && (version > 0 || matches!(self.pattern_type, PATTERN_LITERAL | PATTERN_ANY))
    }

    /// No code is the one for unknown. Codes beyond those that there are pass, as Kafka lets them.
    fn is_known(&self) -> bool {
        ![self.resource_type, self.pattern_type, self.operation, self.permission_type].contains(&UNKNOWN)
    }
}

/// Code and message of what is asked of a broker without an authorizer.
pub(super) fn security_disabled(message: &'static str) -> (i16, Option<StrBytes>) {
    (ResponseError::SecurityDisabled.code(), Some(StrBytes::from_static_str(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_version_knows_literal_patterns_only() {
        let of = |pattern_type| AclCodes { resource_type: 2, pattern_type, operation: 3, permission_type: 3 };
        assert!(of(PATTERN_LITERAL).names_acl(0) && of(4).names_acl(1));
        assert!(!of(4).names_acl(0) && !of(UNKNOWN).names_acl(3));
        assert!(of(PATTERN_ANY).names_filter(0) && !of(PATTERN_ANY).names_acl(0));
        assert!(!AclCodes { operation: UNKNOWN, ..of(PATTERN_LITERAL) }.names_filter(3));
    }
}
