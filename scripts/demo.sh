#!/bin/sh
# Show what Stoneware does, with the examples: bake and run a web server, then a Kafka broker whose messages
# outlive its machine. Prints each command, both services' answers, and how long each phase took.
set -eu

cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
table=$(mktemp)
group=demo-$$ # a new consumer group reads from the beginning

clean_up() {
    stoneware rm -f demo-hello demo-kafka >/dev/null 2>&1 || true
    stoneware volume rm -f demo-kafka >/dev/null 2>&1 || true
}
trap 'clean_up; rm -f "$table"' EXIT
trap 'exit 130' INT TERM HUP

say() {
    printf '\n== %s\n' "$*"
}

# phase NAME COMMAND...: show a command, run it, note how long it took.
phase() {
    name=$1
    shift
    printf '$ %s\n' "$*"
    began=$(date +%s%N)
    "$@"
    printf '%s\t%s\n' "$name" "$((($(date +%s%N) - began) / 1000000))" >>"$table"
}

# field MACHINE EXPRESSION: a value of `inspect`, as Python sees its JSON.
field() {
    stoneware inspect "$1" | python -c "import json, sys; machine = json.load(sys.stdin); print($2)"
}

produce() {
    python scripts/demo_kafka.py produce "$1:9092" "$2"
}

consume() {
    python scripts/demo_kafka.py consume "$1:9092" "$group-$2"
}

clean_up
say 'What this computer has'
stoneware doctor

say 'A web server: bake an image in a builder that Terraform creates, tagged with the Git commit'
phase 'hello: bake (the first time with its base)' stoneware bake --progress plain -t hello examples/hello
phase 'hello: bake again, nothing changed' stoneware bake --progress plain -t hello examples/hello

say 'What would be rebuilt, and why'
stoneware bake --plan -t hello examples/hello

say 'The configuration a machine would have, rendered without booting one'
stoneware render hello -e GREETING='Hello from the demo'

say 'Boot a machine; its runtime config comes from the metadata server'
phase 'hello: boot to healthy' stoneware run -d --wait --name demo-hello -p 80 \
    -e GREETING='Hello from the demo' hello
stoneware ps

port=$(field demo-hello 'machine["ports"][0]["host_port"]')
say "Its answer, at port $port of this computer"
hello_answer=$(python -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:$port/').read().decode())")
printf '%s\n' "$hello_answer"

say 'A Kafka broker: Maven gets the jars in one stage, the image has a headless Java and a volume'
phase 'kafka: bake' stoneware bake --progress plain -t kafka examples/kafka
cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '__' | cut -c 1-22)
phase 'kafka: boot to healthy, formatting a blank disk' stoneware run -d --wait --name demo-kafka \
    -v demo-kafka:/var/lib/kafka -e CLUSTER_ID="$cluster" kafka
stoneware ps

say 'Messages through it, from this computer'
address=$(field demo-kafka 'machine["ip"]')
phase 'kafka: produce' produce "$address" 'fired once,never changed,made of stone'
phase 'kafka: consume' consume "$address" first

say 'Replace the machine; its volume is kept, and so are the messages'
phase 'kafka: replace the machine' sh -c "stoneware stop demo-kafka && stoneware rm demo-kafka &&
    stoneware run -d --wait --name demo-kafka -v demo-kafka:/var/lib/kafka -e CLUSTER_ID='$cluster' kafka"
address=$(field demo-kafka 'machine["ip"]')
phase 'kafka: consume the old messages' consume "$address" second >"$table.answer"
kafka_answer=$(sed 1d "$table.answer")
rm -f "$table.answer"
printf '%s\n' "$kafka_answer"

say 'The answers'
printf 'hello: %s\n' "$(printf '%s\n' "$hello_answer" | sed -n 's/.*<h1>\(.*\)<\/h1>.*/\1/p')"
printf 'kafka: %s\n' "$(printf '%s\n' "$kafka_answer" | paste -s -d '|' | sed 's/|/ | /g')"

say 'How long it took'
awk -F '\t' '{ printf "%-52s %8.1f s\n", $1, $2 / 1000 }' "$table"
printf '\nThe images stay: stoneware images. The demo machines are removed now.\n'
