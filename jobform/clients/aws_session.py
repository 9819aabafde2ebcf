"""boto3's lower half, made to look only where it is told to: the environment of whoever asks, and nobody's terminal."""

from collections.abc import Mapping, Sequence
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobform.clients.aws_wire import Sender
from jobform.model.errors import BackendError

if TYPE_CHECKING:
    from botocore.credentials import CredentialProvider
    from botocore.session import Session

_WEB_IDENTITY = {
    "web_identity_token_file": "AWS_WEB_IDENTITY_TOKEN_FILE", "role_arn": "AWS_ROLE_ARN",
    "role_session_name": "AWS_ROLE_SESSION_NAME",
}
"""What a profile calls a web identity, and the variables that go before it."""


def open_session(
    profile: str | None, region: str | None, environ: Mapping[str, str], *, attended: bool,
) -> "tuple[Session, Sender]":
    """A session, and what sends its requests and those with which it has credentials made. Nothing is asked.

    profile, region: None for the environment and the profile to say; roles are assumed in that region too. attended: a person is
    there, who may be asked for the code of a second factor. Raises boto3's errors for a configuration that cannot be used.
    """
    import botocore.session
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigChainFactory

    environ = {name: value for name, value in environ.items() if value}  # for boto3 an empty AWS_PROFILE names one
    core = botocore.session.Session(profile=profile)
    chains, store = ConfigChainFactory(session=core, environ=environ), core.get_component("config_store")
    for name, (in_file, variables, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        store.set_config_provider(name, chains.create_config_chain(
            instance_name=name, env_var_names=variables, config_property_names=in_file, default=default,
            conversion_func=convert,
        ))
    if region:
        core.set_config_variable("region", region)
    home = Path(environ.get("HOME") or "~")
    for variable, name, file in (
        ("AWS_CONFIG_FILE", "config_file", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials_file", "credentials"),
    ):
        if not environ.get(variable):
            core.set_config_variable(name, str(home / ".aws" / file))
    resolver = core.get_component("credential_provider")
    resolver.providers[:] = _providers(core, resolver.providers, profile, environ, attended=attended)
    sender = Sender(environ, _bundle(core, environ))
    core.register("before-send", sender.send)  # type: ignore[arg-type]  # this event takes an answer
    return core, sender


def _bundle(core: "Session", environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The certificate authorities that boto3 would take."""
    if found := core.get_config_variable("ca_bundle"):
        return str(found), "AWS_CA_BUNDLE" if environ.get("AWS_CA_BUNDLE") else "`ca_bundle` of the AWS profile"
    found = environ.get("REQUESTS_CA_BUNDLE")
    return (found, "REQUESTS_CA_BUNDLE") if found else None


def _providers(
    core: "Session", given: "Sequence[CredentialProvider]", profile: str | None, environ: Mapping[str, str], *, attended: bool,
) -> "list[CredentialProvider]":
    """The providers of boto3's chain, in its order, made anew where they would take the process's environment or terminal."""
    import botocore.credentials as known
    from botocore.utils import create_nested_client

    chosen, cache, values = core.get_config_variable("profile") or "default", dict[str, Any](), dict(environ)
    variables, container = known.EnvProvider(environ=values), known.ContainerProvider(environ=values)
    disabled = values.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    machine = [each for each in given if isinstance(each, known.InstanceMetadataProvider) and not disabled]

    def client(service: str, **settings: Any) -> Any:  # of boto3
        return create_nested_client(core, service, **settings)

    def web_identity() -> dict[str, Any]:
        """The configuration with what the environment says, unless somebody chose a profile instead."""
        named = {} if profile else {key: values[name] for key, name in _WEB_IDENTITY.items() if values.get(name)}
        return {"profiles": {chosen: {**core.full_config.get("profiles", {}).get(chosen, {}), **named}}}

    def anew(each: "CredentialProvider") -> "list[CredentialProvider]":
        if isinstance(each, known.EnvProvider):
            return [variables]
        if isinstance(each, known.ContainerProvider):
            return [container]
        if isinstance(each, known.InstanceMetadataProvider):
            return [*machine]
        if isinstance(each, known.AssumeRoleWithWebIdentityProvider):
            return [known.AssumeRoleWithWebIdentityProvider(web_identity, client, chosen, cache, disable_env_vars=True)]
        if isinstance(each, known.AssumeRoleProvider):
            return [known.AssumeRoleProvider(
                lambda: core.full_config, client, cache, chosen, getpass if attended else _nobody,
                known.CanonicalNameCredentialSourcer([variables, container, *machine]),
                known.ProfileProviderBuilder(core, cache=cache),
            )]
        return [each]

    return [made for each in given for made in anew(each)]


def _nobody(prompt: str) -> str:
    """In place of the terminal, where boto3 would read even what was meant for somebody else."""
    del prompt
    raise BackendError(
        "the AWS profile wants the code of a second factor, and nobody is there to give it",
        "make the session before, and name a profile that holds it, or set AWS_SESSION_TOKEN with its two keys",
    )
