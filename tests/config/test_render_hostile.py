"""Templates that try to get out, to grow or to run for ever: each is one problem, at once, and nothing is evaluated."""

import time
import tracemalloc

import pytest

from jobform.config.problem import Problem
from jobform.config.render import Renderer, resolve
from jobform.model.values import Json

ESCAPES = [
    "{{ ''.__class__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ var.n.__class__.__base__ }}",
    "{{ ''['__class__'] }}", "{{ [].append(1) }}", "{{ var.list.append(1) }}", "{{ var.map.update({'a': 1}) }}",
    "{{ var.map.items() }}", "{{ ''.join(['a']) }}", "{{ cycler.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ lipsum.__globals__ }}", "{{ lipsum() }}", "{{ joiner() }}",
    "{{ namespace(a=1) }}", "{{ range(10) }}", "{{ dict(a=1) }}", "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}", "{{ self }}", "{{ super() }}", "{{ caller() }}", "{{ loop }}", "{{ varargs }}",
    "{{ kwargs }}", "{{ config }}", "{{ request }}", "{{ ''|attr('__class__') }}", "{{ var.map|attr('items') }}",
    "{{ 'a'|attr('format') }}", "{{ '{0.__class__}'.format(1) }}", "{{ '{x}'.format_map({'x': 1}) }}", "{{ '%s'|format(1) }}",
    "{{ '%(x)s' % {'x': 1} }}", "{% set f = '{0.__class__}'.format %}{{ f(1) }}", "{{ ('{0.__class__}'.format)(1) }}",
    "{{ ['{0.__class__}'.format]|map('__call__')|list }}", "{{ var.list|map('attr', '__class__')|list }}",
    "{{ var.list|map(attribute='__class__') }}", "{{ var.list|select('callable') }}", "{{ var.list|groupby('__class__') }}",
    "{{ var.map|xmlattr }}", "{{ 'a'|urlize }}", "{{ var.map|pprint }}", "{{ var.list|random }}", "{{ var.list|batch(2) }}",
    "{{ 'a'|safe }}", "{{ 'a'|e }}", "{{ 'a'|string.__class__ }}", "{{ secret.__class__ }}", "{{ secret._call }}",
    "{{ file.__globals__ }}", "{{ secret }}", "{{ secret(*['A']) }}", "{{ secret(**{'name': 'A'}) }}", "{{ secret(name='A') }}",
    "{{ secret('A', 'B') }}", "{{ secret() }}", "{{ secret('A' ~ 'B') }}", "{{ file('a')('b') }}", "{{ (secret)('A')('B') }}",
    "{% for x in [1, 2] %}{{ x }}{% endfor %}", "{% for k in var.map %}{{ k }}{% endfor %}", "{% set x = 1 %}",
    "{% set x %}a{% endset %}", "{% macro m() %}a{% endmacro %}", "{% call m() %}a{% endcall %}",
    "{% filter upper %}a{% endfilter %}", "{% include '/etc/passwd' %}", "{% import 'x' as y %}", "{% from 'x' import y %}",
    "{% extends 'x' %}", "{% block a %}{% endblock %}", "{% with a = 1 %}{% endwith %}", "{% do var.list.append(1) %}",
    "{% autoescape true %}{% endautoescape %}", "{% if ''.__class__ %}a{% endif %}", "{% debug %}",
    "{% if true %}{% for x in [1] %}{% endfor %}{% endif %}", "{% if true %}{{ cycler }}{% endif %}",
    "{% trans %}a{% endtrans %}", "{{ environment }}", "{{ context }}", "{{ __builtins__ }}", "{{ var.__dict__ }}",
    "{{ var['__class__'] }}", "{{ matrix.__len__ }}", "{{ 'a' is callable }}", "{{ 'a' is sameas('a') }}",
    "{{ 'upper' is filter }}", "{{ var.list|tojson|attr('x') }}", "{{ True.real }}", "{{ 1 .real }}",
    "{{ var.list|join(attribute='__class__') }}", "{{ var.list|sort(attribute='__class__') }}",
    "{{ [{}]|map(attribute='items') }}", "{{ [{}]|map(attribute='__class__.__mro__') }}",
]
GROWTH = [
    "{{ 10 ** 10 ** 9 }}", "{{ 10 ** (10 ** 9) }}", "{{ 'a' * 10 ** 9 }}", "{{ 'a' * 1000000000 }}", "{{ 1000000000 * 'a' }}",
    "{{ ['a'] * 100000000 }}", "{{ [1] * 2 }}", "{{ '%1000000000d' % 1 }}", "{{ '%1000000000d' is even }}",
    "{{ '%1000000000d' is divisibleby 3 }}", "{{ 'a'|center(1000000000) }}", "{{ 'a'|indent(1000000000) }}",
    "{{ 'a'|ljust(10) }}", "{{ 'a'|wordwrap(1) }}", "{{ lipsum(n=100000) }}",
    "{{ " + "*".join(["9223372036854775807"] * 40) + " }}", "{{ " + "9" * 5000 + " }}", "{{ " + "9" * 4000 + " }}",
    "{{ 1e999 }}", "{{ -1e999 }}", "{{ 1e308 * 10 }}", "{{ " + "(" * 5000 + " }}", "{{ " + "(" * 400 + "1" + ")" * 400 + " }}",
    "{{ " + "[" * 90 + "]" * 90 + " }}", "{{ " + "not " * 900 + "1 }}", "{{ " + "-" * 3000 + "1 }}",
    "{{ 1" + " + 1" * 900 + " }}", "{{ 1" + " < 2" * 1500 + " }}", "{{ " + "'a' if 1 else " * 200 + "'b' }}",
    "{{ var" + ".a" * 1500 + " }}", "{{ 1" + "|abs" * 900 + " }}", "{{ [" + "1, " * 3000 + "] }}",
    "{% if 1 %}" * 90 + "{% endif %}" * 90, "{% if 1 %}a" + "{% elif 2 %}b" * 3000 + "{% endif %}", "a{{ 1 }}" * 300,
    "{{ '" + "a" * 5000 + "' }}", "{{ var.long|replace('a', var.long) }}", "{{ [" + "var.long, " * 15 + "]|join(var.long) }}",
    "{{ [" + "var.long, " * 60 + "]|join }}", "{{ " + " ~ ".join(["var.long"] * 60) + " }}",
    "{{ var.long" + " + var.long" * 40 + " }}", "{{ [" + "var.long, " * 60 + "] }}", "x" * 70_000 + "{{ 1 }}",
    "{{ var.long|replace('', 'b') }}", "{{ var.wide + var.wide }}", "{% if true %}" + "{{ var.long }}" * 60 + "{% endif %}",
]
VARIABLES: dict[str, Json] = {"n": 1, "list": [1, 2], "map": {"a": 1}, "long": "a" * 40_000, "wide": [0] * 60_000}


def problems_of(text: str) -> list[Problem]:
    problems: list[Problem] = []
    Renderer(VARIABLES, (), None, lambda path: "text", ["prep"]).render(text, {}, problems.append)
    return problems


@pytest.mark.parametrize("text", ESCAPES)
def test_nothing_gets_out(text: str) -> None:
    found = problems_of(text)
    assert found
    assert "<" not in " ".join(problem.summary for problem in found), "no object is ever shown"


@pytest.mark.parametrize("text", GROWTH, ids=[text[:40] for text in GROWTH])
def test_nothing_grows_or_takes_long(text: str) -> None:
    tracemalloc.start()
    try:
        start = time.process_time()
        found = problems_of(text)
        took, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found
    assert took < 30
    assert peak < 64_000_000


@pytest.mark.parametrize("text", [*ESCAPES, *GROWTH], ids=lambda text: text[:40])
def test_the_same_holds_at_submission_where_the_text_comes_from_a_file(text: str) -> None:
    known: dict[str, Json] = {f"var.{name}": value for name, value in VARIABLES.items()}
    result = resolve({"expr": text, "with": known}, {}, lambda name: "hunter2!")
    assert result.problems
    assert "hunter2!" not in repr(result)


def test_variables_cannot_be_changed() -> None:
    before = repr(VARIABLES)
    for text in ESCAPES:
        problems_of(text)
    assert repr(VARIABLES) == before


def test_deep_calls_around_rendering_are_no_traceback() -> None:
    """A caller that is itself deep leaves little room: the limit is met as a problem, not as RecursionError."""
    def down(depth: int) -> list[Problem]:
        return down(depth - 1) if depth else problems_of("{{ " + "(" * 45 + "4242 + 1" + ")" * 45 + " }}")

    for depth in (0, 300, 600):
        assert all("Recursion" not in problem.summary for problem in down(depth))


@pytest.mark.parametrize("text", [
    "{{" + " " * 60_000 + "}}", "{{ '" + "\\" * 60_000 + " }}", "{% raw %}" * 7000, "{#" * 30_000, "{{ 'a" * 10_000,
    "{%- " * 16_000, "}}" * 30_000, "{% raw %}" + "{% " * 20_000, "{{ 1_" + "1_" * 2000 + "1 }}",
    "{{ 1" + "1" * 3000 + ".e }}", "{{ " + '"\\' * 2000 + " }}", "{" * 65_000,
    "\n" * 60_000 + "{{ x", "{{ x }}" + " \n" * 30_000 + "{%- if x %}", "{% if x " * 8000, "{{ a|" * 10_000,
], ids=lambda text: text[:20])
def test_cutting_takes_time_in_proportion_to_the_text(text: str) -> None:
    start = time.process_time()
    problems_of(text)
    assert time.process_time() - start < 30
