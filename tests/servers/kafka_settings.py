"""The settings of the tests' Kafka: nodes that are broker and controller in one, alone or three together."""

from collections.abc import Mapping
from pathlib import Path


def single_node(log_folder: Path, port: int, controller_port: int) -> dict[str, object]:
    """Return the settings of a node on the loopback address, with every internal topic on it alone."""
    return _node(1, log_folder, port, {1: controller_port}) | {
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # A node that was paused, or that a loaded machine holds up, is not given up for dead.
        "broker.session.timeout.ms": 300_000,
    }


def node_of_three(
    node_id: int, log_folder: Path, port: int, controller_ports: Mapping[int, int]
) -> dict[str, object]:
    """Return the settings of one of three nodes, which hold every internal topic together.

    The others take over from one that was killed within some five seconds. Less, and on a loaded machine they
    would take each other for dead.
    """
    return _node(node_id, log_folder, port, controller_ports) | {
        "offsets.topic.replication.factor": 3,
        "transaction.state.log.replication.factor": 3,
        "transaction.state.log.min.isr": 2,
        "share.coordinator.state.topic.replication.factor": 3,
        "share.coordinator.state.topic.min.isr": 2,
        "broker.session.timeout.ms": 4_500,
        "broker.heartbeat.interval.ms": 500,
        "controller.quorum.fetch.timeout.ms": 3_000,
        "controller.quorum.election.timeout.ms": 1_500,
        "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
    }


def properties(settings: Mapping[str, object]) -> str:
    """Return settings as the text of a file of Java's properties."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())


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


def _node(node_id: int, log_folder: Path, port: int, controller_ports: Mapping[int, int]) -> dict[str, object]:
    clients, controller = f"127.0.0.1:{port}", f"127.0.0.1:{controller_ports[node_id]}"
    return {
        "process.roles": "broker,controller",
        "node.id": node_id,
        "controller.quorum.voters": ",".join(f"{one}@127.0.0.1:{at}" for one, at in controller_ports.items()),
        "listeners": f"CLIENTS://{clients},CONTROLLER://{controller}",
        "advertised.listeners": f"CLIENTS://{clients}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": log_folder,
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 500,
    }
