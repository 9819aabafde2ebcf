"""S3 and CloudWatch Logs beside the services: there from the start, loaded late, empty afterwards."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
            began = time.monotonic()
            aws.stop()
            assert time.monotonic() - began < 30
    assert "HTTP/1.1" not in capfd.readouterr().err, "no log of requests on the user's standard error"


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert (done.stdout, done.stderr) == ("over\n", "")
