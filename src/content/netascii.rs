//! Netascii (RFC 764, RFC 1350 §1): a line feed travels as CR LF, a carriage return as CR NUL.

/// `bytes` as netascii; `None` where that is longer than `max`
pub(super) fn converted(bytes: &[u8], max: usize) -> Option<Vec<u8>> {
    let longer = bytes.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count();
    let len = bytes.len() + longer;
    if len > max {
        return None;
    }
    let mut text = Vec::with_capacity(len);
    for &byte in bytes {
        match byte {
            b'\n' => text.extend_from_slice(b"\r\n"),
            b'\r' => text.extend_from_slice(b"\r\0"),
            byte => text.push(byte),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_feeds_and_carriage_returns_grow() {
        assert_eq!(converted(b"a\nb\r\nc", 99).unwrap(), b"a\r\nb\r\0\r\nc");
        assert_eq!(converted(b"", 0).unwrap(), b"");
        assert_eq!(converted(b"a\n", 3).unwrap().len(), 3);
        assert_eq!(converted(b"\n\n", 3), None);
    }
}
