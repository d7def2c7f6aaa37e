"""The auditor: has an agent judge a change; what it suggests is never applied by itself."""
