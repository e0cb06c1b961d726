"""What names may be: every rule once. Those of images and tags are in `image.references`."""

from __future__ import annotations

import re

from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class NameRule:
    """What a kind of names may be: a regular expression for all of a name, and the same in words."""

    pattern: str
    words: str

    def allows(self, name: str) -> bool:
        """Say whether a text may be such a name."""
        return re.fullmatch(self.pattern, name) is not None


def _free(most: int) -> NameRule:
    words = f"at most {most} letters, digits, '_', '.' and '-', a letter or a digit first"
    return NameRule(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{most - 1}}}", words)


# Machines and clusters: a label of a host name, which the machine's own host name begins with.
LABEL = NameRule(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    "at most 63 lower-case letters, digits and '-', with no '-' first or last",
)
MACHINE = CLUSTER = LABEL
VOLUME = _free(128)
SNAPSHOT = _free(100)  # of a volume
NETWORK = _free(100)
SECRET = _free(200)
RECORDED = SECRET  # the widest of them: what any of these may be in a record
# A machine's own host name: Linux keeps 64 characters.
HOST = NameRule(
    r"(?!.{65})[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*",
    "at most 64 letters, digits and '-', with '.' between labels",
)
# What DNS has, with the '_' that services and aliases of Compose may have.
DNS = NameRule(
    r"(?!.{254})[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*",
    "at most 253 letters, digits, '_' and '-', with '.' between labels",
)
# What /etc/hosts and our own DNS servers take, which do not look at labels.
HOSTS_FILE = NameRule(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}",
    "at most 253 letters, digits, '-', '_' and '.', a letter, a digit or '_' first",
)
