"""Our side: projects of N jobs, and a state in which each of them has run once."""

from pathlib import Path

JOBS_PER_FILE = 100

SETTINGS = """\
jobform: 1
project: bench
variables:
  image: {{type: string, default: registry.example.com/train}}
  data: {{type: string, default: /data/2030-01-01}}
  team: {{type: string, default: vision}}
backends:
  pool: {{type: {type}{settings}}}
"""

JOB = """\
  job-{n:05d}:
    backend: pool
    needs: [{need}]
    spec:
      command: [/bin/true, --shard, "{n}", --from, "{{{{ var.data }}}}/part-{n:05d}"]
      env: {{IMAGE: "{{{{ var.image }}}}:{tag}", BATCH_SIZE: "50", LEARNING_RATE: "0.2"}}
      labels: {{owner: "{{{{ var.team }}}}-{group}", shard: "{n:05d}"}}
"""

FIRST = JOB.replace("    needs: [{need}]\n", "")

MATRIX = """\
jobs:
  job:
    backend: pool
    matrix:
      x: [{xs}]
      y: [{ys}]
    spec:
      command: [/bin/true, --shard, "{{{{ matrix.x }}}}", --from, "{{{{ var.data }}}}/part-{{{{ matrix.y }}}}"]
      env: {{IMAGE: "{{{{ var.image }}}}:5", BATCH_SIZE: "50", LEARNING_RATE: "0.2"}}
      labels: {{owner: "{{{{ var.team }}}}-3", shard: "{{{{ matrix.x }}}}-{{{{ matrix.y }}}}"}}
"""


def files(directory: Path, count: int, *, type_: str = "local", settings: str = "") -> None:
    """`count` jobs in files of 100, about 300 bytes each: three templated scalars whose expressions repeat, and one need.

    The jobs of a file need its first one, and that one the first of all.
    """
    _project(directory, type_, settings)
    for start in range(0, count, JOBS_PER_FILE):
        numbers = range(start, min(start + JOBS_PER_FILE, count))
        text = "".join(
            (JOB if n else FIRST).format(n=n, need=f"job-{_need(n):05d}", tag=n % 7, group=n % 11) for n in numbers
        )
        (directory / "jobs" / f"part-{start // JOBS_PER_FILE:04d}.yaml").write_text(f"jobs:\n{text}")


def _need(n: int) -> int:
    return n - n % JOBS_PER_FILE if n % JOBS_PER_FILE else 0


def matrix(directory: Path, side: int, *, type_: str = "local", settings: str = "") -> None:
    """One job with `side` x `side` instances."""
    _project(directory, type_, settings)
    numbers = ", ".join(str(n) for n in range(side))
    (directory / "jobs" / "matrix.yaml").write_text(MATRIX.format(xs=numbers, ys=numbers))


def _project(directory: Path, type_: str, settings: str) -> None:
    (directory / "jobs").mkdir(parents=True)
    (directory / "jobform.yaml").write_text(SETTINGS.format(type=type_, settings=settings))
