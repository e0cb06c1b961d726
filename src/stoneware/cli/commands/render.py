"""render: the configuration files as a machine would have them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stoneware.cli import options
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Command, argument, option
from stoneware.errors import InputError
from stoneware.untrusted.bounded import BoundsError, read_input, why_no_file
from stoneware.untrusted.visible import visible, visible_lines


@click.command("render", cls=Command)
@argument("image", metavar="IMAGE", required=False, default="", help="NAME, NAME:TAG, or an id.")
@option("--template", metavar="FILE", kind=Path, help="Render this file instead; `-` is standard input.")
@options.env
@options.env_file
@option("--name", metavar="NAME", default="", help="The machine's name in the files.")
@option("--ip", metavar="ADDRESS", default="", help="The machine's address in the files.")
@options.on_platform
@options.json_output
def render(
    image: str,
    *,
    template: Path | None,
    env: tuple[str, ...],
    env_file: tuple[Path, ...],
    name: str,
    ip: str,
    json_output: bool,
) -> None:
    """Show the final configuration files without booting anything.

    The program that renders is the one inside the machines: what is shown is what boots.
    """
    from stoneware.config import given_values

    values = given_values(env_file, env)
    if (template is None) == (not image):
        raise InputError(
            "name an image, or a file with --template",
            resolution="stoneware render IMAGE -e KEY=VALUE    # or: stoneware render --template FILE",
        )
    if template is not None:
        _render_file(template, values, json_output=json_output)
    else:
        _render_image(image, values, name, ip, json_output=json_output)


def _render_file(template: Path, values: dict[str, str], *, json_output: bool) -> None:
    from stoneware.config import TemplateError, render_template
    from stoneware.config.render import MOST_TEMPLATE

    if str(template) == "-":
        content = sys.stdin.buffer.read(MOST_TEMPLATE + 1)  # one more tells that it is too large
    # A pipe of the shell's, `<(…)`, is read as well.
    elif template.exists() and not template.is_dir():
        content = _content(template)
    else:
        raise InputError(why_no_file(template))
    try:
        rendered = render_template(content, values, filename=str(template))
    except TemplateError as error:
        # One `file:line: reason` a line, as compilers write them: editors and scripts find the place.
        for fault in error.faults:
            say(str(fault))
        say(f"→ {error.resolution}")
        raise click.exceptions.Exit(error.exit_code) from error
    _show({str(template): rendered}, json_output, alone=True)


def _content(template: Path) -> bytes:
    from stoneware.config.render import MOST_TEMPLATE

    try:
        return read_input(template, MOST_TEMPLATE)
    except BoundsError as error:
        raise InputError(f"the template {template} {error}") from error


def _render_image(image: str, values: dict[str, str], name: str, ip: str, *, json_output: bool) -> None:
    from stoneware.cli.context import open_store
    from stoneware.launch.preview import preview

    found = preview(open_store(), image, values, name=name, ip=ip)
    if not found:
        say(f"{image} has no templates: nothing below /etc/stoneware/templates")
    _show(found, json_output, alone=False)


def _show(files: dict[str, bytes], json_output: bool, *, alone: bool) -> None:
    if json_output:
        print_json([{"path": path, "content": _text(content)} for path, content in sorted(files.items())])
        return
    looked_at = sys.stdout.isatty()
    for path, content in sorted(files.items()):
        if not alone:
            print_line(f"==> {visible(path)} <==")
            sys.stdout.flush()  # text and bytes have a buffer each
        # A file that is rendered into another one is that file, byte for byte.
        shown = visible_lines(content.decode(errors="surrogateescape")).encode() if looked_at else content
        sys.stdout.buffer.write(shown)
        if not alone and not content.endswith(b"\n"):  # the next head begins a line
            sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _text(content: bytes) -> str:
    return content.decode(errors="replace")
