"""What was really sent in a create, read by another reader than the sandbox's."""

from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP

from jobform.sandbox.wire import Call


@dataclass(frozen=True)
class Sent:
    """One file of a create."""

    part: str
    name: str
    kind: str
    data: bytes


def parts_of(call: Call) -> tuple[str, list[Sent]]:
    """The text of `request_data`, and the files in their order."""
    whole = b"Content-Type: " + call.headers["content-type"].encode() + b"\r\n\r\n" + call.body
    message = BytesParser(policy=HTTP).parsebytes(whole)
    texts, files = [], []
    for part in message.iter_parts():
        assert isinstance(part, EmailMessage)
        given = part["content-disposition"].params
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        if "filename" in given:
            files.append(Sent(given["name"], given["filename"], part.get_content_type(), data))
        else:
            assert given["name"] == "request_data"
            texts.append(data.decode())
    (text,) = texts
    return text, files
