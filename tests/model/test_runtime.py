"""What a machine may be told, each value as a column of a line that the boot agent reads."""

from __future__ import annotations

import pytest

from stoneware.model.runtime import Process, System, problems, system_text

pytestmark = pytest.mark.pure

SIGNS = ["\0", "\n", "\r", "\t"]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(
    "given",
    [
        (Process(), lambda text: System(sysctls=(("net.core.somaxconn", text),))),
        (Process(), lambda text: System(sysctls=((f"net.{text}", "1"),))),
        (Process(), lambda text: System(tmpfs=((f"/{text}", ""),))),
        (Process(), lambda text: System(tmpfs=(("/x", f"size={text}"),))),
        (Process(), lambda text: System(hosts=(f"{text}=10.0.0.1",))),
        (Process(), lambda text: System(hosts=(f"a=10.0.0.1{text}",))),
        (Process(), lambda text: System(hosts=(f"a=fe80::1%{text}",))),
        (Process(), lambda text: System(dns_search=(text,))),
        (Process(), lambda text: System(dns_options=(text,))),
    ],
)
def test_no_value_ends_its_line_or_column(given: tuple[Process, object], sign: str) -> None:
    process, system = given
    for text in (f"1{sign}2", f"1{sign}", f"{sign}1"):
        assert len(list(problems(process, system(text)))) == 1, text  # type: ignore[operator]


@pytest.mark.parametrize("sign", SIGNS)
def test_no_word_of_the_service_does(sign: str) -> None:
    for process in (
        Process(user=f"a{sign}"),
        Process(working_dir=f"/a{sign}b"),
        Process(stop_signal=f"TERM{sign}"),
        Process(groups=(f"a{sign}",)),
        Process(cap_drop=(f"chown{sign}",)),
    ):
        assert len(list(problems(process, System()))) == 1, process


def test_what_machines_can_be_told() -> None:
    system = System(
        sysctls=(("kernel.sem", "250 32000 100 128"),),
        hosts=("a=10.0.0.1", "b=fe80::1%eth0", "c=fe80::1%2", "d=host-gateway"),
    )
    assert list(problems(Process(), system)) == []
    assert system_text(system).splitlines()[0] == "sysctl\tkernel.sem\t250 32000 100 128"
    assert list(problems(Process(), System(hosts=("a=fe80::1%",)))) == ["'fe80::1%' is no IP address"]
