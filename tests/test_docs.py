"""The documentation is run: every page from top to bottom in an empty folder, and what it shows is compared.

A page's blocks: ``python`` is run in one namespace (lines after ``#>`` are what it prints); ``python file=x`` and the
like are saved as a file; ``console`` runs the commands after ``$`` and compares what follows, ``...`` standing for
anything; ``sh`` and others are not run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nemesyst as nm

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "cli.md")]
PROGRESS = re.compile(r"^(wrangle|learn|infer): (epoch \S+  )?[\d,]+ rows?( {2}.*)?\n", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def matches(shown, printed):
    """Whether lines that a page shows stand for what was printed."""
    pattern = re.escape(shown.strip()).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def run_python(code, namespace):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "<page>", "exec"), namespace)
    shown = re.findall(r"^#> ?(.*)$", code, re.MULTILINE)
    if shown:
        assert matches("\n".join(shown), output.getvalue()), f"{code}\nprinted\n{output.getvalue()}"


def run_console(text):
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    for command, _, shown in (entry.partition("\n") for entry in commands):
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        # how far a job has come is told every few seconds, so a slow machine prints more such lines than a quick one
        printed, wanted = PROGRESS.sub("", done.stdout), PROGRESS.sub("", shown)
        assert matches(wanted or "...", printed), f"$ {command}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_does_what_it_says(page, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the pages use every extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    namespace = {"__name__": "page"}
    with nm.connect():  # keeps the page's server up between its commands
        for language, name, text in BLOCK.findall(page.read_text()):
            if name:
                Path(name).write_text(text)
            elif language == "python":
                run_python(text, namespace)
            elif language == "console":
                run_console(text)


def test_the_command_line_reference_is_fresh():
    command = [sys.executable, "-m", "typer", "nemesyst.cli.main", "utils", "docs", "--name", "nemesyst"]
    fresh = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert fresh.strip() == (ROOT / "docs" / "cli.md").read_text().strip(), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link
