//! The README and docs/models.md list every architecture, the models that it covers, and the devices that it runs on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::error::ErrorKind;
use crate::graph::onnx::ElementType;
use crate::graph::stock::{self, Form, Style};
use crate::model::{self, ARCHITECTURES, ModelConfig, Range, WRAPPERS};

/// What is generated lies behind this line: in the README up to the next empty line, in docs/models.md up to the end.
const BEGIN: &str = "<!-- made from the list of architectures: `make models` -->\n";
/// Lines of the README are not longer.
const WIDTH: usize = 130;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The models of this `model_type` whose heads are as wide as stock operators need them: tiny ones, and the one whose
/// variants are tried.
fn models(model_type: &str) -> Vec<ModelConfig> {
    let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let folder = root().join("tests/models");
    let mut tried = read(&folder.join(format!("configs/{model_type}/answers.json")))["base"].clone();
    for key in ["head_dim", "global_head_dim"] {
        if key == "head_dim" || !tried[key].is_null() {
            tried[key] = 16.into();
        }
    }
    let tiny = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path().join("config.json"));
    let configs = tiny.filter(|path| path.exists()).map(|path| read(&path)).chain([tried]);
    let configs = configs.filter(|config| config["model_type"] == model_type);
    let models = configs.filter_map(|config| model::read_config(config.to_string().as_bytes()).ok());
    models.filter(|config| config.head_dim.is_multiple_of(16)).collect()
}

/// What of a model stock operators cannot compute.
fn refusal(config: &ModelConfig) -> Option<String> {
    let graph = model::graph(config, Range::new(0, config.layers - 1, config.layers).unwrap());
    let style = Style {
        form: Form::Session,
        element: ElementType::F32,
        blocks: None,
        location: "",
        place: &|_| None,
        positions: 1,
    };
    let error = stock::write(&graph, style, &[]).err()?;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let message = error.to_string();
    let what = message.split_once(" is not written in stock operators").map(|(what, _)| what.to_owned());
    assert!(what.is_some(), "the reason in the usual words, not {message:?}");
    what
}

/// Where models of this `model_type` run.
fn devices(model_type: &str) -> String {
    let refusals: Vec<Option<String>> = models(model_type).iter().map(refusal).collect();
    assert!(!refusals.is_empty(), "{model_type}: no model has heads in multiples of 16");
    let reasons: BTreeSet<&str> = refusals.iter().flatten().map(String::as_str).collect();
    let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
    match (reasons.is_empty(), refusals.iter().all(Option::is_some)) {
        (true, _) => "all".into(),
        (_, true) => format!("processor: {reasons}"),
        (_, false) => format!("all; processor: {reasons}"),
    }
}

fn table() -> String {
    let mut table = String::from("\n| models | class | `model_type` | devices |\n|---|---|---|---|\n");
    for a in ARCHITECTURES {
        let devices = devices(a.model_type);
        writeln!(table, "| {} | `{}` | `{}` | {devices} |", a.covers, a.name, a.model_type).unwrap();
    }
    for w in WRAPPERS {
        let devices = "those of its language model";
        writeln!(table, "| {} (text) | `{}` | `{}` | {devices} |", w.covers, w.name, w.model_type).unwrap();
    }
    table
}

/// What all architectures cover, in one paragraph.
fn paragraph() -> String {
    let mut covered: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.covers).collect();
    let texts: Vec<&str> = WRAPPERS.iter().map(|wrapper| wrapper.covers).collect();
    let texts = format!("of models with images, the text: {}", texts.join("; "));
    covered.push(&texts);
    let mut lines = vec![String::new()];
    for word in format!("{}.\n", covered.join("; ")).split(' ') {
        let line = lines.last_mut().unwrap();
        if line.chars().count() + 1 + word.trim_end().chars().count() > WIDTH {
            lines.push(word.into());
        } else {
            *line = if line.is_empty() { word.into() } else { format!("{line} {word}") };
        }
    }
    lines.join("\n")
}

#[test]
fn documents_list_every_architecture() {
    for (name, new) in [("README.md", paragraph()), ("docs/models.md", table())] {
        let path = root().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, behind) = text.split_once(BEGIN).expect("the line that the list begins behind");
        let end =
            if name == "README.md" { behind.find("\n\n").map_or(behind.len(), |end| end + 1) } else { behind.len() };
        if std::env::var_os("ORTSHARD_UPDATE_MODELS").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{new}{}", &behind[end..])).unwrap();
        } else {
            assert_eq!(&behind[..end], new, "{name} is out of date; run `make models` and commit the result");
        }
    }
}
