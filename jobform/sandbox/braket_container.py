"""What the service's container does with a script, as a program: fetch it, run it, and put what it leaves into S3.

Run by `jobform sandbox --jobs-run local`, in a directory of its own. The variables are those of the real container, and
SANDBOX_SOURCE and SANDBOX_RESULTS, addresses in the sandbox's S3.
"""

import importlib
import io
import json
import os
import runpy
import sys
import tarfile
from pathlib import Path
from urllib.request import Request, urlopen

_PATIENCE = 120.0

EMPTY = {
    "braketSchemaHeader": {"name": "braket.jobs_data.persisted_job_data", "version": "1"}, "dataDictionary": {},
    "dataFormat": "plaintext",
}
"""The results of a job that leaves none, in the form of Amazon's SDK."""


def main() -> None:
    results = Path("results").absolute()
    results.mkdir()
    Path("hyperparameters.json").write_text(os.environ.pop("SANDBOX_PARAMETERS"), encoding="utf-8")
    os.environ |= {
        "AMZN_BRAKET_HP_FILE": str(Path("hyperparameters.json").absolute()), "AMZN_BRAKET_JOB_RESULTS_DIR": str(results),
    }
    with urlopen(os.environ["SANDBOX_SOURCE"], timeout=_PATIENCE) as answer:  # noqa: S310  # the sandbox's own S3
        source = answer.read()
    with tarfile.open(fileobj=io.BytesIO(source)) as tar:
        tar.extractall("program", filter="data")
    os.chdir("program")
    sys.path.insert(0, "")
    module, _, function = os.environ["AMZN_BRAKET_SCRIPT_ENTRY_POINT"].removesuffix(".py").partition(":")
    sys.argv[:] = [module]
    if function:
        getattr(importlib.import_module(module), function)()
    else:
        runpy.run_module(module, run_name="__main__")
    headers = {"Content-Type": "application/gzip"}
    request = Request(os.environ["SANDBOX_RESULTS"], packed(results), headers, method="PUT")  # noqa: S310  # as above
    urlopen(request, timeout=_PATIENCE).close()  # noqa: S310  # as above


def packed(directory: Path | None) -> bytes:
    """The archive that a job leaves: what its program put there, else `EMPTY`."""
    files = sorted(directory.iterdir()) if directory else []
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file in files:
            tar.add(file, file.name)
        if not files:
            data = json.dumps(EMPTY).encode()
            entry = tarfile.TarInfo("results.json")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()


if __name__ == "__main__":
    main()
