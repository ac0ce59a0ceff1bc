"""How soon a container answers on a volume that has everything: start.py ENGINE NAME PORT RUNS COMMAND...

COMMAND starts the container NAME. Prints the best and the median of the runs, from three beginnings: of the command; of the
process, which is the engine's before it becomes the mirror; and of the container, which the engine calls started once the
mirror runs. What is between the first and the last is the engine's, whatever the image.
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
            # A longer one would wait for a second attempt to connect, because the first packets come before the network is up.
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/readyz", timeout=0.03)
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.001)
    sys.exit("not ready within a minute")


def started():
    """Docker writes RFC 3339, podman as Go prints it; both to the nanosecond, in some zone."""
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
