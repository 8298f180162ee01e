"""What can go wrong between here and the Hugging Face hub, in words for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from huggingface_hub import errors

from liquidgen.errors import LiquidgenError

Kind = Literal["model", "dataset"]


@contextmanager
def hub_errors_explained(repository: str, kind: Kind) -> Iterator[None]:
    """Turn the hub's errors within the block into a line with a remedy.

    Raises:
        GatedError: the repository asks for a login or for its terms to be accepted.
        LiquidgenError: anything else the hub, the network or the local copy refuses.
    """
    address = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
    try:
        yield
    except LiquidgenError:
        raise
    except Exception as error:
        raise _explained(error, repository, kind, address) from error


class GatedError(LiquidgenError):
    """The hub wants a login, or a click on the repository's page, first."""


def _explained(error: Exception, repository: str, kind: Kind, address: str) -> LiquidgenError:
    causes = list(_causes(error))

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if among(errors.GatedRepoError):
        return GatedError(
            f"the {kind} {repository} is gated: the hub asks who you are first",
            f"accept its terms at {address}, then run `hf auth login`",
        )
    if among(errors.RepositoryNotFoundError):
        return LiquidgenError(
            f"the hub has no {kind} {repository}, or not for you",
            f"look at {address}; run `hf auth login` if it is private",
        )
    if among(errors.RevisionNotFoundError):
        return LiquidgenError(
            f"the {kind} {repository} has no such revision",
            f"its revisions are listed at {address}",
        )
    if among(errors.OfflineModeIsEnabled):
        return LiquidgenError(
            f"the {kind} {repository} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
            "unset HF_HUB_OFFLINE, or fetch it on another machine and give its folder",
        )
    if among(errors.HfHubHTTPError):
        return LiquidgenError(
            f"the hub refuses {repository}: {error}", f"try again later, or look at {address}"
        )
    if among(errors.LocalEntryNotFoundError, ConnectionError) or _is_network(causes):
        return LiquidgenError(
            f"the hub does not answer, and {repository} is not on this machine",
            "check the network, or fetch it on another machine and give its folder"
            + ("; --vae tiny needs no network" if kind == "model" else ""),
        )
    return LiquidgenError(
        f"{repository} does not load: {type(error).__name__}: {error}", f"look at {address}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_network(causes: list[BaseException]) -> bool:
    """The hub's client library is httpx or its successor, whose errors share no public base."""
    return any(type(cause).__module__.startswith(("httpx", "httpcore")) for cause in causes)
