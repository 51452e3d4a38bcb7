"""The handlers that come with the receiver; each module exports its `router`."""
