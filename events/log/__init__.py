"""The log: the port, and its adapters for Kafka and Postgres."""
