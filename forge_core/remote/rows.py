"""What Vast.ai answers, read through strict models; fields as in https://docs.vast.ai (API reference, instances).

Hosts are strangers, and they choose some of the texts: each text is made printable and cut here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from forge_core.text import printable

HOURS_A_MONTH = 730  # as Vast counts the price of disks

Line = Annotated[str, AfterValidator(lambda text: printable(text.strip())[:200])]
Dollars = Annotated[float, Field(ge=0)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$")]  # goes into ssh_config
Port = Annotated[
    int,
    BeforeValidator(lambda port: int(port) if isinstance(port, str) and port.isascii() and port.isdigit() else port),
    Field(ge=1, le=65535),
]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Offer(_Answer):
    """A machine to rent. Prices in $ per hour; `usd_per_hour` (on demand) includes the disk, `least_bid` does not."""

    id: Annotated[int, Field(gt=0)]
    gpu: Line = Field("?", alias="gpu_name")
    gpu_ram_mb: Dollars = Field(0.0, alias="gpu_ram")
    usd_per_hour: Annotated[float, Field(gt=0, alias="dph_total")]
    least_bid: Dollars = Field(0.0, alias="min_bid")
    usd_per_gb_month: Dollars = Field(0.0, alias="storage_cost")
    inet_down_mbps: Dollars = Field(0.0, alias="inet_down")
    reliability: Dollars = 0.0
    place: Line = Field("?", alias="geolocation")

    def price(self, bid: float | None, disk_gb: int) -> float:
        """$ per hour, disk included."""
        return self.usd_per_hour if bid is None else bid + self.usd_per_gb_month * disk_gb / HOURS_A_MONTH


class Instance(_Answer):
    """A rented machine. `status`: running, loading, stopped, exited, offline, unknown, ... or "".

    What cannot be read has its default (`id` 0, None for prices and `address`), and `odd` names it.
    """

    id: Annotated[int, Field(ge=0)] = 0
    label: Line = ""
    gpu: Line = Field("?", alias="gpu_name")
    status: Line = Field("", alias="actual_status")
    intended: Line = Field("", alias="intended_status")
    message: Line = Field("", alias="status_msg")
    usd_per_hour: Dollars | None = Field(None, alias="dph_total")
    disk_total: Dollars | None = Field(None, alias="storage_total_cost")  # $ per hour
    disk_gb: Dollars | None = Field(None, alias="disk_space")
    usd_per_gb_month: Dollars | None = Field(None, alias="storage_cost")
    address: tuple[HostName, Port] | None = None  # of ssh
    odd: str = ""

    @property
    def disk_usd_per_hour(self) -> float | None:
        if self.disk_total is None and self.disk_gb is not None and self.usd_per_gb_month is not None:
            return self.disk_gb * self.usd_per_gb_month / HOURS_A_MONTH
        return self.disk_total

    @property
    def billed_per_hour(self) -> float | None:
        """$ per hour at this moment: all of it while it runs, the disk alone while it is stopped. None: not known."""
        return self.disk_usd_per_hour if self.status in ("stopped", "exited") else self.usd_per_hour


class Page(_Answer):
    """One page of the account's instances."""

    success: Literal[True] = True
    instances: list[Any]
    next_token: str | None = None


class Created(_Answer):
    """A yes to `create`; `new_contract` is the number of the instance."""

    success: Literal[True]
    new_contract: Annotated[int, Field(gt=0)]


class Charges(_Answer):
    """One page of the account's charges."""

    results: list[dict]
    next_token: str | None = None


class Charge(_Answer):
    amount: float


def present(row: Any) -> Any:
    """A row without its empty fields, which then have their defaults."""
    return {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else row


def instance(row: Any) -> Instance:
    """A row of the account's list; whatever it is, it may be billed, so it is never left out."""
    if not isinstance(row, dict):
        return Instance(odd=printable(f"a row that is no record: {row!r:.60}"))
    values = present(row) | {"address": _address(present(row)), "odd": ""}
    try:
        return Instance.model_validate(values)
    except ValidationError as error:
        bad = {problem["loc"][0] for problem in error.errors()}
        kept = {name: value for name, value in values.items() if name not in bad}
        return Instance.model_validate(kept | {"odd": why(error)})


def _address(row: dict) -> tuple | None:
    """Its own port where it has one, else Vast's relay; not checked yet."""
    match row:
        case {"ports": {"22/tcp": [{"HostPort": port}, *_]}, "public_ipaddr": str(host)} if host.strip():
            return host.strip(), port
        case {"ssh_host": host, "ssh_port": port} if host:
            return host, port
    return None


def why(error: ValidationError) -> str:
    """The fields that are wrong, in one line."""
    lines = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"])) or "answer"
        value = "" if problem["type"] == "missing" else f", got {problem['input']!r:.60}"
        lines.append(f"{name}: {problem['msg']}{value}")
    return printable("; ".join(lines))
