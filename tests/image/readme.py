"""Prints the blocks of README's section "Try it" as one script. Between the blocks it waits for what README says that one sees.

    readme.py README.md
"""
import sys

section = open(sys.argv[1]).read().split("\n## Try it\n")[1].split("\n## ")[0]
blocks, inside = [], False
for line in section.splitlines():
    if line.startswith("    "):
        if not inside:
            blocks.append([])
        blocks[-1].append(line[4:])
    inside = line.startswith("    ")

# The last block builds the image from a clone, which the test has done another way.
trial, install, end, own, build = blocks
assert build[0].startswith("docker build "), build
print("\n".join([
    "set -x",
    *trial,
    "until get / | has 'This is a trial'; do sleep 0.1; done",
    "until ready; do sleep 0.1; done",
    *install,
    *end,
    *own,
    "until get /status.html | has 'composer'; do sleep 0.1; done",
]))
