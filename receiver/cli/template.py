"""The text of a new configuration file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a new configuration is filled with."""

    organization_id: str
    api_key: str
    admin_token: str
    webhook_secret: str
    """For OpenAI-style callbacks, `whsec_…`."""


_TEXT = """\
# The configuration of receiver. Every key has a default but the source's identity and keys.
# Any of them can be given by the environment, too: RECEIVER_SERVER__PORT=9000
# Relative paths start from the folder of this file.

[server]
host = "127.0.0.1"          # 0.0.0.0 behind a firewall or a proxy that speaks TLS
port = 8000
# public_url = "https://hooks.example.com"

[store]
url = "sqlite:///data/receiver.db"

[bodies]
url = "file:///data/bodies" # bodies over 64 KiB, kept as they came

[admin]
token = "{admin_token}"

[sources.opennote]          # callbacks are welcome at /webhooks/opennote
kind = "opennote"
organization_id = "{organization_id}"
api_keys = ["{api_key}"]
{others}
[handlers]
load = [                    # names, modules, or files such as "my_handlers.py"
    "save_video",
    "probe",                # duration, size, codecs and a thumbnail; needs ffmpeg, and is cancelled without
]

[handlers.save_video]
directory = "videos"
"""

_REAL = """\
# s3_base_url = "http://127.0.0.1:8100/videofs"   # where `receiver sandbox` keeps its videos

# [sources.openai]          # OpenAI: signed callbacks, welcome at /webhooks/openai
# kind = "openai"
# webhook_secrets = ["whsec_…"]
# api_key = "sk-…"

# [sources.ope]             # a gateway that speaks OpenAI's API and never calls: it is asked
# kind = "openai-compatible"
# api_key = "sk-…"
# api_url = "https://api-platform.ope.ai/v1"
"""
_SANDBOX = """\
s3_base_url = "{sandbox_url}/videofs"
api_url = "{sandbox_url}"

[sources.openai]            # signed callbacks, welcome at /webhooks/openai
kind = "openai"
webhook_secrets = ["{webhook_secret}"]
api_key = "{api_key}"
api_url = "{sandbox_url}/v1"

[sources.gateway]           # speaks OpenAI's API and never calls: it is asked
kind = "openai-compatible"
api_key = "{api_key}"
api_url = "{sandbox_url}/compatible/v1"

[watch]
first_interval = "1s"       # the sandbox is quick
"""


def configuration(credentials: Credentials, *, sandbox_url: str | None = None) -> str:
    """Write a commented configuration with these credentials, for a sandbox's providers if there is one."""
    others = _REAL
    if sandbox_url:
        others = _SANDBOX.format(
            sandbox_url=sandbox_url,
            api_key=credentials.api_key,
            webhook_secret=credentials.webhook_secret,
        )
    return _TEXT.format(
        admin_token=credentials.admin_token,
        organization_id=credentials.organization_id,
        api_key=credentials.api_key,
        others=others,
    )
