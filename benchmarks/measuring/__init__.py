"""What the benchmarks of the feed have in common: a database, ways that take turns, peers, and a table with targets."""

from measuring.peer import Peer
from measuring.place import Place, arguments, place
from measuring.table import Target, Way, interleaved, show, timed

__all__ = ["Peer", "Place", "Target", "Way", "arguments", "interleaved", "place", "show", "timed"]
