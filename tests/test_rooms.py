"""The architecture: which room may import which, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nemesyst

pytestmark = pytest.mark.core

ROOT = Path(nemesyst.__file__).parent
ROOMS = [
    "errors",
    "types",
    "lazy",
    "descriptors",
    "settings",
    "frameworks",
    "database",
    "feed",
    "models",
    "hub",
    "stages",
    "run",
    "live",
    "cli",
    "checks",
]
HEAVY = {
    "torch",
    "pyarrow",
    "pandas",
    "polars",
    "ray",
    "sklearn",
    "skops",
    "matplotlib",
    "keras",
    "jax",
    "tensorflow",
    "nicegui",
    "fastapi",
    "xgboost",
    "onnx",
    "onnxruntime",
    "flax",
}


def imports(path, tree=None):
    """Modules that a file (or a part of its tree) imports."""
    for node in ast.walk(tree or ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def lazy_names(path):
    """Names that a package finds later, and the modules that they are in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "later":
            yield from ast.literal_eval(node.args[1]).items()


@pytest.mark.parametrize("path", sorted(ROOT.rglob("__init__.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_that_is_found_later_is_not_that_of_a_module(path):
    # importing the module would put it where the name is looked for
    modules = {each.stem for each in path.parent.iterdir()}
    assert not [name for name, _ in lazy_names(path) if name in modules]


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_rooms_to_its_left_and_only_their_front_door(path):
    room = room_of(path)
    for module in imports(path):
        if not module.startswith("nemesyst."):
            continue
        other = module.split(".")[1]
        if other == room:
            continue
        assert ROOMS.index(other) < ROOMS.index(room), f"{path} imports {module}"
        assert module.count(".") == 1, f"{path} imports {module}, not the room's front door"
        if room == "frameworks":
            assert other in ("errors", "types", "lazy")


def at_run_time(path):
    """Modules that a file imports when it runs: not those that only the type checker sees."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return set(imports(path, tree))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_database_room_imports_the_driver(path):
    tops = {module.split(".")[0] for module in at_run_time(path)}
    if room_of(path) not in ("database", "hub"):
        assert "pymongo" not in tops
    if room_of(path) not in ("database", "feed", "hub"):
        assert "bson" not in tops


def test_every_folder_is_a_room():
    assert {room_of(path) for path in FILES} <= set(ROOMS)


@pytest.mark.parametrize("code", ["import nemesyst", "import nemesyst.cli; nemesyst.cli.main(['--help'])"])
def test_importing_and_helping_import_nothing_heavy(code):
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint('LOADED', *sys.modules, file=sys.stderr)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    loaded = {name.split(".")[0] for name in told.split("LOADED")[1].split()}
    assert loaded & HEAVY == set()
