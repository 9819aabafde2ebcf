"""Nothing from outside controls a terminal, a comment or a CI log."""

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobform.model.change import Action, Change, FieldChange, Reason
from jobform.model.diagnostic import Diagnostic, Range, Severity
from jobform.model.event import Held, Observed
from jobform.model.state import Phase
from jobform.protocols import Screen
from jobform.views.escape import cells, ci_log, code, encodable, fenced, html_code, terminal
from jobform.views.human import HumanView
from jobform.views.markdown import MarkdownView
from jobform.views.mermaid import mermaid
from tests.views import samples

OWN_CODES = re.compile(r"\x1b\[(?:0|1|2|3[1-6])m")

WORST = "\x1b[2J\x9b\r\n\t\b\x07\u202e\u200b`|<>@#:/ a\ud800\u0301"

TOKENS = ["```", "````", "`", "\n", "::", "##[", "</details>", "|", "/merge", "\x1b[2J", "a", " "]

ANYTHING = (
    st.text(st.characters(), max_size=200) | st.text(st.sampled_from(WORST)) | st.lists(st.sampled_from(TOKENS)).map("".join)
)
"""Every character there is, lone surrogates too, and texts made of the worst ones only."""


def harmless(text: str) -> bool:
    """No control, format or surrogate character besides LF and our own colours."""
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in OWN_CODES.sub("", text).replace("\n", ""))


@pytest.mark.parametrize(("text", "shown"), [
    ("plain text", "plain text"),
    ("\x1b[2J", "\\x1b[2J"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("\x1b]8;;http://x\x1b\\", "\\x1b]8;;http://x\\x1b\\"),
    ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
    ("\x9b31m", "\\x9b31m"),
    ("safe\rEVIL", "safe\\x0dEVIL"),
    ("a\bb\x7f", "a\\x08b\\x7f"),
    ("a\tb", "a b"),
    ("a\nb", "a\\nb"),
    ("user\u202egnp.exe", "user\\u202egnp.exe"),
    ("\u2066x\u2069", "\\u2066x\\u2069"),
    ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
    ("tag\U000e0041", "tag\\U000e0041"),
    ("a\ufe0fb\u3164c", "a\\ufe0fb\\u3164c"),
    ("\ud800", "\\ud800"),
    ("line\u2028break\x85", "line\\u2028break\\x85"),
    ("é 日本 e\u0301", "é 日本 e\u0301"),
    ("z" + "\u0300" * 5, "z" + "\u0300" * 3 + "\\u0300\\u0300"),
    ("%s {0} [bold]", "%s {0} [bold]"),
])
def test_terminal(text: str, shown: str) -> None:
    assert terminal(text) == shown


@given(ANYTHING)
def test_terminal_text_is_harmless(text: str) -> None:
    assert harmless(terminal(text))
    assert "\n" not in terminal(text)
    assert harmless(terminal(text, multiline=True))


@given(ANYTHING, st.sampled_from(["ascii", "latin-1", "utf-8", None]))
def test_every_stream_can_carry_what_is_shown(text: str, encoding: str | None) -> None:
    encodable(terminal(text), encoding).encode(encoding or "ascii")


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("\uff46", 2), ("", 0)])
def test_cells(text: str, columns: int) -> None:
    assert cells(text) == columns


@pytest.mark.parametrize(("text", "shown"), [
    ("::error file=x::boo", "\\x3a:error file=x::boo"),
    ("  ::stop-commands::t", "  \\x3a:stop-commands::t"),
    ("ok\n::set-env name=A::b", "ok\n\\x3a:set-env name=A::b"),
    ("##vso[task.setvariable]x", "#\\x23vso[task.setvariable]x"),
    ("late ##[add-path]/tmp", "late #\\x23[add-path]/tmp"),
    ("##teamcity[x]", "#\\x23teamcity[x]"),
    ("/merge", " /merge"),
    ("a\n/approve", "a\n /approve"),
    ("a::b ## heading a/b", "a::b ## heading a/b"),
])
def test_ci_log(text: str, shown: str) -> None:
    assert ci_log(text) == shown


@given(ANYTHING)
def test_no_line_is_a_ci_command(text: str) -> None:
    for line in ci_log(terminal(text, multiline=True)).split("\n"):
        assert not line.strip().startswith("::")
        assert not re.search(r"##[A-Za-z]*\[", line)
        assert not re.match(r"/[A-Za-z]", line)


@given(ANYTHING)
def test_code_spans_and_blocks_cannot_be_left(text: str) -> None:
    span = code(text)
    fence = re.match(r"`+", span)
    assert fence
    inside = span[len(fence[0]):-len(fence[0])]
    assert span.endswith(fence[0])
    assert fence[0] not in re.findall(r"`+", inside)
    assert "\n" not in span
    block = fenced(text).split("\n")
    ticks = re.match(r"`+", block[0])
    assert ticks
    assert block[-1] == ""
    assert block[-2] == ticks[0]
    assert not any(ticks[0] in line for line in block[1:-2])


@given(ANYTHING)
def test_pipes_in_cells_and_tags_in_html(text: str) -> None:
    assert not re.search(r"(?<!\\)\|", code(text, cell=True))
    assert re.fullmatch(r"<code>[^<>]*</code>", html_code(text))


@pytest.mark.parametrize(("text", "fence"), [
    ("a", "```"), ("``", "```"), ("```\nout\n```", "````"), ("x ````` y", "``````"),
])
def test_a_fence_is_longer_than_any_inside(text: str, fence: str) -> None:
    assert fenced(text) == f"{fence}text\n{text}\n{fence}\n"


def test_a_label_cannot_end_itself_in_a_graph() -> None:
    shown = mermaid({'x"]; click n0 "javascript:alert(1)"\n%%': []}, {})
    assert shown.splitlines() == [
        "flowchart LR", '  n0["x#34;]#59; click n0 #34;javascript#58;alert#40;1#41;#34;#92;n#37;#37;"]',
    ]


ATTACKS = {
    "X01": "\x1b[2J\x1b]0;t\x07\x9b31m\rover\b\x07\x1b]8;;http://x\x07\x1b]52;c;aGk=\x07",
    "X02": "\u202egnp\u2066\u200b\ufeff" + "z" + "\u0300" * 40,
    "X04": "````\n</details></summary><script>alert(1)</script>![x](http://evil/p.png) @org/team #123 "
           "[a](javascript:alert(1)) |x|",
    "X05": "/merge\n/approve\natlantis apply",
    "X06": "::error file=x::y\n::set-env name=A::b\n##vso[task.setvariable variable=A]b\n::stop-commands::t",
    "X10": "%s %d {0} {x!r} [bold]b[/bold] ${HOME}",
    "surrogate": "\ud800\udfff",
}


def attacked(text: str) -> tuple[Change, Diagnostic]:
    """The text wherever text can come from outside."""
    where = Range(text, 1, 1, 1, 4)
    field = FieldChange(text, text, [text, {text: text}], class_="result", reason=text, range=where)
    change = Change(
        text, Action.DELETE, Reason.REMOVED, text, fields=(field,), after=(text,), detail=text, hint=text, source=text,
        range=where,
    )
    return change, Diagnostic(Severity.ERROR, text, text, text, text, where, text, text)


def everything_shown(view: HumanView | MarkdownView, text: str) -> str:
    change, diagnostic = attacked(text)
    plan = samples.plan(change, project=text, target=text, diagnostics=(diagnostic,), notes={text: text}, digest=text)
    return "\n".join([
        view.plan(plan), view.diagnostics([diagnostic]), view.event(Held(text, samples.STARTED, text, text)),
        view.event(Observed(text, 1, samples.STARTED, Phase.FAILED, text, text, text)), view.outputs({text: text}),
    ])


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_attack_reaches_a_terminal_or_a_ci_log(attack: str, encoding: str) -> None:
    screen = Screen(io.TextIOWrapper(io.BytesIO(), encoding=encoding), colour=True)
    shown = everything_shown(HumanView(screen), ATTACKS[attack])
    assert harmless(shown)
    shown.encode(encoding)
    for line in OWN_CODES.sub("", shown).split("\n"):
        assert not line.strip().startswith("::")
        assert not re.search(r"##[A-Za-z]*\[", line)
        assert not re.match(r"/[A-Za-z]", line)


@given(ANYTHING)
def test_whatever_is_shown_has_no_control_character(text: str) -> None:
    screen = Screen(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), colour=True)
    assert harmless(everything_shown(HumanView(screen), text))


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_leaves_code_in_markdown(attack: str) -> None:
    screen = Screen(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    change, diagnostic = attacked(ATTACKS[attack])
    view = MarkdownView(screen)
    plan = samples.plan(change, project=ATTACKS[attack], target="x", diagnostics=(diagnostic,), notes={"a": ATTACKS[attack]})
    shown = view.plan(plan) + "\n" + view.diagnostics([diagnostic])
    assert harmless(shown)
    marker, _, visible = shown.partition("\n")
    assert re.fullmatch(r"<!-- jobform:plan [A-Za-z0-9._%-]+/x -->", marker)
    assert "--" not in marker.removeprefix("<!--").removesuffix("-->")
    outside = _outside_of_code(visible)
    for danger in ("script", "@org", "#123", "javascript", "/merge", "evil", "::", "##vso", "atlantis"):
        assert danger not in outside
    assert outside.count("<details>") == outside.count("</details>") == outside.count("</summary>")


def _outside_of_code(markdown: str) -> str:
    """What a Markdown reader would interpret: everything but code blocks, code spans and code elements."""
    kept, fence = [], ""
    for line in markdown.split("\n"):
        ticks = re.match(r"`{3,}(?=[a-z]*$)", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks[0]
        else:
            kept.append(line)
    assert not fence
    text = "\n".join(kept)
    text = re.sub(r"<code>[^<]*</code>", "", text)
    return re.sub(r"(?<!`)(`+)(?!`)(?:(?!\1).|(?<=`)\1(?=`))*?(?<!`)\1(?!`)", "", text)
