#!/usr/bin/env python3
"""check.py [--write]: the script in both media-type-*.yaml is webhook.js, and the files say the same in the layout of their
version. --write puts webhook.js into them. Python's standard library only; ends with 1 and what differs."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
BLOCK = re.compile(r"(?<=^      script: \|\n)(?:(?: {8}.*)?\n)+", re.MULTILINE)


def embedded(script):
    """The script as a block of the YAML: indented by eight, empty lines left empty."""
    return "".join(f"        {line}\n" if line else "\n" for line in script.splitlines())


def settings(text):
    """A file without its script, in one layout: Zabbix 6.0 writes a list's dash on a line of its own, and a date."""
    text = re.sub(r"^ +date: .*\n", "", BLOCK.sub("", text), flags=re.MULTILINE)
    return re.sub(r"^( *)-\n +", r"\1- ", text, flags=re.MULTILINE)


def main():
    script = (HERE / "webhook.js").read_text()
    wrong = []
    if not re.fullmatch(r"([\x20-\x7e]*(?<! )\n)+", script):
        wrong.append("webhook.js: ASCII, no tabs, no blanks at the ends of lines")
    texts = {}
    for version in "6.0", "7.0":
        file = HERE / f"media-type-{version}.yaml"
        text = file.read_text()
        if "--write" in sys.argv[1:]:
            text = BLOCK.sub(lambda _: embedded(script), text)
            file.write_text(text)
        blocks = BLOCK.findall(text)
        if blocks != [embedded(script)]:
            wrong.append(f"{file.name}: its script is not webhook.js; run check.py --write")
        if f"\n  version: '{version}'\n" not in text:
            wrong.append(f"{file.name}: the version is not {version}")
        texts[version] = settings(text).replace(f"version: '{version}'", "")
    if texts["6.0"] != texts["7.0"]:
        wrong.append("the two media types differ in more than the script, the version and the layout")
    print("\n".join(wrong) or "media-type-6.0.yaml, media-type-7.0.yaml: webhook.js, and alike")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
