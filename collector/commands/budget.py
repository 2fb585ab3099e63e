"""The option of those commands that detect; the others need not load what its usual value comes from."""

from typing import Annotated

import typer

from collector.analysis.settings import USUAL_BUDGET

__all__ = ["BudgetOption"]

BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget",
        min=0,
        metavar="ALERTS",
        help="False alerts that may come per replica and day; less is quieter and finds less. Goes before --config.",
        show_default=f"{USUAL_BUDGET}",
    ),
]
