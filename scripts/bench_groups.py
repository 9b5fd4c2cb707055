"""The part of scripts/bench about coordinators: groups, commits and transactions, and what they cost to remember.

Both brokers are loaded by benches/coordination, in the same order and with the same warm-up. Nothing here is a test: what
is timed depends on the machine, and only ratios count.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

PARTS = ("heartbeats", "commits", "transactions", "rebalance", "memory", "loading")

# name, unit, whether less is better, and what to reach as ours / Apache
MEASURES = [
    ("CPU per heartbeat", "us", True, "<= 0.33"),
    ("heartbeat 50th", "ms", True, ""),
    ("heartbeat 99th", "ms", True, "<= 1"),
    ("commits per CPU second, one group", "1/s", False, ">= 3"),
    ("commit 99th, one group", "ms", True, "<= 1"),
    ("commits per CPU second, many groups", "1/s", False, ">= 3"),
    ("commit 99th, many groups", "ms", True, "<= 1"),
    ("commits per CPU second, 10 partitions", "1/s", False, ">= 3"),
    ("commit 99th, 10 partitions", "ms", True, "<= 1"),
    ("transactions, 1 partition", "1/s", False, ">= 1"),
    ("CPU per transaction, 1 partition", "us", True, "<= 0.33"),
    ("transaction 99th, 1 partition", "ms", True, "<= 1"),
    ("transactions, 50 partitions", "1/s", False, ">= 1"),
    ("CPU per transaction, 50 partitions", "us", True, "<= 0.33"),
    ("transaction 99th, 50 partitions", "ms", True, "<= 1"),
    ("rebalance", "ms", True, "<= 1"),
    ("CPU per rebalance", "ms", True, "<= 0.33"),
    ("memory per group", "bytes", True, ""),
    ("memory per member", "bytes", True, ""),
    ("memory per producer id", "bytes", True, ""),
    ("memory per transactional id", "bytes", True, ""),
    ("start to committed offsets", "ms", True, "<= 0.33"),
    ("loading them, after the first answer", "ms", True, ""),
    ("start to transactional ids", "ms", True, "<= 0.33"),
    ("loading these, after the first answer", "ms", True, ""),
]

SETTINGS = [
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    # Members of a new group have the time to turn up that they have by default.
    "group.initial.rebalance.delay.ms=3000",
]


def add_arguments(parser):
    group = parser.add_argument_group("with --groups")
    group.add_argument(
        "--groups", nargs="*", metavar="PART", choices=PARTS,
        help=f"measure the coordinators of groups and transactions instead: {', '.join(PARTS)} (default all)",
    )
    group.add_argument("--members", type=int, default=10_000, help="that send heartbeats (default 10000, ten a group)")
    group.add_argument("--connections", type=int, help="that they share (default: one each, as far as ulimit -n goes)")
    group.add_argument("--rebalanced", type=int, default=1_000, help="members of the group that rebalances (default 1000)")
    group.add_argument("--remembered", type=int, default=100_000, help="offsets and ids to remember (default 100000)")
    group.add_argument("--seconds", type=float, default=15, help="measured of each load, after two thirds of it to warm up (default 15)")


def shrink(arguments):
    """--quick."""
    arguments.members, arguments.rebalanced = arguments.members // 10, arguments.rebalanced // 10
    arguments.remembered, arguments.seconds = arguments.remembered // 10, arguments.seconds / 3


class Load:
    """benches/coordination against one broker."""

    def __init__(self, program, turn, arguments):
        self.program, self.turn = program, turn
        self.span = ["--warm-up", str(arguments.seconds * 2 / 3), "--seconds", str(arguments.seconds)]

    def target(self):
        return ["--broker", f"127.0.0.1:{self.turn.port}"]

    def measured(self, kind, *arguments):
        """Runs it and returns its figures."""
        return self.run(kind, *self.target(), "--pid", str(self.turn.process.pid), *arguments)

    def run(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"scripts/bench: the load {' '.join(map(str, arguments))} failed")
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        return {name: float(value) for name, value, _ in rows}


def built(root):
    """The load generator."""
    command = ["cargo", "build", "-q", "--release", "-p", "broker", "--bench", "coordination", "--message-format", "json"]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    [program] = [it["executable"] for it in messages if it.get("executable") and it["target"]["name"] == "coordination"]
    return program


def live_bytes(bench, turn):
    """What the broker remembers takes: the live objects of a Java heap, else the memory that is no file's."""
    if turn.seat != bench.APACHE:
        return bench.memory_mb(turn.process.pid, "RssAnon") * 1e6
    done = subprocess.run(["jcmd", str(turn.process.pid), "GC.class_histogram"], capture_output=True, text=True)
    total = [line.split() for line in done.stdout.splitlines() if line.startswith("Total")]
    if not total:
        raise SystemExit(f"scripts/bench: jcmd does not tell the heap of {turn.seat}\n{done.stdout[-500:]}{done.stderr}")
    return float(total[-1][-1])


def settled_bytes(bench, turn):
    """The same once it no longer shrinks: buffers are given back some time after their connections have gone."""
    least = live_bytes(bench, turn)
    for _ in range(5):
        time.sleep(1)
        now = live_bytes(bench, turn)
        if now > 0.99 * least:
            return min(now, least)
        least = min(now, least)
    return least


def named(figures, suffix, *names):
    return {f"{name}, {suffix}": figures[name] for name in names}


def busy(bench, load, parts, arguments, figures):
    """What is measured under load, all on one broker."""
    seat = load.turn.seat
    if "heartbeats" in parts:
        count, groups = arguments.members, max(1, arguments.members // 10)
        connections = arguments.connections or count
        bench.say(f"{seat}: {count} members in {groups} groups send heartbeats over {connections} connections")
        figures |= load.measured(
            "heartbeats", "--groups", groups, "--members", count, "--connections", connections, *load.span
        )
    if "commits" in parts:
        names = "commits per CPU second", "commit 99th"
        for suffix, groups, members, partitions in (
            ("one group", 1, 50, 1), ("many groups", 1000, 1000, 1), ("10 partitions", 1000, 1000, 10),
        ):
            bench.say(f"{seat}: commits of {members} members in {groups} groups, {partitions} offsets each")
            shape = ["--groups", groups, "--members", members, "--partitions", partitions]
            figures |= named(load.measured("commits", *shape, *load.span), suffix, *names)
    if "transactions" in parts:
        names = "transactions", "CPU per transaction", "transaction 99th"
        for suffix, partitions in (("1 partition", 1), ("50 partitions", 50)):
            bench.say(f"{seat}: transactions of {suffix}")
            measured = load.measured("transactions", "--partitions", partitions, *load.span)
            figures |= named(measured, suffix, *names)
    if "rebalance" in parts:
        bench.say(f"{seat}: rebalances of {arguments.rebalanced} members")
        figures |= load.measured("rebalances", "--members", arguments.rebalanced)


def memory(bench, load, arguments, figures):
    """Bytes of each of many, by what the broker holds before and after."""
    turn, count = load.turn, arguments.remembered
    bench.say(f"{turn.seat}: memory of {count} groups, members, producer ids and transactional ids each")
    leave = lambda *what: load.run("leave", *load.target(), *what)
    # Topics, coordinators and code are there already.
    leave("groups", "--count", 100)
    # As many as are measured: what their connections took while they were there is not given back at once.
    leave("members", "--groups", max(1, count // 100), "--count", count // 10)
    leave("producer-ids", "--count", 100)
    leave("transactional-ids", "--count", 100)
    for name, number, what in (
        ("memory per group", count, ["groups", "--count", count]),
        ("memory per member", count // 10, ["members", "--groups", max(1, count // 100), "--count", count // 10]),
        ("memory per producer id", count, ["producer-ids", "--count", count]),
        ("memory per transactional id", count, ["transactional-ids", "--count", count]),
    ):
        before = settled_bytes(bench, turn)
        leave(*what)
        figures[name] = (settled_bytes(bench, turn) - before) / number


def loading(bench, load, arguments, figures):
    """Times from the start of the process until the coordinators answer for what lies in one partition each."""
    turn, count = load.turn, arguments.remembered
    bench.say(f"{turn.seat}: {count} committed offsets and as many transactional ids")
    load.run("leave", *load.target(), "groups", "--count", count // 10, "--partitions", 10)
    load.run("leave", *load.target(), "transactional-ids", "--count", count)
    for what, total, after in (
        ("groups", "start to committed offsets", "loading them, after the first answer"),
        ("transactional-ids", "start to transactional ids", "loading these, after the first answer"),
    ):
        turn.stop()
        bench.say(f"{turn.seat}: starts again")
        started = time.monotonic()
        turn.boot()
        first_answer = time.monotonic()
        load.run("await", *load.target(), what)
        figures[total] = (time.monotonic() - started) * 1000
        figures[after] = (time.monotonic() - first_answer) * 1000


def run(bench, folder, zookeeper_port, binary, arguments):
    parts = arguments.groups or PARTS
    bench.say("building the load generator")
    program = built(bench.ROOT)
    seats = {"ours": [bench.OURS], "apache": [bench.APACHE], None: [bench.APACHE, bench.OURS]}[arguments.seat]
    one_partition = ["offsets.topic.num.partitions=1", "transaction.state.log.num.partitions=1"]
    found = {}
    for seat in seats:
        figures = found[seat] = {}
        for name, measure, settings in (
            ("busy", lambda load: busy(bench, load, parts, arguments, figures), []),
            ("memory", lambda load: memory(bench, load, arguments, figures), []),
            ("loading", lambda load: loading(bench, load, arguments, figures), one_partition),
        ):
            wanted = name in parts if name in PARTS else not set(parts).isdisjoint(PARTS[:4])
            if not wanted:
                continue
            own = pathlib.Path(folder) / f"{name}-{'apache' if seat == bench.APACHE else 'ours'}"
            own.mkdir()
            turn = bench.Turn(seat, own, zookeeper_port, binary, SETTINGS + settings)
            try:
                measure(Load(program, turn, arguments))
            finally:
                turn.stop()
            shutil.rmtree(own)
    return found


def print_table(bench, found, arguments):
    apache, ours = found.get(bench.APACHE, {}), found.get(bench.OURS, {})
    show = lambda figures, name: f"{figures[name]:,.2f}" if name in figures else "-"
    print(f"{'':40} {'unit':6} {bench.APACHE:>14} {bench.OURS:>14} {'ratio':>8}  to reach")
    for name, unit, _, goal in MEASURES:
        if name in apache or name in ours:
            ratio = f"{ours[name] / apache[name]:8.3f}" if apache.get(name) and name in ours else " " * 8
            print(f"{name:40} {unit:6} {show(apache, name):>14} {show(ours, name):>14} {ratio}  {goal}")
    print(
        f"\nMemory: the live objects of Apache's heap, and all anonymous memory of ours. {arguments.members} members send"
        f" heartbeats every 3 s; {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}."
    )
