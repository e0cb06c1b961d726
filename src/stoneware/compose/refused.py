"""What the Compose format has and machines do not, with what to write instead."""

from __future__ import annotations

_MACHINEFILE = "Write {} in the image's Machinefile."
_LIMIT = "Machines take mem_limit, cpus, pids_limit and deploy.resources.limits."
_KERNEL = "A machine has a system of its own: set it in the image."
_NETWORK = "Machines are on the cluster's networks and know each other by name."
_HOOK = "Let a unit of the image do it."
_ONE_SYSTEM = "Leave it out: a machine is one whole system."

_SERVICE = {
    "annotations": "Use labels.",
    "attach": "Use: stoneware logs -f",
    "blkio_config": _LIMIT,
    "cap_add": _ONE_SYSTEM,
    "cap_drop": "Limit the service in its unit: CapabilityBoundingSet=.",
    "cgroup": _ONE_SYSTEM,
    "cgroup_parent": _ONE_SYSTEM,
    "command": _MACHINEFILE.format("CMD"),
    "configs": "Put the file below /etc/stoneware/templates in the image: a template is filled in at boot.",
    "container_name": "Use hostname; a machine is called SERVICE-SLOT.",
    "cpu_count": "Use cpus.",
    "cpu_percent": "Use cpus.",
    "cpu_period": "Use cpus.",
    "cpu_quota": "Use cpus.",
    "cpu_rt_period": _LIMIT,
    "cpu_rt_runtime": _LIMIT,
    "cpu_shares": "Use cpus.",
    "cpuset": "Use cpus.",
    "credential_spec": "Use secrets.",
    "develop": "Use: stoneware up --build",
    "device_cgroup_rules": "Machines have no devices of their host.",
    "devices": "Machines have no devices of their host; a disk is a volume.",
    "dns": _NETWORK,
    "dns_opt": _NETWORK,
    "dns_search": _NETWORK,
    "domainname": "A machine is called HOSTNAME.CLUSTER.internal.",
    "entrypoint": _MACHINEFILE.format("ENTRYPOINT"),
    "extends": "Use a YAML anchor and a merge key: <<: *common",
    "external_links": "Use an external network.",
    "extra_hosts": "Use networks and their aliases, or /etc/hosts as a template in the image.",
    "gpus": "Machines have no devices of their host.",
    "group_add": _MACHINEFILE.format("RUN usermod"),
    "init": "Leave it out: the first process of a machine is systemd.",
    "ipc": _ONE_SYSTEM,
    "isolation": _ONE_SYSTEM,
    "label_file": "Use labels.",
    "links": "Use networks: machines know each other by the service's name.",
    "mac_address": "Leave it out: a machine keeps its address while its network exists.",
    "mem_reservation": "Use mem_limit.",
    "mem_swappiness": "Use mem_limit.",
    "memswap_limit": "Use mem_limit.",
    "models": "Machines have no models.",
    "network_mode": "Use networks.",
    "oom_kill_disable": "Set OOMPolicy= in the service's unit.",
    "oom_score_adj": "Set OOMScoreAdjust= in the service's unit.",
    "pid": _ONE_SYSTEM,
    "platform": "Images are of this computer's architecture.",
    "post_start": _HOOK,
    "pre_start": _HOOK,
    "pre_stop": _HOOK,
    "privileged": "Leave it out: root in a machine is root of the machine only.",
    "profiles": "Use a second file for what is not always wanted: -f machines.yaml -f extra.yaml",
    "provider": "Name the service's image.",
    "pull_policy": "Images are baked or imported: stoneware up --build",
    "pull_refresh_after": "Images are baked or imported: stoneware up --build",
    "runtime": "Leave it out.",
    "scale": "Use deploy.replicas, or: stoneware up --scale SERVICE=N",
    "security_opt": _ONE_SYSTEM,
    "shm_size": _KERNEL,
    "stdin_open": "Use: stoneware exec -it MACHINE sh",
    "stop_signal": _MACHINEFILE.format("STOPSIGNAL"),
    "sysctls": "Put a file below /etc/sysctl.d in the image.",
    "tmpfs": "Mount a tmpfs by a unit of the image; /run and /tmp are there already.",
    "tty": "Use: stoneware exec -it MACHINE sh",
    "use_api_socket": "There is no daemon.",
    "user": _MACHINEFILE.format("USER"),
    "userns_mode": "Leave it out: root in a machine is nobody on its host.",
    "uts": _ONE_SYSTEM,
    "volumes_from": "Give each machine its own volumes; let them share over the network.",
    "working_dir": _MACHINEFILE.format("WORKDIR"),
}
_BUILD = {
    **dict.fromkeys(
        ("cache_from", "cache_to", "no_cache"), "Steps are always cached; use: stoneware bake --no-cache"
    ),
    "additional_contexts": "Use FROM NAME:TAG AS stage and COPY --from=stage.",
    "dockerfile_inline": "Write the Machinefile as a file.",
    "extra_hosts": "Write /etc/hosts in a step.",
    "network": "Builders have the network of this computer.",
    "platforms": "Images are of this computer's architecture.",
    "privileged": "Steps run as root of a whole machine.",
    "pull": "Use: stoneware bake --pull",
    "secrets": "Use: stoneware bake --secret",
    "ssh": "Use: stoneware bake --secret",
    "tags": "A bake tags with the Git commit; use image for the name.",
}
_DEPLOY = {
    "endpoint_mode": "A service's name stands for the addresses of all its machines.",
    "placement": "All machines of a cluster are on one platform.",
    "restart_policy": "Use restart: always, unless-stopped or on-failure[:N].",
}
_SECTION = {
    "driver": "Leave it out.",
    "driver_opts": "Leave it out.",
}
_ADDRESS = "Leave it out: a machine keeps its address while its network exists."
_TOP = {
    "configs": _SERVICE["configs"],
    "include": "Name all files: -f machines.yaml -f other.yaml",
    "models": _SERVICE["models"],
}
# By path, `*` for any key or index.
_BY_PATH: dict[tuple[str, ...], dict[str, str]] = {
    (): _TOP,
    ("services", "*"): _SERVICE,
    ("services", "*", "build"): _BUILD,
    ("services", "*", "deploy"): _DEPLOY,
    ("services", "*", "deploy", "resources"): {"reservations": "Use deploy.resources.limits."},
    ("services", "*", "networks", "*"): dict.fromkeys(
        (
            "ipv4_address",
            "ipv6_address",
            "link_local_ips",
            "mac_address",
            "priority",
            "gw_priority",
            "interface_name",
        ),
        _ADDRESS,
    ),
    ("services", "*", "volumes", "*"): {
        "bind": "A machine sees no directory of its host.",
        "consistency": "Leave it out.",
        "tmpfs": _SERVICE["tmpfs"],
        "volume": "Leave it out: a new disk is empty.",
    },
    ("networks", "*"): {
        **_SECTION,
        **dict.fromkeys(("attachable", "enable_ipv4", "enable_ipv6", "internal", "ipam"), "Leave it out."),
    },
    ("volumes", "*"): _SECTION,
    ("secrets", "*"): {
        **_SECTION,
        "external": "Use file or environment.",
        "labels": "Leave it out.",
        "name": "Leave it out: a secret is called CLUSTER-KEY.",
    },
}


def alternative(path: tuple[str, ...], key: str) -> str | None:
    """Return what to write instead of a key of the Compose format that machines lack; None for no such key.

    `path` is that of the mapping which holds the key, from the file's top.
    """
    for pattern, keys in _BY_PATH.items():
        if len(pattern) == len(path) and all(a in ("*", b) for a, b in zip(pattern, path, strict=True)):
            return keys.get(key)
    return None
