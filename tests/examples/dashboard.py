"""Exits with 1 unless the queries of the dashboard use existing metrics and promtool accepts them."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

code = "".join(path.read_text() for path in pathlib.Path("src").glob("**/*.rs"))
known = set(re.findall(r'"(mirror_[a-z0-9_]+)"', code))
dashboard = json.load(open("examples/grafana/dashboard.json"))
queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
alerts = open("examples/prometheus/alerts.yml").read()

used = set(re.findall(r"\bmirror_[a-z0-9_]+", " ".join(queries) + alerts))
unknown = {name for name in used if re.sub(r"_(bucket|sum|count)$", "", name) not in known}
if unknown or len(queries) < 10:
    sys.exit(f"no such metrics: {unknown}, or too few queries: {len(queries)}")

rules = [
    {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*")}
    for number, query in enumerate(queries)
]
with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
    json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
    file.flush()
    sys.exit(subprocess.run(["promtool", "check", "rules", file.name]).returncode)
