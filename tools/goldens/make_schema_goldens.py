"""Writes tests/schemas.json: JSON schemas, and what Python's jsonschema says of many values.

    python3 tools/goldens/make_schema_goldens.py

The members of a value come in the order of its schema: texts under a schema keep that order, which a schema cannot ask for.
"""

import json
import pathlib
import random

from jsonschema import Draft202012Validator

ROOT = pathlib.Path(__file__).parents[2]

# Schemas, each with values that vary from.
SCHEMAS = [
    ({"type": "boolean"}, [True]),
    ({"type": ["integer", "null"], "minimum": -3, "exclusiveMaximum": 7}, [0]),
    ({"type": "number", "exclusiveMinimum": -1.5, "maximum": 150}, [2.5]),
    ({"type": "integer", "multipleOf": 5}, [5]),
    ({"enum": ["a", 1, None, {"k": [1]}, "tab\tß"]}, ["a", {"k": [1]}, "tab\tß"]),
    ({"const": {"k": [1, "x"]}}, [{"k": [1, "x"]}]),
    ({"type": "string", "minLength": 1, "maxLength": 3}, ["abc", "日本語"]),
    ({"type": "string", "pattern": "^[a-c]{2,4}-\\d$"}, ["abc-1"]),
    ({"type": "string", "pattern": "b+c"}, ["abbc", "xbcx"]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}, [[1, 2]]),
    ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": {"type": "null"}}, [["a", True, None]]),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False, "minItems": 1}, [[1]]),
    ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}}, [[[True], []]]),
    (
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]},
        [{"a": 1, "b": "x"}, {"a": 1, "b": "x", "more": [1]}],
    ),
    (
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["b"], "additionalProperties": False},
        [{"a": 1, "b": None}],
    ),
    (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}},
        [{"a": 1, "x": True}, {"x": True}],
    ),
    (
        {"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": False},
        [{"n_a": 1}, {"n_": 5, "n_x": 0}],
    ),
    ({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2}, [{"x": 1, "y": 5}]),
    ({"anyOf": [{"type": "string", "maxLength": 2}, {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}]}, ["ab", {"a": 1}]),
    ({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, ["a", ["a", "b"]]),
    (
        {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"], "properties": {"a": {"minimum": 5}}}]},
        [{"a": 7}],
    ),
    ({"allOf": [{"type": "integer", "minimum": 0}, {"maximum": 10}]}, [5]),
    (
        {
            "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}, "required": ["v"]}},
            "$ref": "#/$defs/node",
        },
        [{"v": 1, "next": {"v": 5}}],
    ),
    (
        {"$defs": {"tree": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/tree"}}]}}, "$ref": "#/$defs/tree"},
        [[None, [None, []]]],
    ),
    (
        {
            "type": "object",
            "properties": {
                "kind": {"enum": ["circle", "square"]},
                "size": {"type": "number", "minimum": 0},
                "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
                "place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}, "required": ["x", "y"]},
            },
            "required": ["kind", "size"],
            "additionalProperties": False,
        },
        [{"kind": "circle", "size": 2.5, "tags": ["a"], "place": {"x": 1, "y": -1}}],
    ),
    (True, [{"a": [1, {"b": None}]}]),
]

# What a part of a value becomes.
LEAVES = [None, True, False, 0, 1, -1, 5, 7, 10, 11, -3, -4, 150, 151, 2.5, -2.5, "", "a", "ab", "abc", "abcd", "abc-1", "xbc", "日本", "ß\n"]
LEAVES += [[], {}, [1], [True], [None], {"a": 1}, {"v": 1}]


def parts(value, path=()):
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield from parts(part, (*path, key))


def varied(value, chance):
    """`value` with one part replaced, left out or added."""
    value = json.loads(json.dumps(value))
    path = chance.choice(list(parts(value)))
    if not path:
        if isinstance(value, list) and chance.random() < 0.7:
            return value + [chance.choice(LEAVES)]
        if isinstance(value, dict) and chance.random() < 0.7:
            return {**value, chance.choice(["x", "n_b", "zz"]): chance.choice(LEAVES)}
        return chance.choice(LEAVES)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if chance.random() < 0.3:
        del holder[path[-1]]
    else:
        holder[path[-1]] = chance.choice(LEAVES)
    return value


def main():
    chance = random.Random(5)
    made = []
    for schema, values in SCHEMAS:
        validator = Draft202012Validator(schema)
        Draft202012Validator.check_schema(schema)
        texts = {json.dumps(value, ensure_ascii=False): value for value in values}
        for _ in range(400):
            value = varied(chance.choice(values), chance)
            if chance.random() < 0.3:
                value = varied(value, chance)
            texts[json.dumps(value, ensure_ascii=False)] = value
        judged = {True: [], False: []}
        for text, value in texts.items():
            judged[validator.is_valid(value)].append(text)
        some = {valid: sorted(chance.sample(texts, min(len(texts), 25))) for valid, texts in judged.items()}
        made.append({"schema": schema, "matches": some[True], "others": some[False]})
    lines = ",\n".join(json.dumps(sample, ensure_ascii=False, separators=(",", ":")) for sample in made)
    (ROOT / "tests/schemas.json").write_text(f"[\n{lines}\n]\n")


main()
