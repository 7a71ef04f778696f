"""A gcloud that remembers what it was asked, and answers from a folder: FAKE/calls, FAKE/versions/SECRET, FAKE/gs/BUCKET/…."""

import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(os.environ["FAKE"])  # noqa: TID251 - a process of its own


def main(words: list[str]) -> int:
    with (HERE / "calls").open("a") as calls:
        calls.write(json.dumps(["gcloud", *words]) + "\n")
    pairs = (word.removeprefix("--").partition("=") for word in words if word.startswith("--"))
    flags = {name: value for name, _, value in pairs}
    plain = [word for word in words if not word.startswith("--")]
    match plain:
        case ["secrets", "versions", "list", secret]:
            sys.stdout.write((HERE / "versions" / secret).read_text())
        case ["secrets", "versions", "access", version]:
            Path(flags["out-file"]).write_text(f"{flags['secret']} {version}")
        case ["run", "services", "describe", service]:
            known = f"https://{service}-abc-ew.a.run.app" if "url" in flags["format"] else f"{service}-before"
            sys.stdout.write(known + "\n")
        case ["storage", "cp", source, target]:
            return copy(source, target, create="if-generation-match" in flags)
        case ["run", "deploy", _] | ["run", "services", "update-traffic", _]:
            pass
        case _:
            sys.exit(f"unexpected: {words}")
    return 0


def copy(source: str, target: str, *, create: bool) -> int:
    """To or from gs://; with `create` nothing is overwritten."""
    paths = [HERE / "gs" / name.removeprefix("gs://") if name.startswith("gs://") else Path(name) for name in (source, target)]
    if not paths[0].exists() or (create and paths[1].exists()):
        sys.stderr.write("HTTPError 404 or 412\n")
        return 1
    paths[1].parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(*paths)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
