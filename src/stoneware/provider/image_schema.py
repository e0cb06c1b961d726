"""The attributes of `stoneware_image`, resource and data source."""

from __future__ import annotations

from stoneware.provider.schema import Schema
from stoneware.provider.values import Attribute, Bool, List, Map, String


def resource_schema() -> Schema:
    """Return the schema of the resource."""
    return Schema(
        version=1,
        description=(
            "An image baked from a Machinefile, as `stoneware bake` does: with the same step cache, and "
            "tagged with the Git commit. A plan reads the context and knows whether anything would run. "
            "Earlier images stay, for a rollback. Destroying it removes its tags, and the image unless a "
            "machine or another tag uses it."
        ),
        attributes=[*_inputs(), *_outputs()],
    )


def data_schema() -> Schema:
    """Return the schema of the data source."""
    return Schema(
        description="An image that exists, by tag, by commit, or the newest of its name.",
        attributes=[*_criteria(), *_findings()],
    )


def _inputs() -> list[Attribute]:
    about_triggers = "Any values; when they change, every step runs again, as with `bake --no-cache`."
    about_secrets = "Files with secrets for `RUN --mount=type=secret`: id to path. Never their values."
    about_context = 'The directory to copy from; begin with `"${path.module}/"`.'
    return [
        Attribute("name", String(), "`NAME` or `NAME:TAG`; a tag is `latest` if left out.", required=True),
        Attribute("context", String(), about_context, required=True),
        Attribute("extra_tags", List(String()), "Further names, `NAME` or `NAME:TAG`.", optional=True),
        Attribute("file", String(), "The Machinefile; that of the context if left out.", optional=True),
        Attribute("target", String(), "The stage to bake; the last one if left out.", optional=True),
        Attribute("build_args", Map(String()), "Values for `ARG`.", optional=True),
        Attribute("labels", Map(String()), "Labels on the image.", optional=True),
        Attribute("secrets", Map(String()), about_secrets, optional=True),
        Attribute("triggers", Map(String()), about_triggers, optional=True),
    ]


def _outputs() -> list[Attribute]:
    about_id = '`sha256:…`; a machine boots it with `source = "image:${….image_id}"`.'
    return [
        Attribute("id", String(), "Its name and tag.", computed=True),
        Attribute("image_id", String(), about_id, computed=True),
        Attribute("tags", List(String()), "All tags that the bakes of this image set.", computed=True),
        Attribute("commit", String(), "The Git commit of the context; null outside Git.", computed=True),
        Attribute("dirty", Bool(), "Whether the work tree differed from it.", computed=True),
    ]


def _criteria() -> list[Attribute]:
    about_commit = "The Git commit it was baked from; the beginning of one is enough. Null outside Git."
    return [
        Attribute("name", String(), "Its name, without a tag.", required=True),
        Attribute("tag", String(), "Its tag; `latest` if nothing else is asked for.", optional=True),
        Attribute("commit", String(), about_commit, optional=True, computed=True),
        Attribute("newest", Bool(), "`true` for the image baked last, with any tags.", optional=True),
    ]


def _findings() -> list[Attribute]:
    about_manifest = "All that is known of it, as JSON: `jsondecode(….manifest)`."
    return [
        Attribute("id", String(), "The image's id.", computed=True),
        Attribute("image_id", String(), "The same.", computed=True),
        Attribute("tags", List(String()), "All of its tags.", computed=True),
        Attribute("dirty", Bool(), "Whether the work tree differed from it.", computed=True),
        Attribute("created", String(), "When it was baked (RFC 3339).", computed=True),
        Attribute("architecture", String(), "As Debian names it: `amd64`, `arm64`.", computed=True),
        Attribute("ports", List(String()), "Ports it exposes: `80/tcp`.", computed=True),
        Attribute("volumes", List(String()), "Paths where it wants volumes.", computed=True),
        Attribute("labels", Map(String()), "Its labels.", computed=True),
        Attribute("manifest", String(), about_manifest, computed=True),
    ]
