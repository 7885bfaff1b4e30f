#!/usr/bin/env python3
"""Virtual Bluetooth controllers that share one radio.

usage: radio.py CONTROLLERS [CUFF_RECORDS]

Opens /dev/vhci once for each controller, so that the kernel shows hci0, hci1 and so on as ordinary adapters, and
carries packets between them. With CUFF_RECORDS, a file with one 2A35 value in hexadecimal a line, a cuff that is made
with Bumble alone (bumble_cuff.py) stands within their reach. Prints "radio ready" when everybody is there, and runs
until it is ended.

Needs root, the kernel module hci_vhci, and Bumble.
"""

import asyncio
import sys

from bumble.controller import Controller
from bumble.hci import Address, HCI_LE_Connection_Complete_Event, HCI_LE_Enhanced_Connection_Complete_Event
from bumble.link import LocalLink
from bumble.transport import open_transport

from bumble_cuff import add_cuff


# In the LE event mask: the host wants the enhanced event of a new connection, and no other (Core, volume 4, part E, 7.7.65.10).
ENHANCED_CONNECTION_COMPLETE = 1 << 9


class Adapter(Controller):
    """A controller that tells of a new connection by the event that the host has asked for.

    Controller knows the older one only. The kernel waits for the other in vain, gives the connection up after four seconds,
    and then does nothing when bluetoothd asks it to end it: the link stands until the other side ends it.
    """

    def send_hci_packet(self, packet):
        if isinstance(packet, HCI_LE_Connection_Complete_Event) and self.le_event_mask & ENHANCED_CONNECTION_COMPLETE:
            packet = HCI_LE_Enhanced_Connection_Complete_Event(
                status=packet.status,
                connection_handle=packet.connection_handle,
                role=packet.role,
                peer_address_type=packet.peer_address_type,
                peer_address=packet.peer_address,
                local_resolvable_private_address=Address.ANY_RANDOM,
                peer_resolvable_private_address=Address.ANY_RANDOM,
                connection_interval=packet.connection_interval,
                peripheral_latency=packet.peripheral_latency,
                supervision_timeout=packet.supervision_timeout,
                central_clock_accuracy=packet.central_clock_accuracy,
            )
        super().send_hci_packet(packet)


class Radio(LocalLink):
    """A link that names the sender of data by the address that its connection was made with.

    LocalLink always names the random address, and the receiver of data from a controller that connected with its
    public address does not know whom it is from, and drops it.
    """

    def send_acl_data(self, sender_controller, destination_address, transport, data):
        connection = sender_controller.le_connections.get(destination_address)
        if connection is None:
            super().send_acl_data(sender_controller, destination_address, transport, data)
            return
        receiver = self.find_le_controller(destination_address)
        if receiver is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)


async def main(controllers, records):
    radio = Radio()
    adapters = []
    for index in range(controllers):
        hci = await open_transport("vhci")
        controller = Adapter(
            f"adapter-{index}",
            host_source=hci.source,
            host_sink=hci.sink,
            link=radio,
            public_address=f"F0:F1:F2:F3:F4:{index:02X}",
        )
        adapters.append((hci, controller))
    cuff = await add_cuff(radio, records) if records else None
    print("radio ready", flush=True)
    await asyncio.get_running_loop().create_future()
    del adapters, cuff


if __name__ == "__main__":
    lines = []
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="ascii") as file:
            lines = [bytes.fromhex(line) for line in file.read().split()]
    asyncio.run(main(int(sys.argv[1]), lines))
