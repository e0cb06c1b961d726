"""A kernel layer made from another image's: what it has, and what is in its way. No machine boots."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.platforms.local.disks import reuse
from stoneware.platforms.local.disks.comparison import attributes, differences
from stoneware.platforms.local.disks.reuse import Roots, Unlike, derived
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from tests.stores import blank_store

pytestmark = pytest.mark.machine

OLD, NEW = "11111111-1111-5111-8111-111111111111", "22222222-2222-5222-8222-222222222222"
KERNEL = "boot/vmlinuz-6.1.0"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with blank_store(tmp_path_factory.mktemp("reuse") / "home") as made:
        yield made


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class Images:
    """An image with its kernel layer, and images that differ from it."""

    def __init__(self, store: Store, place: Path) -> None:
        self.store, self.place = store, place
        place.mkdir()
        self.base = place / "base"
        btrfs.create(self.base)
        texts = {
            "etc/passwd": "root",
            "etc/fstab": "",
            "usr/bin/tool": "tool",
            "usr/share/zones/utc": "utc",
            "opt/app/old": "old",
            "opt/app/kept": "kept",
            "usr/lib/os-release": 'ID=debian\nIMAGE_ID=hello\nIMAGE_VERSION="1"\n',
            "var/lib/dpkg/info/tzdata.list": "/.\n/usr\n/usr/share\n/usr/share/zones\n/usr/bin/tool\n",
        }
        for name, text in texts.items():
            write(self.base / name, text)
        self.image = self.made("image", lambda root: write(root / "opt/app/config", "one"))
        self.layer = self.changed("layer", self.image, self._install)

    def made(self, name: str, change: Change) -> Path:
        """Return an image of the same steps and one more, sealed as all are."""
        return self.changed(name, self.base, change)

    def changed(self, name: str, source: Path, change: Change) -> Path:
        btrfs.snapshot(source, self.place / f"{name}-builder", read_only=False)
        change(self.place / f"{name}-builder")
        btrfs.snapshot(self.place / f"{name}-builder", self.place / name, read_only=True)
        return self.place / name

    @staticmethod
    def _install(root: Path) -> None:
        write(root / KERNEL, "kernel")
        write(root / "etc/fstab", f"PARTUUID={OLD} / ext4 rw,errors=remount-ro,x-systemd.growfs 0 1\n")
        write(root / "var/lib/dpkg/info/linux.list", f"/boot\n/{KERNEL}\n/usr/share/linux\n")

    @contextlib.contextmanager
    def layer_of(self, new: Path) -> Iterator[Path]:
        with derived(self.store, Roots(self.image, self.layer, new), OLD, NEW) as made:
            yield made


@pytest.fixture
def images(store: Store, request: pytest.FixtureRequest) -> Iterator[Images]:
    place = store.data / "builds" / request.node.name.replace("[", "-").strip("]")[:60]
    yield Images(store, place)
    btrfs.remove_tree(place)


def facts(root: Path, path: str) -> tuple[object, ...]:
    """Return all that is known of a path, but for its inode's number."""
    place = root / path
    status = place.lstat()
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = place.readlink()
    elif stat.S_ISREG(status.st_mode):
        content = (place.read_bytes(), status.st_blocks)
    known = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns)
    return (*known, attributes(place), content)


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    found = (str(path.relative_to(root)) for path in root.rglob("*"))
    return {path: facts(root, path) for path in found}


def application(root: Path) -> None:
    """Change the image's application in every way that there is."""
    app = root / "opt/app"
    (app / "old").unlink()
    write(app / "config", "two")
    tool = write(app / "tool", "tool")
    os.chown(tool, 1000, 1001)
    tool.chmod(0o4750)
    os.setxattr(tool, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.link(tool, app / "tool-too")
    (app / "link").symlink_to("/etc/passwd")
    os.mkfifo(app / "pipe", 0o620)
    with (app / "sparse").open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"end")
    write(root / "data/\udcff/deep", "deep")
    write(root / "usr/share/changed", "changed")
    os.chown(app, 7, 7)
    app.chmod(0o2755)
    os.utime(root / "data", ns=(1, 1_000_000_007))
    write(root / "usr/lib/os-release", 'ID=debian\nIMAGE_ID=hello-2\nIMAGE_VERSION="2"\n')


def test_it_is_what_installing_the_kernel_would_have_made(images: Images) -> None:
    new = images.made("new", application)
    again = images.changed("again", new, Images._install)
    with images.layer_of(new) as made:
        derived_tree, again_tree = tree(made), tree(again)
        assert (made / "opt/app/tool").stat().st_ino == (made / "opt/app/tool-too").stat().st_ino
        assert f"PARTUUID={NEW} / ext4" in (made / "etc/fstab").read_text()
        mine = {place.path for place in differences(new, made)}
    assert {place.path for place in differences(new, again)} <= mine
    assert derived_tree.keys() == again_tree.keys()
    own = {path for path in derived_tree if path.startswith(("opt", "data", "usr", "etc/passwd"))}
    for path in own:
        assert derived_tree[path] == again_tree[path], path
    assert derived_tree[KERNEL][-2:] == again_tree[KERNEL][-2:]
    assert not list((images.store.data / "checkpoints").glob(".staged-*"))


def test_an_image_that_is_the_same_gets_the_same(images: Images) -> None:
    with images.layer_of(images.image) as made:
        assert {found.path for found in differences(images.layer, made)} <= {"", "etc/fstab"}


def other_words(root: Path) -> None:
    """The same content, in a new file."""
    (root / "etc/passwd").unlink()
    write(root / "etc/passwd", "root")
    write(root / "opt/app/config", "one")


def test_a_file_written_again_with_the_same_content_is_no_other_one(images: Images) -> None:
    with images.layer_of(images.made("new", other_words)) as made:
        assert (made / "etc/passwd").read_text() == "root"


def over_the_kernel_s(root: Path) -> None:
    write(root / "usr/share/linux/mine", "mine")


REFUSED: dict[str, Change] = {
    "/etc/passwd": lambda root: write(root / "etc/passwd", "root and more"),
    "/usr/bin/tool": lambda root: (root / "usr/bin/tool").chmod(0o755),
    "/etc/fstab": lambda root: write(root / "etc/fstab", "tmpfs /tmp tmpfs defaults 0 0\n"),
    "/usr/local": lambda root: write(root / "usr/local/bin/dpkg", "evil"),
    "/usr/share/zones": lambda root: write(root / "usr/share/zones/mine", "mine"),
    "/usr/share/linux": over_the_kernel_s,
    "/usr/lib/os-release": lambda root: write(root / "usr/lib/os-release", "ID=other\n"),
    "/var/lib/dpkg/info/more.list": lambda root: write(root / "var/lib/dpkg/info/more.list", "/more\n"),
    "other names elsewhere": lambda root: os.link(root / "usr/bin/tool", root / "opt/app/mine"),
    "a device or a socket": lambda root: os.mknod(
        root / "opt/app/device", stat.S_IFCHR | 0o600, os.makedev(1, 3)
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_matter_to_the_kernel_s_packages_is_in_its_way(images: Images, what: str) -> None:
    new = images.made("new", lambda root: (write(root / "opt/app/config", "one"), REFUSED[what](root)))
    with pytest.raises(Unlike, match=what), images.layer_of(new):
        pytest.fail("made")
    assert not list((images.store.data / "checkpoints").glob(".staged-*"))


def test_a_link_that_an_install_leaves_in_the_way_leads_nowhere(images: Images, tmp_path: Path) -> None:
    def hostile(root: Path) -> None:
        Images._install(root)
        (root / "opt").rename(root / "opt-was")
        (root / "opt").symlink_to(tmp_path)

    images.layer = images.changed("hostile", images.image, hostile)
    new = images.made("new", lambda root: write(root / "opt/app/config", "two"))
    with pytest.raises(Unlike), images.layer_of(new):
        pytest.fail("made")
    new = images.made(
        "more", lambda root: [write(root / "opt/app/config", "one"), write(root / "opt/x", "x")]
    )
    with pytest.raises(Unlike), images.layer_of(new):
        pytest.fail("made")
    assert list(tmp_path.iterdir()) == []


def test_what_an_install_has_changed_of_an_application_is_in_its_way(images: Images) -> None:
    def odd(root: Path) -> None:
        Images._install(root)
        write(root / "opt/app/config", "changed by the kernel")

    images.layer = images.changed("odd", images.image, odd)
    with pytest.raises(Unlike, match="changed by the kernel's packages"):
        reuse.compare(Roots(images.image, images.layer, images.made("new", application)))
