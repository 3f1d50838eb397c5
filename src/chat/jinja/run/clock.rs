//! `strftime_now`: local time, as C's `strftime` prints it in its own locale.

use crate::chat::jinja::error::{Result, fail};
use jiff::Zoned;
use jiff::civil::Weekday;

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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The flags and the width of a directive.
#[derive(Debug, Clone, Copy, Default)]
struct Style {
    /// `_`, `-` or `0`: how a number is padded.
    pad: Option<char>,
    upper: bool,
    swap: bool,
    width: usize,
}

impl Style {
    fn number(self, number: i64, digits: usize, pad: char) -> String {
        let (digits, pad) = match self.pad {
            Some('-') => (self.width, ' '),
            Some('_') => (digits.max(self.width), ' '),
            Some('0') => (digits.max(self.width), '0'),
            _ => (digits.max(self.width), pad),
        };
        let text = number.to_string();
        format!("{}{text}", pad.to_string().repeat(digits.saturating_sub(text.len())))
    }

    fn text(self, text: &str) -> String {
        let text = if self.upper { text.to_uppercase() } else { text.to_owned() };
        let pad = if self.pad == Some('0') { "0" } else { " " };
        let more = self.width.saturating_sub(text.len());
        format!("{}{text}", pad.repeat(more))
    }
}

/// `datetime.now().strftime(format)` of Python, at `now`.
pub(crate) fn strftime(format: &str, now: &Zoned) -> Result<String> {
    let mut text = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        text.push_str(&rest[..start]);
        let directive = &rest[start..];
        let mut characters = directive.char_indices().skip(1).peekable();
        let mut style = Style::default();
        while let Some((_, flag)) = characters.next_if(|(_, c)| "_-0^#".contains(*c)) {
            match flag {
                '^' => style.upper = true,
                '#' => style.swap = true,
                pad => style.pad = Some(pad),
            }
        }
        let mut plain = directive.as_bytes().get(1).is_some_and(u8::is_ascii_alphabetic);
        while let Some((_, digit)) = characters.next_if(|(_, c)| c.is_ascii_digit()) {
            plain = false;
            style.width = (style.width * 10 + digit as usize - '0' as usize).min(1000);
        }
        let modifier = characters.next_if(|(_, c)| matches!(c, 'E' | 'O')).is_some();
        let Some((place, letter)) = characters.next() else {
            // An unfinished directive stays as it is written.
            text.push_str(directive);
            return Ok(text);
        };
        let end = place + letter.len_utf8();
        match letter {
            // Python's date has no time zone here, so both are empty.
            'z' | 'Z' if plain && !modifier => {}
            'f' if plain && !modifier => text += &format!("{:06}", now.subsec_nanosecond() / 1000),
            'z' | 'Z' | '+' => fail!(Unsupported, "strftime_now with '{}'", &directive[..end]),
            _ => match field(letter, style, now)? {
                Some(field) => text.push_str(&field),
                None => text.push_str(&directive[..end]),
            },
        }
        rest = &directive[end..];
    }
    text.push_str(rest);
    Ok(text)
}

/// The text of one directive.
fn field(letter: char, style: Style, now: &Zoned) -> Result<Option<String>> {
    let weekday = now.weekday().to_sunday_zero_offset() as usize;
    let month = MONTHS[(now.month() as usize).saturating_sub(1) % 12];
    let (year, hour, day_of_year) = (i64::from(now.year()), i64::from(now.hour()), i64::from(now.day_of_year()));
    let week = now.date().iso_week_date();
    let hour12 = (hour + 11) % 12 + 1;
    let half = if hour < 12 { "AM" } else { "PM" };
    let mut style = style;
    if style.swap && matches!(letter, 'a' | 'A' | 'b' | 'B' | 'h') {
        style.upper = true;
    }
    let nested = |format: &str| strftime(format, now).map(|text| Some(style.text(&text)));
    Ok(Some(match letter {
        'a' => style.text(&DAYS[weekday][..3]),
        'A' => style.text(DAYS[weekday]),
        'b' | 'h' => style.text(&month[..3]),
        'B' => style.text(month),
        'p' if style.swap => style.text(&half.to_lowercase()),
        'p' => style.text(half),
        'P' => Style { upper: false, ..style }.text(&half.to_lowercase()),
        'C' => style.number(year.div_euclid(100), 2, '0'),
        'd' => style.number(i64::from(now.day()), 2, '0'),
        'e' => style.number(i64::from(now.day()), 2, ' '),
        'g' => style.number(i64::from(week.year()).rem_euclid(100), 2, '0'),
        'G' => style.number(i64::from(week.year()), 1, '0'),
        'H' => style.number(hour, 2, '0'),
        'I' => style.number(hour12, 2, '0'),
        'j' => style.number(day_of_year, 3, '0'),
        'k' => style.number(hour, 2, ' '),
        'l' => style.number(hour12, 2, ' '),
        'm' => style.number(i64::from(now.month()), 2, '0'),
        'M' => style.number(i64::from(now.minute()), 2, '0'),
        's' => style.number(now.timestamp().as_second(), 1, '0'),
        'S' => style.number(i64::from(now.second()), 2, '0'),
        'u' => style.number(if now.weekday() == Weekday::Sunday { 7 } else { weekday as i64 }, 1, '0'),
        'U' => style.number((day_of_year - 1 + 7 - weekday as i64) / 7, 2, '0'),
        'V' => style.number(i64::from(week.week()), 2, '0'),
        'w' => style.number(weekday as i64, 1, '0'),
        'W' => style.number((day_of_year - 1 + 7 - (weekday as i64 + 6) % 7) / 7, 2, '0'),
        'y' => style.number(year.rem_euclid(100), 2, '0'),
        'Y' => style.number(year, 1, '0'),
        'n' => style.text("\n"),
        't' => style.text("\t"),
        '%' => style.text("%"),
        'c' => return nested("%a %b %e %H:%M:%S %Y"),
        'D' | 'x' => return nested("%m/%d/%y"),
        'F' => return nested("%Y-%m-%d"),
        'r' => return nested("%I:%M:%S %p"),
        'R' => return nested("%H:%M"),
        'T' | 'X' => return nested("%H:%M:%S"),
        _ => return Ok(None),
    }))
}
