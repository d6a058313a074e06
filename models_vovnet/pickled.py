"""What a checkpoint's pickle would build, told without building any of it.

torch's reader of weights runs no code of the file. Still a few bytes can keep it busy for ever
(tuples in tuples, each twice in the next, hashed as a key), end the process (a key in a million
tuples), take all memory (an array of that length), or leave a tensor of the old format with
whatever its memory held before (a storage that is named and not stored). So the same instructions
are followed here first, with sizes in the place of values.

Source of the instructions: `torch/_weights_only_unpickler.py`, which takes no others.
"""

from __future__ import annotations

import _compat_pickle
import pickletools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import torch

MOST_BYTES = 4 << 20  # of a pickle; that of a training checkpoint here has 0.2 MiB
_MOST_WORK = 10_000_000  # values looked at, each as often as it is looked at
_MOST_DEPTH = 100

_PLAIN = frozenset(
    (
        "collections.OrderedDict",
        "collections.Counter",
        "builtins.set",
        "builtins.complex",
        "_codecs.encode",
        "torch.Size",
        "torch.Tensor",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
    )
)
_STORAGE = re.compile(r"torch\.(?:storage\.|cuda\.)?(\w+)Storage")
_WIDTHS = {
    **dict.fromkeys(("ComplexDouble",), 16),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Char", "Byte", "Bool", "Untyped", "QInt8", "QUInt8"), 1),
}


class ForeignObjectError(ValueError):
    """The pickle holds an object that no weights are made of; `name` is its full name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it holds {name}")
        self.name = name


@dataclass(frozen=True)
class Storage:
    """A storage that tensors lie in: its key, and what the pickle says of its length."""

    key: str
    count: int
    width: int  # bytes of an element

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.count * self.width


@dataclass
class Value:
    """What stands for a value: `size` counts all in it, as often as it is there."""

    size: int = 1
    depth: int = 0
    word: str | int | None = None
    parts: list[Value] = field(default_factory=list)

    def take(self, parts: Sequence[Value]) -> None:
        """Add `parts`; ValueError where that is more than any checkpoint holds."""
        self.parts.extend(parts)
        self.size += sum(part.size for part in parts)
        self.depth = max((self.depth, *(part.depth + 1 for part in parts)))
        if self.size > _MOST_WORK or self.depth > _MOST_DEPTH:
            raise ValueError("its values are nested without measure")


@dataclass
class Outline:
    """What a pickle comes to."""

    result: Value
    storages: list[Storage]


def outline(file: BinaryIO) -> Outline:
    """Follow the pickle that begins where `file`, in memory, stands; leave `file` behind it.

    Raises ForeignObjectError for an object that no weights are made of, and ValueError where the
    pickle is damaged, or would take more than any checkpoint.
    """
    machine = _Machine()
    try:
        for opcode, arg, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return Outline(machine.stack.pop(), machine.storages)
            machine.follow(opcode.name, arg)
    except (IndexError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(f"its instructions do not fit together ({error!r})") from error
    raise ValueError("it has no end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Value] = []
        self.storages: list[Storage] = []
        self._marks: list[int] = []
        self._memo: dict[int, Value] = {}
        self._work = 0

    def follow(self, name: str, arg: object) -> None:
        """Do what one instruction does to the stack."""
        if name in ("BININT", "BININT1", "BININT2", "LONG1") and isinstance(arg, int):
            self.stack.append(Value(word=arg))
        elif name in ("BINUNICODE", "SHORT_BINSTRING") and isinstance(arg, str):
            self.stack.append(Value(1 + len(arg), word=arg))
        elif name in ("BINGET", "LONG_BINGET") and isinstance(arg, int):
            self.stack.append(self._memo[arg])
        elif name in ("BINPUT", "LONG_BINPUT") and isinstance(arg, int):
            self._memo[arg] = self.stack[-1]
        elif name == "GLOBAL" and isinstance(arg, str):
            self.stack.append(Value(word=_allowed(arg)))
        elif name in _PUSHES:
            self.stack.append(Value())
        elif name in _METHODS:
            _METHODS[name](self)
        elif name != "PROTO":
            raise ValueError(f"it has the instruction {name}, which no checkpoint has")

    def mark(self) -> None:
        self._marks.append(len(self.stack))

    def tuple(self, count: int | None = None) -> None:
        parts = self._pop_marked() if count is None else self._pop(count)
        value = Value()
        value.take(parts)
        self.stack.append(value)

    def fill(self, count: int | None = None) -> None:
        """Put values into the list or the dictionary below them."""
        parts = self._pop_marked() if count is None else self._pop(count)
        self.stack[-1].take(parts)
        self._add_work(*parts)

    def call(self) -> None:
        """Make something of a function or class and its arguments, or of an object and a state."""
        arguments = self.stack.pop()
        made = Value()
        made.take([self.stack.pop(), arguments])
        self._add_work(arguments)
        self.stack.append(made)

    def storage(self) -> None:
        tag, kind, key, _, count = self.stack.pop().parts[:5]
        match = _STORAGE.fullmatch(str(kind.word))
        if tag.word != "storage" or not match or match[1] not in _WIDTHS:
            raise ValueError("it refers to something that is no storage")
        if not isinstance(count.word, int) or count.word < 0 or not isinstance(key.word, str | int):
            raise ValueError("it refers to a storage without a length")
        self.storages.append(Storage(str(key.word), count.word, _WIDTHS[match[1]]))
        self.stack.append(Value())

    def _add_work(self, *values: Value) -> None:
        self._work += sum(value.size for value in values)
        if self._work > _MOST_WORK:
            raise ValueError("its values are nested without measure")

    def _pop(self, count: int) -> list[Value]:
        if len(self.stack) < count:
            raise IndexError("stack")
        parts = self.stack[-count:]
        del self.stack[-count:]
        return parts

    def _pop_marked(self) -> list[Value]:
        place = self._marks.pop()
        parts = self.stack[place:]
        del self.stack[place:]
        return parts


def _allowed(arg: str) -> str:
    """Return the full name of a class or function, which is one that weights are made of."""
    module, _, name = arg.partition(" ")
    # As torch does: pickles of the usual protocol have Python 2's names.
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    elif module in _compat_pickle.IMPORT_MAPPING:
        module = _compat_pickle.IMPORT_MAPPING[module]
    full = f"{module}.{name}"
    is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
    if full not in _PLAIN and not _STORAGE.fullmatch(full) and not is_dtype:
        raise ForeignObjectError(full)
    return full


_EMPTY = ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET")
_PUSHES = frozenset(("NONE", "NEWFALSE", "NEWTRUE", "BINFLOAT", *_EMPTY))
_METHODS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple,
    "TUPLE1": lambda machine: machine.tuple(1),
    "TUPLE2": lambda machine: machine.tuple(2),
    "TUPLE3": lambda machine: machine.tuple(3),
    "APPEND": lambda machine: machine.fill(1),
    "SETITEM": lambda machine: machine.fill(2),
    "APPENDS": _Machine.fill,
    "SETITEMS": _Machine.fill,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.call,
    "BINPERSID": _Machine.storage,
}
