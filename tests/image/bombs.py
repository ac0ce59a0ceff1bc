"""A git server of hostile repositories: bombs.py ADDRESS STATE

Each kind is a repository of its own, /KIND, with one harmless tag. When the file STATE names the kind, it has tags that are small to
download and large, slow or many to read. Prints the port.
"""
import hashlib, http.server, json, pathlib, struct, sys, threading, time, zlib

address, state = sys.argv[1], pathlib.Path(sys.argv[2])
MB = 1 << 20
KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


def object_id(kind, content):
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content).hexdigest()


def header(number, size):
    """The type and size of an entry of a pack (gitformat-pack)."""
    text, byte, size = bytearray(), number << 4 | size & 15, size >> 4
    while size:
        text.append(byte | 128)
        byte, size = size & 127, size >> 7
    text.append(byte)
    return bytes(text)


def varint(number):
    text = b""
    while number > 127:
        text, number = text + bytes([number & 127 | 128]), number >> 7
    return text + bytes([number])


class Repository:
    """Refs, and the entries of the one pack that holds all of their objects."""

    def __init__(self):
        self.refs, self.entries, self.objects = [], [], None

    def add(self, kind, content):
        self.entries.append(header(KINDS[kind], len(content)) + zlib.compress(content, 9))
        return object_id(kind, content)

    def add_delta(self, base, delta):
        self.entries.append(header(7, len(delta)) + bytes.fromhex(base) + zlib.compress(delta, 9))

    def tree(self, files):
        entries = sorted((name, mode, identity) for name, mode, identity in files)
        return self.add("tree", b"".join(b"%s %s\0" % (mode, name) + bytes.fromhex(identity) for name, mode, identity in entries))

    def commit(self, tree, message=b"a"):
        who = b"a <a@example.com> 1600000000 +0000"
        return self.add("commit", b"tree %s\nauthor %s\ncommitter %s\n\n%s" % (tree.encode(), who, who, message))

    def release(self, version, manifest=None, more=(), message=b"a"):
        manifest = manifest or json.dumps({"name": "bomb/package", "version": version}).encode()
        tree = self.tree([(b"composer.json", b"100644", self.add("blob", manifest)), *more])
        self.refs.append((self.commit(tree, message), b"refs/tags/" + version.encode()))

    def pack(self):
        body = b"PACK" + struct.pack(">II", 2, self.objects or len(self.entries)) + b"".join(self.entries)
        return body + hashlib.sha1(body).digest()


def delta(repository):
    """A file of 960 MB that copies another one sixty times."""
    base = bytes(16 * MB - 1)
    identity = repository.add("blob", base)
    copies = b"\xf0\xff\xff\xff" * 60
    digest = hashlib.sha1(b"blob %d\0" % (60 * len(base)))
    for _ in range(60):
        digest.update(base)
    repository.add_delta(identity, varint(len(base)) + varint(60 * len(base)) + copies)
    files = [(b"base", b"100644", identity), (b"large", b"100644", digest.hexdigest())]
    repository.release("2.0.0", more=files)


def message(repository):
    repository.release("2.0.0", message=b"a" * (200 * MB))


def tree(repository):
    entry = bytes.fromhex(repository.add("blob", b""))
    listing = b"".join(b"100644 %09d\0" % n + entry for n in range(4_000_000))
    repository.release("2.0.0", more=[(b"folder", b"40000", repository.add("tree", listing))])


def annotation(repository):
    repository.release("2.0.0")
    target, _ = repository.refs.pop()
    text = b"object %s\ntype commit\ntag 2.0.0\ntagger a <a@example.com> 1600000000 +0000\n\n%s" % (target.encode(), b"a" * (200 * MB))
    repository.refs.append((repository.add("tag", text), b"refs/tags/2.0.0"))


def file(repository):
    repository.release("2.0.0", more=[(b"large", b"100644", repository.add("blob", bytes(300 * MB)))])


def metadata(repository):
    """Manifests of 3 MB, which every client would load."""
    links = {f"bomb/dependency-{n}": "^1.0 || ^2.0 || ^3.0" for n in range(60_000)}
    for n in range(12):
        version = f"2.{n}.0"
        repository.release(version, json.dumps({"name": "bomb/package", "version": version, "require": links}).encode())


def numbers(repository):
    """A manifest that takes sixteen times its size in memory."""
    text = '{"name": "bomb/package", "version": "2.0.0", "extra": [%s0]}' % ("0," * 1_900_000)
    repository.release("2.0.0", text.encode())


def refs(repository):
    target, _ = repository.refs[0]
    repository.refs += [(target, b"refs/tags/build-%07d" % n) for n in range(1_000_000)]


def tags(repository):
    """Fewer than `limits.refs`, more than a report may name."""
    target, _ = repository.refs[0]
    repository.refs += [(target, b"refs/tags/build-%05d" % n) for n in range(90_000)]


def objects(repository):
    """A pack that claims to have four billion objects."""
    repository.release("2.0.0")
    repository.objects = 0xFFFFFFFF


def small_objects(repository):
    for n in range(1_500_000):
        repository.entries.append(header(3, 7) + zlib.compress(b"%07d" % n, 0))
    repository.release("2.0.0")


def drip(repository):
    repository.release("2.0.0")


def silence(repository):
    repository.release("2.0.0")


BOMBS = {bomb.__name__.replace("_", "-"): bomb for bomb in (
    delta, message, tree, annotation, file, metadata, numbers, refs, tags, objects, small_objects, drip, silence)}


def packet(line):
    return b"%04x" % (len(line) + 4) + line


def repository(kind, is_armed):
    made = Repository()
    made.release("1.0.0")
    if is_armed:
        BOMBS[kind](made)
    return made


class Repositories:
    """Made once for each state of each kind."""

    def __init__(self):
        self.made, self.lock = {}, threading.Lock()

    def get(self, kind):
        key = kind, state.exists() and state.read_text().strip() == kind
        with self.lock:
            if key not in self.made:
                self.made = {key: repository(*key)}
            return self.made[key], key[1]


repositories = Repositories()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def respond(self, what, body):
        self.send_response(200)
        self.send_header("Content-Type", f"application/x-git-upload-pack-{what}")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        kind = self.path.split("/")[1]
        found, is_armed = repositories.get(kind)
        if is_armed and kind == "silence":
            return time.sleep(3600)
        capabilities = b"\0multi_ack_detailed side-band-64k ofs-delta shallow no-progress agent=test"
        lines = [b"%s %s%s\n" % (target.encode(), name, b"" if n else capabilities) for n, (target, name) in enumerate(found.refs)]
        self.respond("advertisement", packet(b"# service=git-upload-pack\n") + b"0000" + b"".join(map(packet, lines)) + b"0000")

    def do_POST(self):
        kind = self.path.split("/")[1]
        request = self.rfile.read(int(self.headers["Content-Length"]))
        found, is_armed = repositories.get(kind)
        shallow = b"".join(packet(b"shallow " + target.encode()) for target, _ in found.refs) + b"0000" if b"deepen" in request else b""
        if b"done" not in request:
            return self.respond("result", shallow)
        self.respond("result", shallow + packet(b"NAK\n"))
        while is_armed and kind == "drip":
            self.wfile.write(packet(b"\2counting\r"))
            time.sleep(0.5)
        pack = found.pack()
        for start in range(0, len(pack), 60_000):
            self.wfile.write(packet(b"\1" + pack[start:start + 60_000]))
        self.wfile.write(b"0000")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that hang up are what is tested."""


server = Server((address, 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
