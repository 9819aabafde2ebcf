"""Signed requests. Source: the service's page `service-consumers-authenticate-requests` and its operator's own examples
(`dispersednetwork/compute_examples`).

A signature covers the time, a nonce that may never come twice, and every byte that is sent, so each attempt is signed anew.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping

from jobform.clients.keys import Key, read_key
from jobform.clients.rest.client import Outgoing
from jobform.model.errors import BackendError
from jobform.protocols import Clock

PUBLIC = ("OTOY_API_KEY", "DISPERSED_PUBLIC_KEY", "ZER_PUBLIC_KEY")
SECRET = ("OTOY_API_SECRET", "DISPERSED_SECRET_KEY", "ZER_SECRET_KEY")
"""Variables of a pair of keys: those at the same place belong together."""


class Signer:
    """`rest.Credentials`: a pair of keys from the environment, read at every attempt, so that a file may be exchanged."""

    def __init__(
        self, environ: Mapping[str, str], clock: Clock, nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        """nonce: 32 lower-case hex digits, new ones at every call."""
        self._environ = environ
        self._clock = clock
        self._nonce = nonce
        self._stated: Key | None = None

    @property
    def source(self) -> str:
        place = self._place()
        return f"{PUBLIC[place]} and {SECRET[place]}"

    def state(self) -> Key:
        """The public key that what is begun from now on is recorded with. Raises BackendError when there is none."""
        self._stated = self._public()
        return self._stated

    def check(self) -> None:
        """Raises BackendError when the public key is not the one that was stated any more: its account may be another one."""
        if self._stated is not None:
            self._refuse_other(self._public())

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        public, secret = self._pair()
        if request.method == "POST":  # what is made is looked at by the very key that makes it
            self._refuse_other(public)
        time, nonce = str(round(self._clock.now().timestamp() * 1000)), self._nonce()
        text = signed_text(public.value, time, nonce, request)
        return {"X-API-Key": public.value, "X-Time": time, "X-Nonce": nonce, "X-Signature": signature(secret.value, text)}

    def renew(self) -> bool:
        """A signature that was refused is refused again: the keys or this machine's clock are wrong."""
        return False

    def _refuse_other(self, key: Key) -> None:
        if self._stated is not None and key.value != self._stated.value:
            detail = f"what was begun is recorded with the key that was there before ({self.source}); run again"
            raise BackendError("the key was exchanged while this command ran, and its account may be another one", detail)

    def _public(self) -> Key:
        return read_key(self._environ, PUBLIC, "OTOY")

    def _pair(self) -> tuple[Key, Key]:
        """Raises BackendError when one of the two is not there."""
        return self._public(), read_key(self._environ, (SECRET[self._place()],), "OTOY")

    def _place(self) -> int:
        """Which pair is used: that of the first public key that is set."""
        known = (place for place, name in enumerate(PUBLIC) if self._environ.get(name) or self._environ.get(f"{name}_FILE"))
        return next(known, 0)


def signed_text(public: str, time: str, nonce: str, request: Outgoing) -> str:
    """What is signed: the seven parts of a request. time: milliseconds since 1970. The query's parameters are in order."""
    query = "&".join(sorted(request.query.split("&")))
    body = hashlib.sha256(request.body).hexdigest()
    return "|".join((public, time, nonce, request.method, request.path, query, body))


def signature(secret: str, text: str) -> str:
    """64 lower-case hex digits."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
