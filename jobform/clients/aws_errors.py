"""What an exception of boto3 means: had the call an effect, may it be made again, and what should the user change."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from jobform.clients.retry_after import retry_after
from jobform.clients.text import excerpt, short
from jobform.model.errors import BackendError

_THROTTLED = frozenset({
    "ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded",
    "RequestThrottled", "RequestThrottledException", "SlowDown", "BandwidthLimitExceeded", "PriorRequestNotComplete",
})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
"""Codes of a service that knows the credentials, and that their time is over."""

_UNKNOWN_KEY = frozenset({
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken", "AuthFailure",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature", "IncompleteSignatureException",
    "OptInRequired", "NotAuthorized",
})
_BAD_SIGNATURE = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch", "InvalidSignature"})
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException"})


class AwsError(BackendError):
    """A call that failed. status: 0 without an answer. code: the service's own, "" for none. message: its words."""

    def __init__(
        self, summary: str, detail: str = "", *, status: int = 0, code: str = "", message: str = "", throttled: bool = False,
        retryable: bool = False, ambiguous: bool = False, retry_after: float = 0.0,
    ) -> None:
        super().__init__(summary, detail, retryable=retryable, ambiguous=ambiguous, retry_after=retry_after)
        self.status = status
        self.code = code
        self.message = message
        self.throttled = throttled


class NotSentError(Exception):
    """Whoever was asked has not got a byte of the request. trusted: False where it could not prove who it is."""

    def __init__(self, why: str, *, trusted: bool = True) -> None:
        super().__init__(why)
        self.trusted = trusted


class BrokenError(Exception):
    """The request was sent, at least in part, and no whole answer came."""


class NoAnswerError(Exception):
    """What came with a success is not what a JSON service answers."""


def check_answer(operation_model: object, response_dict: Mapping[str, object], **_: object) -> None:
    """For boto3's event `before-parse`: its parsers take whatever comes, a login page too, for an answer without members.

    Raises NoAnswerError.
    """
    body, headers, status = response_dict.get("body"), response_dict.get("headers"), response_dict.get("status_code")
    if not isinstance(body, bytes) or not isinstance(headers, Mapping) or not isinstance(status, int):
        return  # a stream
    if status < 300 and "json" in str(getattr(getattr(operation_model, "service_model", None), "resolved_protocol", "")):
        try:
            whole = isinstance(json.loads(body or b"{}"), dict)
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            kind = short(headers.get("content-type") or "no content type", 80)
            raise NoAnswerError(f"status {status}, {kind}: {excerpt(body)}")


@dataclass(frozen=True, slots=True)
class Context:
    """The call that failed, and the settings and variables that decided whom it reached. Texts are "" for none."""

    service: str
    operation: str
    changing: bool
    region: str
    region_source: str
    endpoint_source: str
    credentials: str
    profile: str
    profile_source: str
    now: datetime

    @property
    def where(self) -> str:
        """What decided whom the call reached."""
        if self.endpoint_source:
            return f"the address comes from {self.endpoint_source}"
        return f"the region {self.region} comes from {self.region_source}" if self.region else "no region is known"

    @property
    def call(self) -> str:
        return f"{self.service} {self.operation}".strip() or "AWS"


def failure(error: Exception, context: Context) -> AwsError:
    """An AwsError for whatever boto3 raised; what is not known to have had no effect is ambiguous where the call changes."""
    import botocore.exceptions as known

    if isinstance(error, known.ClientError):
        return _refusal(error, context)
    if isinstance(error, NotSentError):
        what = "cannot connect to" if error.trusted else "no trusted connection to"
        return AwsError(
            f"{what} {context.service or 'AWS'} of AWS", f"{_text(error)}; {context.where}", retryable=error.trusted,
        )
    if (before := _before_sending(error, context)) is not None:
        return before
    if isinstance(error, BrokenError | known.HTTPClientError | OSError):
        return AwsError(
            f"no whole answer from {context.service} of AWS", f"{context.operation}: {_text(error)}; {context.where}",
            retryable=True, ambiguous=context.changing,
        )
    kind = "" if isinstance(error, NoAnswerError) else f"{type(error).__name__}: "
    return AwsError(
        f"the answer of {context.service or 'AWS'} is not what the service gives",
        f"{context.operation}: {kind}{_text(error)}; {context.where}", ambiguous=context.changing,
    )


def no_credentials(error: Exception, context: Context) -> AwsError:
    """An AwsError for whatever kept boto3 from finding credentials, or from having them renewed: the call was not made."""
    import botocore.exceptions as known

    if (told := _before_sending(error, context)) is not None:
        return told
    what = "no AWS credentials could be had"
    if isinstance(error, known.ClientError):  # of a service that gives credentials
        said = _refusal(error, replace(context, operation=short(getattr(error, "operation_name", ""), 60), changing=False))
        return AwsError(
            f"{what}: {said.summary}", said.detail, status=said.status, code=said.code, message=said.message,
            throttled=said.throttled, retryable=said.retryable, retry_after=said.retry_after,
        )
    passing = isinstance(error, BrokenError | known.HTTPClientError) or (isinstance(error, NotSentError) and error.trusted)
    known_here = isinstance(error, NotSentError | BrokenError | NoAnswerError | OSError | known.BotoCoreError)
    kind = "" if known_here else f"{type(error).__name__}: "
    return AwsError(what, f"{kind}{_text(error)}; they come from {context.credentials}", retryable=passing)


def _before_sending(error: Exception, context: Context) -> AwsError | None:
    """Errors of the settings: nothing was sent."""
    import botocore.exceptions as known

    if isinstance(error, known.NoCredentialsError):
        profile = f"the profile {context.profile!r} has none ({context.profile_source}); " if context.profile else ""
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or `profile` of the backend"
        return AwsError("there are no credentials for AWS", f"{profile}{hint}")
    if isinstance(error, known.ProfileNotFound):
        named = f"{context.profile_source or 'the AWS configuration'} names it"
        return AwsError(f"there is no AWS profile {context.profile!r}", f"{named}; AWS_CONFIG_FILE or ~/.aws/config has them")
    if isinstance(error, known.PartialCredentialsError | known.ConfigParseError | known.InvalidConfigError):
        return AwsError("the AWS configuration cannot be used", _text(error))
    if isinstance(error, known.InvalidRegionError):
        return AwsError(f"{context.region!r} is no AWS region", f"it comes from {context.region_source}")
    if isinstance(error, known.SSOTokenLoadError | known.UnauthorizedSSOTokenError):
        login = f"aws sso login{f' --profile {context.profile}' if context.profile else ''}"
        return AwsError(f"nobody is logged in to the single sign-on of AWS: `{login}` does it",
                        f"{_text(error)}; the credentials come from {context.credentials}")
    if isinstance(error, known.CredentialRetrievalError | known.TokenRetrievalError | known.SSOError):
        return AwsError("no AWS credentials could be had", f"{_text(error)}; they come from {context.credentials}")
    if isinstance(error, known.ParamValidationError | known.NoRegionError | known.UnknownServiceError | known.DataNotFoundError):
        return AwsError(f"{context.call} cannot be asked", _text(error))
    return None


def _refusal(error: "Exception", context: Context) -> AwsError:
    """An answer with an error status. The service's own words are hostile until proven otherwise."""
    response = getattr(error, "response", None)
    response = response if isinstance(response, dict) else {}
    about, meta = response.get("Error"), response.get("ResponseMetadata")
    about, meta = about if isinstance(about, dict) else {}, meta if isinstance(meta, dict) else {}
    status = meta.get("HTTPStatusCode")
    status = status if isinstance(status, int) else 0
    headers = meta.get("HTTPHeaders")
    code = str(about.get("Code") or "").rpartition("#")[2].partition(":")[0]
    message = short(about.get("Message") or "") or "no word about it"
    detail = f"{context.call}: status {status}{f', {short(code, 60)}' if code else ''}"
    pause = retry_after(str(headers.get("retry-after") or ""), context.now) if isinstance(headers, dict) else 0.0
    throttled = status == 429 or code in _THROTTLED

    def made(summary: str, more: str = "", *, retryable: bool = False, ambiguous: bool = False) -> AwsError:
        return AwsError(
            summary, "; ".join(part for part in (detail, more) if part), status=status, code=code, message=message,
            throttled=throttled, retryable=retryable, ambiguous=ambiguous, retry_after=pause,
        )

    if throttled:
        return made(f"the service asks to slow down: {message}", retryable=True)
    if status in (408, 500) or status > 500:
        return made(f"the service failed: {message}", retryable=True, ambiguous=context.changing)
    if status and status < 400:
        return made(f"{context.service} of AWS redirects, which is not followed", context.where)
    if (who := _credentials(code, message, context)) is not None:
        return made(who[0], who[1])
    if code in _DENIED or status in (401, 403):
        return made(f"these credentials may not do that: {message}", f"the credentials come from {context.credentials}; "
                    f"{context.where}")
    return made(message)


def _credentials(code: str, message: str, context: Context) -> tuple[str, str] | None:
    """Summary and what to change, when the service did not accept who asks."""
    source = f"the credentials come from {context.credentials}"
    if code in EXPIRED:
        return f"the AWS credentials have expired: {message}", f"{source}; renew them"
    if code in _SKEWED or (code in _BAD_SIGNATURE and any(word in message for word in ("expired", "not yet current"))):
        return f"AWS does not accept the time of this machine: {message}", "set its clock"
    if code in _BAD_SIGNATURE and "scoped to" in message:
        return f"AWS does not accept the region {context.region}: {message}", f"it comes from {context.region_source}"
    if code in _UNKNOWN_KEY or code in _BAD_SIGNATURE:
        return f"AWS does not accept the credentials: {message}", source
    return None


def _text(error: Exception) -> str:
    return short(str(error), 300) or type(error).__name__
