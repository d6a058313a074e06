"""What the system must do for a fault: small disks, less memory, a user who may not do everything.

All of it happens in a mount namespace of this process's own, so that nothing is left mounted, and
without any of it being allowed the faults that need it are left out and said to be.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
# <sched.h>, <sys/mount.h>, <linux/prctl.h>, <linux/capability.h>
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 32, 16384, 1 << 18
_MNT_DETACH = 2
_PR_CAPBSET_DROP = 24
_CAPABILITIES = (1, 2, 3)  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER: what makes root exempt
_CGROUPS = Path("/sys/fs/cgroup")


class Disk:
    """A tmpfs of so many bytes, mounted on a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        _mount("tmpfs", folder, "tmpfs", 0, f"size={size}")

    def grow(self, size: int = 1 << 30) -> None:
        """Make room, and let it be written to again."""
        _mount("tmpfs", self.folder, "tmpfs", _MS_REMOUNT, f"size={size}")

    def forbid_writing(self) -> None:
        """Make it read-only."""
        _mount("tmpfs", self.folder, "tmpfs", _MS_REMOUNT | _MS_RDONLY, "")

    def remove(self) -> None:
        """Take it away with all that is on it."""
        _call(_LIBC.umount2(os.fsencode(self.folder), _MNT_DETACH), self.folder)
        self.folder.rmdir()


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mount a small disk while the block works."""
    made = Disk(folder, size)
    try:
        yield made
    finally:
        made.remove()


def take_namespace() -> str:
    """Give this process mounts of its own; return why it cannot mount, or nothing.

    To be called before the first thread.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            _call(_LIBC.unshare(_CLONE_NEWNS))
        else:
            _call(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWUSER))
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _mount("none", Path("/"), None, _MS_REC | _MS_PRIVATE, None)
    except OSError as error:
        return f"this system does not let {'root' if user == 0 else 'users'} mount: {error}"
    return ""


def as_plain_user() -> Callable[[], None]:
    """Return what a child calls so that permissions hold for it, as they do for all but root."""

    def give_up() -> None:
        for capability in _CAPABILITIES:
            _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)

    return give_up if os.geteuid() == 0 else lambda: None


def with_address_space(size: int) -> Callable[[], None]:
    """Return what a child calls to have no more than `size` bytes of memory mapped."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def with_file_size(size: int) -> Callable[[], None]:
    """Return what a child calls so that no file grows beyond `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextlib.contextmanager
def memory(size: int) -> Iterator[Callable[[], None] | None]:
    """Yield what a child calls to share `size` bytes with all that it starts, or None.

    Beyond them the kernel kills one of the processes. Source: the kernel's cgroup v2 and v1.
    """
    group = _memory_group(size)
    if group is None:
        yield None
        return
    try:
        yield lambda: _join(group)
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            os.sched_yield()


def _memory_group(size: int) -> Path | None:
    name = f"faults-{os.getpid()}"
    with contextlib.suppress(OSError):
        own = next(
            line.removeprefix("0::/")
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::/")
        )
        places = ((_CGROUPS / "memory", "memory.limit_in_bytes"), (_CGROUPS / own, "memory.max"))
        for place, limit in places:
            with contextlib.suppress(OSError):
                (place / name).mkdir(exist_ok=True)
                if (place / name / limit).exists():
                    (place / name / limit).write_text(str(size))
                    return place / name
                (place / name).rmdir()
    return None


def _join(group: Path) -> None:
    handle = os.open(group / "cgroup.procs", os.O_WRONLY)
    os.write(handle, b"0")
    os.close(handle)


def _mount(source: str, folder: Path, kind: str | None, flags: int, options: str | None) -> None:
    encoded = [text and text.encode() for text in (kind, options)]
    code = _LIBC.mount(
        source.encode(), os.fsencode(folder), encoded[0], ctypes.c_ulong(flags), encoded[1]
    )
    _call(code, folder)


def _call(code: int, folder: Path | None = None) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder) if folder else None)
