//! What a file holds, made fit for a message.

/// Longest text shown.
const LONGEST: usize = 60;

/// Cuts a text where it is long, for it may be a whole file; and takes out what would move a terminal's cursor.
pub fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
