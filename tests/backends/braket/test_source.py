"""Sources: packed the same way everywhere, uploaded once for each content, and never with another content than was accepted."""

import base64
import gzip
import hashlib
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from jobform.backends.braket import service
from jobform.backends.braket.backend import BraketBackend
from jobform.backends.braket.source import pack
from jobform.model.errors import BackendError
from jobform.model.inputs import InputFile, hash_input
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.sandbox.braket import BUCKET
from jobform.sandbox.host import Sandbox
from tests.backends.braket.conftest import Open, mark, posts, submission


def files(data: bytes) -> list[tuple[str, bytes, int, int, str]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(each.name, tar.extractfile(each).read(), each.mode, each.mtime, each.uname) for each in tar]  # type: ignore[union-attr]  # it is there, or the test fails


def test_an_archive_holds_names_contents_and_the_right_to_execute() -> None:
    archive = pack([InputFile("b/run.sh", b"#!", executable=True), InputFile("a.py", b"print()")])
    assert files(archive.data) == [("a.py", b"print()", 0o644, 0, ""), ("b/run.sh", b"#!", 0o755, 0, "")]


def test_the_same_content_is_the_same_archive() -> None:
    one, other = InputFile("a.py", b"1"), InputFile("b.py", b"2")
    assert pack([one, other]) == pack([other, one])
    assert pack([one]).data == pack([one]).data
    different = [pack([one]), pack([other]), pack([InputFile("c.py", b"1")]), pack([InputFile("a.py", b"1", executable=True)])]
    assert len({each.sha256 for each in different}) == 4


def test_the_name_does_not_depend_on_the_compressor() -> None:
    archive = pack([InputFile("a.py", b"1" * 1000)])
    again = gzip.compress(gzip.decompress(archive.data), compresslevel=1, mtime=0)
    assert again != archive.data
    assert pack([InputFile("a.py", b"1" * 1000)]).sha256 == archive.sha256


def job(project: Path, path: str, **spec: Json) -> Submission:
    whole = submission(algorithm_specification={"script_mode_config": {"entry_point": "vqe:main", "source": path}}, **spec)
    return replace(whole, inputs={path: hash_input(project, path)})


def s3(sandbox: Sandbox) -> Any:
    return boto3.session.Session("sandbox", "sandbox", region_name="us-east-1").client(
        "s3", endpoint_url=sandbox.variables["AWS_ENDPOINT_URL_S3"],
    )


def objects(sandbox: Sandbox, prefix: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = s3(sandbox).list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return found


def uri_of(sandbox: Sandbox, arn: Json) -> tuple[str, str]:
    assert isinstance(arn, dict)
    body: Any = sandbox.world("braket").jobs[str(arn["id"])].body
    script = body["algorithmSpecification"]["scriptModeConfig"]
    assert script["compressionType"] == "GZIP"
    return tuple(script["s3Uri"].removeprefix("s3://").split("/", 1))


def test_a_directory_is_uploaded_once_for_each_content(open_backend: Open, sandbox: Sandbox, tmp_path: Path) -> None:
    backend = open_backend(source_prefix="once")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "vqe.py").write_text("print(1)")
    first = backend.submit(job(tmp_path, "programs"), mark("a"))
    (uploaded,) = objects(sandbox, "once/")
    bucket, key = uri_of(sandbox, first.value)
    assert (bucket, key) == (BUCKET, uploaded["Key"])
    assert [name for name, *_ in files(s3(sandbox).get_object(Bucket=bucket, Key=key)["Body"].read())] == ["vqe.py"]
    os.utime(tmp_path / "programs" / "vqe.py", (1, 1))
    second = backend.submit(job(tmp_path, "programs"), mark("b"))
    assert uri_of(sandbox, second.value) == (bucket, key)
    assert objects(sandbox, "once/") == [uploaded], "it is the same object, not another upload of it"
    (tmp_path / "programs" / "vqe.py").write_text("print(2)")
    third = backend.submit(job(tmp_path, "programs"), mark("c"))
    assert uri_of(sandbox, third.value)[1] != key
    assert len(objects(sandbox, "once/")) == 2


def test_a_file_keeps_its_name(backend: BraketBackend, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "vqe.py").write_text("print(1)")
    bucket, key = uri_of(sandbox, backend.submit(job(tmp_path, "programs/vqe.py"), mark()).value)
    data = s3(sandbox).get_object(Bucket=bucket, Key=key)["Body"].read()
    assert [name for name, *_ in files(data)] == ["vqe.py"]


def test_what_has_changed_since_it_was_accepted_is_not_sent(backend: BraketBackend, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "vqe.py").write_text("print(1)")
    accepted = job(tmp_path, "vqe.py")
    (tmp_path / "vqe.py").write_text("print(2)")
    with pytest.raises(BackendError, match="has changed since it was accepted") as caught:
        backend.submit(accepted, mark())
    assert not caught.value.ambiguous
    assert not caught.value.retryable
    assert posts(sandbox) == 0


def test_what_was_never_accepted_is_not_sent(backend: BraketBackend, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "vqe.py").write_text("print(1)")
    with pytest.raises(BackendError, match="nobody accepted the content"):
        backend.submit(replace(job(tmp_path, "vqe.py"), inputs={}), mark())
    assert posts(sandbox) == 0


def test_a_bucket_that_is_not_there(open_backend: Open, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "vqe.py").write_text("print(1)")
    with pytest.raises(BackendError, match="there is no bucket nobodys-bucket") as caught:
        open_backend(source_bucket="nobodys-bucket").submit(job(tmp_path, "vqe.py"), mark())
    assert "`source_bucket` of the backend" in caught.value.detail
    assert not caught.value.ambiguous
    assert posts(sandbox) == 0


def test_s3_that_cannot_be_reached_starts_no_job(open_backend: Open, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "vqe.py").write_text("print(1)")
    broken = open_backend({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
    with pytest.raises(BackendError, match="the source could not be uploaded") as caught:
        broken.submit(job(tmp_path, "vqe.py"), mark())
    assert caught.value.retryable
    assert not caught.value.ambiguous
    assert posts(sandbox) == 0


def test_no_role_uploads_nothing(open_backend: Open, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "vqe.py").write_text("print('no role')")
    backend = open_backend(role_arn=None, source_prefix="norole")
    with pytest.raises(BackendError, match="no role"):
        backend.submit(job(tmp_path, "vqe.py"), mark())
    assert objects(sandbox, "norole/") == []


def asked_of_s3(backend: BraketBackend, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Calls of S3 from now on: names and parameters."""
    calls: list[tuple[str, dict[str, Any]]] = []
    aws = backend._braket.aws
    real = aws.often

    def often(service: str, operation: str, **given: Any) -> dict[str, Json]:
        if service == "s3":
            calls.append((operation, given))
        return real(service, operation, **given)

    monkeypatch.setattr(aws, "often", often)
    return calls


def test_nobody_elses_bucket_gets_the_source(
    open_backend: Open, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name of the usual bucket can be guessed, so anybody may have made it. One that the settings name may be of another."""
    (tmp_path / "vqe.py").write_text("print('whose')")
    backend, other = open_backend(source_prefix="whose"), open_backend(source_prefix="whose2", source_bucket=BUCKET)
    for each, owner in ((backend, "123456789012"), (other, None)):
        calls = asked_of_s3(each, monkeypatch)
        each.submit(job(tmp_path, "vqe.py"), mark(owner or "none"))
        assert [name for name, _ in calls] == ["head_object", "put_object"]
        assert {given.get("ExpectedBucketOwner") for _, given in calls} == {owner}


def test_s3_checks_what_came_over(
    backend: BraketBackend, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "vqe.py").write_text("print('whole')")
    calls = asked_of_s3(backend, monkeypatch)
    backend.submit(job(tmp_path, "vqe.py"), mark())
    given = calls[-1][1]
    assert given["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(given["Body"]).digest()).decode()
    data = s3(sandbox).get_object(Bucket=given["Bucket"], Key=given["Key"])["Body"].read()
    assert data == given["Body"], "as it is, without the frames of a streamed upload"


def test_a_program_of_many_jobs_is_packed_once(
    backend: BraketBackend, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[str] = []
    real = service.archive_of
    monkeypatch.setattr(service, "archive_of", lambda *given: packed.append(given[1]) or real(*given))  # type: ignore[func-returns-value]  # and then
    (tmp_path / "vqe.py").write_text("print('many')")
    with ThreadPoolExecutor(4) as pool:
        refs = list(pool.map(lambda name: backend.submit(job(tmp_path, "vqe.py"), mark(name)), ["a", "b", "c", "d"]))
    assert len({uri_of(sandbox, ref.value) for ref in refs}) == 1
    assert packed == ["vqe.py"]
    (tmp_path / "vqe.py").write_text("print('other')")
    backend.submit(job(tmp_path, "vqe.py"), mark("e"))
    assert packed == ["vqe.py"] * 2
