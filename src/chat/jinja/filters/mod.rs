//! Jinja2's filters, by name.

mod items;
mod json;
mod numbers;
mod pprint;
mod select;
mod text;
mod wrap;

use crate::chat::jinja::error::{Result, fail};
use crate::chat::jinja::python::value::Value;
use crate::chat::jinja::run::arguments::Args;
use crate::chat::jinja::run::cx::Cx;

type Apply = fn(&Cx, &Value, Args) -> Result<Value>;

/// A filter that was found by its name.
#[derive(Clone, Copy)]
pub(crate) struct Filter(Apply);

impl Filter {
    pub(crate) fn apply(self, cx: &Cx, value: &Value, args: Args) -> Result<Value> {
        value.pass_over(cx)?;
        self.0(cx, value, args)
    }
}

pub(crate) fn find(name: &str) -> Option<Filter> {
    FILTERS.iter().find(|(other, _)| *other == name).map(|(_, apply)| Filter(*apply))
}

const FILTERS: &[(&str, Apply)] = &[
    ("abs", numbers::abs),
    ("attr", items::attr),
    ("batch", items::batch),
    ("capitalize", text::capitalize),
    ("center", text::center),
    ("count", items::length),
    ("d", items::default),
    ("default", items::default),
    ("dictsort", items::dictsort),
    ("e", text::escape),
    ("escape", text::escape),
    ("filesizeformat", numbers::filesizeformat),
    ("first", items::first),
    ("float", numbers::float),
    ("forceescape", text::forceescape),
    ("format", text::format),
    ("groupby", select::groupby),
    ("indent", text::indent),
    ("int", numbers::int),
    ("items", items::items),
    ("join", items::join),
    ("last", items::last),
    ("length", items::length),
    ("list", items::list),
    ("lower", text::lower),
    ("map", select::map),
    ("max", select::max),
    ("min", select::min),
    ("pprint", text::pprint),
    ("random", items::random),
    ("reject", select::reject),
    ("rejectattr", select::rejectattr),
    ("replace", text::replace),
    ("reverse", items::reverse),
    ("round", numbers::round),
    ("safe", text::safe),
    ("select", select::select),
    ("selectattr", select::selectattr),
    ("slice", items::slice),
    ("sort", select::sort),
    ("string", text::string),
    ("striptags", text::striptags),
    ("sum", select::sum),
    ("title", text::title),
    ("tojson", json::dump),
    ("trim", text::trim),
    ("truncate", text::truncate),
    ("unique", select::unique),
    ("upper", text::upper),
    ("urlencode", text::urlencode),
    ("urlize", |_, _, _| fail!(Unsupported, "the filter 'urlize'")),
    ("wordcount", text::wordcount),
    ("wordwrap", text::wordwrap),
    ("xmlattr", text::xmlattr),
];
