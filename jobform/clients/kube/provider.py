"""Users with an `auth-provider` (OpenID Connect): the `kubernetes` package refreshes their tokens and saves them."""

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobform.clients.kube.kubeconfig import Entry, refused
from jobform.clients.text import short

_AUTHORITY = "idp-certificate-authority"
_ELSE = "log in again, or use a credential plug-in (`exec`) instead"


def provided(
    user: Entry, paths: list[Path], context: str, environ: Mapping[str, str], source: str, limit: float,
) -> Callable[[], str]:
    """How the authorization header is made. limit: seconds that a refresh may take.

    Raises KubeError for a provider that the package does not know, without a token, and when no fresh one can be had. The
    package's texts can quote whole users: of what it raises, only the kind of mistake is told.
    """
    from kubernetes.client import Configuration  # type: ignore[import-untyped]  # the package has no types
    from kubernetes.config.kube_config import (  # type: ignore[import-untyped]  # the package has no types
        KubeConfigLoader,
        KubeConfigMerger,
    )

    configuration = Configuration()

    def load() -> None:
        merger = KubeConfigMerger(os.pathsep.join(str(path) for path in paths))
        save = _completed(merger, user.name, environ)
        KubeConfigLoader(
            config_dict=merger.config, active_context=context, config_base_path=None, config_persister=save,
        ).load_and_set(configuration)

    _in_time(load, limit, source)
    provider = user.content["auth-provider"]
    if not configuration.api_key:
        name = short(provider.get("name") if isinstance(provider, dict) else provider, 60)
        raise refused(f"the auth-provider {name} of {source} gave no token", "use a credential plug-in (`exec`) instead")
    return lambda: str(configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or "")


def _in_time(load: Callable[[], None], limit: float, source: str) -> None:
    """The package waits for an issuer without end: a refresh that comes too late is left to itself, and may still be saved."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            load()
        except Exception as error:  # noqa: BLE001  # it parses foreign files and runs foreign refreshes: any type may come out
            failed.append(error)

    thread = threading.Thread(target=run, name="auth-provider", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise refused(f"{source} cannot be used: the issuer of its auth-provider gave no answer in {limit:g} s", _ELSE)
    for error in failed:
        text = str(error).partition("{")[0].partition("HTTP response")[0]
        raise refused(f"{source} cannot be used: {short(text.strip(), 300) or type(error).__name__}", _ELSE) from None


def _completed(merger: Any, name: str, environ: Mapping[str, str]) -> Callable[[], None]:
    """Give a refresh what the package asks for and a user need not have; what saves a fresh token leaves that out of the file.

    Without an authority the package would not check the issuer's certificate; a public client has no secret.
    """
    node = merger.config["users"].get_with_name(name, safe=True)
    provider = node.value["user"].get("auth-provider") if node is not None else None
    config = provider.get("config") if isinstance(provider, dict) else None
    save_changes: Callable[[], None] = merger.save_changes
    if not isinstance(config, dict):
        return save_changes
    added = {} if "client-secret" in config else {"client-secret": ""}
    if not {_AUTHORITY, f"{_AUTHORITY}-data"} & config.keys():
        added[_AUTHORITY] = _bundle(environ)
    config |= added

    def save() -> None:
        for key in added:
            del config[key]
        try:
            save_changes()
        finally:
            config.update(added)

    return save


def _bundle(environ: Mapping[str, str]) -> str:
    """The file of the authorities that this machine trusts."""
    bundle = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if not bundle:
        from certifi import where

        bundle = where()
    return bundle
