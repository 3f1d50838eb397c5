//! A conversation with `generate --chat`: each answer is what a new run over all of it gives, though only what is new is run.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::generate::{Generate, INTERRUPTED, ids, interrupt};
use crate::c;
use crate::common::{process, skipped};
use ortshard::Tokenizer;
use serde_json::Value;

/// Says who speaks, as chat templates do, in words that the story model's tokenizer knows.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                        {% if add_generation_prompt %}assistant:{% endif %}";

/// The story model with a chat template, and with `config` changed.
fn model(template: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let stories = c::root().join("models/stories");
    for name in ["model.safetensors", "tokenizer.json", "generation_config.json"] {
        std::fs::copy(stories.join(name), folder.path().join(name)).unwrap();
    }
    let read = |name| serde_json::from_slice::<Value>(&std::fs::read(stories.join(name)).unwrap()).unwrap();
    let (mut config, mut tokenizer) = (read("config.json"), read("tokenizer_config.json"));
    change(&mut config);
    tokenizer["chat_template"] = template.into();
    for (name, json) in [("config.json", config), ("tokenizer_config.json", tokenizer)] {
        std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    folder
}

/// A running `generate --chat`.
struct Conversation {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Conversation {
    fn begin(model: &Path, arguments: &[&str]) -> Self {
        let mut command = Generate::get().command(&["--chat", "--model", model.to_str().unwrap()]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    fn write(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line
    }

    /// The answer to a message, with `--json`.
    fn say(&mut self, message: &str) -> Value {
        self.write(message);
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Exit status, and what stdout and stderr still had.
    fn end(self) -> (i32, String, String) {
        let Self { mut child, to, from } = self;
        drop(to);
        let mut rest = String::from_utf8(from.buffer().to_vec()).unwrap();
        child.stdout = Some(from.into_inner());
        let output = process::end(child, INTERRUPTED).unwrap();
        rest += &String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), rest, String::from_utf8(output.stderr).unwrap())
    }
}

/// What a new run generates after the ids of an answer's whole prompt.
fn fresh(model: &Path, answer: &Value, arguments: &[&str]) -> Vec<i64> {
    let prompt = c::list(&ids(&answer["prompt_ids"]));
    let base = ["--model", model.to_str().unwrap(), "--prompt-ids", &prompt];
    ids(&Generate::get().json(&[&base, arguments].concat())["ids"])
}

/// What the template makes of messages.
fn prompt(model: &Path, messages: &[(&str, &str)]) -> Vec<i64> {
    let mut lines = String::new();
    for (role, content) in messages {
        writeln!(lines, "{role}: {content}").unwrap();
    }
    let ids = Tokenizer::open(model).unwrap().encode(&format!("<s>{lines}assistant:"), false).unwrap();
    ids.into_iter().map(i64::from).collect()
}

fn content(answer: &Value) -> &str {
    assert_eq!(answer["message"]["role"], "assistant");
    answer["message"]["content"].as_str().unwrap()
}

#[test]
fn only_what_is_new_is_run_and_nothing_else_differs() {
    let folder = model(TEMPLATE, |_| ());
    let model = folder.path();
    let limit = ["--max-tokens", "12"];
    let rules: [&[&str]; 3] = [
        &[],
        &["--shards", "3", "--temperature", "1.2", "--presence-penalty", "0.5", "--seed", "3"],
        // These look at the whole text, so all of it is run.
        &["--repetition-penalty", "1.3", "--no-repeat-ngram", "4"],
    ];
    for (index, rule) in rules.into_iter().enumerate() {
        let mut chat =
            Conversation::begin(model, &[&limit[..], rule, &["--json", "--system", "Tell a story."]].concat());
        let same = |answer: &Value| assert_eq!(fresh(model, answer, &[&limit[..], rule].concat()), ids(&answer["ids"]));
        let system = ("system", "Tell a story.");
        let first = chat.say("A fox?");
        assert_eq!(ids(&first["prompt_ids"]), prompt(model, &[system, ("user", "A fox?")]));
        assert_eq!((&first["reused"], &first["finish"]), (&Value::from(0), &Value::from("length")));
        assert_eq!(first["text"], content(&first));
        same(&first);

        let second = chat.say(" /and a cat?");
        let turns = [system, ("user", "A fox?"), ("assistant", content(&first)), ("user", " /and a cat?")];
        assert_eq!(ids(&second["prompt_ids"]), prompt(model, &turns));
        let reused = second["reused"].as_u64().unwrap();
        if index < 2 {
            let begun = first["prompt_ids"].as_array().unwrap().len() as u64;
            assert!(reused >= begun && reused < second["prompt_ids"].as_array().unwrap().len() as u64, "{reused}");
        } else {
            assert_eq!(reused, 0);
        }
        same(&second);

        // Another system message: the turns stay. Then a new conversation, with that message.
        chat.write("/system Sing.");
        let third = chat.say("Go on.");
        let sings = ("system", "Sing.");
        let turns = [&[sings][..], &turns[1..], &[("assistant", content(&second)), ("user", "Go on.")]].concat();
        assert_eq!(ids(&third["prompt_ids"]), prompt(model, &turns));
        same(&third);
        chat.write("/reset");
        let fourth = chat.say("A fox?");
        assert_eq!(ids(&fourth["prompt_ids"]), prompt(model, &[sings, ("user", "A fox?")]));
        same(&fourth);
        chat.write("/system");
        let fifth = chat.say("and a line \\\nmore");
        let turns = [("user", "A fox?"), ("assistant", content(&fourth)), ("user", "and a line \nmore")];
        assert_eq!(ids(&fifth["prompt_ids"]), prompt(model, &turns));
        same(&fifth);
        chat.write("/exit\nnever said");
        assert_eq!(chat.end(), (0, String::new(), String::new()));
    }
}

/// Layers with a window cannot go back to the first tokens once they are far behind it: then all is run again.
#[test]
fn a_new_conversation_begins_where_a_window_has_passed() {
    let folder = model(TEMPLATE, |config| {
        config["architectures"] = serde_json::json!(["MistralForCausalLM"]);
        config["model_type"] = "mistral".into();
        config["sliding_window"] = 8.into();
        config["max_position_embeddings"] = 4000.into();
    });
    let limit = ["--max-tokens", "20"];
    let mut chat = Conversation::begin(folder.path(), &[&limit[..], &["--json", "--context", "2000"]].concat());
    let long = chat.say(&"words and ".repeat(560));
    assert!(ids(&long["prompt_ids"]).len() > 1100);
    chat.write("/reset");
    let again = chat.say("A cat?");
    assert_eq!(again["reused"], 0);
    assert_eq!(fresh(folder.path(), &again, &limit), ids(&again["ids"]));
    assert_eq!(chat.end(), (0, String::new(), String::new()));
}

/// A message that cannot be answered is told, and the conversation goes on as if it had not been said.
#[test]
fn a_failure_leaves_the_conversation() {
    let folder = model(TEMPLATE, |_| ());
    let mut chat = Conversation::begin(folder.path(), &["--max-tokens", "4", "--context", "80"]);
    chat.write("One.");
    let first = chat.line();
    chat.to.write_all(b"no \xff text\n").unwrap();
    chat.write(&"words and words ".repeat(30));
    chat.write("/abacus");
    chat.write("/help");
    chat.write("Two.");
    let second = chat.line();
    let (status, rest, told) = chat.end();
    assert_eq!((status, rest.as_str()), (0, ""));
    for words in
        ["ORTSHARD_ERROR_INVALID_UTF8", "ORTSHARD_ERROR_CONTEXT_FULL", "/abacus", "/system TEXT", "--max-tokens"]
    {
        assert!(told.contains(words), "{told}");
    }
    let mut plain = Conversation::begin(folder.path(), &["--max-tokens", "4", "--json"]);
    assert_eq!(format!("{}\n", content(&plain.say("One."))), first);
    assert_eq!(format!("{}\n", content(&plain.say("Two."))), second);
    assert_eq!(plain.end().0, 0);

    let mut failing = Conversation::begin(folder.path(), &["--json", "--context", "8"]);
    failing.write("words and words and words");
    let (status, rest, told) = failing.end();
    let error = serde_json::from_str::<Value>(&told).unwrap()["error"].take();
    assert_eq!((status, rest.as_str(), &error["exit"]), (0, "", &Value::from(0)));
    assert_eq!(error["status"], "ORTSHARD_ERROR_CONTEXT_FULL");
}

/// The system message and one message of the user, without a conversation.
#[test]
fn a_system_message_makes_a_message_of_the_prompt() {
    let folder = model(TEMPLATE, |_| ());
    let base = ["--model", folder.path().to_str().unwrap(), "--system", "Be brief.", "--prompt", "A fox?"];
    let limit = ["--max-tokens", "9"];
    let answer = Generate::get().json(&[&base[..], &limit].concat());
    let messages = [("system", "Be brief."), ("user", "A fox?")];
    assert_eq!(ids(&answer["prompt_ids"]), prompt(folder.path(), &messages));
    assert_eq!(ids(&answer["ids"]), fresh(folder.path(), &answer, &limit));
    let printed = Generate::get().program.output(&[&base[..], &limit].concat());
    assert_eq!(printed, format!("{}\n", content(&answer)));

    // Without a template there are no messages.
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    for arguments in [&base[..], &["--model", base[1], "--chat"]] {
        let (status, message) = Generate::get().failure(arguments);
        assert!(status == 1 && message.contains("chat template"), "{message}");
    }
}

/// What a model thinks is told apart from what it says, and the token that ends the answer is not shown.
#[test]
fn reasoning_is_told_apart() {
    // By what it does with `</think>`, the template tells the format.
    let folder = model("{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}", |_| ());
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let mut forced = tokenizer.encode("<think>It is a fox.</think>The fox.", false).unwrap();
    forced.push(1);
    let forced = c::list(&forced.into_iter().map(i64::from).collect::<Vec<_>>());
    let base = ["--model", folder.path().to_str().unwrap(), "--system", "", "--prompt", "A fox?", "--forced", &forced];
    let answer = Generate::get().json(&base);
    assert_eq!((&answer["finish"], content(&answer)), (&Value::from("eos"), "The fox."));
    assert_eq!(answer["message"]["reasoning_content"], "It is a fox.");
    assert_eq!(Generate::get().program.output(&base), "It is a fox.\n\nThe fox.\n");
}

/// Ctrl-C while an answer comes: that ends, and the next message is answered.
#[test]
fn an_interrupt_ends_the_answer_and_not_the_conversation() {
    let folder = model(TEMPLATE, |config| config["max_position_embeddings"] = 20_000.into());
    // So that an answer is a line.
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let breaks = |id: &i64| tokenizer.token_bytes(*id as u32).is_ok_and(|bytes| bytes.contains(&b'\n'));
    let breaks = c::list(&(0..1536).filter(breaks).collect::<Vec<_>>());
    let rule = ["--ignore-eos", "--banned", &breaks];
    let mut chat = Conversation::begin(folder.path(), &[&["--context", "20000"], &rule[..]].concat());
    let mut interrupted = |message: &str| {
        chat.write(message);
        let mut first = [0];
        chat.from.read_exact(&mut first).unwrap();
        interrupt(chat.child.id());
        format!("{}{}", char::from(first[0]), chat.line().strip_suffix('\n').unwrap())
    };
    let answers = [interrupted("A fox?"), interrupted("A cat?")];
    assert_eq!(chat.end(), (0, String::new(), String::new()));
    let turns = [("user", "A fox?"), ("assistant", &answers[0]), ("user", "A cat?")];
    for (answer, turns) in answers.iter().zip([&turns[..1], &turns]) {
        let (prompt, n) = (c::list(&prompt(folder.path(), turns)), answer.len().to_string());
        let base = ["--model", folder.path().to_str().unwrap(), "--prompt-ids", &prompt, "--max-tokens", &n];
        let whole = Generate::get().json(&[&base[..], &rule].concat());
        let whole = whole["text"].as_str().unwrap();
        assert!(whole.starts_with(answer.as_str()), "{answer:?} {whole:?}");
    }
}

/// Types on a terminal: waits for each text to be shown, then types the next, and prints all that was shown.
const TYPIST: &str = r#"
import os, pty, select, signal, sys, time
steps, command = eval(sys.argv[1]), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm"
    os.execv(command[0], command)
shown, seen, deadline = b"", 0, time.monotonic() + 120
def more():
    global shown
    if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        sys.exit("nothing comes after " + repr(shown))
    try: piece = os.read(terminal, 4096)
    except OSError: piece = b""
    shown += piece
    return piece
for wait, keys in steps:
    while (at := shown.find(wait.encode(), seen)) < 0:
        if not more(): sys.exit("ended after " + repr(shown))
    seen = at + len(wait)
    # A line editor shows its prompt and a key a moment before it reads the next one as its own.
    time.sleep(0.3)
    os.write(terminal, keys.encode())
while more(): pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn a_terminal_edits_lines_and_recalls_them() {
    if !c::is_installed("python3") {
        skipped("python3 is not installed, so there was no terminal to type on");
        return;
    }
    let folder = model(TEMPLATE, |config| config["max_position_embeddings"] = 20_000.into());
    let type_keys = |steps: &str, arguments: &[&str]| {
        let program = Generate::get().program.path.to_str().unwrap();
        let base = ["-c", TYPIST, steps, program, "--chat", "--model", folder.path().to_str().unwrap()];
        let mut python = std::process::Command::new("python3");
        // A device that is not there would be told on the terminal.
        let output = c::succeed(python.args(base).args(arguments).env_remove("ORTSHARD_DEVICE"), "typing");
        String::from_utf8(output.stdout).unwrap()
    };
    let wanted = |message: &str| {
        let mut chat = Conversation::begin(folder.path(), &["--max-tokens", "5", "--json"]);
        let answer = chat.say(message);
        content(&answer).to_owned()
    };
    // Ctrl-D on an empty line leaves.
    let shown = type_keys(r#"[("> ", "A fox?\n"), ("\n> ", "\x04")]"#, &["--max-tokens", "5"]);
    assert!(shown.contains("/help lists commands") && shown.contains(&wanted("A fox?")), "{shown:?}");
    // Ctrl-C within a line gives it up, and within an answer it ends that. Neither ends the program. The answer must have begun: before,
    // the terminal is the line editor's, and Ctrl-C a key as any other.
    let answer = wanted("A fox?");
    let begun = Value::from(answer.lines().next().unwrap());
    let keys = format!(
        r#"[("> ", "half a li"), ("half a li", "\x03"), ("> ", "A fox?\n"), ({begun}, "\x03"), ("\n> ", "/exit\n")]"#
    );
    let shown = type_keys(&keys, &["--context", "20000", "--ignore-eos"]);
    assert!(!shown.contains("generate: "), "{shown:?}");

    let library = "import ctypes, sys\nfor name in ['libedit.so.2', 'libedit.so.0', 'libreadline.so.8', 'libreadline.so.7']:\n \
                   try: ctypes.CDLL(name); sys.exit(0)\n except OSError: pass\nsys.exit(1)";
    if !std::process::Command::new("python3").args(["-c", library]).status().unwrap().success() {
        skipped("there is neither libedit nor readline, so lines were not edited");
        return;
    }
    // Left and a deletion mend the line; up recalls it.
    let keys = r#"[("> ", "A foxx?\x1b[D\x7f\n"), ("\n> ", "/reset\n"), ("\n> ", "\x1b[A\x1b[A\n"), ("\n> ", "\x04")]"#;
    let shown = type_keys(keys, &["--max-tokens", "5"]);
    assert_eq!(shown.matches(&wanted("A fox?")).count(), 2, "{shown:?}");
}
