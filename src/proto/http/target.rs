//! Request targets: from what a client wrote to the path that it means.

use percent_encoding::percent_decode_str;

use crate::limits::PATH_MAX;

/// Why a target names no path
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetError {
    /// An escape that is not two hexadecimal digits, or one of NUL
    Escape,
    /// More `..` than there are directories above it: no client arrives there by accident (RFC 3986 §5.2.4 removes them)
    AboveRoot,
    /// Longer than [`PATH_MAX`]
    TooLong,
}

impl TargetError {
    /// The status that answers it
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Escape | Self::AboveRoot => 400,
            Self::TooLong => 414,
        }
    }
}

/// A decoded path in place: it begins with a slash, holds no NUL, and never leads above the root
#[derive(Debug)]
pub(super) struct TargetPath {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl TargetPath {
    /// Decodes the path of a target, without its query. Doubled slashes and dots stay (they are for [`Images`] to resolve);
    /// an escaped slash is a slash, since no file name can hold one.
    ///
    /// [`Images`]: crate::boot::image::Images
    pub(super) fn parse(target: &str) -> Result<Self, TargetError> {
        // A fragment is not sent (RFC 9110 §7.1); clients that do send it mean what stands before.
        let encoded = target.split(['?', '#']).next().unwrap_or_default();
        if !encoded.contains('%') {
            return Self::plain(encoded.as_bytes());
        }
        let mut escapes = encoded.split('%').skip(1).map(|after| after.as_bytes().get(..2));
        if !escapes.all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))) {
            return Err(TargetError::Escape);
        }
        let mut path = Self { bytes: [0; PATH_MAX], len: 0 };
        for byte in percent_decode_str(encoded) {
            if byte == 0 {
                return Err(TargetError::Escape);
            }
            path.push(byte)?;
        }
        path.stays_below_root().then_some(path).ok_or(TargetError::AboveRoot)
    }

    /// A path that holds no escape
    fn plain(path: &[u8]) -> Result<Self, TargetError> {
        let mut bytes = [0; PATH_MAX];
        bytes.get_mut(..path.len()).ok_or(TargetError::TooLong)?.copy_from_slice(path);
        let path = Self { bytes, len: path.len() };
        if path.as_bytes().contains(&0) {
            return Err(TargetError::Escape);
        }
        path.stays_below_root().then_some(path).ok_or(TargetError::AboveRoot)
    }

    /// The path
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends the name of a directory's own page
    pub(super) fn push_name(&mut self, name: &[u8]) -> Result<(), TargetError> {
        name.iter().try_for_each(|&byte| self.push(byte))
    }

    fn push(&mut self, byte: u8) -> Result<(), TargetError> {
        *self.bytes.get_mut(self.len).ok_or(TargetError::TooLong)? = byte;
        self.len += 1;
        Ok(())
    }

    fn stays_below_root(&self) -> bool {
        let mut depth = 0_usize;
        self.as_bytes().split(|&byte| byte == b'/').all(|part| {
            let next = match part {
                b"" | b"." => Some(depth),
                b".." => depth.checked_sub(1),
                _ => Some(depth + 1),
            };
            next.inspect(|&next| depth = next).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<Vec<u8>, TargetError> {
        TargetPath::parse(target).map(|path| path.as_bytes().to_vec())
    }

    #[test]
    fn paths_are_decoded_once_and_queries_dropped() {
        assert_eq!(path("/a%20b/c%C3%A9.txt?x=%zz#y").unwrap(), "/a b/cé.txt".as_bytes());
        assert_eq!(path("/a%2541").unwrap(), b"/a%41");
        assert_eq!(path("/a%2Fb%2fc").unwrap(), b"/a/b/c");
        assert_eq!(path("//a/./b+c\\d").unwrap(), b"//a/./b+c\\d");
        assert_eq!(path("/\u{e9}").unwrap(), "/\u{e9}".as_bytes());
    }

    #[test]
    fn tricks_get_their_status() {
        for target in ["/%", "/%4", "/%zz", "/%0", "/a%00b", "/%+1", "/%\u{e9}"] {
            assert_eq!(path(target), Err(TargetError::Escape), "{target}");
        }
        for target in ["/..", "/../etc/passwd", "/a/../../b", "/%2e%2e/x", "/a/%2e./..%2f..", "//../x"] {
            assert_eq!(path(target), Err(TargetError::AboveRoot), "{target}");
        }
        assert!(path("/a/../b").is_ok() && path("/a/b/../..").is_ok() && path("/...").is_ok());
        assert_eq!(path(&format!("/{}", "a".repeat(PATH_MAX))), Err(TargetError::TooLong));
        assert!(path(&format!("/{}", "%61".repeat(PATH_MAX - 1))).is_ok());
    }
}
