"""Programs as child processes, waiting for conditions, and the two interfaces that the play talks to."""

import http.client
import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse

# How often a condition is asked. Emulation is slow, and asking takes time from those who are asked.
PERIOD = 0.25


class Failed(Exception):
    """Something did not come to pass."""


def wait_for(what, seconds, condition):
    """Asks until the answer is neither None nor False, and gives it back."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(PERIOD)


class Program:
    """A running program. Its standard output is read line by line, its log goes into a file."""

    def __init__(self, name, arguments, folder):
        self.name = name
        self.lines = []
        # Appended: a program that is started again goes on with its log.
        with open(os.path.join(folder, f"{name}.log"), "ab") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def announced(self, word, seconds):
        """The rest of the first line that begins with `word`."""

        def line():
            found = [line for line in list(self.lines) if line.startswith(f"{word} ")]
            if not found and self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode} before it said {word!r}")
            return found[0][len(word) + 1 :] if found else None

        return wait_for(f"{self.name} to say {word!r}", seconds, line)

    def all_announced(self, word):
        """What followed `word`, for every line that begins with it."""
        return [line[len(word) + 1 :] for line in list(self.lines) if line.startswith(f"{word} ")]

    def stop(self, seconds):
        """SIGTERM, and waits for the end. Returns the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self):
        """SIGKILL, and waits for the end."""
        self.process.kill()
        self.process.wait()


def run(arguments, seconds, stdin=""):
    """Runs a program to its end and gives back the JSON that it printed."""
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise Failed(f"{arguments[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def converse(arguments, seconds, question, answer):
    """Runs a program that asks a person something. When it has said `question`, `answer` is called with its standard
    input. Gives back all that it said, whatever came of it."""
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said, ended = [], threading.Event()

    def read():
        # A question does not end its line.
        while character := process.stdout.read(1):
            said.append(character)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        if question is not None:
            asked = wait_for(f"{question!r}", seconds, lambda: question in "".join(said) or ended.is_set())
            if asked and question in "".join(said):
                answer(process.stdin)
        process.wait(seconds)
        ended.wait(seconds)
    finally:
        process.kill()
    return "".join(said)


class Meters:
    """The simulator's control interface."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.file = socket.create_connection((host, int(port)), timeout=30).makefile("rw", encoding="utf-8")

    def do(self, command, **arguments):
        self.file.write(json.dumps({"do": command, **arguments}) + "\n")
        self.file.flush()
        answer = json.loads(self.file.readline())
        if not answer["ok"]:
            raise Failed(f"the simulator refused {command}: {answer['error']}")
        return answer["result"]

    def meter(self, name):
        return next(meter for meter in self.do("list")["meters"] if meter["meter"] == name)

    def ledger(self, name):
        entries, after = [], 0
        while True:
            page = self.do("ledger", meter=name, after=after)
            entries += page["entries"]
            if not page["more"]:
                return entries
            after = entries[-1]["entry"]


class Api:
    """The server's JSON API, as somebody of the staff uses it."""

    def __init__(self, address, login, password):
        self.address = address
        self.headers = {"Content-Type": "application/json"}
        answer = self.send("POST", "/api/v1/login", {"login": login, "password": password})
        self.headers["X-CSRF-Token"] = answer["csrf"]

    def send(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            response = connection.getresponse()
            cookies = [value.split(";", 1)[0] for name, value in response.getheaders() if name.lower() == "set-cookie"]
            if cookies:
                self.headers["Cookie"] = "; ".join(cookies)
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 300:
            raise Failed(f"{method} {path} answered {response.status}: {text}")
        return json.loads(text) if text else {}

    def readings(self, member):
        found, cursor = [], ""
        while True:
            page = self.send("GET", f"/api/v1/members/{member}/readings?limit=100{cursor}")
            found += page["readings"]
            if not page["next"]:
                return found
            cursor = f"&cursor={urllib.parse.quote(page['next'])}"
