"""Fetching the published file from a server that misbehaves in every way servers do."""

from __future__ import annotations

import fcntl
import hashlib
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models_vovnet import published
from models_vovnet.published import Patience, fetch
from pipeline.errors import PipelineError

PROJECT = Path(__file__).resolve().parent.parent
CONTENT = hashlib.shake_256(b"weights").digest(700_001)
MD5 = hashlib.md5(CONTENT).hexdigest()
OTHER = hashlib.shake_256(b"other").digest(700_001)
# Tests do not wait for nothing: four futile tries, and a server is silent after a moment.
BRIEF = Patience(timeout_s=0.3, waits_s=(0.0, 0.0, 0.0))


class Handler(BaseHTTPRequestHandler):
    """Answer the n-th request by the n-th move of the server, and the last move ever after."""

    server: Server

    def do_GET(self) -> None:
        moves = self.server.moves
        self.server.ranges.append(self.headers.get("Range"))
        self.server.conditions.append(self.headers.get("If-Range"))
        moves[min(len(self.server.ranges), len(moves)) - 1](self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def start(self) -> int:
        """First byte asked for."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def answer(self, status: int, headers: Mapping[str, object], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A server on this machine with a list of moves; it keeps what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.moves: list[Move] = [sends()]
        self.ranges: list[str | None] = []
        self.conditions: list[str | None] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.pth?dl=1"


Move = Callable[[Handler], None]


def sends(
    content: bytes = CONTENT,
    most: int | None = None,
    ranges: bool = True,
    etag: str | None = None,
    stall: bool = False,
    length: bool = True,
) -> Move:
    """Send `content` from the byte asked for, but `most` bytes of it; then break off or stall."""

    def move(handler: Handler) -> None:
        condition = handler.headers.get("If-Range")
        start = handler.start if ranges and condition in (None, etag) else 0
        body = content[start:]
        headers: dict[str, object] = {"Content-Length": len(body)} if length else {}
        if etag:
            headers["ETag"] = etag
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206 if start else 200, headers, body if most is None else body[:most])
        if stall:
            handler.wfile.flush()
            handler.server.released.wait(10)

    return move


def says(status: int) -> Move:
    return lambda handler: handler.answer(status, {"Content-Length": 0}, b"")


def sends_another_range(handler: Handler) -> None:
    headers = {"Content-Range": f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"}
    handler.answer(206, headers, CONTENT[7:])


def sends_chunks_and_breaks_off(handler: Handler) -> None:
    body = b"%x\r\n%b\r\n%x\r\n%b" % (10_000, CONTENT[:10_000], 5_000, CONTENT[10_000:10_005])
    handler.answer(200, {"Transfer-Encoding": "chunked"}, body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a folder.d" / "weights.pth"


@pytest.fixture(autouse=True)
def folder(target: Path) -> None:
    target.parent.mkdir()


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def names_beside(target: Path) -> list[str]:
    return [entry.name for entry in target.parent.iterdir()]


def assert_fetched(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    assert names_beside(target) == [target.name]


def refusal(target: Path, server: Server, md5: str = MD5) -> str:
    with pytest.raises(PipelineError) as caught:
        fetch(target, server.url, md5, BRIEF)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_server_sends_the_file(server: Server, target: Path) -> None:
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None]


def test_a_broken_download_goes_on_where_it_was(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000), sends(most=200_000), sends(most=1), sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-", "bytes=500001-"]


def test_a_server_that_breaks_off_often_is_served_as_long_as_it_gains(
    server: Server, target: Path
) -> None:
    server.moves = [sends(most=70_000)]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert len(server.ranges) == 11


def test_what_an_earlier_run_left_is_not_fetched_again(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:600_000])
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == ["bytes=600000-"]


def test_a_complete_part_needs_no_network(server: Server, target: Path) -> None:
    part_of(target).write_bytes(CONTENT)
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == []


def test_a_server_without_ranges_starts_over(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000), sends(ranges=False)]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None, "bytes=300000-"]


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(
    server: Server, target: Path
) -> None:
    server.moves = [sends(most=300_000, ranges=False)]
    line = refusal(target, server)
    assert "broke off after 300,000 of 700,001 bytes" in line
    assert len(server.ranges) == 1 + 1 + len(BRIEF.waits_s)


def test_a_part_of_another_file_is_thrown_away(server: Server, target: Path) -> None:
    part_of(target).write_bytes(OTHER[:300_000])
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == ["bytes=300000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_no_beginning_starts_over(size: int, server: Server, target: Path) -> None:
    part_of(target).write_bytes((OTHER + OTHER)[:size])
    server.moves = [says(416), sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [f"bytes={size}-", None]


def test_a_file_that_changed_midway_starts_over_by_its_etag(server: Server, target: Path) -> None:
    server.moves = [sends(OTHER, most=300_000, etag='"old"'), sends(etag='"new"')]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.conditions == [None, '"old"']


def test_a_weak_etag_is_no_condition(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000, etag='W/"1"'), sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert server.conditions == [None, None]


def test_another_range_than_asked_for_is_not_appended(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000), sends_another_range, sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None, "bytes=300000-", None]


def test_a_silent_server_is_asked_again(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000, stall=True), sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_passing_error_is_tried_again(status: int, server: Server, target: Path) -> None:
    server.moves = [says(status), says(status), sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_lasting_error_is_told_at_once(status: int, server: Server, target: Path) -> None:
    server.moves = [says(status)]
    assert f"the server says {status}" in refusal(target, server)
    assert len(server.ranges) == 1
    assert names_beside(target) == []


def test_other_content_is_refused_and_removed(server: Server, target: Path) -> None:
    server.moves = [sends(OTHER)]
    line = refusal(target, server)
    assert f"another file (700,001 bytes, md5 {hashlib.md5(OTHER).hexdigest()}, not {MD5})" in line
    assert names_beside(target) == []


def test_a_web_page_is_called_one(server: Server, target: Path) -> None:
    server.moves = [sends(b"\n<!DOCTYPE html><html>Sign in</html>")]
    assert "sent a web page" in refusal(target, server)
    assert names_beside(target) == []


def test_a_cut_answer_without_a_length_is_refused(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000, length=False)]
    assert "another file (300,000 bytes" in refusal(target, server)


def test_an_endless_answer_is_cut(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MOST_BYTES", 500_000)
    assert "more than 500,000 bytes" in refusal(target, server)
    assert names_beside(target) == []


def test_a_server_that_is_not_there_is_given_up_with_the_way_out(
    server: Server, target: Path
) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(PipelineError) as caught:
        fetch(target, url, MD5, BRIEF)
    assert "no connection" in str(caught.value)
    assert f"get the file elsewhere (md5 {MD5}) and save it as {target}" in str(caught.value)
    assert names_beside(target) == []


def test_what_came_is_kept_when_the_server_goes_away(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000), says(503)]
    line = refusal(target, server)
    assert "300,000 bytes are kept, the same command goes on from there" in line
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    server.moves = [sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)


def test_waits_grow_while_nothing_comes(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.moves = [says(503)]
    with pytest.raises(PipelineError):
        fetch(target, server.url, MD5, Patience(timeout_s=5))
    assert waits == [1, 2, 4, 8]


def test_a_part_that_cannot_grow_is_not_taken_for_a_broken_connection(
    server: Server, target: Path
) -> None:
    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    command = stage(target, "--fetch", "--url", server.url, "--quiet")
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_files)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith("vovnet39_pth2onnx.py: error: File too large; raise the limit")
    assert server.ranges == [None]
    assert part_of(target).read_bytes() == CONTENT[:400_000]


def test_chunks_that_break_off_are_gone_on_with(server: Server, target: Path) -> None:
    server.moves = [sends_chunks_and_breaks_off, sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None, "bytes=10005-"]


def test_two_runs_do_not_fetch_into_one_part(server: Server, target: Path) -> None:
    with part_of(target).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another run is fetching it" in refusal(target, server)
    assert server.ranges == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "weights.pth", "http:///x"])
def test_only_web_addresses_are_taken(url: str, target: Path) -> None:
    with pytest.raises(PipelineError, match="is no http or https address"):
        fetch(target, url, MD5, BRIEF)
    assert names_beside(target) == []


def test_a_missing_folder_is_named(server: Server, target: Path) -> None:
    with pytest.raises(PipelineError, match="no such folder"):
        fetch(target.parent / "missing" / "x.pth", server.url, MD5, BRIEF)


def stage(target: Path, *arguments: str) -> list[str]:
    script = str(PROJECT / "vovnet39_pth2onnx.py")
    return [sys.executable, script, str(target), str(target.parent / "v.onnx"), *arguments]


def test_the_command_line_refuses_what_is_not_the_published_file(
    server: Server, target: Path
) -> None:
    command = stage(target, "--fetch", "--url", server.url)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"md5 {MD5}, not {published.WEIGHTS_MD5}" in done.stderr.splitlines()[-1]
    assert names_beside(target) == []


def test_a_killed_fetch_goes_on_where_it_was(server: Server, target: Path) -> None:
    server.moves = [sends(most=300_000, stall=True)]
    with subprocess.Popen(stage(target, "--fetch", "--url", server.url)) as process:
        deadline = time.monotonic() + 60
        while not (part_of(target).exists() and part_of(target).stat().st_size >= 262_144):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = part_of(target).stat().st_size
    server.moves = [sends()]
    fetch(target, server.url, MD5, BRIEF)
    assert_fetched(target)
    assert server.ranges == [None, f"bytes={kept}-"]


def test_nothing_is_fetched_where_the_file_is(server: Server, target: Path) -> None:
    target.write_bytes(b"mine")
    command = stage(target, "--fetch", "--url", server.url)
    done = subprocess.run(command, capture_output=True, text=True)
    assert "is there already" in done.stderr
    assert target.read_bytes() == b"mine"
    assert server.ranges == []


@pytest.mark.parametrize("arguments", [("--url", "http://x/y"), ("--fetch", "--arch", "vovnet57")])
def test_flags_that_contradict_each_other_are_refused(
    arguments: tuple[str, ...], target: Path
) -> None:
    done = subprocess.run(stage(target, *arguments), capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
