"""Where Terraform finds hashicorp/google in tests: the stand-in, or a real provider where one is named."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from stoneware.terraform.engine import LibraryEngine
from tests.google.provider import waiting
from tests.google.provider.schema import SOURCE

REAL = "STONEWARE_GOOGLE_PROVIDER"  # the path of a real provider's binary
VERSION = "7.46.0"
HEAD = """\
terraform {
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }
}

provider "google" {
  project                         = "proj-1"
  region                          = "us-central1"
  zone                            = "us-central1-a"
  access_token                    = "fake"
  universe_domain                 = "fake.invalid"
  compute_custom_endpoint         = "ENDPOINT/compute/v1/"
  storage_custom_endpoint         = "ENDPOINT/storage/v1/"
  dns_custom_endpoint             = "ENDPOINT/dns/v1/"
  secret_manager_custom_endpoint  = "ENDPOINT/v1/"
  poll_interval                   = "20ms"
  add_terraform_attribution_label = false
  batching {
    enable_batching = false
  }
}

"""
_REPOSITORY = Path(__file__).parents[3]
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def installed(directory: Path, *, override: bool = True) -> dict[str, str]:
    """Make a mirror with the provider below a directory, and return the variables that point Terraform at it.

    `terraform init` finds it there. With the override Terraform starts it without `init` too, and warns of
    that in each command.
    """
    machine = platform.machine()
    target = f"linux_{_ARCHITECTURES.get(machine, machine)}"
    mirror = directory / "providers"
    program = mirror / SOURCE / VERSION / target / f"terraform-provider-google_v{VERSION}"
    program.parent.mkdir(parents=True)
    _put(program)
    overrides = f"  dev_overrides {{\n    {json.dumps(SOURCE)} = {json.dumps(str(program.parent))}\n  }}\n"
    settings = directory / "terraform.rc"
    settings.write_text(
        f"provider_installation {{\n{overrides if override else ''}"
        f"  filesystem_mirror {{\n    path = {json.dumps(str(mirror))}\n  }}\n}}\n"
    )
    return {"TF_CLI_CONFIG_FILE": str(settings), "HOME": str(directory)}


def program_of(variables: Mapping[str, str]) -> Path:
    """Return the provider's program that variables of `installed` point at."""
    (program,) = Path(variables["HOME"]).rglob("terraform-provider-google_v*")
    return program


def _put(program: Path) -> None:
    if real := os.environ.get(REAL):
        program.symlink_to(Path(real).resolve(strict=True))
        return
    # Terraform starts it in the directory of the configuration, whose relative paths stay right.
    python = shlex.quote(sys.executable)
    words = f"{python} -I -S {shlex.quote(str(waiting.CLIENT))} {waiting.name_of_waiting()} {python}"
    program.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(_REPOSITORY))} exec {words}\n")
    program.chmod(0o755)


def initialized(directory: Path, endpoint: str, text: str, environment: Mapping[str, str]) -> None:
    """Write a configuration into a directory, and have Terraform take the provider from its mirror."""
    (directory / "main.tf").write_text(configuration(endpoint) + text)
    engine = LibraryEngine()
    try:
        done = engine.run([f"-chdir={directory}", "init", "-no-color"], environment, None)
    finally:
        engine.close()
    assert done.code == 0, done.stderr


def configuration(endpoint: str) -> str:
    """Return the head of a configuration whose provider works with an emulator, without an account."""
    return HEAD.replace("ENDPOINT", endpoint)
