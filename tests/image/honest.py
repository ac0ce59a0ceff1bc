"""An honest client: honest.py HOST PORT PID VERSION SECONDS

Requests metadata and an archive, each on a connection of its own, while the mirror, the process PID, runs cycles one after the other:
for so many seconds at least, and until a cycle has ended that published this version of all good sources. Prints the number of
requests, the median and the 99th percentile of the milliseconds until the last byte, and ends with 1 if a request fails or the
version is not published in two minutes.
"""
import hashlib, http.client, json, os, signal, sys, time

host, port, pid, version, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
PATHS = "/packages.json", "/p2/acme/good-1.json", "/packages/acme/good-1-1.0.0.zip"
latencies, failures, archives = [], [], set()


def get(path):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def request(path):
    began = time.monotonic()
    try:
        status, body = get(path)
        if status != 200:
            failures.append(f"{status} {path}")
        if path.endswith(".zip"):
            archives.add(hashlib.sha256(body).hexdigest())
    except (OSError, http.client.HTTPException) as error:
        failures.append(f"{error!r} {path}")
    latencies.append((time.monotonic() - began) * 1000)


def is_over():
    """Whether no cycle runs and the version of all good sources is published."""
    return json.loads(get("/progress.json")[1])["running"] is None and all(
        get(f"/packages/acme/good-{number}-{version}.zip")[0] == 200 for number in range(1, 5)
    )


os.kill(pid, signal.SIGHUP)
began = looked = time.monotonic()
over = False
while not over or time.monotonic() < began + seconds:
    for path in PATHS:
        request(path)
    time.sleep(0.005)
    if time.monotonic() > looked + 1:
        looked = time.monotonic()
        over = is_over()
        if over:
            os.kill(pid, signal.SIGHUP)
        elif looked > began + 120:
            failures.append(f"not published: {version}")
            break
latencies.sort()
print(f"{len(latencies)} {latencies[len(latencies) // 2]:.2f} {latencies[len(latencies) * 99 // 100]:.2f}")
for failure in failures[:3]:
    print(failure, file=sys.stderr)
sys.exit(bool(failures) or len(archives) != 1)
