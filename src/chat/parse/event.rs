//! What a parser finds in an answer.

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// A JSON object.
    pub(super) arguments: String,
    pub(super) id: Option<String>,
}

/// What a part of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// More of the answer's text.
    Content(String),
    /// More of its reasoning.
    Reasoning(String),
    /// A tool call, whole.
    ToolCall {
        /// The tool.
        name: String,
        /// Its arguments: a JSON object, in the model's own spelling where the model writes JSON.
        arguments: String,
        /// The call's id, if the model has given one.
        id: Option<String>,
    },
}
