"""TLS contexts that the connections of several threads share."""

import ssl
from collections.abc import Iterable


def shareable(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, from now on with HTTP/1.1 as its one protocol, whatever a library sets.

    urllib3 and httpcore set the protocols again for every connection. OpenSSL frees the old ones then, and nothing keeps another
    thread's connection from copying them at that moment: its greeting carries what lies there by now, and the server ends it with
    the alert decode_error, or memory is freed twice (https://github.com/python/cpython/issues/141012, and
    https://docs.openssl.org/3.0/man3/SSL_CTX_new/: a context is not to be changed once connections are made of it).
    """
    context.set_alpn_protocols(["http/1.1"])
    context.set_alpn_protocols = _kept  # type: ignore[method-assign]  # of this one context
    return context


def _kept(alpn_protocols: Iterable[str]) -> None:
    """Nothing: what a library wants is what is set."""
    del alpn_protocols
