//! Python's format of one number or text: the part behind the colon in `{:>10.2f}`. `%10.2f` uses it, too.

use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::numbers;
use crate::chat::jinja::python::repr;
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::cx::Cx;

/// The format of one value.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) fill: char,
    pub(crate) align: Option<char>,
    /// `+`, `-` or a space.
    pub(crate) sign: char,
    pub(crate) alternate: bool,
    /// `z`: no negative zero.
    pub(crate) no_negative_zero: bool,
    pub(crate) width: usize,
    pub(crate) grouping: Option<char>,
    pub(crate) precision: Option<usize>,
    pub(crate) kind: Option<char>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            fill: ' ',
            align: None,
            sign: '-',
            alternate: false,
            no_negative_zero: false,
            width: 0,
            grouping: None,
            precision: None,
            kind: None,
        }
    }
}

/// Takes a number from the start of `text`.
pub(crate) fn take_number(text: &mut &str) -> Result<Option<usize>> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok(None);
    }
    let Ok(number) = text[..end].parse::<u32>() else { fail!(Value, "Too many decimal digits in format string") };
    *text = &text[end..];
    Ok(Some(number as usize))
}

impl Spec {
    /// Parses Python's format specification mini-language.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut spec = Self::default();
        let mut rest = text;
        let mut characters = rest.chars();
        let (first, second) = (characters.next(), characters.next());
        let is_align = |c: Option<char>| c.is_some_and(|c| "<>=^".contains(c));
        if is_align(second) {
            spec.fill = first.unwrap_or(' ');
            spec.align = second;
            rest = characters.as_str();
        } else if is_align(first) {
            spec.align = first;
            rest = &rest[1..];
        }
        if let Some(sign) = rest.chars().next().filter(|c| "+- ".contains(*c)) {
            spec.sign = sign;
            rest = &rest[1..];
        }
        let mut take = |prefix: char| {
            let cut = rest.strip_prefix(prefix);
            rest = cut.unwrap_or(rest);
            cut.is_some()
        };
        spec.no_negative_zero = take('z');
        spec.alternate = take('#');
        if take('0') && !is_align(second) {
            spec.fill = '0';
            spec.align = spec.align.or(Some('='));
        }
        spec.width = take_number(&mut rest)?.unwrap_or(0);
        if let Some(grouping) = rest.chars().next().filter(|c| ",_".contains(*c)) {
            spec.grouping = Some(grouping);
            rest = &rest[1..];
        }
        if let Some(precision) = rest.strip_prefix('.') {
            rest = precision;
            spec.precision = take_number(&mut rest)?;
            if spec.precision.is_none() {
                fail!(Value, "Format specifier missing precision");
            }
        }
        let mut characters = rest.chars();
        spec.kind = characters.next();
        if !characters.as_str().is_empty() {
            fail!(Value, "Invalid format specifier '{text}'");
        }
        Ok(spec)
    }

    fn pad(&self, cx: &Cx, sign: &str, body: &str, align: char) -> Result<String> {
        let length = sign.chars().count() + body.chars().count();
        let more = self.width.saturating_sub(length);
        cx.meter.room(more * self.fill.len_utf8())?;
        let fill = |count: usize| std::iter::repeat_n(self.fill, count).collect::<String>();
        Ok(match self.align.unwrap_or(align) {
            '<' => format!("{sign}{body}{}", fill(more)),
            '^' => format!("{}{sign}{body}{}", fill(more / 2), fill(more - more / 2)),
            '=' => format!("{sign}{}{body}", fill(more)),
            _ => format!("{}{sign}{body}", fill(more)),
        })
    }

    /// `format(value, spec)`.
    pub(crate) fn apply(&self, cx: &Cx, value: &Value) -> Result<String> {
        match value {
            Value::Str(text) => self.text(cx, text),
            Value::Float(number) => self.float(cx, *number),
            _ => match value.as_int() {
                Some(number) => self.int(cx, number),
                None => {
                    fail!(Type, "unsupported format string passed to {}.__format__", value.type_name())
                }
            },
        }
    }

    fn text(&self, cx: &Cx, text: &str) -> Result<String> {
        if !matches!(self.kind, None | Some('s')) {
            fail!(Value, "Unknown format code '{}' for object of type 'str'", self.kind.unwrap_or(' '));
        }
        if self.sign != '-' || self.alternate || self.no_negative_zero || self.grouping.is_some() {
            fail!(Value, "a sign, '#' or grouping is not allowed in the format of a str");
        }
        if self.align == Some('=') && self.fill != '0' {
            fail!(Value, "'=' alignment not allowed in string format specifier");
        }
        let cut = match self.precision {
            Some(precision) => text.char_indices().nth(precision).map_or(text, |(place, _)| &text[..place]),
            None => text,
        };
        let align = if self.align == Some('=') { Some('<') } else { self.align };
        Self { align, ..self.clone() }.pad(cx, "", cut, '<')
    }

    fn int(&self, cx: &Cx, number: i128) -> Result<String> {
        let kind = self.kind.unwrap_or('d');
        if "eEfFgG%".contains(kind) {
            return self.float(cx, numbers::float(number));
        }
        if self.precision.is_some() {
            fail!(Value, "Precision not allowed in integer format specifier");
        }
        let amount = number.unsigned_abs();
        let (prefix, digits) = match kind {
            'd' | 'n' => ("", amount.to_string()),
            'x' => ("0x", format!("{amount:x}")),
            'X' => ("0X", format!("{amount:X}")),
            'o' => ("0o", format!("{amount:o}")),
            'b' => ("0b", format!("{amount:b}")),
            'c' => match u32::try_from(number).ok().and_then(char::from_u32) {
                Some(character) => return self.pad(cx, "", &character.to_string(), '<'),
                None => fail!(Arithmetic, "%c arg not in range(0x110000)"),
            },
            other => fail!(Value, "Unknown format code '{other}' for object of type 'int'"),
        };
        let every = if matches!(kind, 'd' | 'n') { 3 } else { 4 };
        if self.grouping == Some(',') && every == 4 {
            fail!(Value, "Cannot specify ',' with '{kind}'.");
        }
        let prefix = if self.alternate { prefix } else { "" };
        let sign = format!("{}{prefix}", self.sign_of(number < 0));
        let body = self.group(&digits, "", every, sign.chars().count());
        self.pad(cx, &sign, &body, '>')
    }

    fn sign_of(&self, negative: bool) -> &'static str {
        match self.sign {
            _ if negative => "-",
            '+' => "+",
            ' ' => " ",
            _ => "",
        }
    }

    /// Writes the whole digits in groups, then `behind`. Zeros in front count as digits.
    fn group(&self, digits: &str, behind: &str, every: usize, sign: usize) -> String {
        let Some(separator) = self.grouping else { return format!("{digits}{behind}") };
        let mut digits = digits.to_owned();
        let grouped = |digits: &str| {
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(every) {
                    text.push(separator);
                }
                text.push(digit);
            }
            text
        };
        if self.fill == '0' && self.align == Some('=') {
            let room = self.width.min(1 << 16).saturating_sub(sign + behind.len());
            while grouped(&digits).len() < room {
                digits.insert(0, '0');
            }
        }
        grouped(&digits) + behind
    }

    fn float(&self, cx: &Cx, number: f64) -> Result<String> {
        let precision = self.precision.unwrap_or(6);
        cx.meter.room(precision)?;
        let amount = number.abs();
        let mut text = match self.kind {
            Some('f' | 'F') => fixed(amount, precision, self.alternate),
            Some('e' | 'E') => exponential(amount, precision, self.alternate),
            Some('g' | 'G' | 'n') => general(amount, precision, self.alternate),
            Some('%') => fixed(amount * 100.0, precision, self.alternate) + "%",
            None => match self.precision {
                // As `repr`, but with a precision, and always with a point or an exponent.
                Some(precision) => general_with_point(amount, precision, self.alternate),
                None => numbers::repr(amount),
            },
            Some(other) => fail!(Value, "Unknown format code '{other}' for object of type 'float'"),
        };
        if matches!(self.kind, Some('F' | 'E' | 'G')) {
            text = text.to_uppercase();
        }
        let zero = text.chars().all(|c| !c.is_ascii_digit() || c == '0');
        let negative = number.is_sign_negative() && !number.is_nan() && !(self.no_negative_zero && zero);
        let sign = self.sign_of(negative);
        let whole = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let body = if amount.is_finite() { self.group(&text[..whole], &text[whole..], 3, sign.len()) } else { text };
        self.pad(cx, sign, &body, '>')
    }
}

fn special(number: f64) -> Option<String> {
    (!number.is_finite()).then(|| numbers::repr(number))
}

/// C's `%f`.
pub(crate) fn fixed(number: f64, precision: usize, alternate: bool) -> String {
    special(number).unwrap_or_else(|| {
        let point = if alternate && precision == 0 { "." } else { "" };
        format!("{number:.precision$}{point}")
    })
}

/// The digits of a number with so many behind the point, and its exponent.
fn scientific(number: f64, precision: usize) -> (String, i32) {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (digits.to_owned(), exponent.parse().unwrap_or(0))
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// C's `%e`.
pub(crate) fn exponential(number: f64, precision: usize, alternate: bool) -> String {
    special(number).unwrap_or_else(|| {
        let (mut digits, exponent) = scientific(number, precision);
        if alternate && precision == 0 {
            digits.push('.');
        }
        with_exponent(&digits, exponent)
    })
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// C's `%g`.
pub(crate) fn general(number: f64, precision: usize, alternate: bool) -> String {
    general_up_to(number, precision.max(1), precision.max(1) as i32, alternate)
}

/// Python's format without a type: as `%g`, but it uses an exponent from another size on.
fn general_with_point(number: f64, precision: usize, alternate: bool) -> String {
    let precision = precision.max(1);
    let text = general_up_to(number, precision, precision as i32 - 1, alternate);
    let plain = text.chars().all(|c| c.is_ascii_digit());
    if plain { text + ".0" } else { text }
}

fn general_up_to(number: f64, precision: usize, most: i32, alternate: bool) -> String {
    special(number).unwrap_or_else(|| {
        let (digits, exponent) = scientific(number, precision - 1);
        if exponent < -4 || exponent >= most.max(1) && exponent >= most {
            let digits = if alternate { &digits } else { without_zeros(&digits) };
            return with_exponent(digits, exponent);
        }
        let text = fixed(number, (precision as i32 - 1 - exponent).max(0) as usize, alternate);
        if alternate { text } else { without_zeros(&text).to_owned() }
    })
}

/// The text of a value for `%s`, `%r` and `%a`, and for `!s`, `!r` and `!a`.
pub(crate) fn converted(cx: &Cx, value: &Value, conversion: char) -> Result<String> {
    match conversion {
        's' => repr::text(cx, value).map(|text| (*text).to_owned()),
        'r' => repr::repr(cx, value),
        'a' => {
            let text = repr::repr(cx, value)?;
            Ok(text.chars().map(|c| if c.is_ascii() { c.to_string() } else { repr::escape(c) }).collect())
        }
        other => fail!(Value, "Unknown conversion specifier {other}"),
    }
}
