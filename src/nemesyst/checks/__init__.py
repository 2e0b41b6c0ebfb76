"""Conformance suites: what every implementation of a seam must do, ours or another's.

They raise :class:`CheckError`, which is an ``AssertionError``, so that any test runner reports it::

    from nemesyst.checks import check_adapter

    def test_it_conforms():
        check_adapter(MyAdapter(), make_model, inputs=batch, other=make_model_of_another_size)
"""

from nemesyst.checks.adapters import check_adapter
from nemesyst.checks.case import CheckError
from nemesyst.checks.executors import check_executor

__all__ = ["CheckError", "check_adapter", "check_executor"]
