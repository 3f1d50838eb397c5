//! Conversations to prompts and ids.

use std::collections::HashSet;

use super::encode::Look;
use super::memory::Ids as _;
use super::{Tokenizer, memory};
use crate::chat::{self, ChatFormat, ChatMessage, ChatOptions, ControlTokens, Conversation, Piece};
use crate::error::{Result, bail};

impl Tokenizer {
    /// The prompt that the model's chat template makes of `messages`. With `add_generation_prompt` it ends where the
    /// assistant's answer begins. Encode it with `add_special = false`.
    ///
    /// The template gives what it gives in `transformers`, which runs it in Jinja2's sandbox; `strftime_now` gives
    /// the local time. Steps, time and memory are bounded; the bounds grow with the messages.
    ///
    /// # Errors
    /// `Unsupported` if the model has no chat template, or if the template uses something of Jinja2 that is not
    /// supported (the message names it); `InvalidArgument` if there are no messages, or if the template refuses them
    /// (the message has its words); `Malformed`, with the line, if the template is faulty or exceeds a bound, which
    /// is named; `OutOfMemory`.
    pub fn apply_chat_template(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        let template = self.chat_templates.choose(None, false, &self.label)?;
        memory::probe(messages.iter().map(|message| 1024 + 2 * message.content.len()).sum(), "messages")?;
        chat::render(template, &self.special.names, Conversation::plain(messages)?, add_generation_prompt, None)
    }

    /// The prompt that a chat template makes of `messages`, a JSON list of objects as `transformers` has
    /// them: `role`, `content` (a text, or a list of parts such as `{"type": "text", "text": "Hi"}`),
    /// `tool_calls`, `tool_call_id`, `name`, `reasoning_content`, and what else the template knows.
    ///
    /// It is what `apply_chat_template` of `transformers` 5 gives. Keys of a message that are null count as missing,
    /// and `reasoning_content`, `thinking` and `reasoning` are one thing; `transformers` 4 gives both to the template
    /// as they are.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field as a JSON pointer such as `/messages/3/content/0/text`, for JSON that is
    /// none, or not of this form, and `Unsupported` for a part that is no text; `NotFound` if the model has no
    /// template of that name; those of [`Self::apply_chat_template`].
    pub fn chat_text(&self, messages: &str, options: &ChatOptions<'_>) -> Result<String> {
        let template = self.template(options)?;
        self.render(template, Conversation::read(messages, options)?, options)
    }

    /// The ids of [`Self::chat_text`].
    ///
    /// With `control_as_text`, only the template writes control tokens: those that messages, tools, documents and
    /// variables spell out are encoded as text, as `transformers` does it with `sanitize_control_tokens`. Control
    /// tokens are the special tokens, and the added tokens that the template's own texts hold, unless
    /// `tokenizer_config.json` lists them (`chat_control_tokens`). Whole tokens are found, not those that a template
    /// makes of a role or another short text by adding to it: such texts are for the program to choose.
    ///
    /// # Errors
    /// Those of [`Self::chat_text`] and [`Self::encode`]; with `control_as_text` also `InvalidArgument` for a control
    /// token in a key, and `Unsupported` for one that the tokenizer makes of plain text.
    pub fn chat_ids(&self, messages: &str, options: &ChatOptions<'_>) -> Result<Vec<u32>> {
        let template = self.template(options)?;
        let mut conversation = Conversation::read(messages, options)?;
        let mut ids = Vec::new();
        if !options.control_as_text {
            let text = self.render(template, conversation, options)?;
            self.encode_into(&mut ids, &text, Look::All, false)?;
            return Ok(ids);
        }
        conversation.mark(&self.control_tokens(template)?)?;
        let text = self.render(template, conversation, options)?;
        self.encode_marked(&text, &mut ids)?;
        Ok(ids)
    }

    /// How the model marks reasoning and tool calls in its answers, as far as its chat template tells.
    #[must_use]
    pub fn chat_format(&self) -> ChatFormat {
        let template = self.chat_templates.choose(None, true, &self.label);
        template.map_or(ChatFormat::Plain, ChatFormat::of_template)
    }

    /// The chat template that `options` mean.
    pub(super) fn template<'a>(&'a self, options: &ChatOptions<'a>) -> Result<&'a str> {
        match options.own_template {
            Some(template) => Ok(template),
            None => self.chat_templates.choose(options.template, options.tools.is_some(), &self.label),
        }
    }

    fn render(&self, template: &str, conversation: Conversation, options: &ChatOptions<'_>) -> Result<String> {
        let (generation, continued) = (options.add_generation_prompt, options.continue_field);
        chat::render(template, &self.special.names, conversation, generation, continued)
    }

    /// The control tokens of a chat by `template`.
    fn control_tokens(&self, template: &str) -> Result<ControlTokens> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        memory::to_sort(added.len())?;
        if let Some(listed) = &self.special.control {
            let listed: HashSet<&str> = listed.iter().map(String::as_str).collect();
            let control = added.values().filter(|token| token.special || listed.contains(token.content.as_str()));
            return ControlTokens::new(control.map(|token| token.content.as_str()));
        }
        let literals = chat::literals(template)?;
        let written = |token: &str| {
            literals.iter().any(|literal| literal.contains(token)) && !token.chars().all(char::is_whitespace)
        };
        let control = added.values().filter(|token| token.special || written(&token.content));
        ControlTokens::new(control.map(|token| token.content.as_str()))
    }

    /// The ids of a prompt in which control tokens that are text have marks.
    fn encode_marked(&self, prompt: &str, ids: &mut Vec<u32>) -> Result<()> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        memory::probe(prompt.len().saturating_mul(8), "a chat's parts")?;
        let known: HashSet<&str> = added.values().map(|token| token.content.as_str()).collect();
        for (index, piece) in chat::pieces(prompt, &known).into_iter().enumerate() {
            match piece {
                Piece::Plain(text) if index == 0 => self.encode_into(ids, text, Look::All, false)?,
                Piece::Plain(text) => self.encode_inner(text, Look::All, ids)?,
                Piece::Marked(token) => {
                    let before = ids.len();
                    self.encode_inner(token, Look::None, ids)?;
                    if self.token_to_id(token).is_some_and(|id| ids[before..].contains(&id)) {
                        bail!(Unsupported, "{}: `{token}` cannot be text, it is a token of plain text", self.label);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the ids of a text that stands within a prompt. It is encoded behind a line end, so that a tokenizer which
    /// puts a space before a text puts none before this one.
    fn encode_inner(&self, text: &str, look: Look, ids: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut line_end, mut inner) = (Vec::new(), Vec::new());
        self.encode_into(&mut line_end, "\n", Look::All, false)?;
        memory::probe(text.len().saturating_add(1), "a part of a chat")?;
        self.encode_into(&mut inner, &format!("\n{text}"), look, false)?;
        match inner.strip_prefix(line_end.as_slice()) {
            Some(inner) => ids.take(inner.iter().copied())?,
            None => self.encode_into(ids, text, look, false)?,
        }
        Ok(())
    }
}
