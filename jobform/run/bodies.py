"""Makes what a backend gets: the accepted spec with outputs and secrets in place, checked once more."""

from collections.abc import Callable, Iterable, Mapping

from jobform.config.problem import Problem
from jobform.config.render import resolve
from jobform.config.secrets import environment_variable, lookup, secret_names
from jobform.config.validate import validate_spec
from jobform.engine.body import Body, InvalidOutput, MissingSecret
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import InputError
from jobform.model.state import Desired
from jobform.model.values import Json, deferred, digest, dotted
from jobform.schema import SpecSchema


class Bodies:
    """Resolves specs at submission. environ holds the secrets; schema answers by backend type."""

    def __init__(self, environ: Mapping[str, str], schema: Callable[[str], SpecSchema]) -> None:
        self._lookup = lookup(environ)
        self._schema = schema

    def __call__(self, address: str, desired: Desired, spec: dict[str, Json], outputs: Mapping[str, Json]) -> Body:
        """See `engine.body.Resolve`, which tells what `address` is for; here it is not needed.

        A spec that waits for nothing was valid when it was planned and is sent as it is.
        """
        del address
        if next(deferred(spec), None) is None:
            return Body(spec, spec, _hash(desired, spec), {}, inputs=desired.inputs)
        described = resolve(spec, outputs, None)
        if described.missing:
            raise InvalidOutput(f"{', '.join(sorted(described.missing))} is not there")
        if described.problems:
            raise InvalidOutput(f"spec.{dotted(described.problems[0].path)}: {described.problems[0].summary}")
        shown = self._checked(described.value, spec, desired)
        key = _hash(desired, shown)
        if not secret_names(shown):
            return Body(shown, shown, key, described.used, inputs=desired.inputs)
        used: list[str] = []
        full = resolve(spec, outputs, self._noting(used))
        if full.missing:
            raise MissingSecret(tuple(sorted(full.missing)))
        return Body(self._checked(full.value, spec, desired), shown, key, described.used, tuple(used), inputs=desired.inputs)

    def require(self, specs: Iterable[tuple[str, Mapping[str, Json]]]) -> None:
        """Refuse to begin while a secret of these (address, spec) pairs is missing. Raises InputError naming every one."""
        missing: dict[str, list[str]] = {}
        for address, spec in specs:
            for name in sorted(secret_names(dict(spec))):
                if self._lookup(name) is None:
                    missing.setdefault(name, []).append(address)
        if missing:
            raise InputError([_missing(name, addresses) for name, addresses in sorted(missing.items())])

    def _noting(self, used: list[str]) -> Callable[[str], str | None]:
        def value_of(name: str) -> str | None:
            value = self._lookup(name)
            if value is not None:
                used.append(value)
            return value

        return value_of

    def _checked(self, value: Json, written: dict[str, Json], desired: Desired) -> dict[str, Json]:
        assert isinstance(value, dict)
        problems: list[Problem] = []
        checked = validate_spec(value, written, self._schema(desired.type), desired.policy, problems.append)
        errors = [
            problem
            for problem in problems
            if problem.severity is Severity.ERROR and problem.code not in ("plain_secret", "reserved_shape")
        ]
        if errors:
            first = errors[0]
            raise InvalidOutput(f"spec.{dotted(first.path)}: {first.summary}")
        return checked


def _hash(desired: Desired, spec: Mapping[str, Json]) -> str:
    """The name of all that is sent: a run of the same spec with other files is another one."""
    files = {"inputs": dict(desired.inputs)} if desired.inputs else {}
    return digest({"type": desired.type, "spec": dict(spec), **files})


def _missing(name: str, addresses: list[str]) -> Diagnostic:
    more = f" and {len(addresses) - 5} more" if len(addresses) > 5 else ""
    variable = environment_variable(name)
    return Diagnostic(
        Severity.ERROR, "missing_secret", f"{variable} is not set", detail=f"needed by {', '.join(addresses[:5])}{more}",
        hint=f"set {variable}, or {variable}_FILE to a file that holds the value; nothing was changed", address=addresses[0],
        count=len(addresses),
    )
