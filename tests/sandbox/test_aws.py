"""S3 and CloudWatch Logs beside the services: there from the start, loaded late, empty afterwards."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobform.sandbox.aws import Aws


def client(service: str, url: str) -> Any:  # boto3 makes its clients' classes when it runs
    import boto3

    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="sandbox", aws_secret_access_key="sandbox",
    )


def test_what_is_kept_is_there_and_is_forgotten(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        aws = Aws(["a-bucket"])
        assert not aws.begun
        try:
            s3 = client("s3", aws.url)
            assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["a-bucket"], "nothing of another sandbox"
            s3.put_object(Bucket="a-bucket", Key="k", Body=b"text")
            assert s3.get_object(Bucket="a-bucket", Key="k")["Body"].read() == b"text"
            client("logs", aws.url).create_log_group(logGroupName="g")
            assert aws.begun
        finally:
            aws.stop()
    assert "HTTP/1.1" not in capfd.readouterr().err, "no log of requests on the user's standard error"


def names(aws: Aws) -> list[str]:
    return [each["Name"] for each in client("s3", aws.url).list_buckets()["Buckets"]]


def test_what_two_keep_is_forgotten_with_the_last() -> None:
    first, second = Aws(["first"]), Aws(["second"])
    try:
        assert {*names(first), *names(second)} == {"first", "second"}
        second.stop()
        assert "first" in names(first)
    finally:
        first.stop()
    third = Aws()
    try:
        assert names(third) == []
    finally:
        third.stop()


def test_one_that_is_stopped_while_it_begins_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import werkzeug.serving

    made, begins = werkzeug.serving.make_server, threading.Event()

    def late(*arguments: Any, **options: Any) -> Any:
        begins.set()
        while not aws._stopped:
            time.sleep(0.001)
        return made(*arguments, **options)

    monkeypatch.setattr("werkzeug.serving.make_server", late)
    aws = Aws(["a-bucket"])
    with socket.create_connection(("127.0.0.1", urlsplit(aws.url).port or 0)):
        begins.wait()
        aws.stop()
    monkeypatch.undo()
    after = Aws()
    try:
        assert names(after) == []
    finally:
        after.stop()


def test_nobody_asked_for_it() -> None:
    aws = Aws()
    aws.stop()
    assert not aws.begun


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.1, 0.3])
def test_stopped_while_it_begins(pause: float, tmp_path: Path) -> None:
    """Whenever that is, it ends: in a process of its own, where moto is not loaded yet."""
    code = (
        "import socket, time\nfrom urllib.parse import urlsplit\nfrom jobform.sandbox.aws import Aws\naws = Aws()\n"
        f"one = socket.create_connection(('127.0.0.1', urlsplit(aws.url).port))\ntime.sleep({pause})\naws.stop()\nprint('over')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=280)
    assert (done.stdout, done.stderr) == ("over\n", "")
