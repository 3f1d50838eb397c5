//! The date for chat templates: `strftime` in English and UTC.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Seconds since 1970-01-01 00:00 UTC.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// `format` with the directives `%Y %y %m %d %e %j %b %h %B %a %A %H %I %M %S %p %Z %F %T %%` filled in from `seconds`
/// since 1970. Any other directive stays as it is.
pub(super) fn strftime(format: &str, seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day, day_of_year) = date(days);
    let (month_name, day_name) = (MONTHS[month], DAYS[(days % 7) as usize]);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let month = month + 1;

    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match characters.next() {
            Some('Y') => write!(text, "{year}"),
            Some('y') => write!(text, "{:02}", year % 100),
            Some('m') => write!(text, "{month:02}"),
            Some('d') => write!(text, "{day:02}"),
            Some('e') => write!(text, "{day:2}"),
            Some('j') => write!(text, "{day_of_year:03}"),
            Some('b' | 'h') => write!(text, "{}", &month_name[..3]),
            Some('B') => write!(text, "{month_name}"),
            Some('a') => write!(text, "{}", &day_name[..3]),
            Some('A') => write!(text, "{day_name}"),
            Some('H') => write!(text, "{hour:02}"),
            Some('I') => write!(text, "{:02}", (hour + 11) % 12 + 1),
            Some('M') => write!(text, "{minute:02}"),
            Some('S') => write!(text, "{second:02}"),
            Some('p') => write!(text, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('Z') => write!(text, "UTC"),
            Some('F') => write!(text, "{year}-{month:02}-{day:02}"),
            Some('T') => write!(text, "{hour:02}:{minute:02}:{second:02}"),
            Some('%') | None => write!(text, "%"),
            Some(other) => write!(text, "%{other}"),
        };
    }
    text
}

/// Year, month from 0, day of the month from 1 and day of the year from 1, of the day so many after 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let day_of_year = days + 1;
    let mut month = 0;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1, day_of_year)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn dates_and_times() {
        let all = "%Y-%m-%d %j %a %b %H:%M:%S %p %I";
        assert_eq!(strftime(all, 0), "1970-01-01 001 Thu Jan 00:00:00 AM 12");
        assert_eq!(strftime(all, 951_868_799), "2000-02-29 060 Tue Feb 23:59:59 PM 11");
        assert_eq!(strftime(all, 1_735_689_599), "2024-12-31 366 Tue Dec 23:59:59 PM 11");
        assert_eq!(
            strftime("%d %b %Y, %A %B %e %y %F %T %Z", 1_709_290_800),
            "01 Mar 2024, Friday March  1 24 2024-03-01 11:00:00 UTC"
        );
    }

    #[test]
    fn unknown_directives_stay() {
        assert_eq!(strftime("100%% %Q %", 0), "100% %Q %");
    }
}
