"""Reads a pickle as data: only the part of its language that writes data.

`pickle.Unpickler` with a guarded `find_class` is not enough for hostile files. Forty bytes of
nested tuples used as a dictionary key make it hash forever, a million of them overflow the C
stack, a large memo index allocates its table, and BUILD may set attributes on whatever
`find_class` returns. Here dictionary keys are strings and integers, the memo is a dictionary, and
BUILD and REDUCE know what they act on.

Rules:
    - An opcode that is not in the table ends reading; none reaches a name outside `KNOWN`.
    - Nothing here recurses or hashes anything but strings and 64-bit integers.
    - Memory is bounded by the size of the pickle and by `Limits.max_objects`.
"""

import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from labelcast_producers.torchfile.constructors import KNOWN, Constructors
from labelcast_producers.torchfile.limits import FileErrors, Limits

_PROTOCOLS = range(2, 6)
_DOUBLE = struct.Struct(">d")
_MAX_KEY = 2**63
_MAX_LINE_BYTES = 1024


class Machine:
    """Runs one pickle.

    Args:
        content: the pickle.
        constructors: builds what is not plain data.
        limits: limits of the file; `max_objects` is checked here.
        errors: errors of the file.
    """

    def __init__(
        self, content: bytes, constructors: Constructors, limits: Limits, errors: FileErrors
    ) -> None:
        self._content = content
        self._at = 0
        self._constructors = constructors
        self._errors = errors
        self._objects_left = limits.max_objects
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the pickle's value, not yet checked: containers may hold themselves, or tokens.

        Raises:
            LabelFileError: it is damaged, exceeds a limit or would run something.
        """
        content = self._content
        stop = pickle.STOP[0]
        opcodes = self._OPCODES
        try:
            while (opcode := content[self._at]) != stop:
                self._at += 1
                handler = opcodes.get(opcode)
                if handler is None:
                    self._refuse(opcode)
                handler(self)
        # Of the content or of the stack, which are all that is indexed here.
        except IndexError:
            raise self._errors.damaged("its pickle ends early or misses a value") from None
        if self._below or len(self._stack) != 1 or self._at + 1 != len(content):
            raise self._errors.damaged("its pickle does not end where its value does")
        return self._stack[0]

    def _refuse(self, opcode: int) -> NoReturn:
        for known in pickletools.opcodes:
            if ord(known.code) == opcode:
                raise self._errors.forbidden_opcode(known.name)
        raise self._errors.damaged("its pickle holds bytes that mean nothing")

    def _take(self, count: int) -> bytes:
        start = self._at
        self._at = end = start + count
        if end > len(self._content):
            raise self._errors.damaged("its pickle ends early")
        return self._content[start:end]

    def _take_number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _take_line(self) -> str:
        end = self._content.find(b"\n", self._at, self._at + _MAX_LINE_BYTES)
        if end < 0:
            raise self._errors.damaged("its pickle names something without an end")
        line = self._content[self._at : end]
        self._at = end + 1
        return self._text(line)

    def _text(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise self._errors.damaged("it holds text that is not UTF-8") from None

    def _take_mark(self) -> list[Any]:
        values = self._stack
        self._stack = self._below.pop()
        return values

    def _count_object(self) -> None:
        self._objects_left -= 1
        if self._objects_left < 0:
            raise self._errors.excessive("holds too many lists, tuples, dictionaries and calls")

    def _protocol(self) -> None:
        if self._take_number(1) not in _PROTOCOLS:
            raise self._errors.damaged("its pickle is of an unknown protocol")

    def _frame(self) -> None:
        # The whole pickle is in memory: frames, which help to read ahead, mean nothing here.
        self._take(8)

    def _none(self) -> None:
        self._stack.append(None)

    def _true(self) -> None:
        self._stack.append(True)

    def _false(self) -> None:
        self._stack.append(False)

    def _int(self) -> None:
        self._stack.append(int.from_bytes(self._take(4), "little", signed=True))

    def _int1(self) -> None:
        self._stack.append(self._content[self._at])
        self._at += 1

    def _int2(self) -> None:
        self._stack.append(self._take_number(2))

    def _long(self) -> None:
        # LONG4, for integers of more than 255 bytes, is left out: Python would not print them.
        content = self._take(self._take_number(1))
        self._stack.append(int.from_bytes(content, "little", signed=True))

    def _float(self) -> None:
        self._stack.append(_DOUBLE.unpack(self._take(8))[0])

    def _text1(self) -> None:
        self._stack.append(self._text(self._take(self._take_number(1))))

    def _text4(self) -> None:
        self._stack.append(self._text(self._take(self._take_number(4))))

    def _text8(self) -> None:
        self._stack.append(self._text(self._take(self._take_number(8))))

    def _bytes1(self) -> None:
        self._stack.append(self._take(self._take_number(1)))

    def _bytes4(self) -> None:
        self._stack.append(self._take(self._take_number(4)))

    def _bytes8(self) -> None:
        self._stack.append(self._take(self._take_number(8)))

    def _mark(self) -> None:
        self._count_object()
        self._below.append(self._stack)
        self._stack = []

    def _empty_list(self) -> None:
        self._count_object()
        self._stack.append([])

    def _append(self) -> None:
        value = self._stack.pop()
        self._list_on_top().append(value)

    def _appends(self) -> None:
        values = self._take_mark()
        self._list_on_top().extend(values)

    def _list_on_top(self) -> list[Any]:
        target = self._stack[-1]
        if type(target) is not list:
            raise self._errors.damaged("it appends to what is no list")
        return target

    def _empty_dict(self) -> None:
        self._count_object()
        self._stack.append({})

    def _set_item(self) -> None:
        value = self._stack.pop()
        key = self._stack.pop()
        self._set_items_on_top([key, value])

    def _set_items(self) -> None:
        self._set_items_on_top(self._take_mark())

    def _set_items_on_top(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise self._errors.damaged("it adds keys to what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Larger integers can be chosen so that they all have the same hash.
            if type(key) is not str and not (type(key) is int and abs(key) < _MAX_KEY):
                raise self._errors.foreign(
                    f"has a dictionary key of type {type(key).__name__}; save it again with strings"
                    " or 64-bit integers as keys"
                )
            target[key] = value

    def _empty_tuple(self) -> None:
        self._stack.append(())

    def _tuple(self) -> None:
        # Counted at its mark.
        values = self._take_mark()
        self._stack.append(tuple(values))

    def _tuple_of(self, count: int) -> None:
        self._count_object()
        if len(self._stack) < count:
            raise self._errors.damaged("a tuple misses a value")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _tuple1(self) -> None:
        self._tuple_of(1)

    def _tuple2(self) -> None:
        self._tuple_of(2)

    def _tuple3(self) -> None:
        self._tuple_of(3)

    def _put1(self) -> None:
        self._memo[self._content[self._at]] = self._stack[-1]
        self._at += 1

    def _put4(self) -> None:
        self._count_object()
        self._memo[self._take_number(4)] = self._stack[-1]

    def _memoize(self) -> None:
        self._count_object()
        self._memo[len(self._memo)] = self._stack[-1]

    def _get1(self) -> None:
        self._get(self._content[self._at])
        self._at += 1

    def _get4(self) -> None:
        self._get(self._take_number(4))

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._errors.damaged("it refers to a value that it has not defined")
        self._stack.append(self._memo[index])

    def _global(self) -> None:
        module = self._take_line()
        self._push_known(module, self._take_line())

    def _stack_global(self) -> None:
        name = self._stack.pop()
        module = self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise self._errors.damaged("it names something by what is no text")
        self._push_known(module, name)

    def _push_known(self, module: str, name: str) -> None:
        known = KNOWN.get(f"{module}.{name}")
        if known is None:
            raise self._errors.forbidden(f"{module}.{name}")
        self._stack.append(known)

    def _instance(self) -> NoReturn:
        module = self._take_line()
        raise self._errors.forbidden(f"{module}.{self._take_line()}")

    def _reduce(self) -> None:
        self._count_object()
        args = self._stack.pop()
        self._stack.append(self._constructors.reduce(self._stack.pop(), args))

    def _build(self) -> None:
        state = self._stack.pop()
        self._constructors.set_state(self._stack[-1], state)

    def _persistent(self) -> None:
        self._stack.append(self._constructors.persistent(self._stack.pop()))

    # Protocols 2 to 5, without what objects, sets, extensions and out-of-band buffers need.
    _OPCODES: ClassVar[dict[int, Callable[["Machine"], None]]] = {
        opcode[0]: handler
        for opcode, handler in (
            (pickle.PROTO, _protocol),
            (pickle.FRAME, _frame),
            (pickle.NONE, _none),
            (pickle.NEWTRUE, _true),
            (pickle.NEWFALSE, _false),
            (pickle.BININT, _int),
            (pickle.BININT1, _int1),
            (pickle.BININT2, _int2),
            (pickle.LONG1, _long),
            (pickle.BINFLOAT, _float),
            (pickle.SHORT_BINUNICODE, _text1),
            (pickle.BINUNICODE, _text4),
            (pickle.BINUNICODE8, _text8),
            (pickle.SHORT_BINBYTES, _bytes1),
            (pickle.BINBYTES, _bytes4),
            (pickle.BINBYTES8, _bytes8),
            (pickle.MARK, _mark),
            (pickle.EMPTY_LIST, _empty_list),
            (pickle.APPEND, _append),
            (pickle.APPENDS, _appends),
            (pickle.EMPTY_DICT, _empty_dict),
            (pickle.SETITEM, _set_item),
            (pickle.SETITEMS, _set_items),
            (pickle.EMPTY_TUPLE, _empty_tuple),
            (pickle.TUPLE1, _tuple1),
            (pickle.TUPLE2, _tuple2),
            (pickle.TUPLE3, _tuple3),
            (pickle.TUPLE, _tuple),
            (pickle.BINPUT, _put1),
            (pickle.LONG_BINPUT, _put4),
            (pickle.MEMOIZE, _memoize),
            (pickle.BINGET, _get1),
            (pickle.LONG_BINGET, _get4),
            (pickle.GLOBAL, _global),
            (pickle.STACK_GLOBAL, _stack_global),
            (pickle.INST, _instance),
            (pickle.REDUCE, _reduce),
            (pickle.BUILD, _build),
            (pickle.BINPERSID, _persistent),
        )
    }
