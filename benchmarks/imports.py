"""Time to import Nemesyst and to print its help, beside importing NumPy, PyMongo and pydantic-settings alone.

The bound is 1.3x for the import; the help adds Typer and Rich.
"""

import statistics
import subprocess
import sys
import time

PROGRAMS = {
    "numpy, pymongo, pydantic_settings": "import numpy, pymongo, pydantic_settings",
    "import nemesyst": "import nemesyst",
    "nemesyst --help": "import sys; sys.argv = ['nemesyst', '--help']; import nemesyst_cli; nemesyst_cli.main()",
}
ROUNDS = 15


def seconds(program: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(program))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = next(iter(medians.values()))
    print(f"{'':40} {'ms':>10} {'ratio':>7}")
    for name, median in medians.items():
        print(f"{name:40} {median * 1000:10.0f} {median / base:7.2f}")


if __name__ == "__main__":
    main()
