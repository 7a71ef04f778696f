"""`gcloud`, `terraform` and `git` as setup meets them: programs on PATH that remember what they were asked, and change a world
that is one JSON file. This file is the program, too, under whichever name it is started; it needs nothing but Python.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

URL = "https://spool-ingress-123456789012.europe-west1.run.app"
TOOLS = ("gcloud", "terraform", "git")


def install(folder: Path) -> Path:
    """The tools in `folder`/bin, with a world in which nothing is done; the folder for PATH."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for tool in TOOLS:
        program = bin_folder / tool
        program.write_text(f"#!{sys.executable} -SE\n{Path(__file__).read_text()}\nmain(Path({str(folder)!r}))\n")
        program.chmod(0o755)
    write(folder, {"done": [], "fail": {}})
    return bin_folder


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "world.json").read_text())


def write(folder: Path, world: dict[str, Any]) -> None:
    draft = folder / f"world.{os.getpid()}"
    draft.write_text(json.dumps(world))
    draft.replace(folder / "world.json")


def calls(folder: Path) -> list[dict[str, Any]]:
    """Every command that was run, with what it read from a pipe."""
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# ---- the program

CHANGES = {
    "auth login": "login",
    "auth application-default login": "adc",
    "projects create": "project",
    "billing projects link": "billing",
    "services enable": "apis",
    "storage buckets create": "state",
    "storage buckets update": "versions",
    "-chdir=infra apply": "infra",
    "builds submit": "build",
}
APIS = " ".join(f"{api}.googleapis.com" for api in ("cloudresourcemanager", "iam", "serviceusage", "storage"))


def looks(words: str) -> tuple[str, str] | None:
    """What must be done for a command that only looks to say something, and what it says then."""
    promoted = [{"revisionName": "spool-ingress-0a1b2c3-4d5e6f70", "percent": 100}]
    table = {
        "auth list": ("login", "somebody@example.com"),
        "auth application-default print-access-token": ("adc", "ya29.not-to-be-seen"),
        "projects describe": ("project", "ACTIVE"),
        "billing projects describe": ("billing", "True"),
        "services list": ("apis", APIS.replace(" ", "\n")),
        "-chdir=infra plan": ("infra", ""),
        "-chdir=infra output -raw": ("infra", f"{URL}/slack/events"),
        "-chdir=infra output -json": ("infra", json.dumps({"_ENVIRONMENT": "staging", "_MODEL": ""})),
        "rev-parse": ("", "f" * 40),
        "run services describe": ("build", json.dumps({"status": {"traffic": promoted}})),
    }
    if words.startswith("storage buckets describe"):
        return ("versions", "True") if "versioning" in words else ("state", "bucket")
    return next((found for start, found in table.items() if words.startswith(start)), None)


def main(folder: Path) -> None:
    arguments = sys.argv[1:]
    words, world = " ".join(arguments), read(folder)
    adds = words.startswith("secrets versions add")
    said = sys.stdin.read() if adds else ""
    with (folder / "calls").open("a") as file:
        file.write(json.dumps({"argv": [Path(sys.argv[0]).name, *arguments], "stdin": said}) + "\n")
    for start, code in world["fail"].items():
        if words.startswith(start):
            sys.stderr.write(f"ERROR: ({start}) it is refused" + "\n")
            sys.exit(code)
    if world.get("hangs") and words.startswith(world["hangs"]):
        hang()
    if words.startswith("secrets versions list"):
        name = arguments[3]
        sys.stdout.write("3" if f"secret {name}" in world["done"] else "")
    elif (found := looks(words)) is not None:
        needed, out = found
        if needed and needed not in world["done"]:
            sys.exit(2)
        sys.stdout.write(f"{out}\n")
    else:
        change = f"secret {arguments[3]}" if adds else next((d for s, d in CHANGES.items() if words.startswith(s)), "other")
        sys.stdout.write(f"done: {change}\n")
        write(folder, {**world, "done": [*world["done"], change]})


def hang() -> None:
    """As Terraform: at the first Ctrl-C it gives its lock back, which takes a moment, and ends."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGINT, stop)
    os.write(1, b"applying\n")
    end = time.perf_counter() + 20
    while not asked and time.perf_counter() < end:
        select.select([], [], [], 0.02)
    select.select([], [], [], 0.5)  # longer than Python's own patience with a child at Ctrl-C
    os.write(1, b"lock released\n")
    sys.exit(1)
