"""The tables of the configuration: every key, its default, and what it is for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from receiver.settings.values import (
    BaseUrl,
    BodiesUrl,
    HeaderSecret,
    HeaderSecrets,
    HeaderText,
    Host,
    Proxies,
    Remembered,
    StoreUrl,
    WebhookSecrets,
)
from receiver.units import Duration, Size

SECRETS = ("api_keys", "api_key", "webhook_secrets", "token")
"""Keys that may be given as `…_file`, too."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class ServerSettings(_Table):
    """`[server]`: the endpoint."""

    host: Host = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 = any free one.")
    public_url: BaseUrl | None = Field(None, description="Where senders reach this receiver.")
    max_body: Size = Field(2**30, gt=0, description="Largest body that is accepted.")
    max_uploads: int = Field(64, ge=1, le=10_000, description="Bodies over 64 KiB that may arrive at once.")
    max_upload_bytes: Size = Field(16 * 2**30, gt=0, description="Bytes of them all; one alone always may.")
    trusted_proxies: Proxies = Field((), description="Addresses and networks whose X-Forwarded-For counts.")


class StoreSettings(_Table):
    """`[store]`: where events are recorded."""

    url: StoreUrl = Field("sqlite:///data/receiver.db", description="The database.")


class BodiesSettings(_Table):
    """`[bodies]`: where bodies over 64 KiB are kept."""

    url: BodiesUrl = Field("file:///data/bodies", description="The folder of the body files.")
    reserve: Size = Field(256 * 2**20, description="Disk space that large bodies must leave free.")


class AdminSettings(_Table):
    """`[admin]`: who may look from outside."""

    token: SecretStr | None = Field(None, description="Token of the API; none = the API is off.")
    metrics_public: bool = Field(False, description="Whether metrics need no token.")


class ListenSettings(_Table):
    """`[listen]`: following another receiver."""

    token: SecretStr = Field(SecretStr(""), description="The admin token of the receiver that is followed.")


class WorkerSettings(_Table):
    """`[worker]`: how handlers are run."""

    concurrency: int = Field(16, ge=1, le=10_000, description="Jobs at a time in one worker process.")
    lease: Duration = Field(
        timedelta(seconds=60), ge=timedelta(seconds=1), description="How long a silent worker keeps its jobs."
    )
    priority: Literal["idle", "low", "normal"] = Field(
        "idle",
        description="idle: what nobody else wants of the processors; low: nice 10, beside busy programs.",
    )
    max_memory: Size = Field(2 * 2**30, description="Memory at which a worker process is replaced.")
    max_video: Size = Field(8 * 2**30, gt=0, description="Largest video that is fetched.")


class RetentionSettings(_Table):
    """`[retention]`: how long things are kept."""

    events: Remembered = Field(timedelta(days=30), description="Events whose jobs have all ended.")
    dead: Remembered = Field(timedelta(days=90), description="Events with a dead job, if that is longer.")
    bodies: Duration = Field(
        timedelta(days=30), ge=timedelta(hours=1), description="Body files of such events."
    )


class WatchSettings(_Table):
    """`[watch]`: how providers are asked for videos of which nothing is heard."""

    missed_after: Duration = Field(
        timedelta(minutes=10), description="How long a callback is waited for before its provider is asked."
    )
    deadline: Duration = Field(timedelta(hours=24), description="When a video is given up.")
    first_interval: Duration = Field(
        timedelta(seconds=5), gt=timedelta(0), description="Between the first questions about a video."
    )
    longest_interval: Duration = Field(
        timedelta(minutes=5), gt=timedelta(0), description="Between the last ones."
    )
    requests_per_second: float = Field(5.0, gt=0, le=1000, description="Questions of all watches together.")
    concurrency: int = Field(8, ge=1, le=1000, description="Answers that are waited for at a time.")


class LogSettings(_Table):
    """`[log]`: what is written to standard error."""

    format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, else JSON lines."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severity that is written."
    )


class OpennoteSettings(_Table):
    """`[sources.NAME]` of kind `opennote`: one organisation."""

    kind: Literal["opennote"]
    organization_id: HeaderText = Field(description="What X-Organization-Id must say.")
    api_keys: HeaderSecrets = Field(description="All live keys; X-API-Key must be one of them.")
    s3_base_url: BaseUrl = Field(
        "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com",
        description="Videos are fetched from below this URL only.",
    )
    api_url: BaseUrl = Field("https://api.opennote.com", description="The provider's API.")
    confirm: bool = Field(False, description="Whether the API is asked before any handler runs.")
    max_body: Size | None = Field(None, gt=0, description="Largest body; default: the server's.")


class OpenaiSettings(_Table):
    """`[sources.NAME]` of kind `openai`: one project, with its signed callbacks."""

    kind: Literal["openai"]
    webhook_secrets: WebhookSecrets = Field(description="All live secrets; one of them signs a callback.")
    api_key: HeaderSecret = Field(description="The key of the API, which is asked for videos.")
    api_url: BaseUrl = Field("https://api.openai.com/v1", description="The provider's API.")
    max_body: Size = Field(2**20, gt=0, description="Largest body, and largest answer of the API.")


class CompatibleSettings(_Table):
    """`[sources.NAME]` of kind `openai-compatible`: a gateway that speaks the same API, and never calls."""

    kind: Literal["openai-compatible"]
    api_key: HeaderSecret = Field(description="The key of the API.")
    # Without a default, so that no key is ever sent to a gateway that it does not belong to.
    api_url: BaseUrl = Field(description="The gateway's API, as a rule with /v1 at its end.")
    max_body: Size = Field(2**20, gt=0, description="Largest answer of the API.")


SourceSettings = OpennoteSettings | OpenaiSettings | CompatibleSettings
SOURCES: dict[str, type[OpennoteSettings] | type[OpenaiSettings] | type[CompatibleSettings]] = {
    "opennote": OpennoteSettings,
    "openai": OpenaiSettings,
    "openai-compatible": CompatibleSettings,
}
"""Every kind of source, and its table."""


class HandlersSettings(BaseModel):
    """`[handlers]`: what is loaded; every other key is the table of a router's settings."""

    model_config = ConfigDict(extra="allow", frozen=True)
    load: tuple[str, ...] = Field(("save_video",), description="Handler modules, each a SPEC.")

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The settings of routers, by the router's name."""
        return dict(self.__pydantic_extra__ or {})


class Settings(_Table):
    """The whole configuration, and the folder that its relative paths start from."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    bodies: BodiesSettings = BodiesSettings()
    admin: AdminSettings = AdminSettings()
    listen: ListenSettings = ListenSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    watch: WatchSettings = WatchSettings()
    log: LogSettings = LogSettings()
    sources: dict[str, Annotated[SourceSettings, Field(discriminator="kind")]] = Field(default_factory=dict)
    handlers: HandlersSettings = HandlersSettings()
    folder: Path = Field(exclude=True)
    file: Path | None = Field(exclude=True)

    @property
    def database(self) -> Path:
        """The path of the SQLite file."""
        return self.folder / self.store.url.removeprefix("sqlite:///")

    @property
    def bodies_folder(self) -> Path:
        """The folder of the body files."""
        return self.folder / self.bodies.url.removeprefix("file:///")
