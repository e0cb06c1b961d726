"""Every key of the Compose format, and what becomes of it: it acts, is warned about, or is refused.

The keys that act are the fields of `schema`. This is the one table: the loader asks it, and the page of the
reference is made from it (`stoneware.compose.reference`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from stoneware.dataclass import dataclass


class Outcome(StrEnum):
    """What becomes of a key."""

    ACTS = "acts"
    WARNED = "warned"
    REFUSED = "refused"


@dataclass(frozen=True)
class Key:
    """What becomes of one key. `why` says what it does here, what is lost, or what to write instead.

    `harmless` are values (in small letters; nothing is an empty text) that say what is so anyway.
    """

    outcome: Outcome
    why: str
    harmless: tuple[str, ...] = ()


def _acts(why: str) -> Key:
    return Key(Outcome.ACTS, why)


def _warned(why: str, *harmless: str) -> Key:
    return Key(Outcome.WARNED, why, harmless)


def _refused(why: str, *harmless: str) -> Key:
    return Key(Outcome.REFUSED, why, harmless)


_FALSE = ("false", "no", "off", "n", "")
_NO_DEVICES = "Machines have no devices of their host."
_ONE_SYSTEM = "Leave it out: a machine is one whole system, with all of that its own."
_WEIGHT = "It has no effect: machines share this computer evenly; mem_limit and cpus are limits."
_REAL_TIME = "Leave it out: machines have no real-time share of the processor; cpus is a limit."
_WINDOWS = "This key is for Windows: use cpus."
_HOOK = "Let a unit of the image do it, or the service's own start."
_ONE_CARD = "A machine has one address: write ipv4_address, or use the service's name."
_ONE_ADDRESS = "It has no effect: a machine has one card, with one address on all of its networks."
_TERMINAL = "It has no effect: a service has no terminal; for one of yours: stoneware exec -it MACHINE sh"
_UNRESERVED = "It has no effect: nothing is reserved on this computer."
_BAKED = "It has no effect: images are baked or imported, and nothing is pulled."
_UNLABELLED = "It has no effect: Stoneware keeps no labels of these."
_MORE_CONTEXTS = (
    "Let context be a directory above all of them, and name the dockerfile; what another image has: "
    "COPY --from=NAME:TAG."
)
_TABLE = "A key x-… is free for your own use."
_EXTERNAL = "Use file or environment: its value comes from here, not from a swarm."

_SERVICE = {
    "annotations": _warned("It has no effect: use labels."),
    "attach": _warned(
        "It has no effect: up returns when all machines are healthy; then: stoneware logs -f", *_FALSE, "true"
    ),
    "blkio_config": _warned(_WEIGHT),
    "build": _acts("the image is baked from it"),
    "cap_add": _acts(
        "the service keeps them of those that cap_drop takes; root in a machine has them anyway"
    ),
    "cap_drop": _acts("the service and its health check lose them"),
    "cgroup": _refused(_ONE_SYSTEM, "private", ""),
    "cgroup_parent": _warned("It has no effect: each machine has a control group of its own."),
    "command": _acts("instead of the image's CMD; a text is cut into words, no shell reads it"),
    "configs": _acts("files that are written before the services start"),
    "container_name": _acts("a name in DNS; the machine itself is called SERVICE-SLOT, which is reported"),
    "cpu_count": _refused(_WINDOWS),
    "cpu_percent": _refused(_WINDOWS),
    "cpu_period": _acts("with cpu_quota: cpus is the quotient"),
    "cpu_quota": _acts("with cpu_period (100000 by default): cpus is the quotient"),
    "cpu_rt_period": _refused(_REAL_TIME),
    "cpu_rt_runtime": _refused(_REAL_TIME),
    "cpu_shares": _warned(_WEIGHT),
    "cpus": _acts("a limit, in cores"),
    "cpuset": _warned("It has no effect: a machine runs on any core; cpus is a limit."),
    "credential_spec": _refused("Use secrets."),
    "depends_on": _acts("the order in which machines are created"),
    "deploy": _acts("see below"),
    "develop": _warned("It has no effect: after a change: stoneware up, or stoneware rollout"),
    "device_cgroup_rules": _refused(_NO_DEVICES),
    "devices": _refused(f"{_NO_DEVICES} A disk is a volume."),
    "dns": _warned(
        "It has no effect: machines ask the name servers of this computer, for its and the cluster's names."
    ),
    "dns_opt": _acts("options in resolv.conf"),
    "dns_search": _acts("domains in resolv.conf, before the cluster's own"),
    "domainname": _acts("with hostname the whole host name"),
    "entrypoint": _acts("instead of the image's ENTRYPOINT, and without its CMD"),
    "env_file": _acts("files of values for the runtime configuration"),
    "environment": _acts("the runtime configuration"),
    "expose": _acts("nothing to do: machines of one network reach each other's ports"),
    "extends": _acts("a service of this or another file is what this one begins with"),
    "external_links": _refused("Use an external network that both are on."),
    "extra_hosts": _acts("lines in /etc/hosts; host-gateway is the address of this computer"),
    "gpus": _refused(_NO_DEVICES),
    "group_add": _acts("further groups of the service"),
    "healthcheck": _acts("instead of the image's"),
    "hostname": _acts("the first part of the host name, or, with dots, all of it"),
    "image": _acts("an image of the store"),
    "init": _acts("nothing to do: the first process of a machine is an init"),
    "ipc": _refused(_ONE_SYSTEM, "private", "shareable", ""),
    "isolation": _refused(_ONE_SYSTEM, "default", ""),
    "label_file": _refused("Use labels."),
    "labels": _acts("labels of the machines"),
    "links": _acts("depends_on, and the alias is a name in DNS on the other's networks"),
    "logging": _acts("how much of the console is kept"),
    "mac_address": _warned("It has no effect: a machine keeps a card's address of its own."),
    "mem_limit": _acts("a limit"),
    "mem_reservation": _warned(_WEIGHT),
    "mem_swappiness": _warned(_WEIGHT),
    "memswap_limit": _warned(
        "It has no effect: mem_limit is of memory; how much is swapped is this computer's."
    ),
    "models": _refused("Machines have no models: run one as a service."),
    "network_mode": _refused(
        "A machine is on networks of its own: use networks, and ports for what this computer is to reach.",
        *("bridge", "default", ""),
    ),
    "networks": _acts("which machines reach each other and know each other's names"),
    "oom_kill_disable": _warned(_WEIGHT, *_FALSE),
    "oom_score_adj": _acts("0 to 1000; less than nothing is this computer's to give"),
    "pid": _refused(_ONE_SYSTEM, "private", ""),
    "pids_limit": _acts("a limit"),
    "platform": _acts("has to be this computer's architecture"),
    "ports": _acts("ports of this computer"),
    "post_start": _refused(_HOOK),
    "pre_start": _refused(_HOOK),
    "pre_stop": _refused(_HOOK),
    "privileged": _refused(
        "Leave it out: root in a machine may mount, make networks and run systemd as it is, "
        "but has no devices and no kernel of its host.",
        *_FALSE,
    ),
    "profiles": _acts("the service is there only with --profile, or COMPOSE_PROFILES"),
    "provider": _refused("Name the service's image."),
    "pull_policy": _warned(_BAKED, "build", "never", ""),
    "pull_refresh_after": _warned(_BAKED),
    "read_only": _acts("changes of the root are gone at the next start"),
    "restart": _acts("by Docker's policies"),
    "runtime": _refused("Leave it out: there is one way that machines run.", "runc", ""),
    "scale": _acts("as deploy.replicas"),
    "secrets": _acts("files for root, or for whom uid and gid say"),
    "security_opt": _acts(
        "no-new-privileges; for the others a warning says that a machine's own isolation applies"
    ),
    "shm_size": _acts("the size of /dev/shm"),
    "stdin_open": _warned(_TERMINAL, *_FALSE),
    "stop_grace_period": _acts("how long the services get to stop"),
    "stop_signal": _acts("instead of the image's STOPSIGNAL"),
    "storage_opt": _acts("size: what the root may take"),
    "sysctls": _acts(
        "net.* and those of IPC, which each machine has for itself; others are the computer's: refused"
    ),
    "tmpfs": _acts("file systems in memory; /run is one already"),
    "tty": _warned(_TERMINAL, *_FALSE),
    "ulimits": _acts("resource limits"),
    "use_api_socket": _refused("There is no Docker daemon."),
    "user": _acts("instead of the image's USER"),
    "userns_mode": _refused("Leave it out: root in a machine is an unprivileged user on the host.", ""),
    "uts": _refused(_ONE_SYSTEM, ""),
    "volumes": _acts(
        "disks, and with type tmpfs file systems in memory; directories of this computer: refused"
    ),
    "volumes_from": _refused("Give each machine its own volumes; let them share over the network."),
    "working_dir": _acts("instead of the image's WORKDIR"),
}
_BUILD = {
    "additional_contexts": _refused(_MORE_CONTEXTS),
    "args": _acts("build arguments"),
    "cache_from": _warned("It has no effect: steps are always cached in the store."),
    "cache_to": _warned("It has no effect: steps are always cached in the store."),
    "context": _acts("a directory"),
    "dockerfile": _acts("Machinefile by default"),
    "dockerfile_inline": _acts("the Machinefile itself, instead of a file"),
    "entitlements": _refused("Steps run as root of a whole machine, and get no more."),
    "extra_hosts": _refused("Write /etc/hosts in a step that needs it."),
    "isolation": _refused(_ONE_SYSTEM, "default", ""),
    "labels": _acts("labels of the image"),
    "network": _warned(
        "It has no effect: builders have the network of this computer.", "host", "default", "bridge"
    ),
    "no_cache": _warned("It has no effect: for once: stoneware bake --no-cache", *_FALSE),
    "no_cache_filter": _warned("It has no effect: for once: stoneware bake --no-cache"),
    "platforms": _acts("has to be this computer's architecture"),
    "privileged": _warned("It has no effect: steps run as root of a whole machine.", *_FALSE),
    "provenance": _warned("It has no effect: every image has a manifest that names its sources.", *_FALSE),
    "pull": _warned("It has no effect: for a newer base: stoneware bake --pull", *_FALSE),
    "sbom": _warned("It has no effect: every image has a list of its packages.", *_FALSE),
    "secrets": _acts("for steps that mount them: RUN --mount=type=secret,id=TARGET"),
    "shm_size": _warned("It has no effect: a builder has half of the memory for it."),
    "ssh": _refused("Give the key as one of its secrets: RUN --mount=type=secret,id=KEY."),
    "tags": _warned("It has no effect: image is the name, and the Git commit the tag."),
    "target": _acts("the stage"),
    "ulimits": _warned("It has no effect: a builder has the engine's own limits."),
}
_DEPLOY = {
    "endpoint_mode": _warned(
        "It has no effect: a service's name resolves to the addresses of all its machines.", "dnsrr", ""
    ),
    "labels": _acts("labels of the machines"),
    "mode": _acts("replicated; global is one machine, for there is one computer; jobs are refused"),
    "placement": _warned("It has no effect here: all machines are on this computer."),
    "replicas": _acts("how many machines"),
    "resources": _acts("limits; for reservations a warning says that nothing is reserved"),
    "restart_policy": _acts("condition and max_attempts, as restart"),
    "rollback_config": _acts("how a rollout returns"),
    "update_config": _acts("how a rollout proceeds"),
}
_NETWORK = {
    "attachable": _acts("nothing to do: any machine may be on it"),
    "driver": _acts("bridge, overlay or default: nothing to do; others are refused"),
    "driver_opts": _warned("It has no effect: networks are the platform's."),
    "enable_ipv4": _warned("It has no effect: machines have IPv4.", "true", "yes", ""),
    "enable_ipv6": _warned("It has no effect: machines have IPv4 only.", *_FALSE),
    "external": _acts("created elsewhere"),
    "internal": _acts("no way out of it, and no published port leads into it"),
    "ipam": _acts("config with subnets: the ranges that its machines have their addresses of"),
    "labels": _acts("labels of the network"),
    "name": _acts("its name"),
}
_SOURCE = {
    "driver": _refused("Use file or environment."),
    "driver_opts": _refused("Use file or environment."),
    "environment": _acts("a variable of your own"),
    "external": _refused(_EXTERNAL, *_FALSE),
    "file": _acts("a file"),
    "labels": _warned(_UNLABELLED),
    "name": _warned("It has no effect: the name is CLUSTER-KEY."),
    "template_driver": _refused(
        "Put the file below /etc/stoneware/templates in the image: the machine renders the file at boot."
    ),
}
_MOUNTED_FILE = {
    "gid": _acts("its group, as a number"),
    "mode": _acts("its mode"),
    "source": _acts("which one"),
    "target": _acts("its path"),
    "uid": _acts("its owner, as a number"),
}
OWN = ("x-stoneware", "x-google", "x-local")  # the extensions that mean something here
# By path, `*` for any key or index.
KEYS: Mapping[str, Mapping[str, Key]] = {
    "": {
        "configs": _acts("files of text for machines"),
        "include": _acts("other files, with their own directory and variables"),
        "models": _SERVICE["models"],
        "name": _acts("the cluster's name"),
        "networks": _acts("see networks"),
        "secrets": _acts("see secrets"),
        "services": _acts("see services"),
        "version": _warned("This key is obsolete, as in Compose: leave it out."),
        "volumes": _acts("see volumes"),
    },
    "services.*": _SERVICE,
    "services.*.build": _BUILD,
    "services.*.deploy": _DEPLOY,
    "services.*.depends_on.*": {
        "condition": _acts("service_started or service_healthy; a machine does not complete"),
        "required": _acts("false lets the service be missing"),
        "restart": _warned(
            "It has no effect: a machine is not restarted because another one was replaced.", *_FALSE
        ),
    },
    "services.*.deploy.resources": {
        "limits": _acts("cpus, memory, pids"),
        "reservations": _acts("nothing is reserved, with a warning; devices are refused"),
    },
    "services.*.deploy.resources.reservations": {
        "cpus": _warned(_UNRESERVED),
        "devices": _refused(_NO_DEVICES),
        "generic_resources": _refused(_NO_DEVICES),
        "memory": _warned(_UNRESERVED),
        "pids": _warned(_UNRESERVED),
    },
    "services.*.deploy.restart_policy": {
        "condition": _acts("none, on-failure or any"),
        "delay": _warned("It has no effect: a machine is started again at once, and more and more slowly."),
        "max_attempts": _acts("as on-failure:N"),
        "window": _warned("It has no effect: an attempt has failed once the machine has ended."),
    },
    "services.*.env_file.*": {
        "format": _acts("raw: Docker's own format"),
        "path": _acts("the file"),
        "required": _acts("false lets the file be missing"),
    },
    "services.*.healthcheck": {
        "disable": _acts("true: no health check"),
        "interval": _acts("the time between two checks"),
        "retries": _acts("how many failures make it unhealthy"),
        "start_interval": _acts("the time between two checks while it starts"),
        "start_period": _acts("how long failures do not count"),
        "test": _acts("a text for the shell, [CMD, …], [CMD-SHELL, text] or [NONE]; without it the image's"),
        "timeout": _acts("how long one check may take"),
    },
    "services.*.ports.*": {
        "app_protocol": _warned("It has no effect: a port passes on what comes, whatever it speaks."),
        "host_ip": _acts("the address of this computer; all unless said"),
        "mode": _acts("host or ingress: nothing to do, there is one computer"),
        "name": _warned("It has no effect: a port is called by its number."),
        "protocol": _acts("tcp or udp"),
        "published": _acts("the port of this computer; a free one unless said"),
        "target": _acts("the machine's port"),
    },
    "services.*.networks.*": {
        "aliases": _acts("further names in DNS"),
        "driver_opts": _warned(_ONE_ADDRESS),
        "gw_priority": _warned(_ONE_ADDRESS),
        "interface_name": _warned(_ONE_ADDRESS),
        "ipv4_address": _acts("its address, in a subnet of the network: 10.5.0.5, or 10.5.0.1{{.Task.Slot}}"),
        "ipv6_address": _refused("Machines have IPv4 only: write ipv4_address, or use the service's name."),
        "link_local_ips": _refused(_ONE_CARD),
        "mac_address": _SERVICE["mac_address"],
        "priority": _warned(_ONE_ADDRESS),
    },
    "services.*.volumes.*": {
        "bind": _refused("A machine sees no directory of its host."),
        "consistency": _warned("It has no effect: a disk of the machine's own is always consistent."),
        "image": _refused("COPY --from=IMAGE in the Machinefile."),
        "read_only": _acts("mounted read-only"),
        "source": _acts("the top-level volume"),
        "target": _acts("where it is mounted"),
        "tmpfs": _acts("size and mode of a tmpfs"),
        "type": _acts("volume or tmpfs"),
        "volume": _acts("see below"),
    },
    "services.*.volumes.*.volume": {
        "labels": _warned("It has no effect: write labels of the top-level volume."),
        "nocopy": _warned(
            "It has no effect: a new disk begins with what the image has at its path.", *_FALSE
        ),
        "subpath": _refused("A machine mounts all of a disk: link to the directory in the image."),
    },
    "services.*.logging": {
        "driver": _acts(
            "json-file and local; for others a warning says that the console is kept here anyway"
        ),
        "options": _acts("max-size and max-file; for others a warning says that they have no effect"),
    },
    "services.*.secrets.*": _MOUNTED_FILE,
    "services.*.build.secrets.*": {
        **dict.fromkeys(("gid", "mode", "uid"), _warned("It has no effect: the step's mount says it.")),
        "source": _acts("which one"),
        "target": _acts("its id in the Machinefile; source unless said"),
    },
    "services.*.configs.*": _MOUNTED_FILE,
    "networks.*": _NETWORK,
    "networks.*.ipam": {
        "config": _acts("subnets; two for machines that are to be in different ranges"),
        "driver": _warned("It has no effect: addresses are the platform's.", "default", ""),
        "options": _warned("It has no effect: addresses are the platform's."),
    },
    "networks.*.ipam.config.*": {
        "aux_addresses": _warned("It has no effect: a machine that is to have an address says ipv4_address."),
        "gateway": _acts("the first address of the subnet; others are refused"),
        "ip_range": _warned("It has no effect: addresses are chosen from the whole subnet."),
        "subnet": _acts("private, /29 at the smallest; one of IPv6 is warned about"),
    },
    "volumes.*": {
        "driver": _acts("local: nothing to do; others are refused"),
        "driver_opts": _refused(
            "Leave it out: a volume is a disk of the machine's own. COPY and configs bring files of this "
            "computer; a share of the network is mounted by a unit of the image."
        ),
        "external": _acts("created elsewhere"),
        "labels": _acts("labels of the disks"),
        "name": _acts("the disk's exact name"),
    },
    "secrets.*": _SOURCE,
    "configs.*": {**_SOURCE, "content": _acts("the text itself")},
}


def rule_of(path: tuple[str, ...], key: str) -> Key | None:
    """Return what becomes of a key of the Compose format; None for no such key.

    `path` is that of the mapping which holds the key, from the file's top.
    """
    for pattern, keys in KEYS.items():
        if matches(pattern.split(".") if pattern else (), path):
            return keys.get(key)
    return None


def matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Say whether a path has the steps of a pattern, in which `*` is any step."""
    return len(pattern) == len(path) and all(a in ("*", b) for a, b in zip(pattern, path, strict=True))


def below_which(path: tuple[str, ...], key: str) -> str:
    """Return the key of a mapping that has to be the parent of a key written next to it; else nothing."""
    for pattern, keys in KEYS.items():
        *above, last = pattern.split(".")
        if len(above) >= 2 and last != "*" and key in keys and matches(above, path):
            return last
    return ""


def alternative(path: tuple[str, ...], key: str) -> str | None:
    """Return what to write instead of a key that is refused; None for no such key."""
    rule = rule_of(path, key)
    return rule.why if rule and rule.outcome is Outcome.REFUSED else None
