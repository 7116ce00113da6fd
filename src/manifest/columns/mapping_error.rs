//! Why what the user specifies about columns and rows cannot be used.

/// Why a [`MappingOptions`](crate::manifest::MappingOptions) cannot be used with a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A field cannot be mapped to a column.
    #[error("`{field}` cannot be mapped to the column `{column}`: {reason}")]
    InvalidColumn {
        /// The field, as the user wrote it.
        field: String,
        /// The column.
        column: String,
        /// Why.
        reason: String,
    },
    /// A field is mapped to two columns.
    #[error("`{0}` is mapped to a column twice")]
    RepeatedColumn(String),
    /// A field cannot be set to a value.
    #[error("`{field}` cannot be set to `{value}`: {reason}")]
    InvalidValue {
        /// The field, as the user wrote it.
        field: String,
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },
    /// A field is set to a value twice.
    #[error("`{0}` is set to a value twice")]
    RepeatedValue(String),
    /// The template of the prompt cannot be used.
    #[error("the template of the prompt cannot be used: {0}")]
    InvalidPrompt(String),
    /// The prompt has a template and a column.
    #[error("a template and a column both set the prompt; remove one")]
    RepeatedPrompt,
    /// Rows cannot be left out for the lack of a field.
    #[error("rows without `{field}` cannot be left out: {reason}")]
    InvalidSkip {
        /// The field, as the user wrote it.
        field: String,
        /// Why.
        reason: String,
    },
}
