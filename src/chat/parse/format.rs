//! The formats of models' answers.

/// How a model marks reasoning and tool calls in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChatFormat {
    /// Nothing is marked: all is content.
    Plain,
    /// `<think>` and `<tool_call>` with JSON: Qwen 2.5 and 3, Hermes.
    Qwen3,
    /// `<think>` and `<tool_call>` with `<function=...>`: Qwen3-Coder, Qwen 3.5.
    Qwen3Coder,
    /// JSON alone, or behind `<|python_tag|>`: Llama 3.1 to 3.3.
    Llama3,
    /// `[THINK]` and `[TOOL_CALLS]`: Mistral, Ministral, Magistral, Devstral.
    Mistral,
    /// Messages on channels (harmony): gpt-oss.
    GptOss,
    /// `<think>` and `<｜tool▁calls▁begin｜>` or `<｜DSML｜...>`: R1, V3 and later of `DeepSeek`.
    DeepSeek,
    /// `<|channel>` and `<|tool_call>`, or `<start_function_call>`: Gemma 4, `FunctionGemma`.
    Gemma,
}

/// Each format with its name, and a text that only templates of it have. The first one that fits counts.
const FORMATS: [(ChatFormat, &str, &[&str]); 8] = [
    (ChatFormat::GptOss, "gpt-oss", &["<|channel|>"]),
    (ChatFormat::DeepSeek, "deepseek", &["<｜tool▁calls▁begin｜>", "｜DSML｜", "<｜Assistant｜>"]),
    (ChatFormat::Mistral, "mistral", &["[TOOL_CALLS]", "[/INST]"]),
    (ChatFormat::Gemma, "gemma", &["<|tool_call>", "<start_function_call>", "<start_of_turn>"]),
    (ChatFormat::Qwen3Coder, "qwen3-coder", &["<function="]),
    (ChatFormat::Qwen3, "qwen3", &["<tool_call>", "</think>"]),
    (ChatFormat::Llama3, "llama3", &["<|python_tag|>", "<|start_header_id|>ipython", "\"parameters\": "]),
    (ChatFormat::Plain, "plain", &[]),
];

impl ChatFormat {
    /// The format that goes by `name`, such as `qwen3`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(_, other, _)| *other == name).map(|(format, ..)| *format)
    }

    /// What the format goes by.
    #[must_use]
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("plain", |(_, name, _)| name)
    }

    /// The format that models with this chat template have been trained on, as far as the template's text tells.
    #[must_use]
    pub fn of_template(template: &str) -> Self {
        let fits = |signs: &[&str]| signs.iter().any(|sign| template.contains(sign));
        FORMATS.iter().find(|(.., signs)| fits(signs)).map_or(Self::Plain, |(format, ..)| *format)
    }

    /// The names of all formats, for messages.
    pub(crate) fn names() -> String {
        FORMATS.map(|(_, name, _)| name).join(", ")
    }
}
