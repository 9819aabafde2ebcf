"""Marks for tests, made the way the engine makes them."""

from jobform.model.address import mark_text, remote_name, token
from jobform.model.values import digest
from jobform.protocols import Mark

LONG_AGO = "2020-01-01T00:00:00.000000Z"
"""A `begun_at` for which every absence window is over."""


def make_mark(address: str, attempt: int = 1, *, lineage: str = "test", body: object = "", begun_at: str = LONG_AGO) -> Mark:
    """The mark of one attempt. body: any JSON; equal bodies give equal body hashes."""
    return Mark(
        address, attempt, token(lineage, address, attempt), remote_name(lineage, address, attempt),
        mark_text(lineage, address, attempt, digest(body)), begun_at,
    )
