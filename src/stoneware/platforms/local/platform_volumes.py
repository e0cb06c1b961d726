"""The volumes of the local platform: directories of containers, and disks of virtual machines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from stoneware.errors import InputError, MachineError
from stoneware.image.versions import floor_problem
from stoneware.model.guest_lines import is_disk
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.machine import MachineSpec, removal_hint
from stoneware.model.resources import DIRECTORY, DISK, Snapshot, Volume, VolumeMount
from stoneware.platforms import telling
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runners import runner_for, runner_of
from stoneware.platforms.local.machines.vanished import end_vanished
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.store import Store


class LocalVolumes:
    """The methods of the local platform for volumes."""

    def __init__(self, store: Store) -> None:
        """Open the platform over a store."""
        self.store = store

    def create_volume(
        self, name: str, labels: Mapping[str, str], size: int | None = None, *, kind: str = DIRECTORY
    ) -> Volume:
        """Return the volume of that name, made (blank) where there is none, which may take `size` bytes.

        Without a size it may take what the platform lets volumes take. While it is blank, it becomes of the
        kind that its first machine needs.
        """
        found = self.store.find_volume(name)
        if found is not None and found.kind == DISK and size not in (None, found.size):
            self.resize_volume(name, size or 0)
        self.store.create_volume(name, labels, size, kind=kind)
        return self.store.volume(name)

    def volume(self, name: str) -> Volume | None:
        """Return a volume, or None."""
        return self.store.find_volume(name)

    def volumes(self) -> list[Volume]:
        """Return all volumes, sorted by name."""
        return self.store.volumes()

    def label_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Change a volume's labels. Raises InputError where there is no such volume."""
        self.store.label_volume(name, labels)

    def raise_floor(self, name: str, floor: str) -> None:
        """Let no image below a version boot on a volume any more. Raises InputError where there is none."""
        self.store.raise_floor(name, floor)

    def check_floors(self, spec: MachineSpec) -> None:
        """Raise InputError where a machine would boot an image that is too old for what is on its disks."""
        # What is only read no image can damage.
        floors = self.store.floors(mount.volume for mount in spec.volumes if not mount.read_only)
        kind, _, image = spec.source.partition(":")
        if not floors or kind != "image":
            return
        labels = self.store.manifest(image)["labels"] if image in self.store.image_ids() else {}
        if problem := floor_problem(spec.name, labels, floors):
            raise InputError(
                problem,
                details="An older image could not read the data, or would damage it.",
                resolution="use an image of that version or a later one, or mount it read-only (:ro)",
            )

    def destroy_volume(self, name: str) -> None:
        """Remove a volume, its data too; a missing one is no error. Raises InputError while in use."""
        self.store.remove_volume(name, missing_ok=True)

    def snapshot_volume(self, name: str, snapshot: str) -> Snapshot:
        """Keep what is on a volume now, also while a machine writes to it."""
        return self.store.snapshot_volume(name, snapshot)

    def snapshots(self, volume: str = "") -> list[Snapshot]:
        """Return the snapshots of a volume, or of all, by volume and time."""
        return self.store.snapshots(volume)

    def restore_volume(self, name: str, snapshot: str) -> Snapshot | None:
        """Let a volume have again what a snapshot has, and return the snapshot of what it had until now.

        Raises InputError while a machine that has the volume runs.
        """
        with self._at_rest(name, f"stoneware volume restore {name} {snapshot}"):
            return self.store.restore_volume_locked(name, snapshot)

    @contextlib.contextmanager
    def _held(self, name: str) -> Iterator[list[str]]:
        """Hold a volume and the machines that have it; give the names of those of them that run."""
        end_vanished(self.store)  # it would go on writing to the former volume
        with contextlib.ExitStack() as stack:
            held = self.store.volume_users(name)
            for user in sorted(held):  # as `start` and `create` do: first the machine, then its volumes
                stack.enter_context(self.store.lock("machines", user))
            stack.enter_context(self.store.volume_locks([name]))

            def runs(user: str) -> bool:
                paths = Paths(self.store.data / "machines" / user)
                return user not in held or machine_record.shown_processes(paths).alive

            yield [user for user in self.store.volume_users(name) if runs(user)]

    @contextlib.contextmanager
    def _at_rest(self, name: str, command: str) -> Iterator[None]:
        """Hold a volume that no running machine has. Raises InputError, with what makes the command work."""
        with self._held(name) as running:
            if running:
                raise InputError(
                    f"the volume {name!r} is in use",
                    details=f"The machine {running[0]} runs, which has it.",
                    resolution=f"stoneware stop {running[0]} && {command}",
                )
            yield

    def resize_volume(self, name: str, size: int) -> None:
        """Make a disk larger, and the file system on it, at once where its machine runs.

        Raises InputError for a size that is smaller, and for a volume that is a directory.
        """
        from stoneware.platforms.local.machines import growing

        # Without the locks of the volume and its machines: these take their time.
        for paths, number, mount in self.enlarge_disk(name, size):
            growing.grow(paths, runner_of(paths).device(number, mount), size)

    def enlarge_disk(self, name: str, size: int) -> list[tuple[Paths, int, VolumeMount]]:
        """Make a disk larger, at once for machines that run, and return where these have it.

        Their file systems stay as they are. Raises as `resize_volume`.
        """
        with self._held(name) as running:
            self.store.resize_disk_locked(name, size)
            uses = [use for user in running for use in self._uses(user, name)]
            for paths, _, mount in uses:
                runner_of(paths).enlarge_volume(paths, mount, size)
        return uses

    def convert_volume(self, name: str, kind: str, size: int | None = None) -> None:
        """Let a volume be of another kind, with all that is on it; a disk of `size` bytes.

        At each instant the volume is whole: it is of the former kind until it is of the other. Raises
        InputError while a machine that has it runs, and for a size that is too small.
        """
        wanted = f" --size {size >> 20}m" if size else ""
        self.store.volume(name)  # says that there is none
        with self._at_rest(name, f"stoneware volume convert {name} --to {kind}{wanted}"):
            self._convert_locked(name, kind, size)

    def _convert_locked(self, name: str, kind: str, size: int | None = None) -> None:
        from stoneware.platforms.local.disks import conversion
        from stoneware.platforms.local.disks.layout import NoRoom

        try:
            with store_errors.clear_errors(self.store.home):
                self.store.convert_volume_locked(name, kind, size, conversion)
        except NoRoom as error:
            raise store_errors.full(self.store.home, error.details) from error

    def conversion_faults(self, wanted: Mapping[str, str]) -> dict[str, list[str]]:
        """Return why volumes (by name: the kind) cannot become of another kind, as far as it is known."""
        if not wanted:
            return {}
        from stoneware.platforms.local.disks import conversion

        return {name: list(conversion.faults(self.store, name, kind)) for name, kind in wanted.items()}

    def _become_locked(self, name: str, kind: str, spec: MachineSpec) -> None:
        """Let a volume be of the kind that a machine needs: a blank one, one of its cluster, a container's.

        A directory of no cluster becomes a disk by command only: its user says how large it is.
        """
        volume, cluster = self.store.volume(name), spec.labels.get(CLUSTER_LABEL)
        owner = volume.labels.get(CLUSTER_LABEL)
        own = owner == cluster and (cluster is not None or kind == DIRECTORY)
        if own and volume.kind != kind and not volume.blank:
            telling.tell(f"converting the volume {name} of {spec.name}: {volume.kind} → {kind}")
            self._convert_locked(name, kind)
        else:
            self.store.become_locked(name, kind, spec.name)

    def _uses(self, machine: str, volume: str) -> Iterator[tuple[Paths, int, VolumeMount]]:
        """Yield where a machine has a volume: its paths, which of its volumes it is, and the mount."""
        paths = Paths(self.store.data / "machines" / machine)
        spec = machine_record.read_spec(paths)
        for number, mount in enumerate(spec.volumes if spec else ()):
            if mount.volume == volume:
                yield paths, number, mount

    def destroy_snapshot(self, volume: str, name: str) -> None:
        """Remove a snapshot; a missing one is no error."""
        self.store.remove_snapshot(volume, name)

    def limit_disks(self, paths: Paths, spec: MachineSpec) -> None:
        """Limit what a machine's root, volumes and caches may take, as its spec and they say."""
        home, data = self.store.home, self.store.data
        store_quota.keep_reserve(home, data)
        runner_of(paths).limit_disk(self.store, paths, spec)
        for mount in spec.volumes:
            if self.store.find_volume(mount.volume) is None:
                raise _lost(spec, mount.volume)
            self.store.check_kind(mount.volume, runner_of(paths).volume_kind, spec.name)
            self.store.limit_volume(mount.volume)

    @contextlib.contextmanager
    def volumes_of(self, spec: MachineSpec) -> Iterator[None]:
        """Make the volumes a machine asks for, and keep others from taking them meanwhile."""
        names = [mount.volume for mount in spec.volumes]
        if len(set(names)) != len(names):
            raise InputError("a volume can be mounted once only", resolution="name each -v volume once")
        # Made for a machine of a cluster, they are the cluster's: `volume prune` leaves them alone.
        labels = {key: value for key, value in spec.labels.items() if key.startswith("stoneware.")}
        kind = runner_for(spec).volume_kind
        with self.store.volume_locks(names):
            for mount in spec.volumes:
                name = mount.volume
                self.store.create_volume_locked(name, labels, kind=kind)
                users = [user for user in self.store.volume_users(name) if not self._shared(user, mount)]
                if users:
                    raise InputError(
                        f"the volume {name!r} is in use",
                        details=f"by the machine {users[0]!r}; a disk belongs to one machine at a time.",
                        resolution=f"{self._removal_hint(users[0])}    # the volume stays; or another volume",
                    )
                self._become_locked(name, kind, spec)
            yield

    def _shared(self, user: str, mount: VolumeMount) -> bool:
        """Say whether a machine and a mount of another only read a disk, as instances of a cloud do."""
        mine = [other for _, _, other in self._uses(user, mount.volume)]
        return all(each.read_only and is_disk(each) for each in (mount, *mine))

    def _removal_hint(self, name: str) -> str:
        user = machine_record.observe(Paths(self.store.data / "machines" / name))
        return removal_hint(user) if user is not None else f"stoneware rm -f {name}"


def _lost(spec: MachineSpec, volume: str) -> MachineError:
    """Return the error for a machine whose volume somebody has removed."""
    cluster = spec.labels.get(CLUSTER_LABEL)
    again = f"stoneware volume create {volume} && stoneware start {spec.name}    # with a blank one"
    if cluster:
        again = f"stoneware up -p {cluster} --restore    # brings it back, with a blank one"
    return MachineError(
        f"the machine {spec.name} cannot start: its volume {volume} is gone",
        details="Somebody has removed it, with the data on it.",
        resolution=again,
    )
