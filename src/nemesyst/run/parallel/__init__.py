"""Several processes that train one model together, through the framework's own means."""

from nemesyst.run.parallel.launching import launch_workers

__all__ = ["launch_workers"]
