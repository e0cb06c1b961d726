"""The module for clusters in people's own Terraform: the example of docs/google.md, as it is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stoneware.terraform.configuration import MODULES
from stoneware.terraform.runner import Terraform
from tests.google.cloud import PROJECT, REGION, ZONE, Cloud
from tests.google.clusters import IMAGES
from tests.google.provider.install import initialized

pytestmark = pytest.mark.tool
PAGE = Path(__file__).parents[2] / "docs/google.md"
SOURCE = re.compile(r'"git::https://example\.com/stoneware\.git//src/stoneware/terraform/modules/([a-z/]+)"')


def example() -> str:
    """Return the example with what is this test's own: the directory, the project, places and the image."""
    (text,) = re.findall(r'^```hcl\n(module "kafka" .*?)^```$', PAGE.read_text(), re.M | re.S)
    (module,) = SOURCE.findall(text)
    text = SOURCE.sub(f'"{MODULES / module}"', text)
    text = re.sub(r'"https://www\.googleapis\.com/[^"]*"', f'"{IMAGES}/debian-12-stoneware"', text)
    return text.replace("my-project", PROJECT).replace("europe-west1-b", ZONE).replace("europe-west1", REGION)


def test_the_example_is_applied(tmp_path: Path, cloud: Cloud, google_mirror: dict[str, str]) -> None:
    initialized(tmp_path, cloud.endpoint, example(), google_mirror)
    with Terraform(tmp_path, environment=google_mirror) as terraform:
        assert terraform.apply().added == 5
        made = cloud.of("instances")["kafka-1"]
        assert made["networkInterfaces"][0]["networkIP"] == cloud.of("addresses")["kafka-1"]["address"]
        items = {item["key"]: item["value"] for item in made["metadata"]["items"]}
        assert items["stoneware-config"] == "NODE_ID=1\n"
        assert items["stoneware-hosts"].endswith("\tkafka-1\n")
        assert [disk["deviceName"] for disk in made["disks"]] == ["boot", "data"]
        assert set(cloud.of("disks")) == {"kafka-1", "kafka-1-data"}
        assert list(cloud.of("firewalls")) == ["kafka"]
        assert terraform.plan().noop
