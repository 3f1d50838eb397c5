//! Under a grammar every text that ends matches it, whatever is chosen; a faulty grammar is refused with the place of the fault.

use std::sync::Arc;
use std::time::Instant;

use crate::common::{Model, device, root};
use ortshard::{
    Engine, ErrorKind, Finish, Generation, GenerationOptions, Grammar, GrammarConstraint, Request, RequestOptions,
    Sampler, SamplerOptions, ShardSpec, TextStream, Tokenizer, step_batch,
};
use serde_json::{Value, json};

/// Byte-level ones, and ones with byte fallback, of which some take a space from the start of a text.
const TOKENIZERS: &[&str] = &["llama3", "qwen", "gpt2", "llama2", "mistral", "gemma"];

fn tokenizer(name: &str) -> Arc<Tokenizer> {
    Arc::new(Tokenizer::open(&root().join("tests/tokenizers").join(name)).unwrap())
}

/// Any token that ends a text: these tokenizers declare none.
fn eos(tokenizer: &Tokenizer) -> u32 {
    ["<|eot|>", "</s>"].iter().find_map(|token| tokenizer.token_to_id(token)).unwrap()
}

type Judge = fn(&str) -> bool;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::String("no JSON".to_owned()))
}

fn case(grammar: Grammar, judge: Judge) -> (Grammar, Judge) {
    (grammar, judge)
}

/// Grammars, and an independent rule that says whether a text matches.
fn grammars() -> Vec<(Grammar, Judge)> {
    let schema = |schema: Value| Grammar::JsonSchema(schema.to_string());
    let regex = |regex: &str| Grammar::Regex(regex.to_owned());
    let lark = |lark: &str| Grammar::Lark(lark.to_owned());
    vec![
        case(
            schema(json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 8},
                    "age": {"type": "integer", "minimum": 0, "maximum": 150},
                    "tags": {"type": "array", "items": {"enum": ["a", "b\n", null, 7]}, "maxItems": 3}
                },
                "required": ["name", "age"],
                "additionalProperties": false
            })),
            |text| {
                let value = parsed(text);
                let Some(members) = value.as_object() else { return false };
                let tags = [json!("a"), json!("b\n"), Value::Null, json!(7)];
                let tagged = members.get("tags").is_none_or(|list| {
                    list.as_array().is_some_and(|list| list.len() <= 3 && list.iter().all(|tag| tags.contains(tag)))
                });
                members.keys().all(|key| ["name", "age", "tags"].contains(&key.as_str()))
                    && value["name"].as_str().is_some_and(|name| name.chars().count() <= 8)
                    && value["age"].as_u64().is_some_and(|age| age <= 150)
                    && tagged
            },
        ),
        case(
            schema(json!({
                "$defs": {"leaf": {"type": "boolean"}},
                "anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "array", "prefixItems": [{"$ref": "#/$defs/leaf"}],
                    "items": {"const": {"k": [1]}}, "minItems": 2, "maxItems": 3}]
            })),
            |text| match parsed(text) {
                Value::Bool(_) => true,
                Value::Array(list) => {
                    (2..=3).contains(&list.len())
                        && list[0].is_boolean()
                        && list[1..].iter().all(|item| *item == json!({"k": [1]}))
                }
                _ => false,
            },
        ),
        case(schema(json!({"type": "string", "pattern": "^[a-c]{2,4}-\\d$"})), |text| {
            let value = parsed(text);
            let text = value.as_str().unwrap_or_default().as_bytes();
            (4..=6).contains(&text.len())
                && text[text.len() - 2] == b'-'
                && text[text.len() - 1].is_ascii_digit()
                && text[..text.len() - 2].iter().all(|letter| (b'a'..=b'c').contains(letter))
        }),
        case(schema(json!({"type": "number", "exclusiveMinimum": -1.5, "maximum": 2})), |text| {
            parsed(text).as_f64().is_some_and(|value| value > -1.5 && value <= 2.0)
        }),
        case(regex("[0-9]{4}-(0[1-9]|1[0-2])"), |text| matches("[0-9]{4}-(0[1-9]|1[0-2])", text)),
        case(regex("^(the |quick |é|今){1,5}x?$"), |text| matches("(the |quick |é|今){1,5}x?", text)),
        case(regex(r"\p{Lu}\w{0,5}(, ?\w{1,3})*"), |text| matches(r"\p{Lu}\w{0,5}(, ?\w{1,3})*", text)),
        case(regex(" lead|  two"), |text| [" lead", "  two"].contains(&text)),
        case(lark("start: \"(\" inner \")\"\ninner: | \"x\" | \"(\" inner \")\" inner"), |text| {
            let mut depth = 0_i32;
            text.starts_with('(')
                && text.chars().all(|c| {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    depth >= 0 && "(x)".contains(c)
                })
                && depth == 0
        }),
        case(
            lark(
                "start: NAME \"=\" %json {\"type\": \"integer\", \"maximum\": 99, \"minimum\": 10}\nNAME: /[a-z]{1,3}/",
            ),
            |text| matches("[a-z]{1,3}=[1-9][0-9]", text),
        ),
    ]
}

fn matches(regex: &str, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(text)
}

/// Logits that a hash gives, in favour of what ends strings, lists and texts.
fn logits(tokenizer: &Tokenizer, seed: u32, step: u32) -> Vec<f32> {
    let count = 480;
    let mix = |hash: u32, value: u32| (hash ^ value).wrapping_mul(0x9e37_79b1).rotate_left(13);
    let mut logits: Vec<f32> =
        (0..count).map(|id| (mix(mix(mix(seed, step), id), 7) >> 8) as f32 / (1 << 22) as f32).collect();
    for id in 0..count {
        let token = tokenizer.id_to_token(id).unwrap_or_default();
        if token.contains(['"', ']', '}', ')']) {
            logits[id as usize] += 3.0;
        }
    }
    logits[eos(tokenizer) as usize] += 5.0;
    logits
}

/// A text under `constraint`, and its ids, chosen by a program's own loop.
fn speak(tokenizer: &Arc<Tokenizer>, mut constraint: GrammarConstraint, seed: u32) -> Option<(String, Vec<u32>)> {
    let options = SamplerOptions { temperature: 1.0, top_k: 0, seed: u64::from(seed), ..SamplerOptions::default() };
    let (mut sampler, mut stream) = (Sampler::new(options).unwrap(), TextStream::new(Arc::clone(tokenizer), true));
    let (mut text, mut ids) = (String::new(), Vec::new());
    let mut scratch = Vec::new();
    for step in 0..600 {
        // Those that are known are among those that may come.
        let known = constraint.known().unwrap().first().copied();
        scratch.clear();
        scratch.extend(logits(tokenizer, seed, step));
        constraint.mask(&mut scratch).unwrap();
        assert!(known.is_none_or(|id| scratch[id as usize].is_finite()), "{known:?} after {text:?}");
        let id = known.unwrap_or_else(|| sampler.sample(&scratch).unwrap());
        constraint.accept(id).unwrap();
        ids.push(id);
        if id == eos(tokenizer) {
            return Some((text + &stream.finish().unwrap(), ids));
        }
        text += &stream.push(id).unwrap();
    }
    None
}

#[test]
fn texts_that_end_match() {
    let (mut texts, mut unfinished) = (0, 0);
    for name in TOKENIZERS {
        let tokenizer = tokenizer(name);
        for (grammar, judge) in grammars() {
            let constraint = GrammarConstraint::new(&tokenizer, &grammar, &[eos(&tokenizer)]).unwrap();
            for seed in 0..9 {
                if !can_spell(&constraint) {
                    continue;
                }
                match speak(&tokenizer, constraint.clone(), seed) {
                    Some((text, ids)) => {
                        assert!(judge(&text), "{name}, {grammar:?}, {seed}: {text:?}");
                        assert_eq!(speak(&tokenizer, constraint.clone(), seed).unwrap().1, ids, "it is another text");
                        texts += 1;
                    }
                    None => unfinished += 1,
                }
            }
        }
    }
    assert!(texts >= 500 && unfinished < texts / 50, "{texts} texts, {unfinished} without an end");
}

/// Whether a text can begin: not with a space, where the tokenizer takes it away.
fn can_spell(constraint: &GrammarConstraint) -> bool {
    constraint.clone().mask(&mut vec![0.0; 480]).is_ok()
}

/// Whether `text` is one of the grammar's.
fn accepts(tokenizer: &Tokenizer, constraint: &GrammarConstraint, text: &str) -> bool {
    let mut constraint = constraint.clone();
    let ids = tokenizer.encode(text, false).unwrap();
    ids.iter().chain(&[eos(tokenizer)]).all(|id| constraint.accept(*id).is_ok())
}

#[test]
fn samples_of_the_crate_are_judged_as_it_judges_them() {
    let samples: Value = serde_json::from_slice(&std::fs::read(root().join("tests/grammars.json")).unwrap()).unwrap();
    // It has every byte, and puts nothing in front of a text.
    let tokenizer = tokenizer("gpt2");
    let mut count = 0;
    let mut judge = |grammar: &Grammar, sample: &Value, shown: fn(&Value) -> String| {
        let constraint = GrammarConstraint::new(&tokenizer, grammar, &[eos(&tokenizer)]);
        let constraint = constraint.unwrap_or_else(|error| panic!("{grammar:?}: {}", error.chain()));
        for (list, matches) in [("matches", true), ("others", false)] {
            for text in sample[list].as_array().unwrap() {
                assert_eq!(accepts(&tokenizer, &constraint, &shown(text)), matches, "{grammar:?}: {text}");
                count += 1;
            }
        }
    };
    for sample in samples["schemas"].as_array().unwrap() {
        judge(&Grammar::JsonSchema(sample["schema"].to_string()), sample, Value::to_string);
    }
    for sample in samples["grammars"].as_array().unwrap() {
        let lark = sample["lark"].as_str().unwrap().to_owned();
        judge(&Grammar::Lark(lark), sample, |text| text.as_str().unwrap().to_owned());
    }
    assert!(count > 300, "{count}");
}

#[test]
fn values_are_judged_as_by_jsonschema() {
    let samples: Value = serde_json::from_slice(&std::fs::read(root().join("tests/schemas.json")).unwrap()).unwrap();
    let tokenizer = tokenizer("gpt2");
    let mut count = 0;
    for sample in samples.as_array().unwrap() {
        let grammar = Grammar::JsonSchema(sample["schema"].to_string());
        let constraint = GrammarConstraint::new(&tokenizer, &grammar, &[eos(&tokenizer)]).unwrap();
        for (list, matches) in [("matches", true), ("others", false)] {
            for text in sample[list].as_array().unwrap() {
                let text = text.as_str().unwrap();
                assert_eq!(accepts(&tokenizer, &constraint, text), matches, "{grammar:?}: {text}");
                count += 1;
            }
        }
    }
    assert!(count > 1000, "{count}");
}

fn refusal(grammar: &Grammar) -> String {
    let error = GrammarConstraint::new(&tokenizer("gpt2"), grammar, &[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error.chain());
    error.chain()
}

#[test]
fn faulty_grammars_are_refused_at_their_place() {
    for (schema, words) in [
        ("{\"type\": \"object\"", "not JSON: EOF while parsing an object at line 1 column 17"),
        ("[]", "at \"\": is no schema"),
        (
            r#"{"properties": {"a/b": {"minLenght": 3}}}"#,
            "at \"/properties/a~1b/minLenght\": this keyword is not supported",
        ),
        (r#"{"items": {"not": {}}}"#, "\"/items/not\": this keyword"),
        (r#"{"anyOf": [true, {"if": {}}]}"#, "\"/anyOf/1/if\": this keyword"),
        (r#"{"x-guidance": {"lenient": true}}"#, "\"/x-guidance\": this keyword"),
        (r#"{"type": "array", "uniqueItems": true}"#, "\"/uniqueItems\": this keyword"),
        (r#"{"$schema": "draft-99"}"#, "\"/$schema\": is none of the drafts"),
        (r#"{"items": {"$id": "x"}}"#, "\"/items/$id\": is supported at the root only"),
        (r##"{"items": {"$ref": "#/$defs/none"}}"##, "\"/items/$ref\": does not lead"),
        (r#"{"$ref": "http://example.com/x"}"#, "\"/$ref\": does not lead"),
        (r#"{"prefixItems": [true], "additionalItems": false}"#, "\"/prefixItems\": does not go with additionalItems"),
        (
            r#"{"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": []}"#,
            "\"/prefixItems\": is no keyword",
        ),
        (r#"{"properties": {"a": {"items": {"type": "strin"}}}}"#, "\"/properties/a/items\": Invalid type: strin"),
        (
            r#"{"properties": {"a": {"type": "string", "format": "colour"}}}"#,
            "\"/properties/a\": Unknown format: colour",
        ),
        (r##"{"items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"minItems": -1}}}"##, "\"/$defs/x\": Expected positive"),
        (r#"{"allOf": [{"oneOf": [{"type": "object"}, {"type": "object"}]}]}"#, "\"/allOf/0\": oneOf constraints"),
        ("false", "at \"\": Unsatisfiable schema"),
        (&named_by_patterns(129), "has 129 patternProperties"),
        (&combined(60, 100), "has 60 patternProperties in schemas that are combined 101 times"),
    ] {
        let message = refusal(&Grammar::JsonSchema(schema.to_owned()));
        assert!(message.contains(words), "{schema}: {message}");
    }
    for (regex, words) in [
        ("ab(c", "at offset 2: unclosed group"),
        ("a[z-a]", "at offset 2: invalid character class range"),
        (r"\p{Nope}", "at offset 0: Unicode property not found"),
        (r"a\b", "at offset 1: anchors and word boundaries"),
        ("(^a)", "at offset 1: anchors"),
        ("é(?=a)", "at offset 2: look-around"),
        ("xa+?", "at offset 2: lazy repetition"),
        ("^$", "is empty"),
    ] {
        let message = refusal(&Grammar::Regex(regex.to_owned()));
        assert!(message.contains(words), "{regex}: {message}");
    }
    let schemas: Vec<String> = (0..19).map(|i| format!("s{i}: %json {}", named_by_patterns(128))).collect();
    let schemas = format!("start: s0\n{}", schemas.join("\n"));
    for (lark, words) in [
        ("start: \"a\"\nfoo: )", "at line 2, column 6"),
        ("start: foo", "at line 1, column 8: unknown name"),
        ("start: \"a\"\n\n  ?", "at line 3, column 3"),
        ("root: \"a\"", "no start rule"),
        (
            "start: \"%json\"\n  | %json {\"items\": {\"not\": {}}}",
            "at line 2, column 5: the JSON schema at \"/items/not\"",
        ),
        ("start: \"a", "at line 1, column 10: lexer error"),
        (&schemas, "at line 20, column 6: the JSON schema at \"\": has 128 patternProperties"),
    ] {
        let message = refusal(&Grammar::Lark(lark.to_owned()));
        assert!(message.contains(words), "{lark}: {message}");
    }
    // Nothing would end a text.
    let error = GrammarConstraint::new(&tokenizer("gpt2"), &Grammar::Regex("a".to_owned()), &[]).unwrap_err();
    assert!(error.to_string().contains("eos is empty"), "{error}");
}

/// An object with so many patterns for names, each of which is compared with each other.
fn named_by_patterns(count: usize) -> String {
    let patterns: Vec<String> = (0..count).map(|i| format!(r#""^a{i}[a-z]*$": true"#)).collect();
    format!(r#"{{"type": "object", "patternProperties": {{{}}}}}"#, patterns.join(","))
}

/// The same, combined with so many others.
fn combined(patterns: usize, count: usize) -> String {
    format!(r#"{{"allOf": [{}{}]}}"#, named_by_patterns(patterns), ",true".repeat(count - 1))
}

/// White space between the parts of JSON, with which a model could go on for ever, and in strings, where it is text.
#[test]
fn white_space_between_parts_of_json_has_an_end() {
    let tokenizer = tokenizer("gpt2");
    for schema in [r#"{"items": {"type": "string"}}"#, "true", r#"{"type": "array"}"#] {
        let grammar = Grammar::JsonSchema(schema.to_owned());
        let constraint = GrammarConstraint::new(&tokenizer, &grammar, &[eos(&tokenizer)]).unwrap();
        for (white, matches) in [(" ".repeat(32), true), ("\n\t".repeat(16), true), (" ".repeat(33), false)] {
            let given = format!("[{white}\"a{}\"{white},{white}\"b\"]", " ".repeat(50));
            assert_eq!(accepts(&tokenizer, &constraint, &given), matches, "{schema}: {given:?}");
        }
    }
}

/// What a stranger may write to use up the stack, memory or time.
#[test]
fn hostile_grammars_do_no_harm() {
    let chain = |link: &dyn Fn(usize) -> String, count: usize| (0..count).map(link).collect::<Vec<_>>();
    let references = |before: &str, behind: &str, count: usize| {
        let link = |i: usize| format!(r##""d{i}": {before}{{"$ref": "#/$defs/d{}"}}{behind}"##, i + 1);
        let links = chain(&link, count).join(",");
        Grammar::JsonSchema(format!(r##"{{"$defs": {{{links}, "d{count}": true}}, "$ref": "#/$defs/d0"}}"##))
    };
    let rules = |count: usize| {
        let rules = chain(&|i| format!("r{i}: r{}", i + 1), count).join("\n");
        Grammar::Lark(format!("start: r0\n{rules}\nr{count}: \"a\""))
    };
    let grammars = [
        Grammar::JsonSchema("[".repeat(100_000)),
        // Chains as long as may be, and longer.
        references("", "", 1_900),
        references("", "", 15_000),
        references(&r#"{"items": "#.repeat(90), &"}".repeat(90), 60),
        references(&r#"{"items": "#.repeat(90), &"}".repeat(90), 600),
        rules(5_900),
        rules(19_000),
        Grammar::JsonSchema(r#"{"type": "string", "pattern": "(((a{1000}){1000}){1000})"}"#.to_owned()),
        Grammar::JsonSchema(r#"{"type": "string", "minLength": 4000000000}"#.to_owned()),
        Grammar::JsonSchema(r#"{"type": "array", "minItems": 4000000000, "items": {"type": "null"}}"#.to_owned()),
        Grammar::JsonSchema(r##"{"allOf": [{"$ref": "#"}]}"##.to_owned()),
        Grammar::Regex("(".repeat(10_000)),
        Grammar::Regex("((a|b){0,1000}c){0,1000}".to_owned()),
        Grammar::Lark(format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000))),
        Grammar::Lark(format!("start: {}\"a\"", "~".repeat(50_000))),
        Grammar::Lark("start: start | start start | \"a\" |".to_owned()),
        Grammar::Lark("x".repeat(2 << 20)),
        // 10 MB.
        Grammar::JsonSchema(format!(r#"{{"enum": [{}]}}"#, vec!["12345678"; 1_000_000].join(","))),
        Grammar::JsonSchema(format!("{}true{}", r#"{"items": "#.repeat(100), "}".repeat(100))),
        Grammar::JsonSchema(format!(
            r#"{{"anyOf": [{}]}}"#,
            vec![r#"{"type": "object", "minProperties": 9}"#; 5_000].join(",")
        )),
        Grammar::JsonSchema(format!(r#"{{"enum": [{}]}}"#, chain(&|i| format!("\"word {i}\""), 50_000).join(","))),
        Grammar::JsonSchema(
            r##"{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}"##.to_owned(),
        ),
        Grammar::JsonSchema(r#"{"type": "string", "pattern": "(x+x+)+y"}"#.to_owned()),
        Grammar::Regex("(a|aa)+(a|aa)+(a|aa)+b".to_owned()),
        Grammar::Regex(r"(\w{1,200}\W{1,200}){1,200}".to_owned()),
        Grammar::Regex(".*a.{60}".to_owned()),
        Grammar::JsonSchema(named_by_patterns(128)),
        Grammar::JsonSchema(named_by_patterns(20_000)),
        Grammar::JsonSchema(combined(100, 28)),
    ];
    let tokenizer = tokenizer("gpt2");
    for grammar in grammars {
        let shown = format!("{grammar:?}").chars().take(60).collect::<String>();
        println!("{shown}");
        let begin = Instant::now();
        match GrammarConstraint::new(&tokenizer, &grammar, &[1]) {
            Ok(mut constraint) => {
                for step in 0..50 {
                    let mut logits = logits(&tokenizer, 3, step);
                    let Ok(()) = constraint.mask(&mut logits) else { break };
                    let id = logits.iter().position(|logit| logit.is_finite()).unwrap();
                    if constraint.accept(id as u32).is_err() || id == 1 {
                        break;
                    }
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{shown}: {}", error.chain()),
        }
        let taken = begin.elapsed().as_secs_f64();
        println!("{taken:.2} s");
        assert!(taken < 300.0, "{shown}: {taken} s");
    }
}

#[test]
fn added_tokens_come_only_where_lark_names_them() {
    let tokenizer = tokenizer("gpt2");
    let added = tokenizer.token_to_id("<|begin|>").unwrap();
    let constraint = |grammar| GrammarConstraint::new(&tokenizer, &grammar, &[eos(&tokenizer)]).unwrap();
    let mut text = constraint(Grammar::Regex(r"<\|begin\|>".to_owned()));
    assert_eq!(text.accept(added).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(!text.known().unwrap().contains(&added));
    // It was left as it was.
    assert!(text.accept(tokenizer.token_to_id("<").unwrap()).is_ok());
    let mut named = constraint(Grammar::Lark("start: <|begin|> \"a\"".to_owned()));
    assert_eq!(named.known().unwrap().first(), Some(&added));
    named.accept(added).unwrap();
    named.accept(tokenizer.token_to_id("a").unwrap()).unwrap();
    assert_eq!(named.known().unwrap(), &[eos(&tokenizer)], "nothing but the end is left");
    named.accept(eos(&tokenizer)).unwrap();
    assert!(named.mask(&mut [0.0; 480]).unwrap_err().to_string().contains("has ended"));
}

/// The model that speaks, cut after its first layer or not, with a prompt.
fn generation(is_cut: bool, options: GenerationOptions) -> Result<Generation, ortshard::Error> {
    let folder = root().join("models/stories");
    let model = folder.to_str().unwrap();
    let specs = if is_cut {
        vec![ShardSpec::layers(model, 0, 0), ShardSpec::layers(model, 1, ShardSpec::LAST)]
    } else {
        vec![ShardSpec::whole(model)]
    };
    let request = |spec: &ShardSpec| {
        let shard = Engine::new(device::options()).unwrap().ensure_shard(spec, None).unwrap();
        Request::new(&shard, RequestOptions::default()).unwrap()
    };
    let tokenizer = Arc::new(Tokenizer::open(&folder).unwrap());
    let mut generation = Generation::new(specs.iter().map(request).collect(), Some(tokenizer), options)?;
    generation.append_text("Once upon a time", true)?;
    Ok(generation)
}

fn under(grammar: &Grammar, seed: u64) -> GenerationOptions {
    let sampling = SamplerOptions { temperature: 1.5, top_k: 0, seed, ..SamplerOptions::default() };
    GenerationOptions { sampling, grammar: Some(grammar.clone()), max_new_tokens: 150, ..GenerationOptions::default() }
}

/// The text, its ids, and why it ends.
fn pull(generation: &mut Generation) -> (String, Vec<u32>, Finish) {
    let (mut text, mut ids) = (String::new(), Vec::new());
    loop {
        let step = generation.step().unwrap();
        text += step.text;
        ids.extend(step.id);
        if let Some(finish) = step.finish {
            return (text, ids, finish);
        }
    }
}

#[test]
fn a_generation_keeps_to_its_grammar_on_any_cut_and_in_a_batch() {
    let grammar = r#"\{"animal": "(fox|bear)", "is_big": (true|false), "legs": 4\}"#;
    let grammar = Grammar::Regex(grammar.to_owned());
    let judge = |text: &str| {
        let value = parsed(text);
        ["fox", "bear"].contains(&value["animal"].as_str().unwrap_or_default())
            && value["is_big"].is_boolean()
            && value["legs"] == 4
            && value.as_object().unwrap().len() == 3
    };
    for seed in 0..4 {
        let mut whole = generation(false, under(&grammar, seed)).unwrap();
        let (text, ids, finish) = pull(&mut whole);
        assert!(finish == Finish::Eos && judge(&text), "{finish:?}: {text}");
        assert_eq!(pull(&mut generation(true, under(&grammar, seed)).unwrap()).1, ids);
        // Probabilities that are asked for need runs, and change nothing.
        let told = GenerationOptions { logprobs: 1, ..under(&grammar, seed) };
        assert_eq!(pull(&mut generation(false, told).unwrap()).1, ids);
        // Many at once, all with one constraint.
        let constraint = GrammarConstraint::new(whole.tokenizer().unwrap(), &grammar, &[]).unwrap();
        let mut batch: Vec<Generation> = (0..3)
            .map(|other| {
                let plain = GenerationOptions { grammar: None, ..under(&grammar, seed + other) };
                generation(false, plain).unwrap()
            })
            .collect();
        let other = batch[0].set_grammar(constraint).unwrap_err();
        assert!(other.to_string().contains("another tokenizer"), "{other}");
        for generation in &mut batch {
            let constraint = GrammarConstraint::new(generation.tokenizer().unwrap(), &grammar, &[]).unwrap();
            generation.set_grammar(constraint).unwrap();
        }
        let mut given = vec![Vec::new(); 3];
        for _ in 0..150 {
            let outcomes = step_batch(&mut batch.iter_mut().collect::<Vec<_>>());
            assert!(outcomes.iter().all(Result::is_ok));
            batch.iter().zip(&mut given).for_each(|(generation, given)| given.extend(generation.generated().id));
        }
        assert_eq!(given[0], ids);
        // The next turn begins the grammar again.
        whole.append_text(" And then", false).unwrap();
        let (text, _, finish) = pull(&mut whole);
        assert!(finish == Finish::Eos && judge(&text), "{finish:?}: {text}");
    }
}

#[test]
fn what_contradicts_a_grammar_is_refused_or_fails_by_name() {
    let grammar = Grammar::Regex("Ab{2,3}".to_owned());
    let tokenizer = Tokenizer::open(&root().join("models/stories")).unwrap();
    let id = |token: &str| tokenizer.token_to_id(token).unwrap();
    let with = |change: fn(&mut GenerationOptions, u32), id: u32| {
        let mut options = under(&grammar, 1);
        change(&mut options, id);
        generation(false, options)
    };
    let refused = |made: Result<Generation, ortshard::Error>, words: &str| {
        let error = made.map(drop).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.chain().contains(words), "{}", error.chain());
    };
    refused(with(|options, _| options.ignore_eos = true, 0), "ignore_eos");
    refused(with(|options, id| options.sampling.forced = vec![id], id("b")), "forced[0] contradicts the grammar");
    let mut forced = with(|options, id| options.sampling.forced = vec![id], id("A")).unwrap();
    let (text, _, finish) = pull(&mut forced);
    assert!(finish == Finish::Eos && matches("Ab{2,3}", &text), "{text}");

    // What the grammar wants and another control rules out: an error, as often as it is tried, and no other text.
    let mut longer = with(|options, _| options.sampling.min_new_tokens = 40, 0).unwrap();
    let error = std::iter::from_fn(|| Some(longer.step().map(drop))).find_map(Result::err).unwrap();
    assert!(
        error.chain().contains("no token may come") && error.chain().contains("min_new_tokens"),
        "{}",
        error.chain()
    );
    assert!(longer.step().is_err());
    // A token that is known may be spelled by others.
    let all: Vec<u32> = (0..tokenizer.vocab_size() as u32)
        .filter(|id| tokenizer.id_to_token(*id).is_some_and(|token| token.contains("bb")))
        .collect();
    let mut options = under(&Grammar::Regex("Abbbb".to_owned()), 1);
    options.sampling.banned = all;
    let (text, _, finish) = pull(&mut generation(false, options).unwrap());
    assert_eq!((text.as_str(), finish), ("Abbbb", Finish::Eos));
    // Without a tokenizer there is no text.
    let without = Generation::new(Model::open("llama_gqa").whole().requests, None, under(&grammar, 1));
    refused(without, "no tokenizer");
    // A limit cuts the text.
    let mut short = under(&Grammar::Regex("A.{100}".to_owned()), 1);
    short.max_new_tokens = 3;
    assert_eq!(pull(&mut generation(false, short).unwrap()).2, Finish::Length);
}
