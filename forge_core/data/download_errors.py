"""What can go wrong on the way from the hub, in words: which repository, why, and what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # of the httpx that huggingface_hub is built on
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CONTINUES = "what is there is kept, the next run continues"


class DownloadError(OSError):
    """Data that could not be had; the message says which repository and revision, why, and what to do."""


@contextmanager
def clear_errors(repository: str, revision: str, folder: Path, noted: str = "") -> Iterator[None]:
    """Raise what goes wrong as DownloadError: one message, without the token.

    `noted` names the file in `folder` that the commit was read from, "" where it came from the params.
    """
    try:
        yield
    except DownloadError:
        raise
    except (HTTPError, OSError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        reason = _hub_reason(repository, cause, folder / noted if noted else None) or _local_reason(folder, cause)
        token = get_token()
        raise DownloadError(
            f"{repository}@{revision}: {reason.replace(token, 'HF_TOKEN') if token else reason}"
        ) from None


def _hub_reason(repository: str, error: BaseException, note: Path | None) -> str:
    """Why the hub or the way to it failed; "" when it was neither."""
    page = f"{constants.HUGGINGFACE_CO_URL_HOME}datasets/{repository}"
    response = getattr(error, "response", None)
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is on; unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE to download"
    if isinstance(error, GatedRepoError):
        return f"the data set is gated; accept its terms on {page}, then set HF_TOKEN to a token of the same account"
    if isinstance(error, RevisionNotFoundError):
        if note:
            return f"the commit that {note} notes is gone; remove that file to go on with a newer one"
        return f"there is no such revision; take a commit, branch or tag of {page}"
    if response is not None and response.status_code == 401 and "X-Error-Code" not in response.headers and get_token():
        return "the hub does not take the token; set HF_TOKEN to a valid one, or unset it: public data sets need none"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such data set, or it is private; look at {page}, and set HF_TOKEN if it is private"
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered with status {response.status_code}; {CONTINUES}"
    if isinstance(error, UnicodeEncodeError) or type(error).__name__ == "LocalProtocolError":
        return "HF_TOKEN has characters that no token has; set it again"
    if isinstance(error, HTTPError):
        return f"the connection broke ({type(error).__name__}: {_line(error)}); {CONTINUES}"
    return ""


def _local_reason(folder: Path, error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if number in NO_ROOM:
        return f"no room to write in {folder} ({error.strerror}); make room; {CONTINUES}"
    if number is not None:
        return f"{error.strerror}: {error.filename or folder}; {CONTINUES}"
    if isinstance(error, ValueError):
        return f"what answered is no hub ({_line(error)}); look at HF_ENDPOINT and the proxy"
    return f"{_line(error)}; run it again"


def _line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0]
