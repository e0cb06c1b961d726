"""A cluster as a cluster file again: long forms, every default and variable filled in, loadable as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from stoneware.compose import schema, schema_resources
from stoneware.compose.environment import Setting
from stoneware.compose.model import Build, Cluster, HealthCheck, SecretSource, Service, UpdateConfig
from stoneware.compose.references import DEFAULT, STORED, References
from stoneware.compose.scalars import resolve
from stoneware.compose.schema_parts import Part
from stoneware.compose.settings import filled
from stoneware.compose.validate import Document
from stoneware.model import limits
from stoneware.untrusted.visible import visible_lines


def to_document(cluster: Cluster) -> dict[str, Any]:
    """Return the cluster in the long forms of its file, one entry a service, templates as they are written.

    What `load_cluster` makes of it is the same cluster: a dollar sign is doubled, paths are absolute. Of
    secrets it has where they come from, never their values.
    """
    escaped = _escaped(cluster.document())
    assert isinstance(escaped, dict)  # noqa: S101 -- a mapping stays one
    return escaped


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return value


_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")  # readers fold or drop some of these


class _Dumper(yaml.SafeDumper):
    """Writes every text so that our own reader takes it for text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write repeated values out."""
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        """Quote what would be read as something else."""
        plain = (
            isinstance(resolve(data), str)
            and data != "<<"  # in quotes it is no merge key
            and not _UNSEEN.search(data)
            and visible_lines(data) == data
        )
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.text)


def to_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as YAML."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return visible_lines(text)  # in quotes, where YAML reads the spelling as the character


def document_of(
    cluster: Cluster,
    document: Document,
    environments: Mapping[str, Mapping[str, Setting]],
    references: References,
) -> dict[str, Any]:
    """Return the cluster in the long forms of its file; nothing in it is escaped yet."""
    services = {
        name: _service(cluster.services[name], document.services[name].model, environments[name])
        for name in document.services
    }
    networks = {
        key: _without_nothing(
            {
                "name": each.name,
                "external": each.external or None,
                "internal": each.internal or None,
                "ipam": {"config": [{"subnet": it} for it in each.subnets]} if each.subnets else None,
                "labels": dict(each.labels),
            }
        )
        for key, each in references.networks.items()
    }
    volumes = {key: _volume(entry.model) for key, entry in document.volumes.items()}
    secrets = {key: _source(each) for key, each in cluster.secrets.items() if not each.config}
    configs = {each.name: _source(each) for each in cluster.secrets.values() if each.config}
    return {
        "name": cluster.name,
        "services": services,
        **_without_nothing(
            {"networks": networks, "volumes": volumes, "secrets": secrets, "configs": configs}
        ),
        **cluster.extensions,
    }


def _without_nothing(entries: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value not in (None, {}, [])}


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:f}".rstrip("0").rstrip(".") + "s"  # durations have no exponent


def _source(source: SecretSource) -> dict[str, str]:
    if source.file:
        return {"file": str(source.file)}
    if source.stored:
        return {"file": f"{STORED}{source.stored}/versions/{source.version}"}
    if source.variable:
        return {"environment": source.variable}
    # Of all sources only a config has its text in the file: no secret is shown here.
    return {"content": source.value.reveal() if source.value else ""}


def _volume(model: schema_resources.Volume) -> dict[str, Any]:
    return _without_nothing(
        {"name": model.name, "external": model.external or None, "labels": filled(model.labels)}
    )


def _service(service: Service, model: schema.Service, environment: Mapping[str, Setting]) -> dict[str, Any]:
    entries = {
        "image": model.image,
        "build": _build(service.build) if service.build else None,
        "hostname": model.hostname,
        "environment": {key: each.value for key, each in environment.items()},
        # Those in memory are in `tmpfs`.
        "volumes": [_plain(each) for each in model.volumes or () if each.type == "volume"],
        "ports": [_plain(each) for each in model.ports or ()],
        "expose": model.expose,
        "networks": _networks(model),
        "depends_on": {key: _plain(each) for key, each in (model.depends_on or {}).items()},
        "secrets": [_mounted(each) for each in model.secrets or ()],
        "configs": [_mounted(each) for each in model.configs or ()],
        **_running(service, model),
        "healthcheck": _health(service.healthcheck) if service.healthcheck else None,
        "stop_grace_period": _seconds(service.stop_grace_period),
        "read_only": service.read_only or None,
        "mem_limit": service.memory,
        "cpus": service.cpus,
        "pids_limit": _unless(service.pids_limit, limits.DEFAULT_PIDS_LIMIT),
        "ulimits": {it.name: {"soft": it.soft, "hard": it.hard} for it in service.ulimits},
        "storage_opt": _without_nothing({"size": service.disk}),
        "logging": _logging(service),
        "restart": service.restart,
        "labels": filled(model.labels),
        "deploy": _deploy(service, model),
    }
    # An empty list drops the image's command, and without the key that would stay.
    cleared: dict[str, list[str]] = {
        key: [] for key in ("command", "entrypoint") if getattr(service, key) == ()
    }
    return {**_without_nothing(entries), **cleared, **service.extensions}


def _running(service: Service, model: schema.Service) -> dict[str, Any]:
    process, system = service.process, service.system
    return {
        "container_name": model.container_name,
        "domainname": model.domainname,
        "command": list(service.command or ()),
        "entrypoint": list(service.entrypoint or ()),
        "user": process.user or None,
        "working_dir": process.working_dir or None,
        "stop_signal": process.stop_signal or None,
        "group_add": list(process.groups),
        "cap_drop": [name.upper() for name in process.cap_drop],
        "cap_add": [name.upper() for name in process.cap_add],
        "security_opt": ["no-new-privileges:true"] * process.no_new_privileges,
        "oom_score_adj": process.oom_score_adj or None,
        "sysctls": dict(system.sysctls),
        "tmpfs": [f"{path}:{_tmpfs(options)}" for path, options in system.tmpfs],
        "extra_hosts": list(system.hosts),
        "dns_search": list(system.dns_search),
        "dns_opt": list(system.dns_options),
        "links": model.links,
    }


def _unless(value: int, default: int) -> int | None:
    return None if value == default else value


def _logging(service: Service) -> dict[str, Any]:
    options = {
        "max-size": _unless(service.log_max_size, limits.DEFAULT_LOG_SIZE),
        "max-file": _unless(service.log_max_file, limits.DEFAULT_LOG_FILES),
    }
    given = {key: str(value) for key, value in options.items() if value is not None}
    return {"options": given} if given else {}


def _plain(part: Part) -> dict[str, Any]:
    return {key: value for key, value in part.model_dump(exclude_none=True).items() if value != ""}


def _tmpfs(options: str) -> str:
    """Return mount options so that reading them adds nothing to them."""
    return options if "noexec" in options.split(",") else f"{options},exec"


def _mounted(mount: schema.SecretMount | schema.ConfigMount) -> dict[str, Any]:
    owner = {"uid": str(mount.uid), "gid": str(mount.gid)} if mount.uid or mount.gid else {}
    # A mode is read back with its zero alone.
    return {"source": mount.source, "target": mount.target, "mode": f"0{mount.mode:03o}", **owner}


def _networks(model: schema.Service) -> dict[str, Any]:
    attached = model.networks or {DEFAULT: None}
    return {
        key: _without_nothing({"aliases": list(each.aliases), "ipv4_address": each.ipv4_address}) or None
        if each
        else None
        for key, each in attached.items()
    }


def _build(build: Build) -> dict[str, Any]:
    return _without_nothing(
        {
            "context": str(build.context),
            "dockerfile": str(build.dockerfile) if build.dockerfile else None,
            "dockerfile_inline": build.inline.text if build.inline else None,
            "target": build.target,
            "args": dict(build.args),
            "labels": dict(build.labels),
            "secrets": [{"source": each.name, "target": id} for id, each in build.secrets.items()],
        }
    )


def _health(check: HealthCheck) -> dict[str, Any]:
    return {
        **_without_nothing(
            {
                "test": ["CMD", *check.test] if check.test else None,
                "interval": _seconds(check.interval),
                "timeout": _seconds(check.timeout),
                "start_period": _seconds(check.start_period),
                "start_interval": _seconds(check.start_interval),
                "retries": check.retries,
            }
        ),
        **({"disable": True} if check.disabled else {}),
    }


def _deploy(service: Service, model: schema.Service) -> dict[str, Any]:
    deploy = model.deploy or schema.Deploy()
    return {
        "replicas": len(service.machines),
        **_without_nothing(
            {
                "labels": filled(deploy.labels),
                "update_config": _rollout(service.update_config) if deploy.update_config else None,
                "rollback_config": _rollout(service.rollback_config) if deploy.rollback_config else None,
            }
        ),
    }


def _rollout(config: UpdateConfig) -> dict[str, Any]:
    return {
        "parallelism": config.parallelism,
        "delay": _seconds(config.delay),
        "monitor": _seconds(config.monitor),
        "max_failure_ratio": config.max_failure_ratio,
        "failure_action": str(config.failure_action),
        "order": config.order,
    }
