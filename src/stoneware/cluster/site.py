"""Where clusters are kept: a platform, its images, and the directory that keeps what Terraform knows."""

from __future__ import annotations

from pathlib import Path

from stoneware.bake.workdir import Leave
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.model import Desired
from stoneware.cluster.tfvars import from_tfvars
from stoneware.dataclass import dataclass
from stoneware.platforms.protocols import Images, Platform


@dataclass(frozen=True)
class Site:
    """A platform, its images, and the directory of all clusters."""

    platform: Platform
    store: Images
    clusters: Path
    leave: Leave | None = None  # of bakes for clusters

    def directory(self, cluster: str) -> ClusterDirectory:
        """Return the directory of one cluster, which may not exist."""
        return ClusterDirectory(self.clusters / cluster)

    def applied(self, cluster: str) -> Desired | None:
        """Return the cluster that was applied last, or None where there was none."""
        variables = self.directory(cluster).variables()
        return None if variables is None else from_tfvars(cluster, variables)
