"""One archive with what a report of a run on a card needs, and with nothing of the user's data.

Taken are versions, the chip, the system, the ends of the logs that CANN left, and from the work
folder its logs, perf files, results, records and a listing. Pictures, tensors, dumps, labels,
models and weights are not even opened. All text is masked (`pipeline.ascend.masking`).

Sources of the places: CANN's log reference (`ASCEND_PROCESS_LOG_PATH`, then `ASCEND_WORK_PATH/log`,
then `$HOME/ascend/log`) and its installation guide (the version files).
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import atomic, identity, machine, places, record
from pipeline.ascend import discover, masking, tools, work_files
from pipeline.errors import PipelineError

FOLDER = "ascend-report"  # in the archive
LOG_BYTES = 512 << 10  # of CANN's logs, all together
_MOST_LOGS = 12
_VERSION_BYTES = 16 << 10
_PATIENCE_S = 30
_CANN = Path("/usr/local/Ascend")
_VARIABLES = (
    *("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "install_path"),
    *("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_AICPU_PATH"),
    *("ASCEND_PROCESS_LOG_PATH", "ASCEND_WORK_PATH", "ASCEND_GLOBAL_LOG_LEVEL"),
    *("ASCEND_SLOG_PRINT_TO_STDOUT", "ASCEND_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"),
    *("DUMP_GE_GRAPH", "REPEAT_TUNE", "CANN_PATH", "OMP_NUM_THREADS", "LANG", "LC_ALL"),
)
_PACKAGES = (
    *("torch", "torchvision", "onnx", "onnxruntime", "openvino", "numpy", "Pillow"),
    *("opencv-python-headless", "orjson", "pysimdjson", "simplejpeg", "rich"),
    *("ais_bench", "aclruntime", "te", "topi", "decorator", "sympy", "attrs", "psutil", "cffi"),
)
_PROGRAMS = ("npu-smi", "atc", "msame", "python3", "python3.7")
_COMMANDS = (("npu-smi", "info"), ("npu-smi", "info", "-l"), ("npu-smi", "info", "-m"))


@dataclass
class Report:
    """What goes into the archive, by name, and what was looked for and not there."""

    mask: masking.Mask
    members: dict[str, bytes] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        """Take `text`, masked, as the member `name`."""
        safe = self.mask.text(name)
        stem, dot, end = safe.rpartition(".")
        number = 2
        while safe in self.members:
            safe, number = f"{stem}-{number}{dot}{end}", number + 1
        self.members[safe] = self.mask.text(text).encode("utf-8", "backslashreplace")

    def lack(self, what: str) -> None:
        """Note what was not there."""
        self.absent.append(self.mask.text(what))

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Name and bytes of each member, in the order of the archive."""
        return [(name, len(data)) for name, data in self.members.items()]


def collect(work_dir: Path, target: Path, log_bytes: int = LOG_BYTES) -> Report:
    """Write the archive to `target` and return what is in it.

    A work folder that is not there is noted as lacking. Raises PipelineError where `target` cannot
    be written or is named as no archive.
    """
    if not target.name.endswith((".tar.gz", ".tgz")):
        raise PipelineError(f"{target} is no name of an archive", "let it end in .tar.gz")
    places.check_file(target)
    work = work_dir.resolve()
    report = Report(masking.of_this_machine({identity.PROJECT: "<project>", work: "<work>"}))
    report.add("system.json", _to_json(_system()))
    _add_found(report, work)
    _add_commands(report)
    _add_versions(report)
    _add_logs(report, log_bytes)
    if not work.is_dir():
        report.lack(f"the work folder {work_dir}")
    elif not work_files.is_work_folder(work):
        report.lack(f"a run in {work_dir}: it has no record, om or perf file")
    else:
        for name, text in work_files.collected(work):
            report.add(f"work/{name}", text)
    contents = [f"{size:10,} {name}" for name, size in report.sizes]
    contents += [f"      none {what}" for what in report.absent]
    report.add("contents.txt", "\n".join(contents) + "\n")
    _write(report, target)
    return report


def _system() -> record.Json:
    release = Path("/etc/os-release")
    lines = release.read_text(errors="replace").splitlines() if release.is_file() else []
    return {
        "collected_utc": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "machine": machine.describe(),
        "distribution": [line for line in lines if line.startswith(("NAME=", "VERSION="))],
        "libc": " ".join(platform.libc_ver()),
        "available_memory_bytes": machine.available_memory(),
        "python": sys.version,
        "packages": {name: _version(name) for name in _PACKAGES},
        # The second as CANN's programs are started: without the project's environment.
        "programs": {name: shutil.which(name) for name in _PROGRAMS},
        "programs_of_cann": {name: str(tools.which(name) or "") for name in _PROGRAMS},
        "variables": {name: os.environ.get(name) for name in _VARIABLES},
        "devices": sorted(p.name for p in Path("/dev").glob("davinci*")),
        "project_code_sha256": identity.code_digest(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _add_found(report: Report, work: Path) -> None:
    """Take what a run would find: CANN, atc, the tools, the chips."""
    try:
        found = discover.find(discover.Wanted("", "", True, True, (work,)))
    except OSError as error:
        report.lack(f"what a run would find ({error})")
        return
    lines = [*found.lines, *(f"missing    {line}" for line in found.missing)]
    if found.tool and os.access(found.tool, os.R_OK):
        # It tells no version of its own.
        lines.append(f"tool       sha256 {identity.file_digest(found.tool)}")
    text = "".join(f"{line}\n" for line in lines)
    report.add("found.txt", re.sub(r"(in use by \d+ \w+) \(.*\)", r"\1", text))


def _add_commands(report: Report) -> None:
    program = discover.npu_smi_program()
    if program is None:
        report.lack("npu-smi (not on PATH)")
        return
    for command in _COMMANDS:
        try:
            done = subprocess.run(
                [program, *command[1:]],
                env=tools.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            report.lack(f"{' '.join(command)} ({type(error).__name__}: {error})")
            return
        text = f"exit status {done.returncode}\n{_without_processes(done.stdout)}{done.stderr}"
        report.add(f"{'_'.join(command)}.txt", text)


def _without_processes(text: str) -> str:
    """Return a table of npu-smi without the names of the programs that use a chip."""
    lines, column = [], None
    for line in text.splitlines(keepends=True):
        cells = line.split("|")
        if "Process name" in line:
            column = next(i for i, cell in enumerate(cells) if "Process name" in cell)
        elif column is not None and len(cells) > column + 1:
            cells[column] = " <program>".ljust(len(cells[column]))
            line = "|".join(cells)
        lines.append(line)
    return "".join(lines)


def _add_versions(report: Report) -> None:
    """Take CANN's, the driver's and the firmware's version files."""
    home = Path(os.environ.get("HOME") or "/")
    given = [os.environ.get(n) for n in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH", "install_path")]
    usual = [top / "ascend-toolkit" / "latest" for top in (_CANN, home / "Ascend")]
    homes = [*(Path(name) for name in given if name), *usual, _CANN / "cann"]
    patterns = ("version.cfg", "version.info", "*/version.info", "*-linux/ascend_*_install.info")
    open_ones = [top for top in homes if os.access(top, os.R_OK | os.X_OK)]
    found = [file for top in open_ones for name in patterns for file in sorted(top.glob(name))]
    found += [_CANN / part / "version.info" for part in ("driver", "firmware")]
    seen: set[Path] = set()
    for file in found:
        # Not is_file, which fails in a folder that is closed to this user.
        if os.access(file, os.R_OK) and file.is_file() and file.resolve() not in seen:
            seen.add(file.resolve())
            report.add(f"versions{file}", work_files.tail(file, _VERSION_BYTES))
    if not seen:
        report.lack("CANN's version files (CANN is not where it is looked for)")


def log_folders() -> list[Path]:
    """Return where CANN writes its logs, as its variables say or by default."""
    if given := os.environ.get("ASCEND_PROCESS_LOG_PATH"):
        return [Path(given)]
    if given := os.environ.get("ASCEND_WORK_PATH"):
        return [Path(given, "log")]
    return [Path(os.environ.get("HOME") or "/", "ascend", "log")]


def _add_logs(report: Report, most: int) -> None:
    """Take the ends of the newest logs, of all together `most` bytes."""
    found = [log for folder in log_folders() for log in _logs(folder)]
    if not found:
        report.lack(f"CANN's logs ({', '.join(map(str, log_folders()))} has none)")
    left = most
    for _, file in sorted(found, reverse=True)[:_MOST_LOGS]:
        if left <= 0:
            break
        # The newest is of the run that failed, as a rule: it may take half of what is left.
        text = work_files.tail(file, max(left // 2, 4096))
        left -= len(text.encode())
        report.add(f"logs/{file.parent.name}/{file.name}", text)


def _logs(folder: Path) -> Iterator[tuple[float, Path]]:
    for top, _, names in os.walk(folder):
        for name in names:
            file = Path(top, name)
            with contextlib.suppress(OSError):  # CANN removes old ones
                status = file.lstat()
                if name.endswith(".log") and stat.S_ISREG(status.st_mode):
                    yield status.st_mtime, file


def _to_json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _write(report: Report, target: Path) -> None:
    packed = io.BytesIO()
    # The header of gzip would have the name of the file, those of tar the owner's.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        for name, data in report.members.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name.lstrip('/')}")
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    atomic.write_bytes(target, packed.getvalue())
