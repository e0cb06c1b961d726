"""Machines behind instances, and what they reach: the emulator's objects and secrets, and each other."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.emulator.test_machines import DEBIAN, SUBNET, Cloud, Z, assert_nothing_is_left, cloud, make_network
from tests.emulator.test_machines import body as plain

pytestmark = pytest.mark.machine
__all__ = ["cloud"]  # a fixture
SCOPE = "https://www.googleapis.com/auth/"
SCRIPT = r"""#!/bin/bash
at=http://169.254.169.254
md() { curl -sf -H Metadata-Flavor:Google "$at/computeMetadata/v1/instance/$1" "${@:2}"; }
token() { md service-accounts/default/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }
say() {
    code=$(curl -s -o /tmp/out -w '%{http_code}' -H "Authorization: Bearer ${TOKEN:-$(token)}" "${@:2}")
    echo "$1: $code $(head -c 200 /tmp/out | tr '\n' ' ')"
}
echo "token: $(md service-accounts/default/token -o /tmp/token -w '%{http_code}')"
say download "$at:8089/storage/v1/b/bucket/o/greeting?alt=media"
objects=$at:8089/upload/storage/v1/b/bucket/o
say upload -X POST --data-binary "$(token)" "$objects?uploadType=media&name=of-$(hostname)"
say secret "$at:8089/v1/projects/proj-1/secrets/s/versions/1:access"
say compute "$at:8089/compute/v1/projects/proj-1/zones/us-central1-a/instances"
TOKEN=$(md attributes/stolen) say stolen "$at:8089/bucket/greeting"
TOKEN=emulator say made-up "$at:8089/bucket/greeting"
while [ "$(md attributes/goes-on)" = yes ]; do
    say again "$at:8089/bucket/greeting"
    sleep 0.3
done
"""


def ask(cloud: Cloud, verb: str, path: str, content: Any = None) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(cloud.endpoint).netloc, timeout=60)
    try:
        connection.request(verb, path, content if isinstance(content, bytes) else json.dumps(content))
        reply = connection.getresponse()
        said = reply.read()
        assert reply.status == 200, said
        return said
    finally:
        connection.close()


def body(name: str, *scopes: str, script: str = SCRIPT, **metadata: str) -> dict[str, Any]:
    made = plain(name, DEBIAN)
    items = {"startup-script": script, **{key.replace("_", "-"): value for key, value in metadata.items()}}
    made["metadata"] = {"items": [{"key": key, "value": value} for key, value in items.items()]}
    if scopes:
        made["serviceAccounts"] = [{"email": "default", "scopes": [SCOPE + scope for scope in scopes]}]
    return made


def test_an_instance_reaches_objects_and_secrets_and_nothing_else(cloud: Cloud) -> None:
    instances = cloud.client.instances()
    make_network(cloud)
    ask(cloud, "POST", "/storage/v1/b?project=proj-1", {"name": "bucket"})
    ask(cloud, "POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=greeting", b"hello")
    ask(cloud, "POST", "/v1/projects/proj-1/secrets?secretId=s", {"replication": {"automatic": {}}})
    data = base64.b64encode(b"hunter2").decode()
    ask(cloud, "POST", "/v1/projects/proj-1/secrets/s:addVersion", {"payload": {"data": data}})

    cloud.do(instances.insert(**Z, body=body("k1", "devstorage.read_write", goes_on="yes")))
    said = cloud.serial("k1", "again: 200 hello")
    assert "token: 200" in said
    assert "download: 200 hello" in said
    assert "upload: 200 " in said
    assert "secret: 403 " in said
    assert "insufficient authentication scopes" in said
    assert "compute: 403 " in said
    assert "made-up: 401" in said
    token = ask(cloud, "GET", "/bucket/of-k1").decode()
    assert token.startswith("ya29.")
    found = json.loads(ask(cloud, "GET", f"/tokeninfo?access_token={token}"))
    assert found["scope"] == f"{SCOPE}devstorage.read_write"

    cloud.do(instances.insert(**Z, body=body("k2", "cloud-platform", stolen=token)))
    said = cloud.serial("k2", "made-up: 401")
    assert "download: 200 hello" in said
    assert "secret: 200" in said
    assert data in said
    assert "compute: 403 " in said
    assert "stolen: 401 " in said
    cloud.do(instances.insert(**Z, body=body("k3")))
    said = cloud.serial("k3", "made-up: 401")
    assert "token: 404" in said
    assert "download: 401 " in said

    # The next emulator listens on another port; instances find it where they found the last.
    cloud.end(signal.SIGKILL)
    cloud.start()
    instances = cloud.client.instances()
    cloud.serial("k1", "again: 200 hello", after="again: 503 ")
    for name in ("k1", "k2", "k3"):
        cloud.do(instances.delete(**Z, instance=name))
    forget_network(cloud)


#: Answers and asks on port 7000, over TCP and UDP, and says what it reaches whenever that changes.
PEER = r"""#!/bin/bash
at=http://169.254.169.254/computeMetadata/v1/instance/attributes
perl -MIO::Socket::INET -e '
    my $t = IO::Socket::INET->new(LocalPort => 7000, Listen => 9, Proto => "tcp", ReuseAddr => 1);
    while (1) { my $c = $t->accept(); close $c if $c }' >/dev/null 2>&1 &
perl -MIO::Socket::INET -e '
    my $u = IO::Socket::INET->new(LocalPort => 7000, Proto => "udp");
    while ($u->recv(my $m, 99)) { $u->send($m) }' >/dev/null 2>&1 &
while sleep 0.2; do
    now=$(perl -MIO::Socket::INET -e '
        for my $n (@ARGV) {
            my $t = IO::Socket::INET->new(PeerAddr => $n, PeerPort => 7000, Proto => "tcp", Timeout => 1);
            my $u = IO::Socket::INET->new(PeerAddr => $n, PeerPort => 7000, Proto => "udp");
            my $got = 0;
            if ($u) {
                $u->send("x");
                vec(my $v = "", fileno($u), 1) = 1;
                $got = select($v, undef, undef, 0.7);
            }
            print "$n:", $t ? "tcp" : "-", "/", $got > 0 ? "udp" : "-", " ";
        }' $(curl -sf -H Metadata-Flavor:Google "$at/peers"))
    if [ "$now" != "$last" ]; then echo "reaches $((count += 1)) $now"; fi
    last=$now
done
"""


def reaches(cloud: Cloud, name: str, wanted: str) -> None:
    """Wait until the last that an instance says of what it reaches is as wanted."""
    deadline = time.monotonic() + 300
    said: list[str] = []
    while time.monotonic() < deadline:
        text = str(cloud.client.instances().getSerialPortOutput(**Z, instance=name).execute()["contents"])
        said = [line.partition("reaches ")[2] for line in text.splitlines() if "reaches " in line]
        if said and said[-1].partition(" ")[2].strip() == wanted:
            return
        time.sleep(0.1)
    raise AssertionError((wanted, said))


def opens(address: str, seconds: float = 1) -> bool:
    """Say whether this computer gets a connection to port 7000 of an address within so many seconds."""
    try:
        socket.create_connection((address, 7000), timeout=seconds).close()
    except OSError:
        return False
    return True


def test_firewall_rules_act_on_machines_that_run(cloud: Cloud) -> None:
    instances, firewalls = cloud.client.instances(), cloud.client.firewalls()
    here = {"project": "proj-1"}
    make_network(cloud)
    for name, tags in (("web", ["web"]), ("db", ["db"]), ("other", [])):
        made = body(name, script=PEER, peers="web" if name == "db" else "db")
        cloud.do(instances.insert(**Z, body=made | {"tags": {"items": tags}}))
    for name, peer in (("web", "db"), ("other", "db"), ("db", "web")):
        reaches(cloud, name, f"{peer}:-/-")

    rule = {"name": "db", "network": "global/networks/n", "sourceTags": ["web"], "targetTags": ["db"]}
    ports = [{"IPProtocol": name, "ports": ["7000"]} for name in ("tcp", "udp")]
    cloud.do(firewalls.insert(**here, body=rule | {"allowed": ports[:1]}))
    reaches(cloud, "web", "db:tcp/-")
    cloud.do(firewalls.patch(**here, firewall="db", body={"allowed": ports, **fingerprint(cloud, "db")}))
    reaches(cloud, "web", "db:tcp/udp")
    reaches(cloud, "other", "db:-/-")
    reaches(cloud, "db", "web:-/-")

    deny = {"name": "no", "network": "global/networks/n", "priority": 10, "sourceRanges": [f"{SUBNET}.0/29"]}
    cloud.do(firewalls.insert(**here, body=deny | {"denied": [{"IPProtocol": "all"}], "targetTags": ["db"]}))
    reaches(cloud, "web", "db:-/-")
    cloud.do(firewalls.patch(**here, firewall="no", body={"disabled": True, **fingerprint(cloud, "no")}))
    reaches(cloud, "web", "db:tcp/udp")
    tags = instances.get(**Z, instance="other").execute()["tags"]
    cloud.do(instances.setTags(**Z, instance="other", body=tags | {"items": ["web"]}))
    reaches(cloud, "other", "db:tcp/udp")

    address = instances.get(**Z, instance="db").execute()["networkInterfaces"][0]["networkIP"]
    assert not opens(address)
    outside = {"name": "out", "network": "global/networks/n", "allowed": ports}
    cloud.do(firewalls.insert(**here, body=outside))
    deadline = time.monotonic() + 300
    while not opens(address):
        assert time.monotonic() < deadline
    reaches(cloud, "db", "web:tcp/udp")

    # Rules are the machines' own: they hold while no emulator runs, and the next one goes on.
    cloud.end(signal.SIGKILL)
    assert opens(address, 60)
    cloud.start()
    instances, firewalls = cloud.client.instances(), cloud.client.firewalls()
    for name in ("out", "no", "db"):
        cloud.do(firewalls.delete(**here, firewall=name))
    reaches(cloud, "web", "db:-/-")
    assert not opens(address)
    for name in ("web", "db", "other"):
        cloud.do(instances.delete(**Z, instance=name, noGracefulShutdown=True))
    forget_network(cloud)


def test_scripts_come_from_buckets_and_run_at_the_end(cloud: Cloud) -> None:
    instances = cloud.client.instances()
    make_network(cloud)
    ask(cloud, "POST", "/storage/v1/b?project=proj-1", {"name": "bucket"})
    for name, script in {
        "start": "echo from the bucket on $(hostname); echo kept >/root/kept",
        "stop": "echo ended >>/root/kept; sleep 2; echo slept >>/root/kept",
    }.items():
        path = f"/upload/storage/v1/b/bucket/o?uploadType=media&name=scripts/{name}"
        ask(cloud, "POST", path, f"#!/bin/bash\n{script}\n".encode())
    made = body(
        "k1", "devstorage.read_only", script="cat /root/kept", startup_script_url="gs://bucket/scripts/start"
    )
    cloud.do(instances.insert(**Z, body=made))
    said = cloud.serial("k1", "startup-script-url exit status 0")
    assert "startup-script exit status 1" in said
    assert "startup-script-url: from the bucket on k1" in said
    metadata = instances.get(**Z, instance="k1").execute()["metadata"]
    items = [item for item in metadata["items"] if item["key"] != "startup-script-url"]
    items.append(
        {"key": "shutdown-script-url", "value": "https://storage.googleapis.com/bucket/scripts/stop"}
    )
    cloud.do(instances.setMetadata(**Z, instance="k1", body=metadata | {"items": items}))
    noticed = "until systemctl -q is-active stoneware-shutdown.service; do sleep 0.1; done"
    cloud.inside("k1", noticed)
    cloud.do(instances.stop(**Z, instance="k1"))
    cloud.do(instances.start(**Z, instance="k1"))
    said = cloud.serial("k1", "startup-script exit status 0")
    assert "startup-script: kept" in said
    assert "startup-script: ended" in said
    assert "startup-script: slept" in said
    cloud.do(instances.delete(**Z, instance="k1", noGracefulShutdown=True))
    forget_network(cloud)


def fingerprint(cloud: Cloud, name: str) -> dict[str, Any]:
    found = cloud.client.firewalls().get(project="proj-1", firewall=name).execute()
    return {field: found[field] for field in ("fingerprint",) if field in found}


def forget_network(cloud: Cloud) -> None:
    cloud.do(cloud.client.subnetworks().delete(project="proj-1", region="us-central1", subnetwork="s"))
    cloud.do(cloud.client.networks().delete(project="proj-1", network="n"))
    cloud.end(signal.SIGTERM)
    assert_nothing_is_left(cloud.platform)


def test_googles_python_client_makes_a_machine(cloud: Cloud) -> None:
    compute = pytest.importorskip("google.cloud.compute_v1")
    from google.auth.credentials import AnonymousCredentials

    options = {"credentials": AnonymousCredentials(), "client_options": {"api_endpoint": cloud.endpoint}}
    instances, operations = compute.InstancesClient(**options), compute.ZoneOperationsClient(**options)

    def did(operation: Any) -> None:
        done = operations.wait(project="proj-1", zone=Z["zone"], operation=operation.name)
        assert done.status == compute.Operation.Status.DONE
        assert not done.error.errors, done.error

    make_network(cloud)
    script = "#!/bin/bash\ncurl -sf -X PUT --data-binary up -H Metadata-Flavor:Google " + (
        "http://metadata.google.internal/computeMetadata/v1/instance/guest-attributes/test/state\n"
    )
    made = body("k1", script=script, enable_guest_attributes="TRUE")
    resource = compute.Instance.from_json(json.dumps(made), ignore_unknown_fields=True)
    did(instances.insert_unary(project="proj-1", zone=Z["zone"], instance_resource=resource))
    (found,) = instances.list(project="proj-1", zone=Z["zone"])
    assert (found.name, found.status) == ("k1", "RUNNING")
    assert found.network_interfaces[0].network_i_p == f"{SUBNET}.2"
    cloud.serial("k1", "startup-script exit status 0")
    asked = compute.GetGuestAttributesInstanceRequest(
        project="proj-1", zone=Z["zone"], instance="k1", query_path="test/"
    )
    (entry,) = instances.get_guest_attributes(asked).query_value.items
    assert (entry.namespace, entry.key, entry.value) == ("test", "state", "up")

    metadata = instances.get(project="proj-1", zone=Z["zone"], instance="k1").metadata
    metadata.items.append(compute.Items(key="word", value="new"))
    at = {"project": "proj-1", "zone": Z["zone"], "instance": "k1"}
    did(instances.set_metadata_unary(**at, metadata_resource=metadata))
    items = instances.get(**at).metadata.items
    assert {item.key: item.value for item in items}["word"] == "new"
    did(instances.stop_unary(**at))
    assert instances.get(**at).status == "TERMINATED"
    did(instances.delete_unary(**at))
    assert not list(instances.list(project="proj-1", zone=Z["zone"]))
    forget_network(cloud)
