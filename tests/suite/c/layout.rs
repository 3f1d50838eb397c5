//! `layout.h` for `c_tests/abi/header_c11.c`: the compiler's view of every number in include/ortshard.json.

use std::fmt::Write as _;

use serde_json::Value;

pub(super) fn of_json(json: &Value) -> String {
    let mut text = String::new();
    for (name, value) in json["constants"].as_object().unwrap() {
        writeln!(text, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    text.push_str("#if UINTPTR_MAX == UINT64_MAX\n");
    for (name, layout) in json["structs"].as_object().unwrap() {
        let size = &layout["size"];
        writeln!(text, "_Static_assert(sizeof({name}) == {size}, \"{name}\");").unwrap();
        for field in layout["fields"].as_array().unwrap() {
            let (field, offset, size) = (field["name"].as_str().unwrap(), &field["offset"], &field["size"]);
            writeln!(
                text,
                "_Static_assert(offsetof({name}, {field}) == {offset} && sizeof((({name} *)0)->{field}) == {size}, \
                 \"{name}.{field}\");"
            )
            .unwrap();
        }
    }
    text.push_str("#endif\n");
    // A pointer to each function, of the type that the JSON has.
    for (name, declared) in json["functions"].as_object().unwrap() {
        let parameters: Vec<&str> =
            declared["parameters"].as_array().unwrap().iter().map(|one| one[1].as_str().unwrap()).collect();
        let parameters = if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") };
        let result = declared["result"].as_str().unwrap();
        writeln!(text, "extern {result} (*const type_of_{name})({parameters});").unwrap();
        writeln!(text, "{result} (*const type_of_{name})({parameters}) = {name};").unwrap();
    }
    text
}
