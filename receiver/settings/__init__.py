"""The configuration: one TOML file, and the environment above it.

A value comes from the environment (`RECEIVER_SERVER__PORT=9000`), else from the file, else from the
default beside its field. Relative paths are relative to the file's folder.
"""

from __future__ import annotations

from receiver.settings.reading import config_file, load, parse
from receiver.settings.tables import (
    SOURCES,
    CompatibleSettings,
    OpenaiSettings,
    OpennoteSettings,
    Settings,
    SourceSettings,
)
from receiver.settings.values import is_loopback

__all__ = [
    "CompatibleSettings",
    "OpenaiSettings",
    "OpennoteSettings",
    "SOURCES",
    "Settings",
    "SourceSettings",
    "config_file",
    "is_loopback",
    "load",
    "parse",
]
