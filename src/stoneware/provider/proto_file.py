"""The messages and methods of a `.proto` file, read when they are needed.

What `protoc` writes works with one or two major versions of protobuf only. The reader here knows what our
file uses (proto3: messages, enums, oneofs, maps of messages, unary methods) and refuses everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.provider.wire import SCALARS, Field, MessageType

_TOKEN = re.compile(r"\s+|//[^\n]*|([\w.]+|\"[^\"]*\"|[{}()<>=;,])")


@dataclass(frozen=True)
class Method:
    """A method of a service: its path in gRPC, and the types of its two messages."""

    name: str
    path: str
    request: MessageType
    response: MessageType


class ProtoFile:
    """The messages and the methods of one file. Raises ValueError for what the reader does not know."""

    def __init__(self, path: Path) -> None:
        reader = _Reader(path.read_text())
        reader.read()
        self._messages = reader.messages
        self.methods = tuple(
            Method(name, f"/{reader.package}.{service}/{name}", self.message(request), self.message(response))
            for service, name, request, response in reader.services
        )

    def message(self, name: str) -> MessageType:
        """Return the type of a message: `Schema.Attribute`."""
        if name not in self._messages:
            raise ValueError(f"there is no message {name}")
        return self._messages[name]


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

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._enums: dict[str, dict[str, int]] = {}
        self.messages: dict[str, MessageType] = {}
        self.package = ""
        self.services: list[tuple[str, str, str, str]] = []  # service, method, request, response

    def read(self) -> None:
        """Read all of it, and find the types of all fields."""
        for word in self._tokens:
            if word == "syntax":
                self._expect("=")
                self._expect('"proto3"')
                self._expect(";")
            elif word == "package":
                self.package = next(self._tokens)
                self._expect(";")
            elif word == "message":
                self._message("")
            elif word == "enum":
                self._enum("")
            elif word == "service":
                self._service()
            else:
                raise ValueError(f"unexpected {word!r} at the top of the file")
        for message in list(self.messages.values()):
            for field in message.fields:
                self._find_type(message.name, field)

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

    def _message(self, above: str) -> None:
        message = MessageType(above + next(self._tokens))
        self.messages[message.name] = message
        for word in self._block():
            if word == "message":
                self._message(f"{message.name}.")
            elif word == "enum":
                self._enum(f"{message.name}.")
            elif word == "oneof":
                next(self._tokens)
                message.fields += [self._field(kind, present=True) for kind in self._block()]
            elif word == "map":
                message.fields.append(self._map())
            elif word == "repeated":
                message.fields.append(self._field(next(self._tokens), many=True))
            else:
                message.fields.append(self._field(word))

    def _field(self, kind: str, *, many: bool = False, present: bool = False) -> Field:
        name = next(self._tokens)
        self._expect("=")
        number = int(next(self._tokens))
        self._expect(";")
        return Field(name, number, kind, many, present)

    def _map(self) -> Field:
        """Read `map<string, Value> name = 1;`, which stands for a repeated message of keys and values."""
        self._expect("<")
        self._expect("string")
        self._expect(",")
        value = next(self._tokens)
        self._expect(">")
        field = self._field("", many=True)
        key = Field("key", 1, "string", present=True)
        field.entry = field.type = MessageType("", [key, Field("value", 2, value, present=True)])
        return field

    def _find_type(self, inside: str, field: Field) -> None:
        """Find a field's type as protobuf does, from the message outwards. Raises ValueError."""
        if field.entry is not None:
            return self._find_type(inside, field.entry.by_name["value"])
        if field.kind not in SCALARS:
            place = inside
            while field.type is None:
                name = f"{place}.{field.kind}" if place else field.kind
                field.type = self.messages.get(name) or self._enums.get(name)
                if field.type is None and not place:
                    raise ValueError(f"there is no type {field.kind}")
                place = place.rpartition(".")[0]
        # Packed numbers are written in another way, which nothing here needs.
        if field.many and (field.kind in ("bool", "int64") or isinstance(field.type, dict)):
            raise ValueError(f"repeated numbers: {field.name}")
        return None

    def _enum(self, above: str) -> None:
        name = above + next(self._tokens)
        values = self._enums[name] = {}
        for word in self._block():
            self._expect("=")
            values[word] = int(next(self._tokens))
            self._expect(";")

    def _service(self) -> None:
        service = next(self._tokens)
        for word in self._block():
            if word != "rpc":
                raise ValueError(f"unexpected {word!r} in the service {service}")
            name = next(self._tokens)
            request = self._bracketed()
            self._expect("returns")
            self.services.append((service, name, request, self._bracketed()))
            self._expect(";")

    def _bracketed(self) -> str:
        self._expect("(")
        word = next(self._tokens)
        self._expect(")")
        return word
