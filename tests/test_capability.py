"""What not every platform can do."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.model.capability import Capability, require


def test_what_a_platform_lacks_is_refused_with_the_place_and_what_to_do() -> None:
    require({Capability.COMMANDS}, Capability.COMMANDS, platform="google")
    with pytest.raises(InputError) as caught:
        require(
            {Capability.COMMANDS},
            Capability.PUBLISHED_PORTS,
            platform="google",
            location="machines.yaml:7:5",
            instead="remove ports: machines have addresses of their own there",
        )
    assert (caught.value.brief, caught.value.location) == (
        "the platform google has no published ports",
        "machines.yaml:7:5",
    )
    assert "publishing ports of machines" in caught.value.details
