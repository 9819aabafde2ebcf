"""Calls of a sandboxed service without a client of ours in between."""

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from jobform.sandbox.fireworks import ACCOUNT, KEY

JOBS = f"/v1/accounts/{ACCOUNT}/batchJobs"
HANG = 250.0
"""Seconds, on the busiest machine: what waits longer waits for ever. pytest's own limit is later."""
JOB: dict[str, Any] = {"nodePoolId": "pool", "shellExecutor": {"command": "true"}}


@dataclass(frozen=True)
class Said:
    """status: 0 when the connection ended without an answer."""

    status: int
    body: bytes = b""
    kind: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    url: str, method: str = "GET", path: str = JOBS, body: Any = None, *, key: str = KEY, raw: bytes | None = None,
    kind: str = "application/json",
) -> Said:
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": kind} if data is not None else {})
    request = urllib.request.Request(url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=HANG) as answer:
            return Said(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
    except urllib.error.HTTPError as error:
        with error:
            return Said(error.code, error.read(), error.headers.get("Content-Type", ""))
    except (OSError, http.client.HTTPException):
        return Said(0)
