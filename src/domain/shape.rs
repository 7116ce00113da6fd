//! The fields of an input, the values that they accept, and how a value is parsed and validated.

use serde_json::Value;
use url::Url;

use super::LocalImage;
use super::printable::printable_excerpt;
use super::public_address::is_public_host;

/// The type and the bounds of a field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Text: one of the choices, or any non-empty text.
    Text {
        /// The allowed values; empty allows any.
        choices: Vec<String>,
    },
    /// A whole number.
    Integer {
        /// The allowed values; empty allows any.
        choices: Vec<i64>,
    },
    /// A number, with or without a fraction.
    Number {
        /// The smallest allowed value; `None` if there is no lower bound.
        min: Option<f64>,
        /// The largest allowed value; `None` if there is no upper bound.
        max: Option<f64>,
    },
    /// An image: an HTTP link, a data URI, or a [`LocalImage`] that was found on disk.
    Image,
    /// A list of values of the same shape.
    List {
        /// The shape of each item.
        item: Box<Self>,
        /// Minimum number of items.
        min_items: usize,
        /// Maximum number of items.
        max_items: usize,
    },
    /// An object with the given keys and no others.
    Object {
        /// The keys and the shapes of their values.
        fields: Vec<Field>,
    },
}

/// One field of a model's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Our name of the field, the same for every provider.
    pub name: String,
    /// The values it accepts.
    pub shape: Shape,
    /// Whether every row must set it.
    pub required: bool,
    /// The value that providers use if a row does not set it; `None` if they document none.
    pub default: Option<Value>,
    /// What the field controls, on one line, for the model's listing.
    pub help: String,
}

impl Shape {
    /// Parses the text of a table cell or a flag. Lists and objects are written as JSON.
    ///
    /// The value is not checked against the bounds; see [`check`](Self::check).
    ///
    /// # Errors
    ///
    /// Returns a message about the text, without the name of the field.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text { .. } | Self::Image => Ok(Value::from(text)),
            Self::Integer { choices } => match text.trim().parse::<i64>() {
                Ok(number) => Ok(Value::from(number)),
                Err(_) => Err(format!(
                    "{} is not {}",
                    quoted(text),
                    describe_integer(choices)
                )),
            },
            Self::Number { .. } => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::from(number)),
                _ => Err(format!("{} is not a number", quoted(text))),
            },
            Self::List { .. } | Self::Object { .. } => {
                serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
            }
        }
    }

    /// Checks that a value is acceptable.
    ///
    /// # Errors
    ///
    /// Returns a message about the value, without the name of the field, preceded by the path to
    /// the value if it is nested (`[1]: x: is missing`).
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match self {
            Self::Text { choices } => {
                let Some(text) = value.as_str() else {
                    return Err(mismatch(value, "text"));
                };
                if text.trim().is_empty() {
                    return Err("is empty".into());
                }
                if text.contains('\0') {
                    return Err("contains a NUL character".into());
                }
                if !choices.is_empty() && !choices.iter().any(|choice| choice == text) {
                    return Err(format!(
                        "{} is not one of {}",
                        quoted(text),
                        choices.join(", ")
                    ));
                }
                Ok(())
            }
            Self::Integer { choices } => {
                let integer = value.as_i64().or_else(|| {
                    let float = value
                        .as_f64()
                        .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)?;
                    format!("{float:.0}").parse().ok()
                });
                match integer {
                    Some(number) if choices.is_empty() || choices.contains(&number) => Ok(()),
                    Some(number) => Err(format!("{number} is not {}", describe_integer(choices))),
                    None => Err(mismatch(value, &describe_integer(choices))),
                }
            }
            Self::Number { min, max } => {
                let Some(number) = value.as_f64() else {
                    return Err(mismatch(value, "a number"));
                };
                if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
                    let bound =
                        |bound: &Option<f64>| bound.map_or("…".into(), |bound| bound.to_string());
                    return Err(format!(
                        "{number} is not between {} and {}",
                        bound(min),
                        bound(max)
                    ));
                }
                Ok(())
            }
            Self::Image => match value.as_str() {
                Some(link) => check_image(link),
                None => Err(mismatch(value, "an image link or file")),
            },
            Self::List {
                item,
                min_items,
                max_items,
            } => {
                let Some(items) = value.as_array() else {
                    return Err(mismatch(value, "a list"));
                };
                if items.len() < *min_items || items.len() > *max_items {
                    return Err(format!(
                        "has {} items; expected {min_items} to {max_items}",
                        items.len()
                    ));
                }
                for (index, value) in items.iter().enumerate() {
                    item.check(value)
                        .map_err(|problem| format!("[{index}]: {problem}"))?;
                }
                Ok(())
            }
            Self::Object { fields } => {
                let Some(object) = value.as_object() else {
                    return Err(mismatch(value, "an object"));
                };
                for key in object.keys() {
                    if !fields.iter().any(|field| field.name == *key) {
                        let names = fields
                            .iter()
                            .map(|field| field.name.as_str())
                            .collect::<Vec<_>>()
                            .join(", ");
                        return Err(format!(
                            "unknown key {}; expected one of {names}",
                            quoted(key)
                        ));
                    }
                }
                for field in fields {
                    match object.get(&field.name) {
                        Some(value) => {
                            field
                                .shape
                                .check(value)
                                .map_err(|problem| format!("{}: {problem}", field.name))?;
                        }
                        None if field.required => {
                            return Err(format!("{}: is missing", field.name));
                        }
                        None => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Describes the accepted values in a few words, for the model's listing.
    pub fn describe(&self) -> String {
        match self {
            Self::Text { choices } if choices.is_empty() => "text".into(),
            Self::Text { choices } => choices.join(" | "),
            Self::Integer { choices } if choices.is_empty() => "whole number".into(),
            Self::Integer { choices } => join(choices, " | "),
            Self::Number {
                min: Some(min),
                max: Some(max),
            } => format!("number {min} to {max}"),
            Self::Number { .. } => "number".into(),
            Self::Image => "image link or file".into(),
            Self::List {
                item,
                min_items,
                max_items,
            } => {
                format!("list of {min_items} to {max_items}: {}", item.describe())
            }
            Self::Object { fields } => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|field| format!("{}: {}", field.name, field.shape.describe()))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            }
        }
    }
}

/// Returns a noun phrase for the accepted whole numbers.
fn describe_integer(choices: &[i64]) -> String {
    if choices.is_empty() {
        "a whole number".into()
    } else {
        format!("one of {}", join(choices, ", "))
    }
}

fn join(choices: &[i64], separator: &str) -> String {
    let choices: Vec<String> = choices.iter().map(i64::to_string).collect();
    choices.join(separator)
}

/// Checks that a provider can read an image. A job with an unreachable image would fail, possibly
/// after it was paid for.
fn check_image(link: &str) -> Result<(), String> {
    if link.trim() != link || link.is_empty() {
        return Err(if link.trim().is_empty() {
            "is empty".into()
        } else {
            "has spaces around the link".into()
        });
    }
    // The URL parser drops some of them, but the provider would receive the link as written.
    if link.chars().any(char::is_control) {
        return Err("contains a control character".into());
    }
    if LocalImage::parse(link).is_some() {
        return Ok(());
    }
    if let Some(data) = link.strip_prefix("data:") {
        return if data.starts_with("image/") && data.contains(";base64,") {
            Ok(())
        } else {
            Err("is a data URI, but not of the form data:image/…;base64,…".into())
        };
    }
    let Ok(url) = Url::parse(link) else {
        return Err(format!(
            "{} is not a link; write it like https://example.com/cup.jpg",
            quoted(link)
        ));
    };
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("{} does not start with https://", quoted(link)));
    }
    if !url.host().is_some_and(is_public_host) {
        return Err(format!(
            "{} has a private address that no provider can reach",
            quoted(link)
        ));
    }
    Ok(())
}

/// Describes a value of the wrong type. `expected` is a noun phrase.
fn mismatch(value: &Value, expected: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) => return format!("{number} is not {expected}"),
        Value::String(text) => return format!("{} is not {expected}", quoted(text)),
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("is {kind}, not {expected}")
}

fn quoted(text: &str) -> String {
    format!("`{}`", printable_excerpt(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn image_links_that_no_provider_can_reach_are_refused() {
        for link in [
            "http://localhost/a.png",
            "http://127.0.0.1/a.png",
            "https://10.1.2.3/a.png",
            "https://169.254.169.254/latest",
            "https://[::1]/a.png",
            "https://[::ffff:10.0.0.1]/a.png",
            "ftp://example.com/a.png",
            "photos/a.png",
            "",
            " https://example.com/a.png",
            "data:text/html,hi",
        ] {
            assert!(Shape::Image.check(&json!(link)).is_err(), "{link}");
        }
        for link in [
            "https://example.com/a.png",
            "http://example.com/a%20b.png?x=1",
            "data:image/png;base64,AAAA",
        ] {
            assert_eq!(Shape::Image.check(&json!(link)), Ok(()), "{link}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats_but_must_be_one_of_the_choices() {
        let shape = Shape::Integer {
            choices: vec![5, 10],
        };
        assert_eq!(shape.check(&json!(5)), Ok(()));
        assert_eq!(shape.check(&json!(10.0)), Ok(()));
        assert_eq!(shape.check(&json!(7)), Err("7 is not one of 5, 10".into()));
        assert_eq!(
            shape.check(&json!("5")),
            Err("`5` is not one of 5, 10".into())
        );
        assert_eq!(
            shape.read_text("five"),
            Err("`five` is not one of 5, 10".into())
        );
    }

    #[test]
    fn an_error_in_a_nested_value_names_its_path() {
        let point = Shape::Object {
            fields: vec![Field {
                name: "x".into(),
                shape: Shape::Integer { choices: vec![] },
                required: true,
                default: None,
                help: String::new(),
            }],
        };
        let shape = Shape::List {
            item: Box::new(point),
            min_items: 1,
            max_items: 2,
        };
        assert_eq!(
            shape.check(&json!([{"x": 1}, {}])),
            Err("[1]: x: is missing".into())
        );
        assert_eq!(
            shape.check(&json!([{"y": 1}])),
            Err("[0]: unknown key `y`; expected one of x".into())
        );
        assert_eq!(
            shape.check(&json!([])),
            Err("has 0 items; expected 1 to 2".into())
        );
    }

    #[test]
    fn long_values_are_truncated_in_messages() {
        let long = "x".repeat(10_000);
        let shape = Shape::Number {
            min: None,
            max: None,
        };
        assert!(shape.read_text(&long).unwrap_err().len() < 100);
    }
}
