//! Recognises models in forms that this library does not read, and says what to do about each.

use std::borrow::Cow;

use super::names;

/// A file that shows that a model is in another form.
struct Format {
    /// The file's name; `*` stands for any characters.
    file: &'static str,
    /// What the file stands in place of.
    instead_of: Need,
    /// The end of the message, after the file's name: what it is and what to do.
    advice: &'static str,
}

/// What a shard or a tokenizer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A folder in the form of transformers: its weights, or already its config.json.
    Model,
    /// The weights alone.
    Weights,
    /// tokenizer.json.
    Tokenizer,
}

macro_rules! by_transformers {
    ($class:literal, $options:literal) => {
        concat!(
            "make one with transformers, in the model's folder: `python -c \"from transformers import ",
            $class,
            " as A; A.from_pretrained('.'",
            $options,
            ").save_pretrained('.')\"`"
        )
    };
}

const ADAPTER: &str = "a LoRA adapter, which is no model by itself: merge it into its base model with peft \
                       (`merge_and_unload()`, then `save_pretrained()`) and name the merged model's folder";
const PICKLED: &str = concat!(
    "weights in PyTorch's own form, which is not read here; for model.safetensors ",
    by_transformers!("AutoModelForCausalLM", ", dtype='auto'")
);
const GGUF: &str = "a GGUF file, which is not read here: use the folder that the model was converted from (config.json \
                    and safetensors), or convert it with transformers (`from_pretrained(folder, gguf_file=...)`, then \
                    `save_pretrained()`)";
const ORIGINAL: &str = "weights in the form of the model's authors, not of transformers: use the repository's \
                        model*.safetensors and config.json, or convert them with transformers";
const OTHER_FRAMEWORK: &str = "weights for another framework, which are not read here: use the repository's \
                               model*.safetensors, or convert them with transformers";
const TOKENIZER: &str =
    concat!("a tokenizer in another form; for tokenizer.json ", by_transformers!("AutoTokenizer", ""));

/// If a model has several of these files, the first in this list counts.
const FORMATS: &[Format] = &[
    Format { file: "adapter_config.json", instead_of: Need::Model, advice: ADAPTER },
    Format { file: "adapter_model.*", instead_of: Need::Model, advice: ADAPTER },
    Format { file: "pytorch_model.bin", instead_of: Need::Weights, advice: PICKLED },
    Format { file: "pytorch_model*.bin*", instead_of: Need::Weights, advice: PICKLED },
    Format { file: "*.gguf", instead_of: Need::Model, advice: GGUF },
    Format { file: "consolidated*.safetensors", instead_of: Need::Model, advice: ORIGINAL },
    Format { file: "consolidated*.pth", instead_of: Need::Model, advice: ORIGINAL },
    Format { file: "params.json", instead_of: Need::Model, advice: ORIGINAL },
    Format {
        file: "model-*-of-*.safetensors",
        instead_of: Need::Weights,
        advice: "a part of the weights, but model.safetensors.index.json, which says what lies in which part, is missing: \
                 download it, too",
    },
    Format {
        file: "model.*.safetensors",
        instead_of: Need::Weights,
        advice: "a variant of the weights: to use it, name it model.safetensors, or name it in config.json as \
                 \"transformers_weights\"",
    },
    Format {
        file: "*.safetensors",
        instead_of: Need::Weights,
        advice: "not a name that weights are looked for by: if it holds all of them, name it model.safetensors, or name it \
                 in config.json as \"transformers_weights\"",
    },
    Format { file: "tf_model.h5", instead_of: Need::Weights, advice: OTHER_FRAMEWORK },
    Format { file: "flax_model.msgpack", instead_of: Need::Weights, advice: OTHER_FRAMEWORK },
    Format { file: "*.onnx", instead_of: Need::Model, advice: OTHER_FRAMEWORK },
    Format { file: "onnx", instead_of: Need::Model, advice: OTHER_FRAMEWORK },
    Format {
        file: "snapshots",
        instead_of: Need::Model,
        advice: "a folder of the hub's cache: name the model as on the hub (`org/name`), or one of the folders in snapshots",
    },
    Format { file: "tokenizer.model", instead_of: Need::Tokenizer, advice: TOKENIZER },
    Format { file: "tekken.json", instead_of: Need::Tokenizer, advice: TOKENIZER },
    Format { file: "spiece.model", instead_of: Need::Tokenizer, advice: TOKENIZER },
    Format { file: "vocab.json", instead_of: Need::Tokenizer, advice: TOKENIZER },
    Format { file: "vocab.txt", instead_of: Need::Tokenizer, advice: TOKENIZER },
];

/// The end of a message that says that `missing` is missing: what is there in its place, if that is recognised.
///
/// `here` are the files that could be listed. `has` tells whether a file exists that could not.
pub(super) fn instead(missing: &[&str], here: &[String], mut has: impl FnMut(&str) -> bool) -> String {
    let needed = |format: &&Format| {
        missing.iter().any(|name| match *name {
            names::CONFIG => format.instead_of == Need::Model,
            names::WEIGHTS | names::INDEX => matches!(format.instead_of, Need::Model | Need::Weights),
            names::TOKENIZER => format.instead_of == Need::Tokenizer,
            _ => false,
        })
    };
    let mut formats = FORMATS.iter().filter(needed);
    let found = formats.find_map(|format| {
        let mut listed = here.iter().filter(|name| matches(format.file, name)).map(|name| Cow::from(name.as_str()));
        let a_file = format.file.contains('.') && !format.file.contains('*');
        let asked = || (a_file && has(format.file)).then(|| format.file.into());
        listed.next().or_else(asked).map(|name: Cow<'_, str>| (name, format.advice))
    });
    found.map_or_else(String::new, |(name, advice)| format!("; there is `{}`, {advice}", super::name::shown(&name)))
}

/// What a file of weights is that begins so, if it is certainly no safetensors file.
pub(crate) fn mistaken_content(begin: &[u8]) -> Option<&'static str> {
    const LONGEST_PATH: usize = 4096;
    const ZIP: &[u8] = b"PK\x03\x04";
    let page = begin
        .trim_ascii_start()
        .get(..5)
        .is_some_and(|tag| tag.eq_ignore_ascii_case(b"<html") || tag.eq_ignore_ascii_case(b"<!doc"));
    match begin {
        [] => Some("is empty: download it again"),
        _ if page => Some("is a web page, such as a login or an error, in place of the file: download it again"),
        _ if begin.starts_with(b"GGUF") => Some("is a GGUF file, whatever its name: use the model's safetensors"),
        _ if begin.starts_with(ZIP) => {
            Some("is an archive or PyTorch's own form, whatever its name: use the safetensors")
        }
        _ if begin.len() <= LONGEST_PATH
            && begin.contains(&b'/')
            && begin.trim_ascii().iter().all(u8::is_ascii_graphic) =>
        {
            Some("holds a path, as a link does that was copied as text: put the file itself in its place")
        }
        _ => None,
    }
}

/// Whether `name` is `pattern`, in which each `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(front) else { return false };
    (0..=name.len()).any(|from| name.get(from..).is_some_and(|name| matches(rest, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(missing: &str, here: &[&str]) -> String {
        let here: Vec<String> = here.iter().map(|name| (*name).to_owned()).collect();
        instead(&[missing], &here, |_| false)
    }

    #[test]
    fn what_lies_there_is_named_with_what_to_do() {
        for (missing, here, word) in [
            ("config.json", &["adapter_model.safetensors", "adapter_config.json"][..], "merge"),
            ("config.json", &["model-q4_k_m.gguf"], "GGUF"),
            ("config.json", &["params.json", "tekken.json"], "authors"),
            ("config.json", &["blobs", "refs", "snapshots"], "org/name"),
            ("model.safetensors", &["adapter_config.json", "model.bin"], "merge"),
            ("model.safetensors", &["pytorch_model-00001-of-00002.bin"], "save_pretrained"),
            ("model.safetensors", &["pytorch_model.bin", "x.gguf"], "PyTorch"),
            ("model.safetensors", &["x.gguf"], "gguf_file"),
            ("model.safetensors", &["consolidated.00.pth"], "authors"),
            ("model.safetensors", &["consolidated.safetensors"], "authors"),
            ("model.safetensors", &["model.fp16.safetensors"], "variant"),
            ("model.safetensors", &["model-00001-of-00002.safetensors"], "index"),
            ("model.safetensors", &["weights.safetensors"], "transformers_weights"),
            ("model.safetensors", &["tf_model.h5"], "framework"),
            ("model.safetensors", &["onnx", "README.md"], "framework"),
            ("tokenizer.json", &["tokenizer.model", "vocab.json"], "AutoTokenizer"),
            ("tokenizer.json", &["tekken.json"], "save_pretrained"),
            ("tokenizer.json", &["vocab.json", "merges.txt"], "AutoTokenizer"),
        ] {
            let told = told(missing, here);
            assert!(told.contains(word) && told.starts_with("; there is `"), "{missing} {here:?}: {told}");
        }
        for (missing, here) in [
            ("config.json", &["model.safetensors", "tokenizer.model"][..]),
            ("model.safetensors", &["config.json", "tokenizer.model"]),
            ("tokenizer.json", &["pytorch_model.bin"]),
            ("model-00001-of-00002.safetensors", &["pytorch_model.bin"]),
        ] {
            assert_eq!(told(missing, here), "");
        }
        let asked = instead(&["model.safetensors"], &[], |name| name == "pytorch_model.bin");
        assert!(asked.contains("`pytorch_model.bin`"), "{asked}");
    }

    #[test]
    fn what_is_in_place_of_weights_is_named() {
        for (content, word) in [
            (&b""[..], "empty"),
            (b"<html><body>Log/in</body></html>", "web page"),
            (b"<!DOCTYPE html>\n<title>404</title>", "web page"),
            (b"../../blobs/abcdef\n", "a path"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"PK\x03\x04\x14\0", "archive"),
        ] {
            assert!(mistaken_content(content).is_some_and(|what| what.contains(word)), "{word}");
        }
        assert_eq!(mistaken_content(b"\x10\0\0\0\0\0\0\0{\"a/b\": 1}"), None);
    }

    #[test]
    fn patterns() {
        assert!(matches("a*c*", "abcd") && matches("a*", "a") && matches("*.é", "x.é"));
        assert!(!matches("a*c", "abcd") && !matches("a", "ab") && !matches("*b*b", "ab"));
    }
}
