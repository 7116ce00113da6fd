//! Keeps prompts out of logs and run summaries: a provider may quote in its error message what it
//! was sent.

use super::Input;
use super::input::PROMPT_FIELDS;

/// Minimum length of a prompt, or of its beginning, to be searched for in a message, in bytes.
/// Shorter ones occur in ordinary words.
const MIN_PROMPT_BYTES: usize = 8;

/// Replaces the prompts of a job by `[prompt]` in a message of a provider.
pub(crate) fn redact_prompts(message: &str, input: &Input) -> String {
    let mut message = message.to_owned();
    for field in PROMPT_FIELDS {
        if let Some(prompt) = input.get(field).and_then(|prompt| prompt.as_str()) {
            message = redact_prompt(&message, prompt);
        }
    }
    message
}

fn redact_prompt(message: &str, prompt: &str) -> String {
    // Messages were put on one line, and truncated where they are long, perhaps in the middle of a
    // prompt.
    let prompt = prompt.trim().replace(char::is_control, " ");
    if prompt.len() < MIN_PROMPT_BYTES {
        return message.to_owned();
    }
    let message = message.replace(&prompt, "[prompt]");
    let truncated = prompt
        .char_indices()
        .map(|(end, _)| &prompt[..end])
        .rev()
        .take_while(|beginning| beginning.len() >= MIN_PROMPT_BYTES)
        .find_map(|beginning| message.strip_suffix(beginning));
    match truncated {
        Some(rest) => format!("{rest}[prompt]"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_prompt_is_redacted_whole_or_truncated() {
        let input = r#"{"prompt":"Slow turntable,\nlinen","negative_prompt":"blur"}"#;
        let input: Input = serde_json::from_str(input).unwrap();
        for (message, redacted) in [
            (
                "`Slow turntable, linen` is refused, so is blur",
                "`[prompt]` is refused, so is blur",
            ),
            ("refused: Slow turntab", "refused: [prompt]"),
            ("refused: Slow tur", "refused: [prompt]"),
            ("refused: Slow tu", "refused: Slow tu"),
        ] {
            assert_eq!(redact_prompts(message, &input), redacted);
        }
    }
}
