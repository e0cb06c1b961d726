"""`terraform-provider-stoneware`: the provider as an executable that any Terraform can start."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Serve the provider over the local engine until Terraform ends it."""
    if "TF_PLUGIN_MAGIC_COOKIE" not in os.environ and "--dev" not in sys.argv:
        sys.stderr.write(
            "This is a provider for Terraform, which starts it. To use it in a configuration:\n"
            "    stoneware terraform install\n"
        )
        raise SystemExit(2)

    from tf.runner import run_provider

    from stoneware.platform import Platform
    from stoneware.provider.provider import StonewareProvider
    from stoneware.terraform.runner import SOURCE

    def local() -> Platform:
        from stoneware.local.platform import LocalPlatform
        from stoneware.local.store import Store

        return LocalPlatform(Store.open())

    run_provider(StonewareProvider(SOURCE, local))


if __name__ == "__main__":
    main()
