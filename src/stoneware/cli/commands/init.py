"""init: a Machinefile and the files next to it, as a start."""

from __future__ import annotations

from pathlib import Path

import click

from stoneware.cli.output import print_line, say
from stoneware.cli.parameters import Command, argument, flag
from stoneware.errors import InputError
from stoneware.image.references import default_name

_MACHINEFILE = """\
# How the machine image is made. Bake it:          stoneware bake -t @NAME@ .
# See the files a machine would have:              stoneware render @NAME@ -e GREETING=hi
# Boot a machine from it, and look at it:          stoneware run -d --wait -p 8080:80 -e GREETING=hi @NAME@
#                                                  curl http://localhost:8080/

# A known base (debian:12, debian:13), or an image of yours: NAME:TAG.
FROM debian:12

# Each step runs in a booted machine and is cached until it, or what it copies, changes.
RUN apt-get update \\
 && apt-get install -y --no-install-recommends curl nginx \\
 && systemctl disable nginx.service \\
 && rm /etc/nginx/sites-enabled/default

# Templates: each file below /etc/stoneware/templates is filled in at every boot with the machine's own
# values and written to the same path below /.
COPY templates/ /etc/stoneware/templates/

# Where nothing else is said. A variable without a default has to be given to `run`.
ENV PORT=80
EXPOSE 80

# Its result is shown by `stoneware ps`; `stoneware run --wait` waits for it.
HEALTHCHECK --interval=10s --timeout=2s --start-period=10s \\
  CMD ["sh", "-c", "curl --fail --silent --output /dev/null http://127.0.0.1:$PORT/"]

# What the machine runs: a systemd service of the image's name.
CMD ["nginx", "-g", "daemon off;"]
STOPSIGNAL SIGQUIT
"""

_TEMPLATE = """\
# Filled in when the machine boots. Two dollar signs stand for one: $${NAME}, $${NAME:-text}, $${NAME:?why}.
server {
    listen ${PORT};

    location / {
        default_type text/plain;
        return 200 "${GREETING:?say what the machine should greet with}, from ${STONEWARE_NAME}\\n";
    }
}
"""

_IGNORE = """\
# What the build context leaves out, in the syntax of .dockerignore.
.git
.machineignore
Machinefile
*.md
"""

_FILES = {
    "Machinefile": _MACHINEFILE,
    ".machineignore": _IGNORE,
    "templates/etc/nginx/conf.d/site.conf": _TEMPLATE,
}


@click.command("init", cls=Command)
@argument(
    "directory", metavar="DIRECTORY", kind=Path, required=False, default=Path(), help="Where to write them."
)
@flag("--force", "-f", help="Overwrite files that are there.")
def init(directory: Path, force: bool) -> None:
    """Write a Machinefile and the files next to it, as a start.

    That is a Machinefile, a .machineignore and a template, with comments.
    """
    # All of them are looked for before the first is written.
    there = [name for name in _FILES if (directory / name).exists()]
    if there and not force:
        raise InputError(
            f"{directory / there[0]} is there already",
            details="Nothing was written.",
            resolution="stoneware init --force    # overwrites it",
        )
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is not a directory")
    name = default_name(directory.resolve().name)
    for path, text in _FILES.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("@NAME@", name))
        print_line(str(target))
    say(f"next: stoneware bake -t {name} {directory}")
