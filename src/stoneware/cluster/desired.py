"""From a machines.yaml and the images in the store to the machines that are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from stoneware.cluster.model import Desired
from stoneware.compose.model import Cluster
from stoneware.config import Secret
from stoneware.launch.plan import Images


def desire(
    cluster: Cluster,
    images: Images,
    secrets: Mapping[str, Secret],
    versions: Mapping[str, str],
    *,
    pending: AbstractSet[str] = frozenset(),
) -> Desired:
    """Resolve the images, hold every replica's config against its contract, return the machines wanted.

    Touches nothing. `secrets` (by key of the file) are checked against the schemas and never shown; `versions`
    are what `put_secret` returned for them: a missing one (nothing was put yet) counts as unchanged in a plan.
    `pending` are services whose image has to be baked first: their machines have no source, and their config
    is not checked. Raises one InputError with every unknown image and every unmet contract, machine by machine.
    """
    raise NotImplementedError


def secret_name(cluster: str, key: str) -> str:
    """Return the name on the platform of a secret of the file."""
    return f"{cluster}-{key}"
