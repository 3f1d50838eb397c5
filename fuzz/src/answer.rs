//! A model's answer.

use ortshard::{ChatEvent, ChatFormat, ChatParser};

use super::sound;

const FORMATS: [ChatFormat; 8] = [
    ChatFormat::Plain,
    ChatFormat::Qwen3,
    ChatFormat::Qwen3Coder,
    ChatFormat::Llama3,
    ChatFormat::Mistral,
    ChatFormat::GptOss,
    ChatFormat::DeepSeek,
    ChatFormat::Gemma,
];

/// The first byte says the format, the second how long the parts are.
pub fn run(data: &[u8]) {
    let [format, part, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest);
    let parser = |tools| sound(ChatParser::new(FORMATS[usize::from(format % 8)], &text, tools));
    // A prompt, and tools, may be anything.
    drop(parser(Some(&text)));
    let new = || ChatParser::new(FORMATS[usize::from(format % 8)], "", None).unwrap();
    let whole = parse(new(), &[&text]);
    let mut parts = Vec::new();
    let mut left: &str = &text;
    while !left.is_empty() {
        let (now, later) = left.split_at(left.ceil_char_boundary((1 + usize::from(*part)).min(left.len())));
        parts.push(now);
        left = later;
    }
    assert_eq!(parse(new(), &parts), whole);
    let message: serde_json::Value = serde_json::from_str(&whole.1).unwrap();
    assert_eq!(message["role"], "assistant");
}

/// The events, joined, and the message.
fn parse(mut parser: ChatParser, parts: &[&str]) -> (Vec<ChatEvent>, String) {
    let mut events = Vec::new();
    for part in parts {
        sound(parser.push(part));
        take(&mut parser, &mut events);
    }
    sound(parser.finish());
    take(&mut parser, &mut events);
    (events, sound(parser.message()).unwrap())
}

fn take(parser: &mut ChatParser, events: &mut Vec<ChatEvent>) {
    while let Some(event) = parser.next_event() {
        match (events.last_mut(), &event) {
            (Some(ChatEvent::Content(text)), ChatEvent::Content(more))
            | (Some(ChatEvent::Reasoning(text)), ChatEvent::Reasoning(more)) => text.push_str(more),
            _ => events.push(event),
        }
    }
}
