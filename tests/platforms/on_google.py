"""The platform google over an emulator in this process; its machines are in memory and report like others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.platform import GooglePlatform
from tests.google.cloud import Cloud
from tests.google.clusters import SETTINGS
from tests.google.engine import make_bucket, reporting


def opened(cloud: Cloud, home: Path) -> GooglePlatform:
    """Return the platform, with its bucket. Instances report as soon as they boot, or are told something."""
    reporting(cloud)
    make_bucket(cloud.endpoint)
    api = Api(replace(SETTINGS, endpoint=cloud.endpoint))
    return GooglePlatform(GoogleImages(api, Bucket(api), home))
