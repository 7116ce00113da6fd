//! Numbers of a workbook as the workbook shows them, as far as that matters for an id: with leading zeros,
//! fixed decimals and text between the digits.

/// Maximum length of a format, in bytes: that of Excel.
const MAX_CODE_BYTES: usize = 255;

/// Returns a number in a format such as `00000`, `0.00` or `000-0000`; `None` if it is another format.
pub(super) fn format(number: f64, code: &str) -> Option<String> {
    if code.len() > MAX_CODE_BYTES {
        return None;
    }
    let code = code.split(';').next()?;
    let template = parse(code)?;
    let decimals = template.decimals;
    let digits = format!("{:.decimals$}", number.abs());
    // A number that is shown rounded is read as it is.
    if digits.parse() != Ok(number.abs()) {
        return None;
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    // The digits before the decimal point are filled in from the right.
    let mut left = whole.chars().rev();
    let mut shown: Vec<char> = Vec::new();
    for part in template.whole.iter().rev() {
        match part {
            Part::Zero => shown.push(left.next().unwrap_or('0')),
            Part::Literal(c) => shown.push(*c),
        }
        let is_first_zero = template.whole.iter().find(|part| **part == Part::Zero);
        if is_first_zero.is_some_and(|first| std::ptr::eq(first, part)) {
            shown.extend(left.by_ref());
        }
    }
    let whole: String = shown.into_iter().rev().collect();
    let sign = if number < 0.0 { "-" } else { "" };
    let point = if decimals > 0 { "." } else { "" };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[derive(PartialEq)]
enum Part {
    Zero,
    Literal(char),
}

struct Template {
    whole: Vec<Part>,
    decimals: usize,
}

/// Reads a format that has nothing but zeros, text, and zeros after a decimal point.
fn parse(code: &str) -> Option<Template> {
    let mut whole = Vec::new();
    let mut decimals = 0;
    let mut is_fraction = false;
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match c {
            '0' if is_fraction => decimals += 1,
            '0' => whole.push(Part::Zero),
            '.' if !is_fraction => is_fraction = true,
            _ if is_fraction => return None,
            '\\' => whole.push(Part::Literal(chars.next()?)),
            '"' => {
                let text = chars.as_str();
                let end = text.find('"')?;
                whole.extend(text[..end].chars().map(Part::Literal));
                chars = text[end + 1..].chars();
            }
            '-' | ' ' | '/' | '(' | ')' | ':' => whole.push(Part::Literal(c)),
            _ => return None,
        }
    }
    let zeros = whole.iter().filter(|part| **part == Part::Zero).count();
    // `0` shows what the number is anyway, but for its decimals.
    (zeros > 0 && decimals <= 15).then_some(Template { whole, decimals })
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn leading_zeros_decimals_and_text_between_digits_are_shown() {
        for (number, code, shown) in [
            (123.0, "00000", "00123"),
            (123_456.0, "00000", "123456"),
            (12.5, "0.00", "12.50"),
            (5_551_234.0, "000\\-0000", "555-1234"),
            (7.0, "\"SKU-\"000", "SKU-007"),
            (-7.0, "000;-000", "-007"),
            (3.0, "0", "3"),
        ] {
            assert_eq!(format(number, code).as_deref(), Some(shown), "{code}");
        }
        assert_eq!(format(0.5, "0"), None);
        for other in ["General", "#,##0.00", "0%", "yyyy-mm-dd", "@", "0.00E+00"] {
            assert_eq!(format(1.0, other), None, "{other}");
        }
    }
}
