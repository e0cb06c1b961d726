"""The build agent as one script, the `startup-script` of a builder.

Layout of the bundle (a tar) that it reads:

    bundle.env           NAME, VERSION, FIRST, LAST as quoted assignments; SEAL=no ends after LAST;
                         SECRETS=yes where there are any: the agent begins with a key that no step knows;
                         FILES_ROOT=/DIRECTORY of a stage FROM scratch: its steps copy into that directory
    ca/*.crt             certificates that are trusted until the seal
    guest/…              Stoneware's own programs, laid over / before all else, where the image lacks them
    steps/0007/kind      RUN, COPY or WORKDIR;  steps/0007/title: one line for the log
    RUN                  run (sh, with `exec env -i …` at the beginning of a line), user, workdir, network
                         (none), mounts: in any order, lines of type, target, source, ro|rw, mode, uid, gid,
                         variable, size with tabs between; the source of a bind is a path in the bundle, of a
                         secret its name as it is served (empty: not given), of a cache a directory in the
                         machine; a secret without uid and gid belongs to the step's user
    COPY                 dest, chown, chmod, link, into (dir, or auto: a single regular file), data.tar (or
                         the directory tree/) with the names in it, directories and others, apart by NUL;
                         archives/* (tars that are unpacked over dest)
    WORKDIR              path, user
    handed               paths that others take of this stage, one a line: packed behind the last step
    seal/root/…          laid over / at the seal;  seal/enable: units to enable;  seal/checks.skip: names;
                         seal/promises, seal/path, seal/workdir: what promises.sh looks for;
                         seal/secrets: the secret with the lines that may be nowhere in the image

`user`, `chown`, `chmod`, `into`, `mounts` may be missing. Members of the bundle have no leading `./`.
"""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

_HERE = Path(__file__).parent
_PARTS = (
    "lib.sh",
    "build/certificates.sh",
    "build/services.sh",
    "build/passing.sh",
    "build/resolver.sh",
    "build/mounts.sh",
    "build/objects.sh",
    "build/run-step.sh",
    "build/copy-step.sh",
    "build/handing.sh",
    "build/envelope.sh",
    "build/caches.sh",
    "build/seal.sh",
    "build/checks.sh",
    "build/identity.sh",
    "build/promises.sh",
    "build/lists.sh",
    "build/agent.sh",
)


@functools.cache
def build_agent_script() -> str:
    """Return the text of the build agent; it needs no other file in the machine but what a base holds."""
    parts = [(_HERE / name).read_text() for name in _PARTS]
    table = (_HERE / "build/checks.tsv").read_text()
    hook = (_HERE / "build/package-hook.sh").read_text()
    talk = (_HERE / "build/talk.sh").read_text()
    texts = (
        _printing("checks_table", table),
        _printing("package_hook", hook),
        _printing("talk_program", talk),
    )
    return "\n".join(["#!/bin/sh", *parts, *texts, "build_agent\n"])


def _printing(name: str, text: str) -> str:
    """Return a function of sh that prints a text, which needs no program for it."""
    return f"# shellcheck disable=SC2016\n{name}() {{\n    printf %s {shlex.quote(text)}\n}}\n"
