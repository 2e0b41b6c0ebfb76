"""Every error that a user can cause, as one tree.

    NemesystError
    ├── SettingsError              a setting, option or argument that does not fit
    ├── DatabaseError              the database could not do what was asked
    │   ├── UnreachableError       no server answered in time
    │   ├── AccessError            wrong credentials, or a right that is missing
    │   ├── UnsupportedServerError the server lacks what is needed (a replica set, a version)
    │   ├── DiskFullError          no room left where the database keeps its files
    │   ├── EmbeddedServerError    the embedded server cannot start or use its folder
    │   └── ConflictError          a row with this key is there already
    ├── RecordError                records or files that cannot be read
    ├── FeedError                  a feed that cannot be built or read
    │   ├── PipelineError          a pipeline that is malformed, unknown or forbidden
    │   └── FieldError             a field that is missing, or whose values do not fit
    ├── ModelError                 a model that cannot be saved or loaded
    │   ├── UnknownModelError      no such model, version or alias
    │   ├── UntrustedError         an artefact that would have to run code
    │   ├── CorruptBlobError       stored bytes that are not the ones that were saved
    │   ├── MismatchError          weights that do not fit the model they are loaded into
    │   ├── SelfTestError          a loaded model whose outputs are not those of its golden batch
    │   ├── GateError              a version that did not pass the test to be promoted
    │   └── ReplayError            a version that cannot be trained again from the same rows and code
    ├── ScriptError                a script that cannot be loaded, or whose stages are wrong
    └── JobError                   a job that failed while it ran

Each message says what was given, where, what was expected; ``remedy`` says what to do.
"""


class NemesystError(Exception):
    """Base of the errors that a user can cause or mend.

    Args:
        message: What was given, where, and what was expected.
        remedy: What to do about it, as a sentence; shown on a line of its own.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}\n  {self.remedy}"


class SettingsError(NemesystError):
    """A setting, option or argument that does not fit."""


class DatabaseError(NemesystError):
    """The database could not do what was asked."""


class UnreachableError(DatabaseError):
    """No server answered in time."""


class AccessError(DatabaseError):
    """Wrong credentials, or a right that is missing."""


class UnsupportedServerError(DatabaseError):
    """The server lacks what is needed: a replica set, or a version."""


class DiskFullError(DatabaseError):
    """No room left where the database keeps its files."""


class EmbeddedServerError(DatabaseError):
    """The embedded server cannot start, or cannot use its folder."""


class ConflictError(DatabaseError):
    """A row with this key is there already."""


class RecordError(NemesystError):
    """Records or files that cannot be read."""


class FeedError(NemesystError):
    """A feed that cannot be built or read."""


class PipelineError(FeedError):
    """A pipeline that is malformed, unknown or forbidden."""


class FieldError(FeedError):
    """A field that is missing, or whose values do not fit."""


class ModelError(NemesystError):
    """A model that cannot be saved or loaded."""


class UnknownModelError(ModelError):
    """No such model, version or alias."""


class UntrustedError(ModelError):
    """An artefact that would have to run code to be loaded."""


class CorruptBlobError(ModelError):
    """Stored bytes that are not the ones that were saved."""


class MismatchError(ModelError):
    """Weights that do not fit the model that they are loaded into."""


class SelfTestError(ModelError):
    """A loaded model whose outputs are not those of its golden batch."""


class GateError(ModelError):
    """A version that did not pass the test to be promoted."""


class ReplayError(ModelError):
    """A version that cannot be trained again from the same rows and code."""


class ScriptError(NemesystError):
    """A script that cannot be loaded, or whose stages are wrong."""


class JobError(NemesystError):
    """A job that failed while it ran."""


def nearest(given: str, known: list[str]) -> str:
    """Name what the user may have meant, as a phrase for a message.

    >>> nearest("imgae", ["image", "label"])
    'did you mean image?'
    >>> nearest("x", ["image", "label"])
    'there are: image, label'
    """
    from difflib import get_close_matches

    close = get_close_matches(given, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not known:
        return "there are none yet"
    shown = sorted(known)[:10]
    return f"there are: {', '.join(shown)}" + (", ..." if len(known) > len(shown) else "")
