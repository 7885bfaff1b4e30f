"""A blood pressure cuff made with Bumble: a peripheral in which nothing is ours but its values.

Bumble is a Bluetooth host of its own, from L2CAP to GATT, so that what the gateway reads here has passed no code of this
repository on the meter's side. The cuff advertises the Blood Pressure Service, and indicates its records one after the
other to whoever subscribes; the next one follows the confirmation of the one before. Confirmed records are said on
standard output ("cuff confirmed HEX"), and are not sent again. It asks for no pairing.
"""

import asyncio
import struct

from bumble.core import UUID, AdvertisingData
from bumble.controller import Controller
from bumble.device import Device
from bumble.gatt import Characteristic, Service
from bumble.hci import Address, OwnAddressType
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

ADDRESS = "C4:DE:0B:00:00:01"
BLOOD_PRESSURE = UUID.from_16_bits(0x1810)
DEVICE_INFORMATION = UUID.from_16_bits(0x180A)
# Core Specification Supplement, part A, sections 1.1, 1.2 and 1.3.
FLAGS, COMPLETE_UUIDS_16, COMPLETE_NAME = 0x01, 0x03, 0x09


def readable(uuid, value):
    return Characteristic(
        UUID.from_16_bits(uuid), Characteristic.Properties.READ, Characteristic.Permissions.READABLE, value
    )


async def add_cuff(radio, records):
    """Puts the cuff on the radio and lets it advertise."""
    controller = Controller("bumble-cuff", link=radio, public_address="F0:F1:F2:F3:F4:F0")
    device = Device("Bumble cuff", Address(ADDRESS), host=Host(controller, AsyncPipeSink(controller)))
    measurement = Characteristic(UUID.from_16_bits(0x2A35), Characteristic.Properties.INDICATE, 0, b"")
    # Every bit of the status means something (page 3, section 2.2).
    feature = readable(0x2A49, struct.pack("<H", 0x001F))
    device.add_services(
        [
            Service(BLOOD_PRESSURE, [measurement, feature]),
            Service(DEVICE_INFORMATION, [readable(0x2A29, b"Bumble"), readable(0x2A24, b"BC-1")]),
        ]
    )
    left = list(records)
    sending = []

    async def send(connection):
        while left:
            await device.indicate_subscriber(connection, measurement, left[0])
            print(f"cuff confirmed {left.pop(0).hex()}", flush=True)

    def subscribed(connection, _notify, indicate):
        for task in sending:
            task.cancel()
        sending.clear()
        if indicate:
            sending.append(asyncio.get_running_loop().create_task(send(connection)))

    measurement.on(Characteristic.EVENT_SUBSCRIPTION, subscribed)
    await device.power_on()
    await device.start_advertising(
        own_address_type=OwnAddressType.RANDOM,
        auto_restart=True,
        advertising_data=bytes(
            AdvertisingData(
                [
                    (FLAGS, bytes([0x06])),
                    (COMPLETE_UUIDS_16, struct.pack("<H", 0x1810)),
                    (COMPLETE_NAME, b"Bumble cuff"),
                ]
            )
        ),
    )
    return device
