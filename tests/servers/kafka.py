"""A real Kafka broker: one node, KRaft, broker and controller in one."""

import asyncio
from pathlib import Path

from servers.java import BROKER
from servers.kafka_node import START_LIMIT_SECONDS, KafkaNode
from servers.kafka_settings import controller_alone, single_node
from servers.ports import free_ports

CONTROLLER = "controller.properties"
NOTED = b"Fencing broker 1"


class KafkaBroker(KafkaNode):
    """A broker with nobody beside it."""

    def __init__(self, folder: Path) -> None:
        port, controller_port = free_ports(2)
        super().__init__(folder, port, single_node(folder.absolute() / "log", port, controller_port), "1g")
        self._was_killed = False

    def kill(self) -> None:
        """End the broker with SIGKILL: it gets to write nothing more."""
        super().kill()
        self._was_killed = True

    async def _recover(self) -> None:
        if self._was_killed:
            await self._declare_dead()
            self._was_killed = False

    async def _declare_dead(self) -> None:
        """Have the controller, alone and in a hurry, note that the killed broker is gone.

        Otherwise the next broker leads its partitions at once, as the dead one, and loses them when the
        controller notices: Kafka 4.4 then takes a partition without a leader for a deleted one, and completes a
        transaction without its marker, so that readers of committed records stand still for ever.
        """
        self._write_settings(CONTROLLER, controller_alone(self._settings))
        before = self._log.stat().st_size
        self._process = self._launch(BROKER, CONTROLLER)
        try:
            async with asyncio.timeout(START_LIMIT_SECONDS):
                while NOTED not in self._log.read_bytes()[before:]:
                    self._check_alive()
                    await asyncio.sleep(0.05)
                await self._written()
        finally:
            await self.stop()

    async def _written(self) -> None:
        """Wait until what the controller has just told its log has been written down as well.

        It is told before it is written, and a controller that ends in between lets it go: the next broker would
        be taken for a second one until it gives up. Records are written in order, and one that says nothing comes
        every half second: that of the moment may be an earlier one, the next is not.
        """
        for _ in range(2):
            size = self._metadata_bytes()
            while self._metadata_bytes() == size:
                self._check_alive()
                await asyncio.sleep(0.05)

    def _metadata_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.glob("log/__cluster_metadata-0/*.log"))
