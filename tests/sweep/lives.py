"""The life of a project on a cluster in chapters: each is a change and the one command that makes it, which may be killed.

Simulated nodes run the pods, so that runs are live and end when a chapter says so. The API server's audit log is the witness.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import audit
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.entry import Hook
from tests.kubernetes.stage import PATIENCE, Stage, document, image_job, inline
from tests.support import Result, StateWatch, Warm, assert_no_secret

OURS = "app.kubernetes.io/managed-by=jobform"
PLACES = {
    "jobs": "/apis/batch/v1", "pods": "/api/v1", "services": "/api/v1", "secrets": "/api/v1", "configmaps": "/api/v1",
}
ROUNDS = 20
"""How often a command is made again that left something to do: a stop that has to be waited for is one round."""


@dataclass
class Life(Stage):
    """A project with three jobs: `train` of two pods with a Service and a Secret, `named` with a name and a ConfigMap of its own,
    `brief` with a time to live.
    """

    results: list[Result] = field(default_factory=list)
    lr: int = 1
    epochs: int = 1
    note: str = "a"

    @classmethod
    def begin_at(cls, directory: Path, cluster: Cluster, warm: Warm) -> "Life":
        """In a new namespace."""
        return cls(directory, cluster, cluster.namespace(), warm=warm)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.secret = f"canary-{uuid.uuid4().hex}"
        self.environ["JOBFORM_SECRET_CANARY"] = self.secret
        self.watch = StateWatch(self.directory)

    def tell(self) -> None:
        """Write the job file as the life stands."""
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
        named: Any = document("fixed-name", "never", activeDeadlineSeconds=3600)
        named["metadata"]["annotations"] = {"example.com/note": self.note}
        named["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "EPOCHS", "value": str(self.epochs)}]
        env = {"LR": str(self.lr), "TOKEN": "{{ secret('CANARY') }}"}
        self.declare(
            train=image_job("never", nodes=2, env=env, labels={"note": self.note}, grace_period="1s"),
            named=inline(settings, named),
            brief=image_job("never", ttl="1h"),
        )

    def command(self, *arguments: str, hook: Hook | None = None) -> Result:
        """One command; whatever became of it, the state is whole."""
        done = self.run(*arguments, hook=hook)
        self.results.append(done)
        self.watch.look()
        assert "Traceback" not in done.stderr, done
        return done

    def until_done(self, *arguments: str) -> None:
        """The command, again until nothing is left to do."""
        asks = ("plan", "--detailed-exitcode", *(("--destroy",) if arguments[0] == "destroy" else ()))
        ends, rounds = time.monotonic() + PATIENCE, 0
        while rounds < ROUNDS or time.monotonic() < ends:
            rounds += 1
            done = self.command(*arguments)
            assert done.exit in (0, 7, 9), done
            planned = self.command(*asks)
            if done.exit == 0 and planned.exit == 0 and "accepted" not in planned.stdout:
                return
            time.sleep(0.2)
        raise AssertionError(f"still something to do after {rounds} commands: {done}\n{planned}")

    def ours(self, plural: str) -> dict[str, Object]:
        """Our objects of a kind that stand, by name."""
        items = self.api.items(f"{PLACES[plural]}/namespaces/{self.namespace}/{plural}", OURS)
        return {it["metadata"]["name"]: it for it in items}

    def jobs(self) -> dict[str, str]:
        """The number of the attempt by address, for every Job that stands and is not on its way out."""
        found = [it["metadata"] for it in self.ours("jobs").values() if "deletionTimestamp" not in it["metadata"]]
        told = [(it["annotations"]["jobform.dev/address"], it["labels"]["jobform.dev/attempt"]) for it in found]
        assert len(dict(told)) == len(told), f"two Jobs stand for one address: {told}"
        return dict(told)

    def end_all(self) -> None:
        """Let every pod exit well, and wait for the controller to say so of their Jobs."""
        for address in self.jobs():
            self.let_end(address)
        for name in self.ours("jobs"):
            self.api.wait(f"{self.path}/{name}", _complete, what=f"the end of {name}")

    def nothing_left(self) -> None:
        """No object of ours stands, when those have gone that are on their way out."""
        ends = time.monotonic() + PATIENCE
        while left := [f"{plural}/{name}" for plural in PLACES for name in self.ours(plural)]:
            assert time.monotonic() < ends, f"left behind: {left}"
            time.sleep(0.1)

    def check_ledger(self) -> None:
        """The server saw at no time two live Jobs of one address, and made no attempt twice."""
        audit.never_two_live(self.cluster.folder, self.namespace)
        labels = [made.object["metadata"]["labels"] for made in audit.creates(self.cluster.folder, self.namespace)]
        made = Counter((each[audit.LINEAGE_LABEL], each[audit.JOB_LABEL], each["jobform.dev/attempt"]) for each in labels)
        assert set(made.values()) <= {1}, f"attempts that were made more than once: {made}"
        assert_no_secret(self.secret, self.directory, *self.results)


def _complete(job: Object | None) -> bool:
    return any(it["type"] == "Complete" for it in (job or {}).get("status", {}).get("conditions", []))


@dataclass(frozen=True, slots=True)
class Chapter:
    """change: what is so before the command. check: what must be so when the command has been made, in whole or in pieces.

    calls: the effects of the backend that the command has, in the order in which they come first.
    """

    name: str
    change: Callable[[Life], None]
    command: tuple[str, ...]
    check: Callable[[Life], None]
    calls: tuple[str, ...]

    def live(self, life: Life, *hooks: Hook) -> int:
        """The change, the command under each hook in turn, and then until it is done. How many of the commands were killed."""
        self.change(life)
        killed = 0
        for hook in hooks:
            done = life.command(*self.command, hook=hook)
            assert done.exit in (KILLED, 0), done
            killed += done.exit == KILLED
        try:
            life.until_done(*self.command)
            self.check(life)
        except AssertionError as error:
            raise AssertionError(f"{self.name}, killed at {[f'{it.name} {it.at}' for it in hooks]}: {error}") from error
        return killed


def _create(life: Life) -> None:
    life.tell()


def _created(life: Life) -> None:
    assert life.jobs() == {"train": "1", "named": "1", "brief": "1"}
    name = life.live("train")["metadata"]["name"]
    assert set(life.ours("services")) == set(life.ours("secrets")) == {name}
    assert set(life.ours("configmaps")) == {"settings"}
    life.running("train", "named", "brief")


def _update(life: Life) -> None:
    life.note = "b"
    life.tell()


def _updated(life: Life) -> None:
    assert life.jobs() == {"train": "1", "named": "1", "brief": "1"}
    assert life.live("train")["metadata"]["labels"]["note"] == "b"
    assert life.live("named")["metadata"]["annotations"]["example.com/note"] == "b"


def _replace(life: Life) -> None:
    life.lr = 2
    life.tell()


def _replaced(life: Life) -> None:
    assert life.jobs() == {"train": "2", "named": "1", "brief": "1"}
    env = life.live("train")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "LR", "value": "2"} in env
    life.running("train")


def _finished(life: Life) -> None:
    assert {each["phase"] for each in life.status().values()} == {"succeeded"}
    assert life.live("brief")["spec"]["ttlSecondsAfterFinished"] == 3600


def _rerun(life: Life) -> None:
    life.epochs = 2
    life.tell()


def _rerun_done(life: Life) -> None:
    assert life.jobs()["named"] == "2"
    assert set(life.ours("configmaps")) == {"settings"}
    life.running("named")


def _stand(life: Life) -> None:
    """Nothing is changed before a destroy."""


def _destroyed(life: Life) -> None:
    life.nothing_left()


KILLED = -9
BEGIN = ("apply", "--auto-approve", "--detach")
CREATE = Chapter("create", _create, BEGIN, _created, ("apply-companion", "apply", "own"))
DESTROY = Chapter("destroy", _stand, ("destroy", "--auto-approve", "--allow-cancel", "*"), _destroyed, ("delete",))
CHAPTERS = (
    CREATE,
    Chapter("update", _update, BEGIN, _updated, ("apply-companion", "patch")),
    Chapter("replace", _replace, (*BEGIN, "--allow-cancel", "train"), _replaced, ("delete", "apply-companion", "apply", "own")),
    Chapter("finish", Life.end_all, ("apply", "--auto-approve", "--timeout", "40s"), _finished, ("release",)),
    Chapter("rerun", _rerun, BEGIN, _rerun_done, ("delete", "apply-companion", "apply")),
    DESTROY,
)
