"""The words between this computer and a machine: the metadata address, its paths, the instance attributes.

The machine's half is shell (`guest/*.sh`, `guest/build/*.sh`). What machines report, `guest.reports` reads.
"""

from __future__ import annotations

METADATA_ADDRESS = "169.254.169.254"  # of the metadata server, as on Compute Engine
METADATA_URL = f"http://{METADATA_ADDRESS}"
GUEST_PORT = 8089  # of the same address: where instances of an emulated cloud find its storage and secrets
GUEST_ENDPOINT = f"http://{METADATA_ADDRESS}:{GUEST_PORT}"

# What the metadata server has beyond Compute Engine's paths.
BOOT_PATH = "/stoneware/v1/boot"  # all that a boot asks for, in one answer
FILES_PATH = "/stoneware/v1/files/"  # files a machine was given
SECRETS_PATH = "/stoneware/v1/secrets/"  # a machine's own secrets
RESULTS_PATH = "/stoneware/v1/results/"  # what a builder hands back
BUILD_KEY_PATH = "/stoneware/v1/build-key"  # a builder's key, before any step runs
BUILD_SECRETS_PATH = "/stoneware/v1/build-secrets/"  # secrets of the step that is about to run

# How the names begin of a builder's files that its agent alone gets.
FOR_AGENT = "secret-"  # … followed by a secret's name
SOUGHT = "secret.sought"  # what the secrets look like, for the leak check
OF_AGENT = (FOR_AGENT, "secret.")

# Instance attributes of each machine.
GUEST_ATTRIBUTES = "enable-guest-attributes"  # Compute Engine's: the machine may report
OURS = "stoneware-"  # how the others begin
CONFIG = "stoneware-config"  # the runtime config, canonical KEY=value lines
MODE = "stoneware-mode"  # `run`, `command`, `build` or, of a builder, SCRIPT
HEALTH_CHECK = "stoneware-healthcheck"  # takes the place of the image's
VOLUMES = "stoneware-volumes"
SECRETS = "stoneware-secrets"
PROCESS = "stoneware-process"
SYSTEM = "stoneware-system"
INSPECT = "stoneware-inspect"  # a nonce: the machine answers with the digests of its files
COMMAND = "stoneware-command"  # a nonce and a command of the image's own: the machine answers what it came to

# … of the machines of a cluster.
CLUSTER = "stoneware-cluster"
SERVICE = "stoneware-service"
SLOT = "stoneware-slot"

# … and of builders.
SCRIPT = "script"  # a mode: nothing boots; the shell runs the builder's file of that name, with which it ends
SCRIPT_FILE = "script"
TOKEN = "stoneware-token"  # noqa: S105 -- begins the agent's lines on the console
BUNDLE = "stoneware-bundle"
RESULTS = "stoneware-results"
HANDED = "stoneware-handed"  # where files of its stage go that other stages take
CACHES = "stoneware-caches"  # the objects that caches of its steps are kept in
CHECKPOINTS = "stoneware-checkpoints"
GO = "stoneware-go"  # the step whose checkpoint is taken
SERVING = "stoneware-serving"  # the step whose secrets may be fetched, and their names
ACCEPT = "stoneware-accept"  # results are taken
LISTS = "stoneware-lists"  # the files are listed from outside, where that can be done
LISTED = "stoneware-listed"  # … and it was, or could not be
LISTED_FILE = "listed.tar"  # the lists, among the builder's files
BEAT = "stoneware-beat"  # seconds between two signs of life
STORAGE = "stoneware-storage"  # where buckets are, where that is not Google's own address
MANIFEST = "stoneware-manifest"  # written into the image, like the two below
ENV = "stoneware-env"  # the defaults of the config
CONTRACT = "stoneware-contract"

COMMANDS = "/etc/stoneware/commands/"  # of an image: the commands that its machines run when they are asked

TRUE, FALSE = "TRUE", "FALSE"


def flag(value: bool) -> str:
    """Return an instance attribute that is true or false."""
    return TRUE if value else FALSE


def metadata_url(path: str) -> str:
    """Return where a machine finds a path of its metadata server."""
    return METADATA_URL + path
