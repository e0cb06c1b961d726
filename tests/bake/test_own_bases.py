"""Any Debian-derived system is a base, by a table of stoneware.toml: here Debian's next release."""

from __future__ import annotations

import pytest

from tests.bake.conftest import Context


@pytest.mark.machine
def test_debians_unstable_is_a_base(context: Context) -> None:
    # Its mirror may be a copy that is older than a week.
    context.write({"stoneware.toml": '[bases."debian:sid"]\nsuite = "sid"\nfrozen = true\n'})
    machinefile = 'FROM debian:sid\nRUN grep -q sid /etc/debian_version\nCMD ["sleep", "infinity"]\n'
    context.write({"Machinefile": machinefile})
    context.bake()
    machine = f"m-{context.name}"
    try:
        context.run("run", "-d", "--wait", "--name", machine, context.name)
        assert "sid" in context.run("exec", machine, "cat", "/etc/debian_version")[0]
        assert context.run("exec", machine, "systemctl", "is-system-running")[0] == "running\n"
    finally:
        context.run("rm", "-f", machine)
