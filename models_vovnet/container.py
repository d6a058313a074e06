"""The container of a checkpoint, a zip archive or pickles in a row, checked before torch reads it.

torch compares no checksums, unpacks whatever is packed, and finds its way in an archive by its own
reader. So what is let through here can be read in one way only, is stored plainly, and holds just
the bytes that its pickle says.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from models_vovnet import pickled
from models_vovnet.pickled import ForeignObjectError, Outline
from pipeline.errors import PipelineError

AGAIN = "copy or fetch it again"
WEIGHTS_ALONE = "save the weights alone: torch.save(model.state_dict(), ...)"
_MOST_DIRECTORY = 16 << 20  # bytes of an archive's directory: some 200,000 members
_END = struct.Struct("<4s4H2LH")  # APPNOTE.TXT 4.3.16, end of central directory record
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END_64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
# In the old format three small pickles (a magic number, a version, facts of the machine) come
# before the content, and the storages' keys after it. Source: `_legacy_save` of torch's
# serialization.py.
_BEFORE_CONTENT = 3


def check_archive(path: Path) -> None:
    """Refuse an archive that is cut short, damaged, compressed, ambiguous or a compiled model."""
    try:
        with path.open("rb") as file:
            _check_end(file)
            with zipfile.ZipFile(file) as archive:
                _check_members(archive, path)
                _check_content(archive)
                damaged = archive.testzip()
    except PipelineError:
        raise
    except ForeignObjectError as error:
        raise _foreign(path, error.name) from error
    except Exception as error:
        # A damaged directory of members raises whatever its broken fields lead to.
        raise PipelineError(f"{path}: is cut short or damaged ({_reason(error)})", AGAIN) from error
    if damaged is not None:
        raise PipelineError(f"{path}: is damaged at {damaged[:80]} (checksum)", AGAIN)


def check_pickles(path: Path) -> None:
    """Refuse a file of the old format that is damaged, or whose storages are not what it says."""
    try:
        with path.open("rb") as file:
            _check_pickles(file)
    except ForeignObjectError as error:
        raise _foreign(path, error.name) from error
    except ValueError as error:
        raise PipelineError(
            f"{path}: damaged or not a PyTorch checkpoint ({_reason(error)})", AGAIN
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _foreign(path: Path, name: str) -> PipelineError:
    if name.startswith("torch._utils._rebuild"):
        return PipelineError(
            f"{path}: holds no plain tensors ({name[:80]})", "save the weights as float32"
        )
    return PipelineError(
        f"{path}: holds the Python object {name[:80]}, and no code is run from a checkpoint",
        WEIGHTS_ALONE,
    )


def _check_end(file: BinaryIO) -> None:
    """Raise ValueError unless the archive ends as plainly as torch.save writes it.

    With a comment, or bytes before or behind, two readers may find two directories in one file.
    """
    end = file.seek(0, io.SEEK_END) - _END.size
    signature, *_, size, offset, comment = _END.unpack(_read(file, end, _END.size))
    if signature != b"PK\x05\x06" or comment:
        raise ValueError("no directory at its end")
    place = end - _LOCATOR.size
    if (
        place >= 0
        and (locator := _LOCATOR.unpack(_read(file, place, _LOCATOR.size)))[0] == b"PK\x06\x07"
    ):
        end = place - _END_64.size
        record = _END_64.unpack(_read(file, end, _END_64.size))
        if record[0] != b"PK\x06\x06" or locator[2] != end:
            raise ValueError("no directory where its end says")
        size, offset = record[-2:]
    if offset + size != end:
        raise ValueError("no directory where its end says")
    if size > _MOST_DIRECTORY:
        raise ValueError(f"a directory of {size} bytes")


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    if place < 0:
        raise ValueError("it is too short")
    file.seek(place)
    return file.read(size)


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    names = {member.filename for member in members}
    if any(name.endswith("/constants.pkl") for name in names):
        raise PipelineError(f"{path}: is a TorchScript model, not a checkpoint", WEIGHTS_ALONE)
    # torch.save stores plainly; what unpacks to more than the file is no work of its.
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise PipelineError(
            f"{path}: is a compressed archive, which torch.save never writes",
            "unpack it, or save the checkpoint anew",
        )
    if len(names) < len(members):
        raise ValueError("two members of one name")
    root = members[0].filename.split("/")[0] if members else ""
    if f"{root}/data.pkl" not in names:
        raise PipelineError(
            f"{path}: is a zip archive without a checkpoint in it",
            "give a checkpoint as torch.save writes it (.pth)",
        )


def _check_content(archive: zipfile.ZipFile) -> None:
    """Follow the pickle; ValueError where a storage is not stored in the length that it says."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    root = archive.infolist()[0].filename.split("/")[0]
    content = f"{root}/data.pkl"
    if sizes[content] > pickled.MOST_BYTES:
        raise ValueError(f"a pickle of {sizes[content]} bytes")
    found = pickled.outline(io.BytesIO(archive.read(content)))
    for storage in found.storages:
        stored = sizes.get(f"{root}/data/{storage.key}")
        if stored != storage.size:
            raise ValueError(f"storage {storage.key[:80]} has {stored} bytes, not {storage.size}")


def _check_pickles(file: BinaryIO) -> None:
    pickles = io.BytesIO(file.read(pickled.MOST_BYTES))
    for _ in range(_BEFORE_CONTENT):
        pickled.outline(pickles)
    content = pickled.outline(pickles)
    keys = [part.word for part in pickled.outline(pickles).result.parts]
    _check_storages(file, pickles.tell(), content, keys)


def _check_storages(file: BinaryIO, place: int, content: Outline, keys: Sequence[object]) -> None:
    """Raise ValueError unless the storages lie from `place` on, each behind its count."""
    storages = {storage.key: storage for storage in content.storages}
    if len(keys) != len(storages) or any(storages[s.key] != s for s in content.storages):
        raise ValueError("its storages are not those of its tensors")
    whole = file.seek(0, io.SEEK_END)
    for key in keys:
        storage = storages.get(str(key))
        if storage is None:
            raise ValueError("its storages are not those of its tensors")
        data = _read(file, place, 8)
        if len(data) < 8 or int.from_bytes(data, "little") != storage.count:
            raise ValueError(f"storage {storage.key[:80]} has not the length that it says")
        place += 8 + storage.size
    if place > whole:
        raise ValueError("it is cut short")
