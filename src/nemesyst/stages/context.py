"""What a stage's function is given as ``run``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from nemesyst.errors import ScriptError
from nemesyst.models import Curves
from nemesyst.stages.seams import JobContext
from nemesyst.stages.snapshots import Track

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from nemesyst.feed import BoundFeed
    from nemesyst.hub import Hub
    from nemesyst.stages.checkpointing import Resumed
    from nemesyst.stages.validation import Predict, Validated, Validation
    from nemesyst.types import Batch, Version


_Batch = TypeVar("_Batch")


@dataclass
class Run:
    """A job as its function sees it.

    Attributes:
        hub: The hub.
        model: The model: a learner's name for it, a predictor's loaded one; None for a wrangler.
        version: Reference of the version that a predictor runs, or None.
        args: The arguments that the function was called with.
        seed: Seed of the feed, for whatever else is drawn.
        bound: The learner's or the model's feed, or None; the function asks for :attr:`feed`.
        parent: The version that a learner goes on from, or None; load it with ``run.hub.models.load(run.parent.ref,
            into=net, optimizer=optimizer)``.
        curves: What was logged, in buckets.
        context: What the job was given beside its stage.
        validation: How the validation part went so far, once :meth:`validate` was called.
        resumed: The checkpoint that the job went on from, once :meth:`resume` has found one.
        position: The epoch that :meth:`epochs` is in, from 0.
        track: Where the run is between its checkpoints.
    """

    hub: Hub
    bound: BoundFeed | None = None
    model: Any = None
    version: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    parent: Version | None = None
    curves: Curves = field(default_factory=Curves)
    context: JobContext = field(default_factory=JobContext)
    validation: Validation | None = None
    resumed: Resumed | None = None
    position: int = 0
    track: Track = field(default_factory=Track, repr=False)

    @property
    def feed(self) -> BoundFeed:
        """The learner's or the model's feed.

        Raises:
            ScriptError: A wrangler has none.
        """
        if self.bound is None:
            raise ScriptError("run.feed: this run has no feed", "A wrangler may open one: run.hub.feed(...).")
        return self.bound

    @property
    def entity(self) -> Any:
        """The device or site that the job is for, as the database has it; None: all."""
        return self.context.entity

    @property
    def rank(self) -> int:
        """Number of this worker, from 0."""
        return self.context.group.rank

    @property
    def world_size(self) -> int:
        """Workers that train together."""
        return self.context.group.size

    @property
    def device(self) -> str:
        """Where the model belongs: ``"cuda"`` or ``"cuda:1"`` where PyTorch has been given a GPU, else ``"cpu"``."""
        return self.context.group.device

    def epochs(self, count: int) -> Iterator[int]:
        """Count epochs from 0; goes on where a checkpoint was, and ends early when :meth:`validate` says so."""
        from nemesyst.stages.checkpointing import epochs

        return epochs(self, count)

    def batches(self, loader: Iterable[_Batch]) -> Iterator[_Batch]:
        """The batches of a loader of the feed's train part, counted, so that a checkpoint knows which ones were taken.

        Only needed where something reads ahead of the loop: a ``DataLoader`` with ``num_workers``, ``tf.data``,
        Accelerate. One pass is one epoch.
        """
        from nemesyst.stages.checkpointing import batches

        return batches(self, loader)

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Show and keep numbers of the moment: ``run.log({"loss/train": loss}, step=step)``.

        Raises:
            ScriptError: A value is no number.
        """
        if step is not None and (isinstance(step, bool) or not hasattr(step, "__index__")):
            raise ScriptError(f"run.log: step={step!r}", "Give the number of steps that were made, or leave it out.")
        if not hasattr(values, "items"):
            raise ScriptError(f"run.log({values!r:.80}): no dict", 'Write run.log({"loss": loss}).')
        try:
            # item() first: torch warns where a loss that still knows its gradient becomes a float
            numbers = {n: float(value.item() if hasattr(value, "item") else value) for n, value in values.items()}
        except (TypeError, ValueError):
            raise ScriptError(f"run.log({values!r}): a value is no number", "Log floats, ints or 0-d arrays.") from None
        at = self.curves.add(numbers, step)
        self.context.progress.values(numbers, at)
        self.context.recorder.log(numbers, at)

    def checkpoint(
        self, *, step: int, model: Any, optimizer: Any = None, also: Mapping[str, Any] | None = None
    ) -> None:
        """Keep all that is needed to go on from here: copied now, stored in the background.

        The last three of a run are kept. Weights, optimiser, the feed's position, states of random numbers (Python,
        NumPy, the framework), curves and how validations went. All workers that train together call it at the same
        steps. When the database is away, training goes on, and the newest one is stored when it is back. Right behind
        a pass over the feed it counts as the end of the epoch: make it the last thing there.

        Args:
            step: Steps that were made.
            model: The model in training; a dict of arrays or a tree of JAX is one, too.
            optimizer: Its optimiser.
            also: Whatever else changes, by name: other models, objects with ``state_dict`` and ``load_state_dict`` (a
                learning-rate schedule), numbers, texts, arrays, and lists and dicts of those (random keys of JAX).

        Raises:
            ModelError: Something cannot be stored; names it.
            ScriptError: The feed is read ahead of the loop; see :meth:`batches`.
        """
        from nemesyst.stages.checkpointing import checkpoint

        checkpoint(self, step, model, optimizer, also or {})

    def resume(self, *, model: Any, optimizer: Any = None, also: Mapping[str, Any] | None = None) -> Resumed | None:
        """Load the last checkpoint of an interrupted run, if this job was asked to go on (``--resume``, or a retry).

        The next pass over the feed finishes the interrupted epoch, with the rows of then; :meth:`epochs` counts on.

        Args:
            model: Gets the weights.
            optimizer: Gets its state.
            also: The same as in :meth:`checkpoint`. Objects get their states; of numbers, texts, arrays and trees
                what was kept stands in the record's ``also``.

        Returns:
            Its ``step`` and ``epoch``; None: there is nothing to resume, or nobody asked for it. Of JAX, whose arrays
            never change, ``model`` and ``optimizer`` of the record are the ones to go on with.

        Raises:
            MismatchError: Model, optimiser or ``also`` do not fit; says what differs.
            FeedError: The rows of then can no longer be had.
        """
        from nemesyst.stages.checkpointing import resume

        self.resumed = resume(self, model, optimizer, also or {})
        return self.resumed

    def validate(  # noqa: PLR0913 - each is a keyword of its own
        self,
        net: Any,
        metrics: Any,
        *,
        keep: Literal["best"] | None = None,
        patience: int | None = None,
        by: str | None = None,
        better: Literal["lower", "higher"] | None = None,
        part: Literal["validation", "test"] = "validation",
        predict: Predict | None = None,
        optimizer: Any = None,
        step: int | None = None,
    ) -> Validated:
        """Measure a model on the validation part, in evaluation mode without gradients, and log it.

        Each metric is logged as ``val/name``. Metrics are in the targets' own units,
        over all rows of all workers that train together; all of them call it. A metric that is no finite number is
        never the best. Each loop over :meth:`epochs` begins anew; a checkpoint holds how far it came.

        Args:
            net: The model.
            metrics: By name: ``{"mae": nm.mae}``; ``nm``'s own keep sums alone. A function of ``y_true`` and
                ``y_pred`` is given all rows at once, from a temporary file; of several workers the mean, weighted by
                their rows, is taken.
            keep: ``"best"``: a copy of the best weights is kept in memory, and put into ``net`` when the loop over
                :meth:`epochs` ends; :meth:`best` does so at any time.
            patience: The loop over :meth:`epochs` ends by itself after so many validations without a better one.
            by: The metric that decides; None: the first.
            better: Which values of it are; None: what a metric of ``nm`` says.
            part: ``"test"``: measure on that part, logged as ``test/name``, which decides nothing.
            predict: A function of the model and a batch, for models that do not say it themselves; what it gives is
                scaled as the targets are.
            optimizer: Its learning rate is logged as ``lr``, and the norm of the gradients as ``gradient_norm``, if
                there are any at the moment (PyTorch, before ``zero_grad``).
            step: Step that it is logged at; None: the one that was logged last, or the next one, if the same metrics
                stand there already.

        Raises:
            FeedError: The feed has no such part, no row in it, or no targets.
            SettingsError: A metric does not fit the targets.
            ModelError: The model has no output for a batch, or a metric fails.
            ScriptError: An argument does not fit.
        """
        from nemesyst.stages.validating import validate
        from nemesyst.stages.validation import Asked

        return validate(self, net, metrics, Asked(keep, patience, by, better, part, predict, optimizer, step))

    def best(self, net: Any) -> Any:
        """Put the best weights that :meth:`validate` kept into a model.

        Returns:
            It; for a tree of JAX, whose arrays never change, a new one.

        Raises:
            ScriptError: None were kept.
            MismatchError: They do not fit.
        """
        from nemesyst.stages.validation import Validation

        plain = self.context.group.unwrapped(net)
        made = (self.validation or Validation()).restore(plain)
        return net if made is plain else made

    def keras_callback(
        self,
        metrics: Any = None,
        *,
        keep: Literal["best"] | None = None,
        patience: int | None = None,
        by: str | None = None,
        better: Literal["lower", "higher"] | None = None,
        checkpoint_every: int | None = None,
    ) -> Any:
        """A callback for ``model.fit`` of Keras: what a loop of one's own would do with this run.

        The end of each epoch is logged (``loss/train``, ``lr``), validated if there are metrics, and a checkpoint if it
        is its turn. Beside it ``fit`` needs ``initial_epoch=callback.initial_epoch`` where :meth:`resume` was called.

        Args:
            metrics: For :meth:`validate`, as the next four; early stopping ends ``fit``. None: no validation.
            keep: ``"best"``: the model has the best weights when ``fit`` ends.
            patience: Validations without a better one after which ``fit`` ends.
            by: The metric that decides.
            better: Which values of it are.
            checkpoint_every: Epochs between two checkpoints; None: there are none.

        Raises:
            ScriptError: An argument does not fit, or Keras is not installed.
        """
        from nemesyst.stages.keras_callback import keras_callback

        how = {"keep": keep, "patience": patience, "by": by, "better": better}
        return keras_callback(self, metrics, how, checkpoint_every)

    def prepare(self, *things: Any) -> Any:
        """Make a model (and its optimiser) ready to be trained by all workers together; alone, nothing changes."""
        return self.context.group.prepare(*things)

    def mean(self, value: Any) -> Any:
        """The mean of a number, an array or a tree of arrays over the workers."""
        return self.context.group.mean(value)

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any worker, so that all of them stop together."""
        return self.context.group.any(flag)

    def predict(self, batch: Batch | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What the model says about a batch (its ``x``), in evaluation mode, as a NumPy array of shape (rows, ...).

        Where the feed scales its targets, in their own units again.

        Raises:
            ScriptError: The run has no loaded model.
        """
        from nemesyst.frameworks import adapter_for

        if self.model is None or isinstance(self.model, str):
            raise ScriptError("run.predict: this run has no loaded model", "Only a predictor's run has one.")
        inputs = batch["x"] if isinstance(batch, Mapping) else batch
        said = adapter_for(self.model).predict(self.model, inputs)
        return said if self.bound is None else self.bound.unscale(said)
