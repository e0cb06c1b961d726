"""The stand-in as a program that Terraform starts in the place of hashicorp/google."""

from __future__ import annotations

import os
import sys

from stoneware.provider.plugin import COOKIE, serve_calls


def main() -> None:
    """Serve until Terraform ends it."""
    if COOKIE not in os.environ:
        sys.exit("This is a provider for Terraform, which starts it.")
    from tests.google.provider.servicer import Servicer

    serve_calls(Servicer())


if __name__ == "__main__":
    main()
