"""What the registry offers to compare versions and to promote the better one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nemesyst.feed import BoundFeed
    from nemesyst.models.bulk_gates import Judgements
    from nemesyst.models.evaluation import Results
    from nemesyst.models.metrics import Better
    from nemesyst.models.registry import Models
    from nemesyst.models.store import Store
    from nemesyst.types import Version


class Comparing:
    """The part of :class:`nemesyst.Models` that compares and promotes."""

    _store: Store

    def evaluate(  # noqa: PLR0913 - each is a keyword
        self,
        refs: Any,
        feed: BoundFeed,
        metrics: Any,
        *,
        baselines: Any = (),
        build: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
        trust: Any = (),
        device: str | None = None,
        predict: Callable[[Any, Mapping[str, Any]], Any] | None = None,
        refresh: bool = False,
    ) -> Results:
        """Compare versions over the same rows, each with its own inputs, window and scale.

        Versions that read the same share one pass. Samples are told apart by device and time of a window, or by
        ``_id``; only those that all candidates have are counted. Results are stored under version, ``predict``,
        ``build`` and digests of rows and inputs, and found again, unless a function's source is not to be had. Memory
        holds some batches and sums; plain functions as metrics get everything at once, out of a temporary file.

        Args:
            refs: References (or versions), and functions of a batch, which is unscaled and comes as the feed gives it.
            feed: The part to compare on, such as ``hub.feed(spec).test``: its rows, split and cutoff.
            metrics: Such as ``{"mae": nm.mae}``, or a list; also plain functions ``(y_true, y_pred) -> float``. In the
                target's own units.
            baselines: ``"persistence"``, ``"seasonal:N"`` (N steps before), ``"mean"`` (of the train part), functions.
            build: Makes the untrained model; or such functions by name or reference; None: registered architectures.
            trust: Types to allow, or those by reference.
            device: Where models predict.
            predict: ``predict(model, batch)`` instead of the framework's own way, in the version's scale.
            refresh: Whether to compute what is known again.

        Returns:
            A table; NaN is shown and never best.

        Raises:
            FeedError: A field is missing, two candidates predict different things, or there are no rows.
            ModelError: A version has no feed, cannot be loaded, or its predictions have another shape.
            SettingsError: A metric or candidate is none.
        """
        from nemesyst.models.evaluation import Loading, evaluate

        loading = Loading(build, trust, device, predict)
        return evaluate(
            self._models, self._store, refs, feed, metrics, baselines=baselines, loading=loading, refresh=refresh
        )

    def promote(  # noqa: PLR0913 - each is a keyword
        self,
        ref: str,
        alias: str,
        *,
        over: Any = None,
        on: Any = None,
        metric: Any = None,
        better: Better | None = None,
        margin: float = 0.0,
        confidence: float | None = 0.95,
        min_samples: int = 100,
        build: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
        trust: Any = (),
        device: str | None = None,
        predict: Callable[[Any, Mapping[str, Any]], Any] | None = None,
        why: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Version:
        """Let an alias such as ``champion`` mean a version from now on, in one step; the move is recorded.

        With ``on`` and ``metric`` only if it is better on the same rows: the whole interval of the difference, from a
        bootstrap over blocks of neighbouring samples, must lie beyond the margin. Values, interval and digest of the
        rows are written into the history. The alias must still mean what was compared when it is moved.

        Args:
            ref: The version.
            alias: The alias.
            over: What it must beat: the version that the alias means, which is the default. An alias that means nothing
                yet takes any version with a value on enough rows, or one that beats ``over``.
            on: Rows, such as ``feed.test``; or what :meth:`evaluate` gave.
            metric: Name, or metric, such as ``nm.mae``.
            better: ``"lower"`` or ``"higher"``; None: as the metric says.
            margin: By how much it must be better, in the metric's unit.
            confidence: Of the interval; None: the values alone are compared.
            min_samples: Samples that are needed.
            build: As in :meth:`evaluate`.
            trust: As in :meth:`evaluate`.
            device: As in :meth:`evaluate`.
            predict: As in :meth:`evaluate`.
            why: The reason, for the history.
            evidence: Without ``on``: what a comparison of your own found, for the history; JSON values.

        Returns:
            The version. Promoting it to what it already is changes nothing.

        Raises:
            GateError: It is not better, the results are of different rows or inputs, too few, or NaN; it is ``over``
                itself; or the alias has moved.
            UnknownModelError: No such model, version or alias.
            SettingsError: An argument does not fit.
        """
        from nemesyst.models import aliases
        from nemesyst.models.evaluation import Loading
        from nemesyst.models.gates import promote
        from nemesyst.models.reference import Reference

        if on is None:
            if over is not None or metric is not None:
                raise SettingsError(
                    "promote: over= or metric= is given, and not on which rows to compare",
                    'Give on=feed.test and metric="mae", or leave all of them out to promote without a comparison.',
                )
            asked = aliases.Promotion(Reference.parse(ref), alias, why, evidence or {})
            return aliases.promote(self._store, [asked])[0]
        gate = _gate(metric, better, margin, confidence, min_samples)
        loading = Loading(build, trust, device, predict)
        return promote(self._models, self._store, ref, alias, gate, on=on, over=over, loading=loading, why=why)

    def promote_better(  # noqa: PLR0913 - each is a keyword
        self,
        name: str,
        alias: str = "champion",
        *,
        on: BoundFeed | Callable[[str | None], BoundFeed],
        metric: Any,
        candidate: str = "latest",
        field: str | None = None,
        entities: Iterable[str] | None = None,
        better: Better | None = None,
        margin: float = 0.0,
        confidence: float | None = 0.95,
        min_samples: int = 100,
        build: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
        trust: Any = (),
        device: str | None = None,
        predict: Callable[[Any, Mapping[str, Any]], Any] | None = None,
        why: str | None = None,
    ) -> Judgements:
        """Promote the candidate of every entity that beats its champion, each on its own rows.

        Args:
            name: The model's name.
            alias: The champions' alias.
            on: A part of a feed, which is narrowed to each entity: by ``field``, or by its parameter ``entity``; or a
                function of the entity that gives such a part.
            metric: As in :meth:`promote`; so are ``better``, ``margin``, ``confidence`` and ``min_samples``.
            candidate: ``"latest"``, or an alias.
            field: Field whose value, as text, is the entity.
            entities: Only these.
            better: As in :meth:`promote`.
            margin: As in :meth:`promote`.
            confidence: As in :meth:`promote`.
            min_samples: As in :meth:`promote`.
            build: As in :meth:`evaluate`.
            trust: As in :meth:`evaluate`.
            device: As in :meth:`evaluate`.
            predict: As in :meth:`evaluate`.
            why: The reason, for the history.

        Returns:
            What became of each: promoted, kept or refused, and why. Each is moved as soon as it is judged.

        Raises:
            SettingsError: An argument does not fit.
            UnknownModelError: No such model.
        """
        from nemesyst.models.bulk_gates import Bulk, narrowing
        from nemesyst.models.evaluation import Loading

        gate = _gate(metric, better, margin, confidence, min_samples)
        rows_of, loading = narrowing(on, field), Loading(build, trust, device, predict)
        bulk = Bulk(self._models, self._store, gate, rows_of, alias, candidate, loading, why)
        return bulk.judged(name, entities)

    def card(self, ref: str) -> str:
        """A model card as the text of one HTML file: purpose, results with pictures, data, lineage, limits.

        Args:
            ref: A reference; a bare name means its champion, or else its latest version.

        Raises:
            UnknownModelError: No such model.
        """
        from nemesyst.models.card import card

        return card(self._models, self._store, ref)

    @property
    def _models(self) -> Models:
        return cast("Models", self)


def _gate(metric: Any, better: Any, margin: float, confidence: float | None, min_samples: int) -> Any:
    from nemesyst.models.gates import Gate

    if metric is None:
        raise SettingsError("promote: on= is given, and not by which metric", 'Such as metric="mae".')
    return Gate(metric, better, margin, confidence, min_samples)
