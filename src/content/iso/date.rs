//! Dates of ECMA-119 and of FAT as seconds since the Unix epoch; what is no date is 0, what is before it or after 2106 its end.

/// §9.1.5: years since 1900, month, day, hour, minute, second, quarters of an hour east of Greenwich
pub(super) fn short(bytes: &[u8]) -> u32 {
    let &[year, month, day, hour, minute, second, zone] = bytes else { return 0 };
    seconds(1900 + i64::from(year), [month, day, hour, minute, second], zone.cast_signed())
}

/// §8.4.26.1: sixteen digits, the last two hundredths, and the zone
pub(super) fn long(bytes: &[u8]) -> u32 {
    let Some((digits, &[zone])) = bytes.split_at_checked(16) else { return 0 };
    if !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let pair = |at: usize| (digits[at] - b'0') * 10 + (digits[at + 1] - b'0');
    let year = i64::from(pair(0)) * 100 + i64::from(pair(2));
    seconds(year, [pair(4), pair(6), pair(8), pair(10), pair(12)], zone.cast_signed())
}

/// FAT: time and date in bits, of no zone
pub(super) fn fat(time: u16, date: u16) -> u32 {
    let bits = |of: u16, from: u32, len: u32| (of >> from & ((1 << len) - 1)).to_le_bytes()[0];
    let [hour, minute, second] = [bits(time, 11, 5), bits(time, 5, 6), 2 * bits(time, 0, 5)];
    seconds(1980 + i64::from(date >> 9), [bits(date, 5, 4), bits(date, 0, 5), hour, minute, second], 0)
}

fn seconds(year: i64, [month, day, hour, minute, second]: [u8; 5], zone: i8) -> u32 {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return 0;
    }
    // Years begin in March, so that a leap day ends its year; then eras of 400 years of 146,097 days.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month < 3 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let of_day = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    let total = days * 86_400 + of_day - i64::from(zone) * 900;
    u32::try_from(total.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same_second() {
        // 2026-08-01 14:34:56 +02:00
        assert_eq!(short(&[126, 8, 1, 14, 34, 56, 8]), 1_785_587_696);
        assert_eq!(long(b"2026080114345600\x08"), 1_785_587_696);
        assert_eq!(fat(14 << 11 | 34 << 5 | 28, 46 << 9 | 8 << 5 | 1), 1_785_594_896, "2026-08-01 14:34:56");
        assert_eq!(short(&[100, 2, 29, 0, 0, 0, 0]), 951_782_400);
        assert_eq!(short(&[70, 1, 1, 0, 0, 0, 4]), 0, "before the epoch");
        assert_eq!(short(&[255, 12, 31, 0, 0, 0, 0]), u32::MAX, "after 2106");
    }

    #[test]
    fn what_is_no_date_is_none() {
        assert_eq!(short(&[0; 7]), 0);
        assert_eq!(short(&[126, 13, 1, 0, 0, 0, 0]), 0);
        assert_eq!(short(b"x"), 0);
        assert_eq!(long(b"2026x80114345600\x08"), 0);
        assert_eq!(long(b""), 0);
        assert_eq!(fat(0, 0), 0);
    }
}
