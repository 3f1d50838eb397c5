"""Makes tests/templates/expressions.json: what Jinja2 gives for thousands of expressions and small templates.

The lists come from Jinja2 itself: every filter, every test, every global, and every method that its sandbox lets
through of the types a chat template can meet, each with several values and arguments, also wrong ones. The environment
is the one that transformers compiles chat templates in. Run from the repository root; needs `transformers` 5.24.

The file has the variables, expressions and templates with the text they give, and those where Jinja2 fails. With
`--all`, target/expressions.json has every expression; the committed file leaves out long texts and most failures.
"""

import copy
import datetime
import itertools
import json
import os
import sys
from pathlib import Path

os.environ["TZ"] = "UTC"
import jinja2  # noqa: E402
from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: E402

ENVIRONMENT = _compile_jinja_template("").environment
VARIABLES = {
    "s": "Hello World",
    "t": "  a-b c\td\n\n e\u00e9\U0001f600 ",
    "u": "\u01c6ungla STRASSE stra\u00dfe \u03a3\u03a3 42 \ufb01",
    "n": "-0042",
    "h": "<a href='x'>B &amp; \"c\"</a>",
    "messages": [{"role": "user", "content": "Hi <b>", "n": 3}, {"role": "Assistant", "content": "Yes", "n": 1.5}],
    "words": ["b", "A", "c", "a", "B"],
    "numbers": [3, -1, 2.5, 0, 10],
    "nested": [[1, [2, None]], ["x", {"k": True}], []],
    "d": {"b": 1, "a": "x", "C": [1, 2], "items": "own"},
    "none": None,
    "tools": None,
    "i": 42,
    "f": 2.675,
    "long": "the quick brown fox jumps over the lazy dog, and-then--some_more words; " * 3,
}
VALUES = [
    "s", "t", "u", "n", "h", "''", "'abc'", "words", "numbers", "nested", "messages", "[]", "(1, 'a')", "()", "d", "{}",
    "i", "-7", "0", "f", "1e20", "1e-7", "true", "false", "none", "missing", "range(4)", "h|safe", "'3.7'", "d.values()",
]
FEW = ["s", "words", "d", "i", "f", "none", "missing"]
ARGUMENTS = [
    "", "1", "'a'", "2, 'x'", "none", "-1", "'l', 'L'", "0, 3", "[1, 2]", "'role'", "bogus=1", "1, 2, 3, 4", "missing",
]
KEYWORDS = {
    "attr": ["'role'", "'upper'", "'items'", "'__class__'", "name='upper'"],
    "batch": ["2", "3, '-'", "linecount=2, fill_with=0"],
    "center": ["20", "width=15"],
    "d": ["'x', true"],
    "default": ["'x'", "default_value='x'", "'x', boolean=true", "'x', true"],
    "dictsort": ["true", "by='value'", "false, 'value'", "reverse=true", "case_sensitive=true", "by='x'"],
    "filesizeformat": ["true", "binary=true"],
    "float": ["default=1.5", "'x'"],
    "format": ["1, 2", "a=1", "'x'"],
    "groupby": ["'role'", "attribute='n'", "'x', default='z'", "'role', case_sensitive=true", "0"],
    "indent": ["2", "first=true", "blank=true", "width='>>'", "4, true, true", "width=2, first=true"],
    "int": ["default=7", "0, 16", "base=2", "base=0", "5, 99"],
    "join": ["', '", "d='-'", "',', attribute='role'", "attribute='n'", "', ', 'role'"],
    "map": ["'upper'", "attribute='role'", "attribute='x', default='?'", "'replace', 'a', 'b'", "'nope'", "attribute=0"],
    "max": ["attribute='n'", "case_sensitive=true", "true"],
    "min": ["attribute='n'", "case_sensitive=true"],
    "reject": ["'odd'", "'gt', 1", "'string'", "'nope'"],
    "rejectattr": ["'role'", "'role', 'equalto', 'user'", "'n', 'gt', 2"],
    "replace": ["'l', 'L', 1", "'', '-'", "'o', '0', count=1", "1, 2"],
    "round": ["1", "2", "-1", "method='ceil'", "1, 'floor'", "method='x'", "precision=1"],
    "select": ["'odd'", "'==', 'a'", "'in', [0, 'a', 3]", "'string'", "'none'"],
    "selectattr": ["'role'", "'role', '==', 'user'", "'n', 'odd'", "'x', 'undefined'", "attr='role'"],
    "slice": ["2", "3, '-'", "slices=2, fill_with=0", "0"],
    "sort": ["true", "reverse=true", "case_sensitive=true", "attribute='role'", "attribute='n,role'", "attribute='x'"],
    "sum": ["attribute='n'", "start=10", "'n', 1", "start=[]"],
    "tojson": ["indent=2", "indent='>'", "sort_keys=true", "separators=(',', ':')", "ensure_ascii=true", "true, 2",
               "indent=0", "indent=none", "separators=('a',)"],
    "trim": ["' a'", "chars='Hd'"],
    "truncate": ["5", "8, true", "9, false, '~'", "5, leeway=0", "length=4, end=''", "2"],
    "unique": ["true", "case_sensitive=true", "attribute='role'"],
    "wordwrap": ["10", "5, false", "width=12, wrapstring='|'", "20, break_on_hyphens=false", "0"],
    "xmlattr": ["false", "autospace=false"],
    "urlize": [],
    "lipsum": [],
}
METHODS = {
    "center": ["12", "12, '*'", "11, '<'", "3", "12, ''", "width=12"],
    "count": ["'l'", "''", "'l', 3", "'o', -4, -1", "1"],
    "encode": ["", "'ascii', 'replace'", "'latin-1', 'ignore'", "'ascii'"],
    "endswith": ["'d'", "('x', 'ld')", "'o', 0, 5", "1"],
    "expandtabs": ["", "4", "tabsize=2", "0"],
    "find": ["'o'", "'o', 5", "'o', 5, 7", "'zz'", "''", "'', 99", "1"],
    "format": ["1, 'a'", "a=1"],
    "index": ["'o'", "'zz'", "2", "'a'", "'a', 1", "3, -2"],
    "join": ["words", "'abc'", "[1]", "d", "[]", "missing", "none"],
    "ljust": ["14", "14, '.'", "14, 'xx'"],
    "lstrip": ["", "' H'", "none"],
    "maketrans": ["'lo', '01'", "{'l': 'L', 'o': none}", "'ab', 'c'", "'l', 'L', 'o'"],
    "partition": ["'o'", "' '", "'zz'", "''"],
    "removeprefix": ["'Hell'", "'x'"],
    "removesuffix": ["'World'", "''"],
    "replace": ["'l', 'L'", "'l', 'L', 1", "'', '-'", "'o', '<', -1", "1, 2"],
    "rfind": ["'o'", "'o', 0, 6", "'zz'"],
    "rindex": ["'o'", "'zz'"],
    "rjust": ["14", "14, '.'"],
    "rpartition": ["'o'", "'zz'"],
    "rsplit": ["", "'o'", "none, 1", "' ', 1", "maxsplit=1", "''"],
    "rstrip": ["", "'d '"],
    "split": ["", "'o'", "none, 1", "' ', 1", "maxsplit=1", "sep='l', maxsplit=2", "'l', 0", "''", "1"],
    "splitlines": ["", "true", "keepends=true"],
    "startswith": ["'H'", "('x', 'He')", "'W', 6", "'', 99"],
    "strip": ["", "'Hd'", "1"],
    "translate": ["{72: 'J', 101: none, 108: 49}", "{}", "'abc'"],
    "zfill": ["15", "6", "-1"],
    "get": ["'a'", "'z'", "'z', 9", "missing", "[1]", "'a', default=1"],
    "fromkeys": ["'ab'", "words, 0"],
    "copy": [""],
    "isdisjoint": ["['a']", "[]"],
}
# Jinja2 gives another text each time, or one that holds an address.
SKIPPED = {"lipsum", "random"}
OPERANDS = ["s", "''", "words", "()", "(1, 'a')", "d", "i", "-7", "0", "f", "2.0", "true", "none", "missing", "h|safe"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]


def expressions():
    for name in sorted(jinja2.filters.FILTERS.keys() - SKIPPED):
        for value in VALUES:
            yield f"{value} | {name}"
        for value, arguments in itertools.product(FEW, ARGUMENTS[1:]):
            yield f"{value} | {name}({arguments})"
        for value, arguments in itertools.product(["s", "words", "numbers", "messages", "d", "long", "f"], KEYWORDS.get(name, [])):
            yield f"{value} | {name}({arguments})"
    for name in sorted(jinja2.tests.TESTS):
        if name.isidentifier():
            for value in [*VALUES, "s.upper", "cycler(1)", "joiner()", "namespace()", "d.items()", "words|map('upper')"]:
                yield f"{value} is {name}"
            for value, arguments in itertools.product(["s", "i", "words", "none"], ["3", "'a'", "words", "none", "'Hello World'", "42"]):
                yield f"{value} is {name}({arguments})"
                yield f"{value} is not {name} {arguments}" if arguments == "3" else f"[1, 42, 'a'] | select('{name}', {arguments}) | list"
        else:
            yield f"numbers | select('{name}', 2) | list"
    samples = {"s": "", "t": "", "u": "", "h|safe": "", "words": "", "(1, 'a', 1)": "", "d": "", "i": "", "f": "", "true": "", "range(5)": ""}
    for value in samples:
        kind = type(ENVIRONMENT.compile_expression(value, undefined_to_none=False)(**VARIABLES))
        for name in sorted(dir(kind)):
            if name.startswith("_"):
                continue
            yield f"({value}).{name} is defined"
            yield f"({value}).{name} is callable"
            for arguments in METHODS.get(name, ["", "1"] if value in ("s", "d", "i") else [""]):
                yield f"({value}).{name}({arguments})"
        yield f"({value}).__class__"
        yield f"({value})['upper'] is defined"
        yield f"({value}).nope"
        yield f"({value}).nope.nope"
    for left, operator, right in itertools.product(OPERANDS, BINARY, OPERANDS):
        yield f"{left} {operator} {right}"
    for value in [*VALUES, "words | map('upper') | list", "d.items() | list", "d.keys()", "namespace(a=1, b='x')", "dict(a=1)"]:
        yield value
        yield f"not {value}"
        yield f"-({value})"
        yield f"+({value})"
        yield f"[{value}]"
        yield f"{value} ~ '|' ~ ({value})"
        for item in ["0", "-1", "9", "'a'", "none", "1:", ":-1", "::-1", "::2", "-3:9", "5:1", "'x':", "::0", "missing", "true", "0.5"]:
            yield f"({value})[{item}]"
    for number in ["1.0", "0.1", "1e16", "1e15", "123456789012345678", "1e22", "1.5e-5", "0.0001", "1e-5", "-0.0", "1e308*10", "3.14159265358979",
                   "100000.0", "1/3", "2/2", "7//2", "-7//2", "7%3", "-7%3", "7%-3", "7.5//2", "-7.5%2", "2**10", "2**-1", "2**0.5", "10**20", "1_000",
                   "0x1F", "0b101", "0o17", "1_0.5", "00", "1.", "1e5", "1E5", "5 % 0", "5 / 0", "5 // 0.0", "0.1 + 0.2", "1e400", "(0.1*3)", "3 * 1.1"]:
        yield number
        yield f"({number}) | tojson"
        yield f"[{number}] | string"
    for text, values in [
        ("%s", "'x'"), ("%s", "none"), ("%s", "words"), ("%r", "'it\\'s'"), ("%a", "'\u00e9'"), ("%5s|", "'x'"), ("%-5s|", "'x'"), ("%.2s", "'abc'"),
        ("%d", "3.9"), ("%5d|", "42"), ("%-5d|", "42"), ("%05d", "-42"), ("%+d", "42"), ("% d", "42"), ("%x", "255"), ("%X", "255"), ("%#x", "255"),
        ("%o", "8"), ("%#o", "8"), ("%.4d", "42"), ("%8.4d|", "42"), ("%f", "1.5"), ("%.2f", "2.675"), ("%10.3f|", "3.14159"), ("%-10.1f|", "3.14159"),
        ("%e", "12345.678"), ("%.0e", "15"), ("%g", "0.00001234"), ("%g", "1e20"), ("%G", "1e-10"), ("%.3g", "1234.5"), ("%#g", "1.0"), ("%g", "100000"),
        ("%g", "1000000"), ("%c", "65"), ("%c", "'x'"), ("%c", "'xy'"), ("%%", "()"), ("%s %s", "(1, 2)"), ("%s", "(1, 2)"), ("%s %s", "1"), ("x", "1"),
        ("x", "()"), ("x", "{}"), ("x", "[1]"), ("%(a)s", "{'a': 1}"), ("%(a)s %(b)05.1f", "{'a': 1, 'b': 2}"), ("%(z)s", "{'a': 1}"), ("%*d|", "(5, 42)"),
        ("%-*d|", "(5, 42)"), ("%.*f", "(1, 2.55)"), ("%d", "'1'"), ("%d", "true"), ("%i", "7"), ("%u", "-7"), ("%y", "1"), ("%", "1"), ("%5%|", "()"),
        ("%ld", "5"), ("%s", "1e20"), ("%d", "none"), ("%f", "'x'"), ("%x", "1.5"), ("%s", "missing"), ("%d", "missing"), ("%08.3f", "-3.14159"),
        ("%+.1e", "0"), ("%s|%s", "('a', none)"), ("%(a)s", "1"), ("%03d:%02d", "(7, 5)"),
    ]:
        yield f"{text!r} % {values}"
        yield f"{text!r} | format({values})"
    for text, arguments in [
        ("{}", "1"), ("{} {}", "1, 2"), ("{1} {0}", "1, 2"), ("{a}", "a=1"), ("{0.role}", "messages[0]"), ("{0[role]}", "messages[0]"), ("{0[1]}", "words"),
        ("{:>5}|", "'x'"), ("{:<5}|", "'x'"), ("{:^5}|", "'x'"), ("{:*^7}", "'x'"), ("{:5}|", "42"), ("{:05}", "42"), ("{:05}", "-42"), ("{:,}", "1234567"),
        ("{:_}", "1234567"), ("{:+}", "5"), ("{: }", "5"), ("{:x}", "255"), ("{:#x}", "255"), ("{:#b}", "5"), ("{:o}", "8"), ("{:X}", "255"), ("{:c}", "65"),
        ("{:.2f}", "2.675"), ("{:10.2f}|", "3.14159"), ("{:<10.2f}|", "3.14159"), ("{:e}", "12345.678"), ("{:g}", "1e20"), ("{:%}", "0.256"), ("{:.1%}", "0.256"),
        ("{:,.2f}", "1234567.891"), ("{:.3}", "3.14159"), ("{:.3}", "1234.5"), ("{}", "1e20"), ("{:f}", "1"), ("{!r}", "'x'"), ("{!s:>4}|", "1"), ("{!a}", "'\u00e9'"),
        ("{{}}", ""), ("{", ""), ("}", ""), ("{}", ""), ("{0} {}", "1"), ("{:{}}|", "'x', 4"), ("{:{w}}|", "'x', w=4"), ("{:d}", "'x'"), ("{:s}", "1"), ("{:s}", "'x'"),
        ("{:.2}", "'abc'"), ("{:=5}", "'x'"), ("{:5}", "none"), ("{}", "none"), ("{:}", "[1]"), ("{:5}", "[1]"), ("{0.__class__}", "1"), ("{x.y}", "x=1"), ("{:08,}", "1234"),
        ("{:=+8}", "42"), ("{:n}", "42"), ("{:G}", "1e-10"), ("{:.0f}", "0.5"), ("{:.0f}", "1.5"), ("{:#.0f}", "1.5"), ("{:5}|", "true"), ("{}", "true"), ("{:d}", "true"),
        ("{:z.1f}", "-0.01"), ("{:.2q}", "1.0"), ("{!x}", "1"), ("{0[a]}", "d"), ("{:010.3f}", "-3.14159"), ("{:>>3}", "1"), ("{a[b}", "a=1"),
    ]:
        yield f"{text!r}.format({arguments})"
    for call in [
        "range(3)", "range(3) | list", "range(1, 4) | list", "range(5, 0, -2) | list", "range(0) | list", "range(100001)", "range('a')", "range()", "range(1, 2, 0)",
        "range(10)[2]", "range(10)[1:3]", "range(10)[::-2] | list", "3 in range(5)", "3.0 in range(5)", "'a' in range(5)", "range(3) | length", "range(3) == range(0, 3)",
        "dict()", "dict(a=1, b=2)", "dict([('a', 1)])", "dict({'a': 1}, b=2)", "dict(1)", "dict([1])", "dict.fromkeys('ab')", "dict.fromkeys('ab', 1)", "dict.nope",
        "namespace()", "namespace(a=1).a", "namespace({'a': 1}).a", "namespace(a=1).b", "namespace(_a=1)", "namespace(a=1)['a']", "namespace(__class__=1)",
        "cycler(1, 2).next()", "cycler(1, 2).current", "cycler()", "cycler(1).pos", "cycler(1, 2).items", "joiner()()", "joiner('x').sep", "joiner(sep='x').used",
        "raise_exception('no')", "raise_exception()", "raise_exception(1)", "strftime_now('') == ''", "strftime_now(1)", "strftime_now()", "strftime_now('%Y')|length",
        "nope()", "missing.x", "missing.x.y", "missing['x']", "missing()", "missing + 1", "none.x", "none['x']", "none()", "i.x", "i()", "s.upper", "s.upper.x is defined",
        "s['upper']()", "d.items", "d['items']", "d['keys']() | list", "d.get", "d.a", "d['a']", "d.zzz", "d[1]", "d[[1]]", "messages.0.role", "messages[0]['role']", "words.1",
        "words.x", "words.append", "words.append(1)", "d.update({})", "d.pop", "d.pop('a')", "one__", "self", "self.x", "super", "super()", "loop", "loop.index", "caller", "caller()",
        "varargs", "kwargs", "true", "True", "TRUE", "none is none", "None", "nil", "1 if false", "(1 if false) is defined", "1 if true else 2", "'a' 'b'", "'a' \"b\" 'c'",
        "'a' if s else 'b' if t else 'c'", "1 < 2 < 3", "1 < 3 < 2", "1 == 1.0 == true", "not 1 == 2", "not not 1", "2 ** 3 ** 2", "-2 ** 2", "-1 | abs", "(-1) | abs", "2 + 3 * 4",
        "2 ~ 3 + 4", "1 + 2 ~ 3", "'a' ~ 1.0 ~ none ~ true", "1 and 2", "0 or 'x'", "none or [] or {}", "1 in [1.0]", "true in [1]", "'' in ''", "'a' in 'abc'", "1 in 'abc'",
        "1 in none", "1 in 5", "none in d", "[1] in d", "(1,)", "(1, 2)", "()", "[1, 2,]", "{'a': 1,}", "{1: 2, 1.0: 3, true: 4}", "{none: 1}", "{none: 1} | tojson", "{(1, 2): 3}",
        "{[1]: 2}", "{'a': 1} == {'a': 1.0}", "[1, 2] == (1, 2)", "[1, 2] < [1, 3]", "[1, 'a'] < [1, 2]", "(1, 2) < (1,)", "'a' < 1", "none < 1", "missing < 1", "1 < missing",
        "missing == missing", "missing == none", "missing != 1", "missing ~ 'x'", "missing | length", "missing | first", "missing | last", "missing | items | list", "missing | list",
        "missing | tojson", "missing | int", "missing | default('x')", "missing | e", "'x' * -1", "[1] * 0", "2 * 'ab'", "'a' * 1.0", "none | upper", "[1, [2]] | string",
        "'it\\'s'", "\"it's\"", "['it\\'s']", "['\"']", "['\\'\"']", "['\\n\\t\\\\']", "['\\x00\\x7f\\xa0\\u200b']", "['\u00e9\U0001f600']", "'\\a\\b\\f\\v' | list", "'\\101\\60'", "'\\x41\\u00e9\\U0001F600'",
        "'\\q\\''", "'a\\\nb'", "'\\xZZ'", "'\\u12'", "'\u00e9\\n'", "'\\\u00e9'", "'it''s'", "\"a\\\"b\"", "'\\1234'", "'\\777'", "'a\nb'",
        "words | map('nope') | list", "words | nope", "words is nope", "1 if true else (words | nope)", "s | upper | lower | title", "s is string and i is number", "i is divisibleby 7", "i is divisibleby(5)",
        "i is eq 42", "i is not none", "i is sameas 42", "none is sameas none", "s is in ['Hello World']", "'a' is in 'abc'", "'upper' is filter", "'x' is filter", "'odd' is test", "[] is filter", "5 is odd",
        "5.0 is odd", "'a' is odd", "'%d' is odd", "none is iterable", "missing is iterable", "i is iterable", "'a' is sequence", "{} is sequence", "d.items() is sequence", "range(2) is sequence", "words | map('upper') is iterable",
        "words | batch(2) | list", "words | batch(2) | length", "words | reverse | list", "'abc' | reverse", "words | reverse | first", "d | reverse | list", "words | unique | list", "words | sort", "words | map('upper') | join",
        "words | select('in', 'abc') | list", "words | groupby(0) | list", "(messages | groupby('role'))[0].grouper", "(messages | groupby('role'))[0].list | length", "numbers | sort", "numbers | sum", "numbers | max", "[] | max", "[] | sum",
        "['a'] | sum", "[[1], [2]] | sum(start=[])", "messages | map(attribute='role') | list", "messages | map(attribute='content') | map('upper') | join(', ')", "messages | selectattr('n', 'gt', 2) | map(attribute='role') | list",
        "messages | rejectattr('role', 'equalto', 'user') | list | length", "d | dictsort", "d | items | list", "d | list", "d | length", "d | first", "d | last", "d | join", "d.items() | list", "d.keys() | list", "d.values() | list",
        "d.items() | first", "d.keys() == d.keys()", "'b' in d.keys()", "(1, 2) + (3,)", "[1] + [2]", "[1] + (2,)", "'a' + 1", "1 + 'a'", "d.items()[0]", "range(3)[5] is defined", "h | e", "h | safe | e", "h | e | e", "h | forceescape",
        "(h | safe) + '<'", "'<' + (h | safe)", "(h | safe) ~ '<'", "'<b>' | safe | string", "'%s' % ('<' | safe)", "('%s' | safe) % '<'", "('<' | safe).join(['<', '>' | safe])", "('a' | safe).replace('a', '<')", "['<' | safe]", "('{}' | safe).format('<')",
        "('a b' | safe).split()", "'<' | safe == '<'", "h | striptags", "h | xmlattr", "{'a': 1, 'b': none, 'c<': '\"'} | xmlattr", "{'a b': 1} | xmlattr", "'a b/\u00e9?&' | urlencode", "{'a b': 'c&/'} | urlencode", "[('a', 1)] | urlencode",
        "1 | filesizeformat", "999 | filesizeformat", "1000 | filesizeformat", "123456789 | filesizeformat", "1024 | filesizeformat(true)", "1e30 | filesizeformat", "'x' | filesizeformat", "2.5 | round", "3.5 | round", "2.675 | round(2)", "1234 | round(-2)",
        "1250 | round(-2)", "1350 | round(-2)", "2.1 | round(0, 'ceil')", "2.9 | round(0, 'floor')", "2.155 | round(2, 'ceil')", "5 | round", "true | round", "1e300 | int", "'1e3' | int", "'0x1f' | int(0, 16)", "'0x1f' | int(base=0)", "' 12 ' | int", "'1_000' | int",
        "'12abc' | int", "'inf' | float", "'nan' | float", "'nan' | int", "'inf' | int", "('inf' | float) | int", "'1_0.5' | float", "'\u0663' | int", "[] | int", "none | int", "none | float", "d | pprint", "nested | pprint", "[long, words] | pprint", "{'k': messages, 'l': long} | pprint", "long | pprint",
        "[1, 2] | random in [1, 2]", "[5] | random", "[] | random", "s | wordcount", "u | wordcount", "'don\\'t stop' | title", "'don\\'t stop'.title()", "'hello-world (foo) {bar} [baz] <qux>' | title", "u | title", "u | capitalize", "u | upper", "u.casefold()", "u.swapcase()", "'\u0130'.lower() | length",
        "'\x1c\x1f a \x1c'.split()", "'a\x0bb\x0cc\x1cd\x85e\u2028f'.splitlines()", "'\x1fa\x1c' | trim", "'a\\r\\nb\\rc\\n'.splitlines()", "'a\\nb' | indent", "'a\\n\\nb' | indent(2, true, true)", "'\u00bd\u2160\u4e94'.isnumeric()", "'\u00b2'.isdigit()", "'\u0663'.isdecimal()", "'\u00aa'.isalpha()", "'\u01c5'.istitle()",
        "s.encode()", "s.encode().decode()", "s.encode()[0]", "'\u00e9'.encode()", "s.encode('ascii') | length", "i.bit_length()", "i.real", "i.numerator", "f.is_integer()", "2.0.is_integer()", "f.as_integer_ratio()", "0.5.as_integer_ratio()", "true.real",
        "{'__class__': 1}.__class__", "{'__class__': 1}['__class__']", "{'__x__': 1}.__x__", "{'update': 1}.update", "{'update': 1}['update']", "{'pop': 1}.pop is defined",
    ]:
        yield call


def templates():
    yield from [
        "{% for x in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
        "{% for c in 'ab\u00e9' %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ c }} {% endfor %}",
        "{% for x in words %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
        "{% for x in words %}{{ loop.cycle('odd', 'even') }} {{ loop.changed(x | lower) }} {% endfor %}",
        "{% for x in words %}{{ loop }}{% endfor %}", "{% for x in [] %}a{% else %}b{% endfor %}", "{% for x in words %}{% continue %}{% else %}b{% endfor %}",
        "{% for x in words %}{% if loop.index == 2 %}{% break %}{% endif %}{{ x }}{% else %}b{% endfor %}", "{% for x in none %}{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}",
        "{% for x in 5 %}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d %}{% endfor %}", "{% for a, b in ['xy', [1, 2]] %}{{ a }}{{ b }}{% endfor %}",
        "{% for a, b in [[1]] %}{% endfor %}", "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for x in words if x > 'B' %}{{ x }}{{ loop.index }}{{ loop.length }}{{ loop.last }} {% endfor %}",
        "{% for x in words if x == 'zz' %}a{% else %}none{% endfor %}", "{% for m in messages recursive %}{{ m.role }}{% if m.n == 3 %}{{ loop([{'role': 'inner', 'n': 1}]) }}{{ loop.depth }}{% endif %}{% endfor %}",
        "{% for x in nested recursive %}[{% if x is iterable and x is not string and x is not mapping %}{{ loop(x) }}{% else %}{{ x }}{{ loop.depth0 }}{% endif %}]{% endfor %}", "{% for x in [1] %}{{ loop([2]) }}{% endfor %}",
        "{% for loop in [1] %}{% endfor %}", "{% for x in [1] %}{% set loop = 1 %}{% endfor %}", "{% for x in words %}{% for y in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
        "{% for x in [1, 2] %}{% set y = x %}{% endfor %}{{ y }}", "{% set y = 0 %}{% for x in [1, 2] %}{% set y = y + x %}{{ y }}{% endfor %}{{ y }}", "{% for x in [1, 2] %}{{ y }}{% set y = x %}{{ y }}{% endfor %}",
        "{% for x in [1] %}{{ s }}{% endfor %}{% set s = 'new' %}{{ s }}", "{{ s }}{% set s = 'new' %}{{ s }}", "{% if false %}{% set s = 'new' %}{% endif %}{{ s }}", "{% if true %}{% set q = 1 %}{% else %}{% set r = 2 %}{% endif %}{{ q }}{{ r }}",
        "{% set s %}a{{ s }}{% endset %}{{ s }}", "{% set x | upper %}a{{ s }}{% endset %}{{ x }}", "{% set x | length %}abc{% endset %}{{ x + 1 }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = 'xy' %}{{ a }}{{ b }}", "{% set a = 1, %}{{ a }}",
        "{% set ns = namespace(x=1) %}{% for y in [1, 2] %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}{{ ns }}", "{% set s.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}",
        "{% set ns = namespace() %}{{ ns.x is defined }}{{ ns.x }}", "{% set ns = namespace(items=1) %}{{ ns.items }}", "{% set true = 1 %}", "{% set 1 = 1 %}", "{% set x[0] = 1 %}",
        "{% macro m(a, b='B', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(a=1, c=2) }}{{ m() }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
        "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m }}{{ m.name }}{{ m.arguments }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m() %}{{ s }}{% set s = 'in' %}{{ s }}{% endmacro %}{{ m() }}{{ s }}",
        "{% for x in [1, 2] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}",
        "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{{ s }}{% endcall %}", "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=3) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}{% endmacro %}{% call m() %}{% endcall %}", "{% macro m() %}{{ caller is defined }}{{ caller() }}{% endmacro %}{{ m() }}",
        "{% call s.upper() %}{% endcall %}", "{% call range(3) %}{% endcall %}", "{% macro loop_in() %}{% for x in [1] %}{{ loop.index }}{% endfor %}{% endmacro %}{{ loop_in() }}", "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}aXa{% endfilter %}", "{% filter length %}abc{% endfilter %}",
        "{% with a = 1, b = s %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with a = 1, b = a %}{{ b }}{% endwith %}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}", "{% autoescape true %}{{ h }}{{ h | safe }}<{{ '<' ~ (h | safe) }}{% endautoescape %}{{ h }}", "{% autoescape false %}{{ h }}{% endautoescape %}",
        "{% block b %}x{{ s }}{% endblock %}{{ self.b() }}", "{% block b %}{{ super() }}{% endblock %}", "{% set x = 1 %}{% block b %}{{ x }}{% endblock %}", "{% for x in [1, 2] %}{% block b scoped %}{{ x }}{% endblock %}{% endfor %}", "{% for x in [1] %}{% block b %}{{ x }}{% endblock %}{% endfor %}", "{% block b required %}{% endblock %}", "{% block b %}{% endblock %}{% block b %}{% endblock %}",
        "{% generation %}a{{ s }}{% set q = 1 %}{% endgeneration %}{{ q }}", "{%- generation -%} a {%- endgeneration -%}\nb", "{% for x in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% set generation = 1 %}{{ generation }}", "{% print s, i %}", "{% print %}", "{% include 'x' %}", "{% include 'x' ignore missing %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% if false %}{% include 'x' %}{% endif %}ok",
        "{% do 1 %}", "{% nope %}", "{% if %}", "{% if 1 %}", "{% endif %}", "{% for %}", "{{", "{{ 1", "{{ 1 }", "{% raw %}", "{% raw %}x", "{#", "{# x #}y", "a {#- x -#} b", "{{ }}", "{{ 1 2 }}", "{{ 'a }}", "{{ (1 }}", "{{ [1 }}", "{{ a b }}", "{{ 1 + }}", "{{ | upper }}", "{{ s | }}", "{{ s. }}", "{{ s.1a }}", "{{ @ }}", "{{ $ }}", "{{ a! }}", "{{ s[] }}", "{{ f(a=1, a=2) }}", "{{ dict(a=1, a=2) }}", "{{ dict(**{'a': 1}) }}", "{{ dict(*[[('a', 1)]]) }}", "{{ dict(a=1, 2) }}", "{{ '%s-%s' | format(*[1, 2]) }}", "{{ s is defined is true }}", "{{ not }}", "{{ in }}", "{{ is }}", "{{ if }}", "{{ loop if loop is defined else 'no' }}",
        "  {% if 1 %}\n  a\n  {% endif %}\n  b", "  {%+ if 1 %}\n  a\n  {% endif +%}\n  b", "a\n  {%- if 1 -%}\n  b\n  {%- endif -%}\n  c", "{{ 1 }}\n{{ 2 -}}\n  3", "  {{- 1 -}}  ", "a\n\n{# c #}\n\nb", "  {# c #}\nb", "x  {# c #}\nb", "{% raw %}\n{{ x }}\n{% endraw %}\ny", "  {% raw %}  a  {% endraw %}  b", "{%- raw -%}  a  {%- endraw -%}  b", "{% raw -%}\n a {% endraw +%}\nb", "a\r\nb\rc\n", "a\r\n{% if 1 %}\r\nb\r\n{% endif %}\r\nc\r\n", "a\n", "a\n\n", "\n", "", "{{ 'a\r\nb' }}", "{{ \"x\" -}}\n\n{%- set y = 1 %}\n{{ y }}",
        "{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}", "{% if missing %}a{% elif none %}b{% elif [] %}c{% else %}d{% endif %}", "{% if 1 -%} a {%- endif %}", "{% if s == 'x' or i > 3 and not none %}y{% endif %}", "{% if 1: %}a{% endif %}", "{% if (1, 2) %}a{% endif %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in (1, 2), %}{{ x }}{% endfor %}", "{%set x=1%}{{x}}", "{%-set x=1-%}{{-x-}}", "{{1}}{{2}}", "{{{'a':1}.a}}", "{{ {'a': {'b': 1}}.a.b }}", "{{ {'a': {'b': 1}} }}", "{%if 1%}{%endif%}x",
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}", "{% set g = words | map('upper') %}{{ g | list }}{{ g | list }}", "{% set g = words | map('upper') %}{% for x in g %}{{ loop.index }}{{ x }}{{ loop.last }}{% endfor %}", "{% set g = words | map('upper') %}{% for x in g %}{{ loop.length }}{{ x }}{% endfor %}", "{% for x in words | reverse %}{{ x }}{% endfor %}", "{% for k, v in d | dictsort %}{{ k }}{{ v }}{% endfor %}", "{% for x, y in words | batch(2, '-') %}{{ x }}{{ y }};{% endfor %}", "{% for g, l in messages | groupby('role') %}{{ g }}{{ l | length }}{% endfor %}", "{% for x in words %}{% if x == 'A' %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% break %}", "{% macro m() %}{% break %}{% endmacro %}",
        "{% set x = 1 if false %}{{ x is defined }}{{ x }}", "{{ words | map('lower') | map('upper') | sort | join }}", "{% set x = messages | map(attribute='role') | list %}{{ x }}", "{{ messages[::-1][0].role }}", "{{ messages[1:] | length }}", "{% set m = messages %}{% set m = m[1:] %}{{ m[0]['role'] }}", "{% for m in messages[:-1] %}{{ m.role }}{% endfor %}", "{{ ('a', 'b') | join }}{{ {'a': 1}.items() | list }}", "{{ messages | map(attribute='nope') | list }}", "{{ messages | map(attribute='nope', default='-') | list }}", "{{ messages | selectattr('nope') | list }}", "{{ messages | selectattr('nope', 'defined') | list }}", "{{ s | default }}", "{{ messages[5].role }}", "{{ messages[5] is defined }}", "{{ (messages[5] | default({})).role }}",
    ]


def times():
    """Every directive of C's strftime with its flags, at days where weeks, years and halves of the day turn."""
    days = ["2026-11-28 09:05:03", "2021-01-03 00:00:00", "2024-12-30 13:00:09"]
    formats = [f"%{flag}{letter}" for letter in "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZf%" for flag in ["", "-", "_", "0", "^", "#"]
               if not (flag and letter in "zZf%nt")]
    formats += ["%5d|", "%010Y", "%-5d|", "%Ey %Od", "%Q", "%", "100%", "%d %B %Y", "a%", "%5%", "%^10a|", "%E", "\u00e9 %Y"]
    for day, text in itertools.product(days, formats):
        yield [day, text, datetime.datetime.fromisoformat(day).strftime(text)]


def result(template):
    """What Jinja2 gives; `None` for a failure, and for what differs from run to run."""
    try:
        # A copy: `list | indent` changes the list.
        text = ENVIRONMENT.from_string(template).render(**copy.deepcopy(VARIABLES))
        text.encode()
    except Exception:
        return None
    return () if " at 0x" in text else text


def main():
    everything = "--all" in sys.argv
    golden = {"variables": VARIABLES, "expressions": [], "failing": [], "templates": [], "failing templates": [], "times": list(times())}
    for expression in dict.fromkeys(expressions()):
        text = result(f"{{{{ {expression} }}}}")
        if text is None:
            golden["failing"].append(expression)
        elif text != () and (everything or len(text) < 150):
            golden["expressions"].append([expression, text])
    for template in dict.fromkeys(templates()):
        text = result(template)
        if text is None:
            golden["failing templates"].append(template)
        elif text != ():
            golden["templates"].append([template, text])
    if not everything:
        # Most are wrong arguments, much alike.
        golden["failing"] = golden["failing"][::5]
    path = Path("target/expressions.json" if everything else "tests/templates/expressions.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")
    print(path, {name: len(entries) for name, entries in golden.items()}, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
