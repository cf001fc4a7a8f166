# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium without a window, controlled over a pipe in its own protocol, without a driver
or a library."""
import base64
import json
import os
import subprocess
import tempfile
import time

SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
            "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
            "--disable-backgrounding-occluded-windows", "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-pipe", "about:blank")


class Browser:
    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        down, self.up = os.pipe()    # it reads commands from its file 3 and writes answers to its file 4
        self.down, up = os.pipe()
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "bash", "-c", f'exec chromium "$@" 3<&{down} 4>&{up}', "bash", *SWITCHES[:-1],
             f"--user-data-dir={self.profile.name}", SWITCHES[-1]], pass_fds=(down, up), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(down)
        os.close(up)
        self.number, self.rest = 0, b""

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.up, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def receive(self):
        while b"\0" not in self.rest:
            more = os.read(self.down, 1 << 16)
            assert more, "chromium has ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, url, width, height=900, dark=False, scale=1, mobile=False):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, width)
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.call("Page.navigate", url=url)
        page.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
        return page

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.up)
        os.close(self.down)
        self.profile.cleanup()


class Page:
    def __init__(self, browser, session, width):
        self.browser, self.session, self.width = browser, session, width

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression):
        """The value of a JavaScript expression in the page; of a promise, the value that it
        resolves to."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression, patience=20):
        end = time.monotonic() + patience
        while not self.value(expression):
            assert time.monotonic() < end, f"never true: {expression}\n{self.value('document.body.innerText')}"
            time.sleep(0.1)

    def picture(self):
        """The whole page, PNG."""
        height = self.value("Math.ceil(document.documentElement.getBoundingClientRect().height)")
        clip = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"])
