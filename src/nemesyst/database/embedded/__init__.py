"""The embedded server: a real ``mongod`` of this folder, shared by every process that asks for it.

A supervisor process is mongod's parent. Each user holds a shared file lock for life, so the server can go when the last
user has gone, however that user died; see docs/embedded.md.
"""

from nemesyst.database.embedded.control import Status, pin, status, stop
from nemesyst.database.embedded.server import Embedded, open_embedded

__all__ = ["Embedded", "Status", "open_embedded", "pin", "status", "stop"]
