//! Moments as people write them: UTC, in the calendar of ISO 8601. Pure arithmetic.

use crate::types::TimestampMs;

const MS_A_DAY: i64 = 86_400_000;

/// A moment taken apart, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: i64,
    /// `1..=12`.
    pub(crate) month: u8,
    /// `1..=31`.
    pub(crate) day: u8,
    /// Days since a Thursday, `0..=6`.
    pub(crate) weekday: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) millisecond: u16,
}

impl Moment {
    pub(crate) fn of(time: TimestampMs) -> Moment {
        let (days, ms) = (time.0.div_euclid(MS_A_DAY), time.0.rem_euclid(MS_A_DAY));
        // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let second = ms / 1000;
        // All of these are small by construction.
        Moment {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            weekday: days.rem_euclid(7) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            millisecond: (ms % 1000) as u16,
        }
    }
}

/// `2026-11-23T02:11:44.123Z`.
#[must_use]
pub fn utc(time: TimestampMs) -> String {
    let Moment { year, month, day, hour, minute, second, millisecond, .. } = Moment::of(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(utc(TimestampMs(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(TimestampMs(951_782_400_001)), "2000-02-29T00:00:00.001Z");
        assert_eq!(utc(TimestampMs(-1)), "1969-12-31T23:59:59.999Z");
        for edge in [i64::MIN, i64::MAX] {
            assert!(utc(TimestampMs(edge)).ends_with('Z'));
        }
    }
}
