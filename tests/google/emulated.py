"""The platform google against an emulator in this process: `from tests.google.emulated import …`."""

from __future__ import annotations

import pytest

from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.settings import Settings
from tests.emulator.conftest import PROJECT, document, endpoint, service, store

__all__ = ["bucket", "cloud", "document", "endpoint", "service", "settings", "store"]


@pytest.fixture
def settings(endpoint: str) -> Settings:
    return Settings(project=PROJECT, region="us-central1", bucket="things", endpoint=endpoint)


@pytest.fixture
def cloud(settings: Settings) -> Api:
    return Api(settings)


@pytest.fixture
def bucket(cloud: Api) -> Bucket:
    body = {"name": "things", "location": "us-central1"}
    cloud.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    return Bucket(cloud)
