"""A page in headless Chromium, driven by its DevTools protocol over two pipes: no driver, no port."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")


class Page:
    """One tab. `complaints`: errors of the console, exceptions, and what the page's policy refused."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from, self._ids = to_browser, from_browser, itertools.count(1)
        self.complaints: list[str] = []
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """The answer to one command; events on the way are noted."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            said = self._next()
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def _next(self) -> dict:
        text = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "Chromium ended"
            text += byte
        said = json.loads(text)
        what, told = said.get("method"), said.get("params", {})
        if what == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        if what == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])
        if what == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"])[:500])
        return said

    def open(self, path: Path, width: int, height: int) -> None:
        """Load a file at a size, and wait until it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.run("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def run(self, script: str):
        """The value of a script in the page; a promise is waited for."""
        said = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A tab of a Chromium of its own. Args: folder: where it may write."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    script = f'exec "$@" 3<&{their_in} 4>&{their_out}'
    with open(our_out, "wb") as to_browser, open(our_in, "rb") as from_browser:
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *words],
            pass_fds=(their_in, their_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        try:
            yield Page(to_browser, from_browser)
        finally:
            process.kill()
            process.wait()
