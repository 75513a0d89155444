"""The Hugging Face hub: what of it is here, and why something could not be fetched."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from interp.errors import causes_of, reason

UNREACHED = (
    "It is not in the cache, and the hub cannot be reached. Check the network, and that "
    "HF_HUB_OFFLINE is not set; or give a folder."
)

ASK_SECONDS = 10
"""Seconds that the hub may take to answer."""

# The first that fits is told: a gated repository is also one that is not found.
REASONS: list[tuple[type[BaseException], str]] = [
    (
        GatedRepoError,
        "Its owner grants access on request. Ask for it on the hub, then set HF_TOKEN for the "
        "workers.",
    ),
    (
        RevisionNotFoundError,
        "The hub has the name, but not this revision. Give a branch, a tag or a commit of it.",
    ),
    (
        RepositoryNotFoundError,
        "The hub has no such name, or it is private. Check the spelling, or set HF_TOKEN for the "
        "workers.",
    ),
    (HFValidationError, "It is no folder that is there, and cannot be a name on the hub."),
    (OfflineModeIsEnabled, UNREACHED),
    (LocalEntryNotFoundError, UNREACHED),
    (EntryNotFoundError, "The hub has the name, but a file that is needed is not in it."),
    (PermissionError, "A file of it may not be read by the worker. Change its permissions."),
    (ConnectionError, UNREACHED),
]


def hub_reason(error: BaseException) -> str:
    """The reason why a name could not be fetched, and the remedy, see :data:`REASONS`."""
    causes = list(causes_of(error))
    for kind, sentence in REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return sentence
    return f"{reason(error)}."


def cannot_fetch(name: str, revision: str | None = None, *, data_set: bool = False) -> str:
    """Ask the hub for a repository, and say why it could not be fetched. Empty if it could."""
    kind = "dataset" if data_set else "model"
    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=ASK_SECONDS)
    except (HfHubHTTPError, HFValidationError) as error:
        return hub_reason(error)
    except Exception:  # whatever the network's library raises where there is no network
        return UNREACHED
    return ""


def cached(name: str, revision: str | None = None) -> Path | None:
    """The folder of a repository in the cache of this machine; None if it is not there. The hub is
    not asked, and some of the repository's files may be missing."""
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):  # not there, in part, or no name
        return None
