"""Publishes the models for others to read: JSON Schemas, an AsyncAPI document, the catalogue of events."""
