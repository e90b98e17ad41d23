"""The CI examples of docs/ci.md: the files that it shows, their steps one after another, the Dockerfile.

What only the service has is left out by name: actions, ``pip install``, and the programs that post a comment,
for which a stand-in writes down how it was called.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, missing_links, read

EXAMPLES = ROOT / "docs" / "examples" / "ci"
INSTALL = "pip install -r requirements-prune.txt"
ACTIONS = {"actions/checkout", "actions/setup-python", "actions/upload-artifact"}
EXPRESSIONS = {"${{ github.token }}": "token", "${{ github.event.pull_request.number }}": "17"}
CONDITIONS = {None: False, "always()": True, "always() && github.event_name == 'pull_request'": True}
"""Whether a step with that condition runs although one before it failed."""


@dataclass(frozen=True)
class Step:
    name: str
    script: str
    environment: dict[str, str]
    always: bool = False


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a model, the stand-ins, and what the services set."""
    (tmp_path / "models").mkdir()
    dense = (files("prunecli.demo") / "digits_resnet8.safetensors").read_bytes()
    (tmp_path / "models" / "model.safetensors").write_bytes(dense)
    (tmp_path / "bin").mkdir()
    for program in ("gh", "curl"):
        path = tmp_path / "bin" / program
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/{program}.called"\n', encoding="utf-8")
        path.chmod(0o755)
    return tmp_path


def shell(step: Step, project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(project / "bin"), sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | step.environment
    command = ["bash", *options, "-c", step.script]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def github(workflow: dict[str, Any], project: Path) -> Iterator[Step]:
    """The ``run`` steps of the only job. Actions must be those that are known to only prepare or upload."""
    (job,) = workflow["jobs"].values()
    service = {"GITHUB_STEP_SUMMARY": str(project / "summary"), "GITHUB_REPOSITORY": "someone/something"}
    for step in job["steps"]:
        if "uses" in step:
            assert step["uses"].partition("@")[0] in ACTIONS
            continue
        if step["run"] == INSTALL:
            continue
        given = {**workflow["env"], **service, **step.get("env", {})}
        environment = {name: EXPRESSIONS.get(text, text) for name, text in given.items()}
        assert not [text for text in (step["run"], *environment.values()) if "${{" in text]
        yield Step(step["name"], step["run"], environment, CONDITIONS[step.get("if")])


def run_github(text: str, project: Path) -> dict[str, int]:
    """The exit code of every step that ran, as the service runs them: bash -e, and after a failure only what
    always runs.
    """
    codes: dict[str, int] = {}
    for step in github(yaml.safe_load(text), project):
        if step.always or not any(codes.values()):
            codes[step.name] = shell(step, project, "-e", "-o", "pipefail").returncode
    return codes


def test_the_workflow_runs_step_by_step(project: Path) -> None:
    codes = run_github((EXAMPLES / "github.yml").read_text(encoding="utf-8"), project)
    assert list(codes.values()) == [0, 0, 0, 0], codes
    assert sorted(path.name for path in (project / "out").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
        "small.safetensors",
    ]
    report = json.loads((project / "out" / "report.json").read_text(encoding="utf-8"))
    gates = {gate["name"]: gate["passed"] for gate in report["gates"]}
    limits = {"max-params", "max-bytes", "min-accuracy", "max-drop", "min-agreement"}
    assert gates == dict.fromkeys(limits, True)
    page = (project / "out" / "report.md").read_text(encoding="utf-8")
    assert (project / "summary").read_text(encoding="utf-8") == page
    called = (project / "gh.called").read_text(encoding="utf-8").split()
    assert called[:5] == ["pr", "comment", "17", "--repo", "someone/something"]


def test_a_limit_that_fails_stops_the_workflow_and_is_told(project: Path) -> None:
    text = (EXAMPLES / "github.yml").read_text(encoding="utf-8")
    assert text.count("--max-params 40k") == 1
    codes = run_github(text.replace("--max-params 40k", "--max-params 4k"), project)
    assert codes == {"Prune, with limits": 4, "Job summary": 0, "Comment on the pull request": 0}
    assert not (project / "out" / "small.safetensors").exists()
    report = json.loads((project / "out" / "report.json").read_text(encoding="utf-8"))
    assert [gate["name"] for gate in report["gates"] if not gate["passed"]][:1] == ["max-params"]
    assert "max-params" in (project / "summary").read_text(encoding="utf-8")
    assert (project / "gh.called").exists()


def gitlab(job: dict[str, Any], environment: dict[str, str]) -> Step:
    """Its lines in one shell, as the service runs them, but for the installation."""
    lines = [line for line in (*job.get("before_script", ()), *job["script"]) if line != INSTALL]
    return Step("", "\n".join(lines), environment)


def test_the_pipeline_runs_job_by_job(project: Path) -> None:
    pipeline = yaml.safe_load((EXAMPLES / "gitlab.yml").read_text(encoding="utf-8"))
    (project / "prune.toml").write_bytes((EXAMPLES / "prune.toml").read_bytes())
    done = shell(gitlab(pipeline["prune"], {}), project, "-e", "-o", "pipefail")
    assert done.returncode == 0, done.stderr
    assert (project / "out" / "small.safetensors").exists()
    service = {
        "CI_API_V4_URL": "https://gitlab.example/api/v4",
        "CI_PROJECT_ID": "5",
        "CI_MERGE_REQUEST_IID": "7",
        "PRUNE_COMMENT_TOKEN": "secret",
    }
    told = shell(gitlab(pipeline["comment"], service), project, "-e", "-o", "pipefail")
    assert told.returncode == 0, told.stderr
    called = (project / "curl.called").read_text(encoding="utf-8").splitlines()
    assert called[-1] == "https://gitlab.example/api/v4/projects/5/merge_requests/7/notes"
    assert "body=<out/report.md" in called
    assert "PRIVATE-TOKEN: secret" in called


def test_stages_jobs_and_needs_are_those_that_there_are() -> None:
    pipeline = yaml.safe_load((EXAMPLES / "gitlab.yml").read_text(encoding="utf-8"))
    jobs = {name: job for name, job in pipeline.items() if isinstance(job, dict) and "script" in job}
    assert {job["stage"] for job in jobs.values()} == set(pipeline["stages"])
    assert {need for job in jobs.values() for need in job.get("needs", ())} <= jobs.keys()


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_the_page_shows_the_file_as_it_is(name: str) -> None:
    shown = re.findall(r"^<!-- examples/ci/(\S+) -->\n```\w+\n(.*?)^```", read("docs/ci.md"), re.M | re.S)
    assert dict(shown)[name] == (EXAMPLES / name).read_text(encoding="utf-8")


def test_linked_files_exist() -> None:
    assert not missing_links("docs/ci.md")


def test_every_exit_code_of_the_reference_is_on_the_page() -> None:
    codes = set(re.findall(r"^\| (\d+) \| ", read("docs/cli.md"), re.M)) - {"130"}
    assert set(re.findall(r"^\| (\d+) \| ", read("docs/ci.md"), re.M)) == codes


def test_the_hook_takes_every_file_and_fails_with_the_first(project: Path) -> None:
    """With a ``prune`` that notes what it is given, and fails for one of the files."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    example = yaml.safe_load((EXAMPLES / "pre-commit.yaml").read_text(encoding="utf-8"))
    assert example["repos"][0]["hooks"] == [{"id": hook["id"]}]
    stand_in = project / "bin" / "prune"
    stand_in.write_text('#!/bin/sh\necho "$@" >> called\ntest "$3" != bad.safetensors\n', encoding="utf-8")
    stand_in.chmod(0o755)

    def hooked(*names: str) -> int:
        script = shlex.join([*shlex.split(hook["entry"]), *names])
        return shell(Step("", script, {}), project).returncode

    assert hooked("a.safetensors", "b c.safetensors") == 0
    called = (project / "called").read_text(encoding="utf-8").splitlines()
    assert called == ["verify -q a.safetensors", "verify -q b c.safetensors"]
    assert hooked("bad.safetensors", "a.safetensors") != 0
    assert re.search(hook["files"], "models/net.pruned.safetensors")
    assert not re.search(hook["files"], "models/net.safetensors")


def test_the_dockerfile_copies_what_there_is_and_what_the_build_may_see() -> None:
    text = read("Dockerfile")
    copied = [name for line in re.findall(r"^COPY (.*)$", text, re.M) for name in line.split()[:-1]]
    assert set(copied) == {"pyproject.toml", "README.md", "LICENSE", "prunecli"}
    assert all((ROOT / name).exists() for name in copied)
    assert set(re.findall(r"^!(.*)$", read(".dockerignore"), re.M)) == set(copied)
    steps = re.findall(r"^(USER|WORKDIR|ENTRYPOINT|RUN pip|RUN useradd)", text, re.M)
    assert steps[-3:] == ["USER", "WORKDIR", "ENTRYPOINT"], "what runs is not root"
