"""Why something could not be fetched from the Hugging Face hub, in a sentence."""

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
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
