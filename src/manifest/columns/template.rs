//! Prompts made of a row's columns: `Slow turntable of {Title|the product}`.

use super::plain_text::to_plain_text;
use crate::manifest::cell_text::folded;

/// Text with placeholders for columns. `{Column}` is the text of a cell; `{Column|text}` is the
/// text of a cell or, if it is empty, the text after the bar. `{{` and `}}` are literal braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Column {
        name: String,
        fallback: Option<String>,
    },
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Returns a message if a brace has no counterpart or a placeholder names no column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if brace.starts_with('}') {
                return Err(format!(
                    "there is a `}}` without a `{{` at `{}`; write `}}}}` for a literal brace",
                    excerpt(brace)
                ));
            } else {
                let Some(end) = brace.find('}') else {
                    return Err(format!(
                        "there is a `{{` without a `}}` at `{}`; write `{{{{` for a literal brace",
                        excerpt(brace)
                    ));
                };
                let inner = &brace[1..end];
                let (name, fallback) = match inner.split_once('|') {
                    Some((name, fallback)) => (name, Some(fallback.to_owned())),
                    None => (inner, None),
                };
                if name.trim().is_empty() || inner.contains('{') {
                    return Err(format!(
                        "`{}` does not name a column; write {{Column}}",
                        excerpt(brace)
                    ));
                }
                if !literal.is_empty() {
                    segments.push(Segment::Text(std::mem::take(&mut literal)));
                }
                segments.push(Segment::Column {
                    name: name.trim().to_owned(),
                    fallback,
                });
                rest = &brace[end + 1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            segments.push(Segment::Text(literal));
        }
        Ok(Self(segments))
    }

    /// Returns the names of the columns in the template, in order and with repetitions.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Column { name, .. } => Some(name.as_str()),
            Segment::Text(_) => None,
        })
    }

    /// Fills the template with a row's cells, of which HTML becomes plain text. `cell` returns the
    /// text of a column.
    ///
    /// # Errors
    /// Returns a message if a cell is empty or missing and the template has no text for that case.
    pub fn fill(&self, cell: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Text(literal) => text.push_str(literal),
                Segment::Column { name, fallback } => {
                    match (cell(name).filter(|cell| !is_placeholder(cell)), fallback) {
                        (Some(cell), _) => text.push_str(to_plain_text(&cell).trim()),
                        (None, Some(fallback)) => text.push_str(fallback),
                        (None, None) => {
                            return Err(format!(
                                "the template needs `{name}`, which is empty in this row; write \
                                 `{{{name}|text}}` for a text to use instead"
                            ));
                        }
                    }
                }
            }
        }
        // An empty column at an end leaves its blank.
        Ok(text.trim().to_owned())
    }
}

/// Returns whether a cell is empty, or holds what shops and people write into empty ones.
fn is_placeholder(cell: &str) -> bool {
    const PLACEHOLDERS: [&str; 7] = [
        "",
        "default title",
        "n/a",
        "-",
        "\u{2013}",
        "\u{2014}",
        "null",
    ];
    PLACEHOLDERS.contains(&folded(cell).as_str())
}

/// Returns the start of a text, for a message.
fn excerpt(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str) -> Result<String, String> {
        let cell = |name: &str| match name {
            "Title" => Some("Blue mug".to_owned()),
            "Option1 Value" => Some(" large ".to_owned()),
            "Empty" => Some(String::new()),
            "Option2" => Some("N/A".into()),
            _ => None,
        };
        Template::parse(template)?.fill(cell)
    }

    #[test]
    fn columns_fallbacks_and_braces_are_filled_in() {
        assert_eq!(
            fill("Turn {Title}, {Option1 Value}").unwrap(),
            "Turn Blue mug, large"
        );
        assert_eq!(fill("{Empty|a mug} {{x}}").unwrap(), "a mug {x}");
        assert_eq!(fill("plain").unwrap(), "plain");
        assert_eq!(fill("{Option2|none}").unwrap(), "none");
    }

    #[test]
    fn mistakes_in_a_template_are_reported() {
        for template in ["{Title", "Title}", "{}", "{ |x}", "{a{b}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        assert!(fill("{Empty}").unwrap_err().contains("`Empty`"));
    }
}
