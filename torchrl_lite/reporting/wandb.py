"""A run on Weights & Biases. The package is optional and only imported if needed."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

from torchrl_lite.checkpoint.files import write_text
from torchrl_lite.config.extras import import_extra
from torchrl_lite.errors import UserError, first_line
from torchrl_lite.reporting.console import Row
from torchrl_lite.reporting.film import Film

PATIENCE_S = 30
"""Seconds a run waits for uploads at its end; the rest stays on disk for ``wandb sync``."""
HANGS_AFTER_S = 2.0 * PATIENCE_S
"""Seconds after which a call that has not returned counts as failed."""
GOODBYE_S = 1.0
"""Seconds to wait until a package that has failed is gone."""
ID_FILE = "wandb_id.txt"
"""In a run directory: the W&B id, with which a resumed run continues."""


def check() -> None:
    """
    Raises:
        UserError: the package is missing, or the login fails.
    """
    wandb = _package()
    if wandb.setup(settings=wandb.Settings(silent=True)).settings.mode != "online":
        return
    try:
        known, reason = wandb.login(prompt=False, verify=True), "no API key"
    except Exception as error:
        known, reason = False, first_line(error)
    if not known:
        raise UserError(
            f"--track: no login at Weights & Biases ({reason}); run `wandb login`, or set "
            "WANDB_MODE=offline"
        )


def _package() -> Any:
    return import_extra("wandb", "wandb", needed_by="--track")


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Calls in a thread of its own, which is left behind if it hangs.

    Raises:
        TimeoutError: it did not return in time.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=run, daemon=True).start()
    try:
        done.result(seconds)
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:g} s") from None


class Tracker:
    """Never stops a run: a failure of W&B, or a call that hangs, is reported once, and the run
    continues without it."""

    def __init__(
        self,
        folder: Path,
        *,
        project: str,
        name: str,
        values: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        """
        ``values`` is the configuration shown on W&B; nothing else is passed to it.

        Raises:
            UserError: W&B refuses the run.
        """
        self._wandb, self._folder, self._say = _package(), folder, say
        settings = self._wandb.Settings(
            console="off",  # the terminal belongs to the view
            silent=True,
            finish_timeout=PATIENCE_S,
            finish_timeout_raises=True,
        )
        try:
            self._run: Any = self._wandb.init(
                project=project, name=name, id=_id(folder), resume="allow", dir=str(folder),
                settings=settings,
            )  # fmt: skip
            self._run.config.update(dict(values), allow_val_change=True)
        except Exception as error:
            raise UserError(
                f"--track: Weights & Biases refuses the run ({first_line(error)})"
            ) from None
        say(
            f"Weights & Biases: {self._run.url or f'run {self._run.id}, offline in {folder}/wandb'}"
        )

    def row(self, row: Row, *, frames: int) -> None:
        self._try(lambda run: run.log(dict(row), step=frames))

    def film(self, task: str, _film: Film, path: Path, *, frames: int) -> None:
        def log(run: Any) -> None:
            run.log({f"video/{task}": self._wandb.Video(str(path), format="mp4")}, step=frames)

        self._try(log)

    def final(self, metrics: Row, *, frames: int) -> None:  # noqa: ARG002 (the summary has no step)
        self._try(lambda run: run.summary.update(dict(metrics)))

    def flush(self) -> None:
        """W&B writes by itself."""

    def close(self) -> None:
        self._try(lambda run: run.finish())

    def _try(self, call: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            _within(HANGS_AFTER_S, lambda: call(self._run))
        except Exception as error:
            self._run = None
            self._say(
                f"warning: Weights & Biases failed ({first_line(error)}); continuing without it; "
                f"`wandb sync` uploads what is in {self._folder}/wandb"
            )
            with suppress(Exception):  # else its hook at exit fails with a traceback
                _within(GOODBYE_S, lambda: self._wandb.teardown())


def _id(folder: Path) -> str:
    path = folder / ID_FILE
    if not path.exists():
        write_text(path, uuid4().hex[:12] + "\n")
    return path.read_text(encoding="utf-8").strip()
