"""`spanwise doctor`."""

import json
from typing import Annotated

import typer

from spanwise.cli.common import Debug, DeviceMap, Json, ModelName, quiet


def doctor(
    model: ModelName = "tiny",
    device_map: DeviceMap = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Check that the numbers are right with the versions installed here: offline, under a minute.

    Exit code 1 when a promise is broken. A model of your own is loaded in float32, and again for each quantization.
    """
    from spanwise.evaluation.doctor.doctor import doctor as diagnose

    with quiet(as_json):
        found = diagnose(model, device_map=device_map, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        found.show()
    if found.broken:
        raise typer.Exit(1)
