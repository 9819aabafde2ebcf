"""The tables of fields in the examples' READMEs are those that `jobform schema TYPE --format markdown` prints."""

import re
from pathlib import Path

import pytest

from jobform.schema import document_names
from tests.conftest import Jobform
from tests.documents import DOCUMENTS, ROOT
from tests.golden import difference

MARKER = re.compile(r"^<!-- fields: ([\w-]+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
WITH_TABLES = [path for path in DOCUMENTS if "<!-- fields:" in path.read_text()]
SERVICES = ("braket", "fireworks", "otoy", "runai", "unstructured")


@pytest.mark.parametrize("path", WITH_TABLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_table_is_the_schemas(path: Path, jobform: Jobform, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    tables = MARKER.findall(text)
    assert len(tables) == text.count("<!-- fields:") == text.count("<!-- end -->"), "a marker without its end"
    current = {name: f"\n{jobform('schema', name, '--format', 'markdown').stdout}\n" for name, _ in tables}
    new = MARKER.sub(lambda match: f"<!-- fields: {match[1]} -->\n{current[match[1]]}<!-- end -->", text)
    if request.config.getoption("--update"):
        path.write_text(new)
    else:
        assert new == text, difference(text, new, str(path.relative_to(ROOT)))


@pytest.mark.parametrize("service", [name for name in SERVICES if name in document_names()])
def test_every_service_has_a_page_with_its_fields(service: str) -> None:
    page = ROOT / "examples" / service / "README.md"
    assert [name for name, _ in MARKER.findall(page.read_text())] == [service]
