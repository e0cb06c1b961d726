"""Where the values of a machine's variables come from, and which of them win."""

from __future__ import annotations

from collections.abc import Mapping

from stoneware.config.secrets import Secret

# Variables every machine has, with what stands for them where no machine is there yet.
BUILTINS = {
    "STONEWARE_NAME": "preview",
    "STONEWARE_IP": "192.0.2.1",
    "STONEWARE_IMAGE": "sha256:" + "0" * 64,
    "STONEWARE_COMMIT": "",
    "STONEWARE_CLUSTER": "",
    "STONEWARE_SERVICE": "",
    "STONEWARE_SLOT": "",
}


def builtin_values(**known: str) -> dict[str, str]:
    """Return all built-in variables: what is known (`name=`, `ip=`, `image=`, …), else its stand-in.

    An address is known only when the machine runs; the stand-in is from the range for documentation.
    """
    values = dict(BUILTINS)
    for word, value in known.items():
        name = f"STONEWARE_{word.upper()}"
        if name not in values:
            raise KeyError(name)
        values[name] = value
    return values


def effective_values(
    image_env: Mapping[str, str], config: Mapping[str, str | Secret], builtins: Mapping[str, str]
) -> dict[str, str | Secret]:
    """Return what templates and the service see: built-ins over runtime config over the image's ENV."""
    return {**image_env, **config, **builtins}
