"""The published VoVNet-39 checkpoint: what identifies it, and how to fetch it.

Source of the address and the MD5: the VoVNet-39 guide of the Ascend ModelZoo (ACL_PyTorch, contrib,
cv, classfication, vovnet39), which has them from the training code's own README.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline import atomic, identity, progress
from pipeline.errors import PipelineError

WEIGHTS_MD5 = "23717a6cadd9729a704f894381444237"
WEIGHTS_URL = "http://www.dropbox.com/s/1lnzsgnixd8gjra/vovnet39_torchvision.pth"
# Dropbox answers a browser with a page around the file; with dl=1 it sends the file itself.
DOWNLOAD_URL = f"{WEIGHTS_URL}?dl=1"

# The file holds 22.6 million float32 weights, about 90 MB; a server that sends more sends another.
MOST_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 1 << 18
MB = 1_000_000
# Answers that may be another a moment later (RFC 9110, RFC 6585); the 5xx are among them.
PASSING_STATUS = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a silent server, and before each new try that follows a futile one."""

    timeout_s: float = 30.0
    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)


class _PassingError(Exception):
    """A try is over, and the next may go better."""


@dataclass
class _Transfer:
    """One file on its way; `file` holds what has come so far, `validator` what it is part of."""

    url: str
    file: BinaryIO
    timeout_s: float
    validator: str | None = None


def fetch(
    target: Path,
    url: str = DOWNLOAD_URL,
    md5: str = WEIGHTS_MD5,
    patience: Patience = Patience(),
) -> None:
    """Fetch `url` to `target`, which appears only when its MD5 is `md5`.

    What has come so far lies in `<target>.part`; a later call goes on from there (HTTP range
    requests, RFC 9110 section 14). Raises PipelineError where the server or the network gives up,
    or where the content is another; such content is removed.
    """
    if not re.match(r"https?://[^/\s]", url):
        raise PipelineError(f"{url}: is no http or https address", "give one with --url")
    part = target.with_name(f"{target.name}.part")
    with _locked(part) as file:
        if target.exists():
            return
        resumed = file.seek(0, os.SEEK_END) > 0
        transfer = _Transfer(url, file, patience.timeout_s)
        if not (resumed and _digest_is(part, file, md5)):
            _download(transfer, target, md5, patience)
            if resumed and not _digest_is(part, file, md5):
                # The part may have been of another file. Only a whole fresh copy tells.
                progress.note(f"{part} does not fit what followed; starting over")
                file.truncate(0)
                _download(transfer, target, md5, patience)
            _check_digest(part, file, md5, url)
        atomic.rename(part, target)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open the part for appending, for this process alone; remove it at the end if it is empty."""
    try:
        file = part.open("ab+")
    except FileNotFoundError:
        raise PipelineError(f"{part.parent}: no such folder", "make it first") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"{part}: another run is fetching it", "wait for that run to end"
            ) from None
        try:
            yield file
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()


def _digest_is(part: Path, file: BinaryIO, md5: str) -> bool:
    file.flush()
    return identity.file_digest(part, "md5") == md5


def _check_digest(part: Path, file: BinaryIO, md5: str, url: str) -> None:
    """Raise PipelineError and remove the part where it is not the file with this MD5."""
    file.flush()
    found = identity.file_digest(part, "md5")
    if found == md5:
        return
    with part.open("rb") as start:
        page = start.read(64).lstrip().startswith(b"<")
    size = part.stat().st_size
    part.unlink()
    what = "a web page" if page else f"another file ({size:,} bytes, md5 {found}, not {md5})"
    raise PipelineError(
        f"{url}: sent {what}; it was removed",
        "give another address with --url, or save the file by hand",
    )


def _download(transfer: _Transfer, target: Path, md5: str, patience: Patience) -> None:
    """Try until the whole file is there; give up when one try after another gains nothing."""
    most = transfer.file.seek(0, os.SEEK_END)
    futile = 0
    while True:
        try:
            _attempt(transfer)
            return
        except _PassingError as error:
            problem = str(error)
        size = transfer.file.seek(0, os.SEEK_END)
        # A server that starts over each time gains nothing, however much it sends.
        futile = 0 if size > most else futile + 1
        most = max(most, size)
        if futile > len(patience.waits_s):
            kept = (
                f"{size:,} bytes are kept, the same command goes on from there; or " if size else ""
            )
            raise PipelineError(
                f"{transfer.url}: cannot be fetched: {problem}",
                f"{kept}get the file elsewhere (md5 {md5}) and save it as {target}",
            )
        wait = patience.waits_s[max(futile - 1, 0)] if patience.waits_s else 0.0
        progress.note(f"{problem}; {size:,} bytes have come, going on in {wait:g} s")
        time.sleep(wait)


def _attempt(transfer: _Transfer) -> None:
    """Ask for what is missing and append it; return when all is there."""
    offset = transfer.file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "vovnet39-offline-inference", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if transfer.validator:
            headers["If-Range"] = transfer.validator
    request = urllib.request.Request(transfer.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=transfer.timeout_s) as response:
            _receive(response, transfer, offset)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            transfer.file.truncate(0)
        elif error.code < 500 and error.code not in PASSING_STATUS:
            raise PipelineError(
                f"{transfer.url}: the server says {error.code} {error.reason}",
                "give another address with --url, or save the file by hand",
            ) from error
        raise _PassingError(f"the server says {error.code} {error.reason}") from error
    except http.client.InvalidURL as error:
        raise PipelineError(f"{transfer.url}: {error}", "give another with --url") from error
    except TimeoutError as error:
        raise _PassingError(f"the server is silent for {transfer.timeout_s:g} s") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise PipelineError(
                f"{transfer.url}: {error.reason}", "check the clock, the proxy and the address"
            ) from error
        raise _PassingError(f"no connection ({error.reason})") from error
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _PassingError(f"the connection broke off ({type(error).__name__})") from error


def _receive(response: http.client.HTTPResponse, transfer: _Transfer, offset: int) -> None:
    """Append the body of an answer; raise _PassingError where less came than was announced."""
    if response.status == http.client.PARTIAL_CONTENT:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != offset:
            transfer.file.truncate(0)
            raise _PassingError("the server sent another range than asked for")
        total: int | None = int(span[2])
    else:
        # The server knows no ranges, or the file is another now: this is all of it.
        transfer.file.truncate(0)
        offset = 0
        total = response.length
    etag = response.headers.get("ETag")
    # A weak ETag (W/...) may not stand in If-Range (RFC 9110 section 13.1.5).
    transfer.validator = etag if etag and not etag.startswith("W/") else None
    with progress.track("fetching", max(total or 0, MB) // MB, "MB") as update:
        while chunk := response.read1(CHUNK_BYTES):
            offset += len(chunk)
            if offset > MOST_BYTES:
                transfer.file.truncate(0)
                raise PipelineError(
                    f"{transfer.url}: sends more than {MOST_BYTES:,} bytes, so it is another file",
                    "give another address with --url",
                )
            transfer.file.write(chunk)
            update(offset // MB)
    transfer.file.flush()
    if total is not None and offset != total:
        raise _PassingError(f"the connection broke off after {offset:,} of {total:,} bytes")
