"""What cannot be read of a past run stops no new one."""

import json

from tests.identity.life import Life


def test_a_log_that_cannot_be_kept_is_a_warning(life: Life) -> None:
    """Somebody pushed a state whose past runs are named as no backend names them."""
    life.declare(train=life.job("a"))
    life.apply()
    document = json.loads(life.run("state", "pull").stdout)
    del document["checksum"]
    document["serial"] += 1
    document["jobs"]["train"]["attempts"][0]["ref"] = {"strange": True}
    (life.directory / "pushed.json").write_text(json.dumps(document))
    life.run("state", "push", "pushed.json")
    for kept in life.directory.rglob("*.log"):
        kept.unlink()
    life.declare(train=life.job("b"))
    result = life.apply(exits=(0, 7))
    assert "fault in jobform" not in result.stderr, result
    assert life.history("train") == [(1, "succeeded"), (2, "succeeded")]
