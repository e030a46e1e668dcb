"""Measures what docs/performance.md promises, and writes it there. Started by scripts/bench."""

import argparse
import datetime
import inspect
import os
import pathlib
import platform
import subprocess
import sys

import ledger.parts  # noqa: F401, has parts of its own
from parts import PARTS
from workplace import Workplace

PAGE = pathlib.Path(__file__).parent.parent / "docs/performance.md"
HEAD = """\
# What it costs

Written by `scripts/bench`, which measures with the binaries of `scripts/build`, side by side in one run; medians. Absolute times are
the machine's; the differences are what is promised. `scripts/bench WORD...` measures some parts again. Where the load before was above 1
other work shared the cores: then all times are longer, and ratios of one run say more than they do.
"""
WHEN = "{date}, commit `{commit}`, {repeat} repetitions, on {machine}; load before: {load:.1f}."


def machine():
    """What was measured on, without names."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    engine = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True).stdout.strip()
    compose = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True).stdout.strip()
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB, Linux, Docker Engine {engine}, Compose {compose}"


def table(rows):
    lines = ["| | measured | limit | |", "|---|---|---|---|"]
    for row in rows:
        verdict = "" if not row["limit"] else "ok" if row["within"] else "**MISSED**"
        lines.append("| " + " | ".join([row["what"], row["value"], row["limit"], verdict]) + " |")
    return "\n".join(lines)


def section(title, function, rows, when):
    about = f"{inspect.cleandoc(function.__doc__)}\n\n" if function.__doc__ else ""
    return f"## {title}\n\n{about}{table(rows)}\n\n{when}\n"


def written():
    """The sections of the page as it is, by title."""
    sections = PAGE.read_text().split("\n## ")[1:] if PAGE.exists() else []
    return {text.splitlines()[0]: f"## {text.strip()}\n" for text in sections}


def when(repeat):
    commit = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(commit, capture_output=True, text=True, cwd=PAGE.parent).stdout.strip()
    return WHEN.format(repeat=repeat, date=datetime.date.today(), commit=commit, machine=machine(), load=os.getloadavg()[0])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--agents", required=True)
    arguments.add_argument("--ledger", default="")
    arguments.add_argument("--repeat", type=int, default=7)
    arguments.add_argument("words", nargs="*")
    asked = arguments.parse_args()
    chosen = {title: part for title, part in PARTS.items() if all(word.lower() in title.lower() for word in asked.words)}
    page, missed = written(), False
    for title, part in chosen.items():
        begun = when(asked.repeat)
        with Workplace(asked.program, asked.agents, asked.ledger) as place:
            rows = part(place, asked.repeat)
        page[title] = section(title, part, rows, begun)
        print(page[title], flush=True)
        missed = missed or not all(row["within"] for row in rows)
        PAGE.write_text("\n".join([HEAD, *(page[title] for title in PARTS if title in page)]))
    return 1 if missed else 0


sys.exit(main())
