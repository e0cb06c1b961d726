"""Configurations of machines, as texts of Terraform's."""

from __future__ import annotations

from stoneware.terraform.runner import Terraform

ADDRESS = "stoneware_machine.m"
MINIMAL = 'resource "stoneware_machine" "m" {\n  name   = "m1"\n  source = IMAGE\n%s}\n'
FULL = {
    "kind": '"builder"',
    "hostname": '"broker-1"',
    "metadata": '{ "config" = "A=1", "other" = "x" }',
    "files": '{ "bundle.tar" = "/tmp/bundle.tar" }',
    "volumes": '[{ volume = "data", path = "/data" }, { volume = "b", path = "/b", read_only = true }]',
    "ports": '[{ machine_port = 80 }, { machine_port = 53, host_port = 5353, protocol = "udp" }]',
    "caches": '["apt", "maven"]',
    "memory": "536870912",
    "cpus": "0.1",
    "pids_limit": "500",
    "ulimits": '[{ name = "nproc", soft = 99 }, { name = "nofile", soft = 1024, hard = 4096 }]',
    "disk": "1073741824",
    "log_max_size": "1048576",
    "log_max_file": "2",
    "read_only": "true",
    "restart": '"on-failure:3"',
    "stop_timeout": "360.5",
    "image_ref": '"hello:latest"',
    "labels": '{ "a" = "b" }',
    "networks": '["front", "back"]',
    "names": '["broker", "broker.c.internal"]',
    "secrets": '[{ secret = "c-token", target = "token", version = "v1" }]',
    "recreate_on": '"1"',
}


def machine(**attributes: str) -> str:
    return MINIMAL % "".join(f"  {name} = {value}\n" for name, value in attributes.items())


def machines(*names: str, **attributes: str) -> str:
    """Return the configuration of machines with one resource."""
    listed = ", ".join(f'"{name}"' for name in names)
    given = {"for_each": f"toset([{listed}])", "name": "each.key", "source": "IMAGE", **attributes}
    lines = "".join(f"  {name} = {value}\n" for name, value in given.items())
    return f'resource "stoneware_machine" "m" {{\n{lines}}}\n'


def values(terraform: Terraform) -> dict[str, object]:
    """Return what Terraform's state has of the machine."""
    resource = terraform.state().get(ADDRESS)
    assert resource is not None
    return dict(resource.values)
