#!/usr/bin/env bash
# Starts the broker as Apache Kafka's script of this name does.
#
#   scripts/kafka-server-start.sh [-daemon] [-name NAME] [-loggc] server.properties [--override key=value]...
#
# In front, or with -daemon in the background: then it writes to LOG_DIR/kafkaServer.out (default: logs/ of the
# checkout), and its process id stands in LOG_DIR/broker.pid for kafka-server-stop.sh.
#
# Environment: BROKER   the binary (default: the newest of target/release and target/debug, else `broker` in PATH)
#              LOG_DIR  where a daemon writes
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

find_broker() {
  if [ -n "${BROKER:-}" ]; then
    echo "$BROKER"
    return
  fi
  local newest
  newest=$(ls -t "$root"/target/release/broker "$root"/target/debug/broker 2>/dev/null | head -n 1 || true)
  [ -n "$newest" ] || newest=$(command -v broker || true)
  if [ -z "$newest" ]; then
    echo "kafka-server-start.sh: there is no broker yet. Build it: cargo build --release -p broker" >&2
    exit 1
  fi
  echo "$newest"
}

daemon=false
while [ $# -gt 0 ]; do
  case $1 in
    -daemon) daemon=true && shift ;;
    # Of the Java machine: its name and its garbage collector's log. Nothing here answers to them.
    -name) shift 2 ;;
    -loggc) shift ;;
    *) break ;;
  esac
done
if [ $# -lt 1 ]; then
  echo "USAGE: $0 [-daemon] server.properties [--override property=value]*" >&2
  exit 1
fi

broker=$(find_broker)
if [ "$daemon" = false ]; then
  exec "$broker" "$@"
fi

log_dir=${LOG_DIR:-$root/logs}
mkdir -p "$log_dir"
nohup "$broker" "$@" >>"$log_dir/kafkaServer.out" 2>&1 </dev/null &
echo $! >"$log_dir/broker.pid"
