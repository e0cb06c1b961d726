"""Where the firmware of virtual machines is: what starts one imports no more than it has to."""

from __future__ import annotations

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"  # QEMU only reads it
FIRMWARE_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"  # as they are at first: each machine has a copy
