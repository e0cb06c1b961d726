"""The attributes of `stoneware_machine`, resource and data source."""

from __future__ import annotations

from typing import Any

from stoneware.model.limits import DEFAULT_LOG_FILES, DEFAULT_LOG_SIZE, DEFAULT_PIDS_LIMIT
from stoneware.provider.schema import Attribute, Schema
from stoneware.provider.values import Bool, List, Map, Number, Object, Objects, String

VERSION = 2
TEXTS = ("id", "image_id", "ip", "phase", "health")

# What cannot be changed while a machine lives makes a new one.
_GIVEN: dict[str, Any] = {"required": True, "requires_replace": True}
_OPTION: dict[str, Any] = {"optional": True, "requires_replace": True}
_DEFAULT: dict[str, Any] = {"optional": True, "computed": True, "requires_replace": True}
_IN_PLACE: dict[str, Any] = {"optional": True, "computed": True}

_VOLUME_FIELDS = (
    Attribute("volume", String(), "Name of the volume.", required=True),
    Attribute("path", String(), "Where the machine mounts it.", required=True),
    Attribute("read_only", Bool(), "Mount it read-only.", optional=True),
)
_PORT_FIELDS = (
    Attribute("machine_port", Number(), "Port inside the machine.", required=True),
    Attribute("host_port", Number(), "Port on this computer; left out or 0 for a free one.", optional=True),
    Attribute("host_ip", String(), "Address on this computer; left out for all.", optional=True),
    Attribute("protocol", String(), "`tcp` (default) or `udp`.", optional=True),
)
_SECRET_FIELDS = (
    Attribute("secret", String(), "Name of the secret in the store.", required=True),
    Attribute("target", String(), "The file below `/run/secrets`, or an absolute path.", required=True),
    Attribute("version", String(), "Version of its value: another one is another secret.", required=True),
    Attribute("mode", String(), 'Mode of the file in octal digits; `"0400"` if left out.', optional=True),
    Attribute("uid", Number(), "Its owner; root if left out.", optional=True),
    Attribute("gid", Number(), "Its group; root's if left out.", optional=True),
)
_PROCESS_FIELDS = (
    Attribute("command", List(String()), "All words, those of the ENTRYPOINT too.", optional=True),
    Attribute("user", String(), "`USER`, `USER:GROUP` or numbers.", optional=True),
    Attribute("working_dir", String(), "An absolute path.", optional=True),
    Attribute("stop_signal", String(), "`SIGQUIT` and the like.", optional=True),
    Attribute("groups", List(String()), "Groups besides the user's own.", optional=True),
    Attribute("cap_drop", List(String()), "Capabilities it loses: `net_raw`, or `all`.", optional=True),
    Attribute("cap_add", List(String()), "Capabilities it keeps of those.", optional=True),
    Attribute("no_new_privileges", Bool(), "Setuid programs gain nothing.", optional=True),
    Attribute("oom_score_adj", Number(), "0 to 1000.", optional=True),
)
_SYSTEM_FIELDS = (
    Attribute(
        "sysctls", Map(String()), "Kernel parameters of its own: `net.*` and those of IPC.", optional=True
    ),
    Attribute("tmpfs", Map(String()), "Mount options by path: `size=64m,mode=1777`.", optional=True),
    Attribute("hosts", List(String()), "Lines of `/etc/hosts`: `NAME=ADDRESS`.", optional=True),
    Attribute("dns_search", List(String()), "Domains in which names are looked for.", optional=True),
    Attribute("dns_options", List(String()), "Options of `resolv.conf`: `ndots:2`.", optional=True),
)
_ULIMIT_FIELDS = (
    Attribute("name", String(), "As Docker calls it: `nofile`, `memlock`, `core`, …", required=True),
    Attribute("soft", Number(), "What processes begin with; `-1` for no limit.", required=True),
    Attribute("hard", Number(), "What they may raise it to; as `soft` if left out.", optional=True),
)
_TIMEOUT_FIELDS = (
    Attribute("create", String(), "For `wait_for` after the creation (10 minutes).", optional=True),
    Attribute("update", String(), "For `wait_for` after a start (10 minutes).", optional=True),
    Attribute("delete", String(), "For the orderly stop before the removal.", optional=True),
)


def resource_schema() -> Schema:
    """Return the schema of the resource."""
    return Schema(
        version=VERSION,
        description=(
            "A machine of the local engine. It runs on when Terraform has ended. `config`, `metadata`, "
            "`secrets`, `labels`, `image_ref`, `stop_timeout` and `running` are changed in place; everything "
            "else makes a new machine. Removing one stops it in order first. Import by name."
        ),
        attributes=[*_identity(), *_changeable(), *_equipment(), *_limits(), *_conduct(), *_computed()],
    )


def _identity() -> list[Attribute]:
    about_names = "What its networks' DNS calls it besides its host name."
    return [
        Attribute("name", String(), "Its name, unique in the store.", **_GIVEN),
        Attribute("source", String(), "`image:sha256:…` or `checkpoint:KEY`.", **_GIVEN),
        Attribute("kind", String(), "`machine` or `builder`.", default="machine", **_DEFAULT),
        Attribute("hostname", String(), "Its host name; the name if empty.", default="", **_DEFAULT),
        Attribute("networks", List(String()), "Networks it is on; the common one if none.", **_OPTION),
        Attribute("names", List(String()), about_names, **_OPTION),
    ]


def _changeable() -> list[Attribute]:
    about_metadata = "Instance attributes that its metadata server hands out; changed while it runs."
    about_config = (
        "Runtime config by variable, checked against the image's contract; it becomes the instance attribute "
        "`stoneware-config`, and those go with it that start the service and let the machine report."
    )
    about_secrets = "Secrets in the store that it gets as files; their values never pass through Terraform."
    return [
        Attribute("config", Map(String()), about_config, optional=True, sensitive=True),
        Attribute("metadata", Map(String()), about_metadata, optional=True, sensitive=True),
        Attribute("secrets", Objects(_SECRET_FIELDS), about_secrets, optional=True),
        Attribute("labels", Map(String()), "Labels on the machine.", optional=True),
        Attribute("image_ref", String(), "The image as people call it.", default="", **_IN_PLACE),
        Attribute("running", Bool(), "Whether it runs; `false` stops it.", default=True, **_IN_PLACE),
    ]


def _equipment() -> list[Attribute]:
    about_process = "How its service runs instead of what the image says."
    about_system = "Settings of its system that are not in the image."
    about_caches = "Ids of directories that outlive builders; the n-th is bound at `/run/stoneware/cache/N`."
    return [
        Attribute("files", Map(String()), "Files for its metadata server: name to path.", **_OPTION),
        Attribute("volumes", Objects(_VOLUME_FIELDS), "Volumes it mounts.", **_OPTION),
        Attribute("ports", Objects(_PORT_FIELDS), "Ports published here.", **_OPTION),
        Attribute("caches", List(String()), about_caches, **_OPTION),
        Attribute("process", Object(_PROCESS_FIELDS), about_process, **_OPTION),
        Attribute("system", Object(_SYSTEM_FIELDS), about_system, **_OPTION),
    ]


def _limits() -> list[Attribute]:
    about_pids = f"Processes and threads at most; {DEFAULT_PIDS_LIMIT} unless said, `-1` for any number."
    about_ulimits = "Resource limits of its processes instead of the engine's own."
    about_size = f"Bytes of one file of its console; {DEFAULT_LOG_SIZE} unless said."
    about_files = f"Files of its console that are kept; {DEFAULT_LOG_FILES} unless said."
    about_restart = "`no`, `always`, `unless-stopped` or `on-failure[:N]`."
    return [
        Attribute("memory", Number(), "Memory limit in bytes.", **_OPTION),
        Attribute("cpus", Number(), "Limit in cores.", **_OPTION),
        Attribute("pids_limit", Number(), about_pids, default=DEFAULT_PIDS_LIMIT, **_DEFAULT),
        Attribute("ulimits", Objects(_ULIMIT_FIELDS), about_ulimits, **_OPTION),
        Attribute("disk", Number(), "Bytes that its root file system may take.", **_OPTION),
        Attribute("log_max_size", Number(), about_size, default=DEFAULT_LOG_SIZE, **_DEFAULT),
        Attribute("log_max_file", Number(), about_files, default=DEFAULT_LOG_FILES, **_DEFAULT),
        Attribute("read_only", Bool(), "Changes are gone at the next start.", default=False, **_DEFAULT),
        Attribute("restart", String(), about_restart, default="no", **_DEFAULT),
        Attribute("stop_timeout", Number(), "Seconds for an orderly stop.", default=10, **_IN_PLACE),
    ]


def _conduct() -> list[Attribute]:
    about_recreate = "Any text; another one makes a new machine. To say it for the first time does not."
    about_wait = "`running` or `healthy`: how far its creation or start is waited for; not at all if empty."
    about_timeouts = 'How long things may take, such as `"90s"` or `"5m"`.'
    return [
        Attribute("recreate_on", String(), about_recreate, **_OPTION),
        Attribute("wait_for", String(), about_wait, default="", **_IN_PLACE),
        Attribute("timeouts", Object(_TIMEOUT_FIELDS), about_timeouts, optional=True),
    ]


def data_schema() -> Schema:
    """Return the schema of the data source."""
    about_metadata = "Instance attributes that its metadata server hands out."
    about_guest = "What the machine reported about itself, by `namespace/key`."
    return Schema(
        description="A machine that exists, made by Terraform or not.",
        attributes=[
            Attribute("name", String(), "Its name.", required=True),
            *_computed(),
            Attribute("kind", String(), "`machine` or `builder`.", computed=True),
            Attribute("source", String(), "What it was booted from.", computed=True),
            Attribute("image", String(), "The image as people called it.", computed=True),
            Attribute("hostname", String(), "Its host name.", computed=True),
            Attribute("networks", List(String()), "Networks it is on.", computed=True),
            Attribute("labels", Map(String()), "Labels on the machine.", computed=True),
            Attribute("metadata", Map(String()), about_metadata, computed=True, sensitive=True),
            Attribute("guest_attributes", Map(String()), about_guest, computed=True),
            Attribute("config_digest", String(), "Digest of the config it took on.", computed=True),
            Attribute("running", Bool(), "Whether it runs.", computed=True),
            Attribute("error", String(), "What is wrong with it; empty if nothing.", computed=True),
            Attribute("created", String(), "When it was made (RFC 3339).", computed=True),
        ],
    )


def _computed() -> list[Attribute]:
    about = {
        "id": "The engine's own id; a replaced machine has another one.",
        "image_id": "The image it booted from.",
        "ip": "Its address in its networks.",
        "phase": "created, booting, configuring, running, failed, stopping or stopped.",
        "health": "none, starting, healthy or unhealthy.",
    }
    about_published = "Ports as they are published, the free ones filled in; none while it is stopped."
    fields = [Attribute(field.name, field.type, field.description, computed=True) for field in _PORT_FIELDS]
    return [
        *(Attribute(name, String(), about[name], computed=True) for name in TEXTS),
        Attribute("published", Objects(fields), about_published, computed=True),
    ]
