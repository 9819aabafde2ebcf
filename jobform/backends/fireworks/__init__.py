"""Fireworks batch jobs. Wire facts: the pages under docs.fireworks.ai/api-reference-dlde, and the protobuf descriptors of the
package fireworks-ai 0.19.18 (`gateway/batch_job.proto`), from which the mutability of fields comes.

The service takes no id and no request id of ours, so a repeated create makes a second job: a mark in `annotations`, which nobody
can change afterwards, says which job is which.
"""

from jobform.backends.fireworks.backend import TYPE

__all__ = ["TYPE"]
