"""Plots as data, and their drawing with matplotlib: the same bytes from the same data.

matplotlib is loaded by the first drawing, so that a scenario may make plots where it is absent.
"""

# lazy imports: matplotlib belongs to an extra that may be absent, and takes a second to load
from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from typing import Any, Literal, final

import attrs

from ..errors import LocalError

#: Okabe & Ito 2008: told apart by everybody, in print too. Yellow is left out: too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
MARKERS = "osD^vPX*"
FORMATS: tuple[Literal["png"], Literal["svg"]] = ("png", "svg")
#: Of the panels of one picture: as many as a page shows without being turned.
PANELS_ACROSS = 3
#: So many values that were measured are ticks themselves.
TICKS_FEW = 5

#: What makes one plot look like the next. The salt and the missing date make its bytes the same.
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.labelcolor": "#333333",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.dpi": 110,
    "figure.figsize": (7.2, 4.5),
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.hashsalt": "dht.lab",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}


@final
@attrs.frozen(kw_only=True)
class Series:
    """One curve. ``look``: "measured" has points, "limit" is dashed and grey unless it shares the
    name in ``like``, whose colour it takes then; "published" is hollow points without a line."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    look: Literal["measured", "limit", "published"] = "measured"
    #: The ends of the interval of each value, where there is one.
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    like: str = ""


@final
@attrs.frozen(kw_only=True)
class Plot:
    """A picture to be: ``name`` is that of its file, axes are logarithmic where it is said."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float, float] | None = None


def render(plot: Plot, kind: Literal["png", "svg"]) -> bytes:
    """The picture's file. Raises ``LocalError`` where matplotlib is not installed."""
    return _render([plot], kind, size=None)


def render_panels(plots: Sequence[Plot], kind: Literal["png", "svg"]) -> bytes:
    """All of them in one picture, ``PANELS_ACROSS`` side by side, with one legend for all. Raises
    as ``render`` does."""
    across = min(PANELS_ACROSS, len(plots))
    down = -(-len(plots) // across)
    return _render(plots, kind, size=(4.6 * across, 3.2 * down + 0.8))


def _render(
    plots: Sequence[Plot], kind: Literal["png", "svg"], *, size: tuple[float, float] | None
) -> bytes:
    if kind not in FORMATS:
        raise LocalError(f"a plot is drawn as {' or '.join(FORMATS)}, got {kind!r}")
    check_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it keeps every figure in a global list, and would look for a screen.
    with mpl.rc_context(_STYLE):
        figure = (
            Figure(layout="constrained") if size is None else Figure(size, layout="constrained")
        )
        FigureCanvasAgg(figure)
        across = min(PANELS_ACROSS, len(plots))
        legend: dict[str, Any] = {}
        for number, plot in enumerate(plots, 1):
            axes = figure.add_subplot(-(-len(plots) // across), across, number)
            _draw(axes, plot)
            handles, names = axes.get_legend_handles_labels()
            legend |= dict(zip(names, handles, strict=True))
            if size is None:
                # Beside the curves, never on them.
                axes.legend(
                    loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, handlelength=2.4
                )
        if size is not None:
            figure.legend(
                list(legend.values()),
                list(legend),
                loc="outside lower center",
                ncols=min(5, len(legend)),
            )
        written = BytesIO()
        date = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(written, format=kind, metadata=date)
    return written.getvalue()


def check_matplotlib() -> None:
    """Raises ``LocalError`` where matplotlib is not installed: before an hour's work, not after."""
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise LocalError("plots need matplotlib: pip install 'dht[lab]'") from None


def _draw(axes: Any, plot: Plot) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_title(plot.title)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.set_xscale("log" if plot.x_log else "linear")
    axes.set_yscale("log" if plot.y_log else "linear")
    measured = [each.name for each in plot.series if each.look == "measured"]
    for series in plot.series:
        number = next(
            (at for at, name in enumerate(measured) if name in {series.name, series.like}), None
        )
        colour = "#777777" if number is None else COLOURS[number % len(COLOURS)]
        match series.look:
            case "measured":
                marker = MARKERS[(number or 0) % len(MARKERS)]
                axes.plot(series.xs, series.ys, color=colour, marker=marker, label=series.name)
                if series.lows:
                    axes.fill_between(
                        series.xs, series.lows, series.highs, color=colour, alpha=0.18, linewidth=0
                    )
            case "limit":
                axes.plot(
                    series.xs, series.ys, color=colour, linestyle=(0, (4, 2)), linewidth=1.1,
                    label=series.name,
                )  # fmt: skip
            case "published":
                axes.plot(
                    series.xs, series.ys, color=colour, marker="o", linestyle="none",
                    markersize=9, markerfacecolor="none", markeredgewidth=1.4, label=series.name,
                )  # fmt: skip
    if plot.y_range is not None:
        axes.set_ylim(*plot.y_range)
    for axis, log in ((axes.xaxis, plot.x_log), (axes.yaxis, plot.y_log)):
        if log:
            low, high = axis.get_view_interval()
            # Over two decades their powers are enough.
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
            axis.set_major_formatter(_plain)
            axis.set_minor_formatter(NullFormatter())
    places = sorted({x for each in plot.series if each.look == "measured" for x in each.xs})
    if plot.x_log and len(places) <= TICKS_FEW and all(float(x).is_integer() for x in places):
        # On less than a decade there would be no tick with a number, or one.
        axes.set_xticks(places)


def _plain(value: float, _: int) -> str:
    """1,000 rather than ten to the third."""
    return f"{value:,.10g}" if value >= 0.001 else f"{value:g}"  # noqa: PLR2004 - short until then
