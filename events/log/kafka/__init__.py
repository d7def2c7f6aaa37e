"""The log on Kafka: topics, one transactional writer a partition, readers of what is committed."""

from events.log.kafka.connection import Security, Timing
from events.log.kafka.failures import (
    NotSubmitted,
    RecordTooLarge,
    StepTooLarge,
    TopicsUnfit,
)
from events.log.kafka.log import KafkaLog

__all__ = [
    "KafkaLog",
    "NotSubmitted",
    "RecordTooLarge",
    "Security",
    "StepTooLarge",
    "Timing",
    "TopicsUnfit",
]
