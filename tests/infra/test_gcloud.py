"""Every gcloud line that the project shows or runs is one that gcloud's own linter takes; what is uploaded is what is meant."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from cloud_sdk import lint, require, uploads

from spool.cli.deploy.stage import ROOT, stage
from spool.cli.deploy.steps import Site, commands

SITES = [
    Site(project="team-spool", region="europe-west1", environment="staging"),
    Site(project="team-spool-prod", region="europe-west1", environment="production"),
]
PLACES = ("README.md", "cloudbuild.yaml", "infra/*.tf", "infra/*.tfvars", "functions/spool/**/*.py")


def shown(text: str) -> list[str]:
    """The gcloud commands of a text for people: lines that begin with one (a `$ `, an export or a pipe before it is no part),
    and those between backticks with at least one flag (others only name a command); ends of lines that go on, comments and
    pipes after it left out; the words that stand for others filled in."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^[ #]*(?:\$ |[A-Z_]+=\"?\$\(|[^|`\n]*\| )?(gcloud [a-z][^\n]*)$", joined, re.MULTILINE)
    quoted = [line for line in re.findall(r"`(gcloud [a-z][^`\n]*)`", joined) if " --" in line]
    return [_filled_in(line) for line in (*lines, *quoted)]


def _filled_in(line: str) -> str:
    line = re.sub(r"(--substitutions=)(…|\"\^;\^[^\"]*\")", r"\1_NAME=value", line)
    line = re.split(r" \| | && |;| > | #|\)\"?$", line)[0]
    line = re.sub(r"\$\([^)]*\)|\"?\$\{?[\w.]+\}?\"?|…", "x", line)
    line = re.sub(r"(?<![\w-])P(?![\w])", "some-project", line)  # README's word for it
    return " ".join(line.split())


def test_the_commands_of_a_text_are_found() -> None:
    text = """Do

    gcloud run deploy x \\
        --quiet
    printf %s "$TOKEN" | gcloud secrets versions add y --data-file=-

`gcloud`, `gcloud run deploy`; take it back: `gcloud run services list --project=${var.project_id}`."""
    found = [
        "gcloud run deploy x --quiet",
        "gcloud secrets versions add y --data-file=-",
        "gcloud run services list --project=x",
    ]
    assert shown(text) == found


def test_what_is_wrong_is_found() -> None:
    """One line at a time: what is right stays unnamed beside it."""
    right = "gcloud run services describe spool-worker --region=europe-west1"
    wrong = ["gcloud run services describe a --regoin=x", "gcloud rum deploy", "gcloud run deploy a --function=f --command=c"]
    assert list(lint([right, *wrong])) == wrong


def test_every_gcloud_line_that_people_are_shown_is_right() -> None:
    """README's, and those in comments and messages."""
    files = [file for place in PLACES for file in sorted(ROOT.glob(place)) if file.name != "cloudbuild.yaml"]
    lines = {line for file in files for line in shown(file.read_text())}
    assert lint(sorted(lines)) == {}


def test_every_gcloud_line_of_setup_is_right() -> None:
    lines = [shlex.join(argv) for site in SITES for argv in commands(site) if argv[0] == "gcloud"]
    assert lines
    assert lint(lines) == {}


def test_a_build_by_hand_uploads_what_git_keeps_and_nothing_else() -> None:
    uploaded = uploads(ROOT)
    require((ROOT / ".git").exists(), "this is no clone: git says what belongs to the project")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    kept = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603
    assert uploaded == {name for name in kept if (ROOT / name).exists()}


def test_secrets_and_state_of_this_machine_are_never_uploaded(tmp_path: Path) -> None:
    for name in (".gcloudignore", ".gitignore"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    ours = (".spool/queue.db", ".venv/bin/python", ".git/config", "build/stage.json")
    for name in (*ours, "infra/.terraform/x", "infra/terraform.tfstate", "infra/terraform.tfstate.backup"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert uploads(tmp_path) == {".gcloudignore", ".gitignore"}


@pytest.mark.parametrize("name", ["ingress", "worker"])
def test_a_staged_folder_is_uploaded_whole(tmp_path: Path, name: str) -> None:
    """Whatever the folders above it leave out: cloudbuild.yaml stages into build/, which git ignores."""
    (tmp_path / ".gitignore").write_text("/build/\n__pycache__/\n")
    stage(ROOT, tmp_path / "build")
    folder = tmp_path / "build" / name
    assert uploads(folder) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
