"""What a run leaves on disk, so that it can go on: files, the store of checkpoints, the lock."""

from torchrl_lite.checkpoint.files import (
    CheckpointError,
    load,
    remove_temporaries,
    save,
    write_atomically,
    write_text,
)
from torchrl_lite.checkpoint.store import Saved, Store, complete_checkpoint, weights_of_run
from torchrl_lite.lock import BusyError, locked

__all__ = [
    "BusyError",
    "CheckpointError",
    "Saved",
    "Store",
    "complete_checkpoint",
    "load",
    "locked",
    "remove_temporaries",
    "save",
    "weights_of_run",
    "write_atomically",
    "write_text",
]
