"""jobform's own version, as documents and `jobform version` name it."""

VERSION = "0.1.0"
