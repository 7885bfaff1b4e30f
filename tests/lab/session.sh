#!/usr/bin/env bash
# Runs inside the lab's machine: a bus, the radio with its adapters, bluetoothd and the play.
set -euo pipefail
source /lab/settings
cp "$LAB/main.conf" /etc/bluetooth/main.conf
dbus-daemon --system --fork --nopidfile
exec "$PYTHON" "$LAB/play.py" /lab "$PROGRAMS" "$LAB"
