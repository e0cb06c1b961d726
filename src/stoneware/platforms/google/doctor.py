"""What the platform google needs of a project: found or missing, with the command that fixes it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stoneware.errors import StonewareError
from stoneware.platforms.google import labels, leftovers, quotas
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket, creation
from stoneware.platforms.google.permissions import FOR_BAKES, FOR_CLUSTERS, FOR_PUBLIC_ADDRESSES
from stoneware.platforms.upkeep import Finding
from stoneware.untrusted.visible import visible

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_PROBE = "doctor/probe"
Check = Callable[[], str]


def findings(api: Api) -> list[Finding]:
    """Ask Google for each thing that is needed; what depends on one that is missing is asked all the same."""
    settings = api.settings
    project, bucket = shlex.quote(settings.project), settings.bucket
    checks: list[tuple[str, str, str, str, Check]] = [
        (
            "credentials",
            "account",
            "asking Google's APIs",
            "gcloud auth application-default login",
            lambda: _credentials(api),
        ),
        (
            "compute.googleapis.com",
            "API",
            "builders and images",
            f"gcloud services enable compute.googleapis.com --project {project}",
            lambda: _region(api),
        ),
        (
            f"gs://{bucket}",
            "bucket",
            "manifests, tags, bundles",
            creation(bucket, settings),
            lambda: _bucket(api),
        ),
        (
            f"network {settings.subnetwork or settings.network}",
            "network",
            "builders",
            f"gcloud compute networks list --project {project}",
            lambda: _network(api),
        ),
        (
            "quotas",
            "quota",
            "builders, machines, images",
            f"gcloud compute regions describe {settings.region} --project {project}    # all of its quotas",
            lambda: quotas.told(api),
        ),
    ]
    found = [_finding(*check) for check in checks]
    found += [_secrets(api), _builders(api), *_left_over(api)]
    # An emulator has all permissions.
    return found if settings.endpoint else [*found, *_permissions(api)]


def _finding(name: str, kind: str, purpose: str, get: str, check: Check) -> Finding:
    try:
        version, problem, fix = check(), "", get
    except StonewareError as error:
        said = error.details.splitlines()
        version, problem = "", f"{error.brief}: {said[0]}" if said else error.brief
        own = isinstance(error, leftovers.LeftError) or error.resolution.startswith("gcloud ")
        fix = error.resolution if own else get
    return Finding(name, kind, purpose, fix, version, problem)


def _credentials(api: Api) -> str:
    found = api.credentials("find credentials")
    return "none needed: an emulator" if api.settings.endpoint else described(found)


def described(credentials: Credentials) -> str:
    """Return which credentials these are: kind, account where they know it, where they are from."""
    # What Google's client puts into its own error messages, and no secret.
    told = credentials.get_cred_info() or {}
    kind = str(told.get("credential_type") or "credentials")
    account, source = (str(told.get(key) or "") for key in ("principal", "credential_source"))
    words = [kind, account and f"of {account}", source and f"from {source}"]
    return visible(" ".join(filter(None, words)))


def _region(api: Api) -> str:
    zones = api.zones()
    region = api.get("compute", f"regions/{api.settings.region}", f"read the region {api.settings.region}")
    return f"{region.get('name')}: {len(zones)} zones"


def _bucket(api: Api) -> str:
    """Say where the bucket is, and write, read and remove an object."""
    bucket = Bucket(api)
    # First: where nothing answers, the client of objects tries for two minutes.
    place = api.get("storage", f"/b/{bucket.name}", f"read the bucket {bucket.name}").get("location")
    bucket.write(_PROBE, b"{}")
    bucket.read(_PROBE)
    bucket.remove(_PROBE)
    where, region = str(place).lower(), api.settings.region
    if "-" in where and where != region:  # `eu`, `nam4` and so on are of several regions
        return f"{where}, not {region}: what goes between them takes time and costs money"
    return where


def _network(api: Api) -> str:
    settings = api.settings
    name = settings.subnetwork or settings.network
    path = (
        f"regions/{settings.region}/subnetworks/{name}" if settings.subnetwork else f"global/networks/{name}"
    )
    api.get("compute", f"/{name}" if name.startswith("projects/") else path, f"read the network {name}")
    return "public addresses" if settings.external_ip else "no public addresses: packages come by Cloud NAT"


def _secrets(api: Api) -> Finding:
    """Say whether Secret Manager answers, which only machines with secrets need."""

    def check() -> str:
        api.get("secretmanager", "secrets", "list the secrets", pageSize=1)
        return "answers"

    service = "secretmanager.googleapis.com"
    get = f"gcloud services enable {service} --project {shlex.quote(api.settings.project)}"
    return replace(_finding(service, "API", "secrets of machines", get, check), optional=True)


def _builders(api: Api) -> Finding:
    """Say which builders there are: each costs money until its bake ends, or for eight hours at most."""

    def check() -> str:
        what = "list the builders"
        listed = api.items("compute", "aggregated/instances", what, filter=f"labels.{labels.BAKE}:*")
        names = sorted(str(record.get("name")) for record in listed)
        return f"of bakes under way, or of killed ones: {', '.join(names)}" if names else "none left"

    get = f"gcloud compute instances list --project {shlex.quote(api.settings.project)}"
    return _finding("builders", "instances", "bakes", get, check)


def _left_over(api: Api) -> list[Finding]:
    """Say what costs money and belongs to nothing, and whether this computer reaches the machines."""
    project = f"--project {shlex.quote(api.settings.project)}"
    path = "run it in the network of the machines, or join that by a VPN; exec gates need no network"
    found = [
        _finding(
            "machines",
            "instances",
            "clusters",
            f"gcloud compute instances list {project}",
            lambda: leftovers.machines(api),
        ),
        _finding(
            "disks",
            "disks",
            "machines",
            f"gcloud compute disks list {project}",
            lambda: leftovers.disks(api),
        ),
        _finding(
            "images",
            "images",
            "machines",
            "stoneware images --platform google",
            lambda: leftovers.images(api),
        ),
        _finding("path to machines", "path", "kafka gates", path, lambda: leftovers.reached(api)),
    ]
    return [replace(each, optional=True) for each in found]


def _permissions(api: Api) -> list[Finding]:
    """Say which permissions are missing: without some images are baked, but no cluster is made."""
    settings = api.settings
    get = f"gcloud projects get-iam-policy {shlex.quote(settings.project)}    # who may do what"
    for_bakes = (*FOR_BAKES, *(FOR_PUBLIC_ADDRESSES if settings.external_ip else ()))
    baking = _finding("permissions", "IAM", "baking", get, lambda: _granted(api, for_bakes))
    clusters = _finding("permissions", "IAM", "clusters", get, lambda: _granted(api, FOR_CLUSTERS))
    return [baking, replace(clusters, optional=True)]


def _granted(api: Api, wanted: Sequence[str]) -> str:
    """Return how many permissions there are. Raises StonewareError with those that are missing."""
    body = {"permissions": list(wanted)}
    path = f"/projects/{api.settings.project}:testIamPermissions"
    reply = api.request("cloudresourcemanager", "POST", path, "ask for permissions", body=body, repeat=True)
    has = set(reply.get("permissions") or ())
    if lacking := [name for name in wanted if name not in has]:
        raise StonewareError("permissions are missing", details=", ".join(lacking))
    return f"{len(wanted)} permissions"
