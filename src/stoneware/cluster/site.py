"""Where clusters are kept: a platform, its images, and the place of what is kept of clusters."""

from __future__ import annotations

from stoneware.bake.workdir import Leave
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.model import Desired
from stoneware.cluster.tfvars import from_tfvars
from stoneware.dataclass import dataclass
from stoneware.platforms.cluster_records import Clusters
from stoneware.platforms.protocols import Images, Platform


@dataclass(frozen=True)
class Site:
    """A platform, its images, and where all clusters are kept."""

    platform: Platform
    store: Images
    clusters: Clusters
    leave: Leave | None = None  # of bakes for clusters

    def directory(self, cluster: str) -> ClusterDirectory:
        """Return what is kept of one cluster; perhaps nothing is."""
        return ClusterDirectory(self.clusters.of(cluster))

    def applied(self, cluster: str) -> Desired | None:
        """Return the cluster that was applied last, or None where there was none."""
        variables = self.directory(cluster).variables()
        return None if variables is None else from_tfvars(cluster, variables)
