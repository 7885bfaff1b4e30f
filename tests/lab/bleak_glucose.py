#!/usr/bin/env python3
"""Reads a glucose meter with bleak, a Bluetooth client that is not ours, and prints what it sent.

usage: bleak_glucose.py ADAPTER ADDRESS SECONDS

Subscribes to measurements, contexts and the control point, asks for all records, and waits for the final answer. Prints
one JSON object: the values of 2A18 and 2A34 in hexadecimal, in the order of their coming, and the answer. It knows
nothing of what is in them.
"""

import asyncio
import json
import sys

from bleak import BleakClient, BleakScanner

MEASUREMENT, CONTEXT, FEATURE, CONTROL = (f"0000{uuid}-0000-1000-8000-00805f9b34fb" for uuid in ("2a18", "2a34", "2a51", "2a52"))
# Report stored records, all of them (page 3, section 2.4).
REPORT_ALL = bytes([0x01, 0x01])


async def main(adapter, address, seconds):
    bluez = {"adapter": adapter}
    device = await BleakScanner.find_device_by_address(address, timeout=seconds, bluez=bluez)
    if device is None:
        raise SystemExit(f"{address} was not heard by {adapter} within {seconds} s")
    seen = {"measurements": [], "contexts": []}
    answered = asyncio.get_running_loop().create_future()

    def answer(_, value):
        if not answered.done():
            answered.set_result(bytes(value).hex())

    async with BleakClient(device, timeout=seconds, bluez=bluez) as client:
        await client.start_notify(MEASUREMENT, lambda _, value: seen["measurements"].append(bytes(value).hex()))
        await client.start_notify(CONTEXT, lambda _, value: seen["contexts"].append(bytes(value).hex()))
        await client.start_notify(CONTROL, answer)
        seen["feature"] = bytes(await client.read_gatt_char(FEATURE)).hex()
        await client.write_gatt_char(CONTROL, REPORT_ALL, response=True)
        seen["answer"] = await asyncio.wait_for(answered, seconds)
        for characteristic in (CONTROL, CONTEXT, MEASUREMENT):
            await client.stop_notify(characteristic)
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
