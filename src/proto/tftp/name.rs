//! What a client's file name means as a path. Confinement to the root is not done here: that is for whoever opens it.

use std::net::Ipv4Addr;

use crate::boot::image::{Form, Image, Images, Miss};
use crate::limits::PATH_MAX;

/// Opens what the client at `peer` named.
///
/// Windows loaders and shim write `\`; prefixes are joined to names with `//` or `./`. ROMs that take option 67 for a C
/// string append its END (0xFF) and what lies behind it, so a name that nothing has is tried once more without its junk.
pub(super) fn open<I: Images>(
    images: &mut I,
    peer: Ipv4Addr,
    filename: &[u8],
    form: Form,
) -> Result<Image, Miss> {
    let mut buffer = [0; PATH_MAX];
    let path = normalize(filename, &mut buffer).ok_or(Miss::NotFound)?;
    if path.is_empty() {
        return Err(Miss::Directory);
    }
    match images.open_for(peer, path, form) {
        Err(Miss::NotFound) => {
            let clean = without_junk(path);
            if clean.is_empty() || clean.len() == path.len() {
                return Err(Miss::NotFound);
            }
            images.open_for(peer, clean, form)
        }
        found => found,
    }
}

/// The parts of a name joined by single slashes; `None` where that is longer than any path served
fn normalize<'b>(filename: &[u8], buffer: &'b mut [u8; PATH_MAX]) -> Option<&'b [u8]> {
    let mut len = 0;
    let parts = filename.split(|&byte| byte == b'/' || byte == b'\\');
    for part in parts.filter(|part| !part.is_empty() && *part != b".") {
        if len > 0 {
            *buffer.get_mut(len)? = b'/';
            len += 1;
        }
        buffer.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    Some(&buffer[..len])
}

/// The path up to its first 0xFF, which no UTF-8 name holds, less the bytes at its end that no boot file ends with
fn without_junk(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|&byte| byte == 0xff).unwrap_or(path.len());
    let kept = path[..end].iter().rposition(|byte| byte.is_ascii_graphic()).map_or(0, |last| last + 1);
    &path[..kept]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(name: &str) -> String {
        String::from_utf8(normalize(name.as_bytes(), &mut [0; PATH_MAX]).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn names_of_every_firmware_become_paths() {
        assert_eq!(normalized("pxelinux.0"), "pxelinux.0");
        assert_eq!(normalized("/boot//grub/./grub.cfg"), "boot/grub/grub.cfg");
        assert_eq!(normalized("\\Boot\\BCD"), "Boot/BCD");
        assert_eq!(normalized("./"), "");
        assert_eq!(normalized("../etc/passwd"), "../etc/passwd", "confinement is for who opens it");
    }

    #[test]
    fn a_name_longer_than_any_path_is_none() {
        assert!(normalize(&[b'a'; PATH_MAX], &mut [0; PATH_MAX]).is_some());
        assert!(normalize(&[b'a'; PATH_MAX + 1], &mut [0; PATH_MAX]).is_none());
        assert!(normalize(&b"a/".repeat(PATH_MAX), &mut [0; PATH_MAX]).is_none());
    }

    #[test]
    fn junk_is_what_follows_the_end_of_options_or_cannot_end_a_name() {
        assert_eq!(without_junk(b"undionly.kpxe\xff"), b"undionly.kpxe");
        assert_eq!(without_junk(b"undionly.kpxe\xff\x12P"), b"undionly.kpxe");
        assert_eq!(without_junk(b"a.efi \r\n"), b"a.efi");
        assert_eq!(without_junk(b"\xff"), b"");
        assert_eq!(without_junk(b"a b"), b"a b");
    }
}
