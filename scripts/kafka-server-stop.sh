#!/usr/bin/env bash
# Stops the brokers of this machine that run under this user, as Apache Kafka's script of this name does: SIGTERM,
# then it returns without waiting. A process counts by its name, `broker`.
#
#   scripts/kafka-server-stop.sh            every broker of this user
#   scripts/kafka-server-stop.sh --wait     and return when they are gone
#   LOG_DIR=/var/log/kafka scripts/kafka-server-stop.sh --pid    only the daemon started with that LOG_DIR
#
# SIGNAL in the environment replaces TERM.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
signal=${SIGNAL:-TERM}
wait=false
only_daemon=false
for argument in "$@"; do
  case $argument in
    --wait) wait=true ;;
    --pid) only_daemon=true ;;
    # Kafka's options for brokers by role or node id belong to KRaft.
    *)
      sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
      exit 1
      ;;
  esac
done

running() {
  if [ "$only_daemon" = true ]; then
    local pid
    pid=$(cat "${LOG_DIR:-$root/logs}/broker.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = broker ]; then echo "$pid"; fi
    return
  fi
  pgrep -u "$(id -u)" -x broker || true
}

pids=$(running)
if [ -z "$pids" ]; then
  echo "No kafka server to stop" >&2
  exit 1
fi
# shellcheck disable=SC2086 # one word for each process
kill -s "$signal" $pids
if [ "$wait" = true ]; then
  for pid in $pids; do
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  done
fi
