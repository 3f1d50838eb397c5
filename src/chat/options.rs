//! What a chat is made of beside its messages.

/// How a conversation becomes a prompt. The default is the model's own template, and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChatOptions<'a> {
    /// The tools that the model may call: a JSON list of objects, each with its JSON schema.
    pub tools: Option<&'a str>,
    /// Documents to answer from: a JSON list of objects, usually with `title` and `text`.
    pub documents: Option<&'a str>,
    /// Further variables of the template, such as `{"enable_thinking": false}`: a JSON object. They win over the
    /// names of special tokens.
    pub variables: Option<&'a str>,
    /// Which of the model's templates, by name. `None`: `tool_use` if there are tools and the model has it, else
    /// `default`.
    pub template: Option<&'a str>,
    /// A template of the caller's own, in the place of the model's.
    pub own_template: Option<&'a str>,
    /// The prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The prompt ends within the last message, in this field of it, such as `content`: the model goes on with it.
    pub continue_field: Option<&'a str>,
    /// Control tokens that are spelled out in messages, tools, documents and variables are text. Only ids can tell, so
    /// that it matters to [`chat_ids`](crate::Tokenizer::chat_ids) alone.
    pub control_as_text: bool,
}
