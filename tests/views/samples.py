"""Plans, states and findings as the views meet them: one of each kind of thing, told as a team's real project."""

from dataclasses import replace
from datetime import UTC, datetime

from jobform.model.change import Action, Change, FieldChange, Plan, Reason
from jobform.model.claims import Orphan, Orphans, Takeover, Unlisted, Why
from jobform.model.diagnostic import Diagnostic, Range, Related, Severity
from jobform.model.event import (
    Begun,
    ChangeAccepted,
    Ended,
    Event,
    Held,
    Imported,
    Moved,
    Observed,
    Released,
    Removed,
    Resolved,
    RunEnded,
    RunStarted,
    Settled,
    SpecStored,
)
from jobform.model.job import Policy
from jobform.model.state import (
    Accepted,
    Attempt,
    Desired,
    Hold,
    Intent,
    Op,
    Phase,
    Record,
    Run,
    RunChange,
    State,
    Tombstone,
)
from jobform.protocols import LockInfo

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
DIGEST = "5d41402abc4b2a76b9719d911017c592ae2f9f7c9a4b0f1d5d41402abc4b2a76"
LINEAGE = "3f0c8f3e-6d0c-4f6e-9a54-0c6b1f0a7f11"


def place(line: int, column: int, file: str = "jobs/train.yaml", length: int = 8) -> Range:
    return Range(file, line, column, line, column + length)


def plan(*changes: Change, **keys: object) -> Plan:
    base = Plan("vision", LINEAGE, "prod", DIGEST, changes, "2026-01-02T12:00:00.000000Z")
    return replace(base, **keys)  # type: ignore[arg-type]  # tests name real fields


LEARNING_RATES = ("0.001", "0.01", "0.1", "1")

SCRIPT = "set -eu\npython prep.py --split train\npython prep.py --split test\nls out\n"


def everything() -> Plan:
    """A plan with every action there is."""
    command = FieldChange(
        "spec.command", ["python", "train.py"], ["python", "train.py", "--fast"], class_="result", mutable="never",
        reason="what runs decides the result", range=place(12, 9),
    )
    timeout = FieldChange("spec.timeout", "6h", "8h", class_="operational", mutable="never", range=place(14, 7))
    token = FieldChange("spec.env.HF_TOKEN", "old", "new", class_="result", mutable="never", sensitive=True, range=place(16, 7))
    script = FieldChange(
        "spec.args", SCRIPT, SCRIPT.replace("--split test", "--split test --seed 1"), class_="result",
        range=place(9, 5, "jobs/prep.yaml"),
    )
    secret = FieldChange(
        "spec.env.URL", None, {"expr": "https://x/{{ secret('TOKEN') }}", "with": {}}, has_before=False,
        class_="result", mutable="never", range=place(17, 7),
    )
    return plan(
        *(
            Change(
                f"train[lr={lr}]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", fields=(replace(
                    command, after=["python", "train.py", "--lr", lr, "--fast"]), token, secret),
                attempt=2, after=("prep",), phase="succeeded", range=place(3, 3),
            )
            for lr in LEARNING_RATES
        ),
        Change(
            "prep", Action.UPDATE, Reason.NEXT_ATTEMPT, "here", fields=(timeout,),
            detail="recorded for the next attempt; no call", phase="succeeded", attempt=1,
        ),
        Change(
            "clean", Action.REPLACE, Reason.SPEC_CHANGED, "here", fields=(script,), stop=3, attempt=4, phase="running",
            detail="the running attempt is stopped", running_seconds=11_520.0,
        ),
        Change(
            "report", Action.CREATE, Reason.NEW, "here", attempt=1, after=tuple(f"train[lr={lr}]" for lr in LEARNING_RATES),
            spec={
                "command": ["python", "report.py"], "env": {"N": {"expr": "{{ jobs.prep.outputs.n }}", "with": {}}},
                "timeout": "10m",
            },
            range=place(3, 3, "jobs/report.yaml", 6),
        ),
        Change("old[seed=1]", Action.DELETE, Reason.REMOVED, "gpu", attempt=1, phase="failed"),
        Change("old[seed=2]", Action.DELETE, Reason.REMOVED, "gpu", attempt=1, phase="failed"),
        Change(
            "legacy", Action.FORGET, Reason.REMOVED, "gpu", attempt=7, phase="running",
            detail="the run goes on; jobform forgets it",
        ),
        Change("fitted", Action.MOVE, Reason.RENAMED, "gpu", source="fit", range=place(30, 10, "jobs/train.yaml", 20)),
        Change("imported", Action.ADOPT, Reason.REQUESTED, "gpu", attempt=1),
        Change(
            "nightly", Action.RERUN, Reason.RETRY, "gpu", accepted=True, attempt=3, detail="retry 2 of at most 3", phase="failed",
        ),
        Change(
            "eval", Action.BLOCK, Reason.LIVE, "gpu", fields=(command,), phase="running", running_seconds=200_000.0,
            detail="it is running, and the change needs a new attempt",
            hint="wait for its end, set on_change_while_running: finish or cancel, or plan with --allow-cancel 'eval'",
        ),
        Change(
            "tune", Action.HOLD, Reason.FAILED, "gpu", attempt=2, phase="failed", detail="attempt 2 failed (user_error)",
            hint="change its spec, raise its generation, or: jobform rerun 'tune'",
        ),
        *(Change(f"same{n}", Action.NO_OP, Reason.UNCHANGED, "gpu", phase="succeeded") for n in range(5)),
        diagnostics=(Diagnostic(
            Severity.WARNING, "mutable_tag", "image 'acme/train:latest' can change under a fixed name",
            hint="name a version or a digest", range=place(8, 14, length=17), snippet="      image: acme/train:latest",
        ),),
        notes={"gpu": "secret values are visible to everyone who may read jobs there"},
    )


def drifted() -> Plan:
    """What others changed on a backend: set back, left as it is, and ignored."""
    def field(path: str, before: object, after: object, by: str = "kubectl-edit", **keys: object) -> FieldChange:
        made = FieldChange(path, before, after, source="actual", class_="placement", by=by)  # type: ignore[arg-type]  # JSON
        return replace(made, **keys)  # type: ignore[arg-type]  # tests name real fields

    labels = field("spec.labels.team", "vision", "audio", by="kubectl-label", class_="operational", ignored=True)
    return plan(
        Change(
            "train", Action.UPDATE, Reason.DRIFTED, "gpu", phase="running", detail="someone else changed it; it is set back",
            fields=(field("spec.objects.Job.spec.parallelism", 4, 8), field("spec.ttl", "1h", "2h", by="")),
        ),
        Change(
            "prep", Action.NO_OP, Reason.DRIFTED, "gpu", phase="running",
            detail="someone else changed it, and it cannot be set back in place",
            fields=(field("spec.priority_class", "low", "high", by="a\x1b[31mb"), field("spec.args", ["x" * 60], ["y" * 60])),
        ),
        *(
            Change(f"tune[lr={lr}]", Action.NO_OP, Reason.IN_PROGRESS, "gpu", phase="running", fields=(labels,))
            for lr in LEARNING_RATES
        ),
        Change("same", Action.NO_OP, Reason.UNCHANGED, "gpu", phase="succeeded"),
        notes={"prep": "someone else changed it, and it cannot be set back in place"},
    )


def findings() -> tuple[Diagnostic, ...]:
    """Every part that a diagnostic can have, and lines that are hard to point into."""
    prep = "jobs/prep.yaml"
    return (
        Diagnostic(
            Severity.ERROR, "unknown_key", "unknown key 'comand'", detail="expected one of: args, command, env, image, timeout",
            hint="did you mean 'command'?", range=place(12, 7, length=6), snippet="      comand: [python, train.py]",
            address="train[lr=0.1]", count=24,
        ),
        Diagnostic(
            Severity.ERROR, "duplicate_key", "the key 'prep' is written twice", range=place(9, 3, prep, 4), snippet="  prep:",
            related=(Related("first written here", place(2, 3, prep, 4)),),
        ),
        Diagnostic(
            Severity.ERROR, "bad_value", "'ten minutes' is not a duration",
            detail="a duration is a number and a unit,\nlargest unit first", hint="write 10m, 1h30m or 90s",
            range=place(4, 7, "jobs/日本.yaml", 11), snippet="\t日本: \tten minutes # 変更",
        ),
        Diagnostic(
            Severity.ERROR, "bad_value", "this line is long", range=place(1, 301, length=5),
            snippet="x" * 300 + "WRONG" + "y" * 300,
        ),
        Diagnostic(Severity.WARNING, "no_default", "no targets are declared", hint="declare one under `targets:`"),
        Diagnostic(
            Severity.ERROR, "unclosed", "the list is never closed", range=Range("jobs/a.yaml", 3, 9, 5, 1),
            snippet="  args: [a, b",
        ),
    )


def attempt(n: int, phase: Phase, **keys: object) -> Attempt:
    base = Attempt(
        n=n, token="0" * 64, name=f"train-1a2b3c4d-{n}", mark="jf1-x", backend="gpu", scope="cluster", generation=1,
        fingerprint="f", rules="1", spec="s1", body_hash="b", run="r1", begun_at="2026-01-02T11:00:00.000000Z",
        submitted_at="2026-01-02T11:00:01.000000Z", phase=phase,
    )
    return replace(base, **keys)  # type: ignore[arg-type]  # tests name real fields


DESIRED = Desired("gpu", "kubernetes", "s1", Policy(), 1)


def accepted(action: str = "create", n: int = 1, settled: str | None = None) -> Accepted:
    return Accepted(action, "new", "r1", "2026-01-02T11:00:00.000000Z", DIGEST, n, None, settled)


def intent(op: Op = Op.SUBMIT, n: int = 2) -> Intent:
    return Intent(op, n, "t", f"train-1a2b3c4d-{n}", "m", "b", "2026-01-02T11:59:57.000000Z", "r2", "gpu", "cluster")


STARTED, ENDED = "2026-01-02T11:00:05.000000Z", "2026-01-02T11:12:25.500000Z"


def state() -> State:
    """One address of each kind."""
    done = attempt(1, Phase.SUCCEEDED, started_at=STARTED, ended_at=ENDED, exit=0, outputs={"count": 3}, ref={"uid": "7"})
    failed = attempt(1, Phase.FAILED, started_at=STARTED, ended_at=ENDED, exit=3, class_="user_error", detail="exit code 3")
    running = attempt(2, Phase.RUNNING, started_at=STARTED, submitted_at="2026-01-02T11:00:04.000000Z")
    waiting = attempt(1, Phase.PENDING, detail="waiting for a GPU")
    return State(
        LINEAGE, 7,
        jobs={
            "prep": Record("here", "machine", DESIRED, accepted(settled="done"), attempts=(done,)),
            "train[lr=0.1]": Record("gpu", "cluster", DESIRED, accepted(settled="done"), attempts=(failed, running)),
            "train[lr=0.01]": Record("gpu", "cluster", DESIRED, accepted(settled="done"), attempts=(waiting,)),
            "tune": Record("gpu", "cluster", DESIRED, accepted(settled="done"), attempts=(failed,), hold=Hold(
                "failed", "attempt 1 failed (user_error)", ENDED)),
            "eval": Record("gpu", "cluster", DESIRED, accepted(), intent=intent(n=1)),
            "report": Record("here", "", DESIRED, accepted()),
        },
        tombstones={
            "legacy": Tombstone(4, ENDED, "forgotten", ref={"uid": "9"}, mark="jf1-y", backend="gpu", scope="cluster"),
            "old": Tombstone(2, ENDED, "deleted", attempts=(failed,)),
        },
        specs={"s1": {"command": ["python", "train.py"], "env": {"T": {"expr": "{{ secret('T') }}", "with": {}}}}},
    )


def runs() -> tuple[Run, ...]:
    change = RunChange("prep", "create", DIGEST, 1, "done")
    return (
        Run("r1", "apply", STARTED, "ada", "0123456789abcdef", DIGEST, (change,), ENDED, "done", 0),
        Run("r2", "cancel", ENDED, "grace", "", "", ()),
    )


ORPHANS = Orphans(
    (
        Orphan(
            "gpu", "job/train-1a2b3c4d-3", "train-1a2b3c4d-3", Phase.RUNNING, Why.UNRECORDED, "2 of 2 pods", "train[lr=0.1]", 3,
            "jf1-0011223344556677-8899aabbccddeeff-3-0123456789abcdef", "2026-01-02T11:00:00.000000Z",
            "`jobform import 'train[lr=0.1]' job/train-1a2b3c4d-3` takes it over",
        ),
        Orphan(
            "fw", "8f2c41ab", "", Phase.SUCCEEDED, Why.DUPLICATE, attempt=1, mark="jf1-x",
            hint="the state has another run for this attempt of a job",
        ),
        Orphan("fw", "", "", Phase.UNKNOWN, Why.LEFT_BEHIND, "only its mark is known", "old", 2, "jf1-y", hint="stop\x1b[2J"),
        Orphan("fw", "b\u202ead", "night\nly", Phase.PENDING, Why.UNOWNED, created_at="2026-01-02T11:00:00Z"),
    ),
    (Unlisted("qpu", "the runs on backend 'qpu' could not be listed: denied", "status 403"),),
)

TAKEN = Takeover("train[lr=0.1]", "fw", "8f2c41ab", "nightly", Phase.RUNNING, 2, asserted=("spec.env.TOKEN", "inputs[a.py]"))

DIFFERING = Takeover(
    "train", "fw", "8f2c41ab", "nightly", Phase.SUCCEEDED, asserted=("spec.args",), differences=(
        FieldChange("spec.image", "a:1", "a:2", source="actual", class_="result", reason="It is what runs.", range=place(4, 7)),
        FieldChange("spec.env.KEY", None, "canary", has_before=False, source="actual", class_="result", sensitive=True),
        FieldChange("spec.labels.team", "vision", None, has_after=False, source="actual", class_="operational"),
    ),
)

LOCK = LockInfo("l-1", "ada", "build-7", 4711, "jobform apply", "2026-01-02T11:59:00.000000Z", "https://ci.example/run/7")


def events() -> tuple[Event, ...]:
    """An apply as it is told, every type of event among it."""
    at = "2026-01-02T12:00:00.000000Z"
    return (
        RunStarted("r2", at, "apply", "ada", "0123", DIGEST, (RunChange("train", "rerun", DIGEST, 2),)),
        SpecStored("s1", {"command": ["true"]}),
        ChangeAccepted("train", accepted("rerun", 2), DESIRED),
        Begun("train", intent()),
        Ended("train", Op.SUBMIT, 2, at, ok=True, ref={"uid": "7"}),
        Observed("train", 2, at, Phase.PENDING, "waiting for a GPU"),
        Observed("train", 2, at, Phase.RUNNING, started_at=STARTED),
        Observed(
            "train", 2, at, Phase.SUCCEEDED, exit=0, started_at=STARTED, ended_at="2026-01-02T11:00:17.000000Z", outputs={"n": 1},
        ),
        Settled("train", at, "done"),
        ChangeAccepted("label", accepted("update", 1), DESIRED),
        Settled("label", at, "done"),
        Begun("tune", intent(n=1)),
        Ended("tune", Op.SUBMIT, 1, at, ok=True, adopted=True),
        Observed("tune", 1, at, Phase.FAILED, "", "user_error", "", 3, None, STARTED, "2026-01-02T11:00:08.000000Z"),
        Held("tune", at, "failed", "attempt 1 failed (user_error)"),
        Begun("eval", intent(n=1)),
        Ended("eval", Op.SUBMIT, 1, at, ok=False, error="quota exceeded"),
        Settled("report", at, "dependency_failed", "tune"),
        Begun("clean", intent(Op.CANCEL, 3)),
        Ended("clean", Op.CANCEL, 3, at, ok=True),
        Observed("clean", 3, at, Phase.CANCELLED, ended_at=at),
        Moved("fit", "fitted", at),
        Removed("old", at, "deleted"),
        Released("nightly", at),
        Resolved("legacy", at, "ada", "not-submitted"),
        Imported(
            "found", at, accepted("adopt", 1), DESIRED,
            attempt(1, Phase.PENDING, name="run-4711", ref={"id": "run-4711"}, asserted=("spec.env.TOKEN",)),
        ),
        RunEnded("r2", at, "partial", 7),
    )


def long_values() -> Plan:
    """Values that do not fit on a line, and differences that lines cannot show."""
    lines = [f"step {n}" for n in range(12)]
    changed = [*lines[:6], "another step", *lines[7:]]
    many = [f"--flag-{n}=value-{n}" for n in range(9)]

    def field(path: str, before: object, after: object) -> FieldChange:
        return FieldChange(path, before, after, class_="result", mutable="never", range=place(5, 5))  # type: ignore[arg-type]  # JSON

    return plan(Change(
        "prep", Action.RERUN, Reason.SPEC_CHANGED, "here", attempt=2, phase="succeeded", detail="line one\nline two",
        hint="first do this\nthen that", fields=(
            field("spec.args", many, [*many[:4], "--flag-x", *many[5:]]),
            field("spec.env", {"A": "x" * 60, "B": "y" * 40}, {"A": "x" * 60, "B": "z" * 40}),
            field("spec.script", "\n".join(lines) + "\n", "\n".join(changed) + "\n"),
            field("spec.tabs", "a\tb\nc", "a b\nc"), field("spec.end", "a\nb", "a\nb\n"),
            field("spec.type", "1", 1), field("spec.gone", True, None),
            FieldChange("spec.new", None, "one\ntwo", has_before=False, class_="operational", range=place(9, 1)),
            FieldChange("spec.old", "one", None, has_after=False, class_="operational"),
            FieldChange("spec.labels.team", "a", "b", source="actual", class_="operational"),
        ),
    ), target=None)
