"""A callback for ``model.fit`` of Keras: logs, validates, makes checkpoints and stops early, as a loop would."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from nemesyst.errors import ScriptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemesyst.stages.context import Run

_NEVER = 2**31 - 1


def keras_callback(run: Run, metrics: Any, validate: Mapping[str, Any], checkpoint_every: int | None) -> Any:
    """The callback; see :meth:`Run.keras_callback`."""
    if metrics is None and any(value is not None for value in validate.values()):
        named = ", ".join(name for name, value in validate.items() if value is not None)
        raise ScriptError(f"run.keras_callback: {named} without metrics", 'Give metrics, such as {"mae": nm.mae}.')
    whole = isinstance(checkpoint_every, int) and not isinstance(checkpoint_every, bool)
    if checkpoint_every is not None and (not whole or checkpoint_every < 1):
        raise ScriptError(
            f"run.keras_callback(checkpoint_every={checkpoint_every!r})", "Give a number of epochs, 1 or more."
        )
    return _kind()(run, metrics, validate, checkpoint_every)


class _Following:
    """The methods of the callback; Keras's class comes to it when it is first asked for."""

    model: Any  # Keras brings it up to date when it is asked for
    params: Mapping[str, Any]

    def __init__(self, run: Run, metrics: Any, validate: Mapping[str, Any], checkpoint_every: int | None) -> None:
        super().__init__()
        self._run, self._metrics, self._validate, self._every = run, metrics, validate, checkpoint_every
        self._step = 0 if run.resumed is None else run.resumed.step
        self._epochs: Iterator[int] = iter(())
        self._begun = False
        self._steps = 0

    @property
    def initial_epoch(self) -> int:
        """The epoch for ``fit(initial_epoch=)``: 0, or that of the checkpoint that :meth:`Run.resume` has loaded."""
        run = self._run
        if run.resumed is None:
            return 0
        return _NEVER if run.validation is not None and run.validation.stopped else run.resumed.epoch

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's parameter
        self._epochs, self._begun = self._run.epochs(self.params["epochs"]), False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's parameter
        self._begun, self._steps = True, 0
        expected = next(self._epochs, None)
        if expected != epoch:
            raise ScriptError(
                f"fit is at epoch {epoch}, and the run goes on with "
                + ("none: it is over" if expected is None else f"epoch {expected}"),
                "Call run.resume before, and model.fit(..., initial_epoch=callback.initial_epoch).",
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's parameter
        self._steps = batch + 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        run, model = self._run, self.model
        self._step += self._steps
        run.log({_named(name): value for name, value in (logs or {}).items()}, step=self._step)
        if self._metrics is not None:
            optimizer = getattr(model, "optimizer", None)
            found = run.validate(model, self._metrics, optimizer=optimizer, **self._validate)
            model.stop_training = model.stop_training or found.stop
        if self._every is not None and ((epoch + 1) % self._every == 0 or model.stop_training):
            run.checkpoint(step=self._step, model=model, optimizer=model.optimizer)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's parameter
        run = self._run
        if not self._begun or (run.validation is not None and run.validation.stopped):
            next(self._epochs, None)  # the loop ends by itself
        else:  # after the last epoch, or ended by another callback
            self._epochs.close()  # type: ignore[attr-defined]
            run.track.before = None
        if run.validation is not None and run.validation.loop == run.track.loop:
            assert self.model is not None  # noqa: S101 - asking for it brings the model up to date
            run.validation.finish()


def _named(name: str) -> str:
    """The name in the curves of what Keras calls ``loss``, ``val_loss`` or ``learning_rate``."""
    if name == "learning_rate":
        return "lr"
    return f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"{name}/train"


@functools.cache
def _kind() -> Any:
    try:
        import keras
    except ImportError:
        raise ScriptError("run.keras_callback: Keras 3 is not installed", "pip install nemesyst[keras]") from None
    return types.new_class("RunCallback", (_Following, keras.callbacks.Callback))
