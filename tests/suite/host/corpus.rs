//! What fuzzing has gathered harms nothing: every input of `fuzz/corpus` goes through the body of its target again. Those of
//! `calls` are tried by `c_tests/process/corpus.c`, also under the sanitizers. A failing test prints its input's path.

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, clippy::doc_markdown, reason = "a library of its own, as the fuzz targets see it")]
mod targets;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = targets::repository("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{}", input.display());
        run(&std::fs::read(input).unwrap());
    }
}

#[test]
fn config() {
    replay("config", targets::config::run);
}

/// `tools/fuzz/make_fuzz_seeds.py` adds what lacks.
#[test]
fn every_family_is_known_to_the_fuzzer() {
    let words = std::fs::read_to_string(targets::repository("fuzz/json.dict")).unwrap();
    let models = targets::repository("tests/models");
    let folders = |of: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    for folder in folders(&models.join("configs")) {
        let answers = std::fs::read(folder.join("answers.json")).unwrap();
        let answers: serde_json::Value = serde_json::from_slice(&answers).unwrap();
        let own = answers["cases"].as_array().unwrap().iter().map(|case| case["key"].as_str().unwrap());
        for word in own.chain(folder.file_name().unwrap().to_str()) {
            assert!(words.contains(&format!("\"\\\"{word}\\\"\"")), "{word} is not in fuzz/json.dict");
        }
    }
    let seeds = targets::repository("fuzz/corpus/config");
    for folder in folders(&models).iter().filter(|folder| folder.join("config.json").exists()) {
        let name = folder.file_name().unwrap();
        assert!(seeds.join(name).exists(), "{} is not in {}", name.display(), seeds.display());
    }
}

#[test]
fn safetensors() {
    replay("safetensors", targets::safetensors::run);
}

#[test]
fn index() {
    replay("index", targets::index::run);
}

#[test]
fn state() {
    replay("state", targets::state::run);
}

#[test]
fn generation() {
    replay("generation", targets::generation::run);
}

/// Every byte in front of the requests' states becomes others.
#[test]
fn generation_with_every_byte_changed() {
    for place in 750..1300_u16 {
        let value = [0, 1, 255][usize::from(place) % 3];
        targets::generation::run(&[&[1_u8][..], &place.to_le_bytes()[..], &[value][..]].concat());
    }
}

#[test]
fn grammar() {
    replay("grammar", targets::grammar::run);
}

#[test]
fn stop_strings() {
    replay("stop_strings", targets::stop_strings::run);
}

/// Of texts with few different characters, some of them several bytes long, so that stop strings come, and nearly come.
#[test]
fn stop_strings_of_random_texts() {
    const CHARACTERS: [char; 4] = ['a', 'b', '\u{e9}', '\u{1f30d}'];
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..20_000 {
        // Whether it is included, and numbers that say how the text is cut.
        let mut input = String::from(if below(2) == 0 { "+" } else { "-" });
        (0..below(6)).for_each(|_| input.extend(char::from_digit(below(10) as u32, 10)));
        for _ in 0..=below(4) {
            input.push('\n');
            (0..=below(5)).for_each(|_| input.push(CHARACTERS[below(4)]));
        }
        input.push_str("\n\n");
        (0..below(50)).for_each(|_| input.push(CHARACTERS[below(4)]));
        targets::stop_strings::run(input.as_bytes());
    }
}

#[test]
fn frame() {
    replay("frame", targets::frame::run);
}

#[test]
fn tokenizer() {
    replay("tokenizer", targets::tokenizer::run);
}

#[test]
fn tokenizer_config() {
    replay("tokenizer_config", targets::tokenizer_config::run);
}

#[test]
fn chat_json() {
    replay("chat_json", targets::chat_json::run);
}

#[test]
fn answer() {
    replay("answer", targets::answer::run);
}

#[test]
fn chat_template() {
    replay("chat_template", targets::chat_template::run);
}
