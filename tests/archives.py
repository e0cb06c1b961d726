"""Tar archives that tests write."""

from __future__ import annotations

import io
import tarfile


class Archive:
    """A tar archive that a test writes."""

    def __init__(self, form: int = tarfile.PAX_FORMAT) -> None:
        self.stream = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.stream, mode="w", format=form)  # noqa: SIM115

    def add(
        self, name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object
    ) -> Archive:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        self.tar.addfile(info, io.BytesIO(content))
        return self

    def bytes(self) -> bytes:
        self.tar.close()
        return self.stream.getvalue()
