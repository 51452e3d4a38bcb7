"""The configuration: one TOML file, and the environment above it.

A value comes from the environment (`RECEIVER_SERVER__PORT=9000`), else from the file, else from the
default beside its field. Relative paths are relative to the file's folder.
"""

from __future__ import annotations

from receiver.settings.reading import config_file, load, parse
from receiver.settings.tables import OpennoteSettings, Settings
from receiver.settings.values import is_loopback

__all__ = ["OpennoteSettings", "Settings", "config_file", "is_loopback", "load", "parse"]
