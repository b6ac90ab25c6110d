"""`spanwise demo`."""

from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import quiet
from spanwise.errors import FileError

DEMO_PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
DEMO_TARGET = " painting, traveling to different countries, and volunteering at community events."
DEMO_SPAN = "traveling to different countries"


def demo(
    output: Annotated[Path, typer.Option(help="The folder to write to; made if it is not there.")] = Path("out/demo"),
    quantization: Annotated[str, typer.Option(help="nf4, fp4 or int8.")] = "nf4",
) -> None:
    """Run the main job on the bundled 4-bit model: offline, a few seconds."""
    import spanwise

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {output}: {error.strerror}.") from error
    with quiet(False):
        lm = spanwise.load_model("tiny", quantization=quantization)
        typer.echo(f"loaded {lm}")
        for method in ("feature_ablation", "integrated_gradients"):
            result = spanwise.attribute(lm, DEMO_PROMPT, DEMO_TARGET, span=DEMO_SPAN, rows="token", method=method)
            result.show()
    result.plot(output / "heatmap.png")
    result.plot(output / "bars.png", kind="bars")
    result.save(output / "attribution.safetensors")
    for name in ("heatmap.png", "bars.png", "attribution.safetensors"):
        typer.echo(f"wrote {output / name}")
    typer.echo(f"""
The same in Python:
  lm = spanwise.load_model("tiny", quantization="{quantization}")
  result = spanwise.attribute(lm, "{DEMO_PROMPT}", "{DEMO_TARGET}", span="{DEMO_SPAN}")
  result.show(); result.plot("bars.png", kind="bars"); result.save("attribution.safetensors")""")
