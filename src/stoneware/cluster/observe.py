"""What a platform shows of a cluster, found by its label; and such an observation as a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.cluster.model import Observed
from stoneware.platform import Platform


def observe(
    platform: Platform,
    name: str,
    *,
    managed: frozenset[str] | None = None,
    nonces: Mapping[str, str] | None = None,
) -> Observed:
    """Return the machines, volumes and networks that carry the cluster's label.

    `managed` are the addresses in Terraform's state. The machines' reports of their files are read only where
    `nonces` is given (it may be empty): by short name, the nonce each machine was asked with; an inspection
    with another nonce is an old one, and the machine counts as not having answered.
    """
    raise NotImplementedError


def to_document(observed: Observed) -> dict[str, Any]:
    """Return an observation as JSON data (secrets are not in it: only their versions are observed)."""
    raise NotImplementedError


def from_document(document: Mapping[str, Any]) -> Observed:
    """Return the observation that `to_document` wrote. Raises InputError where it is no such document."""
    raise NotImplementedError
