//! Media types by name: the three that firmware insists on, and the usual ones.

/// Content-Type of a listing: the page is ours, so its charset is known
pub(super) const LISTING: &str = "text/html; charset=utf-8";
/// What nothing more is known about
const UNKNOWN: &str = "application/octet-stream";

/// The media type of what is named `path`.
///
/// EDK2's HTTP boot compares the whole value with three exact types, without a charset, before it looks at the name
/// (`HttpBootSupport.c`); Debian and Ubuntu name signed loaders `grubx64.efi.signed`, whose name says nothing to it.
pub fn type_of(path: &[u8]) -> &'static str {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else {
        return UNKNOWN;
    };
    let mut lower = [0; 12];
    let Some(lower) = lower.get_mut(..name.len() - dot - 1) else {
        return UNKNOWN;
    };
    lower.copy_from_slice(&name[dot + 1..]);
    lower.make_ascii_lowercase();
    match &*lower {
        b"efi" => "application/efi",
        b"signed" | b"dualsigned" if ends_with_efi(&name[..dot]) => "application/efi",
        b"iso" => "application/vnd.efi-iso",
        b"img" => "application/vnd.efi-img",
        b"ign" => "application/json",
        b"ipxe" | b"cfg" | b"conf" | b"ks" | b"seed" | b"preseed" | b"log" => "text/plain",
        other => std::str::from_utf8(other)
            .ok()
            .and_then(|extension| mime_guess::from_ext(extension).first_raw())
            .unwrap_or(UNKNOWN),
    }
}

/// The media type of a text that is called `path`
pub(super) fn type_of_text(path: &[u8]) -> &'static str {
    match type_of(path) {
        UNKNOWN => "text/plain",
        known => known,
    }
}

fn ends_with_efi(name: &[u8]) -> bool {
    name.len() > 4 && name[name.len() - 4..].eq_ignore_ascii_case(b".efi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_gets_its_exact_types() {
        assert_eq!(type_of(b"/EFI/BOOT/BOOTX64.EFI"), "application/efi");
        assert_eq!(type_of(b"grubnetx64.efi.signed"), "application/efi");
        assert_eq!(type_of(b"a/b.iso"), "application/vnd.efi-iso");
        assert_eq!(type_of(b"boot.img"), "application/vnd.efi-img");
    }

    #[test]
    fn the_rest_is_usual_or_unknown() {
        assert_eq!(type_of(b"index.html"), "text/html");
        assert_eq!(type_of(b"repo.json"), "application/json");
        assert_eq!(type_of(b"boot.ipxe"), "text/plain");
        for name in
            ["vmlinuz", "lpxelinux.0", "a.efi/vmlinuz", "x.", "", "x.averyverylongextension", "a.\u{e9}"]
        {
            assert_eq!(type_of(name.as_bytes()), "application/octet-stream", "{name}");
        }
    }
}
