//! Which file names what of which other, read off the sources.

use std::collections::{BTreeMap, HashMap};

/// The folders of src/ that are packages of their own.
pub(crate) const PACKAGES: [&str; 3] = ["error", "kernels", "sampler"];

/// A path of names, such as `crate::engine::Shard` or, resolved, `engine::Shard`.
type Path = Vec<String>;

/// The modules of some sources, and what each of them names.
#[derive(Default)]
pub(crate) struct Modules {
    modules: HashMap<Path, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// What its `use` lines bring in, by the name that it has here.
    imports: HashMap<String, Path>,
    /// Every path in its code, but for those that a façade only passes on.
    paths: Vec<Path>,
}

/// A path that climbs out of its top-level module by `super`.
pub(crate) struct Escape {
    pub(crate) file: String,
    pub(crate) path: String,
}

impl Modules {
    /// Reads `files`: paths below src/, and code without comments.
    pub(crate) fn read(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = Self::default();
        for (file, code) in files {
            all.read_file(&file, &tokens(&code));
        }
        all
    }

    fn read_file(&mut self, file: &str, tokens: &[String]) {
        let is_facade = file.ends_with("mod.rs") || file.ends_with("lib.rs");
        let names = file.trim_end_matches(".rs").split('/').filter(|name| !matches!(*name, "mod" | "lib"));
        let own: Path = names.map(str::to_owned).collect();
        // Modules within the file, innermost last, and how deep in braces each began.
        let mut within = vec![(own, 0)];
        let (mut depth, mut at) = (0, 0);
        while at < tokens.len() {
            let module = within.last().unwrap().0.clone();
            let entry = self.modules.entry(module.clone()).or_default();
            file.clone_into(&mut entry.file);
            match tokens[at].as_str() {
                "mod" if tokens.get(at + 2).is_some_and(|next| next == "{") => {
                    let inner = [module, vec![tokens[at + 1].clone()]].concat();
                    within.push((inner, depth));
                    at += 1;
                }
                "use" => {
                    let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
                    let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                    let mut found = Vec::new();
                    imports(&mut &tokens[at + 1..end], &Vec::new(), &mut found);
                    for (name, path) in found {
                        if !(is_public && is_facade) {
                            entry.paths.push(path.clone());
                        }
                        entry.imports.insert(name, path);
                    }
                    at = end;
                }
                // How far something can be seen is no use of it.
                "(" if at > 0 && tokens[at - 1] == "pub" => {
                    at += tokens[at..].iter().position(|token| token == ")").unwrap();
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if within.len() > 1 && within.last().unwrap().1 == depth {
                        within.pop();
                    }
                }
                name if is_name(name) && (at == 0 || tokens[at - 1] != "::") => {
                    let mut path = vec![name.to_owned()];
                    while tokens.get(at + 1).is_some_and(|t| t == "::")
                        && tokens.get(at + 2).is_some_and(|t| is_name(t))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    if path.len() > 1 {
                        entry.paths.push(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// For each pair of files of which the first names something that the second holds: one path that says so.
    pub(crate) fn uses(&self) -> BTreeMap<(String, String), String> {
        let mut uses = BTreeMap::new();
        for (module, read) in &self.modules {
            for path in &read.paths {
                let Some(holder) = Self::absolute(module, path).and_then(|path| self.holder(&path, 0)) else {
                    continue;
                };
                if *holder != read.file {
                    uses.entry((read.file.clone(), holder.clone())).or_insert_with(|| path.join("::"));
                }
            }
        }
        uses
    }

    /// Paths that name another top-level module, or none, by `super`.
    pub(crate) fn escapes(&self) -> Vec<Escape> {
        let escapes = |module: &Path, path: &Path| {
            let climbs = path.iter().take_while(|name| *name == "super").count();
            climbs > 0 && climbs >= module.len()
        };
        let all = self.modules.iter().flat_map(|(module, read)| {
            let out = read.paths.iter().chain(read.imports.values()).filter(move |path| escapes(module, path));
            out.map(|path| Escape { file: read.file.clone(), path: path.join("::") })
        });
        all.collect()
    }

    /// The path from the root of all sources; none if it begins outside them.
    fn absolute(module: &Path, path: &Path) -> Option<Path> {
        let root = usize::from(module.first().is_some_and(|first| PACKAGES.contains(&first.as_str())));
        let climbs = path.iter().take_while(|name| *name == "super").count();
        let (base, rest) = match path[0].as_str() {
            "crate" => (&module[..root], &path[1..]),
            "self" => (&module[..], &path[1..]),
            "super" => (&module[..module.len().checked_sub(climbs)?], &path[climbs..]),
            _ => (&module[..], &path[..]),
        };
        Some([base, rest].concat())
    }

    /// The file that holds what `path` names: through modules, and through what they import from others.
    fn holder(&self, path: &[String], imports: usize) -> Option<&String> {
        let mut module: Path = Vec::new();
        for (at, name) in path.iter().enumerate() {
            let inner = [&module[..], std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&inner) {
                module = inner;
                continue;
            }
            let read = self.modules.get(&module)?;
            return match read.imports.get(name) {
                // Two names that stand for each other have no end.
                Some(import) if imports < 16 => {
                    let path = [Self::absolute(&module, import)?, path[at + 1..].to_vec()].concat();
                    self.holder(&path, imports + 1)
                }
                Some(_) => None,
                // An item of its own, or another package.
                None => Some(&read.file),
            };
        }
        self.modules.get(&module).map(|read| &read.file)
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names and the paths that they stand for, of what is between `use` and `;`.
fn imports(tokens: &mut &[String], prefix: &Path, found: &mut Vec<(String, Path)>) {
    while let Some((first, mut rest)) = tokens.split_first().filter(|(first, _)| *first != "}") {
        let (mut path, mut alias, mut next) = (prefix.clone(), None, first.as_str());
        while next != "," && next != "}" && next != ";" {
            match next {
                "{" => {
                    imports(&mut rest, &std::mem::take(&mut path), found);
                    rest = &rest[1..];
                }
                "as" => {
                    alias = Some(rest[0].clone());
                    rest = &rest[1..];
                }
                // What a list is of.
                "self" if !path.is_empty() => {}
                "::" => {}
                name => path.push(name.to_owned()),
            }
            let Some((token, after)) = rest.split_first() else { break };
            (next, rest) = (token.as_str(), if token == "}" { rest } else { after });
        }
        if let Some(name) = alias.or_else(|| path.last().cloned()) {
            found.push((name, path));
        }
        *tokens = rest;
    }
}

/// Names, `::` and single signs; texts, characters and lifetimes are left out.
fn tokens(code: &str) -> Vec<String> {
    let chars: Vec<char> = code.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let get = |at: usize| chars.get(at).copied().unwrap_or(' ');
    while at < chars.len() {
        let c = chars[at];
        if c.is_alphanumeric() || c == '_' {
            let from = at;
            while get(at).is_alphanumeric() || get(at) == '_' {
                at += 1;
            }
            let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
            let name: String = chars[from..at].iter().collect();
            if matches!(name.as_str(), "r" | "br" | "cr") && get(at + hashes) == '"' {
                let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let rest: String = chars[at + hashes + 1..].iter().collect();
                let skipped = rest.split(&close).next().unwrap().chars().count();
                at += hashes + 1 + skipped + close.len();
            } else {
                tokens.push(name);
            }
            continue;
        }
        match c {
            '/' if get(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '"' => {
                at += 1;
                while get(at) != '"' && at < chars.len() {
                    at += if get(at) == '\\' { 2 } else { 1 };
                }
            }
            // A character, not a lifetime.
            '\'' if get(at + 1) == '\\' => {
                at += 3;
                while get(at) != '\'' {
                    at += 1;
                }
            }
            '\'' if get(at + 2) == '\'' => at += 2,
            ':' if get(at + 1) == ':' => {
                tokens.push("::".to_owned());
                at += 1;
            }
            c if c.is_whitespace() => {}
            c => tokens.push(c.to_string()),
        }
        at += 1;
    }
    tokens
}
