"""An honest client: honest.py PORT SECONDS | PORT COMMAND...

Requests metadata and an archive, each on a connection of its own, for so many seconds or as long as COMMAND runs. Prints the number
of requests, the median and the 99th percentile of the milliseconds until the last byte, and ends with 1 if a request fails.
"""
import hashlib, http.client, subprocess, sys, time

port, rest = int(sys.argv[1]), sys.argv[2:]
PATHS = "/packages.json", "/p2/acme/good-1.json", "/packages/acme/good-1-1.0.0.zip"
latencies, failures, archives = [], [], set()


def request(path):
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            failures.append(f"{response.status} {path}")
        if path.endswith(".zip"):
            archives.add(hashlib.sha256(body).hexdigest())
    except (OSError, http.client.HTTPException) as error:
        failures.append(f"{error!r} {path}")
    finally:
        connection.close()
    latencies.append((time.monotonic() - began) * 1000)


command = None if rest[0].isdigit() else subprocess.Popen(rest)
end = time.monotonic() + (600 if command else int(rest[0]))
while time.monotonic() < end and (command is None or command.poll() is None):
    for path in PATHS:
        request(path)
    time.sleep(0.005)
latencies.sort()
print(f"{len(latencies)} {latencies[len(latencies) // 2]:.2f} {latencies[len(latencies) * 99 // 100]:.2f}")
for failure in failures[:3]:
    print(failure, file=sys.stderr)
code = command.wait() if command else 0
sys.exit(code or bool(failures) or len(archives) != 1)
