#!/bin/sh
# Roll the Kafka cluster of examples/kafka-cluster from one version to the next while a producer writes to it, and
# show what the producer has seen of it. The cluster stays: `make clean` there removes it.
#
#   OLD, NEW   the versions (4.2.1, 4.3.1)
#   RATE       messages per second (300)
#   MONITOR    how long each new broker has to be well before the next one goes (10s)
set -eu

cd "$(dirname "$0")/.."
root=$PWD
PATH="$root/.venv/bin:$PATH"
work=$root/build/rollout-demo
export MONITOR="${MONITOR:-10s}"
old=${OLD:-4.2.1} new=${NEW:-4.3.1}
mkdir -p "$work"
rm -f "$work"/*

probe=
clean_up() {
    [ -z "$probe" ] || kill -KILL "$probe" 2>/dev/null || true
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() {
    printf '\n== %s\n' "$*"
}

# shown COMMAND...: show a command and run it in the cluster's directory.
shown() {
    printf '$ %s\n' "$*"
    (cd examples/kafka-cluster && env "$@")
}

# seconds_of_load: for how many seconds the producer has run.
seconds_of_load() {
    if [ -e "$work/curve.jsonl" ]; then wc -l <"$work/curve.jsonl"; else echo 0; fi
}

# load_for SECONDS: wait until the producer has run for that much longer.
load_for() {
    wanted=$(($(seconds_of_load) + $1))
    while [ "$(seconds_of_load)" -lt "$wanted" ]; do
        kill -0 "$probe" 2>/dev/null || {
            cat "$work/probe.log" >&2
            exit 1
        }
        sleep 0.2
    done
}

say "Bake both versions"
for version in "$old" "$new"; do
    shown stoneware bake --progress plain -t "kafka:$version" --build-arg "KAFKA_VERSION=$version" ../kafka
done

say "Three brokers of $old"
shown KAFKA_VERSION="$old" stoneware up --yes || {
    echo "rollout-demo: if the cluster has been rolled out before: make -C examples/kafka-cluster clean" >&2
    exit 1
}

say "A producer with acks=all writes ${RATE:-300} messages a second from now on"
python -m bench.kafka_probe --bootstrap 127.0.0.1:9091,127.0.0.1:9092,127.0.0.1:9093 --topic "demo-$$" \
    --rate "${RATE:-300}" --curve "$work/curve.jsonl" >"$work/probe.json" 2>"$work/probe.log" &
probe=$!
load_for 5

say "Roll them to $new"
shown KAFKA_VERSION="$new" stoneware rollout
load_for 3

say "Stop the producer, read everything back, count"
kill -TERM "$probe"
wait "$probe" || true
probe=
python - "$work/probe.json" <<'END'
import json, sys

found = json.load(open(sys.argv[1]))
latency = found["latency_ms"]
print(f"acknowledged        {found['acked']:>9,}   in {found['seconds']:g} s")
print(f"lost                {found['lost']:>9,}")
print(f"twice               {found['duplicates']:>9,}")
print(f"longest gap         {found['longest_gap_s']:>9.2f} s between two acknowledgements")
print(f"latency p50         {latency['p50']:>9.1f} ms")
print(f"latency p99         {latency['p99']:>9.1f} ms")
print(f"latency max         {latency['max']:>9.1f} ms")
sys.exit(1 if found["lost"] or found["offsets_went_back"] else 0)
END

say "The rollout as a page"
shown KAFKA_VERSION="$new" stoneware rollout report -o "$work/rollout.html" --probe "$work/curve.jsonl"
printf '\nThe cluster stays. Remove it with: make -C examples/kafka-cluster clean\n'
