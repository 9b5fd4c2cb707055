"""The storage part of scripts/bench: readers of old segments, compaction, and starts after a kill and a clean stop.

Everything is measured on both brokers in one run, each on files of its own. Nothing here is a test: what is timed
depends on the machine, and only ratios count.
"""

import json
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import time

# name, unit, and what to reach as ours / Apache
MEASURES = [
    ("compacted per CPU second", "MB", ">= 2"),
    ("producer 99th beside catch-up", "ms", "<= 1"),
    ("catch-up reads", "MB/s", ""),
    ("first answer after kill -9", "ms", "<= 0.05"),
    ("all led after kill -9", "ms", ""),
    ("read until the first answer", "MB", ""),
    ("first answer after a clean stop", "ms", ""),
    ("all led after a clean stop", "ms", ""),
    ("CPU until then", "s", ""),
    ("resident memory then", "MB", ""),
]
# Unit: bytes.
SPREAD_RECORD = 10_000
COMPACTED_VALUE = 1_000
# Of one topic of the cold start.
PARTITIONS_EACH = 100


def ask(bench, port, key, version, body, timeout=600):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        frame = struct.pack(">hhih", key, version, 1, -1) + body
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        length = struct.unpack(">i", bench.received(connection, 4))[0]
        return bench.received(connection, length)


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def create_topics(bench, port, topics, partitions, configs=()):
    """CreateTopics v1, answered when all of them have leaders; fails where one could not be made."""
    body = struct.pack(">i", len(topics))
    for topic in topics:
        body += text(topic) + struct.pack(">ihi", partitions, 1, 0) + struct.pack(">i", len(configs))
        for name, value in configs:
            body += text(name) + text(value)
    answer = ask(bench, port, 19, 1, body + struct.pack(">ib", 600_000, 0))
    at = 8
    for _ in topics:
        (length,) = struct.unpack_from(">h", answer, at)
        at += 2 + length
        error, message = struct.unpack_from(">hh", answer, at)
        at += 4 + max(message, 0)
        if error:
            raise SystemExit(f"scripts/bench: a topic was not made, error {error}")


def all_led(bench, port, topics, partitions):
    """Whether every partition says where its log ends (ListOffsets v1)."""
    body = struct.pack(">ii", -1, len(topics))
    for topic in topics:
        body += text(topic) + struct.pack(">i", partitions)
        body += b"".join(struct.pack(">iq", partition, -1) for partition in range(partitions))
    try:
        answer = ask(bench, port, 2, 1, body)
    except (OSError, EOFError):
        return False
    at = 8
    for _ in topics:
        (length,) = struct.unpack_from(">h", answer, at)
        at += 2 + length + 4
        for _ in range(partitions):
            if struct.unpack_from(">h", answer, at + 4)[0]:
                return False
            at += 22
    return True


def read_mb(pid):
    """What the process has read, from files and sockets."""
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1]) / 1e6


class Storage:
    """One seat, from its first start to its last stop."""

    def __init__(self, bench, seat, folder, zookeeper_port, binary, options):
        self.bench, self.seat, self.options, self.figures = bench, seat, options, {}
        settings = [
            "log.segment.bytes=67108864", "log.cleaner.backoff.ms=1000",
            # What a part leaves is gone before the next is measured.
            "log.segment.delete.delay.ms=100",
        ]
        self.turn = bench.Turn(seat, folder, zookeeper_port, binary, settings)

    def run(self, parts):
        does = {"compaction": self.compaction, "old": self.old_segments, "kill": self.kill, "cold": self.cold_start}
        try:
            for part in parts:
                does[part]()
        finally:
            self.turn.stop()
        return self.figures

    def compaction(self):
        bench, turn, records = self.bench, self.turn, self.options.compaction_records
        self.say(f"writing {records} records under {records // 10} keys")
        create_topics(bench, turn.port, ["filthy"], 1, [("cleanup.policy", "delete"), ("min.cleanable.dirty.ratio", "0.01")])
        self.fill("filthy", records)
        segments = sorted((turn.folder / "logs" / "filthy-0").glob("*.log"))
        dirty, end = sum(segment.stat().st_size for segment in segments[:-1]), int(segments[-1].stem)
        if not dirty:
            raise SystemExit("scripts/bench: all records lie in the active segment, which is not compacted; choose more --compaction-records")
        before = bench.cpu_seconds(turn.process.pid)
        bench.tool(
            "kafka-configs", "--bootstrap-server", f"127.0.0.1:{turn.port}", "--alter", "--topic", "filthy",
            "--add-config", "cleanup.policy=compact",
        )
        checkpoint = turn.folder / "logs" / "cleaner-offset-checkpoint"

        def cleaned():
            lines = [line.split() for line in checkpoint.read_text().splitlines()] if checkpoint.exists() else []
            return any(line[:2] == ["filthy", "0"] and int(line[2]) >= end for line in lines if len(line) == 3)

        bench.wait_for("the cleaner", cleaned, patience=600, pause=0.02)
        spent = bench.cpu_seconds(turn.process.pid) - before
        self.say(f"{dirty / 1e6:.0f} MB compacted in {spent:.2f} CPU s")
        self.figures["compacted per CPU second"] = dirty / 1e6 / max(spent, 1 / bench.TICK)
        self.delete("filthy")

    def fill(self, topic, records):
        """Keys at random, so that nine of ten records are replaced by a later one."""
        dice = random.Random(7)
        words = [dice.randbytes(COMPACTED_VALUE // 2).hex() for _ in range(64)]
        with subprocess.Popen(
            [
                self.bench.TOOLS, "3.9.1", "kafka-console-producer", "--bootstrap-server", f"127.0.0.1:{self.turn.port}",
                "--topic", topic, "--property", "parse.key=true", "--property", "key.separator=:", "--batch-size", "65536",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        ) as producer:
            for number in range(records):
                producer.stdin.write(f"{dice.randrange(records // 10)}:{words[number % 64]}\n")
            producer.stdin.close()
            if producer.wait():
                raise SystemExit("scripts/bench: the console producer failed")

    def old_segments(self):
        bench, turn, options = self.bench, self.turn, self.options
        old = int(options.old_gigabytes * 1e9) // 1024
        self.say(f"writing {options.old_gigabytes:g} GB that will be old")
        create_topics(bench, turn.port, ["old"], 4)
        self.produce("old", old, -1, 1024, "acks=1")
        rate, seconds = options.rate, options.catching_up
        self.say(f"a consumer reads all of it, again and again, while {rate} records a second are produced for {seconds} s")
        with subprocess.Popen(
            self.producing("old", rate * seconds, rate, 1024, "acks=all"), stdout=subprocess.PIPE, text=True
        ) as producer:
            try:
                speed = self.catch_up(producer, old)
            except BaseException:
                producer.kill()
                raise
            told = producer.stdout.read()
        last = [line for line in told.splitlines() if "99.9th" in line][-1]
        latency = float(bench.re.search(r"(\d+) ms 99th", last).group(1))
        self.say(f"producer's 99th percentile {latency:.0f} ms, reader {speed:.0f} MB/s")
        self.figures["producer 99th beside catch-up"] = latency
        self.figures["catch-up reads"] = speed
        self.delete("old")

    def catch_up(self, producer, records):
        """One consumer after the other from the beginning until the producer has ended; what they read, MB/s."""
        consumed, spent, rounds = 0.0, 0.0, 0
        while producer.poll() is None:
            rounds += 1
            told = self.bench.tool(
                "kafka-consumer-perf-test", "--bootstrap-server", f"127.0.0.1:{self.turn.port}", "--topic", "old",
                "--messages", str(records), "--timeout", "60000", "--group", f"late-{rounds}",
            ).strip().splitlines()[-2:]
            values = dict(zip(*([part.strip() for part in line.split(", ")] for line in told)))
            megabytes = float(values["data.consumed.in.MB"]) * 1.048576
            consumed, spent = consumed + megabytes, spent + megabytes / (float(values["fetch.MB.sec"]) * 1.048576)
        return consumed / spent

    def kill(self):
        options = self.options
        partitions = options.kill_partitions
        self.say(f"writing {options.gigabytes:g} GB into {partitions} partitions")
        create_topics(self.bench, self.turn.port, ["killed"], partitions)
        # Large batches, one partition after the other: the data spreads evenly.
        large = ("acks=1", "batch.size=100000", "buffer.memory=134217728")
        self.produce("killed", int(options.gigabytes * 1e9) // SPREAD_RECORD, -1, SPREAD_RECORD, *large)
        self.turn.process.kill()
        self.turn.process.wait()
        self.turn.wait_until_forgotten()
        first, led, read = self.started(["killed"], partitions)
        self.say(f"first answer {first:.0f} ms after the kill, all led after {led:.0f} ms, {read:.0f} MB read")
        self.figures |= {"first answer after kill -9": first, "all led after kill -9": led, "read until the first answer": read}
        self.delete("killed")

    def cold_start(self):
        bench, turn = self.bench, self.turn
        topics = [f"cold-{number:04}" for number in range(self.options.cold_partitions // PARTITIONS_EACH)]
        self.say(f"making {len(topics) * PARTITIONS_EACH} partitions")
        for first in range(0, len(topics), 10):
            create_topics(bench, turn.port, topics[first : first + 10], PARTITIONS_EACH)
        all_of_them = lambda: all_led(bench, turn.port, topics, PARTITIONS_EACH)
        bench.wait_for("leaders everywhere", all_of_them, patience=900, pause=0.05)
        turn.stop()
        if self.options.drop_caches:
            subprocess.run(["sync"], check=True)
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        first, led, _ = self.started(topics, PARTITIONS_EACH)
        spent, resident = bench.cpu_seconds(turn.process.pid), bench.memory_mb(turn.process.pid, "VmRSS")
        self.say(f"first answer {first:.0f} ms after a clean stop, all led after {led:.0f} ms and {spent:.2f} CPU s")
        self.figures |= {"first answer after a clean stop": first, "all led after a clean stop": led}
        self.figures |= {"CPU until then": spent, "resident memory then": resident}

    def started(self, topics, partitions):
        """Milliseconds from exec to the first answer and until every partition is served; what was read by the first."""
        turn, began = self.turn, time.monotonic()
        turn.boot()
        first, read = (time.monotonic() - began) * 1000, read_mb(turn.process.pid)
        all_of_them = lambda: all_led(self.bench, turn.port, topics, partitions)
        self.bench.wait_for("leaders everywhere", all_of_them, patience=900, pause=0.01)
        return first, (time.monotonic() - began) * 1000, read

    def say(self, what):
        self.bench.say(f"{self.seat}: {what}")

    def producing(self, topic, records, rate, size, *props):
        return [
            self.bench.TOOLS, "3.9.1", "kafka-producer-perf-test", "--topic", topic, "--num-records", str(records),
            "--record-size", str(size), "--throughput", str(rate),
            "--producer-props", f"bootstrap.servers=127.0.0.1:{self.turn.port}", *props,
        ]

    def produce(self, *arguments):
        done = subprocess.run(self.producing(*arguments), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"scripts/bench: kafka-producer-perf-test failed\n{done.stdout}{done.stderr}")

    def delete(self, topic):
        """Waits until the files are gone: they would be listed by the next start."""
        self.bench.tool("kafka-topics", "--bootstrap-server", f"127.0.0.1:{self.turn.port}", "--delete", "--topic", topic)
        logs = self.turn.folder / "logs"
        self.bench.wait_for("the deletion", lambda: not list(logs.glob(f"{topic}-*")), pause=0.1)


def check_room(folder, parts, options):
    """Each seat's files are gone when the other's begin; a topic's, when the next is written."""
    largest = max(
        options.gigabytes if "kill" in parts else 0, options.old_gigabytes if "old" in parts else 0,
        options.compaction_records * COMPACTED_VALUE * 1.3 / 1e9 if "compaction" in parts else 0,
        options.cold_partitions * 60_000 / 1e9 if "cold" in parts else 0,
    )
    needed, free = largest + 3, shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise SystemExit(f"scripts/bench: {folder} has {free:.1f} GB free, {needed:.1f} GB are needed; choose fewer --gigabytes")


def print_table(bench, results):
    print(f"{'':32} {'unit':6} {bench.APACHE:>14} {bench.OURS:>12} {'ratio':>8}  to reach")
    for name, unit, goal in MEASURES:
        apache, ours = (results.get(seat, {}).get(name) for seat in (bench.APACHE, bench.OURS))
        if apache is None and ours is None:
            continue
        ratio = f"{ours / apache:8.3f}" if apache and ours is not None else f"{'':8}"
        columns = ["-" if value is None else f"{value:.2f}" for value in (apache, ours)]
        print(f"{name:32} {unit:6} {columns[0]:>14} {columns[1]:>12} {ratio}  {goal}")


def run(bench, folder, zookeeper_port, binary, options):
    parts = options.storage or ["compaction", "old", "kill", "cold"]
    check_room(folder, parts, options)
    seats = {"apache": bench.APACHE, "ours": bench.OURS}
    results = {}
    for name in [options.seat] if options.seat else seats:
        own = pathlib.Path(folder) / name
        own.mkdir()
        results[seats[name]] = Storage(bench, seats[name], own, zookeeper_port, binary, options).run(parts)
        shutil.rmtree(own)
    print_table(bench, results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "storage.json").write_text(json.dumps(results, indent=1))
