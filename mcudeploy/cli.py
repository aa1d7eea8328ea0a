# SPDX-License-Identifier: Apache-2.0
"""The commands: arguments in, one call per stage, printing out.

Exit codes: 0 yes, 1 a clear no (does not fit, differs, over budget), 2 bad input or a missing
tool. Results go to standard output, progress and errors to standard error. Everything beyond
typer is imported by the command that needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcudeploy import cli_options as opt
from mcudeploy.errors import McudeployError

if TYPE_CHECKING:
    from mcudeploy.deployment import Options

app = typer.Typer(
    name="mcudeploy",
    help="Neural networks on microcontrollers: does it fit, is it right, how fast is it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[  # taken out by main(), wherever it stands; here for the help alone
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")
    ] = False,
) -> None:
    if version:
        from mcudeploy import __version__

        typer.echo(f"mcudeploy {__version__}")
        raise typer.Exit


def _options(**chosen: Any) -> Options:
    from mcudeploy.deployment import Options

    values = {key: getattr(value, "value", value) for key, value in chosen.items()}
    values["disabled_passes"] = tuple(values.get("disabled_passes") or ())
    return Options(**values)


def _as_typed() -> tuple[str, ...]:
    """The command line that is being run, as a shell would take it."""
    import shlex

    return (shlex.join(["mcudeploy", *sys.argv[1:]]),)


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
    kernels: opt.KernelChoice = opt.Kernels.auto,
    optimize: opt.Optimization = opt.Optimize.balanced,
    disable_pass: opt.DisabledPasses = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the plan (.png, .svg).")
    ] = None,
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
        optimize=optimize, disabled_passes=disable_pass,
    )  # fmt: skip
    with terminal.progress() as progress:
        deployment = api.prepare(model, board, options, progress=progress)
    if plot is not None:
        from mcudeploy.report.plot_plan import plot_plan

        plot_plan(deployment.plan, plot)
    if html is not None:
        from mcudeploy.report import html as pages

        pages.write_page(html, pages.fit_page(deployment, commands=_as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("fit", report=deployment.report, evaluation=deployment.evaluation))
    else:
        out = terminal.console()
        terminal.print_fit(deployment.report, out)
        if deployment.evaluation is not None:
            from mcudeploy.report import results

            results.print_evaluation(deployment.evaluation, out)
    raise typer.Exit(0 if deployment.report.fits else 1)


@app.command()
def quantize(
    model: opt.Model,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .tflite.")],
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
    kernels: opt.KernelChoice = opt.Kernels.auto,
    optimize: opt.Optimization = opt.Optimize.balanced,
    disable_pass: opt.DisabledPasses = None,
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
        disabled_passes=disable_pass,
    )  # fmt: skip
    with terminal.progress() as progress:
        project = api.generate(model, board, output, options, labels=labels, progress=progress)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("generate", project=project.folder, manifest=project.manifest))
    else:
        results.print_generated(project, terminal.console())
    raise typer.Exit(0 if project.deployment.report.fits else 1)


@app.command()
def build(project: opt.Project, json: opt.AsJson = False) -> None:
    """Build a project with PlatformIO; then predicted against linked sizes."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    with terminal.progress() as progress:
        built = api.build(project, progress=progress)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("build", build=built))
    else:
        results.print_build(built, terminal.console())
    raise typer.Exit(0 if built.fits else 1)


@app.command()
def test(
    project: opt.Project,
    emulator: opt.EmulatorName = "unicorn",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATA", help="An .npz of x (and y): compare on these too."),
    ] = None,
    random: Annotated[
        int, typer.Option("--random", min=0, help="How many random inputs besides the extremes.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Of the random inputs.")] = 0,
    json: opt.AsJson = False,
) -> None:
    """Emulator in the loop: every operator's output against the golden reference."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    with terminal.progress() as progress:
        tested = api.test(
            project, emulator=emulator, data=data, random=random, seed=seed, progress=progress
        )
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("test", **tested.to_document()))
    else:
        results.print_test(tested, terminal.console())
    raise typer.Exit(0 if tested.passed else 1)


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
    kernels: opt.KernelChoice = opt.Kernels.auto,
    optimize: opt.Optimization = opt.Optimize.balanced,
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
        disabled_passes=disable_pass,
    )  # fmt: skip
    with terminal.progress() as progress:
        deployed = api.deploy(
            model, board, output, options, labels=labels, emulator=emulator, progress=progress
        )
    if html is not None:
        from mcudeploy.report import html as pages

        pages.write_page(html, pages.deploy_page(deployed, commands=_as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("deploy", **deployed.to_document()))
    else:
        results.print_deployed(deployed, terminal.console())
    raise typer.Exit(0 if deployed.passed else 1)


@app.command()
def boards(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One board in full.")] = None,
    json: opt.AsJson = False,
) -> None:
    """The boards, or one of them in full."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    found = api.boards(name)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("boards", boards=[board.model_dump(mode="json") for board in found]))
    elif name is None:
        results.print_boards(found, terminal.console())
    else:
        results.print_board(found[0], terminal.console())


@app.command()
def doctor(json: opt.AsJson = False) -> None:
    """What is installed, what is missing, and the one command that mends each."""
    from mcudeploy.doctor import doctor as examine
    from mcudeploy.report import results, terminal

    checks = examine()
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("doctor", checks=checks))
    else:
        results.print_doctor(checks, terminal.console())
    raise typer.Exit(0 if all(check.state == "ok" or not check.required for check in checks) else 2)


def main() -> None:
    """The entry point of the console script. Never shows a traceback without --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
    except McudeployError as error:
        _complain(str(error), error, debug)
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        code = 0
    except typer.Abort:
        code = 130
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: a wrong option or argument
            error.show()  # type: ignore[attr-defined]
            code = 2
        else:
            _complain(
                f"internal error: {type(error).__name__}: {error}\n"
                "  mend:  this is a defect of mcudeploy; run again with `mcudeploy --debug ...` "
                "and report what it prints",
                error,
                debug,
            )
            code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, error: Exception, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"error: {message}", err=True)


if __name__ == "__main__":
    main()
