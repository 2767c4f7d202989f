//! Dates as responses write them (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.

/// The last second of year 9999, the last that an HTTP date can write
const SECOND_MAX: u64 = 253_402_300_799;
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The date of a second since the Unix epoch. Two of them stand in every response, hence not by `fmt`.
#[must_use]
pub fn emit_date(second: u64) -> [u8; 29] {
    let second = second.min(SECOND_MAX);
    let (days, in_day) = (second / 86_400, second % 86_400);
    // Years that begin with March, so that the leap day is the last; 719,468 days from 0000-03-01 to the epoch.
    let shifted = days + 719_468;
    let (era, in_era) = (shifted / 146_097, shifted % 146_097);
    let year_in_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_in_era + u64::from(month < 2);

    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[index(days % 7)]);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(MONTHS[index(month)]);
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(in_day / 3_600));
    text[20..22].copy_from_slice(&two_digits(in_day / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(in_day % 60));
    text
}

fn two_digits(number: u64) -> [u8; 2] {
    let digit = |value: u64| b'0' + u8::try_from(value).unwrap_or(0);
    [digit(number / 10), digit(number % 10)]
}

fn index(small: u64) -> usize {
    usize::try_from(small).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn text(second: u64) -> String {
        String::from_utf8(emit_date(second).to_vec()).expect("ASCII")
    }

    #[test]
    fn dates_read_as_the_rfc_writes_them() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(text(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn agrees_with_another_codec(second in 0..=SECOND_MAX) {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            prop_assert_eq!(text(second), date);
        }
    }
}
