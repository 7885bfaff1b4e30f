#!/usr/bin/env python3
"""The play: pairs, syncs, pulls plugs, and compares the server's records with those that the meters made.

usage: play.py FOLDER PROGRAMS LAB

Runs inside the lab's machine. Writes its table to FOLDER/result and exits with 0 only if every row holds.
"""

import json
import os
import subprocess
import sys
from collections import Counter

from programs import Api, Failed, Meters, Program, converse, run, wait_for

FOLDER, PROGRAMS, LAB = sys.argv[1:4]
PYTHON = sys.executable
PASSWORD = "correct horse battery staple"

# The gateway's adapter, and those behind which the meters stand.
GATEWAY_ADAPTER, CUFF_ADAPTER, GLUCOSE_ADAPTER = "hci0", "hci1", "hci2"
CUFF, GLUCOSE = "lab-cuff", "lab-glucose"
BUMBLE_ADDRESS = "C4:DE:0B:00:00:01"
# What the Bumble cuff indicates: systolic, diastolic and mean pressure, a time stamp and the pulse.
BUMBLE_RECORDS = [
    "1e" + sys_ + "00" + dia + "00" + mean + "00" + "ea070b0" + day + "080000" + "4600" + "00" + "0000"
    for sys_, dia, mean, day in [("80", "52", "61", "1"), ("8a", "58", "68", "2"), ("76", "4b", "59", "3")]
]

# On the machine's own scratch layer: SQLite shares memory between processes, which the shared folder cannot.
DATA = "/var/lib/carepost-lab"

# Codes of the members who own the meters.
CODES = {CUFF: "CUFF-1", GLUCOSE: "GLUCOSE-1", "bumble": "BUMBLE-1"}

# What the gateway says when a cuff may have sent something that nobody heard.
POSSIBLE_GAP = "a reading may be lost: check the cuff's own memory"

# Deadlines in seconds, long against what emulation needs. Only a failing run waits for them.
START, SOON, SYNC = 120, 60, 150


class Table:
    """What was expected and what was seen."""

    def __init__(self):
        self.rows = []

    def row(self, what, expected, seen):
        self.rows.append((what, str(expected), str(seen), expected == seen))
        print(f"{what}: expected {expected}, seen {seen}", flush=True)

    def same(self, what, expected, seen):
        """Compares lists, and shows how long they are."""
        same = expected == seen
        self.row(what, f"{len(expected)}, the same", f"{len(seen)}, {'the same' if same else 'others'}")

    def holds(self):
        return bool(self.rows) and all(row[3] for row in self.rows)

    def text(self):
        head = ("what", "expected", "seen", "")
        shown = [head] + [(*row[:3], "ok" if row[3] else "DIFFERENT") for row in self.rows]
        widths = [max(len(row[column]) for row in shown) for column in range(3)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip() for row in shown]
        return "\n".join(lines) + "\n"


def program(name):
    return os.path.join(PROGRAMS, name)


def script(name):
    return os.path.join(LAB, name)


def some_of(part, whole):
    return "some, not all" if 0 < part < whole else f"{part} of {whole}"


def start_bluetoothd():
    # Debian's own, as a service manager starts it.
    return Program("bluetoothd", ["/usr/libexec/bluetooth/bluetoothd", "-n"], FOLDER)


def settings(**values):
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


class Lab:
    """Everybody on the stage."""

    def __init__(self):
        self.table = Table()
        os.makedirs(DATA)
        records = os.path.join(FOLDER, "bumble-records")
        with open(records, "w", encoding="ascii") as file:
            file.write("\n".join(BUMBLE_RECORDS) + "\n")
        self.bluetoothd = start_bluetoothd()
        self.radio_stops = 0
        self.radio = Program("radio", [PYTHON, script("radio.py"), "3", records], FOLDER)
        self.radio.announced("radio", START)
        sim = [program("carepost-sim"), "--config", script("sim.toml")]
        seats = ["--adapter", f"{CUFF_ADAPTER}={CUFF}", "--adapter", f"{GLUCOSE_ADAPTER}={GLUCOSE}"]
        self.sim = Program("sim", sim + seats, FOLDER)
        self.meters = Meters(self.sim.announced("control", START))
        wait_for("the meters to be behind their adapters", SOON, lambda: len(self.sim.all_announced("adapter")) == 2)
        self.addresses = {}
        for line in self.sim.all_announced("adapter"):
            _, address, meter = line.split()
            self.addresses[meter] = address
        self.api = self.store = self.gateway = self.server = None
        self.mqtt = ""

    # Scenes.

    def pair(self, meter):
        """Pairs the gateway with a meter as somebody of the staff does at a terminal: types what the meter shows."""
        # On this machine both sides are agents of one bluetoothd, and the one that asked last is the default. The gateway
        # asks when it starts, the meter when it begins to advertise: so in this order.
        wait_for("the gateway to be ready to pair", SOON, lambda: self.logged("ready to pair meters"))
        self.meters.do("press_transfer", meter=meter)
        address = self.addresses[meter]
        wait_for(f"the gateway to hear {meter}", SOON, lambda: address in self.pair_command([], SOON))
        shown = []

        def type_passkey(terminal):
            shown.append(wait_for("a passkey", SYNC, lambda: self.meters.do("display", meter=meter).get("shows")))
            terminal.write(f"{shown[0]}\n")
            terminal.flush()

        said = self.pair_command([address], SYNC, "Type the six digits", type_passkey)
        with open(os.path.join(FOLDER, "pair.log"), "a", encoding="utf-8") as log:
            log.write(said)
        # The passkey is nobody's business afterwards.
        logged = any(self.logged(passkey) for passkey in shown)
        display = self.meters.do("display", meter=meter)
        self.table.row(f"{meter}: paired by the passkey on its display", True, f"address {address}" in said)
        self.table.row(f"{meter}: bonds that it keeps", 1, display["bonds"])
        self.table.row(f"{meter}: passkey still shown, passkey in the log", (False, False), ("shows" in display, logged))

    def logged(self, text):
        """Whether the gateway has a text in its log."""
        with open(os.path.join(FOLDER, "gateway.log"), encoding="utf-8", errors="replace") as log:
            return text in log.read()

    def pair_command(self, arguments, seconds, question=None, answer=None):
        """Runs `carepost-gateway pair`, answers its question, and gives back what it said."""
        return converse([*self.gateway_command(), "pair", *arguments], seconds, question, answer)

    def read_with_bleak(self):
        """A client that is not ours reads the glucose meter and gets exactly what the ledger has."""
        arguments = [PYTHON, script("bleak_glucose.py"), GATEWAY_ADAPTER, self.addresses[GLUCOSE], str(SYNC)]
        seen = run(arguments, SYNC + START)
        ledger = self.meters.ledger(GLUCOSE)
        measurements = [entry["hex"] for entry in ledger]
        contexts = [entry["context_hex"] for entry in ledger if "context_hex" in entry]
        self.table.same("records that bleak read, in order", measurements, seen["measurements"])
        self.table.same("contexts that bleak read, in order", contexts, seen["contexts"])
        self.table.row("the meter's answer to bleak", "06000101", seen["answer"])

    def open_the_store(self):
        """A server with a store, its staff, two members who consent, and a gateway that it knows."""
        base = settings(data_dir=f"{DATA}/server", http__listen="127.0.0.1:0", mqtt__listen="127.0.0.1:0")
        server = [program("carepost-server"), *base]
        added = run([*server, "store", "add", "--name", "Lab", "--zone", "Asia/Shanghai"], START)
        self.store = added["id"]
        staff = ["staff", "add", "--login", "lin", "--name", "Lin", "--role", "pharmacist", "--store", self.store]
        run([*server, *staff], START, f"{PASSWORD}\n")
        identity = run([*self.gateway_command(), "identity"], START)
        run([*server, "gateway", "add", "--store", self.store, "--name", "Lab"], START, json.dumps(identity))
        self.server = Program("server", server, FOLDER)
        http = self.server.announced("http", START)
        self.mqtt = self.server.announced("mqtt", START)
        self.api = Api(http, "lin", PASSWORD)

    def member(self, code, name):
        body = {"code": code, "name": name, "birth_year": 1960, "sex": "female", "phone": "13800001111",
                "home_store": self.store, "conditions": [], "drugs": []}
        member = self.api.send("POST", "/api/v1/members", body)["id"]
        grant = {"purpose": "care_record", "text_version": "2026-11", "text_sha256": "5e" * 32, "channel": "paper",
                 "includes_history": True}
        self.api.send("POST", f"/api/v1/members/{member}/grants", grant)
        return member

    def own(self, member, address, address_type, kind):
        """Registers a meter as a member's own. From now on the gateway reads it."""
        body = {"address": address, "address_type": address_type, "kind": kind, "role": "personal",
                "store": self.store, "model": "Lab", "multi_user": False}
        meter = self.api.send("POST", "/api/v1/meters", body)["id"]
        binding = {"meter": meter, "member": member, "slot": None, "only_ever_this_person": True}
        self.api.send("POST", "/api/v1/bindings", binding)

    def gateway_command(self):
        values = {
            "data_dir": f"{DATA}/gateway", "kiosk__listen": "127.0.0.1:0", "bluetooth__adapters": [GATEWAY_ADAPTER],
            "bluetooth__pause_ms": 200, "bluetooth__cool_down_ms": 2000, "uplink__retry_ms": 200,
            "uplink__retry_max_ms": 2000, "log__filter": "info,carepost_gateway=debug",
        }
        if self.mqtt:
            host, port = self.mqtt.rsplit(":", 1)
            values |= {"uplink__host": host, "uplink__port": int(port)}
        return [program("carepost-gateway"), *settings(**values)]

    def start_gateway(self):
        self.gateway = Program("gateway", self.gateway_command(), FOLDER)
        self.gateway.announced("ready", START)

    def sent(self, meter):
        """How many of a meter's records have been on air."""
        return sum(1 for entry in self.meters.ledger(meter) if entry["sent"])

    def sync_cuff(self, member):
        """The cuff's backlog arrives although bluetoothd ends and comes again in the middle of it."""
        made = len(self.meters.ledger(CUFF))
        self.pair(CUFF)
        # At the server, where staff can say that nobody else has ever used it: a backlog is older than its registration.
        self.own(member, self.addresses[CUFF], "public", "blood_pressure")
        at = wait_for("a third of the cuff's backlog", SYNC, lambda: self.enough(CUFF, made // 3))
        self.bluetoothd.stop(SOON)
        self.radio_stops += 1
        self.bluetoothd = start_bluetoothd()
        self.table.row("cuff records sent when bluetoothd was restarted", "some, not all", some_of(at, made))
        self.stored_once("cuff backlog, bluetoothd restarted", member, self.ledger_pairs(CUFF))

    def sync_glucose(self, member):
        """The glucose records arrive although the gateway is killed and started again in the middle of it."""
        ledger = self.meters.ledger(GLUCOSE)
        base = sum(entry["sent"] for entry in ledger)
        # Its window was over when bleak had everything.
        self.meters.do("press_transfer", meter=GLUCOSE)
        self.own(member, self.addresses[GLUCOSE], "public", "glucose")

        def some():
            now = sum(entry["sent"] for entry in self.meters.ledger(GLUCOSE)) - base
            return now if now >= len(ledger) // 3 else None

        at = wait_for("a third of the glucose records", SYNC, some)
        self.gateway.kill()
        self.start_gateway()
        self.table.row("glucose records sent when the gateway was killed", "some, not all", some_of(at, len(ledger)))
        self.stored_once("60 glucose records, gateway killed", member, self.ledger_pairs(GLUCOSE))

    def read_bumble(self, member):
        """The gateway reads a cuff in which nothing is ours."""
        self.own(member, BUMBLE_ADDRESS, "random", "blood_pressure")
        self.stored_once("records of the Bumble cuff", member, [(value, None) for value in BUMBLE_RECORDS])
        confirmed = [line.removeprefix("confirmed ") for line in self.radio.all_announced("cuff")]
        self.table.same("confirmations that the Bumble cuff got, in order", BUMBLE_RECORDS, confirmed)

    def enough(self, meter, wanted):
        sent = self.sent(meter)
        return sent if sent >= wanted else None

    def ledger_pairs(self, meter):
        return [(entry["hex"], entry.get("context_hex")) for entry in self.meters.ledger(meter)]

    def stored_once(self, what, member, expected):
        """Compares the raw bytes of a member's readings with those that a meter made."""

        def stored():
            return [(reading["raw"].lower(), (reading["context_raw"] or "").lower() or None)
                    for reading in self.api.readings(member)]

        try:
            wait_for(f"{len(expected)} readings", SYNC, lambda: len(stored()) >= len(expected))
            # More would be doubles, and they would be on their way by now.
            wait_for("the gateway to have nothing left", SYNC, self.drained)
        except Failed as failure:
            print(failure, flush=True)
        seen, wanted = Counter(stored()), Counter(expected)
        self.table.row(f"{what}: stored", len(expected), sum(seen.values()))
        lost, more = wanted - seen, seen - wanted
        self.table.row(f"{what}: lost, altered or doubled", (0, 0), (sum(lost.values()), sum(more.values())))

    def status(self):
        return run([*self.gateway_command(), "status", "--json"], START)

    def drained(self):
        spool = self.status()["spool"]
        return spool["spooled"] == 0 and spool["outbox"] == 0

    def look_back(self):
        """Nothing was put aside, and nobody called for help but about a gap that was possible."""
        self.table.row("packets in the gateway's quarantine", 0, self.status()["spool"]["quarantined"])
        for name in ("gateway", "server", "sim"):
            with open(os.path.join(FOLDER, f"{name}.log"), encoding="utf-8", errors="replace") as log:
                errors = [line for line in log if " ERROR " in line]
            if name == "gateway":
                # bluetoothd was stopped while the cuff sent. A gateway that cannot know whether something was sent meanwhile
                # says so; that nothing was lost is what the ledger says.
                told = [line for line in errors if POSSIBLE_GAP in line]
                errors = [line for line in errors if POSSIBLE_GAP not in line]
                self.table.row("at most one possible gap told of for each stop of bluetoothd", True,
                               len(told) <= self.radio_stops)
            self.table.row(f"other ERROR lines of the {name}", 0, len(errors))
        self.table.row("bluetoothd runs to the end", True, self.bluetoothd.process.poll() is None)
        self.table.row("the gateway's end, asked for", 0, self.gateway.stop(SOON))
        self.table.row("the simulator's end, asked for", 0, self.sim.stop(SOON))
        self.table.row("the server's end, asked for", 0, self.server.stop(SOON))

    def play(self):
        self.open_the_store()
        members = {meter: self.member(code, f"Owner of {meter}") for meter, code in CODES.items()}
        self.start_gateway()
        self.pair(GLUCOSE)
        self.read_with_bleak()
        self.sync_cuff(members[CUFF])
        self.sync_glucose(members[GLUCOSE])
        self.read_bumble(members["bumble"])
        self.look_back()


def main():
    lab = None
    text = ""
    try:
        lab = Lab()
        lab.play()
    except (Failed, OSError, subprocess.SubprocessError, ValueError, KeyError) as failure:
        text = f"\nthe play was broken off: {type(failure).__name__}: {failure}\n"
    table = lab.table if lab else Table()
    with open(os.path.join(FOLDER, "result"), "w", encoding="utf-8") as file:
        file.write(table.text() + text)
    print(table.text() + text, flush=True)
    return 0 if table.holds() and not text else 1


if __name__ == "__main__":
    sys.exit(main())
