"""The settings of the tests' Kafka: one node that is broker and controller."""

from collections.abc import Mapping
from pathlib import Path


def single_node(log_folder: Path, port: int, controller_port: int) -> dict[str, object]:
    """Return the settings of a node on the loopback address, with every internal topic on it alone."""
    clients, controller = f"127.0.0.1:{port}", f"127.0.0.1:{controller_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"CLIENTS://{clients},CONTROLLER://{controller}",
        "advertised.listeners": f"CLIENTS://{clients}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": log_folder,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 500,
        # A node that was paused, or that a loaded machine holds up, is not given up for dead.
        "broker.session.timeout.ms": 300_000,
    }


def controller_alone(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of the same node as a mere controller, which gives a silent broker up at once."""
    without_clients = {
        "process.roles": "controller",
        "listeners": str(settings["listeners"]).partition(",")[2],
        "broker.session.timeout.ms": 100,
        "broker.heartbeat.interval.ms": 50,
    }
    kept = {
        key: value
        for key, value in settings.items()
        if key not in {"advertised.listeners", "inter.broker.listener.name"}
    }
    return kept | without_clients
