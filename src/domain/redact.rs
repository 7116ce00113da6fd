//! Keeps prompts out of logs and run summaries: a provider may quote in its error message what it
//! was sent.

use serde_json::Value;

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

/// Maximum length of a quoted response, in characters.
const MAX_QUOTE_CHARS: usize = 200;

/// Formats a response of a provider as JSON on a single line, short and without the prompts of a
/// job.
pub(crate) fn quote(response: &Value, input: &Input) -> String {
    let quoted = without_prompts(response, input).to_string();
    match quoted.char_indices().nth(MAX_QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &quoted[..end]),
        None => quoted,
    }
}

fn without_prompts(response: &Value, input: &Input) -> Value {
    match response {
        Value::String(text) => redact_prompts(text, input).into(),
        Value::Array(items) => items
            .iter()
            .map(|item| without_prompts(item, input))
            .collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), without_prompts(value, input)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
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
    fn a_quoted_response_is_short_and_without_prompts() {
        let input = r#"{"prompt":"Slow \"turntable\",\nlinen"}"#;
        let input: Input = serde_json::from_str(input).unwrap();
        let response = serde_json::json!({
            "output": [null, "of: Slow \"turntable\", linen"],
            "seed": 7,
        });
        assert_eq!(
            quote(&response, &input),
            r#"{"output":[null,"of: [prompt]"],"seed":7}"#
        );
        let quoted = quote(&Value::from("ü".repeat(500)), &input);
        assert_eq!(quoted.chars().count(), MAX_QUOTE_CHARS + 1);
    }

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
