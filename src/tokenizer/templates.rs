//! The chat templates of a model: none, one, or several by name.

use crate::error::{Result, bail};

/// The name of the template that is meant if none is named.
const DEFAULT: &str = "default";

/// The name of the one that is meant if there are tools.
const TOOL_USE: &str = "tool_use";

/// Templates with their names.
#[derive(Debug, Default)]
pub(super) struct Templates(Vec<(String, String)>);

impl Templates {
    /// A single template, which needs no name.
    pub(super) fn one(template: String) -> Self {
        Self(vec![(DEFAULT.to_owned(), template)])
    }

    /// Adds a template; of two with one name the later one counts.
    pub(super) fn add(&mut self, name: &str, template: &str) {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), template.to_owned()));
    }

    /// The template that goes by `name`, or without a name the one that `transformers` takes. `label` names the
    /// tokenizer in messages.
    pub(super) fn choose(&self, name: Option<&str>, tools: bool, label: &str) -> Result<&str> {
        let find = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted).map(|(_, template)| template.as_str());
        if self.0.is_empty() {
            bail!(Unsupported, "{label} comes without a chat template");
        }
        let names = || self.0.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if let Some(name) = name {
            return match find(name) {
                Some(template) => Ok(template),
                None => bail!(NotFound, "{label} has no chat template `{name}`; it has {}", names()),
            };
        }
        let found = Some(TOOL_USE).filter(|_| tools).and_then(find).or_else(|| find(DEFAULT));
        match (found, self.0.as_slice()) {
            (Some(template), _) => Ok(template),
            (None, [(_, only)]) => Ok(only),
            _ => bail!(Unsupported, "{label} has the chat templates {}, none of them the default: name one", names()),
        }
    }
}
