//! Names of images: what a peer sent, brought to the one form that every source looks up.

use crate::limits::PATH_MAX;

/// Appends the plain form of `path` to `plain`: parts with one `/` between them, none in front, and one at the end where
/// `path` ends in a slash or a dot part (it names a directory, and nothing else may answer to it).
///
/// `..` is resolved by its letters alone (RFC 3986 §5.2.4), since that is what a URL means by it, whatever symbolic
/// links the tree holds. `None`: it leaves the root, holds a NUL, or is too long to be the name of anything.
pub(super) fn append_plain(path: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    if path.len() > PATH_MAX || path.contains(&0) {
        return None;
    }
    let start = plain.len();
    let mut directory = true;
    for part in path.split(|&byte| byte == b'/') {
        directory = matches!(part, b"" | b"." | b"..");
        match part {
            b"" | b"." => {}
            b".." => {
                let kept = plain[start..].iter().rposition(|&byte| byte == b'/');
                if plain.len() == start {
                    return None;
                }
                plain.truncate(start + kept.unwrap_or(0));
            }
            part => {
                if plain.len() > start {
                    plain.push(b'/');
                }
                plain.extend_from_slice(part);
            }
        }
    }
    if directory && plain.len() > start {
        plain.push(b'/');
    }
    Some(())
}

/// The plain form of `path`, by which an image is known: see [`append_plain`]; `None` where it can name nothing
pub fn plain(path: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    append_plain(path, &mut plain).map(|()| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(path: &str) -> Option<String> {
        assert_eq!(
            super::plain(path.as_bytes()).map(|plain| plain.len()),
            appended(path).map(|text| text.len())
        );
        appended(path)
    }

    fn appended(path: &str) -> Option<String> {
        let mut plain = b"k".to_vec();
        append_plain(path.as_bytes(), &mut plain)?;
        Some(String::from_utf8(plain.split_off(1)).unwrap())
    }

    #[test]
    fn slashes_and_dots_are_as_if_absent() {
        for path in ["a/b", "/a/b", "//a///b", "./a/./b", "/x/../a/b", "a/c/d/../../b"] {
            assert_eq!(plain(path).as_deref(), Some("a/b"), "{path}");
        }
        for path in ["a/", "a//", "/a/.", "a/b/..", "a/b/../"] {
            assert_eq!(plain(path).as_deref(), Some("a/"), "{path}");
        }
        for path in ["", "/", ".", "//./", "a/..", "a/b/../.."] {
            assert_eq!(plain(path).as_deref(), Some(""), "{path}");
        }
        assert_eq!(plain("...").as_deref(), Some("..."));
        assert_eq!(plain(".hidden/..a").as_deref(), Some(".hidden/..a"));
    }

    #[test]
    fn what_leaves_the_root_names_nothing() {
        for path in ["..", "/..", "../a", "a/../..", "/a/b/../../../c", "/./../x", "a\0b"] {
            assert_eq!(plain(path), None, "{path}");
        }
        assert_eq!(plain(&"a".repeat(PATH_MAX + 1)), None);
    }
}
