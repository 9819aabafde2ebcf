"""A job's program out of the project: packed the same way each time, and uploaded once for each content.

The service unpacks the archive of `s3Uri` and imports `entryPoint` from it, so a directory's files stand at the archive's top.
"""

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jobform.clients.aws import Aws
from jobform.clients.aws_errors import AwsError
from jobform.model.errors import BackendError
from jobform.model.inputs import InputFile, accepted_input
from jobform.protocols import Submission


@dataclass(frozen=True, slots=True)
class Archive:
    """sha256: of the archive before it was compressed, so that no version of a compressor changes its name."""

    sha256: str
    data: bytes = field(repr=False)


def source_of(submission: Submission) -> str | None:
    """The path in the project that a spec names as its source, None for none."""
    algorithm = submission.spec.get("algorithm_specification")
    script = algorithm.get("script_mode_config") if isinstance(algorithm, dict) else None
    source = script.get("source") if isinstance(script, dict) else None
    return source if isinstance(source, str) else None


def archive_of(project: Path, path: str, submission: Submission) -> Archive:
    """The source with the content that was accepted. Raises BackendError when it is another one by now, or cannot be read."""
    files = accepted_input(project, submission.inputs, path)
    return pack([InputFile(PurePosixPath(path).name, file.data, file.executable) if not file.name else file for file in files])


def pack(files: Sequence[InputFile]) -> Archive:
    """A tar.gz in which nothing but names, contents and the right to execute counts."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files, key=lambda each: each.name):
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode, entry.mtime = len(file.data), 0o755 if file.executable else 0o644, 0
            tar.addfile(entry, io.BytesIO(file.data))
    plain = packed.getbuffer()
    return Archive(hashlib.sha256(plain).hexdigest(), gzip.compress(plain, mtime=0))


@dataclass(frozen=True, slots=True)
class Store:
    """Where sources go. owner: the account that the bucket must belong to, "" for any; source: the setting that names it."""

    bucket: str
    prefix: str
    owner: str
    source: str


def upload(aws: Aws, archive: Archive, store: Store) -> str:
    """The S3 address of an archive, uploaded unless it is there.

    The upload writes one object as a whole and under a name of its own content, so it may be made again at any time. S3 takes it
    only if it came over whole, and only into a bucket of the owner: anybody may have made one of a name that can be guessed.
    """
    key = "/".join(part for part in (store.prefix.strip("/"), archive.sha256, "source.tar.gz") if part)
    place = {"Bucket": store.bucket, "Key": key, **({"ExpectedBucketOwner": store.owner} if store.owner else {})}
    try:
        if not _exists(aws, place):
            digest = base64.b64encode(hashlib.sha256(archive.data).digest()).decode()
            aws.often("s3", "put_object", **place, Body=archive.data, ContentType="application/gzip", ChecksumSHA256=digest)
    except AwsError as error:
        if error.code == "NoSuchBucket":
            raise BackendError(f"there is no bucket {store.bucket}", f"{store.source} names it, for the jobs' sources") from error
        whose = f"; the bucket must belong to the account {store.owner}" if store.owner and error.status == 403 else ""
        raise BackendError(
            f"the source could not be uploaded: {error.summary}", f"s3://{store.bucket}/{key}: {error.detail}{whose}",
            retryable=error.retryable, retry_after=error.retry_after,
        ) from error
    return f"s3://{store.bucket}/{key}"


def _exists(aws: Aws, place: Mapping[str, str]) -> bool:
    """S3 answers 403 for a missing object to who may not list the bucket: then it is uploaded again, which changes nothing."""
    try:
        aws.often("s3", "head_object", **place)
    except AwsError as error:
        if error.status in (403, 404):
            return False
        raise
    return True
