"""Stand-ins for the providers on loopback, for trying things and for tests; the service never imports them.

`options` says what to serve, `server` serves it, `app` puts it together.
"""
