"""Where secrets come from, which ones a spec needs, and how they are blanked."""

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobform.config.secrets import Masker, known_values, lookup, secret_names
from jobform.model.errors import InputError
from jobform.model.values import Json

CANARY = 'c4nary "ö/+ß\\ value'


def test_the_names_that_a_value_needs() -> None:
    value: Json = {
        "a": [{"expr": "x {{ secret('HF_TOKEN') }} {{ secret('OTHER') if var.n else 'x' }}", "with": {"var.n": 1}}],
        "b": {"expr": "{{ var.token }}-{{ var.n }}", "with": {"var.n": 1}},
        "c": {"expr": "{{ jobs.p.outputs.secret }} secret('NOT_THIS')", "with": {}},
        "d": "{{ secret('LITERAL_TEXT') }}",
        "e": {"expr": "{{ broken", "with": {}},
    }
    assert secret_names(value) == {"HF_TOKEN", "OTHER", "JOBFORM_VAR_token"}


def test_a_secret_comes_from_its_own_variable_and_from_nothing_else() -> None:
    find = lookup({"HF_TOKEN": "runner's own", "JOBFORM_SECRET_HF": "the value", "AWS_SECRET_ACCESS_KEY": "credentials"})
    assert find("HF") == "the value"
    assert find("HF_TOKEN") is None
    assert find("AWS_SECRET_ACCESS_KEY") is None
    assert find("hf") is None or find("hf") == "the value"


def test_sensitive_variables_have_their_own_prefix_in_either_case() -> None:
    find = lookup({"JOBFORM_VAR_token": "as written", "JOBFORM_VAR_OTHER": "upper case"})
    assert find("JOBFORM_VAR_token") == "as written"
    assert find("JOBFORM_VAR_other") == "upper case"


@pytest.mark.parametrize(("data", "value"), [
    (b"s3cr3t!\n", "s3cr3t!"), (b"s3cr3t!\r\n", "s3cr3t!"), (b"two\nlines\n\n", "two\nlines\n"), (b" spaces ", " spaces "),
])
def test_a_file_loses_its_last_line_break_only(tmp_path: Path, data: bytes, value: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(data)
    assert lookup({"JOBFORM_SECRET_A_FILE": str(file)})("A") == value


@pytest.mark.parametrize(("data", "sentence"), [
    (None, "JOBFORM_SECRET_A_FILE names a file that cannot be read: No such file or directory"),
    (b"\xff\xfe canary", "JOBFORM_SECRET_A_FILE names a file that is not UTF-8 text, or none at all"),
    (b"c" * (1 << 20) + b"anary", "JOBFORM_SECRET_A_FILE names a file of more than 1 MiB"),
    (b"canar\n", "JOBFORM_SECRET_A holds fewer than 6 characters"),
    (b"", "JOBFORM_SECRET_A holds fewer than 6 characters"),
])
def test_a_file_that_is_no_secret_is_named_and_not_shown(tmp_path: Path, data: bytes | None, sentence: str) -> None:
    file = tmp_path / "secret"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(InputError) as caught:
        lookup({"JOBFORM_SECRET_A_FILE": str(file)})("A")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.summary == sentence
    assert "canar" not in repr(diagnostic)
    assert caught.value.__cause__ is None


def test_everything_that_the_environment_holds_is_known(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("from a file\n")
    environ = {
        "JOBFORM_SECRET_A": "first value", "JOBFORM_SECRET_B_FILE": str(file), "JOBFORM_SECRET_SHORT": "abc",
        "JOBFORM_SECRET_GONE_FILE": str(tmp_path / "none"), "JOBFORM_VAR_token": "sensitive one",
        "JOBFORM_VAR_plain": "not a secret",
        "JOBFORM_VAR_OTHER_FILE": str(file), "HOME": "/root/home",
    }
    found = known_values(environ, ["token"])
    assert {"first value", "from a file", "sensitive one"} <= set(found)
    assert not {"abc", "not a secret", "/root/home"} & set(found)


FORMS = {
    "plain": CANARY,
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
    "basic credentials": base64.b64encode(f"user:{CANARY}".encode()).decode(),
    "inside base64": base64.b64encode(f"{{\"k\": \"{CANARY}\"}}".encode()).decode(),
    "URL": quote(CANARY), "URL, strict": quote(CANARY, safe=""), "form": quote_plus(CANARY),
    "URL, small hex": quote(CANARY, safe="").replace("%C3%B6", "%c3%b6").replace("%2F", "%2f").replace("%2B", "%2b")
    .replace("%C3%9F", "%c3%9f").replace("%5C", "%5c"),
    "JSON": json.dumps(CANARY), "JSON, not ASCII": json.dumps(CANARY, ensure_ascii=False),
    "hex": CANARY.encode().hex(), "HEX": CANARY.encode().hex().upper(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_blanked(form: str) -> None:
    masked = Masker([CANARY, "another secret"]).mask(f"before {FORMS[form]} after")
    assert masked.startswith("before ") and masked.endswith(" after")
    assert "***" in masked
    left = masked.replace("***", "").removeprefix("before ").removesuffix(" after")
    assert len(left) <= (len("user:") * 2 + 4 if "inside" not in form and "basic" not in form else 24)


def test_lines_of_a_secret_are_blanked_one_by_one() -> None:
    masker = Masker(["first line\nsecond line\nx\n"])
    assert masker.mask("log: second line\nlog: first line") == "log: ***\nlog: ***"


def test_the_longest_form_wins() -> None:
    assert Masker(["secret", "secret-and-more"]).mask("a secret-and-more b secret c") == "a *** b *** c"


def test_nothing_to_hide_costs_nothing() -> None:
    text = "some text"
    assert Masker([]).mask(text) is text
    stream = Masker([]).stream()
    assert (stream.feed(text), stream.finish()) == (text, "")


def test_short_values_are_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match=r"^a secret has at least 6 characters$"):
        Masker(["long enough", "abcde"])


@given(st.lists(st.sampled_from(["hunter2", "hunter2-long", "x", "hunt", "er2", "-long", "\n"]), max_size=12), st.data())
def test_a_stream_hides_what_a_whole_text_hides_however_it_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    masker = Masker(["hunter2", "hunter2-long"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream = masker.stream()
    out = "".join(stream.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)) + stream.finish()
    assert out == masker.mask(text)
    assert "hunter2" not in out


@given(st.text(min_size=6, max_size=20), st.text(max_size=10), st.text(max_size=10))
def test_base64_is_hidden_at_any_alignment(secret: str, before: str, after: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in secret + before + after):
        return
    coded = base64.b64encode((before + secret + after).encode()).decode()
    core = base64.b64encode(bytes(len(before.encode()) % 3) + secret.encode()).decode().rstrip("=")
    assert core[4:-4] == "" or core[4:-4] not in Masker([secret]).mask(coded)
