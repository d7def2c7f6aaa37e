"""The checker's own reader of a log on Kafka, while services go on."""

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.partitions import home_partition
from faults.invariants import kafka_log
from servers.kafka import KafkaBroker
from support.kafka_log import PARTITIONS, fresh_prefix, opened_log, record


async def test_what_is_let_go_of_while_it_is_read_is_passed_over(kafka_broker: KafkaBroker) -> None:
    prefix = fresh_prefix()
    place = TopicPartition(f"{prefix}{Topic.RESULTS}", home_partition("p", PARTITIONS))
    async with opened_log(kafka_broker.bootstrap, prefix) as log:
        await log.submit(Topic.RESULTS, [record(str(number)) for number in range(10)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    await admin.start()
    try:
        async with kafka_log._consumer(kafka_broker.bootstrap, "read_committed") as consumer:
            begin = consumer.beginning_offsets

            async def then_let_go(places: list[TopicPartition]) -> dict[TopicPartition, int]:
                consumer.beginning_offsets = begin
                found = await begin(places)
                await admin.delete_records({place: RecordsToDelete(4)})
                return found

            consumer.beginning_offsets = then_let_go
            found = await kafka_log._all(consumer, [place])
    finally:
        await admin.close()
    assert [one.offset for one in found] == list(range(4, 10))
