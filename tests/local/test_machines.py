"""Machines of the local engine: their life, what is in them, and what kills leave."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.model.machine import MachineSpec, Phase
from stoneware.model.resources import VolumeMount
from stoneware.model.runtime import Process, System
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines import kill
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines.stop import wait_until
from stoneware.platforms.local.store.recover import recover, teardown
from stoneware.platforms.local.store.store import Store
from stoneware.process_identity import ProcessIdentity
from tests.local.engine_lab import Bench, need_controllers
from tests.platforms.awaiting import awaited

pytestmark = pytest.mark.machine


def test_life_of_a_machine(lab: Bench) -> None:
    platform = lab.platform
    machine = lab.boot(hostname="host-1", metadata={"a": "1"}, labels={"l": "v"})
    assert machine.leader is not None
    assert machine.exit_code is None
    assert lab.sh('[ "$(hostname)" = host-1 ]') == 0
    assert [found.id for found in platform.machines() if found.name == lab.name] == [machine.id]
    platform.set_metadata(lab.name, {"a": None, "b": "2"})
    seen = platform.observe(lab.name)
    assert seen is not None
    assert (dict(seen.spec.metadata), dict(seen.spec.labels)) == ({"b": "2"}, {"l": "v"})
    assert lab.sh("echo kept >/kept") == 0
    platform.stop(lab.name)
    stopped = platform.observe(lab.name)
    assert stopped is not None
    assert (stopped.phase, stopped.exit_code, stopped.leader) == (Phase.STOPPED, 0, None)
    with pytest.raises(MachineError, match="not running"):
        lab.sh("true")
    again = platform.start(lab.name)
    assert (again.id, again.ip) == (machine.id, machine.ip)
    assert lab.read("/kept") == "kept\n"
    assert platform.start(lab.name).leader == again.leader
    platform.destroy(lab.name)
    platform.destroy(lab.name)
    assert platform.observe(lab.name) is None
    assert not lab.paths().root.exists()


def test_what_a_machine_is_told_besides_its_image(lab: Bench) -> None:
    script = "cat /proc/self/status >/see; mv /see /seen; while [ ! -e /end ]; do sleep 0.05; done; exit 3"
    process = Process(
        ("sh", "-c", script),
        user="0:33",
        groups=("audio",),
        cap_drop=("all",),
        cap_add=("dac_override",),
        no_new_privileges=True,
        stop_signal="SIGQUIT",
    )
    system = System(
        sysctls=(("kernel.shmmax", "67108864"), ("net.core.somaxconn", "77")),
        tmpfs=(("/cache", "size=64k,mode=1770,noexec"), ("/dev/shm", "size=1m,mode=1777")),
        hosts=("here=host-gateway", "db=10.9.8.7"),
    )
    lab.boot(process=process, system=system)
    # The machine runs as soon as its service was started, which may be before this command has begun.
    assert lab.sh("while [ ! -e /seen ]; do sleep 0.05; done") == 0
    seen = dict(line.split(":\t") for line in lab.read("/seen").splitlines() if ":\t" in line)
    assert (seen["CapEff"], seen["CapBnd"], seen["NoNewPrivs"]) == (*[f"{1 << 1:016x}"] * 2, "1")
    assert (seen["Gid"].split()[0], seen["Groups"].split()) == ("33", ["29"])
    checks = (
        "[ $(cat /proc/sys/kernel/shmmax) = 67108864 ] && [ $(cat /proc/sys/net/core/somaxconn) = 77 ]",
        "[ $(stat -fc %T /cache) = tmpfs ] && [ $(stat -c %a /cache) = 1770 ]",
        "! cp /dev/zero /cache 2>/dev/null",
        "[ $(stat -fc %b /dev/shm) = 256 ]",
        "[ $(getent hosts db | cut -d' ' -f1) = 10.9.8.7 ] && getent hosts here",
        "[ $(systemctl show -p KillSignal --value stoneware-command.service) = 3 ]",
    )
    assert [lab.sh(check) for check in checks] == [0] * len(checks)
    lab.sh("touch /end")
    awaited(lab.platform, lab.name, lambda machine: machine is not None and machine.exit_code == 3)


def test_root_in_a_machine_is_nobody_here(lab: Bench) -> None:
    machine = lab.boot()
    assert Path(f"/proc/{machine.leader}").stat().st_uid > 65535
    assert lab.sh("touch /made && ! mknod /dev/sda9 b 8 9 2>/dev/null") == 0
    assert (lab.paths().rootfs / "made").stat().st_uid == 0


def test_a_name_in_use_is_told_with_the_remedy(lab: Bench) -> None:
    lab.boot()
    with pytest.raises(InputError, match="in use") as caught:
        lab.platform.create(lab.spec())
    assert f"stoneware rm -f {lab.name}" in caught.value.resolution


@pytest.mark.parametrize(
    "options",
    [
        {"name": "-x"},
        {"name": "a/b"},
        {"name": "x" * 64},
        {"hostname": "a_b"},
        {"restart": "sometimes"},
        {"restart": "always", "remove_when_stopped": True},
        {"source": "checkpoint:none"},
        {"source": "image:sha256:" + "0" * 64},
        {"memory": 1024},
        {"cpus": 0.0},
    ],
)
def test_bad_specs_leave_nothing(lab: Bench, options: dict[str, object]) -> None:
    before = sorted(path.name for path in (lab.store.data / "machines").iterdir())
    with pytest.raises(InputError):
        lab.platform.create(lab.spec(**options))
    assert sorted(path.name for path in (lab.store.data / "machines").iterdir()) == before


def test_execute_passes_words_environment_user_directory_and_code(
    lab: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.boot()
    words = ["a b", "$HOME", "'q'", '"d"', "line\nline", "é", "\\", "`id`", ""]
    capfd.readouterr()
    assert lab.platform.execute(lab.name, ["printf", "<%s>", *words]) == 0
    assert capfd.readouterr().out == "".join(f"<{word}>" for word in words)
    value = "x y\n$z'\"`id`"
    options = {"env": {"A": value}, "user": "daemon", "workdir": "/tmp"}
    assert lab.sh('printf "%s|%s|%s" "$A" "$PWD" "$(id -un)"; exit 3', **options) == 3
    assert capfd.readouterr().out == f"{value}|/tmp|daemon"
    assert lab.sh("kill -9 $$") == 137
    assert lab.platform.execute(lab.name, ["no-such-program"]) == 127
    assert lab.sh("tty; exit 5", tty=True) == 5
    assert "/dev/pts/" in capfd.readouterr().out
    with pytest.raises(InputError, match="no user"):
        lab.sh("true", user="nobody-there")


def test_volumes_outlive_machines_and_have_one_user(lab: Bench) -> None:
    volume = f"{lab.name}-data"
    mounts = (VolumeMount(volume, "/data"),)
    lab.boot(volumes=mounts)
    assert lab.sh("echo saved >/run/stoneware/volumes/0/file") == 0
    assert lab.platform.observe(lab.name).spec.metadata["stoneware-volumes"] == (  # type: ignore[union-attr]
        "/run/stoneware/volumes/0\t/data\trw\n"
    )
    with pytest.raises(InputError, match="in use"):
        lab.platform.create(lab.spec(name=f"{lab.name}-2", volumes=mounts))
    assert lab.platform.observe(f"{lab.name}-2") is None
    with pytest.raises(InputError, match="in use"):
        lab.store.remove_volume(volume)
    lab.platform.destroy(lab.name)
    lab.boot(volumes=mounts)
    assert lab.read("/run/stoneware/volumes/0/file") == "saved\n"
    assert (lab.store.volume_path(volume) / "file").stat().st_uid == 0


def test_a_builder_has_caches_and_checkpoints(lab: Bench) -> None:
    lab.boot(kind="builder", caches=(lab.name,))
    assert lab.sh("echo 1 >/run/stoneware/cache/0/x; echo one >/step") == 0
    key = f"test-{lab.name}"
    lab.platform.checkpoint(lab.name, key, {"n": 1})
    assert lab.sh("echo two >/step") == 0
    try:
        assert (lab.store.checkpoint_rootfs(key) / "step").read_text() == "one\n"
        assert lab.store.checkpoint_document(key) == {"n": 1}
        with pytest.raises(MachineError, match="still runs"):
            lab.platform.capture(lab.name, b"{}", {})
        lab.platform.stop(lab.name)
        image = lab.platform.capture(lab.name, f'{{"n": "{lab.name}"}}'.encode(), {})
        assert (lab.store.image_rootfs(image) / "step").read_text() == "two\n"
        lab.store.remove_image(image)
    finally:
        lab.store.remove_checkpoint(key)
    assert (lab.store.cache_path(lab.name) / "x").read_text() == "1\n"


def test_a_read_only_machine_forgets(lab: Bench) -> None:
    lab.boot(read_only=True)
    assert lab.sh("echo x >/etc/forgotten && touch /usr/bin/new") == 0
    lab.platform.stop(lab.name)
    assert not (lab.paths().rootfs / "etc/forgotten").exists()
    lab.platform.start(lab.name)
    lab.booted()
    assert lab.sh("[ ! -e /etc/forgotten ] && [ ! -e /usr/bin/new ]") == 0


def test_memory_is_limited(lab: Bench) -> None:
    need_controllers("memory", "cpu")
    lab.boot(memory=192 << 20, cpus=0.5)
    assert lab.sh("exec tail /dev/zero") == 137  # it keeps what it has read, which has no end
    assert lab.sh("systemctl is-system-running --quiet") == 0


def test_a_machine_that_reboots_comes_back(lab: Bench) -> None:
    leader = lab.boot().leader
    lab.sh("systemctl reboot")
    back = awaited(lab.platform, lab.name, lambda m: m is not None and m.leader not in (None, leader), 20)
    assert back is not None
    lab.booted()


def test_restart_policy_and_its_limit(lab: Bench) -> None:
    leaders = [lab.boot(restart="on-failure:1").leader]
    os.kill(leaders[0] or 0, signal.SIGKILL)
    back = awaited(lab.platform, lab.name, lambda m: m is not None and m.leader not in (None, *leaders), 20)
    assert back is not None
    lab.booted()
    os.kill(back.leader or 0, signal.SIGKILL)
    over = awaited(lab.platform, lab.name, Phase.STOPPED, 20)
    assert over is not None
    assert over.exit_code == 137


def test_a_stop_ends_the_restarts(lab: Bench) -> None:
    lab.boot(restart="always")
    lab.platform.stop(lab.name)
    assert not lab.processes().alive


def test_removed_when_stopped(lab: Bench) -> None:
    lab.boot(remove_when_stopped=True)
    lab.sh("systemctl poweroff")
    assert awaited(lab.platform, lab.name, lambda machine: machine is None, 20) is None


def test_a_killed_nspawn_is_seen_and_survived(lab: Bench) -> None:
    lab.boot()
    os.kill(lab.processes().nspawn or 0, signal.SIGKILL)
    over = awaited(lab.platform, lab.name, Phase.STOPPED, 10)
    assert over is not None
    assert over.exit_code == 137
    lab.platform.start(lab.name)
    lab.booted()


def noted(lab: Bench, name: str) -> tuple[int, int]:
    """Return the process id in run/NAME and when that process began."""
    pid, start = (lab.paths().run / name).read_text().split()
    return int(pid), int(start)


def test_a_machine_without_shim_and_nspawn_is_still_ended(lab: Bench) -> None:
    lab.boot()
    leader = noted(lab, "leader")
    for name in ("shim", "nspawn"):
        os.kill(noted(lab, name)[0], signal.SIGKILL)
    lab.platform.stop(lab.name, timeout=5)
    assert not lab.processes().alive
    assert not ProcessIdentity(*leader).alive


def test_a_first_process_that_nobody_has_noted_is_ended_as_well(lab: Bench) -> None:
    lab.boot()
    leader, nspawn = noted(lab, "leader"), noted(lab, "nspawn")
    os.kill(noted(lab, "shim")[0], signal.SIGKILL)
    (lab.paths().run / "leader").unlink()  # the shim was killed before it knew
    os.kill(nspawn[0], signal.SIGKILL)
    assert wait_until(lambda: not ProcessIdentity(*nspawn).alive, 300)
    assert ProcessIdentity(*leader).alive
    lab.platform.destroy(lab.name)
    assert wait_until(lambda: not ProcessIdentity(*leader).alive, 300)


def test_an_ended_machine_stands_still_while_the_kernel_takes_it_down(lab: Bench) -> None:
    lab.boot()
    counter = lab.paths().rootfs / "counter"
    # In a group of its own, below that of the machine, as each service is.
    lab.sh("systemd-run --quiet sh -c 'while :; do echo x >>/counter; done'")
    assert wait_until(lambda: counter.exists() and counter.stat().st_size > 100, 300)
    kill.end(lab.paths())
    counted = counter.stat().st_size
    assert kill.has_ended(lab.paths())
    assert wait_until(lambda: not lab.processes().alive, 300)
    assert counter.stat().st_size == counted
    lab.platform.start(lab.name)
    lab.booted()


def test_a_machine_that_was_frozen_when_its_shim_died_starts_again(lab: Bench) -> None:
    lab.boot()
    group = kill._payload(lab.paths(), lab.processes())
    assert group is not None
    assert cgroups.freeze(group)
    for name in ("shim", "nspawn"):
        os.kill(noted(lab, name)[0], signal.SIGKILL)
    lab.platform.stop(lab.name, timeout=0)
    lab.platform.start(lab.name)
    lab.booted()


def test_a_machine_that_still_stops_is_started_once_it_has_stopped(lab: Bench) -> None:
    before = lab.boot().leader
    (lab.paths().run / "stop").touch()  # by a command that was killed then
    os.kill(before or 0, signal.SIGRTMIN + 4)
    after = lab.platform.start(lab.name)
    assert after.leader not in (None, before)
    lab.booted()


def test_looking_forks_nothing(lab: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.boot()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("forked")

    for name in ("fork", "posix_spawn", "posix_spawnp"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    assert lab.platform.observe(lab.name) is not None
    lab.platform.machines()
    assert recover(lab.store) is not None


def test_copying_in_and_out(lab: Bench, tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("content")
    (tmp_path / "tree/link").symlink_to("sub/file")
    (tmp_path / "a,b&c").write_text("odd")
    (tmp_path / "over/way").mkdir(parents=True)
    (tmp_path / "over/way/file").write_text("through")
    lab.boot()
    assert lab.sh("ln -s /srv /root/way") == 0
    lab.platform.copy_in(f"{tmp_path}/over/.", lab.name, "/root")
    assert lab.sh("test -L /root/way && test -f /srv/file") == 0
    for round_number in ("running", "stopped"):
        target = f"/root/{round_number}"
        lab.platform.copy_in(tmp_path / "tree", lab.name, target)
        lab.platform.copy_in(tmp_path / "a,b&c", lab.name, target)
        back = tmp_path / round_number
        lab.platform.copy_out(lab.name, target, back)
        assert (back / "sub/file").read_text() == "content"
        assert (back / "link").readlink() == Path("sub/file")
        assert (back / "a,b&c").read_text() == "odd"
        with pytest.raises(InputError, match="there is no /none"):
            lab.platform.copy_out(lab.name, "/none", tmp_path)
        with pytest.raises(InputError, match="no directory /none"):
            lab.platform.copy_in(tmp_path / "a,b&c", lab.name, "/none/x")
        lab.platform.stop(lab.name)


def test_a_link_in_a_stopped_machine_does_not_lead_out(lab: Bench, tmp_path: Path) -> None:
    lab.boot()
    lab.platform.stop(lab.name)
    secret = tmp_path / "secret"
    secret.mkdir()
    (lab.paths().rootfs / "out").symlink_to(secret)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError):
        lab.platform.copy_in(tmp_path / "file", lab.name, "/out/file")
    assert list(secret.iterdir()) == []


def test_a_machine_keeps_no_mount_of_another_store(lab: Bench, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "a store")
    try:
        lab.boot()
        leader, shim = lab.processes().leader, lab.processes().shim
        own = {Path(f"/proc/{pid}/ns/mnt").stat().st_ino for pid in (leader, shim)}
        # Services of the computer that see its mounts in a name space of their own have both.
        assert wait_until(lambda: not _holders(other.data) & own, 5), (_holders(other.data), own)
        assert _holders(lab.store.data) & own
    finally:
        teardown(other, remove=True)


def _holders(data: Path) -> set[int]:
    """Return the mount namespaces of processes that have a store mounted."""
    found = set()
    place = str(data).replace(" ", "\\040")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f" {place} " in (process / "mountinfo").read_text(errors="replace"):
                found.add((process / "ns/mnt").stat().st_ino)
    return found


def test_spec_survives_its_document() -> None:
    spec = MachineSpec(
        name="n", source="checkpoint:k", caches=("c",), volumes=(VolumeMount("v", "/v", True),)
    )
    document = machine_record.spec_document(spec)
    assert document["caches"] == ["c"]
    assert document["volumes"] == [{"volume": "v", "path": "/v", "read_only": True}]
