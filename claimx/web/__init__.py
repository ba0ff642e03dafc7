"""The ``web`` process."""
