"""Windows: sequences of consecutive steps of one device, exact wherever a collection is cut into chunks."""

from typing import TYPE_CHECKING

from nemesyst.feed.windows.spec import Window
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.feed.windows.anchors import Events
    from nemesyst.feed.windows.arrange import WindowTable, arranged, carried
    from nemesyst.feed.windows.durations import duration
    from nemesyst.feed.windows.gather import gathered
    from nemesyst.feed.windows.margins import Border, Borders, Margin, margin
    from nemesyst.feed.windows.names import ANCHOR

__getattr__ = later(
    __name__,
    {
        "ANCHOR": "names",
        "Border": "margins",
        "Borders": "margins",
        "Events": "anchors",
        "Margin": "margins",
        "WindowTable": "arrange",
        "arranged": "arrange",
        "carried": "arrange",
        "duration": "durations",
        "gathered": "gather",
        "margin": "margins",
    },
)

__all__ = [
    "ANCHOR",
    "Border",
    "Borders",
    "Events",
    "Margin",
    "Window",
    "WindowTable",
    "arranged",
    "carried",
    "duration",
    "gathered",
    "margin",
]
