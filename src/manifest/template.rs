//! Prompts made of a row's columns: `Slow turntable of {Title|the product}`.

use super::plain_text::plain;

/// Text with places for columns. `{Column}` is a cell, `{Column|text}` a cell or, where it is empty, the text;
/// `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column {
        name: String,
        fallback: Option<String>,
    },
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if brace.starts_with('}') {
                return Err(format!(
                    "a `}}` without a `{{` at `{}`; write `}}}}` for the sign itself",
                    shown(brace)
                ));
            } else {
                let Some(end) = brace.find('}') else {
                    return Err(format!(
                        "a `{{` without a `}}` at `{}`; write `{{{{` for the sign itself",
                        shown(brace)
                    ));
                };
                let inner = &brace[1..end];
                let (name, fallback) = match inner.split_once('|') {
                    Some((name, fallback)) => (name, Some(fallback.to_owned())),
                    None => (inner, None),
                };
                if name.trim().is_empty() || inner.contains('{') {
                    return Err(format!("`{}` names no column", shown(brace)));
                }
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Column {
                    name: name.trim().to_owned(),
                    fallback,
                });
                rest = &brace[end + 1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Lists the columns it names.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Column { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Fills it from a row. HTML becomes plain text.
    pub fn fill(&self, cell: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Column { name, fallback } => {
                    match (cell(name).filter(|cell| !cell.trim().is_empty()), fallback) {
                        (Some(cell), _) => text.push_str(plain(&cell).trim()),
                        (None, Some(fallback)) => text.push_str(fallback),
                        (None, None) => {
                            return Err(format!(
                                "the template needs `{name}`, which is empty; `{{{name}|text}}` gives a text for that"
                            ));
                        }
                    }
                }
            }
        }
        Ok(text)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        let cell = |name: &str| match name {
            "Title" => Some("Blue mug".to_owned()),
            "Option1 Value" => Some(" large ".to_owned()),
            "Empty" => Some(String::new()),
            _ => None,
        };
        Template::parse(template)?.fill(cell)
    }

    #[test]
    fn columns_fallbacks_and_braces_are_filled_in() {
        assert_eq!(
            filled("Turn {Title}, {Option1 Value}").unwrap(),
            "Turn Blue mug, large"
        );
        assert_eq!(filled("{Empty|a mug} {{x}}").unwrap(), "a mug {x}");
        assert_eq!(filled("plain").unwrap(), "plain");
    }

    #[test]
    fn mistakes_in_a_template_are_told() {
        for template in ["{Title", "Title}", "{}", "{ |x}", "{a{b}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        assert!(filled("{Empty}").unwrap_err().contains("`Empty`"));
    }
}
