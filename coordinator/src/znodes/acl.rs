//! Access control lists: who may do what with one znode, and the schemes `world`, `auth`, `digest` and `ip`.
//!
//! Knows identities only as a scheme and an id; that a password belongs to one is proven elsewhere.

use std::sync::Arc;

use super::Refusal;

/// Bits of [`Acl::perms`].
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 1 << 1;
    pub const CREATE: i32 = 1 << 2;
    pub const DELETE: i32 = 1 << 3;
    pub const ADMIN: i32 = 1 << 4;
    pub const ALL: i32 = READ | WRITE | CREATE | DELETE | ADMIN;
}

/// Who someone is, or whom a list entry means. `digest` ids are `user:base64(sha1(user:password))`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub scheme: String,
    pub id: String,
}

impl Identity {
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Identity {
        Identity { scheme: scheme.into(), id: id.into() }
    }
}

/// One entry of a list: these bits for that identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    pub perms: i32,
    pub identity: Identity,
}

/// A list, shared among the znodes that have the same.
pub type AclList = Arc<[Acl]>;

/// An entry as a client sent it; either part may be absent on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedAcl {
    pub perms: i32,
    pub scheme: Option<String>,
    pub id: Option<String>,
}

/// `world:anyone:cdrwa`.
pub(super) fn open() -> AclList {
    Arc::from([Acl { perms: perms::ALL, identity: Identity::new("world", "anyone") }])
}

/// `world:anyone:r`, the list of `/zookeeper/config`.
pub(super) fn read_only() -> AclList {
    Arc::from([Acl { perms: perms::READ, identity: Identity::new("world", "anyone") }])
}

/// Whether any of `identities` holds one of the bits in `wanted`. An empty list allows everything.
pub fn permits(list: &[Acl], wanted: i32, identities: &[Identity]) -> bool {
    list.is_empty()
        || identities.iter().any(|identity| identity.scheme == "super")
        || list.iter().filter(|acl| acl.perms & wanted != 0).any(|acl| matches_any(&acl.identity, identities))
}

fn matches_any(meant: &Identity, identities: &[Identity]) -> bool {
    if meant.scheme == "world" && meant.id == "anyone" {
        return true;
    }
    identities.iter().filter(|identity| identity.scheme == meant.scheme).any(|identity| {
        match meant.scheme.as_str() {
            "digest" => identity.id == meant.id,
            "ip" => Network::parse(&meant.id).is_some_and(|network| network.contains(&identity.id)),
            _ => false,
        }
    })
}

/// Checks a proposed list and puts the caller's proven identities in place of the scheme `auth`.
pub(super) fn settle(proposed: &[ProposedAcl], identities: &[Identity]) -> Result<AclList, Refusal> {
    let mut seen: Vec<&ProposedAcl> = Vec::new();
    let mut settled = Vec::new();
    for acl in proposed {
        if seen.contains(&acl) {
            continue;
        }
        seen.push(acl);
        settle_one(acl, identities, &mut settled)?;
    }
    if settled.is_empty() {
        return Err(Refusal::InvalidAcl);
    }
    Ok(settled.into())
}

fn settle_one(acl: &ProposedAcl, identities: &[Identity], settled: &mut Vec<Acl>) -> Result<(), Refusal> {
    let scheme = acl.scheme.as_deref().ok_or(Refusal::InvalidAcl)?;
    if scheme == "auth" {
        let proven: Vec<_> = identities.iter().filter(|identity| identity.scheme == "digest").collect();
        if proven.is_empty() {
            return Err(Refusal::InvalidAcl);
        }
        settled.extend(proven.into_iter().map(|one| Acl { perms: acl.perms, identity: one.clone() }));
        return Ok(());
    }
    let id = match (scheme, acl.id.as_deref()) {
        ("world" | "digest" | "ip", None) => return Err(Refusal::Marshalling),
        ("world", Some(id)) if id == "anyone" => id,
        ("digest", Some(id)) if is_digest_id(id) => id,
        ("ip", Some(id)) if Network::parse(id).is_some() => id,
        _ => return Err(Refusal::InvalidAcl),
    };
    settled.push(Acl { perms: acl.perms, identity: Identity::new(scheme, id) });
    Ok(())
}

/// Two parts after dropping empty ones at the end, as Java's `split(":")` counts.
fn is_digest_id(id: &str) -> bool {
    let mut parts: Vec<_> = id.split(':').collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts.len() == 2
}

/// What others may see of a list: digests without their secret half.
pub(super) fn masked(list: &[Acl]) -> Vec<Acl> {
    list.iter()
        .map(|acl| {
            let mut acl = acl.clone();
            if acl.identity.scheme == "digest"
                && let Some((user, _)) = acl.identity.id.split_once(':')
            {
                acl.identity.id = format!("{user}:x");
            }
            acl
        })
        .collect()
}

/// `a.b.c.d` or `a.b.c.d/bits`. ZooKeeper knows IPv4 only.
struct Network {
    address: u32,
    mask: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, bits.parse::<u32>().ok().filter(|bits| *bits <= 32)?),
            None => (text, 32),
        };
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(Network { address: ipv4(address)? & mask, mask })
    }

    fn contains(&self, address: &str) -> bool {
        ipv4(address).is_some_and(|address| address & self.mask == self.address)
    }
}

fn ipv4(text: &str) -> Option<u32> {
    let octets: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    Some(u32::from_be_bytes(octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(scheme: &str, id: &str) -> ProposedAcl {
        ProposedAcl { perms: perms::ALL, scheme: Some(scheme.into()), id: Some(id.into()) }
    }

    #[test]
    fn an_ip_entry_matches_its_network_only() {
        let list = [Acl { perms: perms::READ, identity: Identity::new("ip", "10.1.0.0/16") }];
        assert!(permits(&list, perms::READ, &[Identity::new("ip", "10.1.2.3")]));
        assert!(!permits(&list, perms::READ, &[Identity::new("ip", "10.2.2.3")]));
        assert!(!permits(&list, perms::WRITE, &[Identity::new("ip", "10.1.2.3")]));
        let everyone = [Acl { perms: perms::READ, identity: Identity::new("ip", "1.2.3.4/0") }];
        assert!(permits(&everyone, perms::READ, &[Identity::new("ip", "10.1.2.3")]));
    }

    #[test]
    fn auth_becomes_the_proven_identities() {
        let me = [Identity::new("ip", "127.0.0.1"), Identity::new("digest", "me:hash")];
        let settled = settle(&[proposed("auth", "")], &me).unwrap();
        assert_eq!(settled.len(), 1);
        assert_eq!(settled[0].identity, me[1]);
        assert_eq!(settle(&[proposed("auth", "")], &me[..1]), Err(Refusal::InvalidAcl));
    }

    #[test]
    fn malformed_entries_are_invalid() {
        for (scheme, id) in
            [("world", "nobody"), ("digest", "a:"), ("digest", "a:b:c"), ("ip", "1.2.3"), ("sasl", "kafka")]
        {
            assert_eq!(settle(&[proposed(scheme, id)], &[]), Err(Refusal::InvalidAcl), "{scheme}:{id}");
        }
        assert_eq!(settle(&[], &[]), Err(Refusal::InvalidAcl));
    }
}
