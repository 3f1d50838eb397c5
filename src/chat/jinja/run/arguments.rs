//! The arguments of a call, and how Python assigns them to parameters.

use std::rc::Rc;

use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::value::Value;

#[derive(Default, Clone)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Rc<str>, Value)>,
}

impl Args {
    pub(crate) fn of(positional: Vec<Value>) -> Self {
        Self { positional, named: Vec::new() }
    }

    /// The arguments by parameter. The first `required` have no default; a parameter named `""` takes no keyword.
    pub(crate) fn bind<const N: usize>(
        self,
        function: &str,
        parameters: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            fail!(Type, "{function}() takes at most {N} arguments ({} given)", self.positional.len());
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let Some(index) = parameters.iter().position(|parameter| *parameter == &*name && !name.is_empty()) else {
                fail!(Type, "{function}() got an unexpected keyword argument '{name}'");
            };
            if bound[index].replace(value).is_some() {
                fail!(Type, "{function}() got multiple values for argument '{name}'");
            }
        }
        if bound.iter().take(required).any(Option::is_none) {
            fail!(Type, "{function}() misses an argument");
        }
        Ok(bound)
    }

    pub(crate) fn only_positional(self, function: &str) -> Result<Vec<Value>> {
        if let Some((name, _)) = self.named.first() {
            fail!(Type, "{function}() got an unexpected keyword argument '{name}'");
        }
        Ok(self.positional)
    }

    pub(crate) fn none(self, function: &str) -> Result<()> {
        self.bind(function, [], 0).map(|[]| ())
    }
}

/// An optional argument as a truth value, for which Python takes any value.
pub(crate) fn truth(argument: Option<Value>, otherwise: bool) -> bool {
    argument.map_or(otherwise, |value| value.truth())
}

/// An optional argument as a truth value where Python takes only numbers, as `sorted` does.
pub(crate) fn flag(argument: Option<Value>) -> Result<bool> {
    argument.map_or(Ok(false), |value| value.to_index().map(|number| number != 0))
}

/// An optional argument as a number.
pub(crate) fn index(argument: Option<Value>, otherwise: i128) -> Result<i128> {
    argument.map_or(Ok(otherwise), |value| value.to_index())
}

/// The argument, unless it is missing or `None`.
pub(crate) fn given(argument: Option<Value>) -> Option<Value> {
    argument.filter(|value| !matches!(value, Value::None))
}
