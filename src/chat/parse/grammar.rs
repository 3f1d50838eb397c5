//! What marks the parts of an answer, format by format.

use super::body::{Ending, Strings};
use super::calls;
use super::event::Call;
use super::format::ChatFormat;
use super::markup::{self, Tools};

/// How a tool call is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Json,
    Mistral,
    DeepSeek,
    PythonTag,
    Xml,
    Dsml,
    /// Texts stand between two of this literal.
    Gemma(&'static str),
}

impl Shape {
    /// The calls in `body`; none if it is not written like this. `ended`: what ends a call has come.
    pub(super) fn calls(self, body: &str, tools: &Tools, ended: bool) -> Option<Vec<Call>> {
        match self {
            Self::Json => calls::json(body),
            Self::Mistral => calls::mistral(body),
            Self::DeepSeek => calls::deepseek(body),
            Self::PythonTag => calls::python_tag(body.trim_end().trim_end_matches("<|eot_id|>")),
            // These cannot tell by themselves whether an argument is missing.
            Self::Xml => markup::xml(body, tools).filter(|_| ended),
            Self::Dsml => markup::dsml(body, tools).filter(|_| ended),
            Self::Gemma(quote) => markup::gemma(body, quote),
        }
    }
}

/// What begins a tool call, what ends it, and what is between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub(super) literal: &'static str,
    pub(super) ending: Ending,
    pub(super) shape: Shape,
}

/// The markers of a format.
#[derive(Debug)]
pub(super) struct Grammar {
    /// What the assistant's turn begins with in a prompt.
    pub(super) anchors: &'static [&'static str],
    /// What is around reasoning.
    pub(super) reasoning: &'static [(&'static str, &'static str)],
    pub(super) openings: &'static [Opening],
    /// Markers that say nothing: around several calls, and at the end of a turn.
    pub(super) dropped: &'static [&'static str],
    /// Whether an answer may begin with a call that nothing marks.
    pub(super) bare: bool,
}

const THINK: (&str, &str) = ("<think>", "</think>");

/// `grammar!(anchors; reasoning; openings; dropped; bare)`.
macro_rules! grammar {
    ($anchors:expr; $reasoning:expr; $openings:expr; $dropped:expr; $bare:expr) => {
        const {
            &Grammar {
                anchors: &$anchors,
                reasoning: &$reasoning,
                openings: &$openings,
                dropped: &$dropped,
                bare: $bare,
            }
        }
    };
}

const fn opening(literal: &'static str, ending: Ending, shape: Shape) -> Opening {
    Opening { literal, ending, shape }
}

/// The markers of `format`, if it has such; those of gpt-oss are messages of their own.
pub(super) fn grammar(format: ChatFormat) -> Option<&'static Grammar> {
    use Ending::{Json, Literal};
    const CHAT_ML: [&str; 1] = ["<|im_start|>assistant\n"];
    const ENDS: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];
    const QUOTE: &str = "<|\"|>";
    Some(match format {
        ChatFormat::GptOss => return None,
        ChatFormat::Plain => grammar!([]; []; []; []; false),
        ChatFormat::Qwen3 => grammar!(
            CHAT_ML; [THINK];
            [opening("<tool_call>", Literal("</tool_call>", Strings::Json), Shape::Json)]; ENDS; false
        ),
        ChatFormat::Qwen3Coder => grammar!(
            CHAT_ML; [THINK];
            [opening("<tool_call>", Literal("</tool_call>", Strings::None), Shape::Xml)]; ENDS; false
        ),
        ChatFormat::Llama3 => grammar!(
            ["<|start_header_id|>assistant<|end_header_id|>\n\n"]; [];
            [opening("<|python_tag|>", Literal("<|eom_id|>", Strings::Json), Shape::PythonTag)];
            ["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"]; true
        ),
        ChatFormat::Mistral => grammar!(
            ["[/INST]", "[/TOOL_RESULTS]", "[/AVAILABLE_TOOLS]"]; [("[THINK]", "[/THINK]"), THINK];
            [opening("[TOOL_CALLS]", Json, Shape::Mistral)]; ["</s>"]; false
        ),
        ChatFormat::DeepSeek => grammar!(
            ["<｜Assistant｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁end｜>", "</function_results>"]; [THINK];
            [
                opening("<｜tool▁call▁begin｜>", Literal("<｜tool▁call▁end｜>", Strings::Json), Shape::DeepSeek),
                opening("<｜DSML｜invoke name=\"", Literal("</｜DSML｜invoke>", Strings::None), Shape::Dsml),
            ];
            [
                "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>",
                "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "<｜end▁of▁sentence｜>",
            ]; false
        ),
        ChatFormat::Gemma => grammar!(
            ["<start_of_turn>model\n", "<|turn>model\n", "<tool_response|>", "<end_function_response>"];
            [("<|channel>thought\n", "<channel|>")];
            [
                opening("<|tool_call>call:", Literal("<tool_call|>", Strings::Between(QUOTE)), Shape::Gemma(QUOTE)),
                opening(
                    "<start_function_call>call:",
                    Literal("<end_function_call>", Strings::Between("<escape>")),
                    Shape::Gemma("<escape>")
                ),
            ];
            ["<turn|>", "<end_of_turn>", "<eos>", "<|tool_response>", "<start_function_response>"]; false
        ),
    })
}
