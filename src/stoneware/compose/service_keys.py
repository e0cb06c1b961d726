"""Every key of a service of the Compose format, and what becomes of it; `keys` has the whole file's."""

from __future__ import annotations

from collections.abc import Mapping

from stoneware.compose.key_rules import FALSE, Key, acts, refused, warned

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
_MORE_CONTEXTS = (
    "Let context be a directory above all of them, and name the dockerfile; what another image has: "
    "COPY --from=NAME:TAG."
)

_SERVICE = {
    "annotations": warned("It has no effect: use labels."),
    "attach": warned(
        "It has no effect: up returns when all machines are healthy; then: stoneware logs -f", *FALSE, "true"
    ),
    "blkio_config": warned(_WEIGHT),
    "build": acts("the image is baked from it"),
    "cap_add": acts("the service keeps them of those that cap_drop takes; root in a machine has them anyway"),
    "cap_drop": acts("the service and its health check lose them"),
    "cgroup": refused(_ONE_SYSTEM, "private", ""),
    "cgroup_parent": warned("It has no effect: each machine has a control group of its own."),
    "command": acts("instead of the image's CMD; a text is cut into words, no shell reads it"),
    "configs": acts("files that are written before the services start"),
    "container_name": acts("a name in DNS; the machine itself is called SERVICE-SLOT, which is reported"),
    "cpu_count": refused(_WINDOWS),
    "cpu_percent": refused(_WINDOWS),
    "cpu_period": acts("with cpu_quota: cpus is the quotient"),
    "cpu_quota": acts("with cpu_period (100000 by default): cpus is the quotient"),
    "cpu_rt_period": refused(_REAL_TIME),
    "cpu_rt_runtime": refused(_REAL_TIME),
    "cpu_shares": warned(_WEIGHT),
    "cpus": acts("a limit, in cores"),
    "cpuset": warned("It has no effect: a machine runs on any core; cpus is a limit."),
    "credential_spec": refused("Use secrets."),
    "depends_on": acts("the order in which machines are created"),
    "deploy": acts("see below"),
    "develop": warned("It has no effect: after a change: stoneware up, or stoneware rollout"),
    "device_cgroup_rules": refused(_NO_DEVICES),
    "devices": refused(f"{_NO_DEVICES} A disk is a volume."),
    "dns": warned(
        "It has no effect: machines ask the name servers of this computer, for its and the cluster's names."
    ),
    "dns_opt": acts("options in resolv.conf"),
    "dns_search": acts("domains in resolv.conf, before the cluster's own"),
    "domainname": acts("with hostname the whole host name"),
    "entrypoint": acts("instead of the image's ENTRYPOINT, and without its CMD"),
    "env_file": acts("files of values for the runtime configuration"),
    "environment": acts("the runtime configuration"),
    "expose": acts("nothing to do: machines of one network reach each other's ports"),
    "extends": acts("a service of this or another file is what this one begins with"),
    "external_links": refused("Use an external network that both are on."),
    "extra_hosts": acts("lines in /etc/hosts; host-gateway is the address of this computer"),
    "gpus": refused(_NO_DEVICES),
    "group_add": acts("further groups of the service"),
    "healthcheck": acts("instead of the image's"),
    "hostname": acts("the first part of the host name, or, with dots, all of it"),
    "image": acts("an image of the store"),
    "init": acts("nothing to do: the first process of a machine is an init"),
    "ipc": refused(_ONE_SYSTEM, "private", "shareable", ""),
    "isolation": refused(_ONE_SYSTEM, "default", ""),
    "label_file": refused("Use labels."),
    "labels": acts("labels of the machines"),
    "links": acts("depends_on, and the alias is a name in DNS on the other's networks"),
    "logging": acts("how much of the console is kept"),
    "mac_address": warned("It has no effect: a machine keeps a card's address of its own."),
    "mem_limit": acts("a limit"),
    "mem_reservation": warned(_WEIGHT),
    "mem_swappiness": warned(_WEIGHT),
    "memswap_limit": warned(
        "It has no effect: mem_limit is of memory; how much is swapped is this computer's."
    ),
    "models": refused("Machines have no models: run one as a service."),
    "network_mode": refused(
        "A machine is on networks of its own: use networks, and ports for what this computer is to reach.",
        *("bridge", "default", ""),
    ),
    "networks": acts("which machines reach each other and know each other's names"),
    "oom_kill_disable": warned(_WEIGHT, *FALSE),
    "oom_score_adj": acts("0 to 1000; less than nothing is this computer's to give"),
    "pid": refused(_ONE_SYSTEM, "private", ""),
    "pids_limit": acts("a limit"),
    "platform": acts("has to be this computer's architecture"),
    "ports": acts("ports of this computer"),
    "post_start": refused(_HOOK),
    "pre_start": refused(_HOOK),
    "pre_stop": refused(_HOOK),
    "privileged": refused(
        "Leave it out: root in a machine may mount, make networks and run systemd as it is, "
        "but has no devices and no kernel of its host.",
        *FALSE,
    ),
    "profiles": acts("the service is there only with --profile, or COMPOSE_PROFILES"),
    "provider": refused("Name the service's image."),
    "pull_policy": warned(_BAKED, "build", "never", ""),
    "pull_refresh_after": warned(_BAKED),
    "read_only": acts("changes of the root are gone at the next start"),
    "restart": acts("by Docker's policies"),
    "runtime": refused("Leave it out: there is one way that machines run.", "runc", ""),
    "scale": acts("as deploy.replicas"),
    "secrets": acts("files for root, or for whom uid and gid say"),
    "security_opt": acts(
        "no-new-privileges; for the others a warning says that a machine's own isolation applies"
    ),
    "shm_size": acts("the size of /dev/shm"),
    "stdin_open": warned(_TERMINAL, *FALSE),
    "stop_grace_period": acts("how long the services get to stop"),
    "stop_signal": acts("instead of the image's STOPSIGNAL"),
    "storage_opt": acts("size: what the root may take"),
    "sysctls": acts(
        "net.* and those of IPC, which each machine has for itself; others are the computer's: refused"
    ),
    "tmpfs": acts("file systems in memory; /run is one already"),
    "tty": warned(_TERMINAL, *FALSE),
    "ulimits": acts("resource limits"),
    "use_api_socket": refused("There is no Docker daemon."),
    "user": acts("instead of the image's USER"),
    "userns_mode": refused("Leave it out: root in a machine is an unprivileged user on the host.", ""),
    "uts": refused(_ONE_SYSTEM, ""),
    "volumes": acts(
        "disks, and with type tmpfs file systems in memory; directories of this computer: refused"
    ),
    "volumes_from": refused("Give each machine its own volumes; let them share over the network."),
    "working_dir": acts("instead of the image's WORKDIR"),
}
_BUILD = {
    "additional_contexts": refused(_MORE_CONTEXTS),
    "args": acts("build arguments"),
    "cache_from": warned("It has no effect: steps are always cached in the store."),
    "cache_to": warned("It has no effect: steps are always cached in the store."),
    "context": acts("a directory"),
    "dockerfile": acts("Machinefile by default"),
    "dockerfile_inline": acts("the Machinefile itself, instead of a file"),
    "entitlements": refused("Steps run as root of a whole machine, and get no more."),
    "extra_hosts": refused("Write /etc/hosts in a step that needs it."),
    "isolation": refused(_ONE_SYSTEM, "default", ""),
    "labels": acts("labels of the image"),
    "network": warned(
        "It has no effect: builders have the network of this computer.", "host", "default", "bridge"
    ),
    "no_cache": warned("It has no effect: for once: stoneware bake --no-cache", *FALSE),
    "no_cache_filter": warned("It has no effect: for once: stoneware bake --no-cache"),
    "platforms": acts("has to be this computer's architecture"),
    "privileged": warned("It has no effect: steps run as root of a whole machine.", *FALSE),
    "provenance": warned("It has no effect: every image has a manifest that names its sources.", *FALSE),
    "pull": warned("It has no effect: for a newer base: stoneware bake --pull", *FALSE),
    "sbom": warned("It has no effect: every image has a list of its packages.", *FALSE),
    "secrets": acts("for steps that mount them: RUN --mount=type=secret,id=TARGET"),
    "shm_size": warned("It has no effect: a builder has half of the memory for it."),
    "ssh": refused("Give the key as one of its secrets: RUN --mount=type=secret,id=KEY."),
    "tags": warned("It has no effect: image is the name, and the Git commit the tag."),
    "target": acts("the stage"),
    "ulimits": warned("It has no effect: a builder has the engine's own limits."),
}
_DEPLOY = {
    "endpoint_mode": warned(
        "It has no effect: a service's name resolves to the addresses of all its machines.", "dnsrr", ""
    ),
    "labels": acts("labels of the machines"),
    "mode": acts("replicated; global is one machine, for there is one computer; jobs are refused"),
    "placement": warned(
        "It has no effect: here all machines are on this computer, "
        "on Compute Engine x-google.zones says where."
    ),
    "replicas": acts("how many machines"),
    "resources": acts("limits; for reservations a warning says that nothing is reserved"),
    "restart_policy": acts("condition and max_attempts, as restart"),
    "rollback_config": acts("how a rollout returns"),
    "update_config": acts("how a rollout proceeds"),
}
_MOUNTED_FILE = {
    "gid": acts("its group, as a number"),
    "mode": acts("its mode"),
    "source": acts("which one"),
    "target": acts("its path"),
    "uid": acts("its owner, as a number"),
}
# By path, `*` for any key or index.
SERVICE_KEYS: Mapping[str, Mapping[str, Key]] = {
    "services.*": _SERVICE,
    "services.*.build": _BUILD,
    "services.*.deploy": _DEPLOY,
    "services.*.depends_on.*": {
        "condition": acts("service_started or service_healthy; a machine does not complete"),
        "required": acts("false lets the service be missing"),
        "restart": warned(
            "It has no effect: a machine is not restarted because another one was replaced.", *FALSE
        ),
    },
    "services.*.deploy.resources": {
        "limits": acts("cpus, memory, pids"),
        "reservations": acts("nothing is reserved, with a warning; devices are refused"),
    },
    "services.*.deploy.resources.reservations": {
        "cpus": warned(_UNRESERVED),
        "devices": refused(_NO_DEVICES),
        "generic_resources": refused(_NO_DEVICES),
        "memory": warned(_UNRESERVED),
        "pids": warned(_UNRESERVED),
    },
    "services.*.deploy.restart_policy": {
        "condition": acts("none, on-failure or any"),
        "delay": warned("It has no effect: a machine is started again at once, and more and more slowly."),
        "max_attempts": acts("as on-failure:N"),
        "window": warned("It has no effect: an attempt has failed once the machine has ended."),
    },
    "services.*.env_file.*": {
        "format": acts("raw: Docker's own format"),
        "path": acts("the file"),
        "required": acts("false lets the file be missing"),
    },
    "services.*.healthcheck": {
        "disable": acts("true: no health check"),
        "interval": acts("the time between two checks"),
        "retries": acts("how many failures make it unhealthy"),
        "start_interval": acts("the time between two checks while it starts"),
        "start_period": acts("how long failures do not count"),
        "test": acts("a text for the shell, [CMD, …], [CMD-SHELL, text] or [NONE]; without it the image's"),
        "timeout": acts("how long one check may take"),
    },
    "services.*.ports.*": {
        "app_protocol": warned("It has no effect: a port passes on what comes, whatever it speaks."),
        "host_ip": acts("the address of this computer; all unless said"),
        "mode": acts("host or ingress: nothing to do, there is one computer"),
        "name": warned("It has no effect: a port is called by its number."),
        "protocol": acts("tcp or udp"),
        "published": acts("the port of this computer; a free one unless said"),
        "target": acts("the machine's port"),
    },
    "services.*.networks.*": {
        "aliases": acts("further names in DNS"),
        "driver_opts": warned(_ONE_ADDRESS),
        "gw_priority": warned(_ONE_ADDRESS),
        "interface_name": warned(_ONE_ADDRESS),
        "ipv4_address": acts("its address, in a subnet of the network: 10.5.0.5, or 10.5.0.1{{.Task.Slot}}"),
        "ipv6_address": refused("Machines have IPv4 only: write ipv4_address, or use the service's name."),
        "link_local_ips": refused(_ONE_CARD),
        "mac_address": _SERVICE["mac_address"],
        "priority": warned(_ONE_ADDRESS),
    },
    "services.*.volumes.*": {
        "bind": refused("A machine sees no directory of its host."),
        "consistency": warned("It has no effect: a disk of the machine's own is always consistent."),
        "image": refused("COPY --from=IMAGE in the Machinefile."),
        "read_only": acts("mounted read-only"),
        "source": acts("the top-level volume"),
        "target": acts("where it is mounted"),
        "tmpfs": acts("size and mode of a tmpfs"),
        "type": acts("volume or tmpfs"),
        "volume": acts("see below"),
    },
    "services.*.volumes.*.volume": {
        "labels": warned("It has no effect: write labels of the top-level volume."),
        "nocopy": warned("It has no effect: a new disk begins with what the image has at its path.", *FALSE),
        "subpath": refused("A machine mounts all of a disk: link to the directory in the image."),
    },
    "services.*.logging": {
        "driver": acts("json-file and local; for others a warning says that the console is kept here anyway"),
        "options": acts("max-size and max-file; for others a warning says that they have no effect"),
    },
    "services.*.secrets.*": _MOUNTED_FILE,
    "services.*.build.secrets.*": {
        **dict.fromkeys(("gid", "mode", "uid"), warned("It has no effect: the step's mount says it.")),
        "source": acts("which one"),
        "target": acts("its id in the Machinefile; source unless said"),
    },
    "services.*.configs.*": _MOUNTED_FILE,
}
