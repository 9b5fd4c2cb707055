//! Rules of znode paths, those of ZooKeeper's `PathUtils`.

/// The root, and the name by which parents of top-level znodes are also known: the empty string.
pub(super) const ROOT: &str = "/";

/// Whether a znode may be called so: absolute, no trailing slash, no empty, `.` or `..` component, none of
/// the characters ZooKeeper refuses (controls, surrogates, private use, U+FFF0..U+FFFF).
pub(super) fn is_valid(path: &str) -> bool {
    if path == ROOT {
        return true;
    }
    match path.strip_prefix('/') {
        Some(rest) => rest.split('/').all(is_valid_name),
        None => false,
    }
}

fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && name.chars().all(is_valid_char)
}

fn is_valid_char(c: char) -> bool {
    // Java looks at UTF-16 units: everything beyond the basic plane is a pair of surrogates, hence refused.
    !matches!(
        u32::from(c),
        0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff | 0x1_0000..
    )
}

/// The parent and the last component, `None` where there is no slash or a NUL inside.
///
/// The parent of `/a` is the empty string; [`normal`] turns it into the root.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    if path.contains('\0') {
        return None;
    }
    path.rsplit_once('/')
}

/// The empty path is the root's second name.
pub(super) fn normal(path: &str) -> &str {
    if path.is_empty() { ROOT } else { path }
}

/// The path itself, then its parents up to the root.
pub(super) fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path).filter(|path| !path.is_empty());
    std::iter::from_fn(move || {
        let current = next?;
        next = match current.rsplit_once('/') {
            _ if current == ROOT => None,
            Some(("", _)) => Some(ROOT),
            Some((parent, _)) => Some(parent),
            None => None,
        };
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged_as_zookeeper_does() {
        for good in ["/", "/a", "/a/b.c", "/...", "/a/..b", "/é", "/a b"] {
            assert!(is_valid(good), "{good}");
        }
        let bad = [
            "",
            "a",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/a/./b",
            "/a/..",
            "/\u{1}",
            "/\u{e000}",
            "/\u{1F600}",
        ];
        for bad in bad {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn parents_are_walked_up_to_the_root() {
        assert_eq!(with_parents("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(with_parents("/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(with_parents("").count(), 0);
    }
}
