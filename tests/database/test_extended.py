"""Values for another process, and failures that pass by themselves."""

from datetime import datetime
from uuid import uuid4

import pytest
from bson import Int64, ObjectId
from pymongo import errors as driver

from nemesyst.database import from_extended, is_transient, to_extended, translate
from nemesyst.errors import AccessError, UnreachableError

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    "value",
    ["site12", 12, 2**40, 1.5, True, None, ObjectId(), datetime(2026, 1, 2, 3), uuid4(), {"a": [1, {"b": b"x"}]}],
)
def test_a_value_comes_back_as_the_database_has_it(value):
    assert from_extended(to_extended(value)) == value


def test_a_large_integer_stays_one_of_64_bits():
    assert isinstance(from_extended(to_extended(Int64(5))), Int64)


def test_what_the_database_cannot_hold_is_refused():
    with pytest.raises(TypeError):
        to_extended(object())


def led_to(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (UnreachableError("away"), True),
        (led_to(ValueError("x"), driver.AutoReconnect("away")), True),
        (driver.OperationFailure("stepping down", 189), True),
        (led_to(ValueError("x"), translate(driver.NotPrimaryError("no"), "put")), True),
        (driver.OperationFailure("no such command", 59), False),
        (AccessError("no"), False),
        (ValueError("x"), False),
    ],
)
def test_failures_of_a_server_that_is_away_pass_by_themselves(error, transient):
    assert is_transient(error) is transient
