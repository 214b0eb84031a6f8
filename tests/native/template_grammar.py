"""Random chat templates from a grammar of kinds, so that most of them can be rendered.

Knows nothing about who renders them; one seed gives one template for ever.
"""

from __future__ import annotations

import random

ATOMS = {
    "text": [
        "x", "'a'", "'b c'", "''", "'é👍'", "\"it's\"", "'\\n x '", "'A-b'", "'a,b,,c'", "'<&>'", "messages[0].role",
        "'ß'", "messages | map(attribute='role') | join(',')", "'%s' % n", "'Où?'",
    ],
    "number": [
        "n", "1", "0", "3", "-2", "2.5", "1e20", "0.1", "true", "loop.index", "loop.length", "7", "items | length",
    ],
    "list": [
        "items", "messages", "[1, 'a', none]", "range(4)", "'ab'", "[]", "[[1, 2], [3]]", "nested.values()", "(3, 1)",
        "nested",
    ],
    "dict": ["nested", "{'a': 1, 'b': [x]}", "{}", "messages[0]", "dict(k=n)", "{1: 'x', 'y': none}"],
    "flag": ["flag", "true", "false", "none", "nothing", "n", "x", "items", "loop.first", "loop.last", "x is defined"],
}  # fmt: skip
# What a value of one kind becomes; `@` is the value, words in capitals are values of their kind.
RULES = {
    "text": [
        "(@ ~ TEXT)", "(@ + TEXT)", "@ | upper", "@ | lower", "@ | title", "@ | capitalize", "@ | trim",
        "@ | trim('a ')", "@ | replace('a', 'é')", "@ | replace(TEXT, 'z', 1)", "@ | indent(2, true)", "@ | e",
        "@ | safe", "@ | center(7)", "@ | reverse", "@ | truncate(3, true, '', 0)", "(@).strip()", "(@).lstrip('a')",
        "(@).rstrip(' b')", "(@).title()", "(@).replace('a', TEXT)", "(@)[NUMBER | int:]", "(@)[::-1]", "(@)[:-1]",
        "(@)[1:3]", "(@).center(5, '*')", "@ | string", "(@ if FLAG else TEXT)", "(LIST) | join('-')", "(LIST) | join",
        "DICT | tojson", "LIST | list | tojson(indent=2)", "LIST | list | string", "(NUMBER) | string",
        "(NUMBER ~ DICT)", "(TEXT * 2)", "(@).split(',')[0]", "(@).zfill(4)", "(@ or TEXT)",
        "FLAG | default('d', true) | string", "nothing | d(TEXT)", "f(TEXT, NUMBER)", "(@).partition('-')[2]",
        "(@).removeprefix('a')", "'%s|%5s' % (@, NUMBER)", "'{}{}'.format(@, NUMBER)", "(@).swapcase()",
        "(LIST)[0] | string", "DICT.a | string", "(DICT).get('a', 5) | string", "(@) | wordcount | string",
        "TEST | string",
    ],
    "number": [
        "(@ + NUMBER)", "(@ - NUMBER)", "(@ * NUMBER)", "(@ / (NUMBER or 3))", "(@ // (NUMBER or 2))",
        "(@ % (NUMBER or 5))", "-@", "(@ ** 2)", "@ | abs", "@ | round", "@ | round(1)", "@ | int", "@ | float",
        "TEXT | length", "LIST | list | length", "TEXT | int", "TEXT | float(0.5)", "(TEXT).find('a')",
        "(TEXT).count('a')", "[NUMBER, @] | max", "[NUMBER, @] | min", "[@, 1] | sum", "(@ if FLAG else NUMBER)",
        "(@ and NUMBER)", "(TEXT).index('a')",
    ],
    "list": [
        "@ | list", "@ | list | reverse | list", "@ | sort", "@ | unique | list", "@ | map('string') | list",
        "@ | select | list", "@ | map('string') | map('upper')", "@ | reject('none') | list",
        "@ | select('string') | list", "@ | batch(2) | list", "@ | batch(2, 0) | list", "@ | list | slice(2) | list",
        "[TEXT, NUMBER]", "(@ | list + [TEXT])", "(@)[1:]", "(@)[::-1]", "(TEXT).split()", "(TEXT).split('a', 1)",
        "(TEXT).rsplit('-', 1)", "(TEXT).splitlines()", "DICT | items | list", "DICT | dictsort", "(DICT).items()",
        "(DICT).keys() | list", "messages | selectattr('role') | list", "[DICT, LIST]",
        "messages | rejectattr('content', 'none') | map(attribute='role') | list", "messages | groupby('role')",
        "(TEXT, FLAG)", "messages | sort(attribute='role')", "@ | sort(reverse=true)", "(TEXT).partition('a')",
        "@ | map('length') | list", "messages | selectattr('role', 'eq', 'user') | list", "(@ if FLAG else LIST)",
    ],
    "dict": ["{TEXT: NUMBER, 'k': LIST | list}", "dict(DICT, a=TEXT)", "(@ if FLAG else DICT)", "dict([('k', TEXT)])"],
    "flag": [
        "not @", "(@ and FLAG)", "(@ or FLAG)", "TEST", "NUMBER < NUMBER", "NUMBER >= NUMBER", "TEXT == TEXT",
        "TEXT < TEXT", "TEXT in TEXT", "TEXT not in (LIST)", "NUMBER in [1, 2]", "LIST == LIST", "1 < NUMBER <= 3",
        "(TEXT).startswith('a')", "(TEXT).endswith(('a', 'b'))", "(TEXT).isdigit()", "(TEXT).islower()",
        "TEXT in DICT", "NUMBER != TEXT", "loop.changed(TEXT)",
    ],
}  # fmt: skip
TESTS = [
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
    "iterable", "sequence", "callable", "eq 1", "in [1, 'a']", "lower", "upper", "ne none", "sameas true", "escaped",
    "not none",
]  # fmt: skip
SPACE = ["", "", " ", "\n", "  ", "\n  ", "\t", " \n\n "]
STATEMENTS = [
    "{{ TEXT }}", "{{ NUMBER }}", "{{ LIST }}", "{{ DICT }}", "{{ FLAG }}", "{{- TEXT -}}", "<% set x = TEXT %>",
    "é {# c #} text", "<% set n = NUMBER %>", "<% set items = LIST %>", "<% set x %>BODY<% endset %>",
    "<% if FLAG %>BODY<% endif %>", "<% if FLAG %>BODY<% elif FLAG %>BODY<% else %>BODY<% endif %>",
    "<% for i in LIST %>BODY{{ i }}<% endfor %>", "<% for x in LIST %>BODY<% else %>BODY<% endfor %>",
    "<% for i in LIST if FLAG %>{{ i }}BODY{{ loop.index }}<% endfor %>",
    "<% for k, v in (DICT).items() %>{{ k }}{{ loop.last }}BODY<% endfor %>", "<% set ns.v = TEXT %>{{ ns.v }}",
    "<% for i in LIST %>{{ loop.previtem }}{{ loop.nextitem }}<% if FLAG %><% continue %><% endif %>BODY<% endfor %>",
    "<% for i in LIST %>BODY<% if loop.index > 1 %><% break %><% endif %><% endfor %>",
    "<% raw %> {{ x }} <% endraw %>", "<% macro f(x, n=NUMBER) %>BODY{{ caller() if caller }}<% endmacro %>",
    "<% call f(TEXT) %>BODY<% endcall %>{{ f() }}", "<% filter upper | trim %>BODY<% endfilter %>",
    "<% with x = TEXT, q = NUMBER %>BODY{{ q }}<% endwith %>{{ q }}",
    "<% for i in [LIST, [NUMBER]] recursive %>{{ loop([i]) if loop.depth < 3 }}<% endfor %>",
    "<% set a, b = TEXT, NUMBER %>{{ a }}{{ b }}", "<% generation %>BODY<% endgeneration %>",
]  # fmt: skip
START = "{% set ns = namespace(v=1) %}{% macro f(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}"


class Grammar:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def template(self) -> str:
        return START + "".join(self.statement(2) for _ in range(self.random.randint(1, 4)))

    def value(self, kind: str, depth: int) -> str:
        if self.random.random() < 0.02:
            kind = self.random.choice(list(RULES))  # of another kind than is asked for
        if depth <= 0 or self.random.random() < 0.2:
            return self.random.choice(ATOMS[kind])
        rule = self.random.choice(RULES[kind])
        if "@" in rule:
            rule = rule.replace("@", self.value(kind, depth - 1))
        return self.fill(rule, depth - 1)

    def fill(self, rule: str, depth: int) -> str:
        for kind in RULES:
            while kind.upper() in rule:
                rule = rule.replace(kind.upper(), self.value(kind, depth), 1)
        while "TEST" in rule:
            test = f"({self.value(self.random.choice(list(RULES)), depth)}) is {self.random.choice(TESTS)}"
            rule = rule.replace("TEST", test, 1)
        return rule

    def statement(self, depth: int) -> str:
        form = self.random.choice(STATEMENTS[:8] if depth <= 0 else STATEMENTS)
        while "BODY" in form:
            form = form.replace("BODY", "".join(self.statement(depth - 1) for _ in range(self.random.randint(0, 2))), 1)
        while "<%" in form:
            form = form.replace("<%", "{%" + self.random.choice(["", "", "-", "+"]), 1)
            form = form.replace("%>", self.random.choice(["", "", "-"]) + "%}", 1)
        return self.random.choice(SPACE) + self.fill(form, 2) + self.random.choice(SPACE)
