"""Measures how soon a container with a complete volume is ready: start.py ENGINE NAME PORT RUNS COMMAND...

COMMAND starts the container NAME. Prints the minimum and the median of the runs from three starting points: the command; the
process, which belongs to the engine until it executes the mirror; and the container, which the engine reports as started when the
mirror runs. The time from the first to the last is the engine's.
"""
import os, re, statistics, subprocess, sys, time, urllib.error, urllib.request
from datetime import datetime

engine, name, port, runs, command = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]


def call(*arguments):
    return subprocess.run([engine, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def ready():
    until = time.time() + 60
    while time.time() < until:
        try:
            # With a longer timeout the client would wait for a second SYN, because the first packets precede the network.
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/readyz", timeout=0.03)
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.001)
    sys.exit("not ready within a minute")


def started():
    """Docker prints RFC 3339, podman the format of Go; both with nanoseconds and a zone."""
    said = re.match(r"(\S+?)[T ](\S+?)(\.\d+)?(?: ?)(Z|[+-]\d\d:?\d\d)", call("inspect", "-f", "{{.State.StartedAt}}", name))
    day, clock, part, zone = said.groups()
    moment = datetime.strptime(f"{day} {clock} {zone.replace('Z', '+0000')}", "%Y-%m-%d %H:%M:%S %z")
    return moment.timestamp() + float(part or 0)


times = []
for _ in range(runs):
    began = time.time()
    starting = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ready()
    at, since_boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    assert starting.wait() == 0
    process = open(f"/proc/{call('inspect', '-f', '{{.State.Pid}}', name)}/stat").read().rsplit(") ", 1)[1]
    begin = int(process.split()[19]) / os.sysconf("SC_CLK_TCK")
    times.append([1000 * seconds for seconds in (at - began, since_boot - begin, at - started())])
    call("rm", "-f", name)
for what, column in zip((f"`{engine} run`", "the start of its process", "the start of the container"), zip(*times)):
    best, middle = round(min(column)), round(statistics.median(column))
    print(f"ready {best} ms after {what} at best, {middle} ms in the median of {runs}")
