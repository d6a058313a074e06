"""`source env.sh`: the project's own environment, the CANN variables, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SHELLS = [
    "bash",
    pytest.param("zsh", marks=pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")),
]
NO_CANN = "env.sh: CANN not found: atc and the card's tools are not available; everything else is\n"


def make_wheel(folder: Path, version: str) -> None:
    """Write a wheel of the package `tiny`, whose one module says its version."""
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", f"VERSION = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        wheel.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "1.0")
    make_wheel(folder, "2.0")
    return folder


class Project:
    """A copy of the project's own set-up, with the package `tiny` for all requirements."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        # The interpreter that runs this, by its folder and not through another environment.
        base = Path(sys.base_prefix) / "bin"
        own = Path(sys.prefix) / "bin"
        path = [str(base), *(p for p in os.environ["PATH"].split(":") if p != str(own))]
        self.environment = {
            "PATH": ":".join(path),
            "HOME": str(folder.parent),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": wheels.as_uri(),
        }

    def require(self, text: str) -> None:
        (self.folder / "requirements.txt").write_text(text)

    def shell(
        self, script: str, shell: str = "bash", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shell, "-c", script, shell],
            cwd=self.folder.parent,
            env=self.environment | {"ENV_SH": str(self.folder / "env.sh")} | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def tools(self, without: str = "", python: bool = False) -> Path:
        """Return a folder that alone is enough for PATH, and has no Python in it unless wanted."""
        folder = self.folder.parent / "tools"
        folder.mkdir()
        names = ["bash", "cat", "flock", "getconf", "grep", "mkdir", "mv", "rm", "uname"]
        for name in names:
            if name != without and (found := shutil.which(name)):
                (folder / name).symlink_to(found)
        if python:
            real = shutil.which("python3", path=self.environment["PATH"])
            write_script(folder / "python3", f'#!/bin/bash\nexec "{real}" "$@"\n')
        return folder


def lay(folder: Path, wheels: Path) -> Project:
    (folder / "cli").mkdir(parents=True)
    shutil.copy(PROJECT / "env.sh", folder)
    shutil.copy(PROJECT / "cli/make_env.sh", folder / "cli")
    (folder / "requirements.txt").write_text("# why\ntiny==1.0   # the only one\n")
    return Project(folder, wheels)


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path, wheels: Path) -> Project:
    """A project without an environment, in a folder with an unpleasant name."""
    return lay(tmp_path / "a b; $(touch pwned) 'c'", wheels)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Project:
    project = lay(tmp_path_factory.mktemp("made") / "pro ject", wheels)
    done = project.shell('source "$ENV_SH"')
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def ready(made: Project, tmp_path: Path, wheels: Path) -> Project:
    """A project whose environment is made and filled."""
    shutil.copytree(made.folder, tmp_path / "pro ject", symlinks=True)
    return Project(tmp_path / "pro ject", wheels)


def test_first_sourcing_makes_and_fills_the_environment_and_puts_it_first(bare: Project) -> None:
    done = bare.shell(
        'source "$ENV_SH" && command -v python3 && echo "$VIRTUAL_ENV"'
        " && python3 -c 'import tiny; print(tiny.VERSION)'"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(bare.venv / "bin/python3"), str(bare.venv), "1.0"]
    said = done.stderr.splitlines()
    assert said[0].startswith("env.sh: making .venv with Python 3.")
    assert said[1].startswith("env.sh: filling .venv from requirements.txt")
    assert said[2].startswith("env.sh: requirements.txt installed in ")
    assert said[3:] == NO_CANN.splitlines()
    assert not list(bare.folder.parent.rglob("pwned"))


def test_second_sourcing_installs_nothing_and_path_does_not_grow(ready: Project) -> None:
    done = ready.shell(
        'PATH=/nowhere:$PATH; source "$ENV_SH"; once=$PATH; source "$ENV_SH"; '
        '[[ $PATH == "$once" ]] && python3 -c "import tiny"',
        PIP_FIND_LINKS="/nonexistent",
    )
    assert done.returncode == 0
    assert done.stderr == NO_CANN * 2


def test_environment_comes_first_again_after_another_one_was_put_before_it(
    ready: Project,
) -> None:
    done = ready.shell('source "$ENV_SH"; PATH=/other/bin:$PATH; source "$ENV_SH"; echo "$PATH"')
    entries = done.stdout.strip().split(":")
    assert entries[:2] == [str(ready.venv / "bin"), "/other/bin"]
    assert entries.count(str(ready.venv / "bin")) == 1


def test_changed_requirements_are_installed(ready: Project) -> None:
    ready.require("tiny==2.0\n")
    done = ready.shell('source "$ENV_SH" && python3 -c "import tiny; print(tiny.VERSION)"')
    assert done.stdout == "2.0\n"
    assert "filling" in done.stderr
    assert "making" not in done.stderr


def test_failed_install_is_one_line_with_its_cause_and_the_shell_stays_open(
    ready: Project,
) -> None:
    good = (ready.folder / "requirements.txt").read_text()
    ready.require("tiny==3.0\n")
    done = ready.shell('source "$ENV_SH"; echo "code $?"; echo "$PATH"')
    assert done.stdout.startswith("code 1\n")
    assert str(ready.venv) not in done.stdout
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "could not install requirements.txt: ERROR: No matching distribution" in errors[0]
    assert f"(log: {ready.venv / 'requirements.log'})" in errors[0]
    # pip had touched nothing: with the old requirements the old environment is good.
    ready.require(good)
    again = ready.shell('source "$ENV_SH" && python3 -c "import tiny"')
    assert (again.returncode, again.stderr) == (0, NO_CANN)


def test_install_that_broke_off_midway_is_not_taken_for_complete(ready: Project) -> None:
    module = next(ready.venv.glob("lib/python3*/site-packages/tiny.py"))
    module.unlink()
    (ready.venv / "incomplete").touch()
    done = ready.shell('source "$ENV_SH" && python3 -c "import tiny"')
    assert done.returncode == 0, done.stderr
    assert "making .venv" in done.stderr


def test_killed_set_up_is_put_right_by_the_next_one(bare: Project) -> None:
    process = subprocess.Popen(
        ["bash", "-c", f"source '{bare.folder.parent}'/*/env.sh"],
        env=bare.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (bare.venv / "bin").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (bare.venv / "incomplete").exists()
    done = bare.shell('source "$ENV_SH" && python3 -c "import tiny"')
    assert done.returncode == 0, done.stderr


def test_filling_that_was_killed_is_put_right_by_the_next_one(ready: Project) -> None:
    ready.require("tiny==2.0\n")
    process = subprocess.Popen(
        ["bash", "-c", f"source '{ready.folder}/env.sh'"],
        env=ready.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = ready.venv / "requirements.log"
    log.unlink()
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (ready.venv / "incomplete").exists()
    done = ready.shell('source "$ENV_SH" && python3 -c "import tiny; print(tiny.VERSION)"')
    assert (done.returncode, done.stdout) == (0, "2.0\n"), done.stderr
    assert list(ready.venv.glob("*.partial")) == []


@pytest.mark.parametrize("flock", [True, False])
def test_two_shells_at_once_make_one_environment(bare: Project, flock: bool) -> None:
    variables = {} if flock else {"PATH": str(bare.tools(without="flock", python=True))}
    done = bare.shell('(source "$ENV_SH") & one=$!; source "$ENV_SH" && wait $one', **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("making .venv with") == 1


def test_interrupted_set_up_is_one_line_and_130(ready: Project) -> None:
    ready.require("tiny==2.0\n")
    log = ready.venv / "requirements.log"
    log.unlink()
    process = subprocess.Popen(
        ["bash", "-c", f"trap : INT; source '{ready.folder}/env.sh'; exit $?"],
        env=ready.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "env.sh: error: interrupted; the next call puts it right"
    assert "Traceback" not in errors
    assert (ready.venv / "incomplete").exists()


def test_network_that_does_not_answer_is_one_line_that_says_what_to_do(ready: Project) -> None:
    ready.require("tiny==2.0\n")
    del ready.environment["PIP_NO_INDEX"], ready.environment["PIP_FIND_LINKS"]
    done = ready.shell(
        'source "$ENV_SH"; echo "code $?"', PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="1"
    )
    assert done.stdout == "code 1\n"
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "the network or the index does not answer; try again, or name a folder" in errors[0]


def test_full_disk_is_one_line_that_says_what_to_do(ready: Project) -> None:
    ready.require("tiny==2.0\n")
    python = ready.venv / "bin/python"
    text = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    python.rename(ready.venv / "bin/real")
    write_script(
        python, f'#!/bin/bash\n[[ $2 != -m ]] || {{ echo "{text}"; exit 1; }}\nexec real "$@"\n'
    )
    done = ready.shell('source "$ENV_SH"; echo "code $?"', PATH=f"{ready.venv}/bin:/usr/bin:/bin")
    assert done.stdout == "code 1\n"
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "no space left on the disk of .venv; free some" in errors[0]


def test_environment_that_was_not_made_here_is_never_removed(bare: Project) -> None:
    (bare.venv / "bin").mkdir(parents=True)
    (bare.venv / "lib").mkdir()
    (bare.venv / "lib/mine").write_text("mine")
    for mark in ((), ("incomplete",), ("requirements.stamp",)):
        for name in mark:
            (bare.venv / name).touch()
        done = bare.shell('source "$ENV_SH"; echo "code $?"')
        assert done.stdout == "code 1\n"
        assert done.stderr == (
            f"env.sh: error: {bare.venv} was not made here, and no Python runs in it;"
            " move it somewhere else\n"
        )
        assert (bare.venv / "lib/mine").read_text() == "mine"


def test_environment_of_the_users_that_was_cut_off_is_filled_again_and_not_replaced(
    ready: Project,
) -> None:
    (ready.venv / "made-here").unlink()
    (ready.venv / "incomplete").touch()
    (ready.venv / "lib/mine").touch()
    module = next(ready.venv.glob("lib/python3*/site-packages/tiny.py"))
    module.write_text("half of it")
    done = ready.shell('source "$ENV_SH" && python3 -c "import tiny; print(tiny.VERSION)"')
    assert done.stdout == "1.0\n", done.stderr
    assert (ready.venv / "lib/mine").exists()


def test_surroundings_of_the_shell_do_not_reach_the_set_up(tmp_path: Path, wheels: Path) -> None:
    project = lay(tmp_path / "two\nlines\n", wheels)
    hostile = tmp_path / "here"
    hostile.mkdir()
    for name in ("sitecustomize", "venv", "pip", "random"):
        (hostile / f"{name}.py").write_text("open('pwned', 'w')\n")
    (hostile / "startup.sh").write_text("touch pwned\n")
    done = project.shell(
        'cd here; export IFS=/; set -f; export BASH_ENV=startup.sh; source "$ENV_SH"',
        CDPATH=f".:{hostile}",
        PYTHONPATH=":.",
        PYTHONSTARTUP=str(hostile / "random.py"),
    )
    assert done.returncode == 0, done.stderr
    assert (project.venv / "requirements.stamp").exists()
    assert not list(tmp_path.rglob("pwned"))


def test_environment_that_the_user_made_is_filled_and_not_replaced(ready: Project) -> None:
    (ready.venv / "requirements.stamp").unlink()
    (ready.venv / "mine").touch()
    done = ready.shell('source "$ENV_SH"')
    assert done.returncode == 0, done.stderr
    assert "making" not in done.stderr
    assert (ready.venv / "mine").exists()
    assert (ready.venv / "requirements.stamp").exists()


def test_environment_of_another_python_is_made_anew(ready: Project) -> None:
    stamp = ready.venv / "requirements.stamp"
    text = stamp.read_text()
    stamp.write_text(text.replace("# Python 3.", "# Python 3.9"))
    done = ready.shell('source "$ENV_SH" && python3 -c "import tiny"')
    assert done.returncode == 0, done.stderr
    assert "making .venv" in done.stderr
    assert stamp.read_text() == text


def test_requirements_of_the_tests_go_into_the_same_environment(ready: Project) -> None:
    (ready.folder / "tests").mkdir()
    (ready.folder / "tests/requirements.txt").write_text("tiny\n")
    command = f"bash '{ready.folder}/cli/make_env.sh' tests/requirements.txt"
    done = ready.shell(command)
    assert done.returncode == 0, done.stderr
    assert "tests/requirements.txt installed" in done.stderr
    # requirements.txt holds what is there at its version.
    assert "2.0" not in (ready.venv / "tests-requirements.log").read_text()
    assert ready.shell(command).stderr == ""
    assert ready.shell('source "$ENV_SH"').stderr == NO_CANN


@pytest.mark.parametrize("version", ["", "2.7", "3.9", "3.10", "3.99"])
def test_without_a_python_that_fits_there_is_one_line(bare: Project, version: str) -> None:
    tools = bare.tools()
    if version:
        write_script(tools / "python3", f"#!/bin/sh\necho {version}\n")
    done = bare.shell('source "$ENV_SH"; echo "code $?"', PATH=str(tools))
    assert done.stdout == "code 1\n"
    assert done.stderr.count("\n") == 1
    assert "error: no Python from 3.11 to 3.14 on PATH; install one" in done.stderr


def test_python_without_venv_is_one_line_that_says_what_to_install(bare: Project) -> None:
    tools = bare.tools()
    write_script(tools / "python3", '#!/bin/sh\n[ "$2" = -c ] && echo 3.12\n')
    done = bare.shell('source "$ENV_SH"; echo "code $?"', PATH=str(tools))
    assert done.stdout == "code 1\n"
    assert "error: python3 cannot make an environment" in done.stderr
    assert "apt install python3-venv" in done.stderr


@pytest.mark.parametrize(("libc", "left_out"), [("2.31", True), ("2.34", True), ("2.35", False)])
def test_openvino_is_left_out_where_its_wheel_does_not_run(
    ready: Project, libc: str, left_out: bool
) -> None:
    ready.require('tiny==1.0\nopenvino==1.0 ; python_version > "3"   # faster\n')
    tools = ready.folder.parent / "tools"
    tools.mkdir()
    write_script(tools / "uname", "#!/bin/sh\necho aarch64\n")
    write_script(tools / "getconf", f"#!/bin/sh\necho glibc {libc}\n")
    path = f"{tools}:{ready.environment['PATH']}"
    done = ready.shell('source "$ENV_SH"', PATH=path)
    assert (done.returncode == 0) is left_out, done.stderr
    assert ("OpenVINO is left out" in done.stderr) is left_out
    assert ("No matching distribution found for openvino" in done.stderr) is not left_out


@pytest.mark.parametrize("options", ["set -eu -o pipefail", "set -u", "true"])
@pytest.mark.parametrize("good", [True, False])
def test_sourcing_leaves_no_function_option_or_variable_behind(
    ready: Project, options: str, good: bool
) -> None:
    if not good:
        ready.require("nothing-of-this-name\n")
    state = "declare -F; shopt -p; set +o; compgen -v | grep -v -e '^_$' -e PIPESTATUS"
    done = ready.shell(
        f"{options}; before=x after=x VIRTUAL_ENV=/x BASH_REMATCH=x; before=$({state}); "
        'if source "$ENV_SH" one two; then echo good; else echo bad; fi; '
        f'after=$({state}); [[ $before == "$after" ]] && echo same'
    )
    assert done.stdout == f"{'good' if good else 'bad'}\nsame\n", done.stderr


def test_executing_it_is_one_line_and_exit_2(bare: Project) -> None:
    done = bare.shell('bash "$ENV_SH"')
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("env.sh: error: it makes the shell ready that reads it; type: ")
    assert done.stderr.count("\n") == 1
    assert not bare.venv.exists()


def test_shell_that_cannot_read_it_is_told_so(bare: Project) -> None:
    if shutil.which("dash") is None:
        pytest.skip("dash is not installed")
    done = bare.shell('. "$ENV_SH" || echo open', shell="dash")
    assert done.stdout == "open\n"
    assert done.stderr == "env.sh: error: this shell cannot read it; use bash or zsh\n"


@pytest.mark.parametrize("options", ["set -eu", "true"])
def test_zsh_reads_it_too(ready: Project, options: str) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    done = ready.shell(
        f'{options}; source "$ENV_SH"; once=$PATH; source "$ENV_SH"; [[ $PATH == $once ]]; '
        "whence python3; functions | grep vovnet || true",
        shell="zsh",
    )
    assert (done.returncode, done.stdout) == (0, f"{ready.venv / 'bin/python3'}\n"), done.stderr
    assert done.stderr == NO_CANN * 2


def test_project_folder_with_a_colon_is_refused(tmp_path: Path, wheels: Path) -> None:
    project = lay(tmp_path / "a:b", wheels)
    done = project.shell('source "$ENV_SH"; echo "code $?"')
    assert done.stdout == "code 1\n"
    assert "has a ':' in its name" in done.stderr
    assert not project.venv.exists()


def test_missing_cann_is_no_error_and_quiet_on_request(ready: Project) -> None:
    assert ready.shell('source "$ENV_SH"').stderr == NO_CANN
    assert ready.shell('VOVNET_ENV_QUIET=1; source "$ENV_SH"').stderr == ""


def test_cann_that_is_not_where_the_variable_says_is_named(ready: Project) -> None:
    done = ready.shell('source "$ENV_SH"', ASCEND_TOOLKIT_HOME="/no such place")
    assert done.returncode == 0
    assert "CANN not found in /no such place: atc" in done.stderr


VARIABLES = "PATH PYTHONPATH LD_LIBRARY_PATH ASCEND_OPP_PATH install_path"
SHOW = f"for name in {VARIABLES}; do printenv $name; done"


@pytest.mark.parametrize("variable", ["ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH", "HOME"])
def test_cann_of_the_guides_days_gets_the_guides_variables(
    ready: Project, tmp_path: Path, variable: str
) -> None:
    place = tmp_path / "at home"
    cann = place / "Ascend/ascend-toolkit/latest" if variable == "HOME" else place
    (cann / "atc/bin").mkdir(parents=True)
    value = {variable: str(place) if variable == "HOME" else f"{cann}/"}
    before = ready.environment["PATH"]
    once = ready.shell(f'set -eu; source "$ENV_SH"; {SHOW}', LD_LIBRARY_PATH="/lib/own", **value)
    twice = ready.shell(
        f'set -eu; source "$ENV_SH"; source "$ENV_SH"; {SHOW}', LD_LIBRARY_PATH="/lib/own", **value
    )
    assert once.stdout.splitlines() == [
        f"{ready.venv}/bin:{cann}/atc/ccec_compiler/bin:{cann}/atc/bin:{before}",
        f"{cann}/atc/python/site-packages",
        f"{cann}/atc/lib64:{cann}/acllib/lib64:/lib/own",
        f"{cann}/opp",
        str(cann),
    ]
    assert once.stderr == ""
    assert twice.stdout == once.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_atc_is_called_without_the_environment_before_its_own_python(
    ready: Project, tmp_path: Path, shell: str
) -> None:
    """What stands for atc here says which python3 it finds, and ends with the code of a failure."""
    tools = tmp_path / "the cann/atc/bin"
    tools.mkdir(parents=True)
    tool = tools / "atc"
    tool.write_text('#!/bin/sh\ncommand -v python3\necho "$#: $2"\nexit 255\n')
    tool.chmod(0o755)
    script = (
        'source "$ENV_SH"; source "$ENV_SH"; atc --a=1 "b c"; echo "code $?"; command -v python3'
    )
    done = ready.shell(script, shell, ASCEND_TOOLKIT_HOME=str(tmp_path / "the cann"))
    found, arguments, code, ours = done.stdout.splitlines()
    assert not found.startswith(str(ready.venv))
    assert (arguments, code) == ("2: b c", "code 255")
    assert ours == f"{ready.venv}/bin/python3"


@pytest.mark.parametrize("beside", [True, False])
def test_set_env_of_todays_cann_is_preferred_and_read_once(
    ready: Project, tmp_path: Path, beside: bool
) -> None:
    cann = tmp_path / "toolkit" / "latest"
    (cann / "atc/bin").mkdir(parents=True)
    # As CANN's own: not written for a shell that stops at errors and unset variables.
    (cann.parent if beside else cann).joinpath("set_env.sh").write_text(
        f"export ASCEND_TOOLKIT_HOME='{cann}'\n"
        "export LD_LIBRARY_PATH=$ASCEND_TOOLKIT_HOME/lib64:$LD_LIBRARY_PATH\n"
        "grep nothing /dev/null\n"
        "export PATH=$ASCEND_TOOLKIT_HOME/bin:$PATH\n"
    )
    done = ready.shell(
        'set -eu; source "$ENV_SH"; source "$ENV_SH"; echo "$PATH"; echo "$-"; '
        'echo "${install_path-none}"',
        ASCEND_TOOLKIT_HOME=str(cann),
    )
    path, flags, install_path = done.stdout.splitlines()
    assert path == f"{ready.venv}/bin:{cann}/bin:{ready.environment['PATH']}"
    assert {"e", "u"} <= set(flags)
    assert install_path == "none"
    assert done.stderr == ""


def test_set_env_that_fails_is_named_and_the_environment_is_ready_all_the_same(
    ready: Project, tmp_path: Path
) -> None:
    (tmp_path / "cann").mkdir()
    (tmp_path / "cann/set_env.sh").write_text("return 7\n")
    done = ready.shell(
        'set -e; source "$ENV_SH"; command -v python3', ASCEND_TOOLKIT_HOME=f"{tmp_path}/cann"
    )
    assert done.stdout == f"{ready.venv}/bin/python3\n"
    assert "cann/set_env.sh ended with code 7" in done.stderr
