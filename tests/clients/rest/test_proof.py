"""What proves who asks: it is shown to nobody, and a call for which it came too late is not made."""

from collections.abc import Mapping

import pytest

from jobform.clients.rest.client import Limits, Outgoing
from jobform.testing.clock import ManualClock
from tests.clients.rest.kit import OK, SECRET, Key, answering, connect, failure, raw

REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
FINE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"


@pytest.mark.parametrize(("form", "body"), [
    (REFUSED, b'{"message": "the token %s is unknown"}'), (REFUSED, b"<p>Authorization: Bearer %s</p>"), (FINE, b"you are %s"),
])
def test_a_service_that_repeats_the_token_does_not_get_it_shown(form: bytes, body: bytes) -> None:
    text = body % SECRET.encode()
    with raw(answering(form % (len(text), text))) as server:
        error = failure(lambda: connect(server.url).get("/x"))
    assert "***" in f"{error.summary} {error.detail}"
    assert SECRET not in f"{error.summary} {error.detail} {error.body}"


class Slow(Key):
    """Credentials that take their time."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__()
        self._clock, self._seconds = clock, seconds

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        self._clock.advance(self._seconds)
        return super().headers(request)


@pytest.mark.parametrize(("seconds", "sent"), [(59.0, 1), (61.0, 0)])
def test_a_call_is_not_sent_when_its_credentials_came_too_late(seconds: float, sent: int) -> None:
    """It would be given up at once, and nobody could say what it did."""
    clock = ManualClock()
    with raw(answering(OK)) as server:
        client = connect(server.url, clock=clock, key=Slow(clock, seconds), limits=Limits(total=60.0))
        if sent:
            assert client.change("POST", "/x", {}) == {}
        else:
            error = failure(lambda: client.change("POST", "/x", {}))
            assert (error.retryable, error.ambiguous) == (True, False)
            assert "no time was left" in error.summary
        assert server.requests == sent
