"""Scripts: Python files with stages."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.errors import NemesystError, ScriptError
from nemesyst.stages.declare import PredictorOf, Stage, collecting
from nemesyst.stages.fleets.fleet import Fleet

if TYPE_CHECKING:
    from types import CodeType, TracebackType


@dataclass(frozen=True)
class Script:
    """A loaded script.

    Attributes:
        path: The file.
        stages: Its stages, in the order of the file.
    """

    path: Path
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage:
        """The stage of this name, which the script is known to have."""
        return next(stage for stage in self.stages if stage.name == name)


def load_script(path: str | Path) -> Script:
    """Run a script's file and note its stages.

    Raises:
        ScriptError: The file is missing, has a syntax error, fails, has no stage, or two of the same name.
    """
    path = Path(path)
    with collecting() as declared:
        names = run_script(path)
    stages = [stage for stage, module in declared if module is names]  # those of modules that it imports are theirs
    stages += [value.plain(name) for name, value in names.items() if isinstance(value, PredictorOf | Fleet)]
    if not stages:
        raise ScriptError(
            f"{path} has no stage", "Decorate a function with @nm.wrangler, @nm.learner or @nm.predictor."
        )
    _refuse_twins(path, stages)
    return Script(path, tuple(stages))


def run_script(path: Path) -> dict[str, Any]:
    """Run a script's file, which may import modules that lie beside it; the names that it defines.

    Raises:
        ScriptError: The file is missing, has a syntax error, or fails.
    """
    source = _read(path)
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise ScriptError(f"{path}:{error.lineno or 1}: {error.msg}: {line}", "Correct this line.") from None
    except ValueError as error:  # null bytes, on some versions of Python
        raise ScriptError(f"{path} is not Python: {error}", "Check the file.") from None
    return _execute(path, code)


def _read(path: Path) -> bytes:
    if not path.exists():
        near = sorted(str(file) for file in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise ScriptError(
            f"script {path} does not exist", f"In this folder: {', '.join(near)}" if near else "Check the path."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ScriptError(f"script {path} cannot be read: {error.strerror}", "Check the path and its rights.") from None


def _execute(path: Path, code: CodeType) -> dict[str, Any]:
    # A module of its own, known to sys.modules: classes of the script can then be found by name.
    name = f"nemesyst_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ScriptError(f"script {path} is not a .py file", "Name a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(code, module.__dict__)  # noqa: S102 - running it is what was asked
    except NemesystError as error:
        where = script_line(error.__traceback__, path)
        raise ScriptError(f"{where}: {error.message}", error.remedy) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too: whatever a script does, it is told in a line
        where = script_line(error.__traceback__, path)
        raise ScriptError(f"{where}: {type(error).__name__}: {error!s:.500}", "Correct the script.") from None
    return module.__dict__


def script_line(trace: TracebackType | None, path: Path) -> str:
    """The last line of the script that a traceback passed through, as ``file:line in function``."""
    frames = [frame for frame in traceback.extract_tb(trace) if frame.filename == str(path)]
    if not frames:
        return str(path)
    last = frames[-1]
    place = "" if last.name == "<module>" else f" in {last.name}"
    return f"{path}:{last.lineno}{place}"


def _refuse_twins(path: Path, stages: list[Stage]) -> None:
    lines: dict[str, int] = {}
    for stage in stages:
        line = stage.function.__code__.co_firstlineno
        if stage.name in lines:
            raise ScriptError(
                f"{path}:{line}: a second stage named {stage.name!r}; the first is on line {lines[stage.name]}",
                "Give each its own name.",
            )
        lines[stage.name] = line
