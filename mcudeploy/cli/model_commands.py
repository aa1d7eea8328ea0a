# SPDX-License-Identifier: Apache-2.0
"""The commands that start from a model: fit, quantize, generate, deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app

if TYPE_CHECKING:
    from mcudeploy.advice import Remedy
    from mcudeploy.deployment import Options


def _options(**chosen: Any) -> Options:
    from mcudeploy.deployment import Options

    values = {key: getattr(value, "value", value) for key, value in chosen.items()}
    values["disabled_passes"] = tuple(values.get("disabled_passes") or ())
    return Options(**values)


@app.command()
def fit(
    model: opt.Model,
    board: opt.BoardName,
    calibration: opt.Calibration = None,
    scaling: opt.Scaling = None,
    evaluate: opt.Evaluate = None,
    dtype: Annotated[
        opt.Dtype, typer.Option("--dtype", help="float32 counts, it does not build.")
    ] = opt.Dtype.int8,
    weights_in: Annotated[
        opt.WeightsIn, typer.Option("--weights-in", help="With float32: where parameters live.")
    ] = opt.WeightsIn.flash,
    ram: opt.RamBudget = None,
    flash: opt.FlashBudget = None,
    use_external: opt.UseExternal = False,
    stream: opt.Streaming = opt.StreamMode.auto,
    ram_budget: opt.ArenaBudget = None,
    row_fed: opt.RowFed = False,
    kernels: opt.KernelChoice = opt.Kernels.auto,
    optimize: opt.Optimization = opt.Optimize.balanced,
    io: opt.Edges = opt.Io.declared,
    disable_pass: opt.DisabledPasses = None,
    plot: opt.Plot = None,
    html: opt.Html = None,
    json: opt.AsJson = False,
) -> None:
    """Does MODEL fit the board? RAM and flash by region, operator by operator.

    Example: mcudeploy fit lenet.h5 --board stm32f469
    """
    from mcudeploy import api
    from mcudeploy.report import terminal

    options = _options(
        calibration=calibration, scaling=scaling, evaluate=evaluate, dtype=dtype,
        weights_in=weights_in, ram=ram, flash=flash, use_external=use_external, kernels=kernels,
        optimize=optimize, disabled_passes=disable_pass, stream=stream, ram_budget=ram_budget,
        row_fed=row_fed, io=io,
    )  # fmt: skip
    with terminal.progress() as progress:
        deployment = api.prepare(model, board, options, progress=progress)
    out = terminal.console()
    if not json:
        terminal.print_fit(deployment.report, out)
    advisable = not deployment.report.fits and dtype is opt.Dtype.int8
    advice: tuple[Remedy, ...] = ()
    if advisable:
        with terminal.progress() as progress:
            advice = api.advise(deployment, progress=progress)
    if plot is not None:
        from mcudeploy.report.plot_plan import plot_plan

        plot_plan(deployment.plan, plot)
    if html is not None:
        from mcudeploy.report import html as pages

        pages.write_page(html, pages.fit_page(deployment, advice, commands=opt.as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(
            document(
                "fit", report=deployment.report, evaluation=deployment.evaluation, advice=advice
            )
        )
    else:
        if advisable:
            terminal.print_advice(advice, out)
        if deployment.evaluation is not None:
            from mcudeploy.report import results

            results.print_evaluation(deployment.evaluation, out)
    raise typer.Exit(0 if deployment.report.fits else 1)


@app.command()
def quantize(
    model: opt.Model,
    output: opt.TfliteOutput,
    calibration: opt.Calibration = None,
    synthetic_calibration: opt.Synthetic = False,
    scaling: opt.Scaling = None,
    evaluate: opt.Evaluate = None,
    json: opt.AsJson = False,
) -> None:
    """Quantize a Keras MODEL to an int8 .tflite.

    Example: mcudeploy quantize lenet.h5 -o lenet.tflite --calibration images/ --scaling 0..1
    """
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    options = _options(
        calibration=calibration, synthetic_calibration=synthetic_calibration, scaling=scaling,
        evaluate=evaluate,
    )  # fmt: skip
    with terminal.progress() as progress:
        quantized = api.quantize(model, output, options, progress=progress)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(
            document(
                "quantize",
                output=output,
                bytes=len(quantized.tflite),
                calibration=quantized.calibration,
                notes=quantized.notes,
                warnings=quantized.warnings,
                evaluation=quantized.evaluation,
            )
        )
        return
    results.print_quantized(quantized, output, terminal.console())


@app.command()
def generate(
    model: opt.Model,
    board: opt.BoardName,
    output: opt.Output,
    calibration: opt.Calibration = None,
    synthetic_calibration: opt.Synthetic = False,
    scaling: opt.Scaling = None,
    evaluate: opt.Evaluate = None,
    labels: opt.Labels = None,
    use_external: opt.UseExternal = False,
    stream: opt.Streaming = opt.StreamMode.auto,
    ram_budget: opt.ArenaBudget = None,
    row_fed: opt.RowFed = False,
    kernels: opt.KernelChoice = opt.Kernels.auto,
    optimize: opt.Optimization = opt.Optimize.balanced,
    io: opt.Edges = opt.Io.declared,
    disable_pass: opt.DisabledPasses = None,
    layout: Annotated[
        opt.Layout, typer.Option("--as", help="A whole firmware, or a library for another one.")
    ] = opt.Layout.project,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="NAME", help="Of a library's C names and files.")
    ] = "model",
    share_arena: Annotated[
        bool,
        typer.Option("--share-arena", metavar="", help="Libraries of one firmware use one arena."),
    ] = False,
    json: opt.AsJson = False,
) -> None:
    """Write the firmware project of MODEL for the board.

    Example: mcudeploy generate lenet.h5 --board stm32f469 -o firmware --calibration train.npz
    """
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    options = _options(
        calibration=calibration, synthetic_calibration=synthetic_calibration, scaling=scaling,
        evaluate=evaluate, use_external=use_external, kernels=kernels, optimize=optimize,
        disabled_passes=disable_pass, stream=stream, ram_budget=ram_budget, row_fed=row_fed, io=io,
    )  # fmt: skip
    with terminal.progress() as progress:
        project = api.generate(
            model, board, output, options, labels=labels,
            form=api.Form(layout.value, prefix, share_arena), progress=progress,
        )  # fmt: skip
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("generate", project=project.folder, manifest=project.manifest))
    else:
        results.print_generated(project, terminal.console())
    raise typer.Exit(0 if project.deployment.report.fits else 1)


@app.command()
def deploy(
    model: opt.Model,
    board: opt.BoardName,
    output: opt.Output,
    calibration: opt.Calibration = None,
    synthetic_calibration: opt.Synthetic = False,
    scaling: opt.Scaling = None,
    evaluate: opt.Evaluate = None,
    labels: opt.Labels = None,
    emulator: opt.EmulatorName = "unicorn",
    use_external: opt.UseExternal = False,
    stream: opt.Streaming = opt.StreamMode.auto,
    ram_budget: opt.ArenaBudget = None,
    row_fed: opt.RowFed = False,
    kernels: opt.KernelChoice = opt.Kernels.auto,
    optimize: opt.Optimization = opt.Optimize.balanced,
    io: opt.Edges = opt.Io.declared,
    disable_pass: opt.DisabledPasses = None,
    html: opt.Html = None,
    json: opt.AsJson = False,
) -> None:
    """All of it in one go: fit, generate, build, and test on an emulator.

    Example: mcudeploy deploy lenet.h5 --board stm32f469 -o firmware --calibration train.npz
    """
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    options = _options(
        calibration=calibration, synthetic_calibration=synthetic_calibration, scaling=scaling,
        evaluate=evaluate, use_external=use_external, kernels=kernels, optimize=optimize,
        disabled_passes=disable_pass, stream=stream, ram_budget=ram_budget, row_fed=row_fed, io=io,
    )  # fmt: skip
    with terminal.progress() as progress:
        deployed = api.deploy(
            model, board, output, options, labels=labels, emulator=emulator, progress=progress
        )
    if html is not None:
        from mcudeploy.report import html as pages

        pages.write_page(html, pages.deploy_page(deployed, commands=opt.as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("deploy", **deployed.to_document()))
    else:
        results.print_deployed(deployed, terminal.console())
    raise typer.Exit(0 if deployed.passed else 1)
