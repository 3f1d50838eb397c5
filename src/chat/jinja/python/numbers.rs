//! Python's numbers, `int` up to 127 bits and `float`: how they are read, printed and computed with.

use super::value::Value;
use crate::chat::jinja::error::{Result, fail};

const TOO_LONG: &str = "integers of more than 127 bits";

/// An `int` as a `float`.
pub(crate) fn float(number: i128) -> f64 {
    number as f64
}

/// The `int` of a `float` without its fraction.
pub(crate) fn truncate(number: f64) -> Result<i128> {
    if number.is_nan() {
        fail!(Value, "cannot convert float NaN to integer");
    }
    if number.is_infinite() {
        fail!(Arithmetic, "cannot convert float infinity to integer");
    }
    if number.abs() >= 1.7e38 {
        fail!(Unsupported, "{TOO_LONG}");
    }
    Ok(number as i128)
}

/// `repr` of a `float`.
pub(crate) fn repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let text = format!("{number}");
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Python's `int(text, base)`.
pub(crate) fn parse_int(text: &str, base: i128) -> Result<Option<i128>> {
    if base != 0 && !(2..=36).contains(&base) {
        fail!(Value, "int() base must be >= 2 and <= 36, or 0");
    }
    let trimmed = crate::chat::jinja::string::strings::strip(text, None);
    let (negative, unsigned) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let prefix = unsigned.get(..2).map(str::to_ascii_lowercase);
    let of_prefix = match prefix.as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    let (radix, mut digits) = match of_prefix {
        Some(radix) if base == 0 || base == radix => (radix, &unsigned[2..]),
        _ => (if base == 0 { 10 } else { base }, unsigned),
    };
    if of_prefix == Some(radix) && digits.len() < unsigned.len() {
        digits = digits.strip_prefix('_').unwrap_or(digits);
    }
    let (mut number, mut after_digit, mut nonzero) = (Some(0i128), false, false);
    for character in digits.chars() {
        if character == '_' {
            if !after_digit {
                return Ok(None);
            }
            after_digit = false;
            continue;
        }
        let digit = match character
            .to_digit(radix as u32)
            .or_else(|| crate::chat::jinja::string::unicode::decimal(character))
        {
            Some(digit) if i128::from(digit) < radix => i128::from(digit),
            _ => return Ok(None),
        };
        after_digit = true;
        nonzero |= digit != 0;
        number = number.and_then(|number| number.checked_mul(radix)?.checked_add(digit));
    }
    // In base 0 a decimal number has no leading zeros.
    if !after_digit || (base == 0 && radix == 10 && nonzero && digits.starts_with('0')) {
        return Ok(None);
    }
    match number {
        Some(number) => Ok(Some(if negative { -number } else { number })),
        None => fail!(Unsupported, "{TOO_LONG}"),
    }
}

/// Python's `float(text)`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let trimmed = crate::chat::jinja::string::strings::strip(text, None);
    let mut plain = String::with_capacity(trimmed.len());
    let mut characters = trimmed.chars().peekable();
    let mut before = ' ';
    while let Some(character) = characters.next() {
        if character == '_' {
            if !before.is_ascii_digit() || !characters.peek().is_some_and(char::is_ascii_digit) {
                return None;
            }
        } else {
            match crate::chat::jinja::string::unicode::decimal(character) {
                Some(digit) => plain.push(char::from(b'0' + digit as u8)),
                None => plain.push(character),
            }
        }
        before = character;
    }
    plain.parse().ok()
}

/// The operators of two values, in the order of their names in `OPERATORS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

impl Operator {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Mod => "%",
            Self::Pow => "** or pow()",
        }
    }
}

/// The operator on two numbers; `None` if one is no number.
pub(crate) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Option<Value>> {
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        return integers(operator, a, b).map(Some);
    }
    let (Some(a), Some(b)) = (left.to_float(), right.to_float()) else { return Ok(None) };
    floats(operator, a, b).map(|number| Some(Value::Float(number)))
}

fn integers(operator: Operator, a: i128, b: i128) -> Result<Value> {
    let whole = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::Div => return divide(a, b).map(Value::Float),
        Operator::FloorDiv | Operator::Mod if b == 0 => fail!(Arithmetic, "integer division or modulo by zero"),
        Operator::FloorDiv => a.checked_div(b).map(|quotient| {
            let inexact = a.checked_rem(b).is_some_and(|rest| rest != 0);
            if inexact && ((a < 0) != (b < 0)) { quotient - 1 } else { quotient }
        }),
        Operator::Mod => {
            let rest = a.checked_rem(b).unwrap_or(0);
            Some(if rest != 0 && ((rest < 0) != (b < 0)) { rest + b } else { rest })
        }
        Operator::Pow if b < 0 => return floats(operator, float(a), float(b)).map(Value::Float),
        Operator::Pow => match a {
            0 | 1 => Some(if b == 0 { 1 } else { a }),
            -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
            _ => u32::try_from(b).ok().and_then(|exponent| a.checked_pow(exponent)),
        },
    };
    match whole {
        Some(number) => Ok(Value::Int(number)),
        None => fail!(Unsupported, "{TOO_LONG}"),
    }
}

/// The quotient of two `int`s as a `float`; an error if it could be wrong in the last bit because one of them is not
/// exact as a `float`.
fn divide(a: i128, b: i128) -> Result<f64> {
    if b == 0 {
        fail!(Arithmetic, "division by zero");
    }
    let (x, y) = (float(a), float(b));
    if x as i128 != a || y as i128 != b {
        if a % b == 0 {
            return Ok(float(a / b));
        }
        fail!(Unsupported, "the quotient of integers of more than 53 bits");
    }
    Ok(x / y)
}

fn floats(operator: Operator, a: f64, b: f64) -> Result<f64> {
    if b == 0.0 && matches!(operator, Operator::Div | Operator::FloorDiv | Operator::Mod) {
        fail!(Arithmetic, "float division by zero");
    }
    Ok(match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div => a / b,
        Operator::FloorDiv => floor_divide(a, b).0,
        Operator::Mod => floor_divide(a, b).1,
        Operator::Pow => {
            if a == 0.0 && b < 0.0 {
                fail!(Arithmetic, "0.0 cannot be raised to a negative power");
            }
            if a < 0.0 && b.is_finite() && b.fract() != 0.0 {
                fail!(Unsupported, "complex numbers");
            }
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                fail!(Arithmetic, "Numerical result out of range");
            }
            power
        }
    })
}

/// Python's `divmod` of two `float`s.
fn floor_divide(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

/// Python's `round(number, digits)` of a `float`: a tie goes to the even digit.
pub(crate) fn round(number: f64, digits: i128) -> f64 {
    if !number.is_finite() || digits > 323 {
        return number;
    }
    if digits >= 0 {
        return format!("{number:.*}", digits as usize).parse().unwrap_or(number);
    }
    if digits < -308 {
        return 0.0f64.copysign(number);
    }
    // Exact, since what is cut off is compared with one half as integers where it matters.
    let scale = 10f64.powi(-digits as i32);
    let scaled = number / scale;
    let mut rounded = scaled.round();
    if scaled.fract().abs() == 0.5 {
        rounded = 2.0 * (scaled / 2.0).round();
    }
    rounded * scale
}
