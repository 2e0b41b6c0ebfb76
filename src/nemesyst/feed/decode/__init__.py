"""BSON bytes of a cursor's reply into NumPy columns, without a Python object per value."""

from nemesyst.feed.decode.columns import Column, Columns
from nemesyst.feed.decode.decoder import Decoder
from nemesyst.feed.decode.ids import id_arrays

__all__ = ["Column", "Columns", "Decoder", "id_arrays"]
