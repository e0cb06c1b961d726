"""N5: a step takes secrets that it does not mount, or bakes them in coded; what steps may do with theirs.

A bake that fails as a coded one is left in the image: tests/bake/test_bakes.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import urllib.parse
from collections.abc import Callable

import pytest

from stoneware.bake.leaks import leak_patterns
from tests.bake.conftest import Context, context  # noqa: F401

MD = "curl -s -H 'Metadata-Flavor: Google' http://169.254.169.254"
SECRET = "tr0ub4dor&3-correct/horse+battery"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()

# What a step without a mount tries: every address, the agent's memory and files, and to leave a process and a
# service behind that wait for a later step's secrets.
THIEF = rf"""
for n in secret-tok secret.sought; do
    {MD}/stoneware/v1/files/$n >>/root/loot
    {MD}/stoneware/v1/build-secrets/$n >>/root/loot
    {MD}/stoneware/v1/build-secrets/$n -H "X-Stoneware-Key: 0" >>/root/loot
done
{MD}/stoneware/v1/build-key -X PUT --data-binary 0
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >>/root/loot 2>/dev/null
find /run/stoneware -type f -exec cat {{}} + >>/root/loot 2>/dev/null
perl -e 'for (glob "/proc/[0-9]*/maps") {{ m|/proc/(\d+)/|; open my $c, "<", "/proc/$1/cmdline"; my $l = <$c>;
    print "$1 $l\n" if $l =~ /startup/ && open(my $m, "<", $_) && defined <$m> }}' >/root/readable
cat >/root/thief <<'X'
while :; do
    for n in secret-tok secret.sought; do for p in files build-secrets; do
        curl -s -f -H 'Metadata-Flavor: Google' http://169.254.169.254/stoneware/v1/$p/$n >>/root/loot
    done; done
    cat /run/secrets/tok /run/stoneware/build-agent/secrets/* >>/root/loot 2>/dev/null
    echo tried >>/root/tries
    : >"/root/tried-$1"
done
X
(setsid sh -c 'echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs; exec sh /root/thief 1' >/dev/null 2>&1 &)
systemd-run -q sh /root/thief 2
until [ -e /root/tried-1 ] && [ -e /root/tried-2 ]; do sleep 0.05; done
"""


@pytest.mark.machine
def test_a_step_gets_no_secret_that_it_does_not_mount(context: Context) -> None:  # noqa: F811
    context.write(
        {
            "Machinefile": f"""\
FROM debian:12
RUN useradd -u 1234 app
COPY thief.sh /root/
RUN sh /root/thief.sh
RUN --mount=type=secret,id=tok wc -l </root/tries >/root/before; sleep 0.5; test -s /run/secrets/tok
RUN wc -l </root/tries >/root/after
USER app
RUN --mount=type=secret,id=tok --mount=type=secret,id=tok,env=TOK,target=/t,required \\
    for got in "$TOK" "$(cat /run/secrets/tok)" "$(cat /t)"; do \\
        test "$(printf %s "$got" | sha256sum)" = '{DIGEST}  -' || exit 1; done; \\
    stat -c '%u %a' /t | grep -qx '1234 400'
USER root
RUN --mount=type=secret,id=tok,uid=33,gid=34,mode=0440 \\
    stat -c '%u:%g %a' /run/secrets/tok | grep -qx '33:34 440'
RUN test ! -e /run/secrets/tok && rm /root/tried-* && sh /root/thief.sh
""",
            "thief.sh": THIEF,
            "tok": SECRET,
            ".machineignore": "tok\n",
        }
    )
    root = context.rootfs(context.bake("--secret", "id=tok,src=tok"))
    loot = (root / "root/loot").read_bytes()
    assert loot, "the thief has tried"
    for pattern in leak_patterns([SECRET.encode()]):
        assert pattern not in loot
    assert (root / "root/readable").read_text() == "", "the agent's memory is not to be looked into"
    assert int((root / "root/before").read_text()) > 0
    assert (root / "root/before").read_text() == (root / "root/after").read_text(), "the thieves were ended"


_VALUES = {
    "short": b"hunter2!hunter2!",
    "token": SECRET.encode(),
    "long": base64.b64encode(bytes(range(256))) + b"\n",
    "lines": b"first line of it\nsecond-line-of-it\n",
    "binary": bytes(range(128, 200)),
}
_CODES: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda value: value,
    "base64": base64.b64encode,
    "base64-wrapped": base64.encodebytes,
    "base64-url": base64.urlsafe_b64encode,
    "base64-with-a-user": lambda value: base64.b64encode(b"me:" + value + b"@x"),
    "base64-with-two": lambda value: base64.b64encode(b"ab" + value),
    "base32": base64.b32encode,
    "hex": binascii.hexlify,
    "hex-upper": lambda value: binascii.hexlify(value).upper(),
    "percent": lambda value: urllib.parse.quote_from_bytes(value.strip(), safe="").encode(),
}


@pytest.mark.parametrize("code", _CODES)
@pytest.mark.parametrize("kind", _VALUES)
def test_common_encodings_are_looked_for(kind: str, code: str) -> None:
    left = b"password = " + _CODES[code](_VALUES[kind]) + b"\n"
    assert any(pattern in left for pattern in leak_patterns([_VALUES[kind]]))


def test_what_is_no_secret_is_not_found() -> None:
    patterns = leak_patterns(_VALUES.values())
    assert all(len(pattern) >= 8 and b"\n" not in pattern for pattern in patterns)
    for text in (os.urandom(200_000), base64.b64encode(os.urandom(200_000)), b"0123456789abcdef" * 100):
        assert not any(pattern in text for pattern in patterns)
