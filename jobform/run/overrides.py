"""Settings of backends that the command line decides, such as `--context`: in every block whose type has that setting."""

from collections.abc import Sequence
from dataclasses import replace

from jobform.config.read import BackendTypes
from jobform.model.errors import UsageError
from jobform.model.job import BackendBlock, Settings


def overridden(settings: Settings, given: Sequence[tuple[str, str]], types: BackendTypes) -> Settings:
    """The settings with these (setting, value) pairs in place of what jobform.yaml says: blocks resolved so are what is approved.

    Raises UsageError for a setting that no configured backend has, and for a value that it cannot have.
    """
    if not given:
        return settings
    known = types.names()
    keys = {name: types.settings(block.type).keys() for name, block in settings.backends.items() if block.type in known}
    backends = dict(settings.backends)
    for key, value in given:
        having = [name for name in keys if key in keys[name]]
        if not having:
            listed = ", ".join(f"{name} ({block.type})" for name, block in settings.backends.items()) or "none"
            raise UsageError.of(
                "no_such_setting", f"--{key}: no backend of this project has a setting `{key}`", detail=f"backends: {listed}",
            )
        for name in having:
            backends[name] = _with(backends[name], key, value, types)
    return replace(settings, backends=backends)


def _with(block: BackendBlock, key: str, value: str, types: BackendTypes) -> BackendBlock:
    schema = types.settings(block.type)
    changed = replace(block, settings=block.settings | {key: value})
    if schema.is_valid(block.settings):  # what was wrong before is found where it is written
        for problem in schema.problems(changed.settings):
            raise UsageError.of(
                "bad_setting", f"--{key} {value[:80]} does not fit backend {block.name!r}: {problem.summary}",
                detail=problem.detail, hint=problem.hint,
            )
    return changed
