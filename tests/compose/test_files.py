"""Which files are read, what the cluster is called, and what stands on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stoneware.compose.files import directory_name, find_files, normal_name
from stoneware.compose.load import load_cluster
from stoneware.compose.model import Cluster
from stoneware.compose.resolved import to_document, to_yaml
from stoneware.errors import InputError

TEXT = "services: {web: {image: x}}\n"


def write(directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(TEXT)


def load(
    directory: Path,
    *,
    env_files: Sequence[Path] = (),
    project_name: str | None = None,
    scale: Mapping[str, int] | None = None,
    check_secrets: bool = True,
) -> Cluster:
    return load_cluster(
        None,
        directory=directory,
        environment={},
        env_files=env_files,
        project_name=project_name,
        scale=scale,
        check_secrets=check_secrets,
    )


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("compose.yml", "compose.yaml", "machines.yml", "machines.yaml"), ["machines.yaml"]),
        (("compose.yml", "compose.yaml", "machines.yml"), ["machines.yml"]),
        (("compose.yml", "compose.yaml"), ["compose.yaml"]),
        (("compose.yml", "docker-compose.yml"), ["compose.yml"]),
        (("docker-compose.yaml", "docker-compose.yml"), ["docker-compose.yml"]),
        (("docker-compose.yaml",), ["docker-compose.yaml"]),
        (
            ("docker-compose.yml", "docker-compose.override.yml"),
            ["docker-compose.yml", "docker-compose.override.yml"],
        ),
        (("compose.yaml", "docker-compose.override.yml"), ["compose.yaml", "docker-compose.override.yml"]),
        (
            ("docker-compose.yml", "docker-compose.override.yml", "compose.override.yaml"),
            ["docker-compose.yml", "compose.override.yaml"],
        ),
        (("compose.yaml", "compose.override.yaml"), ["compose.yaml", "compose.override.yaml"]),
        (("compose.yaml", "compose.override.yml"), ["compose.yaml", "compose.override.yml"]),
        (("machines.yaml", "compose.override.yaml"), ["machines.yaml"]),
        (("machines.yml", "machines.override.yaml"), ["machines.yml", "machines.override.yaml"]),
    ],
)
def test_the_first_name_is_taken_with_its_override(
    tmp_path: Path, names: tuple[str, ...], found: list[str]
) -> None:
    write(tmp_path, *names)
    assert find_files(tmp_path) == [tmp_path / name for name in found]


def test_directories_above_are_looked_into(tmp_path: Path) -> None:
    write(tmp_path, "compose.yaml", "compose.override.yaml")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "machines.yaml").mkdir()  # a directory is no file
    assert find_files(below) == [tmp_path / "compose.yaml", tmp_path / "compose.override.yaml"]
    assert load(below).directory == tmp_path


def test_compose_file_names_them(tmp_path: Path) -> None:
    write(tmp_path, "compose.yaml", "one.yaml", "two.yaml")
    (tmp_path / ".env").write_text("COMPOSE_FILE=one.yaml:$MORE\nMORE=no.yaml\n")
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    assert find_files(tmp_path, {"MORE": "two.yaml"}) == [one, two]
    assert find_files(tmp_path, {"COMPOSE_FILE": "two.yaml"}) == [two]
    assert find_files(tmp_path, {"COMPOSE_FILE": "two.yaml;one.yaml", "COMPOSE_PATH_SEPARATOR": ";"}) == [
        two,
        one,
    ]
    (tmp_path / "other.env").write_text("COMPOSE_FILE=two.yaml\n")
    assert find_files(tmp_path, {}, [Path("other.env")]) == [two]
    assert find_files(tmp_path, {"COMPOSE_FILE": ""}) == [tmp_path / "compose.yaml"]
    write(tmp_path, "machines.yaml")
    assert find_files(tmp_path, {"COMPOSE_FILE": "two.yaml"}) == [tmp_path / "machines.yaml"]


def test_a_file_that_is_missing_is_told_with_what_shows_it(tmp_path: Path) -> None:
    (tmp_path / "my files").mkdir()
    with pytest.raises(InputError) as caught:
        load_cluster([Path("my files/a.yaml")], directory=tmp_path, environment={})
    assert caught.value.resolution == f"ls -la '{tmp_path}/my files'"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_files(tmp_path)
    assert "there is no machines.yaml" in caught.value.brief
    example = caught.value.resolution.partition("\n")[2]
    (tmp_path / "machines.yaml").write_text(example)
    assert load(tmp_path).machines[0].name == "web-1"


def test_given_files_are_relative_to_the_directory(tmp_path: Path) -> None:
    write(tmp_path / "x", "one.yaml")
    for given in (Path("x/one.yaml"), tmp_path / "x" / "one.yaml"):
        cluster = load_cluster([given], directory=tmp_path, environment={})
        assert (cluster.files, cluster.directory) == ((tmp_path / "x" / "one.yaml",), tmp_path / "x")
        assert cluster.machines[0].place.file == "x/one.yaml"


def test_a_given_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read gone\.yaml") as caught:
        load_cluster([Path("gone.yaml")], directory=tmp_path, environment={})
    assert caught.value.exit_code == 2


def test_a_given_env_file_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "machines.yaml")
    with pytest.raises(InputError, match=r"cannot read the env file gone\.env"):
        load(tmp_path, env_files=[Path("gone.env")])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My_App", "my-app"),
        ("a b.c", "a-b-c"),
        ("-x-", "x"),
        ("Ünï", "n"),
        ("日本", ""),
        ("a" * 70, "a" * 63),
    ],
)
def test_the_name_of_a_directory(text: str, name: str, tmp_path: Path) -> None:
    assert normal_name(text) == name
    if name:
        assert directory_name(tmp_path / text) == name
    else:
        with pytest.raises(InputError, match="gives the cluster no name"):
            directory_name(tmp_path / text)


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a.b", "a" * 64])
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    write(tmp_path, "machines.yaml")
    with pytest.raises(InputError, match="cannot be a cluster's name"):
        load(tmp_path, project_name=name)
    with pytest.raises(InputError, match=r"COMPOSE_PROJECT_NAME: .* cannot be a cluster's name"):
        load_cluster(None, directory=tmp_path, environment={"COMPOSE_PROJECT_NAME": name})


def test_scale(tmp_path: Path) -> None:
    write(tmp_path, "machines.yaml")
    assert len(load(tmp_path, scale={"web": 2}).machines) == 2
    with pytest.raises(InputError, match="there is no service 'wbe'") as caught:
        load(tmp_path, scale={"wbe": 2})
    assert caught.value.resolution == "--scale web=2"
    with pytest.raises(InputError, match="a number is 0 to"):
        load(tmp_path, scale={"web": -1})


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text(
        "services: {web: {image: x, secrets: [key]}}\nsecrets: {key: {environment: KEY}}\n"
    )
    cluster = load_cluster(None, directory=tmp_path, environment={"KEY": "hunter2-secret"})
    assert "hunter2-secret" not in repr(cluster) + to_yaml(to_document(cluster))
    value = cluster.secrets["key"].value
    assert value is not None
    assert value.reveal() == "hunter2-secret"


STORED = "secret://projects/proj-1/secrets/db_password/versions/3"


def test_a_secret_may_be_in_secret_manager(tmp_path: Path) -> None:
    text = f"services: {{web: {{image: x, secrets: [key]}}}}\nsecrets: {{key: {{file: '{STORED}'}}}}\n"
    (tmp_path / "machines.yaml").write_text(text)
    cluster = load(tmp_path)
    source = cluster.secrets["key"]
    assert (source.stored, source.version, source.file) == ("projects/proj-1/secrets/db_password", "3", None)
    assert f"file: {STORED}" in to_yaml(to_document(cluster))


@pytest.mark.parametrize("ending", ["latest", "0", "3/x", "", "1 2"])
def test_a_secret_of_secret_manager_has_a_version(tmp_path: Path, ending: str) -> None:
    address = STORED.removesuffix("3") + ending
    text = f"services: {{web: {{image: x, secrets: [key]}}}}\nsecrets: {{key: {{file: '{address}'}}}}\n"
    (tmp_path / "machines.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert "is no version of a secret in Secret Manager" in str(caught.value)
    assert caught.value.location.endswith("machines.yaml:2:23")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {web: {image: x, configs: [key]}}\nconfigs: ", "a config is not in Secret Manager"),
        (
            "services: {web: {image: x, build: {context: ., secrets: [key]}}}\nsecrets: ",
            "the secret 'key' of a bake is in Secret Manager",
        ),
    ],
)
def test_what_is_not_in_secret_manager(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "machines.yaml").write_text(f"{text}{{key: {{file: '{STORED}'}}}}\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert said in str(caught.value)


def test_a_command_that_makes_no_machine_needs_no_secret(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_text(
        "services: {web: {image: x, secrets: [a, b]}}\nsecrets: {a: {file: gone}, b: {environment: GONE}}\n"
    )
    with pytest.raises(InputError, match="the cluster has 2 faults"):
        load(tmp_path)
    secrets = load(tmp_path, check_secrets=False).secrets
    assert (secrets["a"].file, secrets["b"].value) == (tmp_path / "gone", None)
