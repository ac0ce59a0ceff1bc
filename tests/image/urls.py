"""Requests every URL of a repository on a volume with every content encoding: urls.py PORT REPOSITORY_FOLDER [PREFIX...]

Prints a line for each: URL, accepted encoding, status, encoding, ETag, Last-Modified and SHA-256 of the body. With PREFIX, only
URLs that start with it. The status of the mirror (status.html, mirror.json, ...) is left out.
"""
import hashlib, http.client, os, sys, urllib.parse

port, root = int(sys.argv[1]), sys.argv[2]
below = sys.argv[3:] or [""]


def files(folder):
    for path, _, names in os.walk(folder):
        yield from (os.path.relpath(os.path.join(path, name), folder) for name in names)


newest = max(os.listdir(f"{root}/snapshots"), key=lambda name: int(name) if name.isdigit() else -1)
snapshot = f"{root}/snapshots/{newest}"
urls = {path for path in files(snapshot) if path not in ("manifest.json", "report.json", "made.json")}
urls |= {f"packages/{path}" for path in files(f"{root}/packages")} | {""}
urls = sorted(url for url in urls if any(url.startswith(start) for start in below))
assert any(url.startswith("p2/") for url in urls) and any(url.endswith(".zip") for url in urls), urls

connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
for url in urls:
    for coding in ("identity", "gzip", "br", "zstd"):
        connection.request("GET", "/" + urllib.parse.quote(url), headers={"Accept-Encoding": coding})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"/{url}: {answer.status}"
        told = [answer.headers.get(name) for name in ("Content-Encoding", "ETag", "Last-Modified")]
        print(f"/{url}", coding, answer.status, *told, hashlib.sha256(body).hexdigest())
