"""Message classes from a `.proto` file, made when they are needed.

What `protoc` writes works with one or two major versions of protobuf only; descriptors work with all. No
library reads the text: the reader here knows what our file uses (proto3: messages, enums, oneofs, maps, unary
methods) and refuses everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from stoneware.dataclass import dataclass

_TOKEN = re.compile(r"\s+|//[^\n]*|([\w.]+|\"[^\"]*\"|[{}()<>=;,])")
_SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


@dataclass(frozen=True)
class Method:
    """A method of a service: its path in gRPC, and the classes of its two messages."""

    name: str
    path: str
    request: Any
    response: Any


class ProtoFile:
    """The messages and the methods of one file. Raises ValueError for what the reader does not know."""

    def __init__(self, path: Path) -> None:
        file, services = _Reader(path.name, path.read_text()).read()
        self._package = file.package
        # A pool of its own: the common one may have another file's messages of these names.
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.AddSerializedFile(file.SerializeToString())
        self.methods = tuple(
            Method(name, f"/{self._package}.{service}/{name}", self.message(request), self.message(response))
            for service, name, request, response in services
        )

    def message(self, name: str) -> Any:
        """Return the class of a message: `Schema.Attribute`."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"unexpected text: {text[place : place + 20]!r}")
        if found[1]:
            yield found[1]
        place = found.end()


class _Reader:
    """Reads the text from its beginning to its end, once."""

    def __init__(self, name: str, text: str) -> None:
        self._tokens = _tokens(text)
        self._file = descriptor_pb2.FileDescriptorProto(name=name)
        self._services: list[tuple[str, str, str, str]] = []

    def read(self) -> tuple[Any, list[tuple[str, str, str, str]]]:
        """Return the descriptor, and (service, method, request, response) of each method."""
        for word in self._tokens:
            if word == "syntax":
                self._expect("=")
                self._file.syntax = next(self._tokens).strip('"')
                self._expect(";")
            elif word == "package":
                self._file.package = next(self._tokens)
                self._expect(";")
            elif word == "message":
                self._message(self._file.message_type.add())
            elif word == "enum":
                self._enum(self._file.enum_type.add())
            elif word == "service":
                self._service()
            else:
                raise ValueError(f"unexpected {word!r} at the top of the file")
        return self._file, self._services

    def _expect(self, wanted: str) -> None:
        word = next(self._tokens, "the end of the file")
        if word != wanted:
            raise ValueError(f"{word!r} where {wanted!r} is expected")

    def _block(self) -> Iterator[str]:
        """Yield the first word of each statement up to the closing brace."""
        self._expect("{")
        for word in self._tokens:
            if word == "}":
                return
            yield word
        raise ValueError("the file ends within a block")

    def _message(self, into: Any) -> None:
        into.name = next(self._tokens)
        for word in self._block():
            if word == "message":
                self._message(into.nested_type.add())
            elif word == "enum":
                self._enum(into.enum_type.add())
            elif word == "oneof":
                self._oneof(into)
            elif word == "map":
                self._map(into)
            elif word == "repeated":
                self._field(into.field.add(label=_MANY), next(self._tokens))
            else:
                self._field(into.field.add(label=_ONE), word)

    def _field(self, into: Any, kind: str) -> None:
        if kind in _SCALARS:
            into.type = _SCALARS[kind]
        else:
            into.type_name = kind  # protobuf looks for it from the message outwards
        into.name = next(self._tokens)
        self._expect("=")
        into.number = int(next(self._tokens))
        self._expect(";")

    def _oneof(self, into: Any) -> None:
        into.oneof_decl.add(name=next(self._tokens))
        for word in self._block():
            self._field(into.field.add(label=_ONE, oneof_index=len(into.oneof_decl) - 1), word)

    def _map(self, into: Any) -> None:
        """Read `map<string, Value> name = 1;`, which stands for a repeated message of keys and values."""
        self._expect("<")
        key = next(self._tokens)
        self._expect(",")
        value = next(self._tokens)
        self._expect(">")
        field = into.field.add(label=_MANY)
        self._field(field, "")
        # protobuf takes no entry of a map by another name.
        field.type_name = "".join(part.title() for part in field.name.split("_")) + "Entry"
        entry = into.nested_type.add(name=field.type_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_ONE, type=_SCALARS[key])
        entry.field.add(name="value", number=2, label=_ONE, type_name=value)

    def _enum(self, into: Any) -> None:
        into.name = next(self._tokens)
        for word in self._block():
            self._expect("=")
            into.value.add(name=word, number=int(next(self._tokens)))
            self._expect(";")

    def _service(self) -> None:
        service = next(self._tokens)
        for word in self._block():
            if word != "rpc":
                raise ValueError(f"unexpected {word!r} in the service {service}")
            name = next(self._tokens)
            request = self._bracketed()
            self._expect("returns")
            self._services.append((service, name, request, self._bracketed()))
            self._expect(";")

    def _bracketed(self) -> str:
        self._expect("(")
        word = next(self._tokens)
        self._expect(")")
        return word
