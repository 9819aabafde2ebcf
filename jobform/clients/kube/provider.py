"""Users with an `auth-provider` (OpenID Connect): the `kubernetes` package refreshes their tokens and saves them."""

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from jobform.clients.kube.kubeconfig import Entry, refused
from jobform.clients.text import short


def provided(user: Entry, paths: list[Path], context: str, environ: Mapping[str, str], source: str) -> Callable[[], str]:
    """How the authorization header is made. Raises KubeError for a provider that the package does not know, or without a token.

    Its texts can quote whole users: of what it raises, only the kind of mistake is told.
    """
    from kubernetes.client import Configuration  # type: ignore[import-untyped]  # the package has no types
    from kubernetes.config.kube_config import (  # type: ignore[import-untyped]  # the package has no types
        KubeConfigLoader,
        KubeConfigMerger,
    )

    configuration = Configuration()
    try:
        merger = KubeConfigMerger(os.pathsep.join(str(path) for path in paths))
        save = _trusting_save(merger, user.name, environ)
        KubeConfigLoader(
            config_dict=merger.config, active_context=context, config_base_path=None, config_persister=save,
        ).load_and_set(configuration)
    except Exception as error:  # noqa: BLE001  # it parses foreign files and runs foreign refreshes: any type may come out
        why = short(str(error).partition("{")[0], 300) or type(error).__name__
        raise refused(f"{source} cannot be used: {why}") from None
    provider = user.content["auth-provider"]
    if not configuration.api_key:
        name = short(provider.get("name") if isinstance(provider, dict) else provider, 60)
        raise refused(f"the auth-provider {name} of {source} gave no token", "use a credential plug-in (`exec`) instead")
    return lambda: str(configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or "")


def _trusting_save(merger: object, name: str, environ: Mapping[str, str]) -> Callable[[], None]:
    """Let a refresh check the issuer's certificate: without an authority of its own the package would check nothing.

    The authority is for this process only; saving a refreshed token leaves it out of the file.
    """
    node = merger.config["users"].get_with_name(name, safe=True)  # type: ignore[attr-defined]  # the package has no types
    provider = node.value["user"].get("auth-provider") if node is not None else None
    config = provider.get("config") if isinstance(provider, dict) else None
    save_changes: Callable[[], None] = merger.save_changes  # type: ignore[attr-defined]  # the package has no types
    if not isinstance(config, dict) or {"idp-certificate-authority", "idp-certificate-authority-data"} & config.keys():
        return save_changes
    bundle = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if not bundle:
        from certifi import where

        bundle = where()
    config["idp-certificate-authority"] = bundle

    def save() -> None:
        del config["idp-certificate-authority"]
        try:
            save_changes()
        finally:
            config["idp-certificate-authority"] = bundle

    return save
