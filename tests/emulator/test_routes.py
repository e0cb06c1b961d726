"""Which method a path means, of several documents in one server."""

from __future__ import annotations

import pytest

from stoneware.emulator import discovery
from stoneware.emulator.routes import Router


@pytest.fixture(scope="module")
def router(document: discovery.Document) -> Router:
    return Router([document, discovery.load("storage.v1"), discovery.load("secretmanager.v1")])


B = "/storage/v1/b/bucket"
C = "/compute/v1/projects"
NAME = "projects/p/secrets/s"
S = f"/v1/{NAME}"
IN = {"bucket": "bucket"}


@pytest.mark.parametrize(
    ("http", "path", "expected"),
    [
        ("GET", f"{C}/p/global/images/i", ("compute.images.get", {"project": "p", "image": "i"}, "")),
        (
            "GET",
            f"{C}/example.com:p/global/images/family/f",
            ("compute.images.getFromFamily", {"project": "example.com:p", "family": "f"}, ""),
        ),
        ("GET", f"{B}/o/a%2Fb%20c", ("storage.objects.get", IN | {"object": "a/b c"}, "")),
        ("GET", f"/download{B}/o/a", ("storage.objects.get", IN | {"object": "a"}, "download")),
        ("POST", f"/upload{B}/o", ("storage.objects.insert", IN, "upload")),
        ("PUT", f"/upload{B}/o", ("storage.objects.insert", IN, "upload")),
        ("POST", f"/resumable/upload{B}/o", ("storage.objects.insert", IN, "upload")),
        ("POST", f"{B}/o", ("storage.objects.insert", IN, "")),
        ("GET", S, ("secretmanager.projects.secrets.get", {"name": NAME}, "")),
        ("POST", f"{S}:addVersion", ("secretmanager.projects.secrets.addVersion", {"parent": NAME}, "")),
        (
            "GET",
            f"{S}/versions/latest:access",
            ("secretmanager.projects.secrets.versions.access", {"name": f"{NAME}/versions/latest"}, ""),
        ),
    ],
)
def test_a_path_means_a_method(
    router: Router, http: str, path: str, expected: tuple[str, dict[str, str], str]
) -> None:
    found = router.find(http, path)
    assert found is not None
    assert (found.method.id, found.names, found.media) == expected


@pytest.mark.parametrize(
    ("http", "path"),
    [
        ("GET", ""),
        ("GET", "/"),
        ("POST", f"{S}/versions/1:read"),
        ("GET", f"{S}:addVersion/versions/1:access:access:access/"),
        ("GET", "/v1/projects//secrets/s"),
        ("GET", f"/upload{B}/o"),
        ("POST", f"/download{B}/o/a"),
        ("GET", f"{B}/o//"),
    ],
)
def test_other_paths_mean_none(router: Router, http: str, path: str) -> None:
    assert router.find(http, path) is None
