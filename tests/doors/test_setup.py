"""`spool setup`: nothing runs unasked, it goes on where it stopped, and no secret is anywhere but in gcloud's stdin."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import fake_tools
import pytest
from fake_cloud import serving_cloud

from spool.cli import main
from spool.cli.deploy.site import Site, read_site
from spool.cli.deploy.steps import commands, is_promoted, steps
from spool.errors import Misconfigured
from spool.settings import inherited

ROOT = Path(__file__).parents[2]
PROJECT = "acme-spool-staging"
SIGNING_SECRET, BOT_TOKEN, MODEL_KEY = "8f742231b10e8888abcd99bbbccc85a5", "xoxb-1-not-to-be-seen", "sk-not-to-be-seen"
SECRETS = {
    "spool-slack-signing-secret": SIGNING_SECRET,
    "spool-slack-bot-token": BOT_TOKEN,
    "spool-model-key": MODEL_KEY,
}
RUN, BY_HAND, SECRET = "Enter runs it", "Enter when it is done", "nothing is shown"
EVERYTHING = [
    "login",
    "adc",
    "project",
    "billing",
    "apis",
    "state",
    "versions",
    "infra",
    *(f"secret {s}" for s in SECRETS),
    "build",
]
PATIENCE = 60.0
_DOCTOR_OF = """
import functools, sys
from spool.google import rest
rest.Apis = functools.partial(rest.Apis, **dict.fromkeys(rest.Apis.__dataclass_fields__, sys.argv.pop(1)))
rest.Rest = functools.partial(rest.Rest, anonymous=True)
from spool.cli import main
main()
"""


class Terminal:
    """A program in a terminal of its own, as a person meets it."""

    def __init__(self, arguments: list[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        self._mine, self._its = pty.openpty()
        self.text, self._read = "", 0
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            arguments,
            cwd=cwd,
            env=dict(environment),
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - Ctrl-C reaches only who has a terminal
        )

    def until(self, *words: str) -> str:
        """Read until one of `words` appears after what was read last; which one."""
        end = time.perf_counter() + PATIENCE
        while time.perf_counter() < end:
            new = self.text[self._read :]
            found = min((new.index(word), word) for word in words if word in new) if any(w in new for w in words) else None
            if found:
                self._read += found[0] + len(found[1])
                return found[1]
            if select.select([self._mine], [], [], 0.05)[0]:
                self.text += os.read(self._mine, 65536).decode(errors="replace")
            elif self.process.poll() is not None:
                break
        pytest.fail(f"none of {words} in:\n{self.text}")

    def say(self, line: str = "") -> None:
        os.write(self._mine, f"{line}\n".encode())

    def ctrl_c(self, *, after: str = "") -> None:
        os.write(self._mine, after.encode() + b"\x03")

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._its)[3] & termios.ECHO)

    def ended(self) -> int:
        """The exit code, everything read."""
        end = time.perf_counter() + PATIENCE
        while self.process.poll() is None or select.select([self._mine], [], [], 0)[0]:
            assert time.perf_counter() < end, self.text
            if select.select([self._mine], [], [], 0.02)[0]:
                self.text += os.read(self._mine, 65536).decode(errors="replace")
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._mine)
        os.close(self._its)


class Folder:
    """A checkout of Spool with its own values in infra/, and the fake tools."""

    def __init__(self, path: Path) -> None:
        self.path, self.root = path, path / "checkout"
        (self.root / "infra").mkdir(parents=True)
        (self.root / "functions").mkdir()
        shutil.copy(ROOT / "functions" / "policy.py", self.root / "functions")
        self.values()
        self.bin = fake_tools.install(path)

    def values(self, **changed: str) -> None:
        """infra/staging.tfvars as it is shipped, with these values put in."""
        text = (ROOT / "infra" / "staging.tfvars").read_text()
        for name, value in {"project_id": PROJECT, "billing_account": "01AB23-45CD67-89EF01", **changed}.items():
            text = re.sub(rf"^{name}(\s*)=.*$", rf'{name}\g<1>= "{value}"', text, flags=re.MULTILINE)
        (self.root / "infra" / "staging.tfvars").write_text(text)

    def environment(self) -> dict[str, str]:
        path = f"{self.bin}:{Path(sys.executable).parent}"
        return inherited(
            {"PATH": path, "HOME": str(self.path), "NO_GCE_CHECK": "true", "SPOOL_STATE_DIR": str(self.path / "state")}
        )

    @contextlib.contextmanager
    def setup(self, *arguments: str, cloud: str = "") -> Generator[Terminal]:
        command = [sys.executable, "-c", _DOCTOR_OF, cloud] if cloud else [sys.executable, "-m", "spool.cli"]
        terminal = Terminal([*command, "setup", *arguments], cwd=self.root, environment=self.environment())
        try:
            yield terminal
        finally:
            terminal.close()

    def done(self, *names: str, **world: object) -> None:
        fake_tools.write(self.path, {"fail": {}, "done": list(names), **world})

    @property
    def changes(self) -> list[str]:
        """What was done by commands, in order."""
        return fake_tools.read(self.path)["done"]

    @property
    def lines(self) -> list[str]:
        return [" ".join(call["argv"]) for call in fake_tools.calls(self.path)]

    def files(self) -> str:
        """Everything on disk but what the fake tools wrote down of their stdin."""
        paths = [p for p in self.path.rglob("*") if p.is_file() and p.name != "calls" and p.parent != self.bin]
        return "\n".join(p.read_text(errors="replace") for p in paths)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def answer_everything(terminal: Terminal) -> None:
    """Say yes until the doctor speaks."""
    while (found := terminal.until(RUN, BY_HAND, SECRET, "What spool doctor says")) != "What spool doctor says":
        if found == SECRET:
            shown = terminal.text.rsplit("$ ", 1)[-1]
            terminal.say(next(value for name, value in SECRETS.items() if name in shown))
        else:
            terminal.say()


# ---- the whole way


def test_from_an_empty_project_to_the_doctors_all_clear(folder: Folder) -> None:
    with serving_cloud() as cloud:
        cloud.answers[next(p for p in cloud.answers if p.endswith("/spool-ingress"))]["urls"] = [cloud.url]
        cloud.answers[next(p for p in cloud.answers if p.endswith("/spool-worker"))]["template"]["containers"][0]["env"].append(
            {"name": "SLACK_API_URL", "value": f"{cloud.url}/api/"}
        )
        with folder.setup(cloud=cloud.url) as terminal:
            answer_everything(terminal)
            assert terminal.ended() == 0, terminal.text
            assert "All clear: " in terminal.text
    assert folder.changes == ["login", "adc", "project", "billing", "apis", "state", "versions", "other", *EVERYTHING[7:]]
    assert "manifest_yaml=" in terminal.text
    assert f"{fake_tools.URL}/slack/events" in terminal.text
    given = {c["argv"][4]: c["stdin"] for c in fake_tools.calls(folder.path) if c["stdin"]}
    assert given == SECRETS
    for secret in (*SECRETS.values(), "ya29.not-to-be-seen"):
        assert secret not in terminal.text
        assert secret not in "".join(folder.lines)
        assert secret not in folder.files().replace('ya29.not-to-be-seen")', "")
    assert json.loads((folder.path / "state" / "setup.json").read_text()) == {PROJECT: ["slack-app", "request-url"]}


def test_what_is_done_is_not_done_again_and_needs_no_answer(folder: Folder) -> None:
    folder.done(*EVERYTHING)
    (folder.path / "state").mkdir()
    (folder.path / "state" / "setup.json").write_text(json.dumps({PROJECT: ["slack-app", "request-url"]}))
    with folder.setup() as terminal:
        terminal.until("What spool doctor says")
        assert terminal.ended() == 1, "nobody is logged in here, and the doctor says so"
    assert folder.changes == EVERYTHING
    assert terminal.text.count("done already") == len(steps(read_site(folder.root, "staging", policy_secrets={})))


def test_stopped_in_the_middle_it_goes_on_from_there(folder: Folder) -> None:
    with folder.setup() as terminal:
        for _ in range(5):
            terminal.until(RUN)
            terminal.say()
        terminal.until(RUN)
        terminal.say("q")
        assert terminal.ended() == 130
        assert "Run spool setup again" in terminal.text
    assert folder.changes == EVERYTHING[:5]
    before = len(folder.lines)
    with folder.setup() as terminal:
        terminal.until("gcloud storage buckets create")
        terminal.until(RUN)
        terminal.ctrl_c()
        assert terminal.ended() == 130
    assert folder.changes == EVERYTHING[:5]
    assert not any(word in line for line in folder.lines[before:] for word in (" create ", " enable ", " link ", " login"))


def test_each_command_is_shown_before_it_runs(folder: Folder) -> None:
    with folder.setup() as terminal:
        terminal.until("$ gcloud auth login")
        terminal.until(RUN)
        assert not any("auth login" in line for line in folder.lines)
        terminal.say("s")
        terminal.until("$ gcloud auth application-default login")
        terminal.until(RUN)
    assert folder.changes == []


# ---- what goes wrong


def test_a_command_that_fails_stops_it_and_the_next_run_tries_it_again(folder: Folder) -> None:
    folder.done("login", "adc", fail={"projects create": 3})
    with folder.setup() as terminal:
        terminal.until(RUN)
        terminal.say()
        assert terminal.ended() == 1
        assert "it is refused" in terminal.text
        assert "gcloud ended with 3: mend what it says above" in terminal.text
    folder.done("login", "adc")
    with folder.setup() as terminal:
        terminal.until(f"$ gcloud projects create {PROJECT}")
        terminal.until(RUN)
        terminal.say()
        terminal.until("gcloud billing projects link")


@pytest.mark.parametrize("project", ["your-spool-staging", "Acme", "a b", "-rf", "x", "$(id)", "a" * 31])
def test_a_wrong_project_id_is_one_sentence_and_nothing_runs(folder: Folder, project: str) -> None:
    folder.values(project_id=project)
    with folder.setup() as terminal:
        assert terminal.ended() == 1
    assert "project_id is" in terminal.text
    assert folder.lines == []


def test_ctrl_c_at_a_secret_gives_nothing_away_and_the_terminal_back(folder: Folder) -> None:
    folder.done(*EVERYTHING[:8])
    with folder.setup() as terminal:
        terminal.until(BY_HAND)
        terminal.say()
        terminal.until(RUN)
        terminal.say()
        terminal.until(SECRET)
        assert not terminal.echoes
        terminal.ctrl_c(after=BOT_TOKEN)
        assert terminal.ended() == 130
        assert terminal.echoes
    assert BOT_TOKEN not in terminal.text
    assert not any("secrets versions add" in line for line in folder.lines)


def test_a_secret_of_the_wrong_form_is_asked_for_again_without_being_shown(folder: Folder) -> None:
    folder.done(*EVERYTHING[:8])
    with folder.setup() as terminal:
        terminal.until(BY_HAND)
        terminal.say()
        terminal.until(RUN)
        terminal.say()
        terminal.until(SECRET)
        terminal.say(BOT_TOKEN)
        terminal.until("That is not the Signing Secret")
        terminal.until(SECRET)
        terminal.say(f"  {SIGNING_SECRET} ")
        terminal.until("done: secret spool-slack-signing-secret")
    assert [c["stdin"] for c in fake_tools.calls(folder.path) if c["stdin"]] == [SIGNING_SECRET]
    assert BOT_TOKEN not in terminal.text


def test_ctrl_c_lets_terraform_give_its_lock_back_first(folder: Folder) -> None:
    folder.done(*EVERYTHING[:7], hangs="-chdir=infra apply")
    with folder.setup() as terminal:
        for _ in range(2):
            terminal.until(RUN)
            terminal.say()
        terminal.until("applying")
        terminal.ctrl_c()
        terminal.until("lock released")
        assert terminal.ended() == 130
    assert "Run spool setup again" in terminal.text


def test_a_missing_tool_is_named_with_where_to_get_it(folder: Folder) -> None:
    (folder.bin / "terraform").unlink()
    with folder.setup() as terminal:
        assert terminal.ended() == 1
    assert "install terraform (https://developer.hashicorp.com/terraform/install)" in " ".join(terminal.text.split())
    assert folder.lines == []


def test_nobody_at_the_terminal_runs_nothing(folder: Folder) -> None:
    command = [sys.executable, "-m", "spool.cli", "setup"]
    done = subprocess.run(  # noqa: S603 - our own program
        command,
        cwd=folder.root,
        env=folder.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, folder.changes) == (130, [])


def test_a_build_that_is_still_running_is_waited_for(folder: Folder) -> None:
    folder.values(repository=f"projects/{PROJECT}/locations/europe-west1/connections/c/repositories/r")
    folder.done(*EVERYTHING[:-1])
    (folder.path / "state").mkdir()
    (folder.path / "state" / "setup.json").write_text(json.dumps({PROJECT: ["slack-app", "request-url"]}))
    with folder.setup() as terminal:
        terminal.until(f"$ gcloud builds triggers run spool-staging --project={PROJECT} --region=europe-west1 --sha={'f' * 40}")
        terminal.until(RUN)
        terminal.say()
        terminal.until("Google does not see it yet")
        folder.done(*EVERYTHING)
        terminal.say()
        terminal.until("What spool doctor says")


def test_production_without_a_repository_says_so_instead_of_starting_a_build_that_would_be_refused(folder: Folder) -> None:
    text = (folder.root / "infra" / "staging.tfvars").read_text().replace('"staging"', '"production"')
    (folder.root / "infra" / "production.tfvars").write_text(text)
    folder.done(*EVERYTHING[:-1])
    (folder.path / "state").mkdir()
    (folder.path / "state" / "setup.json").write_text(json.dumps({PROJECT: ["slack-app"]}))
    with folder.setup("--environment", "production") as terminal:
        assert terminal.ended() == 1
    assert "connect the repository to Cloud Build in europe-west1" in " ".join(terminal.text.split())
    assert not [line for line in folder.lines if "builds" in line]


def test_a_build_by_hand_leaves_its_source_where_it_is_deleted_again() -> None:
    site = Site(project=PROJECT, region="europe-west4")
    (build,) = [argv for argv in commands(site) if argv[:3] == ("gcloud", "builds", "submit")]
    assert f"--gcs-source-staging-dir=gs://run-sources-{PROJECT}-europe-west4/by-hand" in build


def test_a_secret_that_terraform_would_not_make_is_named_before_anything_runs(folder: Folder) -> None:
    policy = 'from spool.policy import Policy\n\npolicy = Policy(secrets=("CRM_API_KEY",))\n'
    (folder.root / "functions" / "policy.py").write_text(policy)
    with folder.setup() as terminal:
        assert terminal.ended() == 1
    assert "lacks CRM_API_KEY of policy.secrets: run spool stage --infra" in " ".join(terminal.text.split())
    assert folder.lines == []


def test_notes_that_are_broken_cost_a_question_and_no_more(folder: Folder) -> None:
    folder.done(*EVERYTHING)
    (folder.path / "state").mkdir()
    (folder.path / "state" / "setup.json").write_text("[broken")
    with folder.setup() as terminal:
        terminal.until(BY_HAND)
        terminal.say()
        terminal.until(BY_HAND)
        terminal.say("s")
        terminal.until("What spool doctor says")
    assert json.loads((folder.path / "state" / "setup.json").read_text()) == {PROJECT: ["slack-app"]}


# ---- commands as data


def test_a_dry_run_prints_every_command_and_runs_none(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.root)
    monkeypatch.setenv("PATH", str(folder.bin))
    with pytest.raises(SystemExit, match="0"):
        main(["setup", "--dry-run"])
    out = capsys.readouterr().out
    site = read_site(folder.root, "staging", policy_secrets={})
    for step in steps(site):
        for argv in (*([step.probe.argv] if step.probe else []), *(change.argv for change in step.changes)):
            assert " ".join(argv[:3]) in out
    assert out.strip().splitlines()[-1] == f"spool doctor --project {PROJECT} --region europe-west1"
    assert folder.lines == []


def test_no_command_can_be_steered_by_a_value() -> None:
    """Commands are lists, never a shell's line, and each value stands behind its flag or is checked before."""
    for argv in commands(Site(project=PROJECT, secrets={"A": "spool-a"})):
        assert argv[0] in fake_tools.TOOLS
        assert all(isinstance(word, str) and word for word in argv)


def test_secrets_that_the_policy_names_are_asked_for_too(tmp_path: Path) -> None:
    site = read_site(Folder(tmp_path).root, "staging", policy_secrets={"CRM_KEY": "spool-crm-key"})
    assert list(site.secrets.values()) == [*SECRETS, "spool-crm-key"]


def test_without_a_models_key_none_is_asked_for(folder: Folder) -> None:
    folder.values(model_key_env="")
    assert "spool-model-key" not in read_site(folder.root, "staging", policy_secrets={}).secrets.values()


@pytest.mark.parametrize("value", ["1234", "01AB23-45CD67", "x; rm -rf ~"])
def test_a_wrong_billing_account_says_how_it_looks(folder: Folder, value: str) -> None:
    folder.values(billing_account=value)
    with pytest.raises(Misconfigured, match="gcloud billing accounts list"):
        read_site(folder.root, "staging", policy_secrets={})


def test_elsewhere_than_in_spools_folder_it_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="own folder"):
        read_site(tmp_path, "staging", policy_secrets={})


@pytest.mark.parametrize(
    ("out", "promoted"),
    [
        ('{"status": {"traffic": [{"revisionName": "spool-ingress-0a1b2c3-4d5e6f70", "percent": 100}]}}', True),
        ('{"status": {"traffic": [{"revisionName": "spool-ingress-manual-4d5e6f70", "percent": 100}]}}', True),
        ('{"status": {"traffic": [{"revisionName": "spool-ingress-00001-abc", "percent": 100}]}}', False),
        (
            '{"status": {"traffic": [{"revisionName": "spool-ingress-00001-abc", "percent": 100}, {"revisionName": "a-b-c"}]}}',
            False,
        ),
        ('{"status": {"traffic": []}}', False),
        ("{}", False),
        ("null", False),
        ("", False),
    ],
)
def test_the_build_is_done_when_traffic_goes_to_what_it_made(out: str, promoted: bool) -> None:  # noqa: FBT001
    assert is_promoted(out) is promoted
