"""On-demand jobs of the Unstructured Platform. Wire facts: its OpenAPI document (Platform API 3.0.5), docs.unstructured.io, and
the package unstructured-client 0.44.

A job has no name, no tag and no request id of ours, and the service never forgets one: whether an unclear create took effect
can only be told while the account has made no other job since.
"""

from jobform.backends.unstructured.backend import TYPE

__all__ = ["TYPE"]
