"""`spool stage`: what is deployed, as two folders: the same commit gives the same bytes.

    functions/ ─┐                ┌─► OUT/ingress     main.py, policy.py, spool/, requirements.txt
    uv.lock    ─┴─ spool stage ──┼─► OUT/worker      the same, and agent/
                                 ├─► OUT/stage.json  the sha256 of each folder
                                 └─► OUT/*.secrets   which variable holds which secret, per function

Each folder is complete: Google's buildpack takes main.py and requirements.txt, and compiles what it installs from there
(from pyproject.toml it would not, and every cold start would pay for that). What a tool needs beyond code, a package of
pyproject's group `agent` or a secret of `policy.secrets`, comes along by itself.
"""

import hashlib
import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from spool.errors import Misconfigured
from spool.policy import Policy
from spool.settings import inherited

ROOT = Path(__file__).parents[4]
TFVARS = Path("infra") / "policy.auto.tfvars.json"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_TAKEN = re.compile(
    r"(SPOOL|K|FUNCTION|GOOGLE_FUNCTION)_.*|GOOGLE_CLOUD_(PROJECT|LOCATION)|SLACK_(BOT_TOKEN|SIGNING_SECRET|API_URL)"
    r"|.*_EMULATOR_HOST|PYTHON.*|PATH|HOME|PORT|MODEL_KEY"
)
_IGNORE = "# Everything in this folder is deployed.\n"
_JUNK = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One of the two functions, as it is deployed.

    groups: pyproject's dependency groups, beside the project's own dependencies.
    rooms: what it takes of functions/, beside its door.
    without: rooms of spool/ that it never enters.
    secrets: the secrets of its own, by the variable that holds them.
    """

    name: str
    groups: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ("policy.py", "spool")
    without: tuple[str, ...] = ("cli", "console")
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])


INGRESS = Function(
    name="ingress", without=("cli", "console", "turn"), secrets={"SLACK_SIGNING_SECRET": "spool-slack-signing-secret"}
)
WORKER = Function(
    name="worker",
    groups=("worker", "agent"),
    rooms=("policy.py", "spool", "agent"),
    secrets={"SLACK_BOT_TOKEN": "spool-slack-bot-token"},
)


def command(
    out: Annotated[Path | None, typer.Argument(help="The folder to write ingress/ and worker/ into.")] = None,
    *,
    infra: Annotated[bool, typer.Option("--infra", help=f"Renew {TFVARS} from policy.secrets.")] = False,
    model_key: Annotated[str, typer.Option(help="The variable that holds the model's key.")] = "",
) -> None:
    """Write what is deployed: a source folder per function; with --infra, what Terraform knows of policy.secrets."""
    if infra:
        (ROOT / TFVARS).write_text(tfvars(ROOT))
        typer.echo(f"{TFVARS} is current.")
    if out:
        for name, digest in stage(ROOT, out, model_key=model_key).items():
            typer.echo(f"{digest}  {out / name}")
    if not (infra or out):
        msg = "say where to, as in `spool stage build`, or --infra"
        raise typer.BadParameter(msg)


def stage(root: Path, out: Path, *, model_key: str = "") -> dict[str, str]:
    """Write both functions of the project at `root` into `out`; the sha256 of each folder. Raises `Misconfigured`."""
    own = secrets_of(read_policy(root / "functions"))
    if model_key in own:
        msg = f"{model_key} is the model's key already: take it out of policy.secrets"
        raise Misconfigured(msg)
    if model_key:
        own[_checked(model_key)] = "spool-model-key"
    out.mkdir(parents=True, exist_ok=True)
    digests = dict[str, str]()
    for function in (INGRESS, WORKER):
        folder = out / function.name
        _copy(root / "functions", folder, function)
        (folder / "requirements.txt").write_text(requirements(root, *function.groups))
        secrets = {**function.secrets, **(own if function is WORKER else {})}
        lines = (f"{variable} {secret}\n" for variable, secret in secrets.items())
        (out / f"{function.name}.secrets").write_text("".join(lines))
        digests[function.name] = digest(folder)
    (out / "stage.json").write_text(json.dumps(digests, indent=2) + "\n")
    return digests


def _copy(functions: Path, folder: Path, function: Function) -> None:
    """The function's own files; what a former stage wrote there is gone afterwards."""
    if folder.exists():
        if not (folder / "requirements.txt").exists():
            msg = f"{folder} is there already, and `spool stage` did not write it: name another folder"
            raise Misconfigured(msg)
        shutil.rmtree(folder)
    folder.mkdir()
    shutil.copyfile(functions / f"{function.name}.py", folder / "main.py")
    for room in function.rooms:
        if (functions / room).is_dir():
            shutil.copytree(functions / room, folder / room, ignore=_JUNK)
        else:
            shutil.copyfile(functions / room, folder / room)
    for room in function.without:
        shutil.rmtree(folder / "spool" / room)
    (folder / ".gcloudignore").write_text(_IGNORE)  # without it, gcloud would look for a .gitignore


def requirements(root: Path, *groups: str) -> str:
    """What the project and `groups` need, exactly as uv.lock says, with hashes. Raises `Misconfigured`."""
    chosen = [word for group in groups for word in ("--group", group)]
    command = [uv(), "export", "--frozen", "--no-emit-project", "--no-default-groups", "--no-header", "--no-annotate", *chosen]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 - uv, with our own words
    if done.returncode:
        msg = f"uv cannot export uv.lock: {done.stderr.strip()}"
        raise Misconfigured(msg)
    return done.stdout


def uv() -> str:
    """The uv that runs this, or the one on the path."""
    found = inherited({}).get("UV") or shutil.which("uv")
    if not found:
        msg = "uv is not on the path: start this as `.uv/bin/uv run spool stage`"
        raise Misconfigured(msg)
    return found


def digest(folder: Path) -> str:
    """sha256 of a folder's names and bytes, as `find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` prints it."""
    return hashlib.sha256("".join(_sums(folder)).encode()).hexdigest()


def _sums(folder: Path) -> Iterator[str]:
    names = sorted(f"./{path.relative_to(folder).as_posix()}" for path in folder.rglob("*") if path.is_file())
    return (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)


# ---- what the user's room declares


def read_policy(functions: Path) -> Policy:
    """The policy of the project whose functions/ this is. Raises `Misconfigured`."""
    path = functions / "policy.py"
    try:
        policy = runpy.run_path(str(path), run_name="policy").get("policy")
    except Exception as e:
        msg = f"{path}: {type(e).__name__}: {e}"
        raise Misconfigured(msg) from e
    if not isinstance(policy, Policy):
        msg = f"{path}: expected `policy = Policy(...)`"
        raise Misconfigured(msg)
    return policy


def secrets_of(policy: Policy) -> dict[str, str]:
    """The variable of each of `policy.secrets`, and the secret that it holds. Raises `Misconfigured`."""
    return {name: f"spool-{_checked(name).lower().replace('_', '-')}" for name in sorted(set(policy.secrets))}


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
        msg = f"the secret {name!r} becomes a variable of the worker: name it like CRM_API_KEY, not as Spool's or Google's own"
        raise Misconfigured(msg)
    return name


def tfvars(root: Path) -> str:
    """What Terraform must know of `policy.secrets`: the secrets to make."""
    return json.dumps({"secrets": secrets_of(read_policy(root / "functions"))}, indent=2) + "\n"
