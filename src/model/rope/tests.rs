//! The parameters of rotary positions are found wherever config.json may have them, in every spelling, and give
//! transformers' frequencies (`tools/goldens/make_config_goldens.py`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use serde_json::Value;

use super::{Frequencies, Rope};
use crate::error::ErrorKind;
use crate::model::read_config;

/// Steps of float32 that a frequency here may be from the one in transformers: the powers of torch and Rust differ by one.
const STEPS: u32 = 2;

/// What transformers refuses and this library reads, since it can mean one thing only: `null` for a part of a head, and the older name
/// of Phi-3's `longrope`, which version 5.24 renames too late.
const CLEAR: &[&str] = &[
    "partial None",
    "head_dim null",
    "alpha: no head_dim",
    "alpha without factor",
    "longrope as su",
    "longrope as rope_type su",
];

/// What transformers computes and this library refuses: numbers with which there is no rotation to speak of, and what is
/// no number.
const REFUSED: &[&str] = &[
    "theta True",
    // Transformers 4 takes this theta for all layers, and 5 for some.
    "olmo3: plain",
    "olmo3: both kinds: theta at the top$",
    "olmo3: sliding layers: theta at the top$",
    "alpha True",
    "theta 1e+300",
    "factor -2.0",
    "factor True",
    "factor 1e+300",
    "original 0",
    "original -16",
    "low_freq_factor -1.0",
    "high_freq_factor 0",
    "high_freq_factor -1.0",
    "short_factor [-1.0",
    "long_factor [-1.0",
    "bands the wrong way round",
    "attention_factor 0",
    "attention_factor -1.0",
    // Outside of Gemma 4.
    "proportional",
    "slowed by -1.0",
    // Transformers' Llama takes these for words that it does not know, and rotates as if they were not there.
    "for each kind of layer",
    "for the one kind of layer",
    // Of two places that say the same in two ways one is left over.
    "scaling in both spellings",
];

#[test]
fn as_transformers() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/configs");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("rope.json"));
    let (mut same, mut refused, mut worst, mut wrong) = (0, 0, 0, Vec::new());
    for path in folders.filter(|path| path.exists()) {
        let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let name =
                format!("{}: {}", golden["base"]["model_type"].as_str().unwrap(), case["name"].as_str().unwrap());
            match verdict(&golden, case, &name) {
                Ok(Some(steps)) => {
                    same += 1;
                    worst = worst.max(steps);
                }
                Ok(None) => refused += 1,
                Err(why) => wrong.push(format!("{name}: {why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{same} the same within {worst} steps, {refused} refused");
    assert!(same > 150 && refused > 50);
}

/// How many steps a case's rotation is from transformers', `None` where both or this library alone refuse it, or what is wrong.
fn verdict(golden: &Value, case: &Value, name: &str) -> Result<Option<u32>, String> {
    let mut config = golden["base"].as_object().unwrap().clone();
    config.extend(case["set"].as_object().unwrap().clone());
    config.retain(|key, _| !case["drop"].as_array().unwrap().contains(&Value::from(key.as_str())));
    let answer = &case[golden["oracle"].as_str().unwrap()];
    // A part of a name, or with a `$` its end.
    let listed = |list: &[&str]| {
        list.iter().any(|part| part.strip_suffix('$').map_or_else(|| name.contains(part), |end| name.ends_with(end)))
    };
    let ours = read_config(Value::Object(config).to_string().as_bytes()).map(|config| config.ropes);
    match (ours, answer["error"].as_str()) {
        (Ok(ropes), None) if !listed(REFUSED) => {
            let distance = |theirs: &Value, rope: &Rope| {
                let sets = rope.sets().zip(["frequencies", "long"]).map(|(set, which)| {
                    let theirs_of = |index| distance(set, &golden["frequencies"][index as usize], &theirs["factor"]);
                    theirs[which].as_u64().map_or(u32::MAX, theirs_of)
                });
                let border = theirs["border"].as_u64().map(|border| border as usize);
                if border == rope.border() { sets.max().unwrap() } else { u32::MAX }
            };
            let steps = match answer["kinds"].as_object() {
                None => distance(answer, &ropes[0]),
                // One for each kind of layer that there is.
                Some(kinds) => {
                    let own = |kind: &str| &ropes[usize::from(kind == "sliding_attention")];
                    kinds.iter().map(|(kind, theirs)| distance(theirs, own(kind))).max().unwrap()
                }
            };
            if steps <= STEPS { Ok(Some(steps)) } else { Err(format!("{steps} steps away: {ropes:?}")) }
        }
        (Ok(_), Some(_)) if listed(CLEAR) => Ok(None),
        (Err(error), theirs) if theirs.is_some() || listed(REFUSED) => {
            let plain = matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Unsupported);
            let named = plain && error.to_string().starts_with("config.json: ");
            if named { Ok(None) } else { Err(error.chain()) }
        }
        (ours, theirs) => Err(format!("{ours:?}, transformers: {theirs:?}")),
    }
}

/// The largest distance in steps of float32.
fn distance(set: &Frequencies, frequencies: &Value, factor: &Value) -> u32 {
    let theirs: Vec<f32> = frequencies.as_array().unwrap().iter().map(|f| f.as_f64().unwrap() as f32).collect();
    assert_eq!(set.inv_freq.len(), theirs.len());
    let pairs = set.inv_freq.iter().copied().zip(theirs);
    let all = pairs.chain([(set.attention_factor, factor.as_f64().unwrap() as f32)]);
    all.map(|(ours, theirs)| ours.to_bits().abs_diff(theirs.to_bits())).max().unwrap()
}
