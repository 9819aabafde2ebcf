"""What a sandboxed service of AWS needs of AWS itself: requests checked against botocore's model of the service, and signatures.

botocore's own client checks only required members, types and minima; the rest, patterns, enums and maxima, is what a real service
refuses.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote, urlencode

from jobform.model.values import Json
from jobform.sandbox.wire import Call, Refused, Reply

_SKEW = 15 * 60
"""Seconds by which a signature's time may miss the server's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The operation that a call is for, and its parameters."""

    operation: str
    parameters: dict[str, Json]


class Model:
    """A REST-JSON service as botocore describes it."""

    def __init__(self, service: str) -> None:
        from botocore.loaders import Loader

        self._model: dict[str, Any] = Loader().load_service_model(service, "service-2")

    def match(self, call: Call) -> Asked:
        """Raises Refused for what the model does not describe."""
        for name, pattern, method in self._routes:
            found = pattern.fullmatch(call.path)
            if found and call.method == method:
                return self._asked(name, {key: unquote(value) for key, value in found.groupdict().items()}, call)
        raise Refused(404, "no operation has this method and path", "UnknownOperationException")

    def check_reply(self, operation: str, reply: Reply) -> None:
        """Raises AssertionError for an answer that the model does not describe: the sandbox would be wrong."""
        described = self._model["operations"][operation]
        assert reply.status == described["http"].get("responseCode", 200), f"{operation} does not answer {reply.status}"
        assert not isinstance(reply.body, bytes)
        wrong = list(self._problems(described["output"]["shape"], reply.body, ""))
        assert not wrong, f"{operation} answers with what is not described: {wrong[0]}"

    def _asked(self, name: str, path: Mapping[str, str], call: Call) -> Asked:
        shape = self._shape(self._model["operations"][name]["input"]["shape"])
        parameters: dict[str, Json] = {}
        in_body = False
        for member, place in shape["members"].items():
            where, key = place.get("location"), place.get("locationName", member)
            if where == "uri":
                parameters[member] = path[key]
            elif where == "querystring":
                values: list[Json] = [value for given, value in call.query if given == key]
                if values:
                    parameters[member] = values if self._shape(place["shape"])["type"] == "list" else values[0]
            else:
                in_body = True
        if in_body:
            body = call.object() if call.body else {}
            parameters |= body
        elif call.body:
            raise Refused(400, "no body is wanted here", "SerializationException")
        known = {place.get("locationName", name) for name, place in shape["members"].items()}
        if odd := sorted({key for key, _ in call.query} - known):
            raise Refused(400, f"unknown parameter {odd[0]}", "ValidationException")
        wrong = list(self._problems(self._model["operations"][name]["input"]["shape"], parameters, ""))
        if wrong:
            count = f"{len(wrong)} validation error{'' if len(wrong) == 1 else 's'} detected"
            raise Refused(400, f"{count}: {'; '.join(wrong)}", "ValidationException")
        return Asked(name, parameters)

    @cached_property
    def _routes(self) -> list[tuple[str, re.Pattern[str], str]]:
        """Paths as they come over the wire: a parameter is one segment, still encoded."""
        return [
            (name, re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))), http["method"])
            for name, http in ((name, about["http"]) for name, about in self._model["operations"].items())
        ]

    def _shape(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._model["shapes"][name]
        return found

    def _problems(self, name: str, value: Json, path: str) -> Iterator[str]:
        """What is wrong with a value, in the words of AWS."""
        shape = self._shape(name)
        kind = shape["type"]
        if kind == "timestamp":
            if not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is None:
                yield _wrong(value, path, "Member must be a timestamp")
            return
        wanted = {"string": str, "structure": dict, "map": dict, "list": list, "integer": int, "long": int, "boolean": bool}[kind]
        if not isinstance(value, wanted) or (kind == "integer" and isinstance(value, bool)):
            yield _wrong(value, path, f"Member must be of type {kind}")
            return
        if isinstance(value, str):
            yield from _text_problems(shape, value, path)
        elif isinstance(value, int):
            yield from _bounds(shape, value, value, path, "value")
        elif isinstance(value, list):
            yield from _bounds(shape, value, len(value), path, "length")
            for index, item in enumerate(value, 1):
                yield from self._problems(shape["member"]["shape"], item, f"{path}.{index}.member")
        elif kind == "map" and isinstance(value, dict):
            yield from _bounds(shape, value, len(value), path, "length")
            for key, item in value.items():
                yield from self._problems(shape["key"]["shape"], key, f"{path}.{key}.key")
                yield from self._problems(shape["value"]["shape"], item, f"{path}.{key}.member")
        elif isinstance(value, dict):
            yield from self._members(shape, value, path)

    def _members(self, shape: Mapping[str, Any], value: Mapping[str, Json], path: str) -> Iterator[str]:
        for member in shape.get("required", ()):
            if value.get(member) is None:
                yield _wrong(None, _below(path, member), "Member must not be null")
        for key, item in value.items():
            if key not in shape["members"]:
                yield _wrong(item, _below(path, key), "Member is not known")
            elif item is not None:
                yield from self._problems(shape["members"][key]["shape"], item, _below(path, key))


def _text_problems(shape: Mapping[str, Any], value: str, path: str) -> Iterator[str]:
    yield from _bounds(shape, value, len(value), path, "length")
    if "enum" in shape and value not in shape["enum"]:
        yield _wrong(value, path, f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]")
    if "pattern" in shape and not re.fullmatch(shape["pattern"], value, re.ASCII):
        yield _wrong(value, path, f"Member must satisfy regular expression pattern: {shape['pattern']}")


def _bounds(shape: Mapping[str, Any], value: Json, size: int, path: str, what: str) -> Iterator[str]:
    if size < shape.get("min", size):
        yield _wrong(value, path, f"Member must have {what} greater than or equal to {shape['min']}")
    if size > shape.get("max", size):
        yield _wrong(value, path, f"Member must have {what} less than or equal to {shape['max']}")


def _wrong(value: Json, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{str(value)[:100]}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _below(path: str, member: str) -> str:
    return f"{path}.{member}" if path else member


# --- signatures -------------------------------------------------------------------------------------------------------

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/([0-9]{8})/([^/]+)/([^/]+)/aws4_request, *SignedHeaders=([^,]+), *Signature=([0-9a-f]+)"
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature must be for."""

    service: str
    region: str
    key: str
    secret: str


def check_signature(call: Call, wanted: Signed, now: float) -> None:
    """Raises Refused unless a call is signed as version 4 wants it, with the key, for the region and the service, and lately."""
    text = call.headers.get("authorization", "")
    if not text:
        raise Refused(403, "Missing Authentication Token", "MissingAuthenticationTokenException")
    found = _AUTHORIZATION.fullmatch(text)
    if found is None:
        raise Refused(403, "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.",
                      "IncompleteSignatureException")
    key, day, region, service, names, signature = found.groups()
    token = call.headers.get("x-amz-security-token")
    if token == "expired":  # noqa: S105  # what a test sends
        raise Refused(403, "The security token included in the request is expired", "ExpiredTokenException")
    if key != wanted.key or token:
        raise Refused(403, "The security token included in the request is invalid.", "UnrecognizedClientException")
    if region != wanted.region:
        raise _bad(f"Credential should be scoped to a valid region, not '{region}'.")
    if service != wanted.service:
        raise _bad(f"Credential should be scoped to correct service: '{wanted.service}'.")
    stamp = call.headers.get("x-amz-date", "")
    _check_time(stamp, day, now)
    headers = names.split(";")
    whole = "host" in headers and all(name in call.headers for name in headers)
    if not whole or _signature(call, headers, stamp, wanted) != signature:
        raise _bad("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
                   "Key and signing method.")


def _bad(why: str) -> Refused:
    return Refused(403, why, "InvalidSignatureException")


def _check_time(stamp: str, day: str, now: float) -> None:
    try:
        signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Refused(403, "the request has no time", "IncompleteSignatureException") from error
    if not stamp.startswith(day):
        raise _bad("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date.")
    late = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    if signed < now - _SKEW:
        raise _bad(f"Signature expired: {stamp} is now earlier than {late} - 15 min.")
    if signed > now + _SKEW:
        raise _bad(f"Signature not yet current: {stamp} is still later than {late} + 15 min.")


def _signature(call: Call, names: list[str], stamp: str, wanted: Signed) -> str:
    """By botocore's own signer."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    query = urlencode(list(call.query), quote_via=quote, safe="-_.~")
    url = f"http://{call.headers['host']}{call.path}{f'?{query}' if query else ''}"
    request = AWSRequest(call.method, url, {name: call.headers[name] for name in names}, call.body)
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(wanted.key, wanted.secret), wanted.service, wanted.region)
    signature: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return signature
